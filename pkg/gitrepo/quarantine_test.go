package gitrepo

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/google/go-cmp/cmp"
)

// answer is what the repository told the hook about one update.
type answer struct {
	Type        string
	FastForward bool
	Params      string
	Count       int
	Changed     []string
	Write       string // the error of an attempt to write
}

// preReceive is the test binary as a hook: it asks the repository everything a
// gate asks, and leaves the answers in the folder that the push names.
func preReceive() int {
	if gate := os.Getenv("TEST_HOOK_GATE"); gate != "" {
		// Opening the pipe tells the test that the quarantine is there; its end
		// lets the hook go on.
		f, err := os.Open(gate)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		bufio.NewReader(f).ReadString('\n')
		f.Close()
	}
	answers, err := judge()
	if err != nil {
		fmt.Println("hook:", err)
		return 1
	}
	data, err := json.Marshal(answers)
	if err == nil {
		err = os.WriteFile(os.Getenv("TEST_HOOK_ANSWERS"), data, 0o644)
	}
	if err != nil {
		fmt.Println("hook:", err)
		return 1
	}
	if os.Getenv("TEST_HOOK_DIE") != "" {
		// Leave the quarantine behind, as a killed server does.
		syscall.Kill(os.Getppid(), syscall.SIGKILL)
	}
	return 0
}

func judge() (map[string]answer, error) {
	answers := map[string]answer{}
	repo, err := Open(os.Getenv("GIT_DIR"), WithQuarantine(os.Environ()))
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var old, new, ref string
		if _, err := fmt.Sscan(lines.Text(), &old, &new, &ref); err != nil {
			return nil, err
		}
		if answers[ref], err = judgeOne(repo, gitmodels.CommitID(old), gitmodels.CommitID(new)); err != nil {
			return nil, fmt.Errorf("%s: %w", ref, err)
		}
	}
	return answers, lines.Err()
}

func judgeOne(repo *Repo, old, new gitmodels.CommitID) (a answer, err error) {
	if a.Type, err = repo.ObjectType(ctx, new); err != nil {
		return a, err
	}
	if !old.IsZero() {
		if a.FastForward, err = repo.IsAncestor(ctx, old, new); err != nil {
			return a, err
		}
	}
	files, err := repo.Files(ctx, new, []string{"params.yaml"})
	if err != nil {
		return a, err
	}
	a.Params = string(files["params.yaml"].Data)
	if a.Count, err = repo.Count(ctx, old, new); err != nil {
		return a, err
	}
	if a.Changed, err = repo.ChangedPaths(ctx, old, new); err != nil {
		return a, err
	}
	if _, err := repo.Config(ctx, ""); err != nil {
		return a, err
	}
	if err := repo.Keep(ctx, "refs/models/keep", new); err != nil {
		a.Write = err.Error()
	}
	return a, nil
}

// server is a bare repository with the hook, and a clone to push from.
func server(t *testing.T, args ...string) (bare, clone *Repo) {
	t.Helper()
	bare = newBare(t, args...)
	installHook(t, bare)
	return bare, cloneOf(t, bare, args...)
}

func installHook(t *testing.T, bare *Repo) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(bare.Dir(), "hooks"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bare.Dir(), "hooks", "pre-receive")); err != nil {
		t.Fatal(err)
	}
}

func cloneOf(t *testing.T, bare *Repo, args ...string) *Repo {
	t.Helper()
	clone := newBare(t, args...)
	gitIn(t, clone.Dir(), "remote", "add", "origin", bare.Dir())
	return clone
}

// push pushes and returns what the hook saw.
func push(t *testing.T, clone *Repo, env []string, specs ...string) (map[string]answer, error) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "answers")
	cmd := exec.Command("git", append([]string{"-C", clone.Dir(), "push", "-q", "origin"}, specs...)...)
	cmd.Env = append(append(os.Environ(), "TEST_HOOK_ANSWERS="+out), env...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, output)
	}
	data, readErr := os.ReadFile(out)
	if readErr != nil {
		return nil, fmt.Errorf("%w: %s (%w)", readErr, output, err)
	}
	var answers map[string]answer
	if err := json.Unmarshal(data, &answers); err != nil {
		t.Fatal(err)
	}
	return answers, err
}

// line makes n commits on top of parent.
func line(t testing.TB, r *Repo, n int, parent gitmodels.CommitID) gitmodels.CommitID {
	t.Helper()
	var s strings.Builder
	for i := range n {
		content := fmt.Sprintf("lr: %d", i+1)
		fmt.Fprintf(&s, "commit refs/heads/line\ncommitter A <a@b> %d +0000\ndata 1\nx\n", 1700000000+i)
		if i == 0 && parent != "" {
			fmt.Fprintf(&s, "from %s\n", parent)
		}
		fmt.Fprintf(&s, "M 100644 inline params.yaml\ndata %d\n%s\n", len(content), content)
	}
	gitInput(t, r.Dir(), []byte(s.String()), "fast-import", "--quiet", "--force")
	return gitmodels.CommitID(gitIn(t, r.Dir(), "rev-parse", "refs/heads/line"))
}

