package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

func TestClaimOrderAndLimit(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if c := b.claimOf("w", 10); c != nil {
		t.Fatalf("claimed from an empty queue: %+v", c)
	}
	var commits []gitmodels.CommitID
	for i := range 6 {
		commits = append(commits, commit(fmt.Sprintf("%d0%d", 9-i, i)))
		b.push(commits[i]) // some within the same millisecond
		if i%2 == 1 {
			b.pass(time.Millisecond)
		}
	}
	if c := b.claimOf("w", 0); c != nil {
		t.Errorf("claimed although no run may be held: %+v", c)
	}
	var held []*gitmodels.Claim
	for i := range 3 {
		c := b.claimOf(fmt.Sprint("w", i), 3)
		if c == nil || c.Run.Commit != commits[i] || c.Epoch != 1 || c.Owner != fmt.Sprint("w", i) ||
			c.Repository != b.repo || c.Attempt.N != 1 || len(c.Stages) != 0 {
			t.Fatalf("claim %d: %+v, want commit %s", i, c, commits[i])
		}
		held = append(held, c)
	}
	if c := b.claimOf("w", 3); c != nil {
		t.Errorf("a fourth run is held: %+v", c)
	}
	b.finish(held[1], gitmodels.Succeeded)
	if c := b.claimOf("w", 3); c == nil || c.Run.Commit != commits[3] {
		t.Errorf("after one has ended: %+v, want %s", c, commits[3])
	}
	b.must(b.Release(t.Context(), held[0], "", time.Time{}))
	if c := b.claimOf("w", 3); c == nil || c.Run.Commit != commits[0] || c.Epoch != 2 {
		t.Errorf("a released run keeps its place: %+v, want %s", c, commits[0])
	}
	for _, bad := range []struct {
		owner string
		lease time.Duration
	}{{"", time.Minute}, {"w", 0}} {
		if _, err := b.Claim(t.Context(), bad.owner, bad.lease, 1, nil); err == nil {
			t.Errorf("owner %q with a lease of %s may claim", bad.owner, bad.lease)
		}
	}
}

func TestWaitingDoesNotBlock(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	x, y := commit("aa"), commit("bb")
	b.push(x)
	b.push(y)
	c := b.claim("w")
	b.must(b.Release(ctx, c, "engine: none is configured (models.engine)", b.clock().Add(time.Minute)))
	row := b.show(x)
	if *row.State != gitmodels.Queued || row.Waiting == nil || *row.Waiting != "engine: none is configured (models.engine)" {
		t.Errorf("a waiting run shows %v, %v", *row.State, row.Waiting)
	}
	wantLost(t, "BeginStage", b.BeginStage(ctx, c, gitmodels.StageBuild, gitmodels.Building, ""))
	if c := b.claimOf("w", 1); c == nil || c.Run.Commit != y {
		t.Fatalf("behind a waiting run: %+v, want %s", c, y)
	}
	if c := b.claimOf("w", 9); c != nil {
		t.Errorf("a run that waits was claimed: %+v", c)
	}
	b.pass(time.Minute)
	if c := b.claimOf("w", 9); c == nil || c.Run.Commit != x {
		t.Errorf("after the wait: %+v, want %s", c, x)
	}
}

func TestLeaseExpires(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	b.push(commit("aa"))
	b.push(commit("bb"))
	stale := b.claim("w1")
	b.pass(59 * time.Second)
	if c := b.claimOf("w2", 1); c != nil {
		t.Fatalf("a held run was given out: %+v", c)
	}
	if _, _, err := b.Heartbeat(ctx, stale, time.Minute); err != nil {
		t.Fatal(err)
	}
	b.pass(59 * time.Second)
	if c := b.claimOf("w2", 1); c != nil {
		t.Fatalf("a run was given out although its heart beats: %+v", c)
	}
	b.pass(time.Second)
	// Nobody has claimed since: the late worker may go on.
	if _, _, err := b.Heartbeat(ctx, stale, time.Minute); err != nil {
		t.Errorf("a late heartbeat: %v", err)
	}
	b.pass(time.Minute)
	next := b.claimOf("w2", 1)
	if next == nil || next.Run.ID != stale.Run.ID || next.Epoch != stale.Epoch+1 {
		t.Fatalf("an expired run: %+v, want %s again", next, stale.Run.ID)
	}
	b.refuseAll(stale)
	b.must(b.BeginStage(ctx, next, gitmodels.StageBuild, gitmodels.Building, ""))

	// Whoever claims another run takes the place of an expired lease for good:
	// else two would be held where one is allowed.
	b.must(b.Release(ctx, next, "", b.clock().Add(90*time.Second)))
	slow := b.claimOf("w1", 1)
	b.pass(2 * time.Minute)
	if c := b.claimOf("w2", 1); c == nil || c.Run.ID != next.Run.ID {
		t.Fatalf("the oldest ready run comes first: %+v", c)
	}
	b.refuseAll(slow)
}

