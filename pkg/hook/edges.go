package hook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
	"github.com/git-models/git-models/pkg/policy"
)

// Edges is everything through which a hook touches the world around it.
type Edges struct {
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Env     []string // as git gave it
	Dir     string   // working directory, absolute: git starts hooks in the git directory
	Program string   // the hook as git started it; a stranger's hook lies beside it
}

// started is the variable in which the shim in the hooks folder says its own
// path: the program that it starts lies elsewhere. See package install.
const started = "GIT_MODELS_HOOK"

// Process returns the edges of this process. What the shim said is taken out of
// the environment, so that no child sees anything but git's own.
func Process() (Edges, error) {
	dir, err := os.Getwd()
	if err != nil {
		return Edges{}, err
	}
	e := Edges{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Dir: dir, Program: os.Args[0]}
	if shim := os.Getenv(started); shim != "" {
		e.Program = shim
	}
	if err := os.Unsetenv(started); err != nil {
		return Edges{}, err
	}
	e.Env = os.Environ()
	return e, nil
}

// Getenv is the last value of key, as getenv(3) of most systems does not
// promise but git's own children see it; empty when it is not set.
func (e Edges) Getenv(key string) string {
	v, _ := e.Lookup(key)
	return v
}

// Lookup tells an empty variable from one that is not set.
func (e Edges) Lookup(key string) (string, bool) {
	for i := len(e.Env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(e.Env[i], key+"="); ok {
			return v, true
		}
	}
	return "", false
}

// abs makes a path of the environment absolute.
func (e Edges) abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(e.Dir, path)
}

// Wiki reports whether the repository is the wiki of one, as Gitea says: none
// of our business.
func (e Edges) Wiki() bool { return e.Getenv("GITEA_REPO_IS_WIKI") == "true" }

// Site is the repository a hook stands in, with the admin's decisions.
type Site struct {
	Repo     *gitrepo.Repo
	Policy   *policy.Policy
	Problems []policy.Problem
}

// Name is what the repository is called where no runner says otherwise.
func (s Site) Name() string { return strings.TrimSuffix(filepath.Base(s.Repo.Dir()), ".git") }

// Locate finds the repository that git names. It asks git nothing.
func Locate(e Edges, opts ...gitrepo.Option) (*gitrepo.Repo, error) {
	dir := e.Getenv("GIT_DIR")
	if dir == "" {
		dir = "."
	}
	return gitrepo.Open(e.abs(dir), opts...)
}

// Read reads the policy of repo. <home>/config counts as protected
// configuration, but which home is meant, git's own configuration alone decides.
// One child reads both where the home is the one that these programs lie in;
// its word is dropped when another home is meant.
func Read(ctx context.Context, e Edges, repo *gitrepo.Repo) (Site, error) {
	view := policy.Hook.At(policy.DefaultHome(e.Getenv))
	guess := ownHome()
	entries, err := repo.Config(ctx, configIn(guess))
	if err != nil {
		return Site{}, fmt.Errorf("reading the configuration: %w", err)
	}
	gits := slices.DeleteFunc(slices.Clone(entries), func(e gitmodels.ConfigEntry) bool { return strings.HasPrefix(e.Scope, "home") })
	p, problems := policy.Parse(gits, view)
	home := p.Home
	switch {
	case home == "":
		return Site{repo, p, problems}, nil
	case guess != "" && samePlace(home, guess):
		if len(gits) == len(entries) {
			return Site{repo, p, problems}, nil
		}
	default:
		own := configIn(home)
		if _, err := os.Lstat(own); errors.Is(err, fs.ErrNotExist) {
			return Site{repo, p, problems}, nil
		}
		if entries, err = repo.Config(ctx, own); err != nil {
			return Site{}, fmt.Errorf("reading the configuration with %s: %w", own, err)
		}
	}
	p, problems = policy.Parse(entries, view)
	p.Home = home
	return Site{repo, p, problems}, nil
}

// configIn is the runner's own configuration file in home.
func configIn(home string) string {
	if home == "" {
		return ""
	}
	return filepath.Join(home, "config")
}

// ownHome is the state directory that this program was installed in, as
// <home>/bin/pre-receive; empty when it lies elsewhere. It is a guess that saves
// a child, and is never believed by itself.
func ownHome() string {
	self, err := os.Executable()
	if err != nil || filepath.Base(filepath.Dir(self)) != "bin" {
		return ""
	}
	return filepath.Dir(filepath.Dir(self))
}

// samePlace reports whether two paths lead to one folder.
func samePlace(a, b string) bool {
	if a == b {
		return true
	}
	x, errA := os.Stat(a)
	y, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(x, y)
}
