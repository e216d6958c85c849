package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/ledger"
)

// No test may see the configuration of whoever runs it.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		home, err := os.MkdirTemp("", "git-models-install-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(home)
		for _, kv := range os.Environ() {
			name, _, _ := strings.Cut(kv, "=")
			if strings.HasPrefix(name, "GIT_") || strings.HasPrefix(name, "XDG_") {
				os.Unsetenv(name)
			}
		}
		os.Setenv("HOME", home)
		os.Setenv("GIT_CONFIG_NOSYSTEM", "1")
		config := "[user]\n\tname = Alice\n\temail = alice@example.com\n[init]\n\tdefaultBranch = main\n[protocol \"file\"]\n\tallow = always\n"
		if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(config), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// site is a folder with programs to install and a state directory to come.
type site struct {
	t    *testing.T
	dir  string
	opts Options
}

// newSite makes three programs that say their names.
func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t: t, dir: dir, opts: Options{
		Home:   filepath.Join(dir, "state", "git-models"),
		BinDir: filepath.Join(dir, "built"),
		Ledger: func(ctx context.Context, home string) (Ledger, error) { return ledger.Open(ctx, home) },
	}}
	for _, name := range programs {
		s.write(filepath.Join("built", name), "#!/bin/sh\ncat >/dev/null\necho "+name+" of git-models\n", 0o755)
	}
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name, text string, mode fs.FileMode) string {
	s.t.Helper()
	path := s.path(name)
	must(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(s.t, os.WriteFile(path, []byte(text), mode))
	must(s.t, os.Chmod(path, mode))
	return path
}

// bare makes a bare repository with a commit on main and on models.
func (s *site) bare(name string) string {
	s.t.Helper()
	path := s.empty(name)
	work := s.path(filepath.Base(name) + ".work")
	git(s.t, "", "init", "-q", work)
	git(s.t, work, "commit", "-q", "--allow-empty", "-m", "first")
	git(s.t, work, "push", "-q", path, "main", "main:models")
	return path
}

func (s *site) empty(name string) string {
	s.t.Helper()
	path := s.path(name)
	must(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	git(s.t, "", "init", "-q", "--bare", "--template=", path)
	return path
}

func (s *site) install(paths ...string) string {
	s.t.Helper()
	return s.does(Install, paths...)
}

func (s *site) uninstall(paths ...string) string {
	s.t.Helper()
	return s.does(Uninstall, paths...)
}

func (s *site) does(f func(context.Context, Options, []string, io.Writer) error, paths ...string) string {
	s.t.Helper()
	var out bytes.Buffer
	if err := f(context.Background(), s.opts, paths, &out); err != nil {
		s.t.Fatalf("unexpected error: %v\nafter:\n%s", err, out.String())
	}
	return out.String()
}

// refused runs f, which must fail, say nothing and change nothing below dir.
func (s *site) refused(f func(context.Context, Options, []string, io.Writer) error, paths ...string) error {
	s.t.Helper()
	before := snapshot(s.t, s.dir)
	var out bytes.Buffer
	err := f(context.Background(), s.opts, paths, &out)
	if err == nil {
		s.t.Fatalf("no error; it said:\n%s", out.String())
	}
	if out.Len() > 0 {
		s.t.Errorf("it said, before it was refused:\n%s", out.String())
	}
	if diff := difference(before, snapshot(s.t, s.dir)); diff != "" {
		s.t.Errorf("it changed something, although it was refused (%v):\n%s", err, diff)
	}
	return err
}

// runHint runs the hint of err as a person would, and fails if it does not work.
// `git models …` is for the command line's own tests.
func (s *site) runHint(err error) {
	s.t.Helper()
	var e *gitmodels.Error
	if !errors.As(err, &e) || e.Hint == "" {
		s.t.Fatalf("there is no hint in: %v", err)
	}
	cmd := exec.Command("sh", "-c", e.Hint)
	cmd.Dir = s.dir
	if out, runErr := cmd.CombinedOutput(); runErr != nil {
		s.t.Fatalf("the hint %s does not work: %v\n%s", e.Hint, runErr, out)
	}
}

// snapshot is every path below dir with its kind, mode and content.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := info.Mode().String()
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			what += " -> " + target
		case info.Mode().IsRegular() && !strings.Contains(d.Name(), "ledger.db"):
			// The ledger's files change by being opened.
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += fmt.Sprintf(" %x", sha256.Sum256(data))
		case d.Name() == "ledger.db-wal" || d.Name() == "ledger.db-shm":
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		found[rel] = what
		return err
	}))
	return found
}

func difference(before, after map[string]string) string {
	var b strings.Builder
	for path, was := range before {
		if is, ok := after[path]; !ok {
			fmt.Fprintf(&b, "- %s %s\n", path, was)
		} else if is != was {
			fmt.Fprintf(&b, "~ %s %s, was %s\n", path, is, was)
		}
	}
	for path, is := range after {
		if _, ok := before[path]; !ok {
			fmt.Fprintf(&b, "+ %s %s\n", path, is)
		}
	}
	return b.String()
}

// git runs git in dir and returns what it printed, without the last line feed.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
}
