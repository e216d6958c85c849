package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/policy"
)

func TestPush(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	at := func(revision string) string { return git(t, s.clone, "rev-parse", revision) }
	tip := func(ref string) string { return git(t, s.repo, "rev-parse", ref) }

	// Nothing moves by a dry run; then the line is created.
	runIn(t, s.clone, "push", "--dry-run").want(t, 0, "would run: git push origin HEAD:refs/heads/models\n", "")
	if refs := git(t, s.repo, "for-each-ref"); refs != "" {
		t.Errorf("a dry run pushed %s", refs)
	}
	got := runIn(t, s.clone, "push", "-o", "skip", "--push-option=ci.skip", "-n")
	got.want(t, 0, "would run: git push -o skip -o ci.skip origin HEAD:refs/heads/models\n", "")
	got = runIn(t, s.clone, "push")
	if got.code != 0 || !strings.HasPrefix(got.err, "git-models: git push origin HEAD:refs/heads/models\n") || tip("models") != at("HEAD") {
		t.Fatalf("the first push: %+v", got)
	}
	runIn(t, s.clone, "push").want(t, 0, "", "git-models: models is "+short(at("HEAD"))+" already: nothing to push\n"+
		"git-models: hint: git models rerun "+short(at("HEAD"))+"\n")

	// An amended commit: our words where git says non-fast-forward.
	before := at("HEAD")
	git(t, s.clone, "commit", "-q", "--amend", "-m", "better words")
	runIn(t, s.clone, "push").want(t, 1, "", "git-models: refused refs/heads/models: "+short(at("HEAD"))+" amends "+short(before)+
		", which models already holds\n"+
		"git-models: to put your files on top of it:\n"+
		"git-models: hint: git fetch origin && git reset --soft origin/models && git commit --allow-empty -C ORIG_HEAD\n"+
		"git-models: nothing moved: the push was not made\n")
	sh(t, s.clone, "git fetch -q origin && git reset -q --soft origin/models && git commit -q --allow-empty -C ORIG_HEAD")
	runIn(t, s.clone, "push").ok(t)

	// Work of others that this clone has not even fetched, where git says fetch
	// first, in a clone of a single branch besides.
	git(t, filepath.Dir(s.clone), "clone", "-q", "--single-branch", "--branch", "models", "file://"+s.repo, "other")
	s.commit(t, "mine", map[string]string{"mine": "1"})
	runIn(t, s.clone, "push").ok(t)
	other := server{repo: s.repo, clone: filepath.Join(filepath.Dir(s.clone), "other")}
	git(t, other.clone, "switch", "-q", "-c", "topic")
	other.commit(t, "theirs", map[string]string{"theirs": "1"})
	got = runIn(t, other.clone, "push", "topic")
	if got.code != 1 || !strings.Contains(got.err, "models has 1 commit that yours lacks\n") ||
		!strings.Contains(got.err, "hint: git fetch origin && git merge origin/models\n") {
		t.Errorf("diverged: %+v", got)
	}
	sh(t, other.clone, "git fetch -q origin && git merge -q -m merged origin/models")
	runIn(t, other.clone, "push", "topic").ok(t)
	if tip("models") != git(t, other.clone, "rev-parse", "topic") {
		t.Error("topic did not become models")
	}

	// An older commit; a commit named by itself; a pair; a line that is none.
	got = runIn(t, s.clone, "push", "HEAD~1")
	if got.code != 1 || !strings.Contains(got.err, "it is never rewound") {
		t.Errorf("a rewind: %+v", got)
	}
	sh(t, s.clone, "git fetch -q origin && git merge -q --ff-only origin/models")
	commit := s.commit(t, "next", map[string]string{"mine": "2"})
	runIn(t, s.clone, "push", "--dry-run", commit[:9]).want(t, 0, "would run: git push origin "+commit+":refs/heads/models\n", "")
	runIn(t, s.clone, "push", "-n", "HEAD:models").want(t, 0, "would run: git push origin HEAD:refs/heads/models\n", "")
	runIn(t, s.clone, "push", "-n", "main:refs/heads/models").want(t, 0, "would run: git push origin refs/heads/main:refs/heads/models\n", "")
	runIn(t, s.clone, "push", "-n", "models").want(t, 0, "would run: git push origin HEAD:refs/heads/models\n", "")
	runIn(t, s.clone, "push", "main:other").want(t, 1, "", "git-models: error: other is no trained line: a push there trains nothing\n"+
		"git-models: hint: git push origin main:refs/heads/other\n")
	for word, want := range map[string]string{
		"+main:models": "never forced", ":models": "never deleted", "nowhere": "names no commit", "nowhere:models": "names no commit",
		"main:a..b": "two dots", "--mirror": "unknown option", "main:models/x": "refused refs/heads/models/x: this repository runs from one branch",
	} {
		if got := runIn(t, s.clone, "push", word); got.code == 0 || got.out != "" || !strings.Contains(got.err, want) {
			t.Errorf("push %s: %+v", word, got)
		}
	}
	if got := runIn(t, s.clone, "push", "-o", "skpi"); got.code != 1 || !strings.Contains(got.err, "did you mean skip?") {
		t.Errorf("a misspelt word: %+v", got)
	}

	// The commit's files, and what is not committed.
	path := filepath.Join(s.clone, ".models.yaml")
	if err := os.WriteFile(path, []byte("train:\n  comand: [sh]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	runIn(t, s.clone, "push", "-n").want(t, 0, "would run: git push origin HEAD:refs/heads/models\n",
		"git-models: .models.yaml in this folder is not what is committed; the commit is judged\n")
	git(t, s.clone, "commit", "-qam", "a mistake")
	got = runIn(t, s.clone, "push")
	if got.code != 1 || !strings.HasPrefix(got.err, "git-models: refused refs/heads/models: .models.yaml:2:3: ") ||
		!strings.HasSuffix(got.err, "git-models: nothing moved: mend it, commit and push again\n") || tip("models") == at("HEAD") {
		t.Errorf("a fault: %+v", got)
	}
	git(t, s.clone, "config", "models.validate", "warn")
	if got := runIn(t, s.clone, "push"); got.code != 0 || !strings.Contains(got.err, "warning: refs/heads/models: .models.yaml:2:3") {
		t.Errorf("models.validate warn: %+v", got)
	}

	// What the server refuses is a failure.
	s.hookIn(t, "pre-receive", "echo 'git-models: refused: closed today' >&2\nexit 1\n")
	s.commit(t, "mended", project)
	if got := runIn(t, s.clone, "push"); got.code != 1 || !strings.Contains(got.err, "remote: git-models: refused: closed today") {
		t.Errorf("refused by the server: %+v", got)
	}
	if got := runIn(t, s.repo, "push"); got.code != 1 || !strings.Contains(got.err, "works in a clone") {
		t.Errorf("on the server: %+v", got)
	}
}

// sh runs a line as a person pastes it.
func sh(t *testing.T, dir, line string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", line)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

func TestPushToTeamBranches(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	git(t, s.clone, "push", "-q", "origin", "main", "HEAD:refs/heads/models/main")
	s.commit(t, "on main", map[string]string{"a": "1"})
	runIn(t, s.clone, "push", "-n").want(t, 0, "would run: git push origin HEAD:refs/heads/models/main\n", "")
	git(t, s.clone, "switch", "-q", "-c", "faster/lr")
	runIn(t, s.clone, "push", "-n").want(t, 0, "would run: git push origin HEAD:refs/heads/models/faster/lr\n", "")
	runIn(t, s.clone, "push", "-n", "main").want(t, 0, "would run: git push origin refs/heads/main:refs/heads/models/main\n", "")
	runIn(t, s.clone, "push", "-n", "models/x").want(t, 0, "would run: git push origin HEAD:refs/heads/models/x\n", "")
	git(t, s.clone, "branch", "-q", "models/mine")
	runIn(t, s.clone, "push", "-n", "models/mine").want(t, 0, "would run: git push origin refs/heads/models/mine:refs/heads/models/mine\n", "")
	for _, detached := range [][]string{{"push", "HEAD~0"}, {"push", git(t, s.clone, "rev-parse", "HEAD")}} {
		runIn(t, s.clone, detached...).want(t, 1, "", "git-models: error: this repository uses team branches, and HEAD is on no branch: name the line\n"+
			"git-models: hint: git models push models/NAME\n")
	}
	git(t, s.clone, "switch", "-q", "--detach")
	if got := runIn(t, s.clone, "push"); got.code != 1 || !strings.Contains(got.err, "models/NAME") {
		t.Errorf("a detached HEAD: %+v", got)
	}
	if got := runIn(t, s.clone, "push", "HEAD:models"); got.code != 1 || !strings.Contains(got.err, "this repository uses team branches") {
		t.Errorf("the other layout: %+v", got)
	}
	// A name that a job could misread is refused as by the server, with a clean one.
	git(t, s.clone, "switch", "-q", "-c", "it's-new")
	if got := runIn(t, s.clone, "push"); got.code != 1 || !strings.Contains(got.err, "easily misread") ||
		!strings.Contains(got.err, ":refs/heads/models/it-s-new") {
		t.Errorf("an odd name: %+v", got)
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	defaults, _ := policy.Parse(nil, policy.Hook)
	team, _ := policy.Parse([]gitmodels.ConfigEntry{{Scope: "local", Key: "models.layout", Value: "team"}}, policy.Hook)
	other, _ := policy.Parse([]gitmodels.ConfigEntry{{Scope: "local", Key: "models.refs", Value: ""},
		{Scope: "local", Key: "models.refs", Value: "refs/heads/train"}}, policy.Hook)
	solo := heads{tips: map[gitmodels.RefName]gitmodels.CommitID{"refs/heads/models": "1", "refs/heads/main": "2"}}
	teams := heads{tips: map[gitmodels.RefName]gitmodels.CommitID{"refs/heads/models/x": "1"}, main: "refs/heads/trunk"}
	for i, tt := range []struct {
		heads  heads
		policy *policy.Policy
		branch gitmodels.RefName
		want   gitmodels.RefName // empty: refused
	}{
		{heads{}, defaults, "refs/heads/main", "refs/heads/models"},
		{heads{}, defaults, "", "refs/heads/models"},
		{heads{}, team, "refs/heads/main", "refs/heads/models/main"},
		{heads{}, team, "refs/heads/x", "refs/heads/models/x"},
		{heads{}, team, "", ""},
		{solo, team, "refs/heads/x", "refs/heads/models"},
		{solo, defaults, "refs/heads/models", "refs/heads/models"},
		{teams, defaults, "refs/heads/trunk", "refs/heads/models/main"},
		{teams, defaults, "refs/heads/main", "refs/heads/models/main"},
		{teams, defaults, "refs/heads/models/y", "refs/heads/models/y"},
		{solo, other, "refs/heads/main", ""},
		{solo, other, "refs/heads/train", "refs/heads/train"},
	} {
		got, err := tt.heads.line(&site{policy: tt.policy}, tt.branch)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%d: %s goes to %q (%v), want %q", i, tt.branch, got, err, tt.want)
		}
	}
}

// What comes through of a push to a control ref.
func TestAnswerWriter(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"remote: git-models: yes        \nTo ../x.git\n * [new reference] a -> b\n": "git-models: yes\n",
		"remote: one\x1b[K\r\nremote: two":                                          "one\ntwo\n",
		"remote: red \x1b[31m\n":                                                    `red \x1b[31m` + "\n",
		"remote: \nremote: x\n":                                                     "\nx\n",
		"fatal: no\n":                                                               "",
	} {
		for _, size := range []int{1, 7, len(in)} {
			var out strings.Builder
			w := &answerWriter{out: &out}
			for i := 0; i < len(in); i += size {
				w.Write([]byte(in[i:min(i+size, len(in))]))
			}
			w.close()
			if diff := cmp.Diff(want, out.String()); diff != "" {
				t.Errorf("%q (-want +got):\n%s", in, diff)
			}
		}
	}
	var out strings.Builder
	w := &answerWriter{out: &out}
	for range 3 * maxHeld {
		w.Write([]byte("git's own\n"))
	}
	w.release()
	if out.String() != strings.Repeat("git's own\n", maxHeld) {
		t.Errorf("%d bytes are held", out.Len())
	}
}
