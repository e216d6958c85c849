package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Runner serves one state directory.
type Runner struct {
	cfg     Config
	log     *slog.Logger
	intake  *intake
	service *Service
	say     *sayer
	owner   string

	wakeIntake chan struct{} // a ring: look into the spool
	wakeClaim  chan struct{} // a run may be ready, or a place is free
	wakeOutbox chan struct{} // an outcome waits to be published
	wakeNotify chan struct{} // an outcome waits for models.notify
	progress   chan struct{} // something ended: is the runner idle?

	mu      sync.Mutex
	workers map[string]*worker // by run id
	left    map[string]string  // what the last import left in the spool by id, and why
	gaps    map[string]string  // runs released for a gap of the server, and which
	stuck   map[string]string  // outbox items that failed several times, and why
	graphs  map[string]bool    // repositories whose commit-graph is due, or (false) being written

	builds slots      // images that are being made
	latest sync.Mutex // who moves the tag latest

	gpus     sync.Mutex         // who leases GPUs; guards gpuWaits
	gpuWaits map[string]gpuWait // runs that wait for GPUs, by id

	swept  time.Time         // of the housekeeping alone
	limits hostLimits        // of the claim loop alone, as is
	turned map[string]string // what runs that limits turn away were told to wait for
}

// New makes a runner; nothing happens before Run.
func New(cfg Config) (*Runner, error) {
	cfg, err := cfg.prepareRunner()
	if err != nil {
		return nil, err
	}
	owner, err := newOwner(cfg.Clock.Now())
	if err != nil {
		return nil, err
	}
	in := newIntake(cfg)
	r := &Runner{
		cfg: cfg, log: cfg.Log, intake: in, service: newService(cfg, in), say: in.say, owner: owner,
		wakeIntake: make(chan struct{}, 1), wakeClaim: make(chan struct{}, 1),
		wakeOutbox: make(chan struct{}, 1), wakeNotify: make(chan struct{}, 1), progress: make(chan struct{}, 1),
		workers: map[string]*worker{}, turned: map[string]string{}, gpuWaits: map[string]gpuWait{}, gaps: map[string]string{}, stuck: map[string]string{}, graphs: map[string]bool{},
	}
	r.service.told = r.told
	return r, nil
}

// Service is what the runner answers with; it tells the workers of a change at
// once.
func (r *Runner) Service() *Service { return r.service }

// Run serves until ctx ends or, with untilIdle, until nothing is left that goes
// on by itself (see the package comment). Ended by ctx it leaves jobs running,
// for the next runner to adopt, and returns nil. If another runner serves this
// home it is an error that names it, but with untilIdle Run then waits until
// that one is idle, or has gone and its place is free.
func (r *Runner) Run(ctx context.Context, untilIdle bool) error {
	lock, err := r.takeLock(ctx, untilIdle)
	if lock == nil || err != nil {
		return err
	}
	defer func() {
		if err := lock.release(); err != nil {
			r.log.Error("releasing the runner's lock", "cause", err.Error())
		}
	}()
	if r.cfg.Recover != nil {
		if err := guard(r.cfg.Recover); err != nil {
			r.log.Warn("what a runner left that was killed could not all be removed", "cause", err.Error())
		}
	}
	for {
		// The lock is ours and no worker of ours is at work, also not when it was
		// idle and a claim came at that moment: every lease is of somebody gone.
		freed, err := r.cfg.Ledger.Rescue(ctx, func(string) bool { return false })
		if err != nil {
			return fmt.Errorf("taking over from runners that are gone: %w", err)
		}
		r.log.Info("serving", "home", r.cfg.Home, "version", r.cfg.Version, "owner", r.owner, "taken over", freed)
		server, err := r.listen(ctx)
		if err != nil {
			return err
		}
		err = r.serve(ctx, untilIdle)
		server.close()
		if err != nil || ctx.Err() != nil || !untilIdle {
			return r.stopped(ctx, err)
		}
		// A push that came while the socket closed rang in vain, but its file is
		// there.
		if idle, err := r.idleNow(ctx); err != nil || idle {
			return r.stopped(ctx, err)
		}
	}
}

// stopped gives back the leases that an interrupted worker left, so that the
// next runner need not wait for them, and says good-bye.
func (r *Runner) stopped(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if _, rescueErr := r.cfg.Ledger.Rescue(ctx, func(owner string) bool { return owner != r.owner }); rescueErr != nil {
		err = errors.Join(err, fmt.Errorf("giving back leases: %w", rescueErr))
	}
	for _, line := range r.remains() {
		r.log.Warn("left for the next runner", "what", line)
	}
	r.log.Info("stopped", "owner", r.owner)
	return err
}

