package runner_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/ledger"
	"github.com/git-models/git-models/pkg/policy"
	"github.com/git-models/git-models/pkg/runner"
)

func TestCancelWhileQueued(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.configure("") // no engine: it waits
	commit := s.push(models)
	v := s.serve()
	s.await("the run to wait", func() bool {
		row, err := s.ledger.Show(context.Background(), s.repo.ID, commit)
		return err == nil && row.Waiting != nil
	})
	if _, err := v.r.Service().Cancel(t.Context(), s.bare, commit.Short(7), "bob"); err != nil {
		t.Fatal(err)
	}
	s.awaitState(commit, gitmodels.Cancelled)
	s.awaitPublished()
	v.end()
	s.want(commit, gitmodels.Cancelled, "cancelled by bob")
	if n := s.note(commit); !strings.Contains(n, "State: cancelled") {
		t.Errorf("note:\n%s", n)
	}
	if len(s.trainer.jobs("submits"))+len(s.trainer.jobs("cancels")) != 0 {
		t.Error("the engine was asked")
	}
}

func TestCancelWhileRunning(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.trainer.holdAll()
	asks := 0
	s.trainer.cancel = func(gitmodels.Job) bool { asks++; return asks == 3 } // it takes its time
	commit := s.push(models)
	v := s.serve()
	s.awaitState(commit, gitmodels.Running)
	if _, err := v.r.Service().Cancel(t.Context(), s.bare, commit.Short(7), "bob"); err != nil {
		t.Fatal(err)
	}
	if got := s.state(commit); got != gitmodels.Cancelling && got != gitmodels.Cancelled {
		t.Errorf("state %s", got)
	}
	s.awaitState(commit, gitmodels.Cancelled)
	v.end()
	row := s.want(commit, gitmodels.Cancelled, "cancelled by bob")
	if _, err := os.Stat(filepath.Join(s.home, "store", "dogs", "metrics", row.Short+".logs", "train.log")); err != nil {
		t.Error(err)
	}
	if got := len(s.trainer.jobs("cancels")); got != 3 {
		t.Errorf("asked %d times", got)
	}
}

func TestCancelThatComesTooLate(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.trainer.holdAll()
	s.trainer.cancel = func(job gitmodels.Job) bool { s.trainer.finish(job.Name, "succeeded"); return false }
	s.file(s.work, ".models.yaml", "train:\n  command: [python3, train.py]\nevaluate:\n  command: [python3, eval.py]\n")
	s.commit(s.work, "with an evaluation")
	commit := s.push(models)
	v := s.serve()
	s.awaitState(commit, gitmodels.Running)
	if _, err := v.r.Service().Cancel(t.Context(), s.bare, commit.Short(7), "bob"); err != nil {
		t.Fatal(err)
	}
	s.awaitState(commit, gitmodels.Cancelled)
	v.end()
	if diff := cmp.Diff([]string{commit.Short(7)}, s.trainer.jobs("submits")); diff != "" {
		t.Errorf("an evaluation was begun after the cancel (-want +got):\n%s", diff)
	}
}

