package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// stage is a prefix in the making: the folder .NAME.partial beside it, held by
// a lock so that two never fill it at once.
type stage struct {
	root *os.Root
	dest string // the prefix, relative to root
	part string // the folder in the making
	old  string // where a prefix that is replaced waits for its removal
	lock *os.File
}

// begin takes an empty stage, clearing what a crash left behind.
func begin(root *os.Root, dest string) (*stage, error) {
	parent, name := path.Split(dest)
	s := &stage{root: root, dest: dest, part: parent + "." + name + ".partial", old: parent + "." + name + ".old"}
	if err := makeFolders(root, path.Dir(dest)); err != nil {
		return nil, waiting("store: the folder of "+dest+" cannot be made", err)
	}
	for range 100 {
		if err := root.Mkdir(s.part, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, waiting("store: "+s.part+" cannot be made", err)
		}
		held, err := s.take()
		if err != nil {
			return nil, err
		}
		if held {
			return s, s.clear()
		}
	}
	return nil, waiting("store: another copy to "+dest+" is under way", nil)
}

// take locks the folder and checks that it is still the one at its place: the
// holder before us may have renamed it.
func (s *stage) take() (bool, error) {
	f, err := s.root.Open(s.part)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, internal("opening "+s.part, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return false, errors.Join(waiting("store: another copy to "+s.dest+" is under way", err), f.Close())
	}
	mine, err := f.Stat()
	if err != nil {
		return false, errors.Join(internal("looking at "+s.part, err), f.Close())
	}
	there, err := s.root.Lstat(s.part)
	if err != nil || !os.SameFile(mine, there) {
		return false, f.Close()
	}
	s.lock = f
	return true, nil
}

// clear empties the stage.
func (s *stage) clear() error {
	list, err := readFolder(s.root, s.part, 1<<30)
	if err != nil {
		return internal("clearing "+s.part, err)
	}
	for _, e := range list {
		if err := s.root.RemoveAll(path.Join(s.part, e.Name())); err != nil {
			return internal("clearing "+s.part, err)
		}
	}
	return nil
}

// end lets the stage go. After a success it has been renamed or removed.
func (s *stage) end(done bool) error {
	var err error
	if !done {
		err = s.root.RemoveAll(s.part)
	}
	return errors.Join(err, s.lock.Close())
}

