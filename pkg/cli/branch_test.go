package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// hinted runs every command that was printed to be pasted.
func (s said) hinted(t *testing.T, dir string, n int) {
	t.Helper()
	hints := regexp.MustCompile(`(?m)^git-models: hint: (.*)$`).FindAllStringSubmatch(s.err, -1)
	if len(hints) < n {
		t.Fatalf("%d hints, want %d:\n%s", len(hints), n, s.err)
	}
	for _, h := range hints[:n] {
		sh(t, dir, "GIT_EDITOR=true; export GIT_EDITOR; "+h[1])
	}
}

func TestBranch(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.train(t)
	first := git(t, s.clone, "rev-parse", "HEAD")
	git(t, s.clone, "fetch", "-q", "origin", "+refs/notes/models*:refs/notes/models*", "+refs/heads/*:refs/remotes/origin/*")
	got := runIn(t, s.clone, "branch", "warm", first[:6])
	got.want(t, 0, "warm is at "+short(first)+"  succeeded  val_accuracy=0.875 loss=0.25 x\\x0aState: failed=1\n",
		"git-models: to go on from there, and to push what you commit:\n"+
			"git-models: hint: git switch warm\n"+
			"git-models: hint: git push origin warm:models\n")
	got.hinted(t, s.clone, 1)
	if git(t, s.clone, "rev-parse", "warm") != first || git(t, s.clone, "branch", "--show-current") != "warm" {
		t.Error("warm is not where it should be")
	}

	// The line has gone on: what is printed still pushes, with the branch's files.
	git(t, s.clone, "switch", "-q", "main")
	s.commit(t, "second", map[string]string{"deploy/train-config.yaml": "optimizer: {lr: 0.5}\n"})
	runIn(t, s.clone, "push").ok(t)
	got = runIn(t, s.clone, "branch", "colder", first)
	got.hinted(t, s.clone, 1)
	own := s.commit(t, "colder", map[string]string{"new": "1"})
	got.hinted(t, s.clone, 2)
	if git(t, s.repo, "rev-parse", "models^{tree}") != git(t, s.clone, "rev-parse", own+"^{tree}") {
		t.Error("models has other files than colder")
	}

	// Without a note, in team layout.
	git(t, s.clone, "update-ref", "-d", "refs/remotes/origin/models")
	git(t, s.clone, "update-ref", "refs/remotes/origin/models/main", "HEAD")
	runIn(t, s.clone, "branch", "topic/x", "HEAD").want(t, 0, "topic/x is at "+short(git(t, s.clone, "rev-parse", "HEAD"))+"  (no note tells of a run of it)\n",
		"git-models: to go on from there, and to push what you commit:\n"+
			"git-models: hint: git switch topic/x\n"+
			"git-models: hint: git push origin topic/x:models/topic/x\n")
}

