package document

// Kind is the form of a node.
type Kind int

const (
	Scalar Kind = iota
	List
	Map
)

func (k Kind) String() string { return [...]string{"a single value", "a list", "a mapping"}[k] }

// Node is one value of a document. Aliases and merge keys are already followed;
// a node that an alias repeats stands in several places.
type Node struct {
	Kind   Kind
	Line   int // from 1
	Column int // from 1, in characters
	Text   string
	Plain  bool   // a scalar without quotes
	Tag    string // an explicit tag, such as !!str; or empty
	Items  []*Node
	Pairs  []Pair // in the order that Python's loaders give
}

// Pair is one entry of a mapping. Key is a scalar.
type Pair struct {
	Key, Value *Node
}

// Fault is a fault at the node's place.
func (n *Node) Fault(message string) Fault {
	return Fault{Line: n.Line, Column: n.Column, Message: message}
}
