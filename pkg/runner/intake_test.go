package runner_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/runner"
	"github.com/git-models/git-models/pkg/spool"
	"github.com/git-models/git-models/pkg/wire"
)

func TestManyCommitsAreOneRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.push(models)
	for i := range 5 {
		s.change(fmt.Sprint("change ", i))
	}
	tip := s.push(models)
	s.untilIdle()
	rows, err := s.ledger.List(t.Context(), s.repo.ID, 0)
	if err != nil || len(rows) != 2 || rows[0].Commit != tip {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if got := len(s.trainer.jobs("submits")); got != 2 {
		t.Errorf("%d jobs", got)
	}
}

// A runner that ends soon has written the commit-graph all the same.
func TestCommitGraphIsWrittenBeforeIdle(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.cfg.Pace.Spool = 300 * time.Millisecond
	s.push(models, "skip")
	s.untilIdle()
	if _, err := os.Stat(filepath.Join(s.bare, "objects", "info", "commit-graphs", "commit-graph-chain")); err != nil {
		t.Error(err)
	}
}

// A filter that is not decided in time spares no work and holds up nobody.
func TestFilterThatTakesTooLongRuns(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.push(models)
	s.untilIdle()
	s.cfg.Pace.Decide = time.Nanosecond
	s.file(s.work, "README.md", "words")
	s.commit(s.work, "words")
	commit := s.push(models)
	s.untilIdle()
	row := s.want(commit, gitmodels.Succeeded, "")
	if row.Decision != gitmodels.DecisionRun || row.Pushes[0].Reason != "its path filter was not decided within 1ns" {
		t.Errorf("decision %s: %q", row.Decision, row.Pushes[0].Reason)
	}
}

func TestFilterSkipsWhatTrainsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.push(models)
	s.untilIdle()
	s.file(s.work, "README.md", "words")
	s.commit(s.work, "words")
	skipped := s.push(models)
	s.untilIdle()
	row := s.show(skipped)
	if row.Decision != gitmodels.DecisionSkipped || row.State != nil {
		t.Fatalf("row %+v", row)
	}
	for _, words := range []string{first.Short(7), "on.paths [src/**", "git push origin " + skipped.Short(7) + ":refs/run/rerun"} {
		if !strings.Contains(*row.Reason, words) {
			t.Errorf("reason %q lacks %q", *row.Reason, words)
		}
	}
	// The base is the last run, not the last push: what changed since counts.
	s.change("a change")
	s.file(s.work, "README.md", "more words")
	trained := s.commit(s.work, "both")
	if got := s.push(models); got != trained {
		t.Fatal(got)
	}
	s.untilIdle()
	s.want(trained, gitmodels.Succeeded, "")

	// A push that creates a governed ref runs, whatever changed.
	s.file(s.work, "README.md", "other words")
	s.commit(s.work, "words again")
	s.git(s.bare, "update-ref", "-d", string(models))
	created := s.push(models)
	s.untilIdle()
	s.want(created, gitmodels.Succeeded, "")
}

func TestFilterComparesWithTheLastSuccess(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.push(models)
	s.untilIdle()
	s.trainer.end = func(string) gitmodels.JobStatus {
		return gitmodels.JobStatus{State: gitmodels.JobFailed, Cause: "exit status 1"}
	}
	s.change("breaks")
	failed := s.push(models)
	s.untilIdle()
	s.want(failed, gitmodels.Failed, "")
	s.trainer.end = nil
	s.file(s.work, "README.md", "words alone")
	s.commit(s.work, "words alone")
	next := s.push(models) // holds the change that never trained
	s.untilIdle()
	s.want(next, gitmodels.Succeeded, "")
}

func TestOptionSkip(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	commit := s.push(models, "ci.skip", "skip")
	s.untilIdle()
	row := s.show(commit)
	if row.Decision != gitmodels.DecisionSkipped || *row.Reason != "as asked by -o skip" {
		t.Errorf("decision %s, reason %v", row.Decision, deref(row.Reason))
	}
	svc, err := runner.NewService(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := svc.Rerun(t.Context(), s.bare, commit.Short(7), "ada"); err != nil {
		t.Fatal(err)
	}
	s.untilIdle()
	s.want(commit, gitmodels.Succeeded, "")
}

func TestSameCommitTwiceIsOneRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.configure("[models]\n\tengine = process\n\tallowProcess = true\n\trefs = refs/heads/models/**\n")
	a := s.push("refs/heads/models/a")
	b := s.push("refs/heads/models/b")
	s.untilIdle()
	if a != b || len(s.trainer.jobs("submits")) != 1 {
		t.Fatalf("%s and %s: jobs %q", a, b, s.trainer.jobs("submits"))
	}
	if row := s.want(a, gitmodels.Succeeded, ""); len(row.Refs) != 2 {
		t.Errorf("refs %v", row.Refs)
	}
}

