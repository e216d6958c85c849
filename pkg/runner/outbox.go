package runner

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const (
	publishTimeout = 2 * time.Minute
	publishPause   = 5 * time.Minute // the longest pause between two tries
	// stuckAfter is how often an outcome may fail to publish before a runner that
	// serves until idle no longer waits for it.
	stuckAfter = 4
)

// outboxLoop publishes outcomes as they come, and again those that failed.
func (r *Runner) outboxLoop(ctx context.Context) error {
	for {
		for ctx.Err() == nil {
			more, err := r.publishNext(ctx)
			if err != nil && ctx.Err() == nil {
				r.say.warn("outbox", "the outbox cannot be read or written", "cause", err.Error())
			}
			if err != nil || !more {
				break
			}
			r.say.over("outbox")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wakeOutbox:
		case <-r.cfg.Clock.After(r.cfg.Pace.Claim):
		}
	}
}

// publishNext publishes one outcome that is due, and reports whether there was
// one. One that fails waits, each time longer, without end: the outcome is
// safe in the ledger and in run.json meanwhile.
func (r *Runner) publishNext(ctx context.Context) (bool, error) {
	item, err := r.cfg.Ledger.NextOutbox(ctx)
	if err != nil || item == nil {
		return false, err
	}
	defer wake(r.progress)
	log := r.log.With("repository", item.Repository.Name, "run", item.Outcome.Run, "attempt", item.Attempt)
	err = guard(func() error {
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		return r.cfg.Publisher.Publish(ctx, item.Repository, item.Outcome)
	})
	if ctx.Err() != nil {
		return false, nil
	}
	if err != nil {
		pause := min(r.cfg.Pace.Backoff<<min(item.Tries, 20), publishPause)
		pause += time.Duration(rand.Int64N(int64(pause)/2 + 1))
		log.Warn("the outcome could not be published", "try", item.Tries+1, "again in", pause.String(), "cause", err.Error())
		if item.Tries+1 >= stuckAfter {
			r.mu.Lock()
			r.stuck[item.ID] = fmt.Sprintf("the outcome of %s in %s is not published: %v", item.Outcome.Run, item.Repository.Name, err)
			r.mu.Unlock()
		}
		return true, r.cfg.Ledger.RetryOutbox(ctx, item.ID, err.Error(), r.cfg.Clock.Now().Add(pause))
	}
	if err := r.cfg.Ledger.DoneOutbox(ctx, item.ID, ""); err != nil {
		return false, err
	}
	r.mu.Lock()
	delete(r.stuck, item.ID)
	r.mu.Unlock()
	log.Info("outcome published", "state", string(item.Outcome.State))
	r.tidy(item)
	return true, nil
}

// tidy removes what nobody needs after an outcome is published: the export, the
// kept outcome and, when they are in the store, the results. Logs and the
// engine's folders stay (see sweep).
func (r *Runner) tidy(item *gitmodels.OutboxItem) {
	dirs := attemptFolders(r.cfg.Home, item.Repository.ID, item.Outcome.Commit, item.Attempt)
	gone := []string{dirs.tree(), dirs.logs(), dirs.outcome()}
	if item.Outcome.State == gitmodels.Succeeded {
		gone = append(gone, dirs.artifacts(), dirs.metrics())
	}
	for _, path := range gone {
		if err := removeAll(path); err != nil {
			r.log.Warn("tidying up", "cause", err.Error())
		}
	}
}
