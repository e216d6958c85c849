package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/policy"
)

// worker walks one claimed run through its stages.
type worker struct {
	r     *Runner
	log   *slog.Logger
	claim *gitmodels.Claim
	lease *gitmodels.Claim // what the heartbeat shows: a copy, for the stages refresh claim
	dirs  folders
	look  chan struct{} // look at the ledger now: something was asked
	short string        // the run's name, which never changes

	git Repo
	pol *policy.Policy

	failures map[gitmodels.StageName]int // failed tries of each stage so far

	asked   chan struct{} // closed when a cancel is asked
	askOnce sync.Once
	askedBy string
}

// maxFailures is how many tries of a stage may fail for a cause that may pass.
const maxFailures = 5

// maxStarts is how often a stage may begin without ever ending: a stage that
// takes the runner down with it must not do so for ever.
const maxStarts = 40

// errWait ends a walk that has to wait: the run goes back to the queue.
type errWait struct {
	what string
	gap  bool // for a gap of the server, which only somebody else can close
}

func (e *errWait) Error() string { return "waiting: " + e.what }

// waitingFor is an errWait for a gap of the server.
func waitingFor(format string, args ...any) error {
	return &errWait{what: fmt.Sprintf(format, args...), gap: true}
}

func (r *Runner) newWorker(c *gitmodels.Claim) *worker {
	held := *c
	w := &worker{
		r: r, claim: c, lease: &held, short: c.Run.Short, failures: failuresOf(c), look: make(chan struct{}, 1), asked: make(chan struct{}),
		dirs: attemptFolders(r.cfg.Home, c.Repository.ID, c.Run.Commit, c.Attempt.N),
		log:  r.log.With("repository", c.Repository.Name, "run", c.Run.Short, "attempt", c.Attempt.N),
	}
	if c.Run.CancelRequested {
		w.cancelAsked(c.Run.CancelBy)
	}
	r.mu.Lock()
	r.workers[c.Run.ID] = w
	delete(r.gaps, c.Run.ID)
	r.mu.Unlock()
	delete(r.turned, c.Run.ID)
	return w
}

// cancelAsked notes that a cancel is asked, and by whom.
func (w *worker) cancelAsked(by string) {
	w.askOnce.Do(func() {
		w.askedBy = by
		close(w.asked)
	})
}

// cancelled reports whether a cancel is asked.
func (w *worker) cancelled() bool {
	select {
	case <-w.asked:
		return true
	default:
		return false
	}
}

// work walks the run until it ends, has to wait, or the lease is lost, with a
// heartbeat beside it.
func (w *worker) work(ctx context.Context) {
	defer w.leave()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var beat sync.WaitGroup
	beat.Go(func() {
		if err := guard(func() error { return w.heartbeat(ctx) }); err != nil {
			stop(err)
		}
	})
	err := guard(func() error {
		err := w.walk(ctx)
		if err != nil && ctx.Err() == nil {
			err = w.settle(ctx, err)
		}
		return err
	})
	if errors.Is(context.Cause(ctx), gitmodels.ErrLeaseLost) {
		err = gitmodels.ErrLeaseLost
	}
	stop(nil)
	beat.Wait()
	switch {
	case errors.Is(err, gitmodels.ErrLeaseLost):
		w.log.Warn("the lease passed to another worker; nothing more is written here")
	case err != nil && !errors.Is(err, context.Canceled):
		w.log.Error("the run stays with its lease until that expires", "cause", err.Error())
	}
}

// leave takes the worker off the runner's books.
func (w *worker) leave() {
	w.r.mu.Lock()
	if w.r.workers[w.claim.Run.ID] == w {
		delete(w.r.workers, w.claim.Run.ID)
	}
	w.r.mu.Unlock()
	wake(w.r.wakeClaim)
	wake(w.r.wakeOutbox)
	wake(w.r.progress)
}

