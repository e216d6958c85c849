package cli

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// localFiles are the files of this machine.
type localFiles struct{}

func (localFiles) Close() error { return nil }

// open implements source.
func (localFiles) open(_ context.Context, dir, name string) (io.ReadCloser, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := noLinks(root, name); err != nil {
		return nil, err
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, fmt.Errorf("%s is no regular file", shown(name)))
	}
	return f, nil
}

// noLinks refuses a name that a symbolic link is part of. What is not there yet
// is no link.
func noLinks(root *os.Root, name string) error {
	parts := strings.Split(name, "/")
	for i := range parts {
		at := strings.Join(parts[:i+1], "/")
		info, err := root.Lstat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case info.Mode()&fs.ModeSymlink != 0:
			return fmt.Errorf("%s is a symbolic link", gitmodels.Printable(filepath.Join(root.Name(), at), 0))
		case i < len(parts)-1 && !info.IsDir():
			return fmt.Errorf("%s is no folder", gitmodels.Printable(filepath.Join(root.Name(), at), 0))
		}
	}
	return nil
}

// fetchInto brings the files into dir, all or none. They are gathered beside it,
// every checksum proven, before the first gets its name; a failure leaves dir as
// it was.
func (p *program) fetchInto(ctx context.Context, from source, r results, files []artifact, dir string) (err error) {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return err
	}
	base, err := os.OpenRoot(parent)
	if err != nil {
		return err
	}
	defer base.Close()
	name := filepath.Base(dir)
	missing, err := missingFrom(base, name, files)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		work := "." + name + "." + rand.Text()[:8] + ".partial"
		if err := base.Mkdir(work, 0o777); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, base.RemoveAll(work)) }()
		for _, f := range missing {
			if err := gather(ctx, from, r, base, work, f); err != nil {
				return err
			}
		}
		if err := settle(base, work, name, missing); err != nil {
			return err
		}
	}
	for i := range files {
		file := filepath.Join(dir, files[i].Path)
		files[i].File = &file
	}
	if there := len(files) - len(missing); there > 0 {
		p.say("%s there already, and the same", count(there, "file"))
	}
	return nil
}

// missingFrom lists the files that the folder name does not have. One that
// differs is an error: it may be anybody's work.
func missingFrom(base *os.Root, name string, files []artifact) (missing []artifact, err error) {
	for _, f := range files {
		at := name + "/" + f.Path
		if err := noLinks(base, at); err != nil {
			return nil, &gitmodels.Error{Kind: gitmodels.Invalid, Message: "refused: " + err.Error() + "; nothing was fetched",
				Hint: "git models download --to OTHER " + name}
		}
		sum, size, err := sumOf(base, at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, f)
		case err != nil:
			return nil, err
		case size != f.Size || sum != f.SHA256:
			return nil, &gitmodels.Error{Kind: gitmodels.Invalid,
				Message: "refused: " + gitmodels.Printable(filepath.Join(base.Name(), at), 0) + " is there and differs from the run's; nothing was fetched",
				Hint:    "git models download --to OTHER " + name}
		}
	}
	return missing, nil
}

// sumOf reads a file of ours.
func sumOf(root *os.Root, name string) (sum string, size int64, err error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", 0, errors.Join(err, fmt.Errorf("%s is no regular file", gitmodels.Printable(filepath.Join(root.Name(), name), 0)))
	}
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// gather copies one file into the folder work and proves its checksum.
func gather(ctx context.Context, from source, r results, base *os.Root, work string, f artifact) (err error) {
	fail := func(why string, err error) error {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Message: "artifact " + gitmodels.Printable(f.Path, 0) + " of " + r.name + " " + why +
			"; nothing was kept", Err: err}
	}
	in, err := from.open(ctx, r.artifacts, f.Path)
	if err != nil {
		return fail("cannot be read: "+gitmodels.Printable(err.Error(), 300), err)
	}
	defer in.Close()
	name := path.Join(work, f.Path)
	if err := base.MkdirAll(path.Dir(name), 0o777); err != nil {
		return err
	}
	out, err := base.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	h := sha256.New()
	// One byte more than it may have shows a file that has grown.
	n, err := io.Copy(io.MultiWriter(out, h), io.LimitReader(&interruptible{ctx, in}, f.Size+1))
	err = errors.Join(err, out.Close())
	sum := hex.EncodeToString(h.Sum(nil))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fail("could not be copied: "+gitmodels.Printable(err.Error(), 300), err)
	case n != f.Size:
		return fail(fmt.Sprintf("is not what the run stored: it has another size than %d bytes", f.Size), nil)
	case sum != f.SHA256:
		return fail("is not what the run stored: its SHA-256 is "+sum+", not "+f.SHA256, nil)
	}
	return nil
}

// interruptible is a reader that ends with its context.
type interruptible struct {
	ctx context.Context
	in  io.Reader
}

func (r *interruptible) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.in.Read(b)
}

// settle gives what was gathered its name: the folder as a whole when there is
// none yet, else file by file, replacing nothing.
func settle(base *os.Root, work, name string, files []artifact) error {
	dir, err := os.Open(base.Name())
	if err != nil {
		return err
	}
	defer dir.Close()
	fd := int(dir.Fd())
	move := func(from, to string) error {
		err := unix.Renameat2(fd, from, fd, to, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // a file system that knows no such renaming
			if _, err := base.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
				return errors.Join(err, unix.EEXIST)
			}
			err = base.Rename(from, to)
		}
		if err != nil {
			return &gitmodels.Error{Op: "placing " + gitmodels.Printable(to, 200), Err: err}
		}
		return nil
	}
	if _, err := base.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return move(work, name)
	}
	for _, f := range files {
		to := name + "/" + f.Path
		if err := noLinks(base, to); err != nil {
			return err
		}
		if err := base.MkdirAll(path.Dir(to), 0o777); err != nil {
			return err
		}
		if err := move(work+"/"+f.Path, to); err != nil {
			return err
		}
	}
	return nil
}

// passable reports whether this account may go through the folder.
func passable(dir string) bool { return unix.Access(dir, unix.X_OK) == nil }

// ownerName is who owns a file.
func ownerName(info fs.FileInfo) string {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "unknown"
	}
	uid := strconv.FormatUint(uint64(stat.Uid), 10)
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return "uid " + uid
}