func TestSteerWhatCannotBe(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	commit := s.push(models)
	s.untilIdle()
	svc, err := runner.NewService(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, cancelErr := svc.Cancel(t.Context(), s.bare, commit.Short(7), "bob")
	_, unknownErr := svc.Show(t.Context(), s.bare, "0000000")
	_, strangeErr := svc.Show(t.Context(), t.TempDir(), commit.Short(7))
	logErr := svc.Logs(t.Context(), s.bare, commit.Short(7), "publish", false, nil)
	evalErr := svc.Logs(t.Context(), s.bare, commit.Short(7), "evaluate", false, nil)
	for _, c := range []struct {
		err  error
		kind gitmodels.Kind
	}{{cancelErr, gitmodels.Invalid}, {unknownErr, gitmodels.NotFound}, {strangeErr, gitmodels.NotFound},
		{logErr, gitmodels.Invalid}, {evalErr, gitmodels.NotFound}} {
		if c.err == nil || gitmodels.KindOf(c.err) != c.kind {
			t.Errorf("%v is of kind %d, want %d", c.err, gitmodels.KindOf(c.err), c.kind)
		}
	}
}

func TestStoppedRunnerLeavesJobsToTheNext(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.trainer.holdAll()
	commit := s.push(models)
	v := s.serve()
	s.awaitState(commit, gitmodels.Running)
	v.end()
	if got := s.state(commit); got != gitmodels.Running {
		t.Fatalf("a stopped runner left the run %s", got)
	}
	if len(s.trainer.jobs("cancels")) != 0 {
		t.Error("the job was cancelled")
	}
	v = s.serve()
	s.await("the job to be adopted", func() bool { return s.logs.count("job adopted") == 1 })
	s.trainer.finish(commit.Short(7), "succeeded")
	s.awaitState(commit, gitmodels.Succeeded)
	v.end()
	if got := s.trainer.jobs("submits"); len(got) != 1 {
		t.Errorf("jobs %q", got)
	}
}

// fencedLedger takes the lease away when it is told to.
type fencedLedger struct {
	*ledger.Ledger
	lost chan struct{}
}

func (l *fencedLedger) Heartbeat(ctx context.Context, c *gitmodels.Claim, lease time.Duration) (string, bool, error) {
	select {
	case <-l.lost:
		return "", false, gitmodels.ErrLeaseLost
	default:
		return l.Ledger.Heartbeat(ctx, c, lease)
	}
}

func TestLostLeaseStopsTheWorker(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	fenced := &fencedLedger{s.ledger, make(chan struct{})}
	s.cfg.Ledger = fenced
	s.cfg.Pace.Lease = 300 * time.Millisecond
	s.cfg.Pace.Claim = time.Hour // it does not claim the run again
	s.trainer.holdAll()
	commit := s.push(models)
	v := s.serve()
	s.awaitState(commit, gitmodels.Running)
	close(fenced.lost)
	s.await("the worker to give up", func() bool { return s.logs.count("the lease passed to another worker") == 1 })
	s.trainer.finish(commit.Short(7), "succeeded")
	v.end()
	if got := s.state(commit); got != gitmodels.Running {
		t.Errorf("a worker without a lease left the run %s", got)
	}
	if len(s.trainer.jobs("cancels")) != 0 {
		t.Error("a worker without a lease cancelled the job")
	}
	s.cfg.Ledger, s.cfg.Pace.Claim = s.ledger, 20*time.Millisecond
	s.untilIdle()
	s.want(commit, gitmodels.Succeeded, "")
	if got := s.trainer.jobs("submits"); len(got) != 1 {
		t.Errorf("jobs %q", got)
	}
}

func TestSecondRunnerIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.trainer.holdAll()
	commit := s.push(models)
	v := s.serve()
	s.awaitState(commit, gitmodels.Running)
	second, err := runner.New(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context(), false); err == nil || !strings.Contains(err.Error(), "another runner serves this home: process") {
		t.Errorf("Run: %v", err)
	}
	// One that serves until idle waits for the other.
	done := make(chan error, 1)
	go func() { done <- second.Run(context.Background(), true) }()
	s.await("the second to wait", func() bool { return s.logs.count("waiting until it is idle") == 1 })
	select {
	case err := <-done:
		t.Errorf("the second did not wait: %v", err)
	default:
	}
	s.trainer.finish(commit.Short(7), "succeeded")
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the second waits for ever")
	}
	s.want(commit, gitmodels.Succeeded, "")
	v.end()
}

// runnerProcess is set for the test binary when it is to be a runner that can be
// killed; its value is the home.
const runnerProcess = "GIT_MODELS_TEST_RUNNER"

func TestMain(m *testing.M) {
	home := os.Getenv(runnerProcess)
	if home == "" {
		os.Exit(m.Run())
	}
	os.Exit(serveProcess(home))
}

// serveProcess is a runner with a trainer whose jobs are held.
func serveProcess(home string) int {
	ctx := context.Background()
	l, err := ledger.Open(ctx, home)
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	tr := &trainer{t: &testing.T{}, dir: filepath.Join(filepath.Dir(home), "trainer"), busy: map[string]string{}}
	tr.holdAll()
	r, err := runner.New(siteConfig(home, l, tr))
	if err == nil {
		err = r.Run(ctx, false)
	}
	os.Stderr.WriteString(err.Error() + "\n")
	return 1
}

func TestKilledRunnerIsTakenOver(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.cfg.Pace.Lease = time.Hour // what frees the run is the lock, not the lease
	commit := s.push(models)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), runnerProcess+"="+s.home)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	s.awaitState(commit, gitmodels.Running)
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the runner was not killed")
	}
	s.trainer.finish(commit.Short(7), "succeeded") // while nobody looks
	s.untilIdle()
	s.want(commit, gitmodels.Succeeded, "")
	if got := s.trainer.jobs("submits"); len(got) != 1 {
		t.Errorf("jobs %q", got)
	}
	if n := s.git(s.bare, "rev-list", "--count", "refs/notes/models"); n != "1" {
		t.Errorf("%s commits of notes", n)
	}
}

// stumblingLedger fails at one call, as a runner that dies there leaves things.
type stumblingLedger struct {
	*ledger.Ledger
	before, after string
	fell          bool
}

