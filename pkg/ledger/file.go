package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// networkFilesystems are the file systems on which SQLite's shared memory and
// locks do not hold between hosts, by the magic number of statfs(2).
var networkFilesystems = map[int64]string{
	unix.NFS_SUPER_MAGIC:  "NFS",
	unix.SMB_SUPER_MAGIC:  "SMB",
	unix.CIFS_SUPER_MAGIC: "CIFS",
	unix.SMB2_SUPER_MAGIC: "SMB",
	unix.AFS_SUPER_MAGIC:  "AFS",
	unix.CODA_SUPER_MAGIC: "Coda",
	unix.CEPH_SUPER_MAGIC: "Ceph",
	0x0BD00BD0:            "Lustre",
	0x47504653:            "GPFS",
}

// filesystemType is the magic number of the file system that holds dir.
func filesystemType(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	// The field is 32 bits wide on some systems and then carries the sign.
	return int64(uint32(s.Type)), nil
}

// refuseNetwork fails when home lies on a network file system.
func refuseNetwork(home string, filesystem func(string) (int64, error)) error {
	magic, err := filesystem(home)
	if errors.Is(err, fs.ErrNotExist) {
		return &gitmodels.Error{Kind: gitmodels.NotFound,
			Message: fmt.Sprintf("state directory %s does not exist", gitmodels.Printable(home, 0)),
			Hint:    "git models install REPOSITORY",
			Op:      "opening the ledger", Err: err}
	}
	if err != nil {
		return &gitmodels.Error{Message: "the state directory cannot be read", Op: "opening the ledger", Err: err}
	}
	if name, ok := networkFilesystems[magic]; ok {
		return &gitmodels.Error{Kind: gitmodels.Invalid,
			Message: fmt.Sprintf("state directory %s is on %s, where a database is not safe: choose a local disk", gitmodels.Printable(home, 0), name),
			Hint:    "git config --system models.home /var/lib/git-models",
			Op:      "opening the ledger"}
	}
	return nil
}

// lockFolder takes the lock on the folder dir, waiting for whoever has it. The
// lock ends with the process at the latest.
func lockFolder(dir string) (unlock func() error, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "flock", Path: dir, Err: err}
	}
	return f.Close, nil
}

// createPrivate makes an empty file at path, readable and writable by the owner
// of home alone, unless there is a file already. It appears complete or not at
// all; SQLite gives the files beside it the same owner and mode.
func createPrivate(home, path string) error {
	info, err := os.Lstat(path)
	if err == nil {
		return keepPrivate(home, path, info)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.CreateTemp(home, FileName+".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	uid, gid, err := owner(home)
	if err != nil {
		return err
	}
	if os.Geteuid() == 0 && uid != 0 {
		if err := f.Chown(uid, gid); err != nil {
			return err
		}
	}
	// A link, unlike a rename, leaves alone what has come there meanwhile.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// keepPrivate takes the rights of others off an existing database. A process of
// another user, root included, changes nothing: what stands in a folder of
// somebody else may be a link to a file of ours.
func keepPrivate(home, path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return &gitmodels.Error{Kind: gitmodels.Invalid,
			Message: fmt.Sprintf("%s is not a regular file: move it away", gitmodels.Printable(path, 0))}
	}
	uid, _, err := owner(home)
	if err != nil {
		return err
	}
	if stat := info.Sys().(*syscall.Stat_t); uid != os.Geteuid() || int(stat.Uid) != uid || info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return os.Chmod(path, info.Mode().Perm()&^0o077)
}

// owner is the user and the group a folder belongs to.
func owner(dir string) (uid, gid int, err error) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0, 0, err
	}
	stat := info.Sys().(*syscall.Stat_t)
	return int(stat.Uid), int(stat.Gid), nil
}
