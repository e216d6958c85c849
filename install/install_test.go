package install

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
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

// TestHintsOfPathsAreQuoted: what is printed can be pasted, whatever the path.
func TestHintsOfPathsAreQuoted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	work := s.path("it's mine")
	git(t, "", "init", "-q", work)
	err := s.refused(Install, work)
	s.runHint(err)
	s.install(work + ".git")
}

// TestBothHooksRun pushes for real.
func TestBothHooksRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	repo := s.bare("dogs.git")
	s.install(repo)
	work := s.path("dogs.git.work")
	out := git(t, work, "push", repo, "main:topic")
	contains(t, out, "pre-receive of git-models", "post-receive of git-models")
	// Push options are negotiated now.
	git(t, work, "push", "-o", "skip", repo, "main:topic2")
	// The chain ref is not advertised to pushes, and is to fetches.
	git(t, repo, "update-ref", "refs/models/keep", "main")
	contains(t, git(t, work, "ls-remote", repo), "refs/models/keep")
	if out := git(t, work, "-c", "core.sshCommand=false", "receive-pack", "--advertise-refs", repo); strings.Contains(out, "refs/models/keep") {
		t.Errorf("advertised to a push:\n%s", out)
	}
	// The reflog of a governed ref outlives others.
	git(t, work, "commit", "-q", "--allow-empty", "-m", "second")
	git(t, work, "push", "-q", repo, "main:models", "main:topic")
	git(t, repo, "-c", "gc.reflogExpire=now", "-c", "gc.reflogExpireUnreachable=now", "reflog", "expire", "--all")
	for ref, want := range map[string]string{"models": "push", "topic": ""} {
		if got := git(t, repo, "reflog", "show", "--format=%gs", ref); got != want {
			t.Errorf("the reflog of %s holds %q after gc, want %q", ref, got, want)
		}
	}
}

// TestUpgrade: new programs replace old ones, and a hook of ours is recognised
// wherever it lies.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	repo := s.empty("dogs.git")
	s.install(repo)
	s.write("built/post-receive", "#!/bin/sh\necho newer\n", 0o755)
	said := s.install(repo)
	contains(t, said, "bin/post-receive from "+s.opts.BinDir, repo+"\n  unchanged")
	got, err := os.ReadFile(filepath.Join(s.opts.Home, "bin", "post-receive"))
	must(t, err)
	contains(t, string(got), "newer")

	// This test is a program of the module: it stands for a copied hook.
	self, err := os.Executable()
	must(t, err)
	data, err := os.ReadFile(self)
	must(t, err)
	hook := filepath.Join(repo, "hooks", "pre-receive")
	must(t, os.Remove(hook))
	must(t, os.WriteFile(hook, data, 0o755))
	said = s.install(repo)
	contains(t, said, "hook pre-receive -> ")
	if strings.Contains(said, "kept") {
		t.Errorf("our own hook was taken for a stranger's:\n%s", said)
	}
	// Run from where it was installed to, there is nothing to copy.
	s.opts.BinDir = filepath.Join(s.opts.Home, "bin")
	contains(t, s.install(repo), "unchanged")
}

// TestHooksFolders: where git looks for hooks decides.
func TestHooksFolders(t *testing.T) {
	t.Parallel()
	t.Run("its own", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		repo := s.bare("dogs.git")
		git(t, repo, "config", "core.hooksPath", "our-hooks")
		must(t, os.Mkdir(filepath.Join(repo, "our-hooks"), 0o755))
		s.install(repo)
		contains(t, git(t, s.path("dogs.git.work"), "push", repo, "main:topic"), "pre-receive of git-models")
		s.uninstall(repo)
		if names, err := os.ReadDir(filepath.Join(repo, "our-hooks")); err != nil || len(names) > 0 {
			t.Errorf("%v is left (%v)", names, err)
		}
	})
	for name, prepare := range map[string]func(s *site, repo string){
		"a folder that others may share": func(s *site, repo string) {
			must(s.t, os.Mkdir(s.path("shared"), 0o755))
			git(s.t, repo, "config", "core.hooksPath", s.path("shared"))
		},
		"a link to one": func(s *site, repo string) {
			must(s.t, os.Mkdir(s.path("shared"), 0o755))
			must(s.t, os.Symlink(s.path("shared"), filepath.Join(repo, "hooks")))
		},
		"a link out of its own": func(s *site, repo string) {
			must(s.t, os.Mkdir(s.path("shared"), 0o755))
			must(s.t, os.Symlink("../shared", filepath.Join(repo, "hooks")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			repo := s.bare("dogs.git")
			prepare(s, repo)
			err := s.refused(Install, repo)
			contains(t, err.Error(), "git looks for the hooks of "+repo+" in "+s.path("shared"), "other repositories may share that folder")
			s.runHint(err)
			s.install(repo)
			contains(t, git(t, s.path("dogs.git.work"), "push", repo, "main:topic"), "pre-receive of git-models")
			if names, err := os.ReadDir(s.path("shared")); err != nil || len(names) > 0 {
				t.Errorf("%v is in the shared folder (%v)", names, err)
			}
		})
	}
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

// TestLeavesOthersWork: what was changed after installing is somebody's.
func TestLeavesOthersWork(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	repo := s.bare("dogs.git")
	s.write("dogs.git/hooks/post-receive", "#!/bin/sh\necho before\n", 0o755)
	s.install(repo)
	git(t, repo, "config", "core.logAllRefUpdates", "true")
	must(t, os.Remove(filepath.Join(repo, "hooks", "post-receive")))
	s.write("dogs.git/hooks/post-receive", "#!/bin/sh\necho after\n", 0o755)
	said := s.uninstall(repo)
	contains(t, said, "note: core.logAllRefUpdates was changed since it was installed and stays true",
		"note: hook post-receive was replaced since and stays; the one before it is "+repo+"/hooks/post-receive.before-git-models")
	if got := git(t, repo, "config", "core.logAllRefUpdates"); got != "true" {
		t.Errorf("core.logAllRefUpdates is %s", got)
	}
	contains(t, git(t, s.path("dogs.git.work"), "push", repo, "main:topic"), "after")
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

func TestDryRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	repo := s.bare("dogs.git")
	before := snapshot(t, s.dir)
	s.opts.DryRun = true
	contains(t, s.install(repo), "would: hook pre-receive -> ", "would: set models.home=", "would: made "+s.opts.Home)
	var out bytes.Buffer
	must(t, New(context.Background(), s.opts, s.path("new.git"), &out))
	contains(t, out.String(), "would: make a bare repository")
	if diff := difference(before, snapshot(t, s.dir)); diff != "" {
		t.Errorf("it did something:\n%s", diff)
	}
}

// TestEngineNote: the last line says what a push will find. The state
// directory's own config file is protected, so it may say so.
func TestEngineNote(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ config, want string }{
		"none":        {"", "engine: NONE, pushes will wait (git config --global models.engine process)"},
		"not allowed": {"[models]\nengine = process\n", "engine: process is not allowed yet, pushes will wait (git config --global models.allowProcess true)"},
		"sandboxed":   {"[models]\nengine = process\nallowProcess = true\n", "engine: process, in its sandbox"},
		"unsandboxed": {"[models]\nengine = process\nallowProcess = unsandboxed\n", "engine: process, WITHOUT a sandbox: whoever may push runs programs as this user"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.write("state/git-models/config", tc.config, 0o600)
			contains(t, s.install(s.empty("dogs.git")), "  "+tc.want+"\n")
		})
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := s.path("srv/deep/dogs.git")
	var out bytes.Buffer
	must(t, New(context.Background(), s.opts, path, &out))
	contains(t, out.String(), "set models.autostart=true", "ready: git remote add origin "+path+" && git push origin main:models")
	if got := git(t, path, "symbolic-ref", "HEAD"); got != "refs/heads/main" {
		t.Errorf("HEAD is %s, want refs/heads/main", got)
	}
	if got := git(t, path, "config", "--type=bool", "models.autostart"); got != "true" {
		t.Errorf("models.autostart is %s", got)
	}
	contains(t, s.install(path), "unchanged")

	before := snapshot(t, s.dir)
	err := New(context.Background(), s.opts, path, &out)
	var e *gitmodels.Error
	if !errors.As(err, &e) || e.Message != path+" exists already" || e.Hint != "git models install "+path {
		t.Errorf("a second time: %v", err)
	}
	if diff := difference(before, snapshot(t, s.dir)); diff != "" {
		t.Errorf("it was refused and changed something:\n%s", diff)
	}
}