func TestForgedEntriesAreSetAside(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.move(models)
	never := s.change("never pushed to models")
	s.git(s.work, "push", "-q", "origin", "HEAD:refs/heads/topic")
	stranger := t.TempDir()
	s.git(stranger, "init", "-q", "--bare", stranger)
	zero := gitmodels.CommitID(strings.Repeat("0", 40))
	ids := map[string]string{
		s.spool(stranger, nil, u): "is not registered here",
		s.spool(s.bare, nil, gitmodels.Update{Old: zero, New: never, Ref: "refs/heads/topic"}):        "is not a governed ref",
		s.spool(s.bare, nil, gitmodels.Update{Old: u.New, New: never, Ref: models}):                   "was never at " + string(never),
		s.spool(s.bare, nil, gitmodels.Update{Old: u.New, New: zero, Ref: models}):                    "a deletion of",
		s.spool(s.bare, nil, gitmodels.Update{Old: zero, New: u.New, Ref: "refs/models/keep"}):        "is written by the runner alone",
		s.spool(s.bare, nil, gitmodels.Update{Old: zero, New: u.New, Ref: "refs/heads/models/ghost"}): "was never at",
	}
	if err := os.WriteFile(filepath.Join(s.home, "spool", "new", "junk.json"), []byte("{"), 0o640); err != nil {
		t.Fatal(err)
	}
	ids["junk"] = "not a push"
	s.untilIdle()
	for id, why := range ids {
		text, err := os.ReadFile(filepath.Join(s.home, "spool", "bad", id+".why"))
		if err != nil || !strings.Contains(string(text), why) {
			t.Errorf("%s: %q, %v; want %q", id, text, err, why)
		}
	}
	rows, err := s.ledger.List(t.Context(), "", 0)
	if err != nil || len(rows) != 1 || rows[0].Commit != u.New { // the reconciler's: it was really pushed
		t.Errorf("rows %+v, %v", rows, err)
	}
	if entries, err := spool.Entries(s.home); err != nil || len(entries) != 0 {
		t.Errorf("%d entries left, %v", len(entries), err)
	}
}

func TestOneBadUpdateDoesNotHideTheOthers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.move(models)
	id := s.spool(s.bare, nil, gitmodels.Update{Old: u.Old, New: u.New, Ref: "refs/heads/models/ghost"}, u)
	s.untilIdle()
	row := s.want(u.New, gitmodels.Succeeded, "")
	if row.Pushes[0].Pusher != "ada" {
		t.Errorf("pushes %+v", row.Pushes)
	}
	if _, err := os.Stat(filepath.Join(s.home, "spool", "bad", id+".json")); err != nil {
		t.Error(err)
	}
}

func TestImportAgainChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.spool(s.bare, nil, s.move(models))
	path := filepath.Join(s.home, "spool", "new", id+".json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s.untilIdle()
	// As after a crash between the record and the removal.
	if err := os.WriteFile(path, data, 0o640); err != nil {
		t.Fatal(err)
	}
	s.untilIdle()
	rows, err := s.ledger.List(t.Context(), "", 0)
	if err != nil || len(rows) != 1 || len(s.trainer.jobs("submits")) != 1 {
		t.Errorf("%d rows, %v, jobs %q", len(rows), err, s.trainer.jobs("submits"))
	}
	if row := s.show(rows[0].Commit); len(row.Pushes) != 1 {
		t.Errorf("pushes %+v", row.Pushes)
	}
}

func TestSymlinkedRepositoryIsFound(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	link := filepath.Join(t.TempDir(), "link.git")
	if err := os.Symlink(s.bare, link); err != nil {
		t.Fatal(err)
	}
	u := s.move(models)
	s.spool(link, nil, u)
	s.untilIdle()
	s.want(u.New, gitmodels.Succeeded, "")
}

func TestRepositoryThatIsGoneHoldsUpNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	bare, work, _ := s.newRepository("cats")
	u := s.moveIn(work, bare, models)
	s.spool(bare, nil, u)
	away := bare + ".away"
	if err := os.Rename(bare, away); err != nil {
		t.Fatal(err)
	}
	commit := s.push(models)
	s.untilIdle()
	s.want(commit, gitmodels.Succeeded, "")
	if entries, err := spool.Entries(s.home); err != nil || len(entries) != 1 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	if err := os.Rename(away, bare); err != nil {
		t.Fatal(err)
	}
	s.untilIdle()
	if entries, err := spool.Entries(s.home); err != nil || len(entries) != 0 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	if got := len(s.trainer.jobs("submits")); got != 2 {
		t.Errorf("%d jobs", got)
	}
}

