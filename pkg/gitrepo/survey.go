package gitrepo

import (
	"context"
	"fmt"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const (
	maxName   = 255  // bytes of one part of a path, on the file systems of Linux
	maxTarget = 4095 // bytes of a symbolic link's target: PATH_MAX without its NUL
)

// survey walks every tree of a commit before git does, and refuses what git
// would recurse into or hold in memory without end. It returns the paths of the
// submodules, which an archive shows as plain folders.
func (r *Repo) survey(ctx context.Context, commit gitmodels.CommitID, limit exportLimit) (map[string]bool, error) {
	s := &surveyor{objs: r.objects(ctx), limit: limit, submodules: map[string]bool{}, targets: map[string]bool{}}
	defer s.objs.close()
	if err := s.walk(string(commit)+"^{tree}", "", 1); err != nil {
		return nil, err
	}
	return s.submodules, nil
}

type surveyor struct {
	objs       *objects
	limit      exportLimit
	entries    int
	submodules map[string]bool
	targets    map[string]bool // blobs of links that are in order
}

func (s *surveyor) walk(tree, prefix string, depth int) error {
	t, err := s.objs.tree(tree)
	if err != nil {
		return err
	}
	entries, err := t.entries()
	if err != nil {
		return err
	}
	names := make(map[string]bool, len(entries))
	for _, e := range entries {
		path := prefix + e.name
		if err := checkName(e.name); err != nil {
			return refuse(path, "%v", err)
		}
		if names[e.name] {
			return refuse(path, "the tree lists it twice")
		}
		names[e.name] = true
		if s.entries++; s.entries > s.limit.Entries {
			return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "export",
				Message: fmt.Sprintf("the commit has more than %d files and folders", s.limit.Entries)}
		}
		if err := checkBounds(path, depth, s.limit); err != nil {
			return err
		}
		if err := s.entry(e, path, depth); err != nil {
			return err
		}
	}
	return nil
}

func (s *surveyor) entry(e treeEntry, path string, depth int) error {
	switch {
	case e.is(modeTree):
		return s.walk(e.id, path+"/", depth+1)
	case e.is(modeCommit):
		s.submodules[path] = true
		return nil
	case e.is(modeFile):
		return nil
	case e.is(modeLink) && !s.targets[e.id]:
		obj, err := s.objs.get(e.id, maxTarget)
		if err != nil {
			return &gitmodels.Error{Op: "read link " + gitmodels.Printable(path, 200), Err: err}
		}
		if obj.kind != "blob" || obj.data == nil || len(obj.data) == 0 || strings.ContainsRune(string(obj.data), 0) {
			return refuse(path, "its link target is no path (%s of %d bytes)", obj.kind, obj.size)
		}
		s.targets[e.id] = true
		return nil
	case e.is(modeLink):
		return nil
	}
	return refuse(path, "git knows no mode %o", e.mode)
}

// checkName refuses a part of a path that no checkout would make.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a name is empty")
	case name == "." || name == ".." || strings.EqualFold(name, ".git"):
		return fmt.Errorf("no file may be called %s", name)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("a name holds a slash or NUL")
	case len(name) > maxName:
		return fmt.Errorf("a name is longer than %d bytes", maxName)
	}
	return nil
}

func checkBounds(path string, depth int, limit exportLimit) error {
	if depth > limit.Depth {
		return refuse(path, "it is more than %d folders deep", limit.Depth)
	}
	if len(path) > limit.Path {
		return refuse(path, "its path is longer than %d bytes", limit.Path)
	}
	return nil
}

// refuse is the error for a file that cannot be exported.
func refuse(path, why string, args ...any) error {
	return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "export",
		Message: fmt.Sprintf("cannot export %q: %s", gitmodels.Printable(path, 120), fmt.Sprintf(why, args...))}
}
