package install

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// TestInstallAndOut takes a repository with hooks and settings of its own in,
// again, and out.
func TestInstallAndOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	repo := s.bare("srv/dogs.git")
	s.write("srv/dogs.git/hooks/pre-receive", "#!/bin/sh\necho a stranger\n", 0o755)
	s.write("srv/elsewhere", "#!/bin/sh\necho a linked stranger\n", 0o755)
	must(t, os.Symlink("../../elsewhere", filepath.Join(repo, "hooks", "post-receive")))
	s.write("srv/dogs.git/hooks/update.sample", "#!/bin/sh\n", 0o755)
	git(t, repo, "config", "receive.advertisePushOptions", "false")
	git(t, repo, "config", "receive.hideRefs", "refs/secret")
	git(t, repo, "config", "--add", "core.logAllRefUpdates", "false")
	git(t, repo, "config", "--add", "core.logAllRefUpdates", "true")
	git(t, repo, "config", "gc.refs/heads/main.reflogExpire", "now")
	before, config := snapshot(t, repo), sortedConfig(t, repo)

	said := s.install(repo)
	contains(t, said, repo+"\n", "hook pre-receive -> "+s.opts.Home+"/bin/pre-receive",
		"set receive.advertisePushOptions=true", "set models.home="+s.opts.Home,
		"kept the hook that was there as pre-receive.before-git-models: it still runs",
		"wrote the commit-graph", "registered; what models holds now does not run by itself",
		"engine: NONE, pushes will wait (git config --global models.engine process)")
	for key, want := range map[string]string{
		"receive.advertisePushOptions":                    "true",
		"core.logAllRefUpdates":                           "always",
		"receive.hideRefs":                                "refs/secret\nrefs/models",
		"gc.refs/heads/models.reflogExpire":               "never",
		"gc.refs/heads/models/**.reflogExpireUnreachable": "never",
		"gc.refs/heads/main.reflogExpire":                 "now",
		"models.home":                                     s.opts.Home,
	} {
		if got := git(t, repo, "config", "--get-all", key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	installed := snapshot(t, s.dir)

	said = s.install(repo)
	contains(t, said, "unchanged", "engine: NONE")
	if strings.Contains(said, "set ") || strings.Contains(said, "hook ") {
		t.Errorf("the second run changed something:\n%s", said)
	}
	if diff := difference(installed, snapshot(t, s.dir)); diff != "" {
		t.Errorf("the second run changed files:\n%s", diff)
	}

	said = s.uninstall(repo)
	contains(t, said, "hook pre-receive is again the one that was there", "set receive.advertisePushOptions back to false",
		"took out receive.hideRefs=refs/models", "took out models.home", "results and history stay in "+s.opts.Home)
	if diff := cmp.Diff(config, sortedConfig(t, repo)); diff != "" {
		t.Errorf("configuration (-before +after):\n%s", diff)
	}
	after := snapshot(t, repo)
	for path := range after {
		if strings.HasPrefix(path, "objects/info") || path == "config" {
			delete(before, path) // the commit-graph is git's own and stays
			delete(after, path)
		}
	}
	if diff := difference(before, after); diff != "" {
		t.Errorf("uninstalling left a trace:\n%s", diff)
	}
	contains(t, s.uninstall(repo), "unchanged")
	contains(t, s.install(repo), "hook pre-receive -> ")
}

// TestPlainRepositoryByteForByte: of a repository that nobody had configured,
// even the layout of its config file comes back.
func TestPlainRepositoryByteForByte(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	repo := s.empty("dogs.git")
	before := snapshot(t, repo)
	s.install(repo)
	s.uninstall(repo)
	after := snapshot(t, repo)
	if diff := difference(before, after); diff != "" {
		t.Error(diff)
	}
}

func sortedConfig(t *testing.T, repo string) []string {
	t.Helper()
	return strings.Split(git(t, repo, "config", "--file", filepath.Join(repo, "config"), "--list"), "\n")
}

// TestRefusals: everything that cannot be served, with what to do.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		make       func(s *site) string
		want, hint string // DIR stands for the site's folder
	}{
		"nothing there":      {func(s *site) string { return s.path("nowhere") }, "DIR/nowhere does not exist", "git models new DIR/nowhere"},
		"without its suffix": {func(s *site) string { s.empty("dogs.git"); return s.path("dogs") }, "DIR/dogs does not exist, but DIR/dogs.git does", "git models install DIR/dogs.git"},
		"a file":             {func(s *site) string { return s.write("dogs.git", "", 0o644) }, "DIR/dogs.git is a file, want the folder of a bare repository", ""},
		"a plain folder": {func(s *site) string { must(s.t, os.Mkdir(s.path("dogs"), 0o755)); return s.path("dogs") },
			"DIR/dogs is not a git repository", "git models new DIR/dogs/NAME.git"},
		"a work tree": {func(s *site) string { git(s.t, "", "init", "-q", s.path("dogs")); return s.path("dogs") },
			"DIR/dogs is not a bare repository: nobody can push to the branch that is checked out", "git clone --bare DIR/dogs DIR/dogs.git"},
		"its .git": {func(s *site) string { git(s.t, "", "init", "-q", s.path("dogs")); return s.path("dogs/.git") },
			"DIR/dogs/.git is not a bare repository: nobody can push to the branch that is checked out", "git clone --bare DIR/dogs DIR/dogs.git"},
		"a folder inside": {func(s *site) string { return s.empty("dogs.git") + "/objects" },
			"DIR/dogs.git/objects is a folder inside of the repository DIR/dogs.git", "git models install DIR/dogs.git"},
		"a broken link": {func(s *site) string { must(s.t, os.Symlink("gone", s.path("dogs.git"))); return s.path("dogs.git") },
			"DIR/dogs.git does not exist", "git models new DIR/dogs.git"},
		"not UTF-8": {func(s *site) string { return s.empty("d\xffgs.git") },
			"the repository's path DIR/d\\xffgs.git is not valid UTF-8", ""},
		"a hook that is a folder": {func(s *site) string {
			must(s.t, os.MkdirAll(s.empty("dogs.git")+"/hooks/pre-receive", 0o755))
			return s.path("dogs.git")
		},
			"DIR/dogs.git/hooks/pre-receive is neither a file nor a link", ""},
		"two hooks to keep": {func(s *site) string {
			s.empty("dogs.git")
			s.write("dogs.git/hooks/pre-receive", "#!/bin/sh\n", 0o755)
			s.write("dogs.git/hooks/pre-receive.before-git-models", "#!/bin/sh\n", 0o755)
			return s.path("dogs.git")
		}, "there are two hooks to keep, DIR/dogs.git/hooks/pre-receive and DIR/dogs.git/hooks/pre-receive.before-git-models",
			"mv DIR/dogs.git/hooks/pre-receive.before-git-models DIR/dogs.git/hooks/pre-receive.before-git-models.old"},
		"the other layout": {func(s *site) string { s.opts.Layout = "team"; return s.bare("dogs.git") },
			"DIR/dogs.git has the branch models, so its layout is solo, not team", "git models install --layout solo DIR/dogs.git"},
		"no such layout": {func(s *site) string { s.opts.Layout = "slo"; return s.empty("dogs.git") },
			"layout slo: want auto, solo or team", "--layout solo"},
		"no hooks beside the program": {func(s *site) string { must(s.t, os.Remove(s.path("built/post-receive"))); return s.empty("dogs.git") },
			"DIR/built/post-receive is missing: the hooks must lie beside git-models", "scripts/build"},
		"a program that is none": {func(s *site) string {
			must(s.t, os.Chmod(s.path("built/pre-receive"), 0o644))
			return s.empty("dogs.git")
		},
			"DIR/built/pre-receive is not an executable file", "scripts/build"},
		"a state directory that is a file": {func(s *site) string { s.write("state", "", 0o644); return s.empty("dogs.git") },
			"the state directory DIR/state/git-models cannot be used", ""},
		"a state directory with a line feed": {func(s *site) string { s.opts.Home = s.path("a\nb"); return s.empty("dogs.git") },
			"the state directory DIR/a\\x0ab has control characters", "git models --home /another/folder install …"},
		"a record of the future": {func(s *site) string {
			s.empty("dogs.git")
			s.write("dogs.git/"+recordName, `{"version": 2}`, 0o644)
			return s.path("dogs.git")
		}, "DIR/dogs.git/git-models.installed.json is of version 2, this program knows version 1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			path := tc.make(s)
			err := s.refused(Install, path)
			var e *gitmodels.Error
			if !errors.As(err, &e) {
				t.Fatalf("want a *gitmodels.Error, got %v", err)
			}
			in := strings.NewReplacer("DIR", s.dir)
			if e.Message != in.Replace(tc.want) || e.Hint != in.Replace(tc.hint) {
				t.Errorf("got  %q\nhint %q\nwant %q\nhint %q", e.Message, e.Hint, in.Replace(tc.want), in.Replace(tc.hint))
			}
		})
	}
}

