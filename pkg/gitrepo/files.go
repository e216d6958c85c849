package gitrepo

import (
	"context"
	"fmt"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Files looks paths up in a commit's tree, component by component and without
// following links, through one git child. Every path is a key of the result.
// Paths are slash-separated and relative to the root; one that is not clean (a
// `.`, `..` or empty component, a control character) is an Error of Kind
// Invalid, as is a tree that git would not have made. Data is read only of
// files up to gitmodels.MaxPipelineFile bytes.
func (r *Repo) Files(ctx context.Context, commit gitmodels.CommitID, paths []string) (map[string]gitmodels.TreeFile, error) {
	objs := r.objects(ctx)
	defer objs.close()
	return r.files(objs, commit, paths)
}

func (r *Repo) files(objs *objects, commit gitmodels.CommitID, paths []string) (map[string]gitmodels.TreeFile, error) {
	if err := r.checkID(commit); err != nil {
		return nil, err
	}
	for _, p := range paths {
		if err := checkPath(p); err != nil {
			return nil, err
		}
	}
	found := make(map[string]gitmodels.TreeFile, len(paths))
	for _, p := range paths {
		if _, ok := found[p]; ok {
			continue
		}
		file, err := objs.lookup(string(commit)+"^{tree}", p)
		if err != nil {
			return nil, err
		}
		found[p] = file
	}
	return found, nil
}

// List is what the folder of a commit holds, in the order of its tree and at most
// limit entries: ask for one more than you want, and you see whether there are
// more. Files of every size and mode are KindFile. Paths are as in Files; one
// that is no folder of the commit is an Error of Kind NotFound. Names come as
// they are stored: nothing is known of them but that they hold no NUL.
func (r *Repo) List(ctx context.Context, commit gitmodels.CommitID, folder string, limit int) ([]gitmodels.TreeEntry, error) {
	objs := r.objects(ctx)
	defer objs.close()
	return r.list(objs, commit, folder, limit)
}

func (r *Repo) list(objs *objects, commit gitmodels.CommitID, folder string, limit int) ([]gitmodels.TreeEntry, error) {
	if err := r.checkID(commit); err != nil {
		return nil, err
	}
	if err := checkPath(folder); err != nil {
		return nil, err
	}
	tree, err := objs.tree(string(commit) + "^{tree}")
	if err != nil {
		return nil, err
	}
	for part := range strings.SplitSeq(folder, "/") {
		entry, ok, err := tree.find(part)
		if err != nil {
			return nil, err
		}
		if !ok || !entry.is(modeTree) {
			return nil, &gitmodels.Error{Kind: gitmodels.NotFound, Op: "list folder",
				Message: fmt.Sprintf("the commit has no folder %s", gitmodels.Printable(folder, 200))}
		}
		if tree, err = objs.tree(entry.id); err != nil {
			return nil, err
		}
	}
	return tree.list(folder, limit)
}

// list names the first entries.
func (t treeData) list(folder string, limit int) (entries []gitmodels.TreeEntry, err error) {
	unknown := uint32(0)
	err = t.each(func(mode uint32, name, _ []byte) bool {
		if len(entries) >= limit {
			return false
		}
		kind, ok := fileKind(mode)
		if !ok {
			unknown = mode
			return false
		}
		entries = append(entries, gitmodels.TreeEntry{Name: string(name), Kind: kind})
		return true
	})
	if err == nil && unknown != 0 {
		err = t.fault("a name in %s has the mode %o, which git does not know", gitmodels.Printable(folder, 200), unknown)
	}
	return entries, err
}

// fileKind is what the mode of a tree entry stands for.
func fileKind(mode uint32) (kind gitmodels.FileKind, ok bool) {
	switch mode & modeType {
	case modeFile:
		return gitmodels.KindFile, true
	case modeTree:
		return gitmodels.KindFolder, true
	case modeLink:
		return gitmodels.KindLink, true
	case modeCommit:
		return gitmodels.KindSubmodule, true
	}
	return "", false
}

// checkPath refuses what is no clean relative path.
func checkPath(p string) error {
	bad := ""
	for part := range strings.SplitSeq(p, "/") {
		switch part {
		case "":
			bad = "an empty part"
		case ".", "..":
			bad = "the part " + part
		}
	}
	if strings.HasPrefix(p, "/") {
		bad = "a leading slash"
	}
	if strings.ContainsFunc(p, func(c rune) bool { return c < 0x20 || c == 0x7f }) {
		bad = "a control character"
	}
	if bad == "" {
		return nil
	}
	return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "look up path",
		Message: fmt.Sprintf("path %q has %s: want a path inside the repository", gitmodels.Printable(p, 200), bad)}
}

// lookup walks from the tree root to path.
func (o *objects) lookup(root, path string) (gitmodels.TreeFile, error) {
	file := gitmodels.TreeFile{Path: path, Kind: gitmodels.KindAbsent}
	tree, parts := root, strings.Split(path, "/")
	for i, part := range parts {
		t, err := o.tree(tree)
		if err != nil {
			return file, err
		}
		entry, ok, err := t.find(part)
		if err != nil || !ok {
			return file, err
		}
		last := i == len(parts)-1
		switch {
		case entry.is(modeLink):
			file.Kind, file.Link = gitmodels.KindLink, strings.Join(parts[:i+1], "/")
			return file, nil
		case entry.is(modeCommit):
			file.Kind = gitmodels.KindSubmodule
			return file, nil
		case entry.is(modeTree) && last:
			file.Kind = gitmodels.KindFolder
			return file, nil
		case entry.is(modeTree):
			tree = entry.id
		case entry.is(modeFile) && last:
			return o.blob(file, entry)
		case entry.is(modeFile):
			return file, nil // a file has nothing below it
		default:
			return file, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "look up path",
				Message: fmt.Sprintf("%s has the mode %o in the commit's tree, which git does not know", gitmodels.Printable(path, 200), entry.mode)}
		}
	}
	return file, nil
}

func (o *objects) blob(file gitmodels.TreeFile, entry treeEntry) (gitmodels.TreeFile, error) {
	obj, err := o.get(entry.id, gitmodels.MaxPipelineFile)
	if err != nil {
		return file, &gitmodels.Error{Op: "read " + gitmodels.Printable(file.Path, 200) + " (" + entry.id + ")", Err: err}
	}
	if obj.kind != "blob" {
		return file, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "look up path",
			Message: fmt.Sprintf("%s is listed as a file in the commit's tree, but is a %s", gitmodels.Printable(file.Path, 200), obj.kind)}
	}
	file.Size, file.Data, file.Kind = obj.size, obj.data, gitmodels.KindFile
	if obj.data == nil {
		file.Kind = gitmodels.KindTooLarge
	}
	return file, nil
}
