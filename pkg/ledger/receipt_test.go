package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// receipt is what there is to say of a push of c to ref.
func (b *bench) receipt(ref gitmodels.RefName, c gitmodels.CommitID) gitmodels.Receipt {
	b.t.Helper()
	r, err := b.Receipt(b.t.Context(), b.repo.ID, gitmodels.Update{Old: zeroLike(c), New: c, Ref: ref})
	b.must(err)
	return r
}

// train walks the next run to its end, which it reaches after the given time.
func (b *bench) train(took time.Duration, state gitmodels.State) {
	b.t.Helper()
	c := b.claim("w")
	b.must(b.BeginStage(b.t.Context(), c, gitmodels.StageBuild, gitmodels.Building, ""))
	b.pass(took)
	b.finish(c, state)
}

func TestReceipt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	side := gitmodels.RefName("refs/heads/models/side")
	if diff := cmp.Diff(gitmodels.Receipt{Ref: models, Commit: commit("aa")}, b.receipt(models, commit("aa"))); diff != "" {
		t.Errorf("of the first push (-want +got):\n%s", diff)
	}
	b.push(commit("aa"))
	b.train(time.Minute, gitmodels.Succeeded)

	r := b.receipt(models, commit("bb"))
	if r.Base != commit("aa") || r.Own != nil || r.Ahead != 0 || r.Usual != time.Minute || r.Last == nil ||
		r.Last.Commit != commit("aa") || *r.Last.State != gitmodels.Succeeded || r.Last.Values["loss"] != 0.25 ||
		fmt.Sprint(r.Last.Overrides, r.Last.Refs) != "[lr=0.1] [refs/heads/models]" {
		t.Errorf("of the second push: %s", asJSON(t, r))
	}
	// It has trained already: the ref's last run is another, of which there is none.
	if r := b.receipt(models, commit("aa")); r.Own == nil || r.Own.Name != "aa00000" || *r.Own.State != gitmodels.Succeeded || r.Last != nil {
		t.Errorf("of a commit that has trained: %s", asJSON(t, r))
	}
	// Another ref has no last run; how long it takes is the repository's.
	if r := b.receipt(side, commit("bb")); r.Last != nil || r.Usual != time.Minute || r.Base != "" {
		t.Errorf("on another ref: %s", asJSON(t, r))
	}

	// A live run tells its overrides once it is built.
	b.push(commit("bb"))
	if r := b.receipt(models, commit("cc")); r.Last.Commit != commit("bb") || r.Last.Overrides != nil || r.Ahead != 1 || r.Base != commit("bb") {
		t.Errorf("behind a queued run: %s", asJSON(t, r))
	}
	c := b.claim("w")
	b.must(b.BeginStage(ctx, c, gitmodels.StageBuild, gitmodels.Building, ""))
	b.must(b.EndStage(ctx, c, gitmodels.StageBuild, gitmodels.StageDone, []byte(`{"engine":"process","command":["train"],"overrides":["lr=0.7"]}`), ""))
	r = b.receipt(models, commit("cc"))
	if fmt.Sprint(r.Last.Overrides) != "[lr=0.7]" || r.Ahead != 1 {
		t.Errorf("behind a run that is built: %s", asJSON(t, r))
	}
	if row := b.show(commit("bb")); fmt.Sprint(row.Command, row.Overrides) != "[train] [lr=0.7]" || row.Ahead != nil {
		t.Errorf("shown while it runs: %s", asJSON(t, row))
	}
	// A skipped push and a rerun of an older commit are no last pushes of a run.
	skip := b.newPush("skip", models, commit("dd"))
	skip.Skip = "no change"
	b.record(skip)
	_, err := b.Rerun(ctx, b.repo.ID, commit("aa"), "ann", 7)
	b.must(err)
	if r := b.receipt(models, commit("ee")); r.Last.Commit != commit("bb") || r.Ahead != 2 {
		t.Errorf("after a skip and a rerun: %s", asJSON(t, r))
	}
	if row := b.show(commit("aa")); row.Ahead == nil || *row.Ahead != 1 {
		t.Errorf("the queued rerun: %s", asJSON(t, row))
	}
}

