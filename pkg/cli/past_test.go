package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/publish"
)

// note writes an outcome into the clone as a fetch would have.
func (s server) note(t *testing.T, commit string, o gitmodels.Outcome, ref string) {
	t.Helper()
	o.Commit, o.Run, o.Attempt, o.Ref = gitmodels.CommitID(commit), short(commit), 1, gitmodels.RefName(ref)
	if o.Cause == "" {
		o.Cause = "the training ended with status 0"
	}
	if o.Finished.IsZero() {
		o.Finished = time.Now()
	}
	o.Started = o.Finished.Add(-time.Minute)
	path := filepath.Join(t.TempDir(), "note")
	if err := os.WriteFile(path, []byte(publish.Note(o, nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	git(t, s.clone, "notes", "--ref=models", "add", "-f", "-F", path, commit)
	if err := os.WriteFile(path, []byte(publish.Curves(o.Values, o.Best)), 0o600); err != nil {
		t.Fatal(err)
	}
	git(t, s.clone, "notes", "--ref=models-curves", "add", "-f", "-F", path, commit)
}

// trained is a clone whose line holds four commits, three of them trained, and
// one merge of a side line between them.
func trained(t *testing.T) (s server, commits []string) {
	t.Helper()
	s = newServer(t)
	value := func(loss float64) gitmodels.Outcome {
		return gitmodels.Outcome{State: gitmodels.Succeeded, Best: &gitmodels.Best{Metric: "loss", Mode: "min"}, Values: []gitmodels.Metric{
			{Name: "val_accuracy", Final: 0.5},
			{Name: "loss", Final: gitmodels.Number(loss), Points: []gitmodels.Point{{Step: 0, Value: 1}, {Step: 1, Value: gitmodels.Number(loss)}}}}}
	}
	add := func(subject, params string) string {
		id := s.commit(t, subject, map[string]string{"deploy/train-config.yaml": params})
		commits = append(commits, id)
		return id
	}
	add("one", "optimizer: {lr: 0.01}\nseed: 7\n")
	add("two, never trained", "optimizer: {lr: 0.5}\n")
	add("three fails", "optimizer: {lr: 0.02}\nseed: 7\n")
	add("four", "optimizer: {lr: 0.003}\ndropout: 0.1\n")
	git(t, s.clone, "update-ref", "refs/remotes/origin/models", "HEAD")
	git(t, s.clone, "update-ref", "refs/remotes/origin/best/models", commits[3])
	now := time.Now()
	one, three, four := value(0.4), gitmodels.Outcome{State: gitmodels.Failed, Cause: "exit status 3"}, value(0.3)
	one.Finished, three.Finished, four.Finished = now.Add(-3*time.Hour), now.Add(-2*time.Hour), now.Add(-time.Hour)
	s.note(t, commits[0], one, "refs/heads/models")
	s.note(t, commits[2], three, "refs/heads/models")
	s.note(t, commits[3], four, "refs/heads/models")
	return s, commits
}

func decodeLog(t *testing.T, text string) (rows []logRow) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return rows
}

func TestLogOfAClone(t *testing.T) {
	t.Parallel()
	s, commits := trained(t)
	rows := decodeLog(t, runIn(t, s.clone, "log", "--json").ok(t))
	if len(rows) != 3 || string(rows[0].Commit) != commits[3] || string(rows[1].Commit) != commits[2] || string(rows[2].Commit) != commits[0] {
		t.Fatalf("%+v", rows)
	}
	if got := fmt.Sprintf("%+v", paramTexts(rows[0].Changed)); got != "[optimizer.lr:0.02>0.003 dropout:>0.1 seed:7>]" {
		t.Errorf("changed: %s", got)
	}
	if rows[2].Changed != nil || rows[2].Difference != nil {
		t.Errorf("the first has nothing before it: %+v", rows[2])
	}
	if *rows[0].Metric != "loss" || *rows[0].Value != 0.3 || *rows[0].Difference > -0.09 || *rows[0].Difference < -0.11 || !rows[0].Best || rows[2].Best {
		t.Errorf("results.best ranks, and the failed run between does not count: %+v", rows[0])
	}
	if rows[0].Subject != "four" || rows[1].Metric != nil {
		t.Errorf("%+v", rows)
	}
	table := runIn(t, s.clone, "log", "--color=always").ok(t)
	want := fmt.Sprintf("\x1b\\[32m✓\x1b\\[m  %s  four +lr 0.02 -> 0.003.* 0.3 \\(best\\) +\x1b\\[32m-0.1\x1b\\[m +1m00s\n", short(commits[3]))
	if !regexp.MustCompile(want).MatchString(table) {
		t.Errorf("no %s in\n%s", want, table)
	}

	// A limit, a range, a ref, and what is none.
	got := runIn(t, s.clone, "log", "-n", "1")
	if got.code != 0 || strings.Count(got.out, "\n") != 2 || !strings.Contains(got.err, "the newest 1; all of them: git models log -n 0") ||
		!strings.Contains(got.out, "lr 0.02 -> 0.003") {
		t.Errorf("a limit: %+v", got)
	}
	for _, args := range [][]string{{"HEAD~1..HEAD"}, {"HEAD~3..models", "-n1"}, {"origin/models", "-n1"}, {"models", "-n1"}, {"HEAD", "-n1"}} {
		rows = decodeLog(t, runIn(t, s.clone, append([]string{"log", "--json"}, args...)...).ok(t))
		if len(rows) != 1 || string(rows[0].Commit) != commits[3] {
			t.Errorf("%v: %+v", args, rows)
		}
	}
	for word, want := range map[string]int{"HEAD...HEAD~1": 2, "nowhere": 1, "nowhere..HEAD": 1, "HEAD..nowhere": 1, "-x": 2} {
		if got := runIn(t, s.clone, "log", word); got.code != want || got.out != "" {
			t.Errorf("%s: %+v", word, got)
		}
	}
	if rows := decodeLog(t, runIn(t, s.clone, "log", "--json", "HEAD~2").ok(t)); len(rows) != 1 {
		t.Errorf("HEAD~2: %+v", rows)
	}
}

func paramTexts(views []paramView) (texts []string) {
	for _, v := range views {
		text := v.Key + ":"
		if v.Before != nil {
			text += *v.Before
		}
		text += ">"
		if v.After != nil {
			text += *v.After
		}
		texts = append(texts, text)
	}
	return texts
}

// A clone that has few of the commits has all the notes: they are told, by the
// time of their end.
func TestLogOfAShallowClone(t *testing.T) {
	t.Parallel()
	s, commits := trained(t)
	git(t, s.clone, "branch", "-f", "models", "HEAD~1")
	root := filepath.Dir(s.clone)
	git(t, root, "clone", "-q", "--depth=1", "--branch=models", "file://"+s.clone, "shallow")
	shallow := filepath.Join(root, "shallow")
	git(t, shallow, "fetch", "-q", "origin", "+refs/notes/models*:refs/notes/models*")
	rows := decodeLog(t, runIn(t, shallow, "log", "--json").ok(t))
	if len(rows) != 3 || string(rows[0].Commit) != commits[3] || string(rows[1].Commit) != commits[2] || string(rows[2].Commit) != commits[0] {
		t.Fatalf("%+v", rows)
	}
	if rows[0].Subject != "" || rows[0].Changed != nil || *rows[0].Value != 0.3 || rows[1].Subject != "three fails" || rows[1].Changed != nil {
		t.Errorf("%+v", rows)
	}
	show := runIn(t, shallow, "show", commits[0]).ok(t)
	if strings.Contains(show, "parameters") || !strings.Contains(show, "val_accuracy  0.5") {
		t.Errorf("show of a commit that is not here:\n%s", show)
	}
	cmp := runIn(t, shallow, "compare", commits[0], commits[2]).ok(t)
	if !strings.Contains(cmp, "parameters  not known") || !strings.Contains(cmp, "files  not known") {
		t.Errorf("compare:\n%s", cmp)
	}
}

func TestCompareInAClone(t *testing.T) {
	t.Parallel()
	s, commits := trained(t)
	got := runIn(t, s.clone, "compare", short(commits[0]), "HEAD").ok(t)
	for _, want := range []string{`(?m)^A  ` + short(commits[0]) + `  succeeded  1m00s  one$`, `(?m)^B  ` + short(commits[3]),
		`(?m)^  optimizer.lr 0.01 -> 0.003\n  dropout=0.1 is new\n  seed is gone \(was 7\)$`, `(?m)^files  1 changed\n  deploy/train-config.yaml$`,
		`(?m)^loss +0.4  0.3  -0.1$`, `(?m)^  loss  A █▂  1 -> 0.4\n        B █▁  1 -> 0.3$`} {
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	var cmp struct {
		A, B       gitmodels.Listing
		Parameters []paramView
		Files      changedFiles
		Values     []valuePair
	}
	if err := json.Unmarshal([]byte(runIn(t, s.clone, "compare", "--json", commits[0], "models").ok(t)), &cmp); err != nil {
		t.Fatal(err)
	}
	if string(cmp.A.Commit) != commits[0] || len(cmp.Parameters) != 3 || cmp.Files.Count != 1 || len(cmp.Values) != 2 {
		t.Errorf("%+v", cmp)
	}
	same := runIn(t, s.clone, "compare", "HEAD", "HEAD").ok(t)
	if !strings.Contains(same, "parameters  the same") || !strings.Contains(same, "files  the same") {
		t.Errorf("with itself:\n%s", same)
	}
	if got := runIn(t, s.clone, "compare", "HEAD", commits[1]); got.code != 1 || got.out != "" || !strings.Contains(got.err, "no note tells of a run of "+commits[1][:12]) {
		t.Errorf("a commit that never ran: %+v", got)
	}
	if got := runIn(t, s.clone, "compare", "HEAD"); got.code != 2 {
		t.Errorf("one word: %+v", got)
	}
}

func TestShowAndSortInAClone(t *testing.T) {
	t.Parallel()
	s, commits := trained(t)
	show := runIn(t, s.clone, "show", "HEAD").ok(t)
	for _, want := range []string{`succeeded  \(best\) loss=0.3`, `parameters  against ` + short(commits[2]), `optimizer.lr=0.003  was 0.02`, `(?m)^  loss  █▁  1 -> 0.3$`} {
		if !regexp.MustCompile(want).MatchString(show) && !regexp.MustCompile(strings.Replace(want, `loss=0.3`, `val_accuracy=0.5 loss=0.3`, 1)).MatchString(show) {
			t.Errorf("no %s in\n%s", want, show)
		}
	}
	failed := runIn(t, s.clone, "show", commits[2]).ok(t)
	if !strings.HasSuffix(failed, "\nagain       git push origin "+short(commits[2])+":refs/run/rerun\n") {
		t.Errorf("a failed run:\n%s", failed)
	}
	ids := func(args ...string) (names []string) {
		var rows []gitmodels.Listing
		if err := json.Unmarshal([]byte(runIn(t, s.clone, append([]string{"ls", "--json"}, args...)...).ok(t)), &rows); err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			for i, c := range commits {
				if string(row.Commit) == c {
					names = append(names, fmt.Sprint(i))
				}
			}
		}
		return names
	}
	for want, args := range map[string][]string{
		"3 0 2": {"--sort", "loss"}, "0 3 2": {"--sort", "-loss"}, "0 3  2": {"--sort=loss", "-r"}, "3 2": {"--since", "150m"}, "0 2 3": {"--reverse"}, "": {"--since=1s"},
	} {
		if got := strings.Join(ids(args...), " "); got != strings.ReplaceAll(want, "  ", " ") {
			t.Errorf("%v: %s, want %s", args, got, want)
		}
	}
	if got := runIn(t, s.clone, "ls", "--sort", "los"); got.code != 1 || !strings.Contains(got.err, "did you mean loss?") {
		t.Errorf("%+v", got)
	}
	if got := runIn(t, s.clone, "ls").ok(t); strings.Count(got, "(best)") != 1 {
		t.Errorf("the best:\n%s", got)
	}
}

func TestStatusOfAClone(t *testing.T) {
	t.Parallel()
	s, commits := trained(t)
	next := func() string {
		t.Helper()
		var st cloneStatus
		if err := json.Unmarshal([]byte(runIn(t, s.clone, "status", "--json").ok(t)), &st); err != nil {
			t.Fatal(err)
		}
		return st.Next
	}
	if got := next(); got != "" {
		t.Errorf("trained: %s", got)
	}
	if got := runIn(t, s.clone, "status").ok(t); !strings.Contains(got, "nothing: HEAD is trained") || !strings.Contains(got, "line        models, which is at HEAD") {
		t.Errorf("%s", got)
	}
	for name, text := range map[string]string{".models.yaml": "train: {command: [sh]}\n", "README": "x", "src/new": "y"} {
		if err := os.WriteFile(filepath.Join(s.clone, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := runIn(t, s.clone, "status").ok(t); !strings.Contains(got, "uncommitted .models.yaml\n            src/new\n\n") {
		t.Errorf("%s", got)
	}
	s.commit(t, "five", map[string]string{"src/new": "z"})
	if got := next(); got != "git push origin main:models" {
		t.Errorf("ahead: %s", got)
	}
	git(t, s.clone, "checkout", "-q", "--detach", commits[2])
	if got := next(); got != "git merge --ff-only origin/models" {
		t.Errorf("behind: %s", got)
	}
	git(t, s.clone, "update-ref", "refs/remotes/origin/models", commits[2])
	if got := next(); got != "git push origin "+short(commits[2])+":refs/run/rerun" {
		t.Errorf("failed: %s", got)
	}
	git(t, s.clone, "commit", "-q", "--amend", "-m", "other")
	if got := next(); got != "git fetch origin && git merge origin/models" {
		t.Errorf("apart: %s", got)
	}
	empty := t.TempDir()
	git(t, empty, "init", "-q")
	if got := runIn(t, empty, "status"); got.code != 0 || got.out != "nothing is committed yet\n" {
		t.Errorf("nothing committed: %+v", got)
	}
}
