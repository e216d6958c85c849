package ledger

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

func TestRecordPushDecides(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	x := commit("5a32b0f")
	p := b.newPush("p1", models, x)
	p.Decision, p.RunID, p.Reason = gitmodels.DecisionSkipped, "nonsense", "src/train.py changed"
	first := b.record(p)
	want := p.PushRecord
	want.Decision, want.RunID = gitmodels.DecisionRun, first.RunID
	if diff := cmp.Diff(want, first); diff != "" || first.RunID == "" {
		t.Errorf("first push (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(first, b.record(p)); diff != "" {
		t.Errorf("the same entry again (-first +again):\n%s", diff)
	}

	other := b.newPush("p2", "refs/heads/models/x", x)
	other.Skip = "as asked by -o skip"
	attached := b.record(other)
	if attached.Decision != gitmodels.DecisionAttached || attached.RunID != first.RunID || attached.Reason != "run 5a32b0f of this commit is queued" {
		t.Errorf("a second ref of the commit: %+v", attached)
	}

	forged := b.newPush("p1", models, commit("66"))
	_, err := b.RecordPush(t.Context(), forged)
	wantKind(t, err, gitmodels.Invalid, "p1", string(x))

	if n, err := b.Live(t.Context()); n != 1 || err != nil {
		t.Errorf("%d live runs, %v; want one", n, err)
	}
	c := b.claim("w")
	if c.Attempt.Actor != "ann" || c.Attempt.Cause != "push" || c.Attempt.Name != "5a32b0f" || c.Run.Ref != models {
		t.Errorf("the first attempt: %+v of %+v", c.Attempt, c.Run)
	}
	for _, end := range []struct {
		state  gitmodels.State
		reason string
	}{
		{gitmodels.Failed, "run 5a32b0f of this commit has failed; a rerun makes another attempt"},
		{gitmodels.Cancelled, "run 5a32b0f of this commit was cancelled; a rerun makes another attempt"},
		{gitmodels.Succeeded, "run 5a32b0f of this commit has succeeded"},
	} {
		b.finish(c, end.state)
		r := b.record(b.newPush("after "+string(end.state), models, x))
		if r.Decision != gitmodels.DecisionAttached || r.Reason != end.reason || r.RunID != first.RunID {
			t.Errorf("pushed again after it %s: %+v", end.state, r)
		}
		if end.state != gitmodels.Succeeded {
			_, err := b.Rerun(t.Context(), b.repo.ID, x, "ann", 7)
			b.must(err)
			c = b.claim("w")
		}
	}
}

func TestRecordPushRefuses(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for what, change := range map[string]func(*gitmodels.NewPush){
		"no id":        func(p *gitmodels.NewPush) { p.ID = "" },
		"no ref":       func(p *gitmodels.NewPush) { p.Ref = "" },
		"short commit": func(p *gitmodels.NewPush) { p.New = "5a32b0f" },
		"deletion":     func(p *gitmodels.NewPush) { p.New = zeroLike(p.New) },
		"no source":    func(p *gitmodels.NewPush) { p.Source = "" },
		"other source": func(p *gitmodels.NewPush) { p.Source = "rumour" },
		"seen, to run": func(p *gitmodels.NewPush) { p.Source = gitmodels.SourceSeen },
	} {
		p := b.newPush("p", models, commit("aa"))
		change(&p)
		if _, err := b.RecordPush(t.Context(), p); gitmodels.KindOf(err) != gitmodels.Invalid {
			t.Errorf("%s: %v, want an error of kind Invalid", what, err)
		}
	}
	p := b.newPush("p", models, commit("aa"))
	p.RepositoryID = "nowhere"
	_, err := b.RecordPush(t.Context(), p)
	wantKind(t, err, gitmodels.NotFound, "nowhere")
	if rows, err := b.List(t.Context(), "", 0); err != nil || len(rows) != 0 {
		t.Errorf("refused pushes left %d rows, %v", len(rows), err)
	}
}

func TestSkippedThenPushedElsewhere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	x := commit("aa")
	skip := b.newPush("p1", models, x)
	skip.Skip = "nothing that trains changed"
	r := b.record(skip)
	if r.Decision != gitmodels.DecisionSkipped || r.Reason != skip.Skip || r.RunID != "" {
		t.Errorf("skipped: %+v", r)
	}
	r = b.record(b.newPush("p2", "refs/heads/models/x", x))
	if r.Decision != gitmodels.DecisionRun || r.RunID == "" {
		t.Errorf("the commit on another ref: %+v", r)
	}
	// The entry of the skip stays a skip, and now knows of the run.
	if again := b.record(skip); again.Decision != gitmodels.DecisionSkipped || again.RunID != r.RunID {
		t.Errorf("the skipped entry again: %+v", again)
	}
}