func TestUsual(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	side := gitmodels.RefName("refs/heads/models/side")
	for i, minutes := range []int{90, 3, 1, 2, 8} { // the failed one does not count
		b.record(b.newPush(fmt.Sprint("p", i), models, commit(fmt.Sprint("a", i))))
		state := gitmodels.Succeeded
		if i == 0 {
			state = gitmodels.Failed
		}
		b.train(time.Duration(minutes)*time.Minute, state)
	}
	if got := b.receipt(models, commit("ff")).Usual; got != 150*time.Second {
		t.Errorf("usually %s, want the mean of the middle two, 2m30s", got)
	}
	b.record(b.newPush("side", side, commit("bb")))
	b.train(7*time.Minute, gitmodels.Succeeded)
	if got := b.receipt(side, commit("ff")).Usual; got != 7*time.Minute {
		t.Errorf("usually %s on the other ref, want 7m", got)
	}
	for i := range usualRuns { // what was long ago is forgotten
		b.record(b.newPush(fmt.Sprint("n", i), models, commit(fmt.Sprintf("c%02d", i))))
		b.train(time.Hour, gitmodels.Succeeded)
	}
	if got := b.receipt(models, commit("ff")).Usual; got != time.Hour {
		t.Errorf("usually %s after %d runs of an hour", got, usualRuns)
	}
}

// TestAheadIsWhatClaimDoes compares the place that a queued run is told with the
// order in which runs are claimed, in many queues.
func TestAheadIsWhatClaimDoes(t *testing.T) {
	t.Parallel()
	for seed := range 12 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			repos := []gitmodels.Repository{b.repo, b.register("/srv/git/cats.git", "cats"), b.register("/srv/git/ants.git", "ants")}
			at := map[gitmodels.CommitID]gitmodels.Repository{}
			random := uint32(seed)*2654435761 + 1
			next := func(n int) int {
				random = random*1664525 + 1013904223
				return int(random>>16) % n
			}
			add := func(from, to int) {
				for i := from; i < to; i++ {
					c := commit(fmt.Sprintf("%02x", 0xa0+i))
					at[c] = repos[next(3)]
					b.queued(at[c], models, c, next(3)-1, "")
				}
			}
			add(0, 8)
			held := 0
			for range next(5) { // some are under way, or have been
				c := b.claim("w")
				delete(at, c.Run.Commit)
				if next(3) == 0 {
					b.finish(c, gitmodels.Succeeded)
				} else {
					held++
				}
			}
			add(8, 16)
			told := map[gitmodels.CommitID]int{}
			for c, repo := range at {
				row, err := b.Show(t.Context(), repo.ID, c)
				b.must(err)
				told[c] = *row.Ahead
			}
			for n := 0; len(at) > 0; n++ {
				c := b.claim("w")
				if want := held + n; told[c.Run.Commit] != want {
					t.Errorf("%s came after %d runs and was told %d", c.Run.Commit[:2], want, told[c.Run.Commit])
				}
				delete(at, c.Run.Commit)
			}
		})
	}
}