// heartbeat keeps the lease and learns of a cancel. It returns ErrLeaseLost when
// the lease is another's, also when the ledger could not be asked for as long as
// the lease was good.
func (w *worker) heartbeat(ctx context.Context) error {
	clock, pace := w.r.cfg.Clock, w.r.cfg.Pace
	good := clock.Now()
	for {
		by, cancel, err := w.r.cfg.Ledger.Heartbeat(ctx, w.lease, pace.Lease)
		switch {
		case errors.Is(err, gitmodels.ErrLeaseLost):
			return err
		case ctx.Err() != nil:
			return nil
		case err != nil && clock.Now().Sub(good) >= pace.Lease:
			return fmt.Errorf("%w: no heartbeat for %s: %v", gitmodels.ErrLeaseLost, pace.Lease, err)
		case err != nil:
			w.log.Warn("the heartbeat failed", "cause", err.Error())
		default:
			good = clock.Now()
			if cancel {
				w.cancelAsked(by)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.look:
		case <-clock.After(pace.Lease / 3):
		}
	}
}

// settle turns the error that ended a walk into the run's next step.
func (w *worker) settle(ctx context.Context, err error) error {
	var wait *errWait
	switch {
	case errors.Is(err, gitmodels.ErrLeaseLost):
		return err
	case errors.As(err, &wait):
		return w.release(ctx, wait)
	}
	var failed *stageError
	if !errors.As(err, &failed) {
		failed = &stageError{stage: gitmodels.StageBuild, err: err}
	}
	return w.failedTry(ctx, failed)
}

// release gives the run back to the queue until there is a point in looking
// again: the longer it has waited, the less often.
func (w *worker) release(ctx context.Context, wait *errWait) error {
	now, pace := w.r.cfg.Clock.Now(), w.r.cfg.Pace
	pause := pace.Waiting // for what goes on by itself, and may do so at any moment
	if wait.gap {
		pause = min(max(now.Sub(w.claim.Attempt.CreatedAt)/4, pause), 12*pause)
	}
	if limit := w.queueTimeout(); limit > 0 && w.claim.Attempt.Job == "" { // no job has started
		left := w.claim.Attempt.CreatedAt.Add(limit).Sub(now)
		if left <= 0 {
			return w.end(ctx, gitmodels.Failed, fmt.Sprintf("waited %s for %s (models.timeout.queue)", limit, wait.what))
		}
		pause = min(pause, left)
	}
	if err := w.r.cfg.Ledger.Release(ctx, w.claim, wait.what, now.Add(pause)); err != nil {
		return err
	}
	if wait.gap {
		w.r.say.warn("gap "+w.claim.Run.ID, "the run waits for the server", "repository", w.claim.Repository.Name, "run", w.claim.Run.Short, "waiting", wait.what)
		w.r.mu.Lock()
		w.r.gaps[w.claim.Run.ID] = fmt.Sprintf("%s of %s waits: %s", w.claim.Run.Short, w.claim.Repository.Name, wait.what)
		w.r.mu.Unlock()
	}
	return nil
}

// queueTimeout is how long the run may wait for its start; 0 is for ever.
func (w *worker) queueTimeout() time.Duration {
	if w.pol == nil {
		return 0
	}
	return w.pol.TimeoutQueue
}

// failedTry records that a try of a stage failed. What can never succeed, and
// what failed too often, ends the run; the rest is tried again, each time later.
func (w *worker) failedTry(ctx context.Context, failed *stageError) error {
	cause := failed.Error()
	count := w.failures[failed.stage] + 1
	if failed.final() || count >= maxFailures {
		if !failed.final() {
			cause = fmt.Sprintf("%s (tried %d times)", cause, count)
		}
		return w.fail(ctx, failed.stage, cause)
	}
	if err := w.recordFailure(ctx, failed.stage, count, cause); err != nil {
		return err
	}
	pause := w.r.cfg.Pace.Backoff << (count - 1)
	pause += time.Duration(rand.Int64N(int64(pause)/2 + 1))
	w.log.Warn("a stage failed and is tried again", "stage", string(failed.stage), "try", count, "in", pause.String(), "cause", cause)
	return w.r.cfg.Ledger.Release(ctx, w.claim, retrying+cause, w.r.cfg.Clock.Now().Add(pause))
}

// guard runs fn and turns a panic into an error with its stack.
func guard(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{value: p, stack: debug.Stack()}
		}
	}()
	return fn()
}

// panicError is a panic that was caught.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }
