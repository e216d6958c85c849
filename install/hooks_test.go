package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
	// So are a link to the program, as it once was, and a shim that was changed,
	// lost its mode, or leads elsewhere.
	program := filepath.Join(s.opts.Home, "bin", "pre-receive")
	want := shim("pre-receive", program)
	for name, put := range map[string]func() error{
		"a link":       func() error { return os.Symlink(program, hook) },
		"a changed":    func() error { return os.WriteFile(hook, []byte(want+"exit 0\n"), 0o755) },
		"not runnable": func() error { return os.WriteFile(hook, []byte(want), 0o644) },
		"elsewhere":    func() error { return os.WriteFile(hook, []byte(shim("pre-receive", "/gone/pre-receive")), 0o755) },
		"of another":   func() error { return os.Symlink(s.write("other", want, 0o755), hook) },
		"older": func() error {
			return os.WriteFile(hook, []byte("#!/bin/sh\n# git-models hook 0: written by git models install\n"), 0o755)
		},
	} {
		must(t, os.Remove(hook))
		must(t, put())
		said = s.install(repo)
		contains(t, said, "hook pre-receive -> "+program)
		if got, err := os.ReadFile(hook); err != nil || string(got) != want || strings.Contains(said, "kept") {
			t.Errorf("%s: %v, %s\n%s", name, err, got, said)
		}
		if info, err := os.Lstat(hook); err != nil || info.Mode() != 0o755 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	contains(t, s.install(repo), "unchanged")
	// Who merely speaks of us is a stranger.
	must(t, os.WriteFile(hook, []byte("#!/bin/sh\n#\n"+want), 0o755))
	contains(t, s.install(repo), "kept the hook that was there as pre-receive.before-git-models")
	must(t, os.Remove(hook+asideSuffix))
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
	t.Run("another one since", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		repo := s.bare("dogs.git")
		before := snapshot(t, repo)
		s.write("dogs.git/hooks/pre-receive", "#!/bin/sh\necho a stranger\n", 0o755)
		s.install(repo)
		git(t, repo, "config", "core.hooksPath", "our-hooks")
		contains(t, s.install(repo), "hook pre-receive is again the one that was there", "removed hook post-receive", "hook post-receive -> ")
		contains(t, s.install(repo), "unchanged")
		contains(t, git(t, s.path("dogs.git.work"), "push", repo, "main:topic"), "pre-receive of git-models")
		s.uninstall(repo)
		git(t, repo, "config", "--unset", "core.hooksPath")
		contains(t, git(t, s.path("dogs.git.work"), "push", repo, ":topic"), "a stranger")
		must(t, os.RemoveAll(filepath.Join(repo, "hooks")))
		after := snapshot(t, repo)
		for path := range after {
			if strings.HasPrefix(path, "objects/info") || strings.HasPrefix(path, "logs") {
				delete(after, path)
			}
		}
		for path := range before {
			if strings.HasPrefix(path, "objects/info") {
				delete(before, path)
			}
		}
		if diff := difference(before, after); diff != "" {
			t.Errorf("uninstalling left a trace:\n%s", diff)
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
