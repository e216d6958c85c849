package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline/document"
)

// Fault is one thing that is wrong in a file.
type Fault = document.Fault

// maxFaults bounds what is said about one file.
const maxFaults = 50

// reader collects the faults of one file.
type reader struct {
	file     string
	faults   []Fault
	warnings []Fault
}

func (r *reader) fault(n *document.Node, suggestion, format string, args ...any) {
	if len(r.faults) < maxFaults {
		r.faults = append(r.faults, r.at(n, suggestion, format, args...))
	}
}

func (r *reader) warn(n *document.Node, suggestion, format string, args ...any) {
	if len(r.warnings) < maxFaults {
		r.warnings = append(r.warnings, r.at(n, suggestion, format, args...))
	}
}

func (r *reader) at(n *document.Node, suggestion, format string, args ...any) Fault {
	return Fault{File: r.file, Line: n.Line, Column: n.Column, Message: fmt.Sprintf(format, args...), Suggestion: suggestion}
}

// parse reads the file into a mapping; nil when it is empty or at fault.
func (r *reader) parse(data []byte) *document.Node {
	root, err := document.Parse(data, document.PyYAML)
	if err != nil {
		faults := err.(*document.Faults) // the only error of Parse
		for _, f := range faults.All {
			f.File = r.file
			r.faults = append(r.faults, f)
		}
		return nil
	}
	if root == nil || r.isNull(root) {
		return nil
	}
	if root.Kind != document.Map {
		r.fault(root, "write key: value", "the file must be a mapping, and this is %s", root.Kind)
		return nil
	}
	return root
}

func (r *reader) isNull(n *document.Node) bool {
	if n.Kind != document.Scalar {
		return false
	}
	v, err := n.Value(document.PyYAML)
	return err == nil && v.Kind == document.Null
}

// mapping checks that the value of key is a mapping. An empty value counts as an
// empty one: a section whose lines are all commented out.
func (r *reader) mapping(key string, n *document.Node) []document.Pair {
	if r.isNull(n) {
		return nil
	}
	if n.Kind != document.Map {
		r.fault(n, "", "%s must be a mapping, and this is %s", key, n.Kind)
		return nil
	}
	return n.Pairs
}

// list checks that the value of key is a list.
func (r *reader) list(key string, n *document.Node, example string) ([]*document.Node, bool) {
	if n.Kind != document.List {
		r.fault(n, example, "%s must be a list, and this is %s", key, n.Kind)
		return nil, false
	}
	return n.Items, true
}

// text checks that the value of key is text. A number passes when Python prints
// it as the file has it: 5 can only mean 5, while 1.10, yes and 0x1F are read
// as something else.
func (r *reader) text(key string, n *document.Node) (string, bool) {
	if n.Kind != document.Scalar {
		r.fault(n, "", "%s must be text, and this is %s", key, n.Kind)
		return "", false
	}
	v, err := n.Value(document.PyYAML)
	switch {
	case err != nil:
		r.fault(n, "put it in quotes if it is text", "%s: %s", key, err)
		return "", false
	case v.Kind == document.String:
		return v.Text, true
	case (v.Kind == document.Int || v.Kind == document.Float) && v.Text == n.Text:
		return v.Text, true
	case v.Kind == document.Null:
		r.fault(n, "", "%s is empty", key)
	default:
		r.fault(n, fmt.Sprintf("write '%s'", gitmodels.Printable(n.Text, 60)), "%s must be text, and YAML reads %s as %s", key, document.Quote(n.Text), v.Kind)
	}
	return "", false
}

// line is text without control characters, of bounded length and not empty.
func (r *reader) line(key string, n *document.Node, limit int) (string, bool) {
	s, ok := r.text(key, n)
	switch {
	case !ok:
		return "", false
	case s == "":
		r.fault(n, "", "%s is empty", key)
	case len(s) > limit:
		r.fault(n, "", "%s has %d bytes; at most %d are allowed", key, len(s), limit)
	case hasControl(s):
		r.fault(n, "", "%s %s holds a control character", key, document.Quote(s))
	default:
		return s, true
	}
	return "", false
}

// word is text out of a few.
func (r *reader) word(key string, n *document.Node, words ...string) (string, bool) {
	s, ok := r.text(key, n)
	if !ok || slices.Contains(words, s) {
		return s, ok
	}
	suggestion := ""
	if near := gitmodels.Suggest(s, words); near != "" {
		suggestion = "did you mean " + near + "?"
	}
	r.fault(n, suggestion, "%s %s is none of %s", key, document.Quote(s), strings.Join(words, ", "))
	return "", false
}