func TestReconcileFindsAPushWithoutAHook(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.push(models)
	s.untilIdle()
	b := s.change("its hook died")
	s.move(models)
	c := s.change("its hook died, too")
	s.move(models)
	s.untilIdle()
	for _, commit := range []gitmodels.CommitID{first, b, c} {
		row := s.want(commit, gitmodels.Succeeded, "")
		if commit != first && row.Pushes[0].Source != gitmodels.SourceReconcile {
			t.Errorf("pushes %+v", row.Pushes)
		}
	}
	// The hook's file comes late: it completes the record.
	s.spool(s.bare, nil, gitmodels.Update{Old: b, New: c, Ref: models})
	s.untilIdle()
	row := s.show(c)
	if len(row.Pushes) != 1 || row.Pushes[0].Source != gitmodels.SourceHook || row.Pushes[0].Pusher != "ada" {
		t.Errorf("pushes %+v", row.Pushes)
	}
	if got := len(s.trainer.jobs("submits")); got != 3 {
		t.Errorf("%d jobs", got)
	}
}

func TestReconcileWhileServing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.cfg.Pace.Reconcile = 20 * time.Millisecond
	v := s.serve()
	commit := s.move(models).New
	s.awaitState(commit, gitmodels.Succeeded)
	v.end()
}

func TestReconcileFiltersLikeAPush(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.push(models)
	s.untilIdle()
	s.file(s.work, "README.md", "words")
	commit := s.commit(s.work, "words")
	s.move(models)
	s.untilIdle()
	if row := s.show(commit); row.Decision != gitmodels.DecisionSkipped {
		t.Errorf("decision %s", row.Decision)
	}
}

func TestTornReflogLineIsIgnored(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.push(models)
	s.untilIdle()
	ghost := s.change("never committed to the ref")
	s.git(s.work, "push", "-q", "origin", "HEAD:refs/heads/topic")
	log := filepath.Join(s.bare, "logs", string(models))
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "%s %s Ada <ada@example.org> %d +0000\tpush\n", first, ghost, time.Now().Unix())
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s.untilIdle()
	if got := s.state(ghost); got != "" {
		t.Errorf("the ghost is %s", got)
	}
}

func TestRegisteredTipsDoNotRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	bare, work, repo := s.newRepository("cats")
	if err := s.ledger.Unregister(t.Context(), bare); err != nil {
		t.Fatal(err)
	}
	old := s.moveIn(work, bare, models).New
	s.file(work, "src/train.py", "print('two')\n")
	s.commit(work, "two")
	tip := s.moveIn(work, bare, models).New
	repo, _, err := s.ledger.Register(t.Context(), bare, "cats", []gitmodels.Tip{{Ref: models, Commit: tip}})
	if err != nil {
		t.Fatal(err)
	}
	s.untilIdle()
	rows, err := s.ledger.List(t.Context(), repo.ID, 0)
	if err != nil || len(rows) != 1 || rows[0].Commit != tip || rows[0].State != nil {
		t.Errorf("rows %+v, %v; old was %s", rows, err, old)
	}
}

