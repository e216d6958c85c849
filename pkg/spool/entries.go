package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Bounds of an entry.
const (
	maxEntry   = 16 << 20 // bytes; a hook's input has a bound of its own
	maxUpdates = 100_000
	maxOptions = 64
	maxOption  = 1024
	maxName    = 256
)

// Entries lists what waits, by id and so by time. A file that is no push has its
// Err; the error is for the folder as a whole. A spool that was never prepared
// is empty.
func Entries(home string) ([]gitmodels.SpoolEntry, error) {
	dir := newDir(home)
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := sweep(home); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	folder, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	entries := make([]gitmodels.SpoolEntry, 0, len(names))
	for _, n := range names {
		if n.IsDir() && foreign(n) {
			continue
		}
		e := gitmodels.SpoolEntry{ID: strings.TrimSuffix(n.Name(), suffix), Path: filepath.Join(dir, n.Name())}
		e.Push, e.Err = read(e, folder)
		if errors.Is(e.Err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b gitmodels.SpoolEntry) int { return strings.Compare(a.ID, b.ID) })
	return entries, nil
}

// foreign reports whether a folder belongs to another account. Then it is passed
// over: only that account can move it away (rename(2) has to write its `..`), and
// one that cannot be set aside would be in the way of every later push.
func foreign(e fs.DirEntry) bool {
	info, err := e.Info()
	return err == nil && int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid()
}

// read opens one entry without following a link or waiting for a writer, and
// believes nothing of it.
func read(e gitmodels.SpoolEntry, folder fs.FileInfo) (p gitmodels.Push, err error) {
	f, err := os.OpenFile(e.Path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if errors.Is(err, syscall.ELOOP) {
		return p, errors.New("it is a symbolic link")
	}
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return p, err
	}
	if err := checkFile(info, folder); err != nil {
		return p, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxEntry+1))
	if err != nil {
		return p, err
	}
	if len(data) > maxEntry {
		return p, fmt.Errorf("it is larger than %d bytes", maxEntry)
	}
	var push gitmodels.Push
	if err := json.Unmarshal(data, &push); err != nil {
		return p, fmt.Errorf("it is not a push in JSON: %w", err)
	}
	if push.ID != e.ID || e.Path != filepath.Join(filepath.Dir(e.Path), e.ID+suffix) {
		return p, fmt.Errorf("the push inside calls itself %s", gitmodels.Printable(push.ID, 80))
	}
	if err := check(push); err != nil {
		return p, err
	}
	return push, nil
}

// checkFile refuses what a hook does not write: anything but a regular file with
// one name, and, where only one account may write, a file of another one.
func checkFile(info, folder fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("it is not a regular file: %s", info.Mode())
	}
	if info.Size() > maxEntry {
		return fmt.Errorf("it has %d bytes, the bound is %d", info.Size(), maxEntry)
	}
	file, dir := info.Sys().(*syscall.Stat_t), folder.Sys().(*syscall.Stat_t)
	if file.Nlink > 1 {
		return fmt.Errorf("it has %d names", file.Nlink)
	}
	if shared := folder.Mode().Perm()&0o022 != 0; !shared && file.Uid != dir.Uid && file.Uid != 0 {
		return fmt.Errorf("it belongs to uid %d, the spool to %d", file.Uid, dir.Uid)
	}
	return nil
}

// check holds a push to the form in which a hook writes it.
func check(p gitmodels.Push) error {
	if err := checkID(p.ID); err != nil {
		return err
	}
	if !filepath.IsAbs(p.Repository) || filepath.Clean(p.Repository) != p.Repository || strings.ContainsRune(p.Repository, 0) {
		return fmt.Errorf("repository %s is not a plain absolute path", gitmodels.Printable(p.Repository, 200))
	}
	if len(p.Updates)+len(p.Acts) == 0 || len(p.Updates) > maxUpdates {
		return fmt.Errorf("%d updates, want 1 to %d, or something that is asked for", len(p.Updates), maxUpdates)
	}
	if err := checkActs(p.Acts); err != nil {
		return err
	}
	seen := map[gitmodels.RefName]bool{}
	for i, u := range p.Updates {
		_, errOld := gitmodels.ParseCommitID(string(u.Old))
		_, errNew := gitmodels.ParseCommitID(string(u.New))
		_, errRef := gitmodels.ParseRefName(string(u.Ref))
		if err := errors.Join(errOld, errNew, errRef); err != nil {
			return fmt.Errorf("update %d: %w", i+1, err)
		}
		if len(u.Old) != len(u.New) || seen[u.Ref] {
			return fmt.Errorf("update %d: ids of two lengths, or a ref that stands twice", i+1)
		}
		seen[u.Ref] = true
	}
	if len(p.Options) > maxOptions {
		return fmt.Errorf("%d push options, the bound is %d", len(p.Options), maxOptions)
	}
	for _, o := range p.Options {
		if len(o) > maxOption {
			return fmt.Errorf("a push option of %d bytes, the bound is %d", len(o), maxOption)
		}
	}
	if p.Pusher.Name == "" || len(p.Pusher.Name) > maxName || len(p.Pusher.Via) > maxName || len(p.Protocol) > maxName {
		return fmt.Errorf("no pusher, or one of more than %d bytes", maxName)
	}
	return nil
}

// checkActs holds what control refs asked to what is done later: the others are
// answered at once or not at all.
func checkActs(acts []gitmodels.Act) error {
	if len(acts) > len(gitmodels.Controls) {
		return fmt.Errorf("%d things asked for, want at most one by each control ref", len(acts))
	}
	for i, a := range acts {
		if a.Control != gitmodels.ControlCancel && a.Control != gitmodels.ControlRerun {
			return fmt.Errorf("act %d: %s, want cancel or rerun", i+1, gitmodels.Printable(string(a.Control), 40))
		}
		if id, err := gitmodels.ParseCommitID(string(a.Commit)); err != nil {
			return fmt.Errorf("act %d: %w", i+1, err)
		} else if id.IsZero() {
			return fmt.Errorf("act %d: %s names no commit", i+1, id)
		}
	}
	return nil
}

// checkID refuses an id that could not be a file's name.
func checkID(id string) error {
	plain := id != "" && len(id) <= 200 && utf8.ValidString(id) && id[0] != '.'
	for _, r := range id {
		plain = plain && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' || r == '.')
	}
	if !plain {
		return fmt.Errorf("push id %s: want letters, digits, dashes and dots", gitmodels.Printable(id, 80))
	}
	return nil
}

// Remove deletes an imported entry; one that is gone is no error.
func Remove(e gitmodels.SpoolEntry) error { return removeIfThere(e.Path) }

// SetAside moves an entry to the folder of bad ones and writes why beside it.
func SetAside(e gitmodels.SpoolEntry, why string) error {
	home := filepath.Dir(filepath.Dir(filepath.Dir(e.Path)))
	name := filepath.Base(e.Path)
	target := filepath.Join(badDir(home), name)
	for n := 2; ; n++ {
		if _, err := os.Lstat(target); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return err
		}
		target = filepath.Join(badDir(home), fmt.Sprintf("%s.%d", name, n))
	}
	if err := os.Rename(e.Path, target); errors.Is(err, fs.ErrNotExist) {
		return nil // somebody else took it
	} else if err != nil {
		return err
	}
	reason := strings.TrimSuffix(target, suffix) + ".why"
	if err := removeIfThere(reason); err != nil {
		return err
	}
	if err := create(reason, []byte(gitmodels.Printable(why, 4000)+"\n")); err != nil {
		return err
	}
	return syncFolder(badDir(home))
}