func (r *reader) boolean(key string, n *document.Node) bool {
	if n.Kind == document.Scalar {
		if v, err := n.Value(document.PyYAML); err == nil && v.Kind == document.Bool {
			return v.Bool
		}
	}
	suggestion := ""
	if s := strings.ToLower(n.Text); s == "true" || s == "false" {
		suggestion = "write " + s + " without quotes"
	}
	r.fault(n, suggestion, "%s must be true or false, and this is %s", key, r.shown(n))
	return false
}

// shown is a value in a message.
func (r *reader) shown(n *document.Node) string {
	switch {
	case n.Kind != document.Scalar:
		return n.Kind.String()
	case r.isNull(n):
		return "empty"
	}
	return document.Quote(n.Text)
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return c < 0x20 || c == 0x7f || c == 0x2028 || c == 0x2029 })
}

// CheckPath says what is wrong with a path inside the repository, or "". It is
// relative to the repository's root and means one place only.
func CheckPath(p string) (problem, suggestion string) {
	switch {
	case p == "":
		return "is empty", ""
	case len(p) > 4096:
		return "is longer than 4096 bytes", ""
	case hasControl(p):
		return "holds a control character", ""
	case p[0] == '/':
		return "is absolute", "write it from the root of the repository, without the first /"
	case strings.Contains(p, `\`):
		return `holds a \`, "write " + gitmodels.Printable(strings.ReplaceAll(p, `\`, "/"), 80)
	}
	for segment := range strings.SplitSeq(p, "/") {
		switch {
		case segment == "..":
			return "leaves the repository with ..", ""
		case segment == "." || segment == "":
			if clean := cleanPath(p); clean != "" {
				return "holds an empty part or a .", "write " + gitmodels.Printable(clean, 80)
			}
			return "holds an empty part or a .", "name a folder below the root"
		case strings.EqualFold(segment, ".git"):
			return "goes through .git, which no commit holds", ""
		}
	}
	return "", ""
}

func cleanPath(p string) string {
	var parts []string
	for segment := range strings.SplitSeq(p, "/") {
		if segment != "" && segment != "." {
			parts = append(parts, segment)
		}
	}
	return strings.Join(parts, "/")
}

// path reads a path inside the repository.
func (r *reader) path(key string, n *document.Node) (string, bool) {
	s, ok := r.text(key, n)
	if !ok {
		return "", false
	}
	if problem, suggestion := CheckPath(s); problem != "" {
		r.fault(n, suggestion, "%s %s %s", key, document.Quote(s), problem)
		return "", false
	}
	return s, true
}

const (
	maxWords     = 1000     // of a command
	maxWordBytes = 32 << 10 // of one word of a command
)

// command reads an argv: the program, then its arguments, one item each. There
// is no shell, so a single string is refused.
func (r *reader) command(key string, n *document.Node) []string {
	if n.Kind == document.Scalar && !r.isNull(n) {
		quoted := strings.Fields(n.Text)
		for i, w := range quoted {
			quoted[i] = flowWord(w)
		}
		r.fault(n, "write "+gitmodels.Printable("["+strings.Join(quoted, ", ")+"]", 100), "%s is a list of words, since no shell takes %s apart", key, document.Quote(n.Text))
		return nil
	}
	items, ok := r.list(key, n, "write [python3, train.py]")
	if !ok {
		return nil
	}
	if len(items) == 0 {
		r.fault(n, "write [python3, train.py]", "%s is empty", key)
	}
	if len(items) > maxWords {
		r.fault(n, "", "%s has %d words; at most %d are allowed", key, len(items), maxWords)
		return nil
	}
	words := make([]string, 0, len(items))
	for i, item := range items {
		name := fmt.Sprintf("word %d of %s", i+1, key)
		w, ok := r.text(name, item)
		switch {
		case !ok:
			continue
		case i == 0 && strings.TrimSpace(w) == "":
			r.fault(item, "", "%s, the program, is empty", name)
		case len(w) > maxWordBytes:
			r.fault(item, "", "%s has %d bytes; at most %d are allowed", name, len(w), maxWordBytes)
		case hasControl(w):
			r.fault(item, "", "%s %s holds a control character", name, document.Quote(w))
		}
		words = append(words, w)
	}
	return words
}

// flowWord quotes a word for a YAML list where it needs quotes.
func flowWord(w string) string {
	for _, c := range w {
		if alnum(c) == 0 && !strings.ContainsRune("_-./=", c) {
			return "'" + strings.ReplaceAll(w, "'", "''") + "'"
		}
	}
	return w
}
