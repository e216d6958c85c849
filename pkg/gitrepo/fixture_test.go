package gitrepo

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// TestMain keeps the account's configuration out, and lets the test binary be
// installed as a pre-receive hook.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "pre-receive" {
		os.Exit(preReceive())
	}
	home, err := os.MkdirTemp("", "gitrepo-home-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "GIT_") || name == "XDG_CONFIG_HOME" {
			os.Unsetenv(name)
		}
	}
	os.Setenv("HOME", home)
	os.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		os.Setenv("GIT_"+who+"_NAME", "Ada Test")
		os.Setenv("GIT_"+who+"_EMAIL", "ada@example.com")
	}
	code := m.Run()
	os.RemoveAll(home)
	os.Exit(code)
}

// gitIn runs git as a person would and returns its output without the last
// line feed.
func gitIn(t testing.TB, dir string, args ...string) string {
	t.Helper()
	return gitInput(t, dir, nil, args...)
}

func gitInput(t testing.TB, dir string, stdin []byte, args ...string) string {
	t.Helper()
	out, err := tryGit(dir, stdin, args...)
	if err != nil {
		t.Fatalf("git %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func tryGit(dir string, stdin []byte, args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "protocol.file.allow=always"}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", err, stderr.String())
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// newBare makes an empty bare repository; args go to git init.
func newBare(t testing.TB, args ...string) *Repo {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bare.git")
	gitIn(t, t.TempDir(), append(append([]string{"init", "-q", "--bare", "-b", "main"}, args...), dir)...)
	return open(t, dir)
}

func open(t testing.TB, dir string, opts ...Option) *Repo {
	t.Helper()
	r, err := Open(dir, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// content is the files of a commit: path → content. A value that begins with
// "link:" is a symbolic link, one with "exec:" is executable, and one with
// "submodule:" a submodule at that commit.
type content map[string]string

// commit makes a commit with these files and parents in a repository, without a
// work tree, and returns its id.
func commit(t testing.TB, r *Repo, files content, parents ...gitmodels.CommitID) gitmodels.CommitID {
	t.Helper()
	return commitTree(t, r, tree(t, r, files), "a commit", parents...)
}

func tree(t testing.TB, r *Repo, files content) string {
	t.Helper()
	index := filepath.Join(t.TempDir(), "index")
	var list bytes.Buffer
	for path, value := range files {
		mode := "100644"
		switch {
		case strings.HasPrefix(value, "link:"):
			mode, value = "120000", value[len("link:"):]
		case strings.HasPrefix(value, "exec:"):
			mode, value = "100755", value[len("exec:"):]
		case strings.HasPrefix(value, "submodule:"):
			fmt.Fprintf(&list, "160000 %s\t%s\x00", value[len("submodule:"):], path)
			continue
		}
		fmt.Fprintf(&list, "%s %s\t%s\x00", mode, blob(t, r, value), path)
	}
	for _, args := range [][]string{{"update-index", "-z", "--add", "--index-info"}, {"write-tree"}} {
		cmd := exec.Command("git", append([]string{"--git-dir=" + r.Dir()}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_INDEX_FILE="+index)
		cmd.Stdin = &list
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		if args[0] == "write-tree" {
			return strings.TrimSpace(string(out))
		}
	}
	panic("unreachable")
}

func blob(t testing.TB, r *Repo, content string) string {
	t.Helper()
	return gitInput(t, r.Dir(), []byte(content), "hash-object", "-w", "--stdin")
}

func commitTree(t testing.TB, r *Repo, tree, message string, parents ...gitmodels.CommitID) gitmodels.CommitID {
	t.Helper()
	args := []string{"commit-tree", "-m", message, tree}
	for _, p := range parents {
		args = append(args, "-p", string(p))
	}
	return gitmodels.CommitID(gitIn(t, r.Dir(), args...))
}

// rawTree writes a tree object as no git command would make it: entries of
// mode, name and id in the order given.
func rawTree(t testing.TB, r *Repo, entries ...treeEntry) string {
	t.Helper()
	var b bytes.Buffer
	for _, e := range entries {
		var id []byte
		if _, err := fmt.Sscanf(e.id, "%x", &id); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%o %s\x00%s", e.mode, e.name, id)
	}
	return gitInput(t, r.Dir(), b.Bytes(), "hash-object", "-w", "-t", "tree", "--literally", "--stdin")
}

func setRef(t testing.TB, r *Repo, ref string, id gitmodels.CommitID) {
	t.Helper()
	gitIn(t, r.Dir(), "update-ref", ref, string(id))
}

// wantKind fails unless err is an Error of that kind whose text holds words.
func wantKind(t testing.TB, err error, kind gitmodels.Kind, words string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	if got := gitmodels.KindOf(err); got != kind {
		t.Errorf("error %q is of kind %d, want %d", err, got, kind)
	}
	if !strings.Contains(err.Error(), words) {
		t.Errorf("error %q, want it to say %q", err, words)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

var ctx = context.Background()

// corrupt overwrites a loose object with bytes that are none.
func corrupt(t testing.TB, r *Repo, id string) {
	t.Helper()
	path := loosePath(r, id)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("this is no object"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func loosePath(r *Repo, id string) string {
	return filepath.Join(r.Dir(), "objects", id[:2], id[2:])
}

// formats runs a test in a SHA-1 and in a SHA-256 repository.
func formats(t *testing.T, test func(t *testing.T, r *Repo)) {
	for _, format := range []string{"sha1", "sha256"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			test(t, newBare(t, "--object-format="+format))
		})
	}
}
