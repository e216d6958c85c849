package spool

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const (
	fileMode    = 0o640 // the runner reads it as a member of the folder's group
	privateMode = fs.FileMode(0o700)
	sharedMode  = fs.FileMode(0o770) | fs.ModeSetgid | fs.ModeSticky // each account its own files, the group all of them
	homeMode    = fs.FileMode(0o711)                                 // a way through to the socket
	suffix      = ".json"
	// leftover is the age at which an unfinished file is nobody's any more: a
	// hook writes one in milliseconds.
	leftover = time.Hour
)

// The spool's folders: entries are written in tmp, wait in new, and are set
// aside in bad.
func root(home string) string   { return filepath.Join(home, "spool") }
func tmpDir(home string) string { return filepath.Join(root(home), "tmp") }
func newDir(home string) string { return filepath.Join(root(home), "new") }
func badDir(home string) string { return filepath.Join(root(home), "bad") }

// NewID is a push's id: it sorts by time, and no two are equal.
func NewID(now time.Time) string {
	var b [8]byte
	rand.Read(b[:]) // never fails: it ends the program instead
	return now.UTC().Format("20060102T150405.000000000Z") + "-" + hex.EncodeToString(b[:])
}

// Prepare makes the spool's folders below home, and home itself. With a gid the
// folders belong to that group and its members may write (mode 3770), but for
// that of entries set aside, which only the runner writes; without (negative) folders that are missing are made private, and those that exist
// stay as they are. It sweeps what dead hooks left behind.
func Prepare(home string, gid int) error {
	if !filepath.IsAbs(home) {
		return fmt.Errorf("state directory %s is not an absolute path", home)
	}
	if err := os.MkdirAll(filepath.Dir(home), 0o755); err != nil {
		return err
	}
	if err := folder(home, homeMode, -1); err != nil {
		return err
	}
	mode := privateMode
	if gid >= 0 {
		mode = sharedMode
	}
	for _, dir := range []string{root(home), newDir(home)} {
		if err := folder(dir, mode, gid); err != nil {
			return err
		}
	}
	if err := folder(badDir(home), privateMode, -1); err != nil {
		return err
	}
	// This one is the last: who can write an entry in it must find the others.
	if err := folder(tmpDir(home), mode, gid); err != nil {
		return err
	}
	return sweep(home)
}

// folder makes dir with mode whatever the umask; one that exists is changed only
// for a group.
func folder(dir string, mode fs.FileMode, gid int) error {
	err := os.Mkdir(dir, mode.Perm())
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	made := err == nil
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", dir)
	}
	if gid >= 0 && int(info.Sys().(*syscall.Stat_t).Gid) != gid {
		if err := os.Lchown(dir, -1, gid); err != nil {
			return err
		}
		made = true // chown clears set-group-id
	}
	const all = fs.ModePerm | fs.ModeSetgid | fs.ModeSticky | fs.ModeSetuid
	if (made || gid >= 0) && info.Mode()&all != mode {
		return os.Chmod(dir, mode)
	}
	return nil
}

// Write makes p durable: when it returns nil, the push survives a power cut. A
// spool that does not exist yet is prepared.
func Write(home string, p gitmodels.Push) error {
	if err := checkID(p.ID); err != nil {
		return err
	}
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if len(data) > maxEntry {
		return fmt.Errorf("push %s takes %d bytes, the bound is %d", p.ID, len(data), maxEntry)
	}
	tmp := filepath.Join(tmpDir(home), p.ID)
	err = create(tmp, data)
	if errors.Is(err, fs.ErrNotExist) {
		if err := Prepare(home, -1); err != nil {
			return err
		}
		err = create(tmp, data)
	}
	if err != nil {
		return errors.Join(err, removeIfThere(tmp))
	}
	if err := os.Rename(tmp, filepath.Join(newDir(home), p.ID+suffix)); err != nil {
		return errors.Join(err, removeIfThere(tmp))
	}
	return syncFolder(newDir(home))
}

// create writes a new file and syncs it.
func create(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, fileMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Chmod(fileMode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) (err error) {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return d.Sync()
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sweep removes unfinished files whose hook is dead. What is no file no hook
// made, and what another account may keep here (a sticky folder) takes space and
// nothing else: neither may keep the pushes of everybody from being read.
func sweep(home string) error {
	entries, err := os.ReadDir(tmpDir(home))
	if err != nil {
		return err
	}
	var failed error
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.IsDir() || time.Since(info.ModTime()) < leftover {
			continue // gone meanwhile, no hook's, or young
		}
		if err := removeIfThere(filepath.Join(tmpDir(home), e.Name())); !errors.Is(err, fs.ErrPermission) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}