const noWrite = "the repository is open for judging a push: nothing may be written"

func wantAnswer(t *testing.T, got map[string]answer, want answer) {
	t.Helper()
	for ref, a := range got {
		if strings.HasSuffix(a.Write, noWrite) {
			a.Write = noWrite
			got[ref] = a
		}
	}
	want.Write = noWrite
	if diff := cmp.Diff(map[string]answer{"refs/heads/models": want}, got); diff != "" {
		t.Errorf("the hook saw (-want +got):\n%s", diff)
	}
}

// One commit stays loose in the quarantine, 150 stay a pack; both formats.
func TestQuarantineLooseAndPacked(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"sha1", "sha256"} {
		for _, n := range []int{1, 150} {
			t.Run(fmt.Sprintf("%s %d", format, n), func(t *testing.T) {
				t.Parallel()
				bare, clone := server(t, "--object-format="+format)
				first := line(t, clone, 2, "")
				got, err := push(t, clone, nil, string(first)+":refs/heads/models")
				if err != nil {
					t.Fatal(err)
				}
				wantAnswer(t, got, answer{Type: "commit", Params: "lr: 2", Count: 2, Changed: []string{"params.yaml"}})

				next := line(t, clone, n, first)
				changed := []string{"params.yaml"}
				if n == 2 {
					changed = nil
				}
				got, err = push(t, clone, nil, string(next)+":refs/heads/models")
				if err != nil {
					t.Fatal(err)
				}
				wantAnswer(t, got, answer{Type: "commit", FastForward: true, Params: fmt.Sprintf("lr: %d", n), Count: n, Changed: changed})
				if packs, _ := filepath.Glob(bare.Dir() + "/objects/pack/*.pack"); (len(packs) > 0) != (n >= 100) {
					t.Errorf("%d commits left %d packs: the case is not what it says", n, len(packs))
				}

				aside := commit(t, clone, content{"params.yaml": "aside"}, first)
				got, err = push(t, clone, nil, "+"+string(aside)+":refs/heads/models")
				if err != nil {
					t.Fatal(err)
				}
				wantAnswer(t, got, answer{Type: "commit", Params: "aside", Count: 1, Changed: []string{"params.yaml"}})
			})
		}
	}
}