// refuseAll checks that every write of a worker without the lease is refused,
// and changes nothing.
func (b *bench) refuseAll(stale *gitmodels.Claim) {
	b.t.Helper()
	ctx := b.t.Context()
	before := b.show(stale.Run.Commit)
	_, _, err := b.Heartbeat(ctx, stale, time.Minute)
	wantLost(b.t, "Heartbeat", err)
	wantLost(b.t, "BeginStage", b.BeginStage(ctx, stale, gitmodels.StageBuild, gitmodels.Building, ""))
	wantLost(b.t, "SetState", b.SetState(ctx, stale, gitmodels.Running, ""))
	wantLost(b.t, "EndStage", b.EndStage(ctx, stale, gitmodels.StageBuild, gitmodels.StageDone, nil, ""))
	_, err = b.Intend(ctx, stale, gitmodels.StageTrain, "job", "process")
	wantLost(b.t, "Intend", err)
	wantLost(b.t, "Confirm", b.Confirm(ctx, stale, gitmodels.StageTrain, "1"))
	wantLost(b.t, "Release", b.Release(ctx, stale, "", time.Time{}))
	wantLost(b.t, "Retry", b.Retry(ctx, stale, "lost", "lost"))
	wantLost(b.t, "Finish", b.Finish(ctx, stale, outcome(stale, gitmodels.Failed)))
	if diff := cmp.Diff(before, b.show(stale.Run.Commit)); diff != "" {
		b.t.Errorf("a worker without the lease changed the run:\n%s", diff)
	}
}

func TestStaleWorkerIsRefused(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(b *bench, c *gitmodels.Claim){
		"rescued": func(b *bench, c *gitmodels.Claim) {
			n, err := b.Rescue(b.t.Context(), func(owner string) bool { return owner != "w1" })
			if n != 1 || err != nil {
				b.t.Errorf("rescued %d, %v", n, err)
			}
		},
		"claimed again by the same owner": func(b *bench, c *gitmodels.Claim) {
			b.pass(time.Hour)
			b.claim("w1")
		},
		"finished": func(b *bench, c *gitmodels.Claim) { b.finish(c, gitmodels.Succeeded) },
		"retried":  func(b *bench, c *gitmodels.Claim) { b.must(b.Retry(b.t.Context(), c, "lost", "lost")) },
		"released": func(b *bench, c *gitmodels.Claim) { b.must(b.Release(b.t.Context(), c, "", time.Time{})) },
		"finished and run again": func(b *bench, c *gitmodels.Claim) {
			b.finish(c, gitmodels.Failed)
			_, err := b.Rerun(b.t.Context(), b.repo.ID, c.Run.Commit, "ann", 7)
			b.must(err)
			b.claim("w1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.push(commit("aa"))
			c := b.claim("w1")
			lose(b, c)
			b.refuseAll(c)
		})
	}
}

func TestRescue(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for i := range 4 {
		b.push(commit(fmt.Sprintf("%d%d", i, i)))
	}
	dead1, dead2, alive := b.claim("dead"), b.claim("dead"), b.claim("alive")
	asked := map[string]int{}
	n, err := b.Rescue(t.Context(), func(owner string) bool {
		asked[owner]++
		if _, err := b.Live(t.Context()); err != nil { // the ledger is free meanwhile
			t.Error(err)
		}
		return owner == "alive"
	})
	if err != nil || n != 2 {
		t.Errorf("freed %d, %v; want 2", n, err)
	}
	if diff := cmp.Diff(map[string]int{"dead": 1, "alive": 1}, asked); diff != "" {
		t.Errorf("asked about:\n%s", diff)
	}
	if _, _, err := b.Heartbeat(t.Context(), alive, time.Minute); err != nil {
		t.Errorf("the living worker: %v", err)
	}
	for _, want := range []*gitmodels.Claim{dead1, dead2} {
		if c := b.claim("new"); c.Run.ID != want.Run.ID || c.Epoch != 2 {
			t.Errorf("claimed %+v, want the rescued %s", c, want.Run.ID)
		}
	}
	if n, err := b.Rescue(t.Context(), func(string) bool { return true }); n != 0 || err != nil {
		t.Errorf("freed %d, %v, with all alive", n, err)
	}
}