func TestRecordAgain(t *testing.T) {
	t.Parallel()
	for _, within := range []string{"alone", "in a batch"} {
		t.Run(within, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			record := b.record
			if within == "in a batch" {
				record = func(p gitmodels.NewPush) (rec gitmodels.PushRecord) {
					b.must(b.Batch(t.Context(), func(r gitmodels.PushRecorder) (err error) {
						rec, err = r.RecordPush(t.Context(), p)
						return err
					}))
					return rec
				}
			}
			x := commit("5a32b0f")
			again := func(id string, ref gitmodels.RefName) gitmodels.NewPush {
				p := b.newPush(id, ref, x)
				p.Again, p.Priority, p.Engine, p.Pusher.Name = true, 9, "slurm", "bob"
				return p
			}
			// Of a commit that has no run it is a push like any other.
			if r := record(again("p1", models)); r.Decision != gitmodels.DecisionRun {
				t.Errorf("the first: %+v", r)
			}
			// A live one is attached to.
			if r := record(again("p2", models)); r.Decision != gitmodels.DecisionAttached {
				t.Errorf("while it is queued: %+v", r)
			}
			for n, state := range []gitmodels.State{gitmodels.Succeeded, gitmodels.Failed, gitmodels.Cancelled} {
				b.finish(b.claim("w"), state)
				id := fmt.Sprint("again ", state)
				first := record(again(id, models))
				if first.Decision != gitmodels.DecisionRun || first.RunID == "" {
					t.Errorf("after it %s: %+v", state, first)
				}
				if diff := cmp.Diff(first, record(again(id, models))); diff != "" {
					t.Errorf("the same push again:\n%s", diff)
				}
				// The push's other ref finds the attempt under way.
				if r := record(again(id, "refs/heads/models/x")); r.Decision != gitmodels.DecisionAttached {
					t.Errorf("the other ref: %+v", r)
				}
				row := b.show(x)
				if len(row.Attempts) != n+2 || *row.State != gitmodels.Queued || row.Priority != 9 || row.Cause != nil || row.Finished != nil {
					t.Errorf("after it %s: %s", state, asJSON(t, row))
				}
				last := row.Attempts[n+1]
				if last.Cause != "again" || last.Actor != "bob" || last.Name != gitmodels.AttemptName("5a32b0f", n+2) {
					t.Errorf("the attempt: %+v", last)
				}
			}
			// A hook's entry completes what the reconciler attached, and asks again.
			b.finish(b.claim("w"), gitmodels.Failed)
			found := b.newPush("found", "refs/heads/models/y", x)
			found.Source = gitmodels.SourceReconcile
			if r := record(found); r.Decision != gitmodels.DecisionAttached {
				t.Errorf("found: %+v", r)
			}
			if r := record(again("hook", "refs/heads/models/y")); r.Decision != gitmodels.DecisionRun || len(b.show(x).Attempts) != 5 {
				t.Errorf("completed: %+v", r)
			}
		})
	}
}

func TestOutboxKinds(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	x := commit("aa")
	b.push(x)
	b.finish(b.claim("w"), gitmodels.Failed)
	next := func(want gitmodels.OutboxKind, attempt int, kinds ...gitmodels.OutboxKind) *gitmodels.OutboxItem {
		t.Helper()
		item, err := b.NextOutbox(ctx, kinds...)
		b.must(err)
		if want == "" && item == nil {
			return nil
		}
		if item == nil || item.Kind != want || item.Attempt != attempt {
			t.Fatalf("next of %v: %+v, want %s of attempt %d", kinds, item, want, attempt)
		}
		return item
	}
	first := next(gitmodels.OutboxGit, 1)
	next("", 0, gitmodels.OutboxNotify)
	for _, bad := range []gitmodels.OutboxKind{"mail", gitmodels.OutboxGit} {
		if err := b.DoneOutbox(ctx, first.ID, bad); err == nil {
			t.Errorf("from git to %s", bad)
		}
	}
	for range 2 { // the second time it is gone
		b.must(b.DoneOutbox(ctx, first.ID, gitmodels.OutboxNotify))
	}
	notify := next(gitmodels.OutboxNotify, 1)
	if diff := cmp.Diff(first.Outcome, notify.Outcome); diff != "" || notify.ID == first.ID {
		t.Errorf("the outcome on its second way:\n%s", diff)
	}
	published := func() gitmodels.StageView {
		stages := b.show(x).Stages
		return stages[len(stages)-1]
	}
	if s := published(); s.State != gitmodels.StageDone || s.Tries != 1 {
		t.Errorf("publish after git: %+v", s)
	}
	b.must(b.RetryOutbox(ctx, notify.ID, "the command failed", b.clock().Add(time.Minute)))
	if s := published(); s.Error != "" || s.Tries != 1 {
		t.Errorf("publish after a notification that failed: %+v", s)
	}

	// Another attempt's note does not wait for the notification.
	again := b.newPush("again", models, x)
	again.Again = true
	b.record(again)
	b.finish(b.claim("w"), gitmodels.Succeeded)
	second := next(gitmodels.OutboxGit, 2)
	b.must(b.DoneOutbox(ctx, second.ID, gitmodels.OutboxNotify))
	next("", 0) // notifications keep their order too
	b.pass(time.Minute)
	if n, err := b.PendingOutbox(ctx); n != 2 || err != nil {
		t.Errorf("%d pending, %v", n, err)
	}
	for attempt := 1; attempt <= 2; attempt++ {
		b.must(b.DoneOutbox(ctx, next(gitmodels.OutboxNotify, attempt).ID, ""))
	}
	if n, err := b.PendingOutbox(ctx); n != 0 || err != nil {
		t.Errorf("%d pending at the end, %v", n, err)
	}
}