// TestNewLeavesNothingHalfDone: a repository that cannot be served is not left
// lying about.
func TestNewLeavesNothingHalfDone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	open := s.opts.Ledger
	s.opts.Ledger = func(context.Context, string) (Ledger, error) { return nil, errors.New("the disk is full") }
	path := s.path("dogs.git")
	var out bytes.Buffer
	if err := New(context.Background(), s.opts, path, &out); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %v", path, err)
	}
	s.opts.Ledger = open
	must(t, New(context.Background(), s.opts, path, &out))
}

// TestShared: members of the repository's group get a spool they can write to.
func TestShared(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	repo := s.empty("dogs.git")
	git(t, repo, "config", "core.sharedRepository", "group")
	gid := os.Getegid()
	if os.Geteuid() == 0 {
		gid = 1 // any group but our own
		must(t, os.Chown(repo, -1, gid))
	}
	said := s.install(repo)
	contains(t, said, "made the spool for group "+groupName(gid), "made the logs writable for group "+groupName(gid))
	for dir, want := range map[string]string{"spool/new": "dtrwxrwx---", "spool/tmp": "dtrwxrwx---", "log": "dgrwxrwx---", ".": "drwx--x--x", "bin": "drwxr-xr-x"} {
		info, err := os.Stat(filepath.Join(s.opts.Home, dir))
		must(t, err)
		if want == "dtrwxrwx---" {
			want = "dgtrwxrwx---"
		}
		if got := info.Mode().String(); got != want {
			t.Errorf("%s has mode %s, want %s", dir, got, want)
		}
	}
	contains(t, s.install(repo), "unchanged")
	// Another repository of the same owner joins without narrowing it.
	s.install(s.empty("cats.git"))
	if got, shared := groupOf(filepath.Join(s.opts.Home, "spool/new")); got != gid || !shared {
		t.Errorf("the spool belongs to group %d, shared %v", got, shared)
	}
	if os.Geteuid() != 0 {
		t.Skip("the rest needs root: a second group")
	}
	other := s.empty("birds.git")
	git(t, other, "config", "core.sharedRepository", "0660")
	must(t, os.Chown(other, -1, 2))
	contains(t, s.refused(Install, other).Error(), "is shared by group "+groupName(2))
}

func TestOtherUsers(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: files of another user")
	}
	s := newSite(t)
	theirs := s.empty("theirs.git")
	must(t, os.Chown(theirs, 65534, -1))
	err := s.refused(Install, theirs)
	contains(t, err.Error(), theirs+" belongs to user "+userName(65534)+": install as that user, not as root")
	s.write("state/git-models/x", "", 0o644)
	must(t, os.Chown(s.opts.Home, 65534, -1))
	contains(t, s.refused(Install, s.empty("ours.git")).Error(), "belongs to user "+userName(65534))
}

// TestUnwritable runs as a user who may not write.
func TestUnwritable(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	s := newSite(t)
	repo := s.empty("dogs.git")
	must(t, os.Chmod(repo, 0o555))
	t.Cleanup(func() { os.Chmod(repo, 0o755) })
	contains(t, s.refused(Install, repo).Error(), repo+" is not writable by user ")
}

func TestSharedRepositoryValues(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"group": true, "true": true, "1": true, "all": true, "world": true, "everybody": true, "2": true, "0660": true, "0664": true,
		"umask": false, "false": false, "0": false, "0600": false, "": false,
	} {
		if got := shared([]gitmodels.ConfigEntry{{Key: "core.sharedrepository", Value: value}}); got != want {
			t.Errorf("core.sharedRepository=%s: %v, want %v", value, got, want)
		}
	}
}

func TestRepositoryName(t *testing.T) {
	t.Parallel()
	for dir, want := range map[string]string{
		"/srv/dogs.git": "dogs", "/srv/dogs": "dogs", "/srv/a b.git": "a-b", "/srv/.git": "repository", "/srv/-x.git": "x",
		"/srv/..hidden": "hidden", "/srv/hündin.git": "h-ndin", "/srv/" + strings.Repeat("a", 300): strings.Repeat("a", 100),
	} {
		if got := repositoryName(dir); got != want {
			t.Errorf("repositoryName(%q) = %q, want %q", dir, got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"", "plain/a.git", "two words", "it's", `"`, "a\nb", "$HOME", "*", "~", "-x", "ü"} {
		out, err := exec.Command("sh", "-c", "printf %s "+quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("quote(%q) is read as %q (%v)", word, out, err)
		}
	}
}
