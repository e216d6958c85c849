package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/ledger/ledgertest"
)

// The crash matrix: a session that uses every write is killed before and after
// each of them, one process at a time, and then run again to its end. Whatever
// the place, nothing is lost and nothing is done twice.

func init() {
	children["session"] = func() error { return session(context.Background(), os.Getenv("LEDGER_HOME")) }
}

var (
	crashRun    = commit("aa") // lost once, then trained
	crashSkip   = commit("bb") // skipped, then rerun
	crashCancel = commit("cc") // cancelled before it began, then pushed again to run after all
	crashSeen   = commit("dd") // was there at registration, then pushed again
)

// session does everything a runner's life does to a ledger, looking first at
// each step what an earlier session has done. It kills itself at the write that
// LEDGER_KILL counts.
func session(ctx context.Context, home string) error {
	opened, err := Open(ctx, home)
	if err != nil {
		return err
	}
	kill, err := strconv.Atoi(os.Getenv("LEDGER_KILL"))
	if err != nil {
		return err
	}
	l := ledgertest.Crashing(opened, func(string, bool) {
		if kill--; kill == 0 {
			unix.Kill(os.Getpid(), unix.SIGKILL)
		}
	})
	owner := fmt.Sprint("session-", os.Getpid())
	repo, _, err := l.Register(ctx, "/srv/dogs.git", "dogs", []gitmodels.Tip{{Ref: models, Commit: crashSeen}})
	if err != nil {
		return err
	}
	if _, err := l.Rescue(ctx, func(o string) bool { return o == owner }); err != nil {
		return err
	}
	if err := sessionPushes(ctx, l, repo); err != nil {
		return err
	}
	if err := sessionWork(ctx, l, home, owner); err != nil {
		return err
	}
	row, err := l.Show(ctx, repo.ID, crashSkip)
	if err != nil {
		return err
	}
	if row.Run == nil {
		if _, err := l.Rerun(ctx, repo.ID, crashSkip, "bob", 7); err != nil {
			return err
		}
	}
	again := sessionPush(repo, "push-again", crashCancel)
	again.Again = true
	if _, err := l.RecordPush(ctx, again); err != nil {
		return err
	}
	if err := sessionWork(ctx, l, home, owner); err != nil {
		return err
	}
	if n, err := l.Live(ctx); n != 0 || err != nil {
		return fmt.Errorf("%d live runs at the end, %w", n, err)
	}
	return opened.Close()
}

// sessionWork does what there is to do: runs, then outcomes.
func sessionWork(ctx context.Context, l gitmodels.Ledger, home, owner string) error {
	for {
		c, err := l.Claim(ctx, owner, time.Hour, 1, nil)
		if err != nil {
			return err
		}
		if c == nil {
			return sessionPublish(ctx, l, home)
		}
		if err := sessionWalk(ctx, l, c); err != nil {
			return err
		}
	}
}

// sessionPush is a hook's entry.
func sessionPush(repo gitmodels.Repository, id string, c gitmodels.CommitID) gitmodels.NewPush {
	return gitmodels.NewPush{Abbrev: 7, PushRecord: gitmodels.PushRecord{
		ID: id, RepositoryID: repo.ID, Update: gitmodels.Update{New: c, Ref: models},
		Pusher: gitmodels.Pusher{Name: "ann"}, Source: gitmodels.SourceHook, At: time.UnixMilli(1)}}
}

// sessionPushes imports four pushes, as from spool files that stay until this is
// done, two of them in one batch; says what the first waits for, and asks for a
// cancel.
func sessionPushes(ctx context.Context, l gitmodels.Ledger, repo gitmodels.Repository) error {
	var first gitmodels.PushRecord
	err := l.Batch(ctx, func(r gitmodels.PushRecorder) (err error) {
		if first, err = r.RecordPush(ctx, sessionPush(repo, "push-0", crashRun)); err != nil {
			return err
		}
		skip := sessionPush(repo, "push-1", crashSkip)
		skip.Skip = "no change"
		_, err = r.RecordPush(ctx, skip)
		return err
	})
	if err != nil {
		return err
	}
	if err := l.Wait(ctx, first.RunID, "a place"); err != nil {
		return err
	}
	rec, err := l.RecordPush(ctx, sessionPush(repo, "push-2", crashCancel))
	if err != nil {
		return err
	}
	row, err := l.Show(ctx, repo.ID, crashCancel)
	if err != nil {
		return err
	}
	if *row.Attempt == 1 && !row.State.Terminal() {
		if _, err := l.Cancel(ctx, rec.RunID, "eve"); err != nil {
			return err
		}
	}
	_, err = l.RecordPush(ctx, sessionPush(repo, "push-3", crashSeen))
	return err
}

