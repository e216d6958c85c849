package install

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// asideSuffix is what an existing hook's name gets: ours runs it from there.
const asideSuffix = ".before-git-models"

// module is how our own programs are recognised, wherever they lie.
const module = "github.com/git-models/git-models"

// hookState is what lies where a hook belongs.
type hookState int

const (
	hookAbsent   hookState = iota
	hookCurrent            // leads to <home>/bin, and git can run it
	hookOurs               // is ours, but of another place, time or kind
	hookStranger           // is somebody else's
	hookOther              // is not a file
)

// look says what lies at path, where the hook called name belongs. Ours is a
// shim; it was a link once, and somebody may have put a copy of the program.
func look(path, name, home string, installed *record) (hookState, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return hookAbsent, nil
	} else if err != nil {
		return 0, err
	}
	link := info.Mode()&fs.ModeSymlink != 0
	switch {
	case link:
		target, err := os.Readlink(path)
		if err != nil {
			return 0, err
		}
		if target == filepath.Join(home, "bin", name) || installed != nil && target == filepath.Join(installed.Home, "bin", name) {
			return hookOurs, nil
		}
		if info, err = os.Stat(path); err != nil || !info.Mode().IsRegular() {
			return hookStranger, nil
		}
	case !info.Mode().IsRegular():
		return hookOther, nil
	}
	text, err := firstBytes(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return hookStranger, nil // what we wrote we may read
	case err != nil:
		return 0, err
	case isShim(text):
		want := shim(name, filepath.Join(home, "bin", name))
		if !link && string(text) == want && info.Mode().Perm()&0o555 == 0o555 && executable(path) {
			return hookCurrent, nil
		}
		return hookOurs, nil
	}
	if build, err := buildinfo.ReadFile(path); err == nil && build.Main.Path == module {
		return hookOurs, nil
	}
	return hookStranger, nil
}

// planHooks puts hooks into dir that lead to <home>/bin. A stranger's hook moves
// aside and is run by ours.
func (s *session) planHooks(dir string, installed *record, problems *Problems) []step {
	var steps []step
	for _, name := range hookNames {
		path, target := filepath.Join(dir, name), filepath.Join(s.Home, "bin", name)
		state, err := look(path, name, s.Home, installed)
		if err != nil {
			problems.addError(err)
			continue
		}
		place := step{says: fmt.Sprintf("hook %s -> %s", name, shown(target)), do: func(context.Context) error {
			return placeShim(shim(name, target), path)
		}}
		switch state {
		case hookCurrent:
		case hookAbsent, hookOurs:
			steps = append(steps, place)
		case hookStranger:
			aside := path + asideSuffix
			kept, second, err := keptAside(path, aside)
			if err != nil {
				problems.addError(err)
				continue
			}
			if second {
				problems.add(fmt.Sprintf("there are two hooks to keep, %s and %s", shown(path), shown(aside)),
					"mv "+quote(aside)+" "+quote(aside+".old"))
				continue
			}
			if kept {
				steps = append(steps, place) // an installation broke off right here
				continue
			}
			steps = append(steps, step{
				says: fmt.Sprintf("kept the hook that was there as %s: it still runs", filepath.Base(aside)),
				do:   func(context.Context) error { return keep(path, aside) },
			}, place)
		case hookOther:
			problems.add(shown(path)+" is neither a file nor a link", "")
		}
	}
	return steps
}

// planUnhook takes our hooks out of dir and puts back what was there.
func planUnhook(dir string, installed *record) (steps []step, notes []string, err error) {
	for _, name := range hookNames {
		path := filepath.Join(dir, name)
		aside := path + asideSuffix
		home := ""
		if installed != nil {
			home = installed.Home
		}
		state, err := look(path, name, home, installed)
		if err != nil {
			return nil, nil, err
		}
		same, other, err := keptAside(path, aside)
		if err != nil {
			return nil, nil, err
		}
		ours := state == hookCurrent || state == hookOurs
		switch {
		case same:
			steps = append(steps, step{says: "hook " + name + " is as it was", do: func(context.Context) error { return os.Remove(aside) }})
		case other && (ours || state == hookAbsent):
			steps = append(steps, step{says: "hook " + name + " is again the one that was there", do: func(context.Context) error {
				return os.Rename(aside, path)
			}})
		case ours:
			steps = append(steps, step{says: "removed hook " + name, do: func(context.Context) error { return os.Remove(path) }})
		case other:
			notes = append(notes, fmt.Sprintf("note: hook %s was replaced since and stays; the one before it is %s", name, shown(aside)))
		}
	}
	return steps, notes, nil
}

// keep gives the hook at path a second name, so that it goes on running until
// ours takes its place; where the system refuses hard links, it moves.
func keep(path, aside string) error {
	if err := os.Link(path, aside); err != nil {
		return os.Rename(path, aside)
	}
	return nil
}

// keptAside looks at the file that keeps a stranger's hook: it is the very hook
// at path under its second name, or another file, or neither when there is none.
func keptAside(path, aside string) (same, other bool, err error) {
	kept, err := os.Lstat(aside)
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	} else if err != nil {
		return false, false, err
	}
	hook, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, false, err
	}
	same = err == nil && os.SameFile(kept, hook)
	return same, !same, nil
}

// hooksFolder is where git looks for the hooks of the repository at gitDir. A
// folder that may serve other repositories too is refused.
func hooksFolder(gitDir string, entries []gitmodels.ConfigEntry) (string, *gitmodels.Error) {
	dir, where := filepath.Join(gitDir, "hooks"), ""
	for _, e := range entries {
		if e.Key == "core.hookspath" && e.Scope != "home" && e.Scope != "command" {
			dir, where = e.Value, fmt.Sprintf(" (core.hooksPath in %s)", shown(strings.TrimPrefix(e.Origin, "file:")))
		}
	}
	if rest, ok := strings.CutPrefix(dir, "~/"); ok {
		dir = filepath.Join(os.Getenv("HOME"), rest)
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(gitDir, dir) // githooks(5): hooks of a bare repository run there
	}
	real := dir
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		real = resolved
	}
	if rel, err := filepath.Rel(gitDir, real); err == nil && filepath.IsLocal(rel) && rel != "." {
		return real, nil
	}
	own := filepath.Join(gitDir, "hooks")
	if real != dir {
		where = fmt.Sprintf(" (%s leads there)", shown(dir))
		own = filepath.Join(gitDir, "own-hooks")
	}
	return "", &gitmodels.Error{
		Kind: gitmodels.Invalid, Op: "install",
		Message: fmt.Sprintf("git looks for the hooks of %s in %s%s, outside of the repository: other repositories may share that folder. Give this one its own; those hooks then no longer run here",
			shown(gitDir), shown(real), where),
		Hint: "git --git-dir=" + quote(gitDir) + " config core.hooksPath " + quote(own),
	}
}
