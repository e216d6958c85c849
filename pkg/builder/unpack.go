package builder

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path"
	"time"
)

// folderSink writes a context below a folder, through os.Root.
type folderSink struct {
	root    *os.Root
	folders map[string]time.Time // when each was changed, set last
}

func newFolderSink(dir string) (*folderSink, error) {
	root, err := os.OpenRoot(dir)
	return &folderSink{root, map[string]time.Time{}}, err
}

func (s *folderSink) member(h *tar.Header, content io.Reader) error {
	dir := h.Name
	if h.Typeflag != tar.TypeDir {
		dir = path.Dir(h.Name)
	}
	if _, ok := s.folders[dir]; !ok {
		if err := s.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		s.folders[dir] = time.Time{}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		s.folders[dir] = h.ModTime
		return s.root.Chmod(dir, os.FileMode(h.Mode)|0o700)
	case tar.TypeSymlink:
		return s.root.Symlink(h.Linkname, h.Name)
	}
	return s.file(h, content)
}

func (s *folderSink) file(h *tar.Header, content io.Reader) (err error) {
	f, err := s.root.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err = errors.Join(err, f.Chmod(os.FileMode(h.Mode)|0o400), f.Close()); err != nil {
		return err
	}
	return s.root.Chtimes(h.Name, h.ModTime, h.ModTime)
}

// close sets the times of the folders, which their members changed.
func (s *folderSink) close() error {
	for dir, at := range s.folders {
		if at.IsZero() {
			continue
		}
		if err := s.root.Chtimes(dir, at, at); err != nil {
			return err
		}
	}
	return nil
}
