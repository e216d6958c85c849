package cli

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
	"github.com/git-models/git-models/pkg/ledger"
	"github.com/git-models/git-models/pkg/metrics"
	"github.com/git-models/git-models/pkg/notify"
	"github.com/git-models/git-models/pkg/policy"
	"github.com/git-models/git-models/pkg/publish"
	"github.com/git-models/git-models/pkg/runner"
	"github.com/git-models/git-models/pkg/spool"
	"github.com/git-models/git-models/pkg/store"
	"github.com/git-models/git-models/pkg/trainer/process"
)

// wire makes what a Service is made of. done closes the ledger.
func (p *program) wire(ctx context.Context, home string) (cfg runner.Config, done func() error, err error) {
	l, err := ledger.Open(ctx, home)
	if err != nil {
		return cfg, nil, err
	}
	pols := newPolicies(home)
	return runner.Config{
		Home:    home,
		Version: gitmodels.Version,
		Ledger:  l,
		Spool:   spoolPort{home},
		Open: func(path string) (runner.Repo, error) {
			r, err := gitrepo.Open(path)
			if err != nil {
				return nil, err
			}
			return repoPort{r}, nil
		},
		Policy: pols.of,
	}, l.Close, nil
}

// wireRunner adds what only a Runner needs.
func (p *program) wireRunner(ctx context.Context, cfg *runner.Config) error {
	self, err := os.Executable()
	if err != nil {
		return &gitmodels.Error{Op: "find this program", Err: err}
	}
	home := cfg.Home
	repos, err := cfg.Ledger.Repositories(ctx)
	if err != nil {
		return err
	}
	hide := []string{home} // what lies below a folder that the sandbox shows
	for _, r := range repos {
		hide = append(hide, r.Path)
	}
	engine := process.New(process.Options{
		Supervisor: []string{self, "supervise"},
		Path:       p.getenv("PATH"),
		Home:       p.getenv("HOME"),
		Hide:       hide,
	})
	stores := &policyStore{home: home, prefixes: map[string][]string{}}
	readPolicy := cfg.Policy
	cfg.Policy = func(ctx context.Context, repo runner.Repo) (*policy.Policy, []policy.Problem, error) {
		pol, problems, err := readPolicy(ctx, repo)
		if err == nil {
			stores.allow(repo.Dir(), pol.StorePrefixes())
		}
		return pol, problems, err
	}
	policyOf := func(ctx context.Context, repo gitmodels.Repository) (*policy.Policy, error) {
		git, err := cfg.Open(repo.Path)
		if err != nil {
			return nil, err
		}
		pol, _, err := cfg.Policy(ctx, git)
		return pol, err
	}
	cfg.Trainers = map[string]gitmodels.Trainer{engine.Engine(): engine}
	images, err := p.newImages(ctx, home, self)
	if err != nil {
		return err
	}
	images.wire(cfg)
	cfg.Store = stores
	cfg.Metrics = metrics.Read
	cfg.Notify = notify.Run
	cfg.Publisher = &publish.Publisher{
		Open: func(path string) (publish.Refs, error) { return gitrepo.Open(path) },
		Settings: func(ctx context.Context, repo gitmodels.Repository) (publish.Settings, error) {
			pol, err := policyOf(ctx, repo)
			if err != nil {
				return publish.Settings{}, err
			}
			return publish.Settings{NotesRef: pol.NotesRef, Tags: pol.Tags}, nil
		},
	}
	cfg.Versions = func(ctx context.Context) map[string]string { return versions(ctx, engine) }
	return nil
}

// versions are of what a job runs on, for run.json. What cannot be told is left
// out: it is no reason to lose an outcome.
func versions(ctx context.Context, engine *process.Engine) map[string]string {
	found := map[string]string{}
	maps.Copy(found, engine.Versions(ctx))
	if git, err := gitrepo.Version(ctx); err == nil {
		found["git"] = git
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		found[unix.ByteSliceToString(u.Sysname[:])] = unix.ByteSliceToString(u.Release[:])
	}
	return found
}

// repoPort is a repository as the runner sees it.
type repoPort struct{ *gitrepo.Repo }

// Session implements runner.Repo.
func (r repoPort) Session(ctx context.Context) runner.Session { return r.Repo.Session(ctx) }

// spoolPort is the spool of a state directory as the runner sees it.
type spoolPort struct{ home string }

func (s spoolPort) Entries() ([]gitmodels.SpoolEntry, error)        { return spool.Entries(s.home) }
func (spoolPort) Remove(e gitmodels.SpoolEntry) error               { return spool.Remove(e) }
func (spoolPort) SetAside(e gitmodels.SpoolEntry, why string) error { return spool.SetAside(e, why) }

// policyStore keeps results in folders, under what policy allows at the moment:
// the prefixes of every repository whose policy was read.
type policyStore struct {
	home     string
	mu       sync.Mutex
	prefixes map[string][]string // by repository
}

func (s *policyStore) allow(repository string, prefixes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prefixes[repository] = prefixes
}

func (s *policyStore) dir() *store.Dir {
	s.mu.Lock()
	defer s.mu.Unlock()
	roots := []string{gitmodels.FileURI(filepath.Join(s.home, "store"))}
	for _, prefixes := range s.prefixes {
		for _, prefix := range prefixes {
			if !slices.Contains(roots, prefix) {
				roots = append(roots, prefix)
			}
		}
	}
	return store.New(s.home, roots...)
}

// Put implements gitmodels.Store.
func (s *policyStore) Put(ctx context.Context, uri, src string) ([]gitmodels.File, []string, error) {
	return s.dir().Put(ctx, uri, src)
}

// Finish implements gitmodels.Store.
func (s *policyStore) Finish(ctx context.Context, uri string, runJSON []byte) error {
	return s.dir().Finish(ctx, uri, runJSON)
}
