package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// runnerActor is who makes an attempt that nobody asked for.
const runnerActor = "runner"

// hold takes the lock of c's run inside a worker's transaction: it fails with
// ErrLeaseLost unless the claim still stands and the run is live.
func hold(ctx context.Context, tx *txn, c *gitmodels.Claim) (cancelling bool, err error) {
	var asked int64
	err = tx.QueryRowContext(ctx, `
		UPDATE runs SET epoch = epoch
		WHERE id = $1 AND lease_owner = $2 AND epoch = $3 AND finished_at = 0
		RETURNING cancel_requested`, c.Run.ID, c.Owner, c.Epoch).Scan(&asked)
	if errors.Is(err, sql.ErrNoRows) {
		return false, gitmodels.ErrLeaseLost
	}
	return asked != 0, err
}

// step is a worker's write within its claim. After it, c shows the run, the
// attempt and the stages as they are now; its repository, ids, owner and epoch,
// which a heartbeat beside it reads, are not written.
func (l *Ledger) step(ctx context.Context, op string, c *gitmodels.Claim, fn func(tx *txn, cancelling bool) error) error {
	var after *gitmodels.Claim
	err := l.write(ctx, op, func(tx *txn) error {
		cancelling, err := hold(ctx, tx, c)
		if err != nil {
			return err
		}
		if err := fn(tx, cancelling); err != nil {
			return err
		}
		after, err = loadClaim(ctx, tx, c.Run.ID)
		return err
	})
	if err != nil {
		return err
	}
	c.Run.State, c.Run.Waiting, c.Run.StartedAt = after.Run.State, after.Run.Waiting, after.Run.StartedAt
	c.Run.CancelRequested, c.Run.CancelBy = after.Run.CancelRequested, after.Run.CancelBy
	c.Attempt.State, c.Attempt.Engine, c.Attempt.Job = after.Attempt.State, after.Attempt.Engine, after.Attempt.Job
	c.Stages = after.Stages
	return nil
}

// enter sets the state of a run and of its current attempt. A run whose cancel
// is asked stays cancelling until its end.
func enter(ctx context.Context, tx *txn, c *gitmodels.Claim, state gitmodels.State, waiting string, cancelling bool) error {
	if state.Terminal() || state == "" {
		return fmt.Errorf("run %s cannot enter the state %q within a claim", c.Run.Short, state)
	}
	if cancelling {
		state = gitmodels.Cancelling
	}
	if _, err := tx.ExecContext(ctx, "UPDATE runs SET state = $1, waiting = $2 WHERE id = $3", state, waiting, c.Run.ID); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE attempts SET state = $1 WHERE run_id = $2 AND n = $3", state, c.Run.ID, c.Attempt.N)
	return err
}

func knownStage(stage gitmodels.StageName) error {
	if !slices.Contains(gitmodels.Stages, stage) {
		return fmt.Errorf("stage %q: want one of %q", stage, gitmodels.Stages)
	}
	return nil
}

// BeginStage implements gitmodels.Ledger. When a stage begins again its output
// stays until EndStage writes another.
func (l *Ledger) BeginStage(ctx context.Context, c *gitmodels.Claim, stage gitmodels.StageName, state gitmodels.State, logPath string) error {
	return l.step(ctx, "beginning a stage", c, func(tx *txn, cancelling bool) error {
		if err := knownStage(stage); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `
			INSERT INTO stages (run_id, attempt, name, state, tries, error, log_path, started_at, finished_at, output)
			VALUES ($1, $2, $3, $4, 1, '', $5, $6, 0, NULL)
			ON CONFLICT (run_id, attempt, name) DO UPDATE SET state = excluded.state, tries = stages.tries + 1, error = '',
				log_path = excluded.log_path, started_at = excluded.started_at, finished_at = 0`,
			c.Run.ID, c.Attempt.N, stage, gitmodels.StageRunning, logPath, l.now())
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE runs SET started_at = $1 WHERE id = $2 AND started_at = 0", l.now(), c.Run.ID); err != nil {
			return err
		}
		return enter(ctx, tx, c, state, "", cancelling)
	})
}

// SetState implements gitmodels.Ledger. A run whose cancel is asked stays
// cancelling, whatever the state.
func (l *Ledger) SetState(ctx context.Context, c *gitmodels.Claim, state gitmodels.State, waiting string) error {
	return l.step(ctx, "setting the state", c, func(tx *txn, cancelling bool) error {
		return enter(ctx, tx, c, state, waiting, cancelling)
	})
}

