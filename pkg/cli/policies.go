package cli

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
	"github.com/git-models/git-models/pkg/policy"
	"github.com/git-models/git-models/pkg/runner"
)

// policies reads the policies of repositories as the runner believes them, and
// asks git only when a file that decides them has changed: an import would start
// a child for every push otherwise.
type policies struct {
	home string
	mu   sync.Mutex
	read map[string]readPolicy // by git directory
}

// readPolicy is a policy and what the files were like that it was read from.
type readPolicy struct {
	policy   *policy.Policy
	problems []policy.Problem
	files    map[string]signature
	at       time.Time
}

const (
	// settled is how long a file must not have changed for its signature to tell
	// a later change: clocks of file systems tick in a few milliseconds.
	settled = 100 * time.Millisecond
	// policyAge bounds how long a policy is believed unasked, should git read a
	// file that nothing here knows of.
	policyAge = time.Minute
)

func newPolicies(home string) *policies {
	return &policies{home: home, read: map[string]readPolicy{}}
}

// of is the policy of repo.
func (p *policies) of(ctx context.Context, repo runner.Repo) (*policy.Policy, []policy.Problem, error) {
	return p.at(ctx, repo.Dir())
}

// at is the policy of the repository whose git directory is path.
func (p *policies) at(ctx context.Context, path string) (*policy.Policy, []policy.Problem, error) {
	p.mu.Lock()
	known, ok := p.read[path]
	p.mu.Unlock()
	if ok && known.holds() {
		return known.policy, known.problems, nil
	}
	began := time.Now()
	repo, err := gitrepo.Open(path)
	if err != nil {
		return nil, nil, err
	}
	entries, err := repo.Config(ctx, homeConfig(p.home))
	if err != nil {
		return nil, nil, err
	}
	pol, problems := policy.Parse(entries, policy.Runner.At(p.home))
	files, ok := signatures(configFiles(repo.Dir(), homeConfig(p.home), entries), began)
	p.mu.Lock()
	defer p.mu.Unlock()
	if delete(p.read, path); ok {
		p.read[path] = readPolicy{pol, problems, files, began}
	}
	return pol, problems, nil
}

// holds reports whether every file is as it was.
func (r readPolicy) holds() bool {
	if age := time.Since(r.at); age < 0 || age > policyAge {
		return false
	}
	for path, was := range r.files {
		if now, ok := signatureOf(path); !ok || now != was {
			return false
		}
	}
	return true
}

// signature is what a file's inode tells of its content; zero: there is none.
type signature struct {
	dev, inode     uint64
	size           int64
	mode           uint32
	mtime, changed syscall.Timespec
}

// signatureOf looks at a file; false when it cannot be told whether it exists.
func signatureOf(path string) (signature, bool) {
	var st syscall.Stat_t
	switch err := syscall.Stat(path, &st); err {
	case nil:
		return signature{uint64(st.Dev), st.Ino, st.Size, st.Mode, st.Mtim, st.Ctim}, true
	case syscall.ENOENT, syscall.ENOTDIR:
		return signature{}, true
	}
	return signature{}, false
}

// signatures are those of the files; false when they would not tell a change,
// also one since began, when git was asked.
func signatures(files map[string]bool, began time.Time) (map[string]signature, bool) {
	if files == nil {
		return nil, false
	}
	found := make(map[string]signature, len(files))
	for path, must := range files {
		s, ok := signatureOf(path)
		if !ok || must && s == (signature{}) {
			return nil, false
		}
		for _, t := range []syscall.Timespec{s.mtime, s.changed} {
			if s != (signature{}) && began.Sub(time.Unix(t.Unix())) < settled {
				return nil, false
			}
		}
		found[path] = s
	}
	return found, true
}

// configFiles are the files that git reads configuration from: those that it
// would look for, and (true) those that must exist because they were read. It is
// nil where more than these files decides, as with a conditional include.
func configFiles(gitDir, homeConfig string, entries []gitmodels.ConfigEntry) map[string]bool {
	files := map[string]bool{filepath.Join(gitDir, "config"): true, filepath.Join(gitDir, "config.worktree"): false, homeConfig: false}
	for _, path := range outerConfig() {
		files[path] = false
	}
	for _, e := range entries {
		origin, ok := strings.CutPrefix(e.Origin, "file:")
		if !ok || !filepath.IsAbs(origin) || strings.HasPrefix(e.Key, "includeif.") {
			return nil
		}
		files[origin] = true
		if e.Key != "include.path" {
			continue
		}
		included := e.Value
		if rest, ok := strings.CutPrefix(included, "~/"); ok {
			included = filepath.Join(os.Getenv("HOME"), rest)
		} else if strings.HasPrefix(included, "~") || strings.HasPrefix(included, "%(") {
			return nil
		}
		if !filepath.IsAbs(included) {
			included = filepath.Join(filepath.Dir(origin), included)
		}
		files[included] = true
	}
	return files
}

// outerConfig is where the system's and the user's files may be. Git tells of
// those alone that have something in them.
func outerConfig() []string {
	var files []string
	if path, ok := os.LookupEnv("GIT_CONFIG_SYSTEM"); ok {
		files = append(files, path)
	} else {
		files = append(files, "/etc/gitconfig")
		if git, err := exec.LookPath("git"); err == nil {
			files = append(files, filepath.Join(filepath.Dir(filepath.Dir(git)), "etc", "gitconfig"))
		}
	}
	home := os.Getenv("HOME")
	if path, ok := os.LookupEnv("GIT_CONFIG_GLOBAL"); ok {
		return append(files, path)
	}
	if xdg := os.Getenv("XDG_CONFIG_HOME"); xdg != "" {
		files = append(files, filepath.Join(xdg, "git", "config"))
	} else if home != "" {
		files = append(files, filepath.Join(home, ".config", "git", "config"))
	}
	if home != "" {
		files = append(files, filepath.Join(home, ".gitconfig"))
	}
	return files
}
