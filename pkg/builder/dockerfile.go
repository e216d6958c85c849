package builder

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// instruction is one of a Dockerfile: its first line, and its words with one
// space between them.
type instruction struct {
	line  int
	words string
}

var (
	escapeDirective = regexp.MustCompile("(?i)^#\\s*escape\\s*=\\s*([`\\\\])")
	hereDocument    = regexp.MustCompile(`<<-?\s*["']?([A-Za-z_][A-Za-z0-9_]*)["']?`)
)

// instructions reads a Dockerfile as far as it takes to find an instruction's
// line again. It judges nothing.
func instructions(text []byte) (list []instruction) {
	escape := `\`
	var current *instruction
	var until []string // ends of here-documents
	for i, raw := range bytes.Split(text, []byte("\n")) {
		line := strings.TrimSpace(string(raw))
		if m := escapeDirective.FindStringSubmatch(line); m != nil && len(list) == 0 && current == nil {
			escape = m[1]
		}
		switch {
		case len(until) > 0:
			if line == until[0] {
				until = until[1:]
			}
			continue
		case line == "" || strings.HasPrefix(line, "#"):
			continue
		case current == nil:
			current = &instruction{line: i + 1}
		}
		body, more := strings.CutSuffix(line, escape)
		current.words += " " + body
		if more {
			continue
		}
		list = append(list, instruction{current.line, squeeze(current.words)})
		for _, m := range hereDocument.FindAllStringSubmatch(current.words, -1) {
			until = append(until, m[1])
		}
		current = nil
	}
	if current != nil {
		list = append(list, instruction{current.line, squeeze(current.words)})
	}
	return list
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// lineOf is the line of the Dockerfile where a step stands; 0 when it is not
// certain. Of equal instructions the builder's count decides where it counts all
// of them.
func lineOf(text []byte, s step) (line int) {
	list := instructions(text)
	want, found := squeeze(s.text), 0
	for i, in := range list {
		if !in.is(want) {
			continue
		}
		if s.n == fmt.Sprintf("%d/%d", i+1, len(list)) {
			return in.line
		}
		line = in.line
		found++
	}
	if found > 1 {
		return 0
	}
	return line
}

var variable = regexp.MustCompile(`\\\$(\w+|\\\{[^}]*\})`)

// is reports whether a builder means the instruction by want, in which it may
// have put the values of variables, and of a FROM the image alone.
func (in instruction) is(want string) bool {
	if strings.EqualFold(in.words, want) {
		return true
	}
	if image, ok := strings.CutPrefix(want, "FROM "); ok && strings.HasPrefix(strings.ToUpper(in.words), "FROM ") {
		return slices.Contains(strings.Fields(in.words), image)
	}
	if !strings.Contains(in.words, "$") {
		return false
	}
	form, err := regexp.Compile("(?i)^" + variable.ReplaceAllString(regexp.QuoteMeta(in.words), ".*") + "$")
	return err == nil && form.MatchString(want)
}
