package ledger

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

func TestStages(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	x := commit("aa")
	b.push(x)
	c := b.claim("w")
	begun := b.clock()
	b.must(b.BeginStage(ctx, c, gitmodels.StageBuild, gitmodels.Building, "/runs/build.log"))
	if c.Run.State != gitmodels.Building || c.Attempt.State != gitmodels.Building || !c.Run.StartedAt.Equal(begun) {
		t.Errorf("the claim after its stage began: %+v, %+v", c.Run, c.Attempt)
	}
	b.pass(time.Second)
	b.must(b.EndStage(ctx, c, gitmodels.StageBuild, gitmodels.StageFailed, []byte(`{"failures":1}`), "disk full"))
	b.must(b.Release(ctx, c, "tries again: disk full", b.clock()))

	c = b.claim("w")
	want := gitmodels.Stage{Name: gitmodels.StageBuild, State: gitmodels.StageFailed, Tries: 1, Output: []byte(`{"failures":1}`),
		Error: "disk full", LogPath: "/runs/build.log", StartedAt: begun.UTC(), FinishedAt: begun.Add(time.Second).UTC()}
	if diff := cmp.Diff([]gitmodels.Stage{want}, c.Stages); diff != "" {
		t.Errorf("after a failed try (-want +got):\n%s", diff)
	}
	b.pass(time.Second)
	b.must(b.BeginStage(ctx, c, gitmodels.StageBuild, gitmodels.Building, "/runs/build.log"))
	want.State, want.Tries, want.Error, want.StartedAt, want.FinishedAt = gitmodels.StageRunning, 2, "", b.clock().UTC(), time.Time{}
	if diff := cmp.Diff([]gitmodels.Stage{want}, c.Stages); diff != "" {
		t.Errorf("tried again (-want +got):\n%s", diff)
	}
	if c.Run.Waiting != "" || !c.Run.StartedAt.Equal(begun) {
		t.Errorf("the run that is tried again: %+v", c.Run)
	}
	b.must(b.EndStage(ctx, c, gitmodels.StageBuild, gitmodels.StageDone, nil, ""))
	if s, _ := c.Stage(gitmodels.StageBuild); s.State != gitmodels.StageDone || s.Output != nil {
		t.Errorf("done: %+v", s)
	}
	b.must(b.EndStage(ctx, c, gitmodels.StageEvaluate, gitmodels.StageSkipped, nil, "no evaluate.command"))
	b.must(b.BeginStage(ctx, c, gitmodels.StageTrain, gitmodels.Submitted, ""))
	b.must(b.SetState(ctx, c, gitmodels.Submitted, "gpu"))
	if c.Run.State != gitmodels.Submitted || c.Run.Waiting != "gpu" {
		t.Errorf("waiting at the engine: %+v", c.Run)
	}
	b.must(b.SetState(ctx, c, gitmodels.Running, ""))
	var names []gitmodels.StageName
	for _, s := range c.Stages {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]gitmodels.StageName{gitmodels.StageBuild, gitmodels.StageTrain, gitmodels.StageEvaluate}, names); diff != "" {
		t.Errorf("order of the stages:\n%s", diff)
	}

	before := b.show(x)
	for what, err := range map[string]error{
		"unknown stage begins":    b.BeginStage(ctx, c, "deploy", gitmodels.Building, ""),
		"terminal state":          b.BeginStage(ctx, c, gitmodels.StageCollect, gitmodels.Succeeded, ""),
		"no state":                b.SetState(ctx, c, "", ""),
		"terminal within a claim": b.SetState(ctx, c, gitmodels.Failed, ""),
		"unknown stage ends":      b.EndStage(ctx, c, "deploy", gitmodels.StageDone, nil, ""),
		"ends as running":         b.EndStage(ctx, c, gitmodels.StageTrain, gitmodels.StageRunning, nil, ""),
		"ends without beginning":  b.EndStage(ctx, c, gitmodels.StageCollect, gitmodels.StageDone, nil, ""),
		"output is not JSON":      b.EndStage(ctx, c, gitmodels.StageTrain, gitmodels.StageDone, []byte("{"), ""),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if diff := cmp.Diff(before, b.show(x)); diff != "" {
		t.Errorf("refused writes changed the run:\n%s", diff)
	}
}