// EndStage implements gitmodels.Ledger. Only a skipped stage may end without
// having begun.
func (l *Ledger) EndStage(ctx context.Context, c *gitmodels.Claim, stage gitmodels.StageName, state gitmodels.StageState, output []byte, cause string) error {
	return l.step(ctx, "ending a stage", c, func(tx *txn, _ bool) error {
		if err := knownStage(stage); err != nil {
			return err
		}
		if state != gitmodels.StageDone && state != gitmodels.StageSkipped && state != gitmodels.StageFailed {
			return fmt.Errorf("stage %s cannot end as %q", stage, state)
		}
		if output != nil && !json.Valid(output) {
			return fmt.Errorf("output of stage %s is not JSON: %s", stage, gitmodels.Printable(string(output), 80))
		}
		if state == gitmodels.StageSkipped {
			_, err := tx.ExecContext(ctx, `
				INSERT INTO stages (run_id, attempt, name, state, tries, error, log_path, started_at, finished_at, output)
				VALUES ($1, $2, $3, $4, 0, '', '', 0, 0, NULL)
				ON CONFLICT (run_id, attempt, name) DO NOTHING`, c.Run.ID, c.Attempt.N, stage, state)
			if err != nil {
				return err
			}
		}
		ok, err := changed(tx.ExecContext(ctx, `
			UPDATE stages SET state = $1, output = $2, error = $3, finished_at = $4
			WHERE run_id = $5 AND attempt = $6 AND name = $7`,
			state, sql.NullString{String: string(output), Valid: output != nil}, cause, l.now(), c.Run.ID, c.Attempt.N, stage))
		if err == nil && !ok {
			err = fmt.Errorf("stage %s of run %s has not begun", stage, c.Run.Short)
		}
		return err
	})
}

// Intend implements gitmodels.Ledger.
func (l *Ledger) Intend(ctx context.Context, c *gitmodels.Claim, stage gitmodels.StageName, jobName, engine string) (sub gitmodels.Submission, err error) {
	err = l.step(ctx, "intending a submission", c, func(tx *txn, _ bool) error {
		if err := knownStage(stage); err != nil {
			return err
		}
		if jobName == "" || engine == "" {
			return fmt.Errorf("submission of stage %s: job %q and engine %q: both are needed", stage, jobName, engine)
		}
		_, err := tx.ExecContext(ctx, `
			INSERT INTO submissions (run_id, attempt, stage, name, engine, engine_id, intended_at, confirmed_at)
			VALUES ($1, $2, $3, $4, $5, '', $6, 0) ON CONFLICT (run_id, attempt, stage) DO NOTHING`,
			c.Run.ID, c.Attempt.N, stage, jobName, engine, l.now())
		if err != nil {
			return err
		}
		if sub, _, err = submission(ctx, tx, c, stage); err != nil || stage != gitmodels.StageTrain {
			return err
		}
		if _, err = tx.ExecContext(ctx, "UPDATE runs SET engine = $1 WHERE id = $2", sub.Engine, c.Run.ID); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE attempts SET engine = $1 WHERE run_id = $2 AND n = $3", sub.Engine, c.Run.ID, c.Attempt.N)
		return err
	})
	return sub, err
}

// submission reads the submission of a stage of c's attempt.
func submission(ctx context.Context, tx *txn, c *gitmodels.Claim, stage gitmodels.StageName) (gitmodels.Submission, bool, error) {
	return scanMaybe(tx.QueryRowContext(ctx, `
		SELECT name, engine, engine_id, confirmed_at FROM submissions WHERE run_id = $1 AND attempt = $2 AND stage = $3`,
		c.Run.ID, c.Attempt.N, stage), func(s scanner) (sub gitmodels.Submission, err error) {
		var confirmed int64
		err = s.Scan(&sub.Name, &sub.Engine, &sub.ID, &confirmed)
		sub.Confirmed = confirmed != 0
		return sub, err
	})
}

