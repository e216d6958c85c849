package hook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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

// Open finds the repository that git names and reads its policy. <home>/config
// counts as protected configuration, but which home is meant, git's own
// configuration alone decides.
func Open(ctx context.Context, e Edges, opts ...gitrepo.Option) (Site, error) {
	dir := e.Getenv("GIT_DIR")
	if dir == "" {
		dir = "."
	}
	repo, err := gitrepo.Open(e.abs(dir), opts...)
	if err != nil {
		return Site{}, err
	}
	view := policy.Hook.At(policy.DefaultHome(e.Getenv))
	entries, err := repo.Config(ctx, "")
	if err != nil {
		return Site{}, fmt.Errorf("reading the configuration: %w", err)
	}
	p, problems := policy.Parse(entries, view)
	if p.Home == "" {
		return Site{Repo: repo, Policy: p, Problems: problems}, nil
	}
	home := p.Home
	own := filepath.Join(home, "config")
	if _, err := os.Lstat(own); errors.Is(err, fs.ErrNotExist) {
		return Site{Repo: repo, Policy: p, Problems: problems}, nil
	}
	if entries, err = repo.Config(ctx, own); err != nil {
		return Site{}, fmt.Errorf("reading the configuration with %s: %w", own, err)
	}
	p, problems = policy.Parse(entries, view)
	p.Home = home
	return Site{Repo: repo, Policy: p, Problems: problems}, nil
}
