package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// queued pushes a run with the given priority and engine into a repository.
func (b *bench) queued(repo gitmodels.Repository, ref gitmodels.RefName, c gitmodels.CommitID, priority int, engine string) string {
	b.t.Helper()
	p := b.newPush("push-"+string(c), ref, c)
	p.RepositoryID, p.Priority, p.Engine = repo.ID, priority, engine
	return b.record(p).RunID
}

// order claims until nothing is left and returns the first two digits of each
// commit; a claim that finish picks ends at once.
func (b *bench) order(maxRuns int, admit func(gitmodels.Candidate, []gitmodels.Candidate) bool, finish func(*gitmodels.Claim) bool) string {
	b.t.Helper()
	var got []string
	for {
		c, err := b.Claim(b.t.Context(), "w", time.Hour, maxRuns, admit)
		b.must(err)
		if c == nil {
			return strings.Join(got, " ")
		}
		got = append(got, string(c.Run.Commit[:2]))
		if finish(c) {
			b.finish(c, gitmodels.Succeeded)
		}
	}
}

func never(*gitmodels.Claim) bool  { return false }
func always(*gitmodels.Claim) bool { return true }

func TestFairBetweenRepositories(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		maxRuns int
		finish  func(*gitmodels.Claim) bool
		want    string
	}{
		// While places are free each repository gets as many as the others.
		"all at once": {9, never, "a0 b0 c0 a1 b1 a2 a3 a4"},
		// One after the other: who waited longest comes next.
		"one by one": {1, always, "a0 b0 c0 a1 b1 a2 a3 a4"},
		// Those of a run for ever: the others have the second place.
		"one hogs": {2, func(c *gitmodels.Claim) bool { return c.Run.Commit[0] != 'a' }, "a0 b0 c0 b1 a1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			other, third := b.register("/srv/git/cats.git", "cats"), b.register("/srv/git/ants.git", "ants")
			for i := range 5 { // all within one millisecond
				b.queued(b.repo, models, commit(fmt.Sprint("a", i)), 0, "")
			}
			for i := range 2 {
				b.queued(other, models, commit(fmt.Sprint("b", i)), 100, "") // a priority counts at home alone
			}
			b.queued(third, models, commit("c0"), -100, "")
			if got := b.order(c.maxRuns, nil, c.finish); got != c.want {
				t.Errorf("order %s, want %s", got, c.want)
			}
		})
	}
}

func TestPriorityWithinRepository(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	for i, priority := range []int{0, 5, -5, 5, 0, 100} {
		b.queued(b.repo, models, commit(fmt.Sprint("a", i)), priority, "")
	}
	// Attaching raises a queued run, and never lowers it.
	raise := b.newPush("raise", "refs/heads/models/x", commit("a4"))
	raise.Priority = 50
	if r := b.record(raise); r.Decision != gitmodels.DecisionAttached {
		t.Errorf("attached: %+v", r)
	}
	lower := b.newPush("lower", "refs/heads/models/x", commit("a5"))
	lower.Priority = -100
	b.record(lower)
	if row := b.show(commit("a4")); row.Priority != 50 {
		t.Errorf("raised to %d", row.Priority)
	}
	if rows, err := b.List(ctx, b.repo.ID, 1); err != nil || rows[0].Priority != 100 {
		t.Errorf("listed with %d, %v", rows[0].Priority, err)
	}
	// A run that has begun is not raised any more.
	c := b.claim("w")
	b.must(b.BeginStage(ctx, c, gitmodels.StageBuild, gitmodels.Building, ""))
	late := b.newPush("late", models, c.Run.Commit)
	late.Priority = 70
	b.record(late)
	if row := b.show(c.Run.Commit); string(c.Run.Commit[:2]) != "a5" || row.Priority != 100 {
		t.Errorf("%s has %d", c.Run.Commit, row.Priority)
	}
	if c.Run.Priority != 100 {
		t.Errorf("claimed with %d", c.Run.Priority)
	}
	if got, want := b.order(9, nil, never), "a4 a1 a3 a0 a2"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
}

