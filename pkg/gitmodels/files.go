package gitmodels

// TreeFile is one path looked up in a commit's tree, without following links.
type TreeFile struct {
	Path string
	Kind FileKind
	Link string // of KindLink and below one: the path of the symbolic link that was met
	Size int64
	Data []byte // of KindFile only, and only when Size is within the reader's bound
}

// FileKind is what a path is in a tree.
type FileKind string

const (
	KindAbsent    FileKind = "absent"
	KindFile      FileKind = "file"
	KindFolder    FileKind = "folder"
	KindLink      FileKind = "link"      // the path, or a folder on its way, is a symbolic link
	KindSubmodule FileKind = "submodule" // the path, or a folder on its way, is a submodule
	KindTooLarge  FileKind = "too large"
)

// MaxPipelineFile bounds each file that configures a run, in bytes.
const MaxPipelineFile = 1 << 20

// ConfigEntry is one value of git's configuration.
type ConfigEntry struct {
	Scope  string // git's word: system, global, local, worktree, command; or home for <home>/config
	Origin string // where it stands: file:/etc/gitconfig
	Key    string // as git prints it: section and last part in lower case
	Value  string
	Bare   bool // the key stood without a value, which git reads as true
}

// Protected reports whether the entry stands where a pusher cannot write: the
// scopes that git calls protected, and the runner's own <home>/config.
func (e ConfigEntry) Protected() bool {
	return e.Scope == "system" || e.Scope == "global" || e.Scope == "command" || e.Scope == "home"
}

// TreeEntry is one name in a folder of a commit, as it is stored: the name is
// whatever the pusher's tree holds.
type TreeEntry struct {
	Name string
	Kind FileKind // KindFile, KindFolder, KindLink or KindSubmodule
}
