package hydra

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/git-models/git-models/pkg/pipeline/document"
)

// grammar holds the tokens of Hydra's lexer that matter here.
var grammar = sync.OnceValue(func() (g struct{ integer, float, word, segment, group, interpolation *regexp.Regexp }) {
	const (
		digits = `(?:0|[1-9](?:_?[0-9])*)`
		point  = `(?:` + digits + `\.|` + digits + `?\.[0-9](?:_?[0-9])*)`
		name   = `[A-Za-z_$][A-Za-z0-9_$-]*`
	)
	g.integer = regexp.MustCompile(`^[-+]?` + digits + `$`)
	g.float = regexp.MustCompile(`^[-+]?(?:` + point + `|(?:` + digits + `|` + point + `)[eE][-+]?[0-9](?:_?[0-9])*|[Ii][Nn][Ff]|[Nn][Aa][Nn])$`)
	g.word = regexp.MustCompile(`^[A-Za-z0-9_\-+.%*@?|]+$`)
	g.segment = regexp.MustCompile(`^` + name + `$`)
	g.group = regexp.MustCompile(`^` + name + `(?:[/.]` + name + `)*(?:@` + name + `(?:\.` + name + `)*)?$`)
	g.interpolation = regexp.MustCompile(`^\$\{[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*\}$`)
	return g
})

// isSegment reports whether s can stand between the dots of a path.
func isSegment(s string) bool { return grammar().segment.MatchString(s) }

// isGroup reports whether s names a config group, with a package or without.
func isGroup(s string) bool { return grammar().group.MatchString(s) }

// typed reports whether Hydra reads the bare text as something else than text.
func typed(s string) bool {
	switch strings.ToLower(s) {
	case "true", "false", "null":
		return true
	}
	g := grammar()
	return g.integer.MatchString(s) || g.float.MatchString(s)
}

// floatText writes a float. What only OmegaConf reads as one keeps the digits of
// the file where Hydra reads the same from them: people recognise 1e-3.
func floatText(source string, v document.Value) string {
	if v.Fixed && grammar().float.MatchString(source) {
		return source
	}
	return v.Text
}

// quoteString writes a text so that Hydra reads it back. Inside a literal an
// empty text is ”, after `=` it is nothing.
func quoteString(s string, inside bool) (string, error) {
	if err := sayable(s); err != nil {
		return "", err
	}
	switch g := grammar(); {
	case s == "" && !inside:
		return "", nil
	case g.word.MatchString(s) && !typed(s), g.interpolation.MatchString(s):
		return s, nil
	}
	var b strings.Builder
	b.WriteByte('\'')
	run := 0 // backslashes just written
	for i := range len(s) {
		switch s[i] {
		case '\\':
			run++
		case '\'':
			// Backslashes right before a quote are halved by Hydra.
			b.WriteString(strings.Repeat(`\`, run+1))
			run = 0
		default:
			run = 0
		}
		b.WriteByte(s[i])
	}
	b.WriteString(strings.Repeat(`\`, run) + "'")
	return b.String(), nil
}

// sayable refuses what an argument cannot carry: no engine hands on a NUL, and
// not every one a line break.
func sayable(s string) error {
	for _, r := range s {
		switch {
		case r == '\n':
			return errors.New("holds a newline, which an override cannot carry")
		case r == '\r' || r == '\u0085' || r == '\u2028' || r == '\u2029':
			return fmt.Errorf("holds a newline character (U+%04X), which an override cannot carry", r)
		case r < 0x20 && r != '\t' || r == 0x7f:
			return fmt.Errorf("holds the control character U+%04X, which an override cannot carry", r)
		}
	}
	return nil
}

// quoteKey writes a key of a mapping literal, where quotes are not allowed and
// what looks like a number or a truth is one.
func quoteKey(s string) (string, error) {
	if s == "" {
		return "", errors.New("is empty, which Hydra's command line cannot say")
	}
	if typed(s) {
		return "", errors.New("is text that Hydra's command line would read as a value of another type")
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case strings.ContainsRune(`\()[]{}:=, `+"\t", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("_/-+.$%*@?|", r):
			b.WriteRune(r)
		default:
			return "", fmt.Errorf("holds %q, which Hydra's command line cannot say in a key", r)
		}
	}
	return b.String(), nil
}
