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
	notifyPause    = 30 * time.Minute
	// maxNotify is how often models.notify is tried: with pauses that grow
	// fourfold from Pace.Backoff to notifyPause, for a little over an hour.
	maxNotify = 8
	// stuckAfter is how often an outcome may fail on its way before a runner that
	// serves until idle no longer waits for it.
	stuckAfter = 4
)

// outboxLoop publishes outcomes as they come, and again those that failed.
func (r *Runner) outboxLoop(ctx context.Context) error {
	return r.deliver(ctx, "outbox", gitmodels.OutboxGit, r.wakeOutbox, r.publish)
}

// notifyLoop gives published outcomes to models.notify. It is a loop of its own:
// a program that takes its minute holds up no note.
func (r *Runner) notifyLoop(ctx context.Context) error {
	return r.deliver(ctx, "notify", gitmodels.OutboxNotify, r.wakeNotify, r.notify)
}

// deliver handles every item of a kind that is due, then waits for more. A ledger
// that fails is asked again later.
func (r *Runner) deliver(ctx context.Context, name string, kind gitmodels.OutboxKind, more <-chan struct{},
	handle func(context.Context, *gitmodels.OutboxItem) error) error {
	for {
		for ctx.Err() == nil {
			item, err := r.cfg.Ledger.NextOutbox(ctx, kind)
			if err == nil && item != nil {
				err = handle(ctx, item)
				wake(r.progress)
			}
			if err != nil && ctx.Err() == nil {
				r.say.warn(name, "the outbox cannot be read or written", "cause", err.Error())
			}
			if err != nil || item == nil {
				break
			}
			r.say.over(name)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-more:
		case <-r.cfg.Clock.After(r.cfg.Pace.Claim):
		}
	}
}

// publish puts one outcome into git. One that fails waits, each time longer,
// without end: the outcome is safe in the ledger and in run.json meanwhile.
func (r *Runner) publish(ctx context.Context, item *gitmodels.OutboxItem) error {
	log := r.log.With("repository", item.Repository.Name, "run", item.Outcome.Run, "attempt", item.Attempt)
	err := guard(func() error {
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		return r.cfg.Publisher.Publish(ctx, item.Repository, item.Outcome)
	})
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		pause := min(r.cfg.Pace.Backoff<<min(item.Tries, 20), publishPause)
		return r.again(ctx, item, "is not published", pause, err)
	}
	next, _ := r.notifier(ctx, item.Repository)
	if err := r.cfg.Ledger.DoneOutbox(ctx, item.ID, next); err != nil {
		return err
	}
	r.unstick(item)
	log.Info("outcome published", "state", string(item.Outcome.State))
	if next != "" {
		wake(r.wakeNotify)
	}
	r.tidy(item)
	return nil
}

// notifier is where an outcome of repo goes after git, and the program that gets
// it; nowhere when policy names none. Policy that cannot be read now is read
// again then.
func (r *Runner) notifier(ctx context.Context, repo gitmodels.Repository) (gitmodels.OutboxKind, string) {
	_, pol, err := r.intake.open(ctx, repo)
	switch {
	case err != nil:
		return gitmodels.OutboxNotify, ""
	case pol.Notify == "":
		return "", ""
	}
	return gitmodels.OutboxNotify, pol.Notify
}

// notify gives one outcome to models.notify. One that fails is tried again for
// about an hour, then dropped, and the history says so.
func (r *Runner) notify(ctx context.Context, item *gitmodels.OutboxItem) error {
	kind, program := r.notifier(ctx, item.Repository)
	if kind == "" { // no longer
		r.unstick(item)
		return r.cfg.Ledger.DoneOutbox(ctx, item.ID, "")
	}
	err := guard(func() error {
		if program == "" {
			return fmt.Errorf("the policy of %s cannot be read", item.Repository.Name)
		}
		return r.cfg.Notify(ctx, program, item.Outcome)
	})
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		r.log.Info("outcome notified", "repository", item.Repository.Name, "run", item.Outcome.Run, "attempt", item.Attempt)
	} else if item.Tries+1 < maxNotify {
		return r.again(ctx, item, "is not notified", min(r.cfg.Pace.Backoff<<(2*item.Tries), notifyPause), err)
	} else if err := r.intake.report(ctx, item.Repository, "notify given up", fmt.Sprintf("%s after %d tries: %v", item.Outcome.Name, item.Tries+1, err)); err != nil {
		return err
	}
	r.unstick(item)
	return r.cfg.Ledger.DoneOutbox(ctx, item.ID, "")
}

// again keeps an item whose delivery failed for another try after about pause.
func (r *Runner) again(ctx context.Context, item *gitmodels.OutboxItem, what string, pause time.Duration, cause error) error {
	pause += time.Duration(rand.Int64N(int64(pause)/2 + 1))
	r.log.Warn("the outcome "+what, "repository", item.Repository.Name, "run", item.Outcome.Run, "attempt", item.Attempt,
		"try", item.Tries+1, "again in", pause.String(), "cause", cause.Error())
	if item.Tries+1 >= stuckAfter {
		r.mu.Lock()
		r.stuck[item.ID] = fmt.Sprintf("the outcome of %s in %s %s: %v", item.Outcome.Run, item.Repository.Name, what, cause)
		r.mu.Unlock()
	}
	return r.cfg.Ledger.RetryOutbox(ctx, item.ID, cause.Error(), r.cfg.Clock.Now().Add(pause))
}

// unstick says that an item no longer waits.
func (r *Runner) unstick(item *gitmodels.OutboxItem) {
	r.mu.Lock()
	delete(r.stuck, item.ID)
	r.mu.Unlock()
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