func TestPriorityOfCompletedRecord(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	found := b.newPush("found", models, commit("aa"))
	found.Source = gitmodels.SourceReconcile
	b.record(found)
	hook := b.newPush("hook", models, commit("aa"))
	hook.Priority, hook.Engine = -7, "slurm"
	b.record(hook)
	if row := b.show(commit("aa")); row.Priority != -7 {
		t.Errorf("the push asked for -7, the run has %d", row.Priority)
	}
	b.order(9, func(c gitmodels.Candidate, held []gitmodels.Candidate) bool {
		want := gitmodels.Candidate{RunID: c.RunID, RepositoryID: b.repo.ID, Ref: models, Engine: "slurm", Priority: -7}
		if diff := cmp.Diff(want, c); diff != "" || len(held) != 0 {
			t.Errorf("asked with %v held (-want +got):\n%s", held, diff)
		}
		return true
	}, never)
}

func TestAdmit(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	other := b.register("/srv/git/cats.git", "cats")
	for i, engine := range []string{"gpu", "gpu", "cpu", "gpu"} {
		b.queued(b.repo, models, commit(fmt.Sprint("a", i)), 0, engine)
	}
	b.queued(other, models, commit("b0"), 0, "gpu")
	b.queued(other, "refs/heads/models/x", commit("b1"), 0, "cpu")
	// One place for gpu: those it turns away hold up nobody.
	oneGPU := func(c gitmodels.Candidate, held []gitmodels.Candidate) bool {
		for _, h := range held {
			if h.Engine == "gpu" && c.Engine == "gpu" {
				return false
			}
		}
		return true
	}
	var first *gitmodels.Claim
	got := b.order(9, oneGPU, func(c *gitmodels.Claim) bool {
		if first == nil {
			first = c
		}
		return false
	})
	if want := "a0 b1 a2"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
	// When the place is free, those that were turned away come in their order.
	b.finish(first, gitmodels.Succeeded)
	if got, want := b.order(9, oneGPU, func(c *gitmodels.Claim) bool { return c.Run.Commit[:2] != "a2" }), "b0 a1 a3"; got != want {
		t.Errorf("order after the place is free %s, want %s", got, want)
	}
}

// TestAdmitLooksFar checks that a run behind many that are turned away is found,
// and how far.
func TestAdmitLooksFar(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.fill(scanLimit+5, scanLimit+5)
	for at, found := range map[int]bool{0: true, 500: true, scanLimit - 1: true, scanLimit: false} {
		asked := map[string]int{}
		c, err := b.Claim(t.Context(), "w", time.Hour, 1, func(c gitmodels.Candidate, _ []gitmodels.Candidate) bool {
			asked[c.RunID]++
			return c.RunID == fmt.Sprint("run-", at)
		})
		b.must(err)
		if (c != nil) != found {
			t.Errorf("run %d: claimed %v, want %v", at, c != nil, found)
		}
		if n := len(asked); n != min(at+1, scanLimit) {
			t.Errorf("run %d: %d candidates were asked for", at, n)
		}
		if c != nil {
			b.must(b.Release(t.Context(), c, "", time.Time{}))
		}
	}
}

// TestBegunGoesOn checks that a run whose worker was lost comes before every run
// that has not begun, and counts against the places.
func TestBegunGoesOn(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	b.queued(b.repo, models, commit("aa"), -5, "")
	c := b.claim("w1")
	b.must(b.BeginStage(ctx, c, gitmodels.StageBuild, gitmodels.Building, ""))
	b.queued(b.repo, models, commit("bb"), 100, "")
	b.queued(b.register("/srv/git/cats.git", "cats"), models, commit("cc"), 0, "")
	if n, err := b.Rescue(ctx, func(string) bool { return false }); n != 1 || err != nil {
		t.Fatalf("rescued %d, %v", n, err)
	}
	if got, want := b.order(2, nil, never), "aa cc"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
}

