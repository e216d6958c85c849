package publish_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
	"github.com/git-models/git-models/pkg/publish"
)

// repository is a real one with n commits on models, oldest first.
func repository(t *testing.T, n int) (dir string, commits []gitmodels.CommitID) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "dogs.git")
	git(t, "", "", "init", "-q", "--bare", dir)
	var stream strings.Builder
	for i := range n {
		fmt.Fprintf(&stream, "commit refs/heads/models\ncommitter a <a@example.com> %d +0000\ndata 2\nc\nM 100644 inline f\ndata %d\n%d\n",
			1700000000+i, len(fmt.Sprint(i)), i)
	}
	git(t, dir, stream.String(), "fast-import", "--quiet")
	for _, id := range strings.Fields(git(t, dir, "", "rev-list", "--reverse", "models")) {
		commits = append(commits, gitmodels.CommitID(id))
	}
	return dir, commits
}

func git(t *testing.T, dir, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func realPublisher(tags string) *publish.Publisher {
	return &publish.Publisher{
		Open: func(path string) (publish.Refs, error) { return gitrepo.Open(path) },
		Settings: func(context.Context, gitmodels.Repository) (publish.Settings, error) {
			return publish.Settings{Tags: tags}, nil
		},
	}
}

// outcome of the n-th commit: the accuracy is value.
func outcome(c gitmodels.CommitID, n int, value float64) gitmodels.Outcome {
	end := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Hour)
	m := gitmodels.Metric{Name: "val_accuracy", Final: gitmodels.Number(value)}
	for i := range 100 {
		m.Points = append(m.Points, gitmodels.Point{Step: gitmodels.Number(i), Value: gitmodels.Number(value * float64(i) / 99)})
	}
	return gitmodels.Outcome{
		State: gitmodels.Succeeded, Cause: "training ended with status 0", Run: c.Short(7), Attempt: 1, Name: c.Short(7),
		Commit: c, Ref: "refs/heads/models", Engine: "process", Values: []gitmodels.Metric{m},
		Best: &gitmodels.Best{Metric: "val_accuracy", Mode: "max"}, Started: end.Add(-time.Minute), Finished: end,
	}
}

// What a stranger's git reads after the outcomes of several runs, and that a
// repetition moves no ref.
func TestPublishIntoARealRepository(t *testing.T) {
	t.Parallel()
	dir, commits := repository(t, 3)
	repo := gitmodels.Repository{Name: "dogs", Path: dir}
	p := realPublisher("all")
	failed := outcome(commits[2], 3, 0)
	failed.State, failed.Cause, failed.Values = gitmodels.Failed, "exit status 3", nil
	all := []gitmodels.Outcome{outcome(commits[0], 1, .75), outcome(commits[1], 2, .5), failed}
	for _, o := range all {
		if err := p.Publish(t.Context(), repo, o); err != nil {
			t.Fatal(err)
		}
	}
	refs := git(t, dir, "", "for-each-ref")
	for _, q := range []*publish.Publisher{p, realPublisher("all")} {
		for _, o := range all {
			if err := q.Publish(t.Context(), repo, o); err != nil {
				t.Fatal(err)
			}
		}
	}
	if again := git(t, dir, "", "for-each-ref"); again != refs {
		t.Errorf("a repetition moved refs:\n%s\n%s", refs, again)
	}
	for _, c := range []struct {
		args string
		want string
	}{
		{"rev-parse best/models", string(commits[0])},
		{"tag --list", "failed/" + commits[2].Short(7) + "\ntrained/" + commits[0].Short(7) + "\ntrained/" + commits[1].Short(7)},
		{"cat-file -t trained/" + commits[0].Short(7), "tag"},
		{"rev-parse failed/" + commits[2].Short(7) + "^{commit}", string(commits[2])},
		{"rev-list --count refs/notes/models-curves", "2"}, // none for the failed run
	} {
		if got := git(t, dir, "", strings.Fields(c.args)...); got != c.want {
			t.Errorf("git %s: %s, want %s", c.args, got, c.want)
		}
	}
	note := git(t, dir, "", "notes", "--ref=models", "show", string(commits[2]))
	last := note[strings.LastIndexByte(note, '\n')+1:]
	if last != "Again: git push origin "+commits[2].Short(7)+":refs/run/rerun" {
		t.Errorf("the note ends with %q", last)
	}
	curves := publish.ParseCurves(git(t, dir, "", "notes", "--ref=models-curves", "show", string(commits[0])))
	if len(curves) != 1 || len(curves[0].Points) < 60 || curves[0].Final != .75 {
		t.Errorf("curves read back as %v", curves)
	}
}

// Many publishers at once, as several processes would: nothing is lost, and the
// best run is the best one.
func TestPublishersAtOnce(t *testing.T) {
	t.Parallel()
	const n = 6
	dir, commits := repository(t, n)
	repo := gitmodels.Repository{Name: "dogs", Path: dir}
	var all sync.WaitGroup
	for i, c := range commits {
		all.Go(func() {
			value := float64(i*5%n) / n // every value once
			o := outcome(c, i, value)
			p := realPublisher("succeeded")
			err := p.Publish(t.Context(), repo, o)
			for tries := 0; err != nil && tries < 20; tries++ { // as the outbox does
				err = p.Publish(t.Context(), repo, o)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if notes := strings.Fields(git(t, dir, "", "notes", "--ref=models", "list")); len(notes) != 2*n {
		t.Errorf("%d notes", len(notes)/2)
	}
	if tags := strings.Fields(git(t, dir, "", "tag", "--list")); len(tags) != n {
		t.Errorf("%d tags", len(tags))
	}
	want := commits[0]
	for i, c := range commits {
		if i*5%n == n-1 {
			want = c
		}
	}
	if best := git(t, dir, "", "rev-parse", "best/models"); best != string(want) {
		t.Errorf("best is %s, want %s", best, want)
	}
}
