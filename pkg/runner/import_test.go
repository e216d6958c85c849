package runner_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/runner"
	"github.com/git-models/git-models/pkg/spool"
)

// act spools what a control ref asked while no runner answered.
func (s *site) act(control gitmodels.Control, commit gitmodels.CommitID, by string) {
	s.t.Helper()
	p := gitmodels.Push{ID: spool.NewID(time.Now()), Repository: s.bare, Acts: []gitmodels.Act{{Control: control, Commit: commit}},
		Pusher: gitmodels.Pusher{Name: by}, At: time.Now()}
	if err := spool.Write(s.home, p); err != nil {
		s.t.Fatal(err)
	}
}

func TestEachCommitOfAPushRuns(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.push(models)
	s.untilIdle()
	s.file(s.work, "README.md", "words") // no filter applies to each
	commits := []gitmodels.CommitID{first, s.commit(s.work, "words"), s.change("b"), s.change("c")}
	p := gitmodels.Push{ID: spool.NewID(time.Now()), Repository: s.bare, Updates: []gitmodels.Update{s.move(models)},
		Options: []string{"each", "models.priority=7"}, Pusher: gitmodels.Pusher{Name: "ada"}, At: time.Now()}
	for range 2 { // again, as after a crash before the file was removed
		if err := spool.Write(s.home, p); err != nil {
			t.Fatal(err)
		}
		s.untilIdle()
	}
	var want []string
	for i, c := range commits {
		row := s.want(c, gitmodels.Succeeded, "")
		if len(row.Pushes) != 1 || *row.Attempt != 1 || i > 0 && row.Priority != 7 {
			t.Errorf("%s: pushes %+v, attempt %d, priority %d", c.Short(7), row.Pushes, *row.Attempt, row.Priority)
		}
		want = append(want, c.Short(7))
	}
	if got := s.trainer.jobs("submits"); !slices.Equal(got, want) {
		t.Errorf("jobs %q, want %q", got, want)
	}
}

func TestAgainRunsWhatHasEndedOrIsFiltered(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.push(models)
	s.untilIdle()
	s.spool(s.bare, []string{"again"}, gitmodels.Update{Old: first, New: first, Ref: models})
	s.file(s.work, "README.md", "words")
	s.commit(s.work, "words")
	words := s.push(models, "models.again")
	s.untilIdle()
	if row := s.want(first, gitmodels.Succeeded, ""); *row.Attempt != 2 {
		t.Errorf("attempt %d", *row.Attempt)
	}
	s.want(words, gitmodels.Succeeded, "")
}

func TestWhatControlRefsAskedWithoutARunner(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	commit := s.push(models)
	s.act(gitmodels.ControlCancel, commit, "grace")
	s.untilIdle()
	s.want(commit, gitmodels.Cancelled, "cancelled by grace")
	s.act(gitmodels.ControlRerun, commit, "linus")
	entries, err := spool.Entries(s.home)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for range 2 { // again, as after a crash before the file was removed
		if err := spool.Write(s.home, entries[0].Push); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
		s.untilIdle()
	}
	row := s.want(commit, gitmodels.Succeeded, "")
	if len(row.Attempts) != 2 || row.Attempts[1].Actor != "linus" {
		t.Errorf("attempts %+v", row.Attempts)
	}
	s.act(gitmodels.ControlCancel, commit, "grace") // too late: nothing is wrong with it
	s.untilIdle()
	if bad, err := os.ReadDir(filepath.Join(s.home, "spool", "bad")); err != nil || len(bad) != 0 {
		t.Errorf("set aside: %v, %v", bad, err)
	}
	if s.logs.count("cancel came too late") != 1 {
		t.Errorf("no word of a cancel that came too late\n%s", s.logs)
	}
	s.act(gitmodels.ControlRerun, gitmodels.CommitID(strings.Repeat("12345", 8)), "grace")
	s.git(s.bare, "config", "models.cancel", "owner")
	s.act(gitmodels.ControlRerun, commit, "grace")
	s.untilIdle()
	if row := s.show(commit); len(row.Attempts) != 2 {
		t.Errorf("attempts %+v", row.Attempts)
	}
	if n := s.logs.count("models.cancel=owner"); n != 2 { // both
		t.Errorf("%d words of models.cancel\n%s", n, s.logs)
	}
}

