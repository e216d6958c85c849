// Package store keeps results in folders of this host: the gitmodels.Store for
// file:// URIs.
//
// The folders it copies from were written by a hostile job, so they are read
// through os.Root: regular files only, counts and bytes bounded, nothing
// outside reached. A prefix appears whole or not at all: files are copied into
// a sibling folder .NAME.partial, made durable, and that folder is renamed.
//
// It must never import another adapter, start a process or reach the network.
package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// RunFile is the name of the record that Finish writes last. A job's own file of
// that name at the top of its folder is left out: it could forge completion.
const RunFile = "run.json"

const runPartial = "." + RunFile + ".partial" // run.json in the making

// Bounds on one Put. What lies beyond is left out and named in a warning.
const (
	MaxFiles   = 100_000
	MaxBytes   = 1 << 40  // logical bytes of all files
	MaxHoles   = 64 << 30 // bytes of all files that take no space, but time to read
	MaxEntries = 400_000  // directory entries looked at
	MaxFolders = 32       // depth of folders
	maxWarned  = 20       // warnings of one Put
	spare      = 16 << 20
)

// Dir is a store in folders. Its zero value serves nothing; use New.
type Dir struct {
	roots []string
	bad   []string                        // roots that are no URIs, and why, for the refusals
	free  func(dir string) (int64, error) // bytes that may still be written at dir
}

// New is the store of the state directory home: it serves URIs below
// <home>/store, or, when roots are given, below these file:// URIs instead (what
// policy allows). Roots of other schemes belong to other stores and are passed
// over, and one that is no URI is named when a prefix is refused. A root that
// does not exist is made on first use.
func New(home string, roots ...string) *Dir {
	d := &Dir{free: free}
	for _, r := range roots {
		if !strings.HasPrefix(r, scheme) {
			continue
		}
		if p, err := Path(r); err == nil {
			d.roots = append(d.roots, p)
		} else {
			d.bad = append(d.bad, err.Error())
		}
	}
	if len(roots) == 0 {
		d.roots = []string{filepath.Join(home, "store")}
	}
	return d
}

// Put implements gitmodels.Store. The paths of the files are relative to src.
// Too little space is an Error of Kind Waiting; a URI outside the allowed roots,
// or one that holds a finished run of other content, of Kind Invalid. Another
// Put to the same prefix at the same time is Waiting too.
func (d *Dir) Put(ctx context.Context, uri, src string) (files []gitmodels.File, warnings []string, err error) {
	root, dest, err := d.open(uri)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	from, err := os.OpenRoot(src)
	if err != nil {
		return nil, nil, internal("opening the results", err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()

	found, err := survey(ctx, from)
	if err != nil {
		return nil, nil, internal("reading the results", err)
	}
	if err := d.room(root.Name(), found.disk); err != nil {
		return nil, nil, err
	}
	stage, err := begin(root, dest)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, stage.end(err == nil)) }()
	files, err = stage.fill(ctx, from, found)
	if err != nil {
		return nil, nil, d.full(root.Name(), found.disk, err)
	}
	if err := stage.commit(ctx, files); err != nil {
		return nil, nil, d.full(root.Name(), found.disk, err)
	}
	return files, found.warned(), nil
}

// Finish implements gitmodels.Store.
func (d *Dir) Finish(ctx context.Context, uri string, runJSON []byte) (err error) {
	root, dest, err := d.open(uri)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	name := path.Join(dest, RunFile)
	switch old, err := root.ReadFile(name); {
	case err == nil && bytes.Equal(old, runJSON):
		return nil
	case err == nil:
		return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "finishing " + uri,
			Message: fmt.Sprintf("store %s holds a finished run of other content", gitmodels.Printable(uri, 200))}
	case !errors.Is(err, fs.ErrNotExist):
		return internal("reading "+RunFile, err)
	}
	if err := d.room(root.Name(), int64(len(runJSON))); err != nil {
		return err
	}
	if err := makeFolders(root, dest); err != nil {
		return d.full(root.Name(), 0, err)
	}
	// Two runners that finish at once both write equal bytes to the same name.
	partial := path.Join(dest, runPartial)
	if err := writeFile(root, partial, runJSON); err != nil {
		return d.full(root.Name(), int64(len(runJSON)), err)
	}
	if err := root.Rename(partial, name); err != nil {
		return internal("placing "+RunFile, err)
	}
	return syncFolder(root, dest)
}

// open resolves the URI to a root and the path below it.
func (d *Dir) open(uri string) (root *os.Root, dest string, err error) {
	p, err := Path(uri)
	if err != nil {
		return nil, "", err
	}
	for _, r := range d.roots {
		rel, ok := strings.CutPrefix(p, strings.TrimSuffix(r, "/")+"/")
		if !ok || rel == "" {
			continue
		}
		if err := os.MkdirAll(r, 0o750); err != nil {
			return nil, "", waiting(fmt.Sprintf("store: %s cannot be made", r), err)
		}
		root, err := os.OpenRoot(r)
		if err != nil {
			return nil, "", waiting(fmt.Sprintf("store: %s cannot be opened", r), err)
		}
		return root, rel, nil
	}
	return nil, "", &gitmodels.Error{Kind: gitmodels.Invalid, Op: "opening the store",
		Message: fmt.Sprintf("store %s is not below an allowed store (%s)", gitmodels.Printable(uri, 200), strings.Join(slices.Concat(d.roots, d.bad), ", "))}
}

// room refuses a copy that would fill the disk.
func (d *Dir) room(dir string, need int64) error {
	have, err := d.free(dir)
	if err != nil {
		return internal("asking for free space", err)
	}
	if have < need+spare {
		return noSpace(dir, have, need)
	}
	return nil
}

// full turns "no space left" in the middle of a copy into Waiting.
func (d *Dir) full(dir string, need int64, err error) error {
	var known *gitmodels.Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT):
		return internal("copying to "+dir, err)
	}
	have, freeErr := d.free(dir)
	if freeErr != nil {
		return waiting("store: no space left on "+dir, err)
	}
	return noSpace(dir, have, need)
}

func noSpace(dir string, have, need int64) error {
	return waiting(fmt.Sprintf("store: %s free on %s, %s asked", size(have), dir, size(need+spare)), nil)
}

func waiting(message string, err error) error {
	return &gitmodels.Error{Kind: gitmodels.Waiting, Op: "storing results", Message: message, Err: err}
}

func internal(op string, err error) error {
	return &gitmodels.Error{Kind: gitmodels.Internal, Op: op, Err: err}
}

// size writes bytes as people read them.
func size(n int64) string {
	units := []string{"bytes", "kB", "MB", "GB", "TB"}
	f, i := float64(n), 0
	for f >= 1000 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	if i == 0 || f >= 10 {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// free is what an ordinary user may still write on dir's file system.
func free(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	blocks := s.Bavail
	if limit := uint64(1<<62) / uint64(s.Bsize); blocks > limit {
		blocks = limit
	}
	return int64(blocks) * s.Bsize, nil
}