// fill copies the files and makes them durable, all at once.
func (s *stage) fill(ctx context.Context, from *os.Root, f *found) ([]gitmodels.File, error) {
	files := make([]gitmodels.File, 0, len(f.files))
	folders := map[string]bool{".": true}
	for _, p := range f.files {
		if folder := path.Dir(p); !folders[folder] {
			if err := s.root.MkdirAll(path.Join(s.part, folder), 0o750); err != nil {
				return nil, err
			}
			for ; !folders[folder]; folder = path.Dir(folder) {
				folders[folder] = true
			}
		}
		file, err := s.copy(ctx, from, p)
		var skip *unreadable
		if errors.As(err, &skip) {
			f.warn(p, skip.why)
			continue
		}
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	// One syncfs(2) for all, as a fsync for each of many small files takes a
	// commit of the journal each.
	if err := unix.Syncfs(int(s.lock.Fd())); err != nil {
		return nil, fmt.Errorf("making %s durable: %w", s.part, err)
	}
	return files, nil
}

// unreadable says that a source file could not be read: it is left out.
type unreadable struct{ why string }

func (e *unreadable) Error() string { return e.why }

// copy copies one file. It copies as many bytes as the file has when it is
// opened: one that is still being written cannot make the copy endless.
func (s *stage) copy(ctx context.Context, from *os.Root, p string) (file gitmodels.File, err error) {
	in, length, err := openRegular(from, p)
	if err != nil {
		return file, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	name := path.Join(s.part, p)
	out, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return file, err
	}
	sum := sha256.New()
	n, err := transfer(ctx, out, in, length, sum)
	if err = errors.Join(err, out.Close()); err != nil {
		var skip *unreadable
		if errors.As(err, &skip) {
			err = errors.Join(err, s.root.Remove(name))
		}
		return file, err
	}
	return gitmodels.File{Path: p, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// openRegular opens a file of the job that is regular now and was when looked
// at; a pipe put in its place does not hold us up (O_NONBLOCK).
func openRegular(from *os.Root, p string) (*os.File, int64, error) {
	before, err := from.Lstat(p)
	if err != nil {
		return nil, 0, &unreadable{reason(err)}
	}
	in, err := from.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, &unreadable{reason(err)}
	}
	info, err := in.Stat()
	if err != nil {
		return nil, 0, errors.Join(&unreadable{reason(err)}, in.Close())
	}
	if !info.Mode().IsRegular() || !os.SameFile(before, info) {
		return nil, 0, errors.Join(&unreadable{"it is no longer a regular file"}, in.Close())
	}
	return in, info.Size(), nil
}

// transfer copies up to length bytes, hashing them, and leaves runs of zeros as
// holes, so that a sparse file stays one.
func transfer(ctx context.Context, out *os.File, in io.Reader, length int64, sum io.Writer) (int64, error) {
	buf := make([]byte, 256<<10)
	var n int64
	for n < length {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		k, err := io.ReadFull(in, buf[:min(int64(len(buf)), length-n)])
		if k > 0 {
			if _, err := sum.Write(buf[:k]); err != nil {
				return n, err
			}
			if !zeros(buf[:k]) {
				if _, err := out.WriteAt(buf[:k], n); err != nil {
					return n, err
				}
			}
			n += int64(k)
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return n, &unreadable{reason(err)}
		}
	}
	return n, out.Truncate(n)
}

func zeros(b []byte) bool {
	for len(b) >= 8 {
		if b[0]|b[1]|b[2]|b[3]|b[4]|b[5]|b[6]|b[7] != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// commit puts the stage in its place. Equal content that is there already
// stays; other content is replaced unless its run is finished. A finished
// prefix may hold more: what was put to prefixes below it, such as logs.
func (s *stage) commit(ctx context.Context, files []gitmodels.File) error {
	there, finished, err := s.existing(ctx)
	switch {
	case err != nil:
		return err
	case there != nil && slices.Equal(there, files), finished && contains(there, files):
		return s.discard()
	case finished:
		return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "storing results",
			Message: fmt.Sprintf("store: %s holds a finished run of other content", path.Join(s.root.Name(), s.dest))}
	}
	if err := s.root.RemoveAll(s.old); err != nil {
		return err
	}
	if there != nil {
		if err := s.root.Rename(s.dest, s.old); err != nil {
			return err
		}
	}
	if err := s.root.Rename(s.part, s.dest); err != nil {
		return err
	}
	if err := syncFolder(s.root, path.Dir(s.dest)); err != nil {
		return err
	}
	return s.root.RemoveAll(s.old)
}

// discard drops the stage, and what a crash in the middle of a replacement left.
func (s *stage) discard() error {
	if err := s.root.RemoveAll(s.old); err != nil {
		return err
	}
	return s.root.RemoveAll(s.part)
}

// existing lists what the prefix holds now, without run.json, and whether its
// run is finished; nil when there is nothing there.
func (s *stage) existing(ctx context.Context) (files []gitmodels.File, finished bool, err error) {
	if _, err := s.root.Lstat(s.dest); errors.Is(err, fs.ErrNotExist) {
		finished, err := s.finished()
		return nil, finished, err
	}
	dir, err := s.root.OpenRoot(s.dest)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if finished, err = s.finished(); err != nil {
		return nil, false, err
	}
	f, err := survey(ctx, dir)
	if err != nil {
		return nil, false, err
	}
	files = []gitmodels.File{}
	for _, p := range f.files {
		in, length, err := openRegular(dir, p)
		if err != nil {
			return nil, false, err
		}
		sum := sha256.New()
		n, err := io.Copy(sum, &reading{ctx, io.LimitReader(in, length)})
		if err = errors.Join(err, in.Close()); err != nil {
			return nil, false, err
		}
		files = append(files, gitmodels.File{Path: p, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))})
	}
	return files, finished, nil
}

// finished reports whether the prefix, or one it lies below, holds a run.json.
func (s *stage) finished() (bool, error) {
	for p := s.dest; p != "."; p = path.Dir(p) {
		if _, err := s.root.Lstat(path.Join(p, RunFile)); err == nil {
			return true, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

// contains reports whether every one of files is among all; both are sorted.
func contains(all, files []gitmodels.File) bool {
	for _, f := range files {
		i, ok := slices.BinarySearchFunc(all, f.Path, func(a gitmodels.File, p string) int { return strings.Compare(a.Path, p) })
		if !ok || all[i] != f {
			return false
		}
	}
	return true
}

// reading stops when its context ends.
type reading struct {
	ctx context.Context
	io.Reader
}

func (r *reading) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}

// makeFolders makes folder and its parents, and makes their names durable.
func makeFolders(root *os.Root, folder string) error {
	if folder == "." {
		return nil
	}
	if info, err := root.Stat(folder); err == nil && info.IsDir() {
		return nil
	}
	if err := root.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	for f := folder; f != "."; f = path.Dir(f) {
		if err := syncFolder(root, path.Dir(f)); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(root *os.Root, name string, data []byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncFolder(root *os.Root, folder string) error {
	f, err := root.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