func TestHookCompletes(t *testing.T) {
	t.Parallel()
	x := commit("aa")
	for _, c := range []struct {
		name   string
		source gitmodels.Source
		skip   string // of the earlier record
		hook   string // skip of the hook's entry
		want   gitmodels.Decision
	}{
		{"reconciled, ran", gitmodels.SourceReconcile, "", "", gitmodels.DecisionRun},
		{"reconciled, ran, though skip was asked", gitmodels.SourceReconcile, "", "-o skip", gitmodels.DecisionRun},
		{"reconciled, skipped", gitmodels.SourceReconcile, "no change", "no change", gitmodels.DecisionSkipped},
		{"reconciled, skipped, but it is to run", gitmodels.SourceReconcile, "no change", "", gitmodels.DecisionRun},
		{"seen", gitmodels.SourceSeen, seenReason, "", gitmodels.DecisionRun},
		{"seen, skip asked", gitmodels.SourceSeen, seenReason, "-o skip", gitmodels.DecisionSkipped},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			found := b.newPush("found", models, x)
			found.Source, found.Skip, found.Pusher, found.Options = c.source, c.skip, gitmodels.Pusher{Name: "reflog"}, nil
			early := b.record(found)
			if diff := cmp.Diff(early, b.record(found)); diff != "" {
				t.Errorf("found again:\n%s", diff)
			}
			found.ID = "found by another"
			if diff := cmp.Diff(early, b.record(found)); diff != "" {
				t.Errorf("found by another process:\n%s", diff)
			}

			hook := b.newPush("hook", models, x)
			hook.Skip = c.hook
			done := b.record(hook)
			if done.Decision != c.want || done.Source != gitmodels.SourceHook || done.ID != "hook" || done.Pusher.Name != "ann" ||
				(done.RunID != "") != (c.want == gitmodels.DecisionRun) {
				t.Errorf("completed: %+v, want %s", done, c.want)
			}
			if early.RunID != "" && done.RunID != early.RunID {
				t.Errorf("the run changed from %s to %s", early.RunID, done.RunID)
			}
			row := b.show(x)
			if len(row.Pushes) != 1 || row.Decision != c.want {
				t.Errorf("records: %+v", row.Pushes)
			}
			if diff := cmp.Diff(done, b.record(hook)); diff != "" {
				t.Errorf("the hook's entry again:\n%s", diff)
			}
			// What the reconciler asks now finds the complete record.
			found.ID = "found later"
			if diff := cmp.Diff(done, b.record(found)); diff != "" {
				t.Errorf("found after the hook:\n%s", diff)
			}
			if c.want == gitmodels.DecisionRun {
				if got := b.claim("w").Attempt.Actor; got != "ann" {
					t.Errorf("the attempt was made by %s, want ann", got)
				}
			}
			second := b.record(b.newPush("hook 2", models, x))
			if len(b.show(x).Pushes) != 2 || second.RunID == "" {
				t.Errorf("a further push of the same: %+v", second)
			}
		})
	}
}

func TestSeenNeverRunsByItself(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	x := commit("aa")
	repo := b.register("/srv/git/cats.git", "cats", gitmodels.Tip{Ref: models, Commit: x})
	p := b.newPush("found", models, x)
	p.RepositoryID, p.Source = repo.ID, gitmodels.SourceReconcile
	if r := b.record(p); r.Source != gitmodels.SourceSeen || r.RunID != "" {
		t.Errorf("the reconciler on a tip that was seen: %+v", r)
	}
	if c := b.claimOf("w", 10); c != nil {
		t.Errorf("a seen commit runs: %+v", c)
	}
}

func TestOnePushOfSeveralRefs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	x, y := commit("aa"), commit("bb")
	for i, u := range []struct {
		ref  gitmodels.RefName
		c    gitmodels.CommitID
		want gitmodels.Decision
	}{
		{"refs/heads/models/a", x, gitmodels.DecisionRun},
		{"refs/heads/models/b", y, gitmodels.DecisionRun},
		{"refs/heads/models/c", x, gitmodels.DecisionAttached},
	} {
		if r := b.record(b.newPush("one", u.ref, u.c)); r.Decision != u.want {
			t.Errorf("update %d: %+v, want %s", i, r, u.want)
		}
	}
	if diff := cmp.Diff([]gitmodels.RefName{"refs/heads/models/a", "refs/heads/models/c"}, b.show(x).Refs); diff != "" {
		t.Errorf("refs:\n%s", diff)
	}
	// The same id in another repository is another push.
	p := b.newPush("one", "refs/heads/models/a", x)
	p.RepositoryID = b.register("/srv/git/cats.git", "cats").ID
	if r := b.record(p); r.Decision != gitmodels.DecisionRun {
		t.Errorf("in another repository: %+v", r)
	}
}

