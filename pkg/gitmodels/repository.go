package gitmodels

import "time"

// Ref is one ref and where it points.
type Ref struct {
	Name   RefName
	ID     CommitID // the object it names, after following Symref; any type
	Symref RefName  // what a symbolic ref names; empty for others
}

// Note is what a notes ref holds for a commit.
type Note struct {
	Commit CommitID
	Text   string
}

// ReflogEntry is one move of a ref. Who is the server's account, not the
// pusher.
type ReflogEntry struct {
	Old CommitID  // zero: the ref was created
	New CommitID  // zero: the ref was deleted
	Who string    // name <email>, as it stands there
	At  time.Time // whole seconds; zero when it cannot be read
}

// CommitInfo is what people read of a commit. Every word is the pusher's: show
// it through Printable.
type CommitInfo struct {
	ID      CommitID
	Tree    string
	Parents []CommitID
	Subject string // first paragraph of the message, on one line
	Author  string
	Email   string
	Time    time.Time // the author's, in the author's zone; zero when it cannot be read
}

// ExportReport says what an export of a commit's files made.
type ExportReport struct {
	Files    int    // regular files written
	Bytes    int64  // in them
	Sum      string // of a context: SHA-256 of its paths, modes and contents, in hex
	Warnings []string
}

// SpoolEntry is one file that waits in the spool.
type SpoolEntry struct {
	ID   string // the file's name without .json, whatever the push inside says of itself
	Path string // absolute
	Push Push   // zero when Err is set
	Err  error  // why it cannot be read as a push
}

// Relation is how a commit stands to the tip of a ref of which it is no
// descendant.
type Relation struct {
	Kind RelationKind
	Base CommitID // of Diverged: a best common ancestor
	// Lacks is how many commits the tip has and the commit lacks, Has the reverse;
	// MaxRelated stands for that or more. Those of Far and Unrelated are 0.
	Lacks, Has int
}

// RelationKind is a kind of Relation.
type RelationKind string

const (
	Rewind    RelationKind = "rewind"    // the tip descends from the commit
	Diverged  RelationKind = "diverged"  // both have commits that the other lacks
	Unrelated RelationKind = "unrelated" // they share no history
	Far       RelationKind = "far"       // which of the three would take a long walk to find out
)

// MaxRelated bounds the counts of a Relation: more tells nobody anything.
const MaxRelated = 1000
