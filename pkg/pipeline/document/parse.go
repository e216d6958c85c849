package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const (
	// MaxDepth bounds nesting, aliases followed.
	MaxDepth = 64
	// MaxNodes bounds keys, values and containers together, aliases followed.
	MaxNodes = 50_000
	// MaxText bounds the text of all keys and values together, aliases followed.
	MaxText = 2 * gitmodels.MaxPipelineFile
	// maxFaults bounds the faults of one file: enough to mend it, not enough to
	// flood whoever reads them.
	maxFaults = 50
)

// Parse reads one document for the loader, whose rules say which keys are equal.
// An empty one gives nil. The error is a *Faults.
func Parse(data []byte, loader Loader) (*Node, error) {
	root, err := parseYAML(data)
	if err != nil || root == nil {
		return nil, err
	}
	b := &builder{loader: loader}
	n := b.node(root, 0)
	if len(b.faults) > 0 {
		return nil, &Faults{All: Sort(b.faults)}
	}
	if n.Kind == Scalar && n.Plain && n.Text == "" && n.Tag == "" {
		return nil, nil
	}
	return n, nil
}

func fail(f Fault) error { return &Faults{All: []Fault{f}} }

// parseYAML runs the parser, which builds nodes and follows nothing.
func parseYAML(data []byte) (root *yaml.Node, err error) {
	if len(data) > gitmodels.MaxPipelineFile {
		return nil, fail(Fault{Message: fmt.Sprintf("the file has %d bytes; at most %d are read", len(data), gitmodels.MaxPipelineFile)})
	}
	if f, ok := notText(data); ok {
		return nil, fail(f)
	}
	if f, ok := tooMany(data); ok {
		return nil, fail(f)
	}
	// A panic of the parser on bytes that a stranger chose is the file's fault.
	defer func() {
		if r := recover(); r != nil {
			root, err = nil, fail(Fault{Line: 1, Column: 1, Message: fmt.Sprintf("not readable as YAML: %v", r)})
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, fail(syntaxFault(data, err))
	}
	switch err := dec.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, fail(syntaxFault(data, err))
	default:
		return nil, fail(Fault{Line: second.Line, Column: second.Column,
			Message: "a second document begins here; the file may hold one", Suggestion: "remove the line --- and what follows"})
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	return doc.Content[0], nil
}

// notText finds the first byte that is not UTF-8.
func notText(data []byte) (Fault, bool) {
	if utf8.Valid(data) {
		return Fault{}, false
	}
	at := 0
	for at < len(data) {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	line, column := place(data, at)
	return Fault{Line: line, Column: column, Message: fmt.Sprintf("byte 0x%02x is not UTF-8", data[at]), Suggestion: "save the file as UTF-8"}, true
}

// tooMany refuses a file that could hold more nodes than we would read, before
// memory is spent on them: every node but the first follows one of these bytes.
func tooMany(data []byte) (Fault, bool) {
	n := 0
	for i, c := range data {
		switch c {
		case ',', ':', '[', '{', '?', '\n':
			n++
		case '-':
			if i+1 == len(data) || data[i+1] == ' ' || data[i+1] == '\n' || data[i+1] == '\t' || data[i+1] == '\r' {
				n++
			}
		}
		if n > 2*MaxNodes {
			line, column := place(data, i)
			return Fault{Line: line, Column: column, Message: fmt.Sprintf("the file is too large: more than %d values, keys and lines up to here", 2*MaxNodes)}, true
		}
	}
	return Fault{}, false
}

// place counts lines and characters up to the byte at.
func place(data []byte, at int) (line, column int) {
	line = 1 + bytes.Count(data[:at], []byte{'\n'})
	start := bytes.LastIndexByte(data[:at], '\n') + 1
	return line, 1 + utf8.RuneCount(data[start:at])
}

// syntaxFault turns the parser's error, "yaml: line 3: what", into a fault.
func syntaxFault(data []byte, err error) Fault {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	f := Fault{Line: 1}
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, what, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil && n > 0 {
				f.Line, text = n, what
			}
		}
	}
	if strings.HasPrefix(text, "did not find expected") && len(data) <= 64<<10 {
		f.Line = failingLine(data, err)
	}
	f.Message = "not valid YAML: " + gitmodels.Printable(text, 200)
	lines := bytes.SplitN(data, []byte{'\n'}, f.Line+1)
	for _, i := range []int{f.Line - 1, f.Line - 2} {
		if i >= 0 && i < len(lines) && bytes.HasPrefix(bytes.TrimLeft(lines[i], " "), []byte{'\t'}) {
			f.Line, f.Suggestion = i+1, "indent with spaces, not tabs"
			break
		}
	}
	return f
}

// failingLine finds the line at which the error first shows. The parser names
// the line before the list or mapping that it was in, which may be far above.
func failingLine(data []byte, err error) int {
	lines := bytes.SplitAfter(data, []byte{'\n'})
	ends := make([]int, len(lines))
	end := 0
	for i, line := range lines {
		end += len(line)
		ends[i] = end
	}
	shows := func(i int) bool {
		var doc yaml.Node
		dec := yaml.NewDecoder(bytes.NewReader(data[:ends[i]]))
		for {
			switch e := dec.Decode(&doc); {
			case errors.Is(e, io.EOF):
				return false
			case e != nil:
				return e.Error() == err.Error()
			}
		}
	}
	return min(sort.Search(len(lines)-1, shows)+1, len(lines))
}