// A push in the middle of its hook, and what a killed push left, are not seen.
func TestQuarantineBesideOthers(t *testing.T) {
	t.Parallel()
	bare, clone := server(t)
	first := line(t, clone, 1, "")
	if _, err := push(t, clone, nil, string(first)+":refs/heads/models"); err != nil {
		t.Fatal(err)
	}

	// A dead push leaves its quarantine with an object that no other push has.
	dead := commit(t, clone, content{"params.yaml": "dead"}, first)
	if _, err := push(t, clone, []string{"TEST_HOOK_DIE=1"}, string(dead)+":refs/heads/dead"); err == nil {
		t.Fatal("the push whose server was killed succeeded")
	}
	left, err := filepath.Glob(bare.Dir() + "/objects/tmp_objdir-incoming-*")
	if err != nil || len(left) != 1 {
		t.Fatalf("the dead push left %v (%v), want one quarantine", left, err)
	}
	if typ := must(bare.ObjectType(ctx, dead))(t); typ != "" {
		t.Errorf("an object of a dead push is visible as %q", typ)
	}

	// A push waits in its hook while another goes through.
	gate := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	slow := line(t, clone, 150, first)
	type end struct {
		got map[string]answer
		err error
	}
	done := make(chan end, 1)
	go func() {
		got, err := push(t, clone, []string{"TEST_HOOK_GATE=" + gate}, string(slow)+":refs/heads/models")
		done <- end{got, err}
	}()
	release, err := os.OpenFile(gate, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if typ := must(bare.ObjectType(ctx, slow))(t); typ != "" {
		t.Errorf("an object in quarantine is visible outside as %q", typ)
	}
	quick := commit(t, clone, content{"params.yaml": "quick"}, first)
	got, err := push(t, clone, nil, string(quick)+":refs/heads/other")
	if err != nil {
		t.Fatal(err)
	}
	if a := got["refs/heads/other"]; a.Params != "quick" || a.Count != 2 {
		t.Errorf("the quick push saw %+v", a)
	}
	release.Close()
	slowEnd := <-done
	if slowEnd.err != nil {
		t.Fatal(slowEnd.err)
	}
	wantAnswer(t, slowEnd.got, answer{Type: "commit", FastForward: true, Params: "lr: 150", Count: 150, Changed: []string{"params.yaml"}})
}

// Objects may come from a repository that borrows from another one.
func TestQuarantineWithAlternates(t *testing.T) {
	t.Parallel()
	grand := newBare(t)
	first := line(t, grand, 3, "")
	setRef(t, grand, "refs/heads/main", first)
	borrow := func(from *Repo) *Repo {
		r := newBare(t)
		if err := os.WriteFile(filepath.Join(r.Dir(), "objects", "info", "alternates"), []byte(from.Dir()+"/objects\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return r
	}
	parent := borrow(grand)
	second := commit(t, parent, content{"params.yaml": "second"}, first)
	bare := borrow(parent)
	installHook(t, bare)
	setRef(t, bare, "refs/heads/models", second)

	clone := cloneOf(t, bare)
	gitIn(t, clone.Dir(), "fetch", "-q", "origin")
	third := commit(t, clone, content{"params.yaml": "third"}, second)
	got, err := push(t, clone, nil, string(third)+":refs/heads/models")
	if err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, got, answer{Type: "commit", FastForward: true, Params: "third", Count: 1, Changed: []string{"params.yaml"}})
	if !must(bare.IsAncestor(ctx, first, third))(t) {
		t.Error("ancestry does not reach through alternates of alternates")
	}
}

func TestQuarantineEnvironment(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	env := func(environ ...string) []string {
		return open(t, r.Dir(), WithQuarantine(environ)).quarantine
	}
	d := r.Dir()
	for _, tc := range []struct {
		name      string
		in, wants []string
	}{
		{"none", []string{"HOME=/x", "GIT_DIR=."}, []string{}},
		{"absolute", []string{"GIT_QUARANTINE_PATH=/q", "GIT_OBJECT_DIRECTORY=/q", "GIT_ALTERNATE_OBJECT_DIRECTORIES=/a:/b", "GIT_CONFIG_COUNT=1"},
			[]string{"GIT_QUARANTINE_PATH=/q", "GIT_OBJECT_DIRECTORY=/q", "GIT_ALTERNATE_OBJECT_DIRECTORIES=/a:/b"}},
		{"relative", []string{"GIT_QUARANTINE_PATH=./objects/q", "GIT_ALTERNATE_OBJECT_DIRECTORIES=objects::/b:../c"},
			[]string{"GIT_QUARANTINE_PATH=" + d + "/objects/q", `GIT_ALTERNATE_OBJECT_DIRECTORIES="` + d + `/objects"::/b:"` + filepath.Dir(d) + `/c"`}},
		{"quoted", []string{`GIT_ALTERNATE_OBJECT_DIRECTORIES="/a:b\"c":"x:y"`},
			[]string{`GIT_ALTERNATE_OBJECT_DIRECTORIES="/a:b\"c":"` + d + `/x:y"`}},
		{"twice", []string{"GIT_OBJECT_DIRECTORY=/1", "GIT_OBJECT_DIRECTORY=/2"}, []string{"GIT_OBJECT_DIRECTORY=/2"}},
		{"empty", []string{"GIT_ALTERNATE_OBJECT_DIRECTORIES="}, []string{"GIT_ALTERNATE_OBJECT_DIRECTORIES="}},
	} {
		if diff := cmp.Diff(tc.wants, env(tc.in...)); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
	}
	_, err := Open(d, WithQuarantine([]string{"GIT_OBJECT_DIRECTORY=a\x00b"}))
	wantKind(t, err, gitmodels.Invalid, "NUL")
}

// Folders with a colon, a quote or a line feed in their name are read back by
// git as they are.
func TestQuarantineOddFolders(t *testing.T) {
	t.Parallel()
	odd := newBare(t)
	id := commit(t, odd, content{"f": "1"})
	for _, name := range []string{"a:b", `q"uote`, "back\\slash", "line\nfeed", "plain"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		gitIn(t, dir, "init", "-q", "--bare", "r.git")
		if err := os.Symlink(filepath.Join(odd.Dir(), "objects"), filepath.Join(dir, "r.git", "borrowed")); err != nil {
			t.Fatal(err)
		}
		r := open(t, filepath.Join(dir, "r.git"), WithQuarantine([]string{"GIT_ALTERNATE_OBJECT_DIRECTORIES=borrowed"}))
		if typ, err := r.ObjectType(ctx, id); typ != "commit" {
			t.Errorf("%q: ObjectType = %q, %v", name, typ, err)
		}
	}
}