// Confirm implements gitmodels.Ledger. The same id again is no error; another
// one is, because then two jobs run.
func (l *Ledger) Confirm(ctx context.Context, c *gitmodels.Claim, stage gitmodels.StageName, engineID string) error {
	return l.step(ctx, "confirming a submission", c, func(tx *txn, _ bool) error {
		sub, ok, err := submission(ctx, tx, c, stage)
		switch {
		case err != nil:
			return err
		case !ok:
			return fmt.Errorf("stage %s of run %s is confirmed but was not intended", stage, c.Run.Short)
		case engineID == "":
			return fmt.Errorf("stage %s of run %s is confirmed without the engine's id", stage, c.Run.Short)
		case sub.Confirmed && sub.ID != engineID:
			return fmt.Errorf("stage %s of run %s is confirmed as job %q already, not %q", stage, c.Run.Short, sub.ID, engineID)
		case sub.Confirmed:
			return nil
		}
		_, err = tx.ExecContext(ctx, `
			UPDATE submissions SET engine_id = $1, confirmed_at = $2 WHERE run_id = $3 AND attempt = $4 AND stage = $5`,
			engineID, l.now(), c.Run.ID, c.Attempt.N, stage)
		if err != nil || stage != gitmodels.StageTrain {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE attempts SET job = $1 WHERE run_id = $2 AND n = $3", engineID, c.Run.ID, c.Attempt.N)
		return err
	})
}

// Release implements gitmodels.Ledger. If a cancel was asked that the worker
// has not seen in c.Run, the run is ready again at once.
func (l *Ledger) Release(ctx context.Context, c *gitmodels.Claim, waiting string, until time.Time) error {
	return l.write(ctx, "releasing a run", func(tx *txn) error {
		cancelling, err := hold(ctx, tx, c)
		if err != nil {
			return err
		}
		if cancelling && !c.Run.CancelRequested {
			until = time.Time{}
		}
		if err := enter(ctx, tx, c, gitmodels.Queued, waiting, cancelling); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE runs SET not_before = $1, lease_owner = '', lease_until = 0 WHERE id = $2", millis(until), c.Run.ID)
		return err
	})
}

// Retry implements gitmodels.Ledger. The run keeps its place in the queue.
func (l *Ledger) Retry(ctx context.Context, c *gitmodels.Claim, endCause, cause string) error {
	return l.write(ctx, "retrying a run", func(tx *txn) error {
		if _, err := hold(ctx, tx, c); err != nil {
			return err
		}
		if endCause == "" || cause == "" {
			return fmt.Errorf("retry of run %s: cause %q and next cause %q: both are needed", c.Run.Short, endCause, cause)
		}
		if err := l.endAttempt(ctx, tx, c, gitmodels.Failed, endCause); err != nil {
			return err
		}
		return l.queueAttempt(ctx, tx, gitmodels.Attempt{RunID: c.Run.ID, N: c.Attempt.N + 1, Name: c.Attempt.Name,
			Cause: cause, Actor: runnerActor, Resumes: true})
	})
}

// endAttempt writes the end of c's attempt, and of the stages that it broke off.
func (l *Ledger) endAttempt(ctx context.Context, tx *txn, c *gitmodels.Claim, state gitmodels.State, cause string) error {
	_, err := tx.ExecContext(ctx, "UPDATE attempts SET state = $1, end_cause = $2, finished_at = $3 WHERE run_id = $4 AND n = $5",
		state, cause, l.now(), c.Run.ID, c.Attempt.N)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		UPDATE stages SET state = $1, error = $2, finished_at = $3 WHERE run_id = $4 AND attempt = $5 AND state = $6`,
		gitmodels.StageFailed, cause, l.now(), c.Run.ID, c.Attempt.N, gitmodels.StageRunning)
	return err
}

// queueAttempt adds the run's next attempt and makes the run ready for it. A
// cancel that was asked of a live run stays asked.
func (l *Ledger) queueAttempt(ctx context.Context, tx *txn, a gitmodels.Attempt) error {
	err := tx.QueryRowContext(ctx, `
		UPDATE runs SET attempt = $1, state = CASE WHEN cancel_requested = 1 THEN $2 ELSE $3 END, waiting = '', cause = '',
			started_at = 0, finished_at = 0, not_before = 0, lease_owner = '', lease_until = 0
		WHERE id = $4 RETURNING state`, a.N, gitmodels.Cancelling, gitmodels.Queued, a.RunID).Scan(&a.State)
	if err != nil {
		return err
	}
	return l.addAttempt(ctx, tx, a)
}

// Finish implements gitmodels.Ledger. From then on the stage publish is the
// outbox's.
func (l *Ledger) Finish(ctx context.Context, c *gitmodels.Claim, o gitmodels.Outcome) error {
	return l.write(ctx, "finishing a run", func(tx *txn) error {
		if _, err := hold(ctx, tx, c); err != nil {
			return err
		}
		if !o.State.Terminal() || o.Cause == "" {
			return fmt.Errorf("outcome of run %s: state %q and cause %q: want a terminal state and its cause", c.Run.Short, o.State, o.Cause)
		}
		if o.Commit != c.Run.Commit || o.Attempt != c.Attempt.N {
			return fmt.Errorf("outcome of run %s is of attempt %d of commit %s, not of attempt %d of %s",
				c.Run.Short, o.Attempt, o.Commit, c.Attempt.N, c.Run.Commit)
		}
		if err := l.endAttempt(ctx, tx, c, o.State, o.Cause); err != nil {
			return err
		}
		if err := storeOutcome(ctx, tx, c, o); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `
			UPDATE runs SET state = $1, cause = $2, waiting = '', finished_at = $3, not_before = 0, lease_owner = '', lease_until = 0
			WHERE id = $4`, o.State, o.Cause, l.now(), c.Run.ID)
		if err != nil {
			return err
		}
		if err := l.fillOutbox(ctx, tx, c); err != nil {
			return err
		}
		return l.addEvent(ctx, tx, c.Repository.ID, c.Run.ID, string(o.State), o.Cause)
	})
}

// storeOutcome keeps o with its attempt.
func storeOutcome(ctx context.Context, tx *txn, c *gitmodels.Claim, o gitmodels.Outcome) error {
	whole, err := encode("outcome", o)
	if err != nil {
		return err
	}
	finals := make(map[string]gitmodels.Number, len(o.Values))
	for _, m := range o.Values {
		finals[m.Name] = m.Final
	}
	values, err := encode("final values", finals)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		UPDATE attempts SET artifacts = $1, metrics = $2, finals = $3, outcome = $4 WHERE run_id = $5 AND n = $6`,
		o.Artifacts, o.Metrics, values, whole, c.Run.ID, c.Attempt.N)
	return err
}
