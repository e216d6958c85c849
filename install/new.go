package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
)

// makeNew checks what installing will need before the repository exists, and
// takes the repository away again when it cannot be served after all.
func (s *session) makeNew(ctx context.Context, path string) error {
	var problems Problems
	if err := checkPath(path); err != nil {
		problems.add("the repository's path "+err.Error(), "")
	}
	there, err := occupied(path)
	if err != nil {
		problems.addError(err)
	} else if there {
		problems.add(shown(path)+" exists already", "git models install "+quote(path))
	}
	s.checkLayout(&problems)
	s.planHome(privateGroup, &problems)
	if err := problems.err(); err != nil {
		return err
	}
	if s.DryRun {
		fmt.Fprintf(s.out, "%s\n  would: make a bare repository and install git-models in it\n", shown(path))
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "new repository", Message: shown(path) + " cannot be made", Err: err}
	}
	if err := gitrepo.Init(ctx, path); err != nil {
		return err
	}
	err = s.run(ctx, func() ([]chapter, error) { return s.planInstall(ctx, []string{path}, true) })
	if err != nil {
		return errors.Join(err, s.abandon(ctx, path))
	}
	fmt.Fprintf(s.out, "  ready: git remote add origin %s && git push origin main:models\n", quote(path))
	return nil
}

// abandon removes a repository that was made a moment ago and could not be
// served: nobody has pushed to it, for it has no hooks or is not registered.
func (s *session) abandon(ctx context.Context, path string) error {
	if l, ok := s.opened[s.Home]; ok {
		real, err := filepath.EvalSymlinks(path) // as it was registered
		if err == nil {
			err = l.Unregister(ctx, real)
		}
		if err != nil {
			return err
		}
	}
	return os.RemoveAll(path)
}

// occupied reports whether path holds anything; an empty folder does not count.
func occupied(path string) (bool, error) {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err == nil:
		return len(entries) > 0, nil
	}
	if _, statErr := os.Lstat(path); statErr == nil {
		return true, nil // a file, or a folder that cannot be read
	}
	return false, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "look at the folder", Message: shown(path) + " cannot be used", Err: err}
}