func TestSubmission(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	x := commit("aa")
	b.push(x)
	c := b.claim("w")
	if err := b.Confirm(ctx, c, gitmodels.StageTrain, "4711"); err == nil {
		t.Error("confirmed what was not intended")
	}
	intended := gitmodels.Submission{Name: "aa00000", Engine: "process"}
	for _, again := range []string{"aa00000", "another"} {
		sub, err := b.Intend(ctx, c, gitmodels.StageTrain, again, "process")
		if err != nil || sub != intended {
			t.Errorf("intending %s: %+v, %v; want %+v", again, sub, err, intended)
		}
	}
	if c.Attempt.Engine != "process" || c.Attempt.Job != "" {
		t.Errorf("intended: %+v", c.Attempt)
	}
	if _, err := b.Intend(ctx, c, gitmodels.StageEvaluate, "aa00000-eval", "process"); err != nil {
		t.Error(err)
	}
	if err := b.Confirm(ctx, c, gitmodels.StageTrain, ""); err == nil {
		t.Error("confirmed without an id")
	}
	for range 2 {
		b.must(b.Confirm(ctx, c, gitmodels.StageTrain, "4711"))
	}
	b.must(b.Confirm(ctx, c, gitmodels.StageEvaluate, "4712"))
	if err := b.Confirm(ctx, c, gitmodels.StageTrain, "666"); err == nil {
		t.Error("confirmed as a second job")
	}
	if c.Attempt.Job != "4711" {
		t.Errorf("confirmed: %+v", c.Attempt)
	}
	for what, in := range map[string]struct {
		stage        gitmodels.StageName
		name, engine string
	}{"stage": {"deploy", "n", "e"}, "job": {gitmodels.StageTrain, "", "e"}, "engine": {gitmodels.StageTrain, "n", ""}} {
		if _, err := b.Intend(ctx, c, in.stage, in.name, in.engine); err == nil {
			t.Errorf("intended without a %s", what)
		}
	}
	// The next worker finds it, the next attempt does not.
	_, err := b.Rescue(ctx, func(string) bool { return false })
	b.must(err)
	c = b.claim("w")
	sub, err := b.Intend(ctx, c, gitmodels.StageTrain, "aa00000", "process")
	if want := (gitmodels.Submission{Name: "aa00000", Engine: "process", ID: "4711", Confirmed: true}); err != nil || sub != want {
		t.Errorf("found by the next worker: %+v, %v; want %+v", sub, err, want)
	}
	row := b.show(x)
	if row.Engine == nil || *row.Engine != "process" || row.Job == nil || *row.Job != "4711" {
		t.Errorf("shown: %v, %v", row.Engine, row.Job)
	}
	b.must(b.Retry(ctx, c, "lost: the machine restarted", "lost"))
	c = b.claim("w")
	if sub, err := b.Intend(ctx, c, gitmodels.StageTrain, "aa00000", "process"); err != nil || sub.Confirmed {
		t.Errorf("in the next attempt: %+v, %v", sub, err)
	}
}

