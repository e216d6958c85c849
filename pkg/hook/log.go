package hook

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// maxLog is the size at which hooks.log becomes hooks.log.1: whoever can push
// can make a hook fail, and must not fill the disk with it.
const maxLog = 8 << 20

// NewFaultID names one failure for the pusher and the operator alike.
func NewFaultID() string {
	var b [6]byte
	rand.Read(b[:]) // never fails: it ends the program instead
	return hex.EncodeToString(b[:])
}

// Log writes one line to <home>/log/hooks.log, the operator's: what a hook was
// doing and why it failed, under the id that the pusher was told.
func Log(home, hook, id, repository string, cause error) (err error) {
	if home == "" {
		return errors.New("no state directory is known")
	}
	folder := filepath.Join(home, "log")
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	path := filepath.Join(folder, "hooks.log")
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o660)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if info, err := f.Stat(); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", path)
	}
	// Several accounts of one group may write it, whatever their umask; only the
	// owner can, and need, set that.
	if err := f.Chmod(0o660); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %s %s uid=%d repository=%s: %s\n", time.Now().UTC().Format(time.RFC3339), hook, id,
		os.Getuid(), gitmodels.Printable(repository, 300), gitmodels.Printable(cause.Error(), 8000))
	return err
}
