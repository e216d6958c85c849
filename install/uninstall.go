package install

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// planUninstall undoes planInstall.
func (s *session) planUninstall(ctx context.Context, paths []string) ([]chapter, error) {
	var problems Problems
	var chapters []chapter
	for _, path := range paths {
		c, err := s.planRemoval(ctx, path)
		if err != nil {
			problems.addError(err)
			continue
		}
		chapters = append(chapters, c)
	}
	return chapters, problems.err()
}

// planRemoval takes the hooks out first: from then on pushes are none of ours.
func (s *session) planRemoval(ctx context.Context, path string) (chapter, error) {
	repo, err := open(ctx, path)
	if err != nil {
		return chapter{}, err
	}
	dir := repo.Dir()
	c := chapter{title: shown(dir)}
	info, err := os.Stat(dir)
	if err != nil {
		return c, err
	}
	if err := notAsRoot(dir, info, "uninstall", "what is taken out is in that user's hands"); err != nil {
		return c, err
	}
	entries, err := repo.Config(ctx, "")
	if err != nil {
		return c, err
	}
	installed, err := readRecord(dir)
	if err != nil {
		return c, err
	}
	hooks, home := filepath.Join(dir, "hooks"), s.Home
	if installed != nil {
		hooks, home = installed.Hooks, installed.Home
	}
	if err := checkWritable(dir, hooks); err != nil {
		return c, err
	}
	if c.steps, c.notes, err = planUnhook(hooks, installed); err != nil {
		return c, err
	}
	known, err := s.knows(ctx, home, dir)
	if err != nil {
		return c, err
	}
	if known {
		c.steps = append(c.steps, step{says: "no longer served; results and history stay in " + shown(home), do: func(ctx context.Context) error {
			l, err := s.ledger(ctx, home)
			if err != nil {
				return err
			}
			return l.Unregister(ctx, dir)
		}})
	}
	if installed == nil {
		return c, nil
	}
	restore, notes := planRestore(repo, ownEntries(dir, entries), installed)
	c.steps = append(append(c.steps, restore...), step{do: func(context.Context) error {
		if installed.MadeHooks {
			if err := removeIfEmpty(installed.Hooks); err != nil {
				return err
			}
		}
		return removeRecord(dir)
	}})
	c.notes = append(c.notes, notes...)
	return c, nil
}

// removeIfEmpty removes a folder that nobody has put anything into.
func removeIfEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) > 0 {
		return nil
	} else if err != nil {
		return err
	}
	return os.Remove(dir)
}
