package pipeline

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const (
	// MaxPatterns bounds the patterns of a filter.
	MaxPatterns = 200
	// MaxPatternLength bounds one pattern, in bytes.
	MaxPatternLength = 500
	// MaxPatternText bounds all patterns of a filter together, in bytes.
	MaxPatternText = 8 << 10
)

// Filter says which changed paths start a run, by the rules of GitHub's filter
// patterns ("Workflow syntax", on.<event>.paths). The zero Filter matches every
// path.
type Filter struct {
	patterns []pattern
	ignore   bool // the patterns say which paths do not start a run
}

// pattern is one line of a filter.
type pattern struct {
	text    string // as written
	negated bool
	re      *regexp.Regexp // RE2: time linear in the path
}

// NewFilter compiles patterns. With ignore, a run starts unless they match every
// changed path. When a pattern is at fault the errors stand at the places of their
// patterns, else there are none.
func NewFilter(patterns []string, ignore bool) (Filter, []error) {
	f := Filter{ignore: ignore}
	errs := make([]error, len(patterns))
	bad := false
	total := 0
	for i, text := range patterns {
		p, err := compile(text)
		if total += len(text); err == nil && total > MaxPatternText && total-len(text) <= MaxPatternText {
			err = fmt.Errorf("with it the patterns have %d bytes; at most %d are allowed in all", total, MaxPatternText)
		}
		errs[i] = err
		bad = bad || err != nil
		f.patterns = append(f.patterns, p)
	}
	if bad {
		return Filter{}, errs
	}
	return f, nil
}

// Match returns the first of the changed paths that starts a run. There is no
// cap on their number, so patterns made to be slow can take minutes: the end of
// ctx ends the search with its error. No changes start nothing.
func (f Filter) Match(ctx context.Context, changed []string) (path string, ok bool, err error) {
	for _, path := range changed {
		ok, err := f.starts(ctx, path)
		if ok || err != nil {
			return path, ok, err
		}
	}
	return "", false, nil
}

// starts reports whether a change of this one path starts a run: the last
// pattern that matches it decides.
func (f Filter) starts(ctx context.Context, path string) (bool, error) {
	if len(f.patterns) == 0 {
		return true, nil
	}
	for _, p := range slices.Backward(f.patterns) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if p.re.MatchString(path) {
			return p.negated == f.ignore, nil
		}
	}
	return f.ignore, nil
}

// String shows the filter as its file could write it: on.paths [src/**, …].
func (f Filter) String() string {
	if len(f.patterns) == 0 {
		return "every path"
	}
	texts := make([]string, len(f.patterns))
	for i, p := range f.patterns {
		texts[i] = p.text
	}
	name := "on.paths"
	if f.ignore {
		name = "on.paths-ignore"
	}
	return name + " [" + strings.Join(texts, ", ") + "]"
}

// compile turns a pattern into an expression over the whole path: `*` is any
// characters but /, `**` any characters, `**/` also no folder at all, `x?` none
// or one of the character before, `x+` one or more of it, `[a-z]` one letter or
// digit, `\` takes the next character as it is, and a leading `!` takes paths
// out again.
func compile(text string) (pattern, error) {
	p := pattern{text: text}
	rest, negated := strings.CutPrefix(text, "!")
	p.negated = negated
	switch {
	case rest == "":
		return p, errors.New("an empty pattern matches nothing")
	case len(text) > MaxPatternLength:
		return p, fmt.Errorf("the pattern has %d bytes; at most %d are allowed", len(text), MaxPatternLength)
	case strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return p, errors.New("a pattern holds no control characters")
	case rest[0] == '/', strings.HasPrefix(rest, "./"):
		return p, errors.New("it matches no path: they begin at the root of the repository, without / or ./")
	case strings.HasSuffix(rest, "/"):
		return p, fmt.Errorf("it matches no path: only files count; for all files of a folder write %s**", text)
	}
	expr, err := translate([]rune(rest))
	if err != nil {
		return p, err
	}
	p.re, err = regexp.Compile(expr)
	return p, err
}

// translate writes the pattern as an expression of package regexp.
func translate(s []rune) (string, error) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	single := false // the thing before is one character, so it may be repeated
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '*' && i+1 < len(s) && s[i+1] == '*':
			start := i == 0 || s[i-1] == '/'
			for i+1 < len(s) && s[i+1] == '*' {
				i++
			}
			if start && i+1 < len(s) && s[i+1] == '/' {
				i++
				b.WriteString(`(?:.*/)?`)
			} else {
				b.WriteString(`.*`)
			}
			single = false
		case c == '*':
			b.WriteString(`[^/]*`)
			single = false
		case c == '?' || c == '+':
			if !single {
				return "", fmt.Errorf("%c stands for the character before it, and there is none that can be repeated; for the character itself write \\%c", c, c)
			}
			b.WriteRune(c)
			single = false
		case c == '[':
			end := slices.Index(s[i:], ']')
			if end < 0 {
				return "", errors.New(`[ has no ] after it; for the character itself write \[`)
			}
			class, err := class(s[i+1 : i+end])
			if err != nil {
				return "", err
			}
			b.WriteString(class)
			i += end
			single = true
		case c == '\\':
			if i+1 == len(s) {
				return "", errors.New(`\ at the end takes no character`)
			}
			i++
			b.WriteString(regexp.QuoteMeta(string(s[i])))
			single = true
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
			single = true
		}
	}
	b.WriteString(`\z`)
	return b.String(), nil
}

// class checks what stands in brackets: letters, digits and ranges of them.
func class(members []rune) (string, error) {
	bad := fmt.Errorf("[%s] may hold letters, digits and ranges such as a-z alone", string(members))
	if len(members) == 0 {
		return "", errors.New("[] holds no characters")
	}
	for i := 0; i < len(members); i++ {
		kind := alnum(members[i])
		if kind == 0 {
			return "", bad
		}
		if i+1 < len(members) && members[i+1] == '-' {
			if i+2 >= len(members) || alnum(members[i+2]) != kind || members[i+2] < members[i] {
				return "", bad
			}
			i += 2
		}
	}
	return "[" + string(members) + "]", nil
}

// alnum tells small letters, capitals and digits apart; 0 is none of them.
func alnum(r rune) int {
	switch {
	case r >= 'a' && r <= 'z':
		return 1
	case r >= 'A' && r <= 'Z':
		return 2
	case r >= '0' && r <= '9':
		return 3
	}
	return 0
}
