package hydra

import (
	"fmt"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline/document"
)

// Override is one word of Hydra's command line.
type Override struct {
	Text   string // optimizer.lr=0.003
	Key    string // optimizer.lr; +model for an item of the defaults list
	Line   int    // of the value, from 1
	Column int
}

// Overrides turns the parameters of a YAML document into overrides: first the
// items of `defaults`, then `hydra`, then everything else in the order of the
// file, nested keys joined by dots. An empty document has none. The error is a
// *document.Faults with all that cannot be said.
func Overrides(yaml []byte) ([]Override, error) {
	root, err := document.Parse(yaml, document.OmegaConf)
	if err != nil || root == nil {
		return nil, err
	}
	e := &encoder{}
	switch {
	case root.Kind == document.Map:
		e.root(root)
	case root.Kind == document.Scalar:
		if v, err := root.Value(document.OmegaConf); err == nil && v.Kind == document.Null {
			return nil, nil
		}
		fallthrough
	default:
		e.fault(root, "write key: value", "parameters must be a mapping, and this is %s", root.Kind)
	}
	if len(e.faults) > 0 {
		return nil, &document.Faults{All: document.Sort(e.faults)}
	}
	return e.overrides, nil
}

// Assign is the override that sets key, a path of Hydra, to a text. Text that
// Hydra would read as a number, a truth or nothing is quoted: the name 1e12345
// is a name.
func Assign(key, text string) (string, error) {
	v, err := quoteString(text, false)
	if err != nil {
		return "", err
	}
	return key + "=" + v, nil
}

// maxFaults bounds what is said about one file.
const maxFaults = 50

// maxPath bounds the path of one parameter, in bytes.
const maxPath = 8 << 10

// maxText bounds the overrides of one file together, in bytes. It is beyond what
// any engine takes; keys that repeat along their paths must not fill the memory
// before that is found.
const maxText = 4 << 20

type encoder struct {
	overrides []Override
	faults    []document.Fault
	text      int  // bytes of overrides
	over      bool // maxText was passed, and said
}

func (e *encoder) fault(n *document.Node, suggestion, format string, args ...any) {
	if len(e.faults) < maxFaults {
		f := n.Fault(fmt.Sprintf(format, args...))
		f.Suggestion = suggestion
		e.faults = append(e.faults, f)
	}
}

func (e *encoder) add(n *document.Node, key, value string) {
	e.text += len(key) + len(value)
	if e.text > maxText {
		if !e.over {
			e.over = true
			e.fault(n, "", "the overrides up to here have more than %d bytes", maxText)
		}
		return
	}
	e.overrides = append(e.overrides, Override{Text: key + "=" + value, Key: key, Line: n.Line, Column: n.Column})
}

func (e *encoder) root(root *document.Node) {
	var hydra, rest []document.Pair
	for _, p := range root.Pairs {
		switch name, ok := e.segment(p.Key); {
		case ok && name == "defaults":
			e.defaults(p.Value)
		case ok && name == "hydra":
			hydra = append(hydra, p)
		case ok:
			rest = append(rest, p)
		default:
			e.badRoot(p.Key)
		}
	}
	for _, p := range append(hydra, rest...) {
		e.value(p.Key.Text, p.Value)
	}
}

// badRoot says why a key at the top cannot be: there is no mapping around it
// that a literal could stand for.
func (e *encoder) badRoot(key *document.Node) {
	suggestion := "use a name of letters, digits, _ and -"
	if parts := strings.Split(key.Text, "."); len(parts) > 1 && isSegment(parts[0]) {
		suggestion = "nest it: " + gitmodels.Printable(parts[0], 40) + ": {" + gitmodels.Printable(strings.Join(parts[1:], "."), 40) + ": …}"
	}
	e.fault(key, suggestion, "key %s cannot be named at the top of Hydra's command line", keyName(key.Text))
}

func keyName(s string) string { return "'" + gitmodels.Printable(s, 60) + "'" }

// value writes what stands at a path: a mapping by its parts where every key of
// it can be part of a path, else as a literal.
func (e *encoder) value(path string, n *document.Node) {
	switch {
	case e.over:
		return
	case len(path) > maxPath:
		e.fault(n, "", "the key %s is longer than %d bytes", keyName(path), maxPath)
		return
	}
	switch n.Kind {
	case document.Map:
		if len(n.Pairs) == 0 || !e.segments(n) {
			if text, ok := e.literal(n); ok {
				e.add(n, path, text)
			}
			return
		}
		for _, p := range n.Pairs {
			e.value(path+"."+p.Key.Text, p.Value)
		}
	case document.List:
		if text, ok := e.literal(n); ok {
			e.add(n, path, text)
		}
	default:
		if text, ok := e.scalar(n, false); ok {
			e.add(n, path, text)
		}
	}
}

// segments reports whether every key of the mapping can be part of a path.
func (e *encoder) segments(n *document.Node) bool {
	for _, p := range n.Pairs {
		if _, ok := e.segment(p.Key); !ok {
			return false
		}
	}
	return true
}

