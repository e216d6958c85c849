package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// removeAll removes what lies at path, also folders that a job has locked by
// taking their permissions away. It never leaves path: symbolic links are
// removed, not followed. What is gone is no error.
func removeAll(path string) error {
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := unlock(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unlocking %s: %w", path, err)
	}
	return os.RemoveAll(path)
}

// unlock gives the owner every permission on each folder from path down, through
// a root at its parent.
func unlock(path string) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer root.Close()
	return unlockBelow(root, filepath.Base(path))
}

func unlockBelow(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if err != nil || !info.IsDir() {
		return err
	}
	if err := root.Chmod(name, 0o700); err != nil {
		return err
	}
	dir, err := root.Open(name)
	if err != nil {
		return err
	}
	entries, err := dir.ReadDir(-1)
	if closeErr := dir.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := unlockBelow(root, filepath.Join(name, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