// TestAllProblemsAtOnce: one run tells everything, and what is in order is not
// touched either.
func TestAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	good := s.bare("good.git")
	must(t, os.Remove(s.path("built/pre-receive")))
	err := s.refused(Install, s.path("nowhere"), good, s.write("file", "", 0o644))
	var all Problems
	if !errors.As(err, &all) || len(all) != 3 {
		t.Fatalf("want three problems, got %v", err)
	}
	contains(t, err.Error(), "nowhere does not exist", "file is a file", "pre-receive is missing")
}

// TestServedFromElsewhere: what waits in the other spool must not be orphaned.
func TestServedFromElsewhere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	repo := s.empty("dogs.git")
	s.install(repo)
	first := s.opts.Home
	s.opts.Home = s.path("second")
	err := s.refused(Install, repo)
	contains(t, err.Error(), "is served from "+first+" already, not from "+s.opts.Home)
	s.uninstall(repo) // as the hint says; the record knows which state directory
	contains(t, s.install(repo), "set models.home="+s.opts.Home)
}

func TestSeveralRepositoriesAndOddPaths(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	odd := s.bare("o'd \"d\n/do$gs; x.git")
	plain := s.bare("dogs.git")
	s.install(odd, plain)
	contains(t, s.install(odd, plain), "unchanged")
	for _, repo := range []string{odd, plain} {
		git(t, s.path("dogs.git.work"), "push", "-q", repo, "main:topic")
	}
	l, err := s.opts.Ledger(context.Background(), s.opts.Home)
	must(t, err)
	defer l.Close()
	repos, err := l.Repositories(context.Background())
	must(t, err)
	var paths []string
	for _, r := range repos {
		paths = append(paths, r.Path)
	}
	if diff := cmp.Diff([]string{odd, plain}, paths, cmp.Transformer("set", func(in []string) map[string]bool {
		out := map[string]bool{}
		for _, p := range in {
			out[p] = true
		}
		return out
	})); diff != "" {
		t.Errorf("registered (-want +got):\n%s", diff)
	}
	s.uninstall(odd, plain)
}