// segment returns the text of a key that can be part of a path: a string, since
// a path would make strings of numbers.
func (e *encoder) segment(key *document.Node) (string, bool) {
	v, err := key.Value(document.OmegaConf)
	return v.Text, err == nil && v.Kind == document.String && isSegment(v.Text)
}

// literal writes a list or a mapping as one value.
func (e *encoder) literal(n *document.Node) (string, bool) {
	var parts []string
	good := true
	switch n.Kind {
	case document.List:
		for _, item := range n.Items {
			text, ok := e.literal(item)
			good = good && ok
			parts = append(parts, text)
		}
		return "[" + strings.Join(parts, ",") + "]", good
	case document.Map:
		for _, p := range n.Pairs {
			key, ok := e.literalKey(p.Key)
			value, valueOK := e.literal(p.Value)
			good = good && ok && valueOK
			parts = append(parts, key+":"+value)
		}
		return "{" + strings.Join(parts, ",") + "}", good
	}
	return e.scalar(n, true)
}

// literalKey writes a key of a mapping literal.
func (e *encoder) literalKey(key *document.Node) (string, bool) {
	v, err := key.Value(document.OmegaConf)
	switch {
	case err != nil:
		e.fault(key, "put it in quotes", "key %s: %s", keyName(key.Text), err)
		return "", false
	case v.Kind == document.Null:
		e.fault(key, "put it in quotes", "key %s is empty to OmegaConf, which has no such keys", keyName(key.Text))
		return "", false
	case v.Kind == document.Float && v.Fixed:
		return floatText(key.Text, v), true
	case v.Kind != document.String:
		return v.Text, true
	}
	text, err := quoteKey(v.Text)
	if err != nil {
		e.fault(key, "", "key %s %s", keyName(v.Text), err)
		return "", false
	}
	return text, true
}

// scalar writes a single value. Inside a literal an empty text needs quotes.
func (e *encoder) scalar(n *document.Node, inside bool) (string, bool) {
	v, err := n.Value(document.OmegaConf)
	if err != nil {
		e.fault(n, "put it in quotes if it is text", "%s", err)
		return "", false
	}
	switch v.Kind {
	case document.Null:
		return "null", true
	case document.Float:
		return floatText(n.Text, v), true
	case document.String:
		text, err := quoteString(v.Text, inside)
		if err != nil {
			e.fault(n, "", "value %s %s", document.Quote(v.Text), err)
			return "", false
		}
		return text, true
	}
	return v.Text, true
}

// defaults writes the items of Hydra's defaults list: each names a group and the
// option to take from it.
func (e *encoder) defaults(n *document.Node) {
	if n.Kind != document.List {
		e.fault(n, "write defaults: [{group: option}]", "defaults must be a list, and this is %s", n.Kind)
		return
	}
	for _, item := range n.Items {
		e.defaultsItem(item)
	}
}

func (e *encoder) defaultsItem(item *document.Node) {
	switch item.Kind {
	case document.Scalar:
		if v, err := item.Value(document.OmegaConf); err == nil && v.Kind == document.String && v.Text == "_self_" {
			return
		}
		e.fault(item, "write group: option", "defaults item %s names no group", document.Quote(item.Text))
		return
	case document.List:
		e.fault(item, "write group: option", "a defaults item is a list; want group: option or _self_")
		return
	}
	if len(item.Pairs) == 0 {
		e.fault(item, "write group: option", "an empty defaults item")
	}
	for _, p := range item.Pairs {
		e.defaultsPair(p)
	}
}

func (e *encoder) defaultsPair(p document.Pair) {
	group, err := p.Key.Value(document.OmegaConf)
	if err != nil || group.Kind != document.String || !isGroup(group.Text) {
		e.fault(p.Key, "name a group, such as model or model@encoder", "defaults item %s is no group that an override can name", document.Quote(p.Key.Text))
		return
	}
	key := "+" + group.Text
	if p.Value.Kind == document.List {
		good := true
		for _, option := range p.Value.Items {
			good = e.option(group.Text, option) && good
		}
		if text, ok := e.literal(p.Value); good && ok {
			e.add(p.Value, key, text)
		}
		return
	}
	if p.Value.Kind == document.Scalar {
		if v, err := p.Value.Value(document.OmegaConf); err == nil && v.Kind == document.Null {
			return // Hydra's way to say: this group has no option
		}
	}
	if e.option(group.Text, p.Value) {
		if text, ok := e.scalar(p.Value, false); ok {
			e.add(p.Value, key, text)
		}
	}
}

// option checks that an option of a group is a name, as Hydra demands.
func (e *encoder) option(group string, n *document.Node) bool {
	if n.Kind == document.Scalar {
		v, err := n.Value(document.OmegaConf)
		if err == nil && v.Kind == document.String && v.Text != "" {
			return true
		}
	}
	e.fault(n, "put the option in quotes if that is its name", "the option of defaults item %s is not a name", document.Quote(group))
	return false
}