func TestPlacesInTheQueue(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	for _, digits := range []string{"aa", "bb", "cc"} {
		b.push(commit(digits))
	}
	// A retry and a release keep their places.
	c := b.claim("w")
	b.must(b.Retry(ctx, c, "lost: the machine restarted", "lost"))
	c = b.claim("w")
	if c.Run.Commit != commit("aa") {
		t.Errorf("after a retry: %s", c.Run.Commit)
	}
	b.must(b.Release(ctx, c, "", time.Time{}))
	c = b.claim("w")
	if c.Run.Commit != commit("aa") {
		t.Errorf("after a release: %s", c.Run.Commit)
	}
	b.finish(c, gitmodels.Failed)
	// A rerun and an attempt that was asked for again go to the end.
	_, err := b.Rerun(ctx, b.repo.ID, commit("aa"), "ann", 7)
	b.must(err)
	c = b.claim("w")
	b.finish(c, gitmodels.Succeeded)
	again := b.newPush("again", models, commit("bb"))
	again.Again = true
	b.record(again)
	if got, want := b.order(9, nil, never), "cc aa bb"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	run := b.push(commit("aa"))
	b.push(commit("bb"))
	waiting := func() string {
		if w := b.show(commit("aa")).Waiting; w != nil {
			return *w
		}
		return ""
	}
	b.must(b.Wait(ctx, run, "a place on slurm"))
	if waiting() != "a place on slurm" {
		t.Errorf("waits for %q", waiting())
	}
	// What is said already needs no write: another process may be writing.
	tx, err := b.open().db.BeginTx(ctx, nil)
	b.must(err)
	_, err = b.db.ExecContext(ctx, "PRAGMA busy_timeout = 1")
	b.must(err)
	b.must(b.Wait(ctx, run, "a place on slurm"))
	if err := b.Wait(ctx, run, "something else"); err == nil {
		t.Error("a write beside a writer: no error")
	}
	b.must(tx.Rollback())
	// It keeps its place, and the text goes when it begins.
	c := b.claim("w")
	if c.Run.ID != run {
		t.Errorf("claimed %s", c.Run.Commit)
	}
	b.must(b.BeginStage(ctx, c, gitmodels.StageBuild, gitmodels.Building, ""))
	b.must(b.Wait(ctx, run, "too late"))
	if waiting() != "" {
		t.Errorf("a run that has begun waits for %q", waiting())
	}
	b.must(b.Release(ctx, c, "engine: none", time.Time{}))
	b.must(b.Wait(ctx, run, ""))
	if waiting() != "" {
		t.Errorf("cleared, it waits for %q", waiting())
	}
	b.must(b.Wait(ctx, "nothing", "x"))
}

func TestBatch(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	var inside gitmodels.PushRecord
	b.must(b.Batch(ctx, func(r gitmodels.PushRecorder) error {
		var err error
		if inside, err = r.RecordPush(ctx, b.newPush("p", models, commit("aa"))); err != nil {
			return err
		}
		base, ok, err := r.Base(ctx, b.repo.ID, models)
		if base != commit("aa") || !ok {
			t.Errorf("base within the batch: %s, %v", base, ok)
		}
		// A push that is refused leaves the others alone.
		if _, err := r.RecordPush(ctx, b.newPush("p", models, commit("bb"))); gitmodels.KindOf(err) != gitmodels.Invalid {
			t.Errorf("a forged push: %v", err)
		}
		return err
	}))
	if diff := cmp.Diff(inside, b.record(b.newPush("p", models, commit("aa")))); diff != "" {
		t.Errorf("the same push outside (-inside +outside):\n%s", diff)
	}
	broken := errors.New("stop here")
	err := b.Batch(ctx, func(r gitmodels.PushRecorder) error {
		if _, err := r.RecordPush(ctx, b.newPush("q", models, commit("cc"))); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("the error of a batch: %v", err)
	}
	// A failure of the database takes everything back, whatever fn says.
	err = b.Batch(ctx, func(r gitmodels.PushRecorder) error {
		if _, err := r.RecordPush(ctx, b.newPush("q", models, commit("cc"))); err != nil {
			return err
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := r.RecordPush(ended, b.newPush("r", models, commit("dd"))); err == nil {
			t.Error("recorded under a context that has ended")
		}
		return nil
	})
	if err == nil {
		t.Error("a batch whose push failed in the database succeeded")
	}
	if rows, err := b.List(ctx, b.repo.ID, 0); err != nil || len(rows) != 1 {
		t.Errorf("%d rows after batches that failed, %v; want 1", len(rows), err)
	}
}