func (l *stumblingLedger) step(call string, do func() error) error {
	if l.before == call && !l.fell {
		l.fell = true
		return gitmodels.ErrLeaseLost
	}
	err := do()
	if err == nil && l.after == call && !l.fell {
		l.fell = true
		return gitmodels.ErrLeaseLost
	}
	return err
}

func (l *stumblingLedger) BeginStage(ctx context.Context, c *gitmodels.Claim, st gitmodels.StageName, state gitmodels.State, log string) error {
	return l.step("begin "+string(st), func() error { return l.Ledger.BeginStage(ctx, c, st, state, log) })
}

func (l *stumblingLedger) EndStage(ctx context.Context, c *gitmodels.Claim, st gitmodels.StageName, state gitmodels.StageState, out []byte, cause string) error {
	return l.step("end "+string(st), func() error { return l.Ledger.EndStage(ctx, c, st, state, out, cause) })
}

func (l *stumblingLedger) Intend(ctx context.Context, c *gitmodels.Claim, st gitmodels.StageName, job, engine string) (sub gitmodels.Submission, err error) {
	err = l.step("intend "+string(st), func() error {
		var err error
		sub, err = l.Ledger.Intend(ctx, c, st, job, engine)
		return err
	})
	return sub, err
}

func (l *stumblingLedger) Confirm(ctx context.Context, c *gitmodels.Claim, st gitmodels.StageName, id string) error {
	return l.step("confirm "+string(st), func() error { return l.Ledger.Confirm(ctx, c, st, id) })
}

func (l *stumblingLedger) Finish(ctx context.Context, c *gitmodels.Claim, o gitmodels.Outcome) error {
	return l.step("finish", func() error { return l.Ledger.Finish(ctx, c, o) })
}

func TestEveryStepMayBeBrokenOff(t *testing.T) {
	t.Parallel()
	steps := []string{"begin build", "end build", "begin train", "intend train", "confirm train", "end train",
		"begin evaluate", "intend evaluate", "confirm evaluate", "end evaluate", "begin collect", "end collect", "finish"}
	for _, step := range steps {
		for _, side := range []string{"before", "after"} {
			t.Run(side+" "+step, func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				s.file(s.work, ".models.yaml", "train:\n  command: [python3, train.py]\nevaluate:\n  command: [python3, eval.py]\n")
				s.commit(s.work, "with an evaluation")
				stumbling := &stumblingLedger{Ledger: s.ledger}
				if side == "before" {
					stumbling.before = step
				} else {
					stumbling.after = step
				}
				s.cfg.Ledger = stumbling
				s.cfg.Pace.Lease = 50 * time.Millisecond // nobody frees it sooner
				commit := s.push(models)
				s.untilIdle()
				row := s.want(commit, gitmodels.Succeeded, "")
				if !stumbling.fell {
					t.Error("the step was never taken")
				}
				if diff := cmp.Diff([]string{row.Short, row.Short + "-eval"}, s.trainer.jobs("submits")); diff != "" {
					t.Errorf("jobs (-want +got):\n%s", diff)
				}
				if n := s.git(s.bare, "rev-list", "--count", "refs/notes/models"); n != "1" {
					t.Errorf("%s commits of notes", n)
				}
				if _, err := os.Stat(filepath.Join(s.home, "store", "dogs", "metrics", row.Short, "run.json")); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// fullDisk is a repository whose files find no room.
type fullDisk struct{ repoPort }

func (fullDisk) Export(context.Context, gitmodels.CommitID, string) (gitmodels.ExportReport, error) {
	return gitmodels.ExportReport{}, syscall.ENOSPC
}

// A build that waits for the server can be cancelled, also after it was begun.
func TestCancelWhileABuildWaits(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	open, pol := s.cfg.Open, s.cfg.Policy
	s.cfg.Open = func(path string) (runner.Repo, error) {
		r, err := open(path)
		return fullDisk{r.(repoPort)}, err
	}
	s.cfg.Policy = func(ctx context.Context, repo runner.Repo) (*policy.Policy, []policy.Problem, error) {
		return pol(ctx, repo.(fullDisk).repoPort)
	}
	commit := s.push(models)
	s.untilIdle()
	row := s.want(commit, gitmodels.Queued, "")
	if row.Waiting == nil || !strings.Contains(*row.Waiting, "room on the server") {
		t.Fatalf("waiting for %v", deref(row.Waiting))
	}
	if _, err := s.ledger.Cancel(t.Context(), row.RunID, "bob"); err != nil {
		t.Fatal(err)
	}
	s.untilIdle()
	s.want(commit, gitmodels.Cancelled, "cancelled by bob")
}