// TestInterrupted stops installing, and removing, after every step: running
// again completes it, and removing restores what was there.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for stop := 0; ; stop++ {
		s := newSite(t)
		repo := s.bare("dogs.git")
		s.write("dogs.git/hooks/pre-receive", "#!/bin/sh\necho a stranger\n", 0o755)
		git(t, repo, "config", "receive.advertisePushOptions", "false")
		before, hooks := sortedConfig(t, repo), snapshot(t, filepath.Join(repo, "hooks"))
		plan := func(s *session) ([]chapter, error) { return s.planInstall(context.Background(), []string{repo}, false) }
		total := s.firstSteps(plan, stop)
		s.install(repo)
		contains(t, s.install(repo), "unchanged")
		s.firstSteps(func(s *session) ([]chapter, error) { return s.planUninstall(context.Background(), []string{repo}) }, stop)
		s.uninstall(repo)
		if diff := cmp.Diff(before, sortedConfig(t, repo)); diff != "" {
			t.Errorf("stopped after %d steps, configuration (-before +after):\n%s", stop, diff)
		}
		if diff := difference(hooks, snapshot(t, filepath.Join(repo, "hooks"))); diff != "" {
			t.Errorf("stopped after %d steps, hooks:\n%s", stop, diff)
		}
		if stop > total {
			return
		}
	}
}

// firstSteps does the first n steps of a plan, and says how many there are.
func (s *site) firstSteps(plan func(*session) ([]chapter, error), n int) (total int) {
	s.t.Helper()
	must(s.t, withSession(s.opts, io.Discard, func(session *session) error {
		chapters, err := plan(session)
		if err != nil {
			return err
		}
		for _, c := range chapters {
			for _, step := range c.steps {
				if total++; total <= n {
					if err := step.do(context.Background()); err != nil {
						return err
					}
				}
			}
		}
		return nil
	}))
	return total
}

// TestRelayout: asking for another layout later changes that and nothing else,
// and removing still knows the beginning.
func TestRelayout(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	repo := s.empty("dogs.git")
	git(t, repo, "config", "models.layout", "auto")
	s.opts.Layout = "solo"
	contains(t, s.install(repo), "set models.layout=solo")
	s.opts.Layout = "team"
	contains(t, s.install(repo), "set models.layout=team")
	s.opts.Layout = ""
	contains(t, s.install(repo), "unchanged")
	s.uninstall(repo)
	if got := git(t, repo, "config", "models.layout"); got != "auto" {
		t.Errorf("models.layout is %s, want auto as before", got)
	}
}
