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
	Files    int   // regular files written
	Bytes    int64 // in them
	Warnings []string
}

// SpoolEntry is one file that waits in the spool.
type SpoolEntry struct {
	ID   string // the file's name without .json, whatever the push inside says of itself
	Path string // absolute
	Push Push   // zero when Err is set
	Err  error  // why it cannot be read as a push
}