// takeLock returns the lock of home; none and no error when untilIdle and
// another runner has become idle, or ctx ended.
func (r *Runner) takeLock(ctx context.Context, untilIdle bool) (*homeLock, error) {
	var quiet quietness
	for said := false; ; {
		lock, err := lockHome(r.cfg.Home, r.owner)
		var served *errServed
		if !errors.As(err, &served) {
			return lock, err
		}
		if !untilIdle {
			return nil, &gitmodels.Error{Kind: gitmodels.Invalid, Message: served.Error(), Op: "starting the runner"}
		}
		if !said {
			said = true
			r.log.Info(served.Error() + "; waiting until it is idle")
		}
		idle, err := r.othersIdle(ctx, &quiet)
		if err != nil {
			return nil, err
		}
		if idle {
			r.log.Info("the other runner is idle")
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-r.cfg.Clock.After(r.cfg.Pace.Spool):
		}
	}
}

// serve runs every loop until ctx ends, one of them fails, or, with untilIdle,
// nothing is left to do. It returns after all of them have.
func (r *Runner) serve(ctx context.Context, untilIdle bool) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if err := r.importNow(ctx); err != nil {
		return err
	}
	r.reconcileNow(ctx, true)
	var all sync.WaitGroup
	for name, loop := range map[string]func(context.Context) error{
		"intake": r.intakeLoop, "reconcile": r.reconcileLoop, "claim": r.claimLoop, "outbox": r.outboxLoop, "notify": r.notifyLoop, "housekeeping": r.houseLoop,
	} {
		all.Go(func() {
			if err := guard(func() error { return loop(ctx) }); err != nil && ctx.Err() == nil {
				stop(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	if untilIdle {
		all.Go(func() {
			if err := r.waitIdle(ctx); err != nil && ctx.Err() == nil {
				stop(fmt.Errorf("looking whether anything is left: %w", err))
				return
			}
			stop(errIdle)
		})
	}
	<-ctx.Done()
	all.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, errIdle) && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return nil
}

// errIdle ends the loops of a runner that serves until it is idle.
var errIdle = errors.New("idle")

// intakeLoop imports at every ring and now and then without one.
func (r *Runner) intakeLoop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wakeIntake:
		case <-r.cfg.Clock.After(r.cfg.Pace.Spool):
		}
		if err := r.importNow(ctx); err != nil {
			return err
		}
	}
}

// importNow takes in the spool. A fault of the spool or the ledger is logged and
// tried again at the next look: it must not take down the runs that go on.
func (r *Runner) importNow(ctx context.Context) error {
	var res imported
	err := guard(func() (err error) {
		res, err = r.intake.importSpool(ctx)
		return err
	})
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		r.say.warn("import", "the spool cannot be imported", "cause", err.Error())
	default:
		r.say.over("import")
	}
	r.mu.Lock()
	r.left = res.Left
	for _, repo := range res.Touched {
		r.graphs[repo.Path] = true
	}
	r.mu.Unlock()
	for _, id := range res.Told {
		r.told(id)
	}
	if res.Pushes > 0 {
		wake(r.wakeClaim)
	}
	wake(r.progress)
	return nil
}

// reconcileLoop compares refs and ledger each minute. What fails is told by the
// reconciler and tried again.
func (r *Runner) reconcileLoop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.cfg.Clock.After(r.cfg.Pace.Reconcile):
		}
		r.reconcileNow(ctx, false)
	}
}

// reconcileNow compares refs and ledger. A repository that cannot be read has
// been told of; what else fails is told here, and all of it is tried again.
func (r *Runner) reconcileNow(ctx context.Context, now bool) {
	err := guard(func() error {
		found, err := r.intake.reconcileAll(ctx, now)
		if len(found) > 0 {
			wake(r.wakeClaim)
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		r.say.warn("reconcile", "refs and ledger could not all be compared", "cause", err.Error())
		return
	}
	r.say.over("reconcile")
}

// ring has the spool looked into now.
func (r *Runner) ring() { wake(r.wakeIntake) }

// told passes a change of a run on to whoever works on it.
func (r *Runner) told(runID string) {
	r.mu.Lock()
	w := r.workers[runID]
	delete(r.gaps, runID)
	r.mu.Unlock()
	if w != nil {
		wake(w.look)
	}
	wake(r.wakeClaim)
}

// wake signals a loop that is asleep; one that is awake looks once more.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