// builder copies the parser's nodes into ours, follows aliases and merge keys,
// and counts.
type builder struct {
	loader Loader
	count  int
	text   int  // bytes
	over   bool // a bound was passed: one fault says so, nothing more is read
	faults []Fault
}

func (b *builder) fault(n *yaml.Node, suggestion, format string, args ...any) {
	if len(b.faults) < maxFaults {
		b.faults = append(b.faults, Fault{Line: n.Line, Column: n.Column, Message: fmt.Sprintf(format, args...), Suggestion: suggestion})
	}
}

func (b *builder) stop(n *yaml.Node, format string, args ...any) {
	if !b.over {
		b.over = true
		b.faults = nil
		b.fault(n, "", format, args...)
	}
}

// node never returns nil; what it returns after a fault is not used.
func (b *builder) node(y *yaml.Node, depth int) *Node {
	from := y
	for y.Kind == yaml.AliasNode {
		y = y.Alias
	}
	n := &Node{Line: from.Line, Column: from.Column}
	b.count++
	b.text += len(y.Value)
	switch {
	case b.over:
		return n
	case b.text > MaxText:
		b.stop(from, "the file is too large: more than %d bytes, aliases followed", MaxText)
		return n
	case b.count > MaxNodes:
		b.stop(from, "the file is too large: more than %d keys and values, aliases followed", MaxNodes)
		return n
	case depth > MaxDepth:
		b.stop(from, "nested deeper than %d levels", MaxDepth)
		return n
	}
	if y.Style&yaml.TaggedStyle != 0 {
		n.Tag = y.Tag
	}
	switch y.Kind {
	case yaml.SequenceNode:
		n.Kind = List
		b.tag(y, n.Tag, "!!seq")
		n.Items = make([]*Node, 0, len(y.Content))
		for _, item := range y.Content {
			if b.over {
				break
			}
			n.Items = append(n.Items, b.node(item, depth+1))
		}
	case yaml.MappingNode:
		n.Kind = Map
		b.tag(y, n.Tag, "!!map")
		n.Pairs = b.pairs(y, depth)
	default:
		n.Text = y.Value
		n.Plain = y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	}
	return n
}

func (b *builder) tag(y *yaml.Node, tag, want string) {
	if tag != "" && tag != want {
		b.fault(y, "remove it", "tag %s is not read here", gitmodels.Printable(tag, 60))
	}
}

// pairs reads a mapping: merged entries first, each of them giving way to a
// later one of the same key, then its own, as PyYAML's flatten_mapping does. A
// key of its own may stand once.
func (b *builder) pairs(y *yaml.Node, depth int) []Pair {
	own := make([]Pair, 0, len(y.Content)/2)
	var merged []Pair
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(y.Content) && !b.over; i += 2 {
		key, value := y.Content[i], y.Content[i+1]
		if isMerge(key) {
			merged = append(merged, b.merge(value, depth)...)
			continue
		}
		k := b.node(key, depth+1)
		if b.over {
			break
		}
		if k.Kind != Scalar {
			b.fault(key, "", "a key must be a single value, and this is %s", k.Kind)
			continue
		}
		id := b.loader.keyID(k)
		if before, ok := first[id]; ok {
			b.fault(key, "keep one of the two", "key %s is already there in line %d", Quote(k.Text), before.Line)
			continue
		}
		first[id] = key
		own = append(own, Pair{k, b.node(value, depth+1)})
	}
	if len(merged) == 0 {
		return own
	}
	return overlay(b.loader, append(merged, own...))
}

// overlay lets a later entry replace an earlier one of the same key, in the
// place of the earlier.
func overlay(loader Loader, pairs []Pair) []Pair {
	at := map[string]int{}
	out := make([]Pair, 0, len(pairs))
	for _, p := range pairs {
		id := loader.keyID(p.Key)
		if i, ok := at[id]; ok {
			out[i].Value = p.Value
			continue
		}
		at[id] = len(out)
		out = append(out, p)
	}
	return out
}

func isMerge(y *yaml.Node) bool {
	return y.Kind == yaml.ScalarNode && y.Value == "<<" && y.Style == 0 || y.Kind == yaml.ScalarNode && y.Tag == "!!merge"
}

// merge returns the entries that a merge key brings: of one mapping, or of a
// list of them, of which the first one wins.
func (b *builder) merge(y *yaml.Node, depth int) []Pair {
	n := b.node(y, depth+1)
	switch {
	case b.over:
		return nil
	case n.Kind == Map:
		return n.Pairs
	case n.Kind == List:
		var pairs []Pair
		for _, item := range slices.Backward(n.Items) {
			if item.Kind != Map {
				b.fault(y, "", "<< takes a mapping or a list of mappings, and one item is %s", item.Kind)
				return nil
			}
			pairs = append(pairs, item.Pairs...)
		}
		return pairs
	}
	b.fault(y, "", "<< takes a mapping or a list of mappings, and this is %s", n.Kind)
	return nil
}