// sessionWalk walks a claimed run, with one lost attempt of crashRun and a wait
// of crashSeen on the way.
func sessionWalk(ctx context.Context, l gitmodels.Ledger, c *gitmodels.Claim) error {
	if c.Run.CancelRequested {
		return l.Finish(ctx, c, outcome(c, gitmodels.Cancelled))
	}
	if build, begun := c.Stage(gitmodels.StageBuild); !begun || build.State != gitmodels.StageDone {
		if c.Run.Commit == crashSeen && c.Epoch == 1 {
			return l.Release(ctx, c, "engine: none", time.Time{})
		}
		if err := l.BeginStage(ctx, c, gitmodels.StageBuild, gitmodels.Building, "/log"); err != nil {
			return err
		}
		if err := l.EndStage(ctx, c, gitmodels.StageBuild, gitmodels.StageDone, []byte(`{"tree":"x"}`), ""); err != nil {
			return err
		}
	}
	if train, begun := c.Stage(gitmodels.StageTrain); !begun || train.State != gitmodels.StageDone {
		if err := l.BeginStage(ctx, c, gitmodels.StageTrain, gitmodels.Submitted, "/log"); err != nil {
			return err
		}
		if _, err := l.Intend(ctx, c, gitmodels.StageTrain, c.Attempt.Name, "process"); err != nil {
			return err
		}
		if err := l.Confirm(ctx, c, gitmodels.StageTrain, "job of "+c.Attempt.Name); err != nil {
			return err
		}
		if err := l.SetState(ctx, c, gitmodels.Running, ""); err != nil {
			return err
		}
		if _, _, err := l.Heartbeat(ctx, c, time.Hour); err != nil {
			return err
		}
		if c.Run.Commit == crashRun && c.Attempt.N == 1 {
			return l.Retry(ctx, c, "lost: the machine restarted", "lost")
		}
		if err := l.EndStage(ctx, c, gitmodels.StageTrain, gitmodels.StageDone, nil, ""); err != nil {
			return err
		}
	}
	return l.Finish(ctx, c, outcome(c, gitmodels.Succeeded))
}

// sessionPublish empties the outbox: each outcome into git, then to whoever is to
// be told. The first try of an item fails.
func sessionPublish(ctx context.Context, l gitmodels.Ledger, home string) error {
	for {
		item, err := l.NextOutbox(ctx)
		if item == nil || err != nil {
			return err
		}
		if item.Tries == 0 {
			if err := l.RetryOutbox(ctx, item.ID, "locked", time.Time{}); err != nil {
				return err
			}
			continue
		}
		note := filepath.Join(home, fmt.Sprintf("note-%s-%d-%s", item.Outcome.Run, item.Attempt, item.Outcome.State))
		next := gitmodels.OutboxNotify
		if item.Kind == gitmodels.OutboxNotify {
			note, next = note+"-told", ""
		}
		if err := os.WriteFile(note, nil, 0o600); err != nil {
			return err
		}
		if err := l.Event(ctx, "", "published", item.Outcome.Run); err != nil {
			return err
		}
		if err := l.DoneOutbox(ctx, item.ID, next); err != nil {
			return err
		}
	}
}