func TestCancelQueued(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	busy, x, y := commit("aa"), commit("bb"), commit("cc")
	b.push(busy)
	runX := b.push(x)
	runY := b.push(y)
	b.claim("w")
	waits := b.claim("w")
	b.must(b.Release(ctx, waits, "engine: none", b.clock().Add(time.Hour)))

	run, err := b.Cancel(ctx, runX, "eve")
	b.must(err)
	if run.State != gitmodels.Cancelling || !run.CancelRequested || run.CancelBy != "eve" || run.Waiting != "" {
		t.Errorf("cancelled while it waits: %+v", run)
	}
	again, err := b.Cancel(ctx, runX, "bob")
	b.must(err)
	if diff := cmp.Diff(run, again); diff != "" {
		t.Errorf("cancelled twice:\n%s", diff)
	}
	// All places are taken, and the run would wait for an hour: it is ready.
	c := b.claimOf("w", 1)
	if c == nil || c.Run.ID != runX || !c.Run.CancelRequested || c.Run.CancelBy != "eve" {
		t.Fatalf("the cancelled run: %+v", c)
	}
	if more := b.claimOf("w", 1); more != nil {
		t.Errorf("another run came with it: %+v", more)
	}
	b.finish(c, gitmodels.Cancelled)
	if b.state(x) != gitmodels.Cancelled {
		t.Errorf("ended as %s", b.state(x))
	}
	_, err = b.Cancel(ctx, runX, "eve")
	wantKind(t, err, gitmodels.Invalid, "bb00000", "was cancelled")
	_, err = b.Cancel(ctx, "nothing", "eve")
	wantKind(t, err, gitmodels.NotFound, "nothing")

	// One that has a job keeps to the places.
	_, err = b.Rescue(ctx, func(string) bool { return false })
	b.must(err)
	first := b.claim("w")
	second := b.claim("w")
	if second.Run.ID != runY {
		t.Fatalf("claimed %+v, want %s", second, runY)
	}
	_, err = b.Intend(ctx, second, gitmodels.StageTrain, "cc00000", "process")
	b.must(err)
	b.must(b.Release(ctx, second, "", time.Time{}))
	_, err = b.Cancel(ctx, runY, "eve")
	b.must(err)
	if c := b.claimOf("w", 1); c != nil {
		t.Errorf("a cancelled run with a job went beyond the places: %+v", c)
	}
	b.finish(first, gitmodels.Succeeded)
	if c := b.claimOf("w", 1); c == nil || c.Run.ID != runY {
		t.Errorf("after a place is free: %+v", c)
	}
}

func TestCancelRunning(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	run := b.push(commit("aa"))
	c := b.claim("w")
	b.must(b.BeginStage(ctx, c, gitmodels.StageTrain, gitmodels.Submitted, "/log"))
	if by, cancel, err := b.Heartbeat(ctx, c, time.Minute); by != "" || cancel || err != nil {
		t.Errorf("before: %q, %v, %v", by, cancel, err)
	}
	_, err := b.Cancel(ctx, run, "eve")
	b.must(err)
	before := *c
	if by, cancel, err := b.Heartbeat(ctx, c, time.Minute); by != "eve" || !cancel || err != nil {
		t.Errorf("after: %q, %v, %v", by, cancel, err)
	}
	if diff := cmp.Diff(before, *c); diff != "" {
		t.Errorf("a heartbeat changed the claim:\n%s", diff)
	}
	// Whatever the worker does not know yet, the run stays cancelling.
	b.must(b.SetState(ctx, c, gitmodels.Running, ""))
	if c.Run.State != gitmodels.Cancelling || !c.Run.CancelRequested || c.Run.CancelBy != "eve" || b.state(c.Run.Commit) != gitmodels.Cancelling {
		t.Errorf("after SetState: %+v", c.Run)
	}
	b.must(b.BeginStage(ctx, c, gitmodels.StageEvaluate, gitmodels.Evaluating, ""))
	b.must(b.Release(ctx, c, "the engine does not answer", b.clock().Add(time.Minute)))
	if row := b.show(c.Run.Commit); *row.State != gitmodels.Cancelling || *row.Waiting != "the engine does not answer" {
		t.Errorf("released: %v", *row.State)
	}
	if c := b.claimOf("w", 9); c != nil {
		t.Errorf("a worker that knows of the cancel may wait: %+v", c)
	}
	b.pass(time.Minute)
	c = b.claim("w")
	if c.Run.State != gitmodels.Cancelling || c.Attempt.State != gitmodels.Cancelling {
		t.Errorf("claimed again: %+v", c.Run)
	}
	// It may still end well, if the job was faster.
	b.finish(c, gitmodels.Succeeded)
	row := b.show(c.Run.Commit)
	if *row.State != gitmodels.Succeeded || row.Attempts[0].State != gitmodels.Succeeded {
		t.Errorf("ended: %+v", row)
	}
}

func TestReleaseUnawareOfCancel(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	run := b.push(commit("aa"))
	c := b.claim("w")
	_, err := b.Cancel(t.Context(), run, "eve")
	b.must(err)
	b.must(b.Release(t.Context(), c, "engine: none", b.clock().Add(time.Hour)))
	if c := b.claimOf("w", 9); c == nil || !c.Run.CancelRequested {
		t.Errorf("a cancel that the worker had not seen must not wait: %+v", c)
	}
}
