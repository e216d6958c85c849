package cli

import (
	"context"
	"os"
	"path/filepath"
	"syscall"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
)

// found is a repository around a folder.
type found struct {
	repo     *gitrepo.Repo
	bare     bool
	worktree string // empty when the folder is in none
	entries  []gitmodels.ConfigEntry
}

// find looks for the repository around the absolute folder dir and reads its
// configuration. Where it lies in the usual way (a bare repository, or a folder
// with .git in it) no child but the one for the configuration runs; whatever is
// unusual is git's to say. It is an Error of Kind NotFound when there is none.
func find(ctx context.Context, dir string) (found, error) {
	gitDir, worktree := near(dir)
	if gitDir != "" {
		if f, ok, err := usual(ctx, gitDir, worktree); ok || err != nil {
			return f, err
		}
	}
	gitDir, bare, worktree, err := gitrepo.Discover(ctx, dir)
	if err != nil {
		return found{}, err
	}
	f := found{bare: bare, worktree: worktree}
	if f.repo, err = gitrepo.Open(gitDir); err != nil {
		return f, err
	}
	f.entries, err = f.repo.Config(ctx, "")
	return f, err
}

// usual reads the configuration of the git directory that near found. ok is
// false when a setting moves its files elsewhere or cannot be read: git has to
// be asked.
func usual(ctx context.Context, gitDir, worktree string) (f found, ok bool, err error) {
	if f.repo, err = gitrepo.Open(gitDir); err != nil {
		return f, false, nil
	}
	if f.entries, err = f.repo.Config(ctx, ""); err != nil {
		return f, false, err
	}
	bare := ""
	for _, e := range f.entries {
		switch {
		case e.Key == "core.worktree", e.Key == "core.bare" && (e.Bare || e.Scope != "local"):
			return f, false, nil
		case e.Key == "core.bare":
			bare = e.Value
		}
	}
	switch {
	case bare == "false" && (worktree != "" || filepath.Base(gitDir) == ".git"):
		f.worktree = worktree
	case bare == "true" && worktree == "":
		f.bare = true
	default:
		return f, false, nil
	}
	return f, true, nil
}

// near walks up from dir as git does, within one file system, to the first
// folder that holds a git directory or is one. Both answers are empty when there
// is none, or one of a kind that is git's to follow, such as a file .git.
func near(dir string) (gitDir, worktree string) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", ""
	}
	first, ok := device(real)
	for at := real; ok; at = filepath.Dir(at) {
		if on, ok := device(at); !ok || on != first {
			return "", ""
		}
		info, err := os.Lstat(filepath.Join(at, ".git"))
		switch {
		case err == nil && info.IsDir():
			return filepath.Join(at, ".git"), at
		case err == nil:
			return "", ""
		}
		if _, err := os.Lstat(filepath.Join(at, "commondir")); err == nil {
			return "", "" // of a linked work tree
		}
		if isFolder(filepath.Join(at, "objects")) && isFolder(filepath.Join(at, "refs")) {
			return at, ""
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	return "", ""
}

// device is the file system that path lies on.
func device(path string) (uint64, bool) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return 0, false
	}
	return uint64(st.Dev), true
}