func TestRetryAndRerunNames(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	x := commit("5a32b0f")
	b.push(x)
	b.push(commit("bb"))
	c := b.claim("w")
	b.must(b.BeginStage(ctx, c, gitmodels.StageTrain, gitmodels.Submitted, ""))
	for _, causes := range [][2]string{{"", "lost"}, {"lost", ""}} {
		if err := b.Retry(ctx, c, causes[0], causes[1]); err == nil {
			t.Errorf("retried with the causes %q", causes)
		}
	}
	b.must(b.Retry(ctx, c, "lost: the machine restarted", "lost"))
	c = b.claim("w") // before the other run: it keeps its place
	if c.Run.Commit != x || c.Attempt.N != 2 || c.Attempt.Name != "5a32b0f" || !c.Attempt.Resumes || c.Attempt.Cause != "lost" ||
		c.Attempt.Actor != "runner" || len(c.Stages) != 0 || !c.Run.StartedAt.IsZero() || c.Run.State != gitmodels.Queued {
		t.Errorf("the next attempt: %+v of %+v", c.Attempt, c.Run)
	}
	b.finish(c, gitmodels.Failed)
	b.pass(time.Second)
	run, err := b.Rerun(ctx, b.repo.ID, x, "bob", 7)
	b.must(err)
	if run.State != gitmodels.Queued || run.Attempt != 3 || run.Cause != "" || !run.FinishedAt.IsZero() || run.Short != "5a32b0f" {
		t.Errorf("rerun: %+v", run)
	}
	_, err = b.Rerun(ctx, b.repo.ID, x, "bob", 7)
	wantKind(t, err, gitmodels.Invalid, "5a32b0f", "queued")
	if other := b.claim("w"); other.Run.Commit == x {
		t.Error("a rerun went before a run that was queued earlier")
	}
	c = b.claim("w")
	if c.Attempt.Name != "5a32b0f-r3" || c.Attempt.Resumes || c.Attempt.Cause != "rerun" || c.Attempt.Actor != "bob" {
		t.Errorf("the rerun's attempt: %+v", c.Attempt)
	}
	b.must(b.Retry(ctx, c, "lost again", "lost"))
	c = b.claim("w")
	if c.Attempt.N != 4 || c.Attempt.Name != "5a32b0f-r3" {
		t.Errorf("a retry of the rerun: %+v", c.Attempt)
	}
	b.finish(c, gitmodels.Succeeded)

	row := b.show(x)
	type line struct {
		n          int
		name       string
		state      gitmodels.State
		endCause   string
		hasEnded   bool
		cause, who string
	}
	var got []line
	for _, a := range row.Attempts {
		got = append(got, line{a.N, a.Name, a.State, a.EndCause, a.Finished != nil, a.Cause, a.Actor})
	}
	want := []line{
		{1, "5a32b0f", gitmodels.Failed, "lost: the machine restarted", true, "push", "ann"},
		{2, "5a32b0f", gitmodels.Failed, "exit status 0", true, "lost", "runner"},
		{3, "5a32b0f-r3", gitmodels.Failed, "lost again", true, "rerun", "bob"},
		{4, "5a32b0f-r3", gitmodels.Succeeded, "exit status 0", true, "lost", "runner"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(line{})); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
	if p := row.Pushes[len(row.Pushes)-1]; p.Source != gitmodels.SourceManual || p.Pusher != "bob" || p.Decision != gitmodels.DecisionRun ||
		p.Reason != "rerun asked by bob" || p.Ref != models {
		t.Errorf("the record of the rerun: %+v", p)
	}
}

func TestRetryOfCancelled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	run := b.push(commit("aa"))
	c := b.claim("w")
	_, err := b.Cancel(t.Context(), run, "eve")
	b.must(err)
	b.must(b.Retry(t.Context(), c, "lost", "lost"))
	c = b.claimOf("w", 0)
	if c == nil || c.Run.State != gitmodels.Cancelling || c.Attempt.State != gitmodels.Cancelling || c.Run.CancelBy != "eve" {
		t.Errorf("a cancel was forgotten with the attempt: %+v", c)
	}
	b.finish(c, gitmodels.Cancelled)
	after, err := b.Rerun(t.Context(), b.repo.ID, commit("aa"), "ann", 7)
	if err != nil || after.CancelRequested || after.CancelBy != "" || after.State != gitmodels.Queued {
		t.Errorf("a rerun of a cancelled run: %+v, %v", after, err)
	}
}

