package builder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// slot is a storage of buildah or podman that one build has for itself, so that
// whatever runs, is mounted or is left in it is that build's.
type slot struct {
	dir  string
	lock *os.File
	kept bool // it stays for the next build
}

// maxSlots is more than the builds that one host runs at once.
const maxSlots = 1000

// takeSlot takes the first free slot of Options.Storage, or one in the build's
// own folder, and cleans away what a crash left in it.
func (j *job) takeSlot() (*slot, error) {
	s := &slot{dir: j.path("storage")}
	if j.o.Storage != "" {
		var err error
		if s, err = lockSlot(filepath.Join(j.o.Storage, j.name)); err != nil {
			return nil, fsError("taking a slot below "+j.o.Storage, err)
		}
	}
	j.storage = s.dir
	if err := j.sweepSlot(s); err != nil {
		return nil, errors.Join(err, s.leave(j))
	}
	return s, nil
}

// sweepSlot ends and removes what is not layers.
func (j *job) sweepSlot(s *slot) error {
	if err := end(j.ours(0)); err != nil {
		return j.left(err)
	}
	if err := unmountBelow(s.dir); err != nil {
		return j.internal("unmounting what a build left in "+s.dir, err)
	}
	// podman notes there where its run folder is, which is another at each build.
	if err := os.RemoveAll(filepath.Join(s.dir, "store/libpod")); err != nil {
		return fsError("cleaning "+s.dir, err)
	}
	return fsError("making "+s.dir, os.MkdirAll(s.dir, 0o700))
}

func lockSlot(prefix string) (*slot, error) {
	for i := range maxSlots {
		dir := fmt.Sprintf("%s-%d", prefix, i)
		f, err := os.OpenFile(dir+".lock", os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case errors.Is(err, unix.EWOULDBLOCK):
			if err := f.Close(); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, errors.Join(err, f.Close())
		default:
			return &slot{dir: dir, lock: f, kept: true}, nil
		}
	}
	return nil, fmt.Errorf("all %d slots are taken", maxSlots)
}

// leave gives the slot back without a mount in it.
func (s *slot) leave(j *job) error {
	err := j.left(errors.Join(end(j.ours(0)), unmountBelow(s.dir)))
	j.storage = ""
	if s.lock != nil {
		// A child that is just being forked holds the file too: closing is not enough.
		err = errors.Join(err, unix.Flock(int(s.lock.Fd()), unix.LOCK_UN), s.lock.Close())
	}
	return err
}