func TestRewoundAndVanishedRefsAreReported(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.push(models)
	s.change("two")
	second := s.push(models)
	s.trainer.hold = func(job string) bool { return job == second.Short(7) }
	v := s.serve()
	s.awaitState(second, gitmodels.Running)
	s.git(s.bare, "update-ref", string(models), string(first))
	found, err := v.r.Service().Reconcile(t.Context(), s.bare)
	if err != nil || len(found) != 1 || !strings.Contains(found[0], "does not hold "+string(second)) {
		t.Fatalf("found %q, %v", found, err)
	}
	if found, err = v.r.Service().Reconcile(t.Context(), ""); err != nil || len(found) != 0 {
		t.Errorf("it is said again: %q, %v", found, err)
	}
	s.git(s.bare, "update-ref", "-d", string(models))
	if found, err = v.r.Service().Reconcile(t.Context(), s.bare); err != nil || len(found) != 1 || !strings.Contains(found[0], "vanished") {
		t.Errorf("found %q, %v", found, err)
	}
	events, err := s.ledger.Events(t.Context(), s.repo.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range events {
		if strings.HasPrefix(e.Kind, "ref ") {
			kinds = append(kinds, e.Kind)
		}
	}
	if diff := cmp.Diff([]string{"ref vanished", "ref went back"}, kinds); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got := s.state(second); got != gitmodels.Running {
		t.Errorf("the run is %s: nothing may cancel it", got)
	}
	s.trainer.finish(second.Short(7), "succeeded")
	s.awaitState(second, gitmodels.Succeeded)
	v.end()
}

func TestTwoRepositories(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.configure("[models]\n\tengine = process\n\tallowProcess = true\n[models \"limit\"]\n\truns = 2\n")
	bare, work, cats := s.newRepository("cats")
	s.trainer.holdAll()
	v := s.serve()
	a := s.push(models)
	s.file(work, "src/train.py", "print('cats')\n")
	s.commit(work, "cats")
	u := s.moveIn(work, bare, models)
	s.spool(bare, nil, u)
	s.awaitState(a, gitmodels.Running)
	s.await("the other one to run beside it", func() bool {
		row, err := s.ledger.Show(context.Background(), cats.ID, u.New)
		return err == nil && *row.State == gitmodels.Running
	})
	s.trainer.finish(a.Short(7), "succeeded")
	s.trainer.finish(u.New.Short(7), "succeeded")
	s.awaitState(a, gitmodels.Succeeded)
	s.await("the other one to succeed", func() bool {
		row, err := s.ledger.Show(context.Background(), cats.ID, u.New)
		return err == nil && *row.State == gitmodels.Succeeded
	})
	s.awaitPublished()
	v.end()
	for _, dir := range []string{s.bare, bare} {
		if out := s.git(dir, "for-each-ref", "refs/notes/models"); out == "" {
			t.Errorf("%s has no note", dir)
		}
	}
}

func TestLimitOfRuns(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.trainer.holdAll()
	v := s.serve()
	a := s.push(models)
	s.change("two")
	b := s.push(models)
	s.awaitState(a, gitmodels.Running)
	s.awaitState(b, gitmodels.Queued)
	if got := s.trainer.jobs("submits"); len(got) != 1 {
		t.Errorf("jobs %q", got)
	}
	s.trainer.finish(a.Short(7), "succeeded")
	s.awaitState(b, gitmodels.Running)
	s.trainer.finish(b.Short(7), "succeeded")
	s.awaitState(b, gitmodels.Succeeded)
	v.end()
}

func TestARepositoryMayNarrowTheLimit(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.configure("[models]\n\tengine = process\n\tallowProcess = true\n[models \"limit\"]\n\truns = 3\n")
	s.newRepository("cats") // is not narrowed
	s.git(s.bare, "config", "models.limit.runs", "1")
	s.trainer.holdAll()
	v := s.serve()
	a := s.push(models)
	s.awaitState(a, gitmodels.Running)
	s.change("two")
	b := s.push(models)
	s.await("the second to wait for its place", func() bool {
		row, err := s.ledger.Show(context.Background(), s.repo.ID, b)
		return err == nil && row.Waiting != nil && strings.Contains(*row.Waiting, "models.limit.runs")
	})
	s.trainer.finish(a.Short(7), "succeeded")
	s.awaitState(b, gitmodels.Running)
	s.trainer.finish(b.Short(7), "succeeded")
	s.awaitState(b, gitmodels.Succeeded)
	v.end()
}

func TestImportWritesTheCommitGraph(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	v := s.serve()
	commit := s.push(models)
	s.awaitState(commit, gitmodels.Succeeded)
	s.await("a commit-graph", func() bool {
		found, err := filepath.Glob(filepath.Join(s.bare, "objects", "info", "commit-graph*"))
		return err == nil && len(found) > 0
	})
	v.end()
}

// lockedSpool cannot set anything aside.
type lockedSpool struct{ runner.Spool }

func (lockedSpool) SetAside(gitmodels.SpoolEntry, string) error { return os.ErrPermission }

// What cannot be set aside is told of once and holds up nobody.
func TestSpoolFileThatCannotBeSetAside(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.cfg.Spool = lockedSpool{s.cfg.Spool}
	s.spool("/nowhere.git", nil, gitmodels.Update{Old: gitmodels.CommitID(strings.Repeat("0", 40)), New: gitmodels.CommitID(strings.Repeat("a", 40)), Ref: models})
	v := s.serve()
	s.awaitState(s.push(models), gitmodels.Succeeded)
	for range 3 {
		if err := wire.Call(t.Context(), s.home, wire.Request{Op: wire.Ring}, nil); err != nil {
			t.Fatal(err)
		}
		s.awaitState(s.pushChange(), gitmodels.Succeeded) // a look later
	}
	v.end()
	if n := s.logs.count("cannot be set aside"); n != 2 { // at the look, and at the end
		t.Errorf("told of %d times\n%s", n, s.logs)
	}
	if n := s.logs.count("was set aside"); n != 0 {
		t.Errorf("a success is claimed %d times", n)
	}
}

// pushChange pushes a change that trains.
func (s *site) pushChange() gitmodels.CommitID {
	s.t.Helper()
	s.change(fmt.Sprint("change ", s.pushes))
	return s.push(models)
}
