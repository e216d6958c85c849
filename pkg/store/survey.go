package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// found is what of a job's folder will be kept.
type found struct {
	files    []string // by path
	bytes    int64    // logical, as surveyed
	disk     int64    // allocated: a sparse file's holes take no space
	warnings []string
	muted    int
}

func (f *found) warn(p, why string) {
	if len(f.warnings) >= maxWarned {
		f.muted++
		return
	}
	f.warnings = append(f.warnings, fmt.Sprintf("store: %s is left out: %s", gitmodels.Printable(p, 80), why))
}

func (f *found) warned() []string {
	if f.muted > 0 {
		return append(f.warnings, fmt.Sprintf("store: and %d more left out", f.muted))
	}
	return f.warnings
}

// survey lists the regular files below root within the bounds. Hard links count
// as files of their own.
func survey(ctx context.Context, root *os.Root) (*found, error) {
	out := &found{}
	entries := 0
	folders := []string{"."}
	for len(folders) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		folder := folders[0]
		folders = folders[1:]
		list, err := readFolder(root, folder, MaxEntries-entries)
		if err != nil {
			if folder == "." {
				return nil, err
			}
			out.warn(folder, reason(err))
			continue
		}
		if entries += len(list); entries >= MaxEntries {
			out.warn(folder, fmt.Sprintf("the folders hold more than %d entries, the rest is not looked at", MaxEntries))
			folders = nil
		}
		for _, e := range list {
			if p := path.Join(folder, e.Name()); out.consider(root, p, e) {
				folders = append(folders, p)
			}
		}
	}
	slices.Sort(out.files)
	return out, nil
}

// consider adds a file, or reports that p is a folder to look into.
func (f *found) consider(root *os.Root, p string, e fs.DirEntry) (folder bool) {
	switch {
	case !printableName(e.Name()):
		f.warn(p, "a control character or broken UTF-8 in its name")
		return false
	case e.IsDir() && strings.Count(p, "/")+1 >= MaxFolders:
		f.warn(p, fmt.Sprintf("folders go deeper than %d", MaxFolders))
		return false
	case e.IsDir():
		return true
	case !e.Type().IsRegular():
		f.warn(p, "it is a "+kind(e.Type()))
		return false
	case p == RunFile || p == runPartial:
		f.warn(p, "this name is the run's own record")
		return false
	}
	info, err := root.Lstat(p)
	switch {
	case err != nil:
		f.warn(p, reason(err))
	case !info.Mode().IsRegular():
		f.warn(p, "it is a "+kind(info.Mode().Type()))
	case len(f.files) >= MaxFiles:
		f.warn(p, fmt.Sprintf("there are more than %d files", MaxFiles))
	case f.bytes+info.Size() > MaxBytes:
		f.warn(p, fmt.Sprintf("with it, more than %s", size(MaxBytes)))
	case f.bytes-f.disk+info.Size()-allocated(info) > MaxHoles:
		f.warn(p, fmt.Sprintf("with it, more than %s of holes", size(MaxHoles)))
	default:
		f.files = append(f.files, p)
		f.bytes += info.Size()
		f.disk += allocated(info)
	}
	return false
}

// readFolder returns at most limit entries, sorted by name.
func readFolder(root *os.Root, folder string, limit int) (list []fs.DirEntry, err error) {
	f, err := root.Open(folder)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	list, err = f.ReadDir(max(limit, 1))
	if err == io.EOF {
		err = nil
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return list, err
}

// allocated is what the file takes on the disk; st_blocks counts 512 bytes
// (stat(2)). A file system that compresses may need more elsewhere.
func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Blocks > 0 {
		return min(info.Size(), st.Blocks*512)
	}
	return 0
}

func kind(m fs.FileMode) string {
	switch m.Type() {
	case fs.ModeSymlink:
		return "symbolic link"
	case fs.ModeNamedPipe:
		return "pipe"
	case fs.ModeSocket:
		return "socket"
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		return "device"
	}
	return "special file"
}

// reason is an error without the path, which the warning shows escaped.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