func TestRerunOfSkipped(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	x := commit("5a32b0f")
	p := b.newPush("p", models, x)
	p.Skip = "no change"
	b.record(p)
	run, err := b.Rerun(ctx, b.repo.ID, x, "bob", 9)
	b.must(err)
	if run.Short != "5a32b0f00" || run.Ref != models || run.Attempt != 1 || run.State != gitmodels.Queued {
		t.Errorf("the first run: %+v", run)
	}
	c := b.claim("w")
	if c.Run.ID != run.ID || c.Attempt.Cause != "rerun" || c.Attempt.Actor != "bob" || c.Attempt.Name != "5a32b0f00" {
		t.Errorf("its attempt: %+v", c.Attempt)
	}
	row := b.show(x)
	if row.Decision != gitmodels.DecisionRun || len(row.Pushes) != 2 || row.Pushes[0].Decision != gitmodels.DecisionSkipped {
		t.Errorf("its records: %+v", row.Pushes)
	}
	_, err = b.Rerun(ctx, b.repo.ID, commit("dead"), "bob", 7)
	wantKind(t, err, gitmodels.NotFound, string(commit("dead")))
}

func TestFinish(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	x := commit("aa")
	b.push(x)
	c := b.claim("w")
	b.must(b.BeginStage(ctx, c, gitmodels.StageTrain, gitmodels.Submitted, ""))
	good := outcome(c, gitmodels.Failed)
	for what, change := range map[string]func(*gitmodels.Outcome){
		"a live state":       func(o *gitmodels.Outcome) { o.State = gitmodels.Running },
		"no cause":           func(o *gitmodels.Outcome) { o.Cause = "" },
		"another commit":     func(o *gitmodels.Outcome) { o.Commit = commit("bb") },
		"another attempt":    func(o *gitmodels.Outcome) { o.Attempt = 2 },
		"a state unheard of": func(o *gitmodels.Outcome) { o.State = "great" },
	} {
		o := good
		change(&o)
		if err := b.Finish(ctx, c, o); err == nil {
			t.Errorf("finished with %s", what)
		}
	}
	if n, err := b.PendingOutbox(ctx); n != 0 || err != nil {
		t.Errorf("%d items after refused ends, %v", n, err)
	}
	b.pass(time.Minute)
	good.Cause = "exit status 3"
	b.must(b.Finish(ctx, c, good))
	row := b.show(x)
	if *row.State != gitmodels.Failed || *row.Cause != "exit status 3" || row.Finished == nil || !row.Finished.Equal(b.clock()) {
		t.Errorf("ended: %+v", row)
	}
	// The stage it broke off has ended with it, and publish is under way.
	if s := row.Stages; len(s) != 2 || s[0].State != gitmodels.StageFailed || s[0].Error != "exit status 3" || s[0].Finished == nil ||
		s[1].Name != gitmodels.StagePublish || s[1].State != gitmodels.StageRunning {
		t.Errorf("stages: %+v", row.Stages)
	}
	events, err := b.Events(ctx, b.repo.ID, 1)
	if err != nil || events[0].Kind != "failed" || events[0].Text != "exit status 3" || events[0].RunID != c.Run.ID {
		t.Errorf("history: %+v, %v", events, err)
	}
	if n, err := b.Live(ctx); n != 0 || err != nil {
		t.Errorf("%d live runs, %v", n, err)
	}
}

