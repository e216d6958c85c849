package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// diskFree returns nil when the file system of folder has at least need bytes
// free for this user. Else the Error is of Kind Waiting and says how much there
// is. A folder that is not there yet, or may not be looked at, counts as the nearest
// one above it.
func diskFree(folder string, need int64) error {
	free, err := freeBytes(folder)
	if err != nil {
		return &gitmodels.Error{Kind: gitmodels.Internal, Op: "looking at the free space of " + folder, Err: err}
	}
	if free < need {
		return waiting("looking at the free space", nil, "disk: %s has %s free, a build wants %s", folder, size(free), size(need))
	}
	return nil
}

// isFull reports whether a file system that the build writes to has too little free
// now. Words alone are not believed: a step may print what it likes.
func (j *job) isFull() bool {
	for _, folder := range []string{j.o.Temp, j.storage, j.root} {
		if folder != "" && diskFree(folder, j.o.NeedFree) != nil {
			return true
		}
	}
	return false
}

func freeBytes(folder string) (int64, error) {
	for {
		var s unix.Statfs_t
		err := unix.Statfs(folder, &s)
		above := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
		if above && filepath.Dir(folder) != folder {
			folder = filepath.Dir(folder)
			continue
		}
		if err != nil {
			return 0, &os.PathError{Op: "statfs", Path: folder, Err: err}
		}
		return int64(s.Bavail) * s.Bsize, nil
	}
}

// size is a number of bytes in words.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}
