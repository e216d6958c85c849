package install

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestGateStaysShut takes the state directory away, whole or in parts: nothing
// passes the gate, and what passed before is heard of.
func TestGateStaysShut(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]string{"plain": "state", "odd": "o'd \"d $HOME %s\\n `x`; *"} {
		for _, chained := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " after a stranger"}[chained], func(t *testing.T) {
				t.Parallel()
				gateStaysShut(t, dir, chained)
			})
		}
	}
}

func gateStaysShut(t *testing.T, dir string, chained bool) {
	s := newSite(t)
	s.opts.Home = s.path(dir)
	repo := s.bare("dogs.git")
	if chained {
		for _, name := range hookNames {
			s.write("dogs.git/hooks/"+name, "#!/bin/sh\ncat >/dev/null\necho a stranger, ${GIT_MODELS_HOOK-unset}\n", 0o755)
		}
	}
	s.install(repo)
	work := s.path("dogs.git.work")
	git(t, work, "commit", "-q", "--allow-empty", "-m", "second")
	git(t, work, "push", "-q", repo, "main:models")
	gate, recorder := filepath.Join(s.opts.Home, "bin", "pre-receive"), filepath.Join(s.opts.Home, "bin", "post-receive")
	data, err := os.ReadFile(gate)
	must(t, err)

	refused := func(why string, refspecs ...string) {
		t.Helper()
		for _, refspec := range append(refspecs, "main~1:models") {
			before := git(t, repo, "for-each-ref")
			out, err := tryGit(work, "push", "--force", repo, refspec)
			if err == nil || git(t, repo, "for-each-ref") != before {
				t.Errorf("%s: push %s passed\n%s", why, refspec, out)
			}
			contains(t, out, "remote: git-models: refused: the gate is missing ("+gate+")",
				"remote: git-models: nothing moved: a push is taken as a whole or not at all",
				"remote: git-models: for the admin: restore it, else run git models install")
		}
	}
	must(t, os.Rename(s.opts.Home, s.path("away")))
	refused("without a state directory", "+main~1:refs/heads/topic", ":models", "main:models2")
	must(t, os.MkdirAll(s.opts.Home, 0o755)) // a mount point with nothing mounted
	refused("with an empty state directory")
	must(t, os.Remove(s.opts.Home))
	must(t, os.Rename(s.path("away"), s.opts.Home))
	must(t, os.Remove(gate))
	must(t, os.Mkdir(gate, 0o755))
	refused("with a folder in its place")
	must(t, os.Remove(gate))
	must(t, os.WriteFile(gate, nil, 0o755))
	refused("with an empty program")
	must(t, os.WriteFile(gate, data, 0o644))
	must(t, os.Chmod(gate, 0o644))
	refused("with a program that may not be run")
	// A program that is damaged says so itself, and lets nothing pass either.
	must(t, os.Chmod(gate, 0o755))
	must(t, os.WriteFile(gate, []byte("\x7fELF\x02\x01\x01\x00"), 0o755))
	if out, err := tryGit(work, "push", "--force", repo, "main~1:models"); err == nil {
		t.Errorf("a damaged gate let pass:\n%s", out)
	}
	must(t, os.WriteFile(gate, data, 0o755))

	must(t, os.Remove(recorder))
	out := git(t, work, "push", repo, "main:topic")
	contains(t, out, "pre-receive of git-models", "git-models: accepted; not recorded now: "+recorder+" is missing;",
		"git-models:   the runner finds it in the refs")
	if got := strings.Contains(out, "a stranger, unset"); got != chained {
		t.Errorf("the stranger's post-receive ran: %v, want %v\n%s", got, chained, out)
	}
	contains(t, s.install(repo), "bin/post-receive from ")
	contains(t, git(t, work, "push", repo, "main:topic2"), "post-receive of git-models")

	// Out again, although nothing of the state directory is left.
	must(t, os.RemoveAll(s.opts.Home))
	s.uninstall(repo)
	git(t, work, "push", "-q", "--force", repo, "main~1:models")
}

// TestShimText: it is plain POSIX shell whatever the path, and the program gets
// the hook's own path and git's input.
func TestShimText(t *testing.T) {
	t.Parallel()
	shells := []string{"sh"}
	for _, name := range []string{"dash", "bash", "busybox"} {
		if path, err := exec.LookPath(name); err == nil {
			shells = append(shells, path)
		}
	}
	for _, odd := range []string{"plain", "two words", "it's", "100%s", "a\nb", "$(x)`y`", "back\\nslash", "-n", "ü"} {
		dir := filepath.Join(t.TempDir(), odd)
		must(t, os.MkdirAll(filepath.Join(dir, "hooks"), 0o755))
		program := filepath.Join(dir, "program")
		for _, name := range hookNames {
			text := shim(name, program)
			if !isShim([]byte(text)) {
				t.Errorf("%q: its own mark is missing:\n%s", odd, text)
			}
			must(t, placeShim(text, filepath.Join(dir, "hooks", name)))
			for _, shell := range shells {
				args := []string{"-n"}
				if filepath.Base(shell) == "busybox" {
					args = []string{"sh", "-n"}
				}
				if out, err := exec.Command(shell, append(args, filepath.Join(dir, "hooks", name))...).CombinedOutput(); err != nil || len(out) > 0 {
					t.Errorf("%s -n, %q: %v\n%s", shell, odd, err, out)
				}
			}
			for _, hook := range []string{"hooks/" + name, filepath.Join(dir, "hooks", name)} {
				// Somebody else's word does not count.
				run := func() (string, error) {
					cmd := exec.Command(hook)
					cmd.Dir, cmd.Stdin = dir, strings.NewReader("a line\n")
					cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GIT_MODELS_HOOK=/elsewhere/hook"}
					out, err := cmd.CombinedOutput()
					return string(out), err
				}
				must(t, os.WriteFile(program, []byte("#!/bin/sh\ncat\nprintf '%s' \"$GIT_MODELS_HOOK\"\nexit 3\n"), 0o755))
				out, err := run()
				var exit *exec.ExitError
				if want := "a line\n" + hook; out != want || !errors.As(err, &exit) || exit.ExitCode() != 3 {
					t.Errorf("%q: %v, %q, want %q", odd, err, out, want)
				}
				must(t, os.Remove(program))
				out, err = run()
				if (name == "pre-receive") != (err != nil) {
					t.Errorf("%q: %s without its program: %v", odd, name, err)
				}
				for line := range strings.Lines(out) {
					if !strings.HasPrefix(line, "git-models: ") || utf8.RuneCountInString(strings.ReplaceAll(line, shown(program), "")) > 71 {
						t.Errorf("%q: %q", odd, line)
					}
				}
				contains(t, out, shown(program))
			}
		}
	}
}

// TestPlaceShim replaces whatever name is there, and leaves nothing behind when
// it cannot.
func TestPlaceShim(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hook := filepath.Join(dir, "pre-receive")
	must(t, os.Symlink("/gone", hook))
	must(t, os.WriteFile(hook+".git-models.tmp", []byte("left by one that broke off"), 0o600))
	must(t, placeShim("text", hook))
	if got, err := os.ReadFile(hook); err != nil || string(got) != "text" {
		t.Errorf("%q, %v", got, err)
	}
	must(t, os.Mkdir(filepath.Join(dir, "folder"), 0o755))
	if err := placeShim("text", filepath.Join(dir, "folder")); err == nil {
		t.Error("it replaced a folder")
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 2 {
		t.Errorf("%v, %v", names, err)
	}
}

// tryGit is git for what may fail.
func tryGit(dir string, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}