// summary is what must be the same wherever a session was killed: all that the
// ledger tells, but for ids and times, and the notes.
func summary(t *testing.T, home string) string {
	t.Helper()
	ctx := t.Context()
	l, err := Open(ctx, home)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Check(ctx); err != nil {
		t.Error(err)
	}
	repos, err := l.Repositories(ctx)
	if err != nil || len(repos) != 1 {
		t.Fatalf("repositories %v, %v", repos, err)
	}
	var b strings.Builder
	rows, err := l.List(ctx, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i].Commit < rows[j].Commit })
	for _, r := range rows {
		row, err := l.Show(ctx, repos[0].ID, r.Commit)
		if err != nil {
			t.Fatal(err)
		}
		row.Run, row.Created, row.Started, row.Finished = nil, nil, nil, nil
		for i := range row.Pushes {
			row.Pushes[i].At = time.Time{}
			if row.Pushes[i].Decision == gitmodels.DecisionAttached {
				t.Errorf("%s has a push too many: %+v", r.Short, row.Pushes[i])
			}
		}
		for i := range row.Attempts {
			row.Attempts[i].Finished = nil
		}
		for i := range row.Stages {
			// A stage may begin again after a crash; what counts is how it ended.
			row.Stages[i].Tries, row.Stages[i].Started, row.Stages[i].Finished = 0, nil, nil
		}
		text, err := json.MarshalIndent(row, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		b.Write(text)
	}
	if n, err := l.PendingOutbox(ctx); n != 0 || err != nil {
		t.Errorf("%d items are left in the outbox, %v", n, err)
	}
	notes, err := filepath.Glob(filepath.Join(home, "note-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range notes {
		fmt.Fprintln(&b, filepath.Base(n))
	}
	return b.String()
}

// runSession runs a session that is killed at a write, and reports whether it
// came that far.
func runSession(t *testing.T, home string, kill int) (killed bool) {
	t.Helper()
	out, err := child(t, "session", "LEDGER_HOME="+home, fmt.Sprint("LEDGER_KILL=", kill)).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && !exit.Exited() {
		return true
	}
	if err != nil {
		t.Errorf("a session that is to be killed at write %d: %v\n%s", kill, err, out)
	}
	return false
}

// memoryDir is a folder in memory where there is one: a kill of the process,
// unlike one of the machine, does not ask whether the disk has got the data, and
// hundreds of sessions need not wait for it.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "ledger")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestCrashMatrix(t *testing.T) {
	t.Parallel()
	whole := memoryDir(t)
	runSession(t, whole, -1)
	want := summary(t, whole)
	for _, part := range []string{
		"note-aa00000-2-succeeded", "note-bb00000-1-succeeded", "note-cc00000-1-cancelled", "note-dd00000-1-succeeded",
		"note-cc00000-2-succeeded", "note-cc00000-2-succeeded-told", `"cause": "again"`,
		`"end_cause": "lost: the machine restarted"`,
	} {
		if !strings.Contains(want, part) {
			t.Fatalf("the session that nobody killed lacks %s:\n%s", part, want)
		}
	}
	// Two sessions at a time, each at the next place, until one gets through.
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		place int
		over  bool
	)
	for range 2 {
		all.Go(func() {
			for {
				mu.Lock()
				place++
				at, stop := place, over
				mu.Unlock()
				if stop || t.Failed() {
					return
				}
				home, err := os.MkdirTemp(whole, "crash")
				if err != nil {
					t.Error(err)
					return
				}
				killed := runSession(t, home, at)
				if killed && runSession(t, home, -1) {
					t.Errorf("killed at write %d: the next session died", at)
				}
				if diff := cmp.Diff(want, summary(t, home)); diff != "" {
					t.Errorf("killed at write %d (-whole +this):\n%s", at, diff)
				}
				mu.Lock()
				over = over || !killed
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if place < 100 {
		t.Errorf("only %d places: the session does too little", place)
	}
}

func TestCrashingAnnounces(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var heard []string
	l := ledgertest.Crashing(b.Ledger, func(op string, after bool) { heard = append(heard, fmt.Sprint(op, " ", after)) })
	ctx := t.Context()
	c := &gitmodels.Claim{}
	// Most of these fail: they are announced all the same.
	l.Register(ctx, "/srv/git/cats.git", "cats", nil)
	l.Unregister(ctx, "/srv/git/cats.git")
	l.RecordPush(ctx, gitmodels.NewPush{})
	l.Batch(ctx, func(gitmodels.PushRecorder) error { return errors.New("no") })
	l.Wait(ctx, "none", "a place")
	l.Claim(ctx, "w", time.Minute, 1, nil)
	l.Rescue(ctx, func(string) bool { return true })
	l.Heartbeat(ctx, c, time.Minute)
	l.BeginStage(ctx, c, gitmodels.StageBuild, gitmodels.Building, "")
	l.SetState(ctx, c, gitmodels.Running, "")
	l.EndStage(ctx, c, gitmodels.StageBuild, gitmodels.StageDone, nil, "")
	l.Intend(ctx, c, gitmodels.StageTrain, "job", "process")
	l.Confirm(ctx, c, gitmodels.StageTrain, "1")
	l.Release(ctx, c, "", time.Time{})
	l.Retry(ctx, c, "lost", "lost")
	l.Finish(ctx, c, gitmodels.Outcome{})
	l.Cancel(ctx, "none", "eve")
	l.Rerun(ctx, b.repo.ID, commit("aa"), "ann", 7)
	l.DoneOutbox(ctx, "none", "")
	l.RetryOutbox(ctx, "none", "late", time.Time{})
	l.Event(ctx, "", "kind", "text")
	// Reads are not.
	l.Repositories(ctx)
	l.Known(ctx, b.repo.ID)
	l.Base(ctx, b.repo.ID, models)
	l.Find(ctx, b.repo.ID, "abcd")
	l.List(ctx, "", 0)
	l.Show(ctx, b.repo.ID, commit("aa"))
	l.Live(ctx)
	l.NextOutbox(ctx)
	l.PendingOutbox(ctx)
	var want []string
	for _, op := range ledgertest.Writes {
		want = append(want, op+" false", op+" true")
	}
	if diff := cmp.Diff(want, heard); diff != "" {
		t.Errorf("announced (-want +got):\n%s", diff)
	}
}
