package hooks

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/spool"
)

// bin is the folder of the two hooks, built once.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "git-models-hooks-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		bin = dir
		build := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", dir+"/", "./pre-receive", "./post-receive")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the hooks: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// site is a server's repository with our hooks, and a clone beside it.
type site struct {
	t    *testing.T
	dir  string // of everything
	work string // the clone
}

// newSite makes a repository without any ref, whose clone has one commit, and
// sets configuration given as key, value, ….
func newSite(t *testing.T, config ...string) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	s.work = filepath.Join(s.dir, "work")
	for _, d := range []string{"home", "state"} {
		if err := os.Mkdir(filepath.Join(s.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.git(s.dir, "init", "-q", "--bare", "--template=", "-b", "main", "server.git")
	if err := os.Mkdir(s.path("server.git", "hooks"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pre-receive", "post-receive"} {
		if err := os.Symlink(filepath.Join(bin, name), s.path("server.git", "hooks", name)); err != nil {
			t.Fatal(err)
		}
	}
	s.set("models.home", s.path("state"))
	s.set("receive.advertisePushOptions", "true")
	for i := 0; i+1 < len(config); i += 2 {
		s.set(config[i], config[i+1])
	}
	s.git(s.dir, "init", "-q", "-b", "main", "work")
	s.git(s.work, "remote", "add", "origin", "../server.git")
	s.write(".models.yaml", "train:\n  command: [sh, train.sh]\n")
	s.commit("first")
	return s
}

func (s *site) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s *site) set(key, value string) {
	s.t.Helper()
	s.git(s.path("server.git"), "config", "--add", key, value)
}

func (s *site) write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.work, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// commit commits a change of a file of its own.
func (s *site) commit(name string) {
	s.t.Helper()
	s.write("src/"+strings.ReplaceAll(name, " ", "-"), name+"\n")
	s.git(s.work, "add", "-A")
	s.git(s.work, "commit", "-q", "-m", name)
}

func (s *site) command(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + s.path("home"), "PATH=" + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Alice", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=Alice", "GIT_COMMITTER_EMAIL=a@example.com",
		"GIT_MERGE_AUTOEDIT=no", "GIT_EDITOR=false", "LC_ALL=C"}
	return cmd
}

// try runs a command and returns its status and all it printed.
func (s *site) try(dir, name string, args ...string) (int, string) {
	s.t.Helper()
	out, err := s.command(dir, name, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	if exit != nil {
		return exit.ExitCode(), string(out)
	}
	return 0, string(out)
}

// git runs git, which must succeed.
func (s *site) git(dir string, args ...string) string {
	s.t.Helper()
	status, out := s.try(dir, "git", args...)
	if status != 0 {
		s.t.Fatalf("git %s: status %d\n%s", strings.Join(args, " "), status, out)
	}
	return strings.TrimSpace(out)
}

func (s *site) push(args ...string) (int, string) {
	s.t.Helper()
	return s.try(s.work, "git", append([]string{"push", "origin"}, args...)...)
}

// pushed pushes what must be accepted.
func (s *site) pushed(args ...string) string {
	s.t.Helper()
	status, out := s.push(args...)
	if status != 0 {
		s.t.Fatalf("push %s: status %d\n%s", strings.Join(args, " "), status, out)
	}
	return out
}

// refs is every ref of the server and where it points.
func (s *site) refs() string {
	s.t.Helper()
	return s.git(s.path("server.git"), "for-each-ref", "--format=%(refname) %(objectname)")
}

func (s *site) server(args ...string) string {
	s.t.Helper()
	return s.git(s.path("server.git"), args...)
}

// copy is the same site once more, to try another way out of it.
func (s *site) copy() *site {
	s.t.Helper()
	c := &site{t: s.t, dir: s.t.TempDir()}
	c.work = filepath.Join(c.dir, "work")
	if out, err := exec.Command("cp", "-a", s.dir+"/.", c.dir).CombinedOutput(); err != nil {
		s.t.Fatalf("cp: %v\n%s", err, out)
	}
	return c
}

// ours are the lines that the hooks printed, without git's.
func ours(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, "remote: "); ok && strings.HasPrefix(rest, "git-models: ") {
			b.WriteString(strings.TrimRight(rest, " \n") + "\n")
		}
	}
	return b.String()
}

var hintLine = regexp.MustCompile(`(?m)^git-models: hint: (.*)$`)

func hints(out string) (commands []string) {
	for _, m := range hintLine.FindAllStringSubmatch(ours(out), -1) {
		commands = append(commands, m[1])
	}
	return commands
}

func (s *site) spooled() []gitmodels.SpoolEntry {
	s.t.Helper()
	entries, err := spool.Entries(s.path("state"))
	if err != nil {
		s.t.Fatal(err)
	}
	return entries
}