func TestBranchNames(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	git(t, s.clone, "branch", "taken/x")
	before := git(t, s.clone, "for-each-ref")
	for name, want := range map[string]string{
		"taken/x":        "there is a branch taken/x already\ngit-models: hint: git switch taken/x\n",
		"HEAD":           "easily misread",
		"refs/heads/x":   "easily misread",
		"a b":            "holds the character ' '",
		"a..b":           "two dots",
		"x.lock":         "ends in .lock",
		"it's":           "git models branch it-s HEAD\n",
		"a/-b":           "git models branch a/b HEAD\n",
		"$(touch x)":     "holds the character",
		"best/models":    "written by the runner\ngit-models: hint: git models branch from-models HEAD\n",
		"models/fast":    "models/fast is a trained line: make a branch to work on, and push it there\ngit-models: hint: git models branch fast HEAD\n",
		"models":         "git models branch from-models HEAD\n",
		"\x1b[31mred":    "holds the character",
		"right\u202eway": `the name right\u202eway is easily misread`,
		"":               "an empty part",
		"taken":          "taken", // git's own words: it is a folder of refs
	} {
		got := runIn(t, s.clone, "branch", "--", name, "HEAD")
		if got.code != 1 || got.out != "" || !strings.Contains(got.err, want) {
			t.Errorf("%q: %+v", name, got)
		}
		noControls(t, name, got.err)
	}
	runIn(t, s.clone, "branch", "new", "abcdef0").want(t, 1, "",
		"git-models: error: abcdef0 names no commit that this clone has\ngit-models: hint: git fetch origin\n")
	if got := runIn(t, s.clone, "branch", "new", git(t, s.clone, "rev-parse", "HEAD^{tree}")); got.code != 1 {
		t.Errorf("a tree: %+v", got)
	}
	if after := git(t, s.clone, "for-each-ref"); after != before {
		t.Errorf("a refusal made a ref:\n%s", after)
	}
	if got := runIn(t, s.repo, "branch", "x", "HEAD"); got.code != 1 || !strings.Contains(got.err, "works in a clone") {
		t.Errorf("on the server: %+v", got)
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	first := s.commit(t, "with a", map[string]string{"a/one": "1", "b": "was"})
	runIn(t, s.clone, "push").ok(t)
	git(t, s.clone, "rm", "-q", "-r", "a")
	second := s.commit(t, "without a", map[string]string{"b": "is", "later": "1"})
	runIn(t, s.clone, "push").ok(t)

	// Nothing is lost to it: neither changes nor files that git does not know.
	write := func(name, text string) string {
		path := filepath.Join(s.clone, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("b", "unsaved")
	runIn(t, s.clone, "restore", first).want(t, 1, "", "git-models: error: refused: not committed yet: b; nothing was touched\n"+
		"git-models: hint: git stash\n")
	git(t, s.clone, "checkout", "-q", "b")
	for _, name := range []string{"a/one", "a"} {
		path := write(name, "mine")
		runIn(t, s.clone, "restore", first).want(t, 1, "", "git-models: error: refused: git does not know what lies where a file would be brought back: "+
			name+"; nothing was touched\ngit-models: hint: mv "+name+" "+name+".mine\n")
		if data, err := os.ReadFile(path); err != nil || string(data) != "mine" {
			t.Errorf("%s: %s %v", name, data, err)
		}
		if err := os.RemoveAll(filepath.Join(s.clone, "a")); err != nil {
			t.Fatal(err)
		}
	}
	if status := git(t, s.clone, "status", "--porcelain"); status != "" {
		t.Errorf("a refusal left:\n%s", status)
	}

	// From a folder within, with a file beside that is nobody's affair.
	write("untracked", "stays")
	got := runIn(t, filepath.Join(s.clone, "src"), "restore", short(first))
	got.want(t, 0, "staged on main: 3 files as in "+short(first)+"\n",
		"git-models: to make it a commit on top, and to train it:\n"+
			"git-models: hint: git commit -m 'Restore "+short(first)+"'\n"+
			"git-models: hint: git push origin HEAD:models\n"+
			"git-models: to undo it:\n"+
			"git-models: hint: git restore --source=HEAD --staged --worktree :/\n")
	got.hinted(t, s.clone, 2)
	if git(t, s.repo, "rev-parse", "models^{tree}") != git(t, s.clone, "rev-parse", first+"^{tree}") ||
		git(t, s.repo, "rev-parse", "models^") != second || git(t, s.clone, "status", "--porcelain") != "?? untracked" {
		t.Errorf("restored:\n%s", git(t, s.clone, "log", "--stat", "-1"))
	}
	runIn(t, s.clone, "restore", first).want(t, 0, "", "git-models: the files of "+short(first)+" are those of HEAD already\n"+
		"git-models: hint: git models rerun "+short(first)+"\n")

	// Undone.
	got = runIn(t, s.clone, "restore", second)
	sh(t, s.clone, got.err[strings.LastIndex(got.err, "hint: ")+len("hint: "):])
	if status := git(t, s.clone, "status", "--porcelain"); status != "?? untracked" {
		t.Errorf("not undone:\n%s", status)
	}
	git(t, s.clone, "switch", "-q", "-c", "old", second)
	got = runIn(t, s.clone, "restore", first)
	if !strings.Contains(got.err, "hint: git fetch origin && git merge -s ours origin/models && git push origin HEAD:models\n") {
		t.Errorf("behind the line: %+v", got)
	}
	got.hinted(t, s.clone, 2)
}

// A folder takes the place of a file and the other way round.
func TestRestoreFolderAndFile(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	folder := s.commit(t, "a folder", map[string]string{"x/one": "1", "x/two": "2"})
	git(t, s.clone, "rm", "-q", "-r", "x")
	file := s.commit(t, "a file", map[string]string{"x": "file"})
	runIn(t, s.clone, "restore", folder).ok(t)
	git(t, s.clone, "commit", "-qm", "the folder again")
	if err := os.WriteFile(filepath.Join(s.clone, "x", "mine"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := runIn(t, s.clone, "restore", file); got.code != 1 || !strings.Contains(got.err, "x/mine") {
		t.Errorf("a folder with a file of the person's: %+v", got)
	}
	if err := os.Remove(filepath.Join(s.clone, "x", "mine")); err != nil {
		t.Fatal(err)
	}
	runIn(t, s.clone, "restore", file).ok(t)
	if data, err := os.ReadFile(filepath.Join(s.clone, "x")); err != nil || string(data) != "file" {
		t.Errorf("x: %s %v", data, err)
	}
}
