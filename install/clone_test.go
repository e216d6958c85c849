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

// TestCloneSurvives: beside tags, best branches and a layout move, what people
// and editors type goes on ending with status 0 in a clone that saw none of it
// come, and nothing is stale.
func TestCloneSurvives(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	repo := s.bare("dogs.git")
	clone := s.path("clone")
	git(t, "", "clone", "-q", repo, clone)
	must(t, InstallClone(context.Background(), clone, &bytes.Buffer{}))
	git(t, clone, "tag", "mine")
	git(t, clone, "notes", "add", "-m", "mine")
	git(t, clone, "notes", "--ref=model", "add", "-m", "mine too")

	outcome := func(branch, short string) {
		t.Helper()
		git(t, repo, "tag", "-a", "-m", "State: succeeded", "trained/"+short, branch)
		git(t, repo, "update-ref", "refs/heads/best/"+branch, branch)
		git(t, repo, "notes", "--ref=models", "add", "-f", "-m", "State: succeeded", branch)
		git(t, repo, "notes", "--ref=models-curves", "add", "-f", "-m", "{}", branch)
	}
	everything := func() {
		t.Helper()
		for _, words := range []string{"fetch", "fetch --prune --tags", "fetch --all", "pull --tags origin main", "pull --ff-only",
			"fetch --prune", "describe", "describe --tags", "log -1"} {
			git(t, clone, strings.Fields(words)...)
		}
		if here, there := git(t, clone, "for-each-ref", "--format=%(refname:lstrip=3) %(objectname)", "refs/remotes/origin"),
			git(t, repo, "for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads"); withoutHead(here) != there {
			t.Errorf("stale:\n%s\nthe server has\n%s", here, there)
		}
		for _, ref := range []string{"refs/notes/models", "refs/notes/models-curves"} {
			if here, there := git(t, clone, "rev-parse", ref), git(t, repo, "rev-parse", ref); here != there {
				t.Errorf("%s is %s, the server has %s", ref, here, there)
			}
		}
		contains(t, git(t, clone, "tag"), "mine", "trained/")
		contains(t, git(t, clone, "notes", "show"), "mine")
		contains(t, git(t, clone, "notes", "--ref=model", "show"), "mine too")
	}
	outcome("models", "1111111")
	everything()
	tip := git(t, repo, "rev-parse", "models")
	git(t, repo, "update-ref", "-d", "refs/heads/models")
	git(t, repo, "update-ref", "-d", "refs/heads/best/models")
	git(t, repo, "branch", "models/main", tip)
	outcome("models/main", "2222222")
	everything()
	git(t, repo, "update-ref", "-d", "refs/heads/models/main")
	git(t, repo, "update-ref", "-d", "refs/heads/best/models/main")
	git(t, repo, "branch", "models", tip)
	outcome("models", "3333333")
	everything()
}

// withoutHead leaves out what the remote's HEAD names.
func withoutHead(refs string) string {
	var kept []string
	for line := range strings.Lines(refs) {
		if !strings.HasPrefix(line, "HEAD ") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// TestInstallClonePrune: pruning is set where it can take nothing but what the
// server had, and what the user decided stays.
func TestInstallClonePrune(t *testing.T) {
	t.Parallel()
	const command = "git fetch --prune origin '+refs/heads/*:refs/remotes/origin/*'"
	for name, c := range map[string]struct {
		config []string // key, value
		want   string   // the value after
		says   []string
	}{
		"unset":             {nil, "true", []string{"set remote.origin.prune=true"}},
		"on already":        {[]string{"fetch.prune", "true"}, "", nil},
		"switched off":      {[]string{"remote.origin.prune", "false"}, "false", []string{"pruning is off here", command}},
		"off, globally":     {[]string{"fetch.prune", "no"}, "", []string{"pruning is off here", command}},
		"all notes fetched": {[]string{"remote.origin.fetch", "+refs/notes/*:refs/notes/*"}, "", []string{"with the refspec +refs/notes/*:refs/notes/* a pruning", command}},
		"pruned tags":       {[]string{"fetch.pruneTags", "true"}, "", []string{"with pruneTags a pruning", command}},
		"kept tags":         {[]string{"fetch.pruneTags", "true", "remote.origin.pruneTags", "false"}, "true", []string{"set remote.origin.prune=true"}},
		"another remote":    {[]string{"remote.fork.fetch", "+refs/*:refs/*"}, "true", []string{"set remote.origin.prune=true"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			clone := s.path("clone")
			git(t, "", "init", "-q", clone)
			git(t, clone, "remote", "add", "origin", s.path("server.git"))
			for i := 0; i < len(c.config); i += 2 {
				git(t, clone, "config", "--add", c.config[i], c.config[i+1])
			}
			for range 2 {
				var out bytes.Buffer
				must(t, InstallClone(context.Background(), clone, &out))
				if strings.Contains(out.String(), "unchanged") {
					break
				}
				contains(t, out.String(), c.says...)
			}
			got := git(t, clone, "config", "--default", "", "--get", "remote.origin.prune")
			if strings.TrimSpace(got) != c.want {
				t.Errorf("remote.origin.prune is %q, want %q", got, c.want)
			}
		})
	}
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