func TestShortNames(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	long := strings.Repeat("ab", 32)
	for _, c := range []struct {
		commit gitmodels.CommitID
		abbrev int
		want   string
	}{
		{commit("1234567"), 7, "1234567"},
		{commit("12345678"), 7, "12345678"},                  // the first seven are taken
		{commit("1234567809"), 7, "123456780"},               // and the first eight
		{commit("abc"), 0, string(commit("abc"))},            // full
		{gitmodels.CommitID(long), 99, long},                 // longer than there is
		{gitmodels.CommitID(long[:63] + "c"), 63, long[:63]}, // the other has all 64

		{gitmodels.CommitID(long[:62] + "cc"), 62, long[:62]},        //
		{gitmodels.CommitID(long[:62] + "cd"), 62, long[:62] + "c"},  //
		{gitmodels.CommitID(long[:62] + "ce"), 62, long[:62] + "ce"}, // lengthened to all of it
	} {
		p := b.newPush("p"+string(c.commit), models, c.commit)
		p.Abbrev = c.abbrev
		b.record(p)
		if got := b.show(c.commit).Short; got != c.want {
			t.Errorf("%s with %d digits is named %s, want %s", c.commit, c.abbrev, got, c.want)
		}
	}
	// Another repository has names of its own.
	p := b.newPush("p", models, commit("12345678"))
	p.RepositoryID = b.register("/srv/git/cats.git", "cats").ID
	b.record(p)
	row, err := b.Show(t.Context(), p.RepositoryID, p.New)
	b.must(err)
	if row.Short != "1234567" {
		t.Errorf("in another repository: %s", row.Short)
	}
}

func TestBase(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	side := gitmodels.RefName("refs/heads/models/side")
	wantBase := func(why string, ref gitmodels.RefName, want gitmodels.CommitID) {
		t.Helper()
		got, ok, err := b.Base(ctx, b.repo.ID, ref)
		if err != nil || got != want || ok != (want != "") {
			t.Errorf("base of %s %s: %s, %v, %v; want %s", ref, why, got, ok, err, want)
		}
	}
	x, y, z, s := commit("aa"), commit("bb"), commit("cc"), commit("dd")
	wantBase("before anything", models, "")
	b.push(x)
	wantBase("while the first is queued", models, x)
	c := b.claim("w")
	b.finish(c, gitmodels.Failed)
	wantBase("after it failed", models, "")
	_, err := b.Rerun(ctx, b.repo.ID, x, "ann", 7)
	b.must(err)
	wantBase("while it runs again", models, x)
	b.finish(b.claim("w"), gitmodels.Succeeded)

	b.push(y)
	b.finish(b.claim("w"), gitmodels.Succeeded)
	wantBase("after the second", models, y)
	_, err = b.Rerun(ctx, b.repo.ID, x, "ann", 7)
	b.must(err)
	wantBase("while the first runs again", models, y)

	run := b.push(z)
	wantBase("while the third is queued", models, z)
	_, err = b.Cancel(ctx, run, "ann")
	b.must(err)
	wantBase("while the third is being cancelled", models, y)

	skipped := b.newPush("skipped", models, s)
	skipped.Skip = "no change"
	b.record(skipped)
	wantBase("after a skip", models, y)
	wantBase("of a ref that has nothing", side, "")
	b.record(b.newPush("attached", side, y))
	wantBase("of a ref that a trained commit was attached to", side, y)
	_, err = b.Rerun(ctx, b.repo.ID, s, "ann", 7)
	b.must(err)
	wantBase("once the skipped commit runs after all", models, s)
}

func TestKnown(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var want []gitmodels.Tip
	for i := range 5 {
		c := commit(fmt.Sprintf("%d%d", 9-i, i))
		p := b.newPush(fmt.Sprint("p", i), models, c)
		if i == 2 {
			p.Skip = "no change"
		}
		b.record(p)
		want = append(want, gitmodels.Tip{Ref: models, Commit: c})
	}
	b.record(b.newPush("again", models, want[0].Commit))
	b.finish(b.claim("w"), gitmodels.Failed)
	b.pass(time.Second)
	_, err := b.Rerun(t.Context(), b.repo.ID, want[0].Commit, "ann", 7)
	b.must(err)
	got, err := b.Known(t.Context(), b.repo.ID)
	b.must(err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in the order of arrival (-want +got):\n%s", diff)
	}
	if got, err := b.Known(t.Context(), "nowhere"); err != nil || len(got) != 0 {
		t.Errorf("of no repository: %v, %v", got, err)
	}
}
