package gitrepo

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Bounds of a comparison of trees; beyond them one child of git is cheaper, or
// the trees were made to hurt.
const (
	maxCompared = 200     // trees read
	maxFolder   = 1 << 20 // bytes of one tree
	maxDepth    = 100     // folders in one another
)

// changed lists the paths that differ between the trees of two commits, in the
// order of git diff-tree -r --no-renames. Whatever is not as git writes trees is
// an error, for there git's own answer counts.
func (o *objects) changed(from, to gitmodels.CommitID) ([]string, error) {
	c := &comparison{objs: o}
	var before, after treeData
	var err error
	if !from.IsZero() {
		before, err = c.read(string(from) + "^{tree}")
	}
	if err == nil {
		after, err = c.read(string(to) + "^{tree}")
	}
	if err == nil {
		err = c.compare(before, after, "", 1)
	}
	return c.paths, err
}

type comparison struct {
	objs  *objects
	trees int
	paths []string
}

func (c *comparison) read(name string) (treeData, error) {
	if c.trees++; c.trees > maxCompared {
		return treeData{}, errUnusual
	}
	obj, err := c.objs.want(name, "tree", maxFolder)
	return treeData{obj.id, obj.data, c.objs.repo.idLength / 2}, err
}

// compare walks both sides in step. A side without data is an empty folder.
func (c *comparison) compare(before, after treeData, prefix string, depth int) error {
	if depth > maxDepth {
		return errUnusual
	}
	if before.id == after.id {
		return nil
	}
	a, err := before.strict()
	if err != nil {
		return err
	}
	b, err := after.strict()
	if err != nil {
		return err
	}
	for len(a) > 0 || len(b) > 0 {
		var old, now treeEntry
		order := 0
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		default:
			order = compareEntries(a[0], b[0])
		}
		if order <= 0 {
			old, a = a[0], a[1:]
		}
		if order >= 0 {
			now, b = b[0], b[1:]
		}
		if old == now {
			continue
		}
		if err := c.entry(old, now, prefix, depth); err != nil {
			return err
		}
	}
	return nil
}

// entry is one that differs; of an added or removed one a side is zero.
func (c *comparison) entry(old, now treeEntry, prefix string, depth int) error {
	some := old
	if some.name == "" {
		some = now
	}
	if !some.is(modeTree) {
		c.paths = append(c.paths, prefix+some.name)
		return nil
	}
	var before, after treeData
	var err error
	if old.id != "" {
		before, err = c.read(old.id)
	}
	if err == nil && now.id != "" {
		after, err = c.read(now.id)
	}
	if err != nil {
		return err
	}
	return c.compare(before, after, prefix+some.name+"/", depth+1)
}

// strict are the entries of a tree that is as git writes it: known modes, names
// that are names, sorted. Modes are as git compares them.
func (t treeData) strict() (entries []treeEntry, err error) {
	fault := t.each(func(mode uint32, name, id []byte) bool {
		mode, known := canonical(mode)
		e := treeEntry{mode, string(name), hex.EncodeToString(id)}
		last := len(entries) - 1
		if !known || len(name) == 0 || bytes.IndexByte(name, '/') >= 0 || last >= 0 && compareEntries(entries[last], e) >= 0 {
			err = fmt.Errorf("tree %s: %w", t.id, errUnusual)
		}
		entries = append(entries, e)
		return err == nil
	})
	return entries, errors.Join(fault, err)
}

// canonical is the mode that git takes a stored one for.
func canonical(mode uint32) (uint32, bool) {
	switch mode {
	case modeFile | 0o644, modeFile | 0o664: // the latter of long ago
		return modeFile | 0o644, true
	case modeFile | 0o755, modeLink, modeTree, modeCommit:
		return mode, true
	}
	return mode, false
}

// compareEntries orders entries as git sorts trees: a folder as if its name
// ended with a slash.
func compareEntries(a, b treeEntry) int {
	n := min(len(a.name), len(b.name))
	if a.name[:n] != b.name[:n] {
		return strings.Compare(a.name[:n], b.name[:n])
	}
	return int(a.after(n)) - int(b.after(n))
}

// after is the byte that follows the first n of a name.
func (e treeEntry) after(n int) byte {
	switch {
	case n < len(e.name):
		return e.name[n]
	case e.is(modeTree):
		return '/'
	}
	return 0
}