func TestALeftControlRefIsSwept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	commit := s.push(models)
	s.untilIdle()
	svc, err := runner.NewService(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.git(s.bare, "update-ref", "refs/run/cancel", string(commit))
	if found, err := svc.Reconcile(t.Context(), s.bare); err != nil || len(found) != 0 {
		t.Fatalf("a young one: %q, %v", found, err)
	}
	s.git(s.bare, "update-ref", "refs/run/rerun", string(commit))
	old := time.Now().Add(-2 * time.Minute)
	if err := os.Chtimes(filepath.Join(s.bare, "refs/run/rerun"), old, old); err != nil {
		t.Fatal(err)
	}
	found, err := svc.Reconcile(t.Context(), s.bare)
	if err != nil || len(found) != 1 || !strings.Contains(found[0], "refs/run/rerun at "+commit.Short(7)+" was left behind") {
		t.Errorf("%q, %v", found, err)
	}
	if refs := s.git(s.bare, "for-each-ref", "--format=%(refname)", "refs/run"); refs != "refs/run/cancel" {
		t.Errorf("refs %q", refs)
	}
	if row := s.show(commit); len(row.Attempts) != 1 {
		t.Errorf("it was acted on: %+v", row.Attempts)
	}
}

func TestALimitOfARefPattern(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const ada = "refs/heads/models/ada/**"
	s.configure("[models]\n\tengine = process\n\tallowProcess = true\n[models \"limit\"]\n\truns = 3\n[models \"limit." + ada + "\"]\n\truns = 1\n")
	s.trainer.holdAll()
	v := s.serve()
	a := s.push("refs/heads/models/ada/a")
	s.awaitState(a, gitmodels.Running)
	s.change("two")
	b := s.push("refs/heads/models/ada/b")
	want := "a place: dogs on " + ada + " may run 1 at once (models.limit." + ada + ".runs), " + a.Short(7) + " runs"
	s.await("the second to wait for its place", func() bool {
		row, err := s.ledger.Show(context.Background(), s.repo.ID, b)
		return err == nil && row.Waiting != nil && *row.Waiting == want
	})
	s.change("three")
	c := s.push("refs/heads/models/bob/c") // nobody is held up
	s.awaitState(c, gitmodels.Running)
	s.trainer.finish(a.Short(7), "succeeded")
	s.awaitState(b, gitmodels.Running)
	s.trainer.finish(b.Short(7), "succeeded")
	s.trainer.finish(c.Short(7), "succeeded")
	s.awaitState(b, gitmodels.Succeeded)
	s.awaitState(c, gitmodels.Succeeded)
	v.end()
}

func TestOutcomesAreNotified(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "tell")
	write := func(text string) {
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("[ -e " + dir + "/tried ] || { touch " + dir + "/tried; echo no route; exit 3; }\ncat >>" + dir + "/told\n")
	s.configure("[models]\n\tengine = process\n\tallowProcess = true\n\tnotify = " + program + "\n")
	commit := s.push(models)
	s.untilIdle()
	told, err := os.ReadFile(filepath.Join(dir, "told"))
	if err != nil || strings.Count(string(told), "\n") != 1 || !strings.Contains(string(told), `"run":"`+commit.Short(7)+`"`) {
		t.Fatalf("told %q, %v\n%s", told, err, s.logs)
	}
	if s.logs.count("no route") != 1 {
		t.Errorf("the first try is not told of\n%s", s.logs)
	}
	// One that never takes it is given up, and holds up no note.
	write("exit 3\n")
	s.cfg.Pace.Backoff = time.Nanosecond
	v := s.serve()
	s.change("two")
	second := s.push(models)
	s.awaitState(second, gitmodels.Succeeded)
	s.awaitPublished()
	v.end()
	if s.logs.count("notify given up") != 1 || !strings.Contains(s.note(second), "State: succeeded") {
		t.Errorf("note %q\n%s", s.note(second), s.logs)
	}
}
