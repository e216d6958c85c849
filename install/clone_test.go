package install

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// TestInstallClone: after it, plain git fetches and shows outcomes, and nothing
// is said of them as long as there are none.
func TestInstallClone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	repo := s.bare("dogs.git")
	clone := s.path("my clone")
	git(t, "", "clone", "-q", repo, clone)
	install := func(dir string) string {
		t.Helper()
		var out bytes.Buffer
		must(t, InstallClone(context.Background(), dir, &out))
		return out.String()
	}
	contains(t, install(clone), "added remote.origin.fetch=+refs/notes/models*:refs/notes/models*", "git fetch origin brings the outcomes")
	config := sortedConfig(t, clone+"/.git")
	contains(t, install(clone), "unchanged")
	if again := sortedConfig(t, clone+"/.git"); strings.Join(again, "\n") != strings.Join(config, "\n") {
		t.Errorf("the second time changed the configuration: %q", again)
	}

	git(t, clone, "fetch", "-q")
	if out := git(t, clone, "log", "-1", "origin/models"); strings.Contains(out, "warning") || strings.Contains(out, "Notes") {
		t.Errorf("before the first outcome:\n%s", out)
	}
	git(t, repo, "notes", "--ref=models", "add", "-m", "State: succeeded", "models")
	git(t, repo, "notes", "--ref=models-curves", "add", "-m", "a long curve", "models")
	git(t, clone, "fetch", "-q")
	out := git(t, clone, "log", "-1", "origin/models")
	contains(t, out, "Notes (models):", "State: succeeded")
	if strings.Contains(out, "a long curve") {
		t.Errorf("curves belong into no log:\n%s", out)
	}
	// A user's own notes outlive a pruning fetch.
	git(t, clone, "notes", "add", "-m", "mine")
	git(t, clone, "fetch", "-q", "--prune")
	contains(t, git(t, clone, "notes", "show"), "mine")

	// In a linked work tree it is the same clone.
	git(t, clone, "worktree", "add", "-q", s.path("linked"))
	contains(t, install(s.path("linked")), "unchanged")
}

func TestInstallCloneRemotes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		remotes    []string
		want, hint string
	}{
		"none":    {nil, "this repository has no remote, so there is nothing to fetch from", "git remote add origin URL"},
		"one":     {[]string{"server"}, "", ""},
		"several": {[]string{"a", "b"}, "none of the remotes a, b is called origin", "git remote rename a origin"},
		"origin":  {[]string{"a", "origin"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			clone := s.path("clone")
			git(t, "", "init", "-q", clone)
			for _, r := range tc.remotes {
				git(t, clone, "remote", "add", r, s.path("server.git"))
			}
			var out bytes.Buffer
			err := InstallClone(context.Background(), clone, &out)
			if tc.want == "" {
				must(t, err)
				remote := tc.remotes[len(tc.remotes)-1]
				contains(t, git(t, clone, "config", "--get-all", "remote."+remote+".fetch"), notesRefspec)
				return
			}
			var e *gitmodels.Error
			if !errors.As(err, &e) || e.Message != tc.want || e.Hint != tc.hint {
				t.Errorf("got %v, hint %q", err, e.Hint)
			}
			if out.Len() > 0 {
				t.Errorf("it said %q", out.String())
			}
		})
	}
	if err := InstallClone(context.Background(), t.TempDir(), &bytes.Buffer{}); gitmodels.KindOf(err) != gitmodels.NotFound {
		t.Errorf("outside of a repository: %v", err)
	}
}
