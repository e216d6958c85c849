package runner_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/ledger"
)

// clock is a clock that a test moves; timers follow the real one, so that the
// loops go on.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) After(d time.Duration) <-chan time.Time { return time.After(d) }

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// setClock gives the site, its ledger too, a clock that can be moved.
func (s *site) setClock() *clock {
	s.t.Helper()
	c := &clock{}
	l, err := ledger.Open(s.t.Context(), s.home, ledger.WithClock(c.Now))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
	s.ledger, s.cfg.Ledger, s.cfg.Clock = l, l, c
	return c
}

func TestQueueTimeoutEndsAWait(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.setClock()
	s.configure("[models \"timeout\"]\n\tqueue = 2h\n")
	commit := s.push(models)
	s.untilIdle()
	s.want(commit, gitmodels.Queued, "")
	c.advance(3 * time.Hour)
	s.untilIdle()
	s.want(commit, gitmodels.Failed, "models.timeout.queue")
}

func TestOldFoldersAreRemoved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.setClock()
	good := s.push(models)
	s.untilIdle()
	s.trainer.end = func(string) gitmodels.JobStatus { return gitmodels.JobStatus{State: gitmodels.JobFailed, Cause: "x"} }
	s.change("two")
	bad := s.push(models)
	s.untilIdle()
	base := func(commit gitmodels.CommitID) string {
		return filepath.Join(s.home, "runs", s.repo.ID, string(commit))
	}
	there := func(path string) bool { _, err := os.Lstat(path); return err == nil }
	for _, path := range []string{base(bad) + "/1/train.log", base(bad) + "/1/artifacts/model.bin", base(good) + "/1/train"} {
		if !there(path) {
			t.Errorf("%s is gone at once", path)
		}
	}
	c.advance(31 * 24 * time.Hour)
	v := s.serve()
	s.await("old folders to go", func() bool {
		return !there(base(bad)+"/1") && !there(base(good)+"/1/train") && !there(base(bad)+"/checkpoints")
	})
	if !there(base(good) + "/1/train.log") {
		t.Error("the log of a run that succeeded is gone")
	}
	v.end()
}

// publisher fails as often as it is told to, and then publishes for real.
type publisher struct {
	gitmodels.Publisher
	mu    sync.Mutex
	fails int
	tries int
}

func (p *publisher) Publish(ctx context.Context, repo gitmodels.Repository, o gitmodels.Outcome) error {
	p.mu.Lock()
	p.tries++
	fail := p.tries <= p.fails
	p.mu.Unlock()
	if fail {
		return errors.New("the repository is locked")
	}
	return p.Publisher.Publish(ctx, repo, o)
}

func TestPublishIsTriedUntilItWorks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := &publisher{Publisher: s.cfg.Publisher, fails: 2}
	s.cfg.Publisher = p
	commit := s.push(models)
	s.untilIdle()
	if n := s.note(commit); p.tries != 3 || !strings.Contains(n, "State: succeeded") {
		t.Errorf("%d tries, note:\n%s", p.tries, n)
	}
}

func TestPublishThatNeverWorksHoldsUpNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := &publisher{Publisher: s.cfg.Publisher, fails: 1 << 30}
	s.cfg.Publisher = p
	commit := s.push(models)
	s.untilIdle()
	s.want(commit, gitmodels.Succeeded, "")
	if !strings.Contains(s.logs.String(), "left for the next runner what=the outcome of "+commit.Short(7)) {
		t.Errorf("it does not say so:\n%s", s.logs)
	}
	p.mu.Lock()
	p.fails = 0
	p.mu.Unlock()
	s.untilIdle()
	if n := s.note(commit); !strings.Contains(n, "State: succeeded") {
		t.Errorf("note:\n%s", n)
	}
}

// store answers Put with an error as long as there is one.
type failingStore struct {
	gitmodels.Store
	mu  sync.Mutex
	err error
}

func (s *failingStore) Put(ctx context.Context, uri, src string) ([]gitmodels.File, []string, error) {
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	return s.Store.Put(ctx, uri, src)
}

func TestFullStoreMakesARunWait(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.setClock()
	full := &failingStore{Store: s.cfg.Store, err: &gitmodels.Error{Kind: gitmodels.Waiting, Message: "store: no room"}}
	s.cfg.Store = full
	commit := s.push(models)
	s.untilIdle()
	if row := s.show(commit); row.Waiting == nil || *row.Waiting != "store: no room" {
		t.Fatalf("waiting for %v", deref(row.Waiting))
	}
	// However long it waits, nothing of the training is given up.
	s.cfg.Pace.Waiting, s.cfg.Pace.Claim = time.Nanosecond, time.Millisecond
	v := s.serve()
	s.await("many tries", func() bool { return s.logs.count("store: no room") > 45 })
	v.end()
	s.configure("[models]\n\tengine = process\n\tallowProcess = true\n[models \"timeout\"]\n\tqueue = 2h\n")
	c.advance(3 * time.Hour)
	s.untilIdle()
	full.mu.Lock()
	full.err = nil
	full.mu.Unlock()
	s.untilIdle()
	s.want(commit, gitmodels.Succeeded, "")
	if got := s.trainer.jobs("submits"); len(got) != 1 {
		t.Errorf("jobs %q", got)
	}
}

func TestResultsThatCannotBeStoredFailTheRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.cfg.Store = &failingStore{Store: s.cfg.Store, err: &gitmodels.Error{Kind: gitmodels.Invalid, Message: "store: it holds another run"}}
	commit := s.push(models)
	s.untilIdle()
	row := s.want(commit, gitmodels.Failed, "store: it holds another run")
	if row.Artifacts != nil {
		t.Error("it claims artifacts")
	}
}