func TestOutbox(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	x, y := commit("aa"), commit("bb")
	if item, err := b.NextOutbox(ctx); item != nil || err != nil {
		t.Errorf("an empty outbox: %+v, %v", item, err)
	}
	b.push(x)
	b.push(y)
	cx, cy := b.claim("w"), b.claim("w")
	ox := outcome(cx, gitmodels.Failed)
	b.must(b.Finish(ctx, cx, ox))
	b.finish(cy, gitmodels.Succeeded)

	next := func() *gitmodels.OutboxItem {
		t.Helper()
		item, err := b.open().NextOutbox(ctx) // another handle: it survives
		b.must(err)
		if item == nil {
			t.Fatal("nothing is due")
		}
		return item
	}
	item := next()
	if item.RunID != cx.Run.ID || item.Attempt != 1 || item.Repository != b.repo || item.Tries != 0 {
		t.Errorf("first: %+v", item)
	}
	if diff := cmp.Diff(ox, item.Outcome); diff != "" {
		t.Errorf("the outcome on its way (-want +got):\n%s", diff)
	}
	b.must(b.RetryOutbox(ctx, item.ID, "ref is locked", b.clock().Add(time.Minute)))
	if s := b.show(x).Stages; s[len(s)-1].Tries != 1 || s[len(s)-1].Error != "ref is locked" {
		t.Errorf("publish after a failed try: %+v", s)
	}

	// The second attempt ends meanwhile: its outcome waits for the first.
	_, err := b.Rerun(ctx, b.repo.ID, x, "ann", 7)
	b.must(err)
	b.finish(b.claim("w"), gitmodels.Succeeded)
	itemY := next()
	if itemY.RunID != cy.Run.ID {
		t.Errorf("second: %+v", itemY)
	}
	for range 2 {
		b.must(b.DoneOutbox(ctx, itemY.ID, ""))
	}
	wantKind(t, b.RetryOutbox(ctx, itemY.ID, "late", b.clock()), gitmodels.NotFound)
	if item, err := b.NextOutbox(ctx); item != nil || err != nil {
		t.Errorf("due too early: %+v, %v", item, err)
	}
	if n, err := b.PendingOutbox(ctx); n != 2 || err != nil {
		t.Errorf("%d pending, %v; want 2", n, err)
	}
	b.pass(time.Minute)
	for n, want := range []struct{ attempt, tries int }{{1, 1}, {2, 0}} {
		item := next()
		if item.RunID != cx.Run.ID || item.Attempt != want.attempt || item.Tries != want.tries {
			t.Errorf("item %d: %+v, want %+v", n, item, want)
		}
		b.must(b.DoneOutbox(ctx, item.ID, ""))
	}
	if n, err := b.PendingOutbox(ctx); n != 0 || err != nil {
		t.Errorf("%d pending at the end, %v", n, err)
	}
	if s := b.show(x).Stages; s[len(s)-1].State != gitmodels.StageDone || s[len(s)-1].Error != "" || s[len(s)-1].Tries != 1 {
		t.Errorf("publish at the end: %+v", s)
	}
}

// An image is found by its digest in every run that had it built.
func TestImageUses(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	digest := "sha256:" + strings.Repeat("ab", 32)
	for _, id := range []gitmodels.CommitID{commit("aa"), commit("bb")} {
		b.push(id)
		c := b.claim("w")
		b.must(b.BeginStage(ctx, c, gitmodels.StageBuild, gitmodels.Building, ""))
		b.must(b.EndStage(ctx, c, gitmodels.StageBuild, gitmodels.StageDone, []byte(`{"image":{"name":"reg/dogs","digest":"`+digest+`"}}`), ""))
		if id == commit("aa") {
			b.finish(c, gitmodels.Failed)
		}
	}
	uses, err := b.ImageUses(ctx, digest)
	b.must(err)
	live, err := b.LiveRuns(ctx)
	b.must(err)
	if len(uses) != 2 || len(live) != 1 || live[0] != b.show(commit("bb")).RunID {
		t.Fatalf("uses %+v, live %q", uses, live)
	}
	for _, u := range uses {
		if u.RepositoryID != b.repo.ID || u.Finished.IsZero() != (u.State != gitmodels.Failed) {
			t.Errorf("use %+v", u)
		}
	}
	if none, err := b.ImageUses(ctx, "sha256:"+strings.Repeat("cd", 32)); err != nil || len(none) != 0 {
		t.Errorf("of another image: %+v, %v", none, err)
	}
	if _, err := b.ImageUses(ctx, "sha256:%"); gitmodels.KindOf(err) != gitmodels.Invalid {
		t.Errorf("of a pattern: %v", err)
	}
}
