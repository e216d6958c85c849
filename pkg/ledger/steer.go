package ledger

import (
	"context"
	"fmt"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Cancel implements gitmodels.Ledger. A second request changes nothing.
func (l *Ledger) Cancel(ctx context.Context, runID, by string) (run gitmodels.Run, err error) {
	err = l.write(ctx, "cancelling a run", func(tx *txn) error {
		var ok bool
		if run, ok, err = runByID(ctx, tx, runID); err != nil {
			return err
		}
		switch {
		case !ok:
			return notFound("there is no run %s", gitmodels.Printable(runID, 80))
		case run.State.Terminal():
			return invalid("run %s has ended: it %s", run.Short, ended(run.State))
		case run.CancelRequested:
			return nil
		}
		_, err := tx.ExecContext(ctx, `
			UPDATE runs SET cancel_requested = 1, cancel_by = $1, state = $2, waiting = '', not_before = 0 WHERE id = $3`,
			by, gitmodels.Cancelling, runID)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE attempts SET state = $1 WHERE run_id = $2 AND n = $3", gitmodels.Cancelling, runID, run.Attempt)
		if err != nil {
			return err
		}
		if err := l.addEvent(ctx, tx, run.RepositoryID, runID, "cancel", "asked by "+by); err != nil {
			return err
		}
		run, _, err = runByID(ctx, tx, runID)
		return err
	})
	if err != nil {
		return gitmodels.Run{}, err
	}
	return run, nil
}

// ended is a terminal state as a verb.
func ended(s gitmodels.State) string {
	if s == gitmodels.Cancelled {
		return "was cancelled"
	}
	return string(s)
}

// Rerun implements gitmodels.Ledger. It goes to the end of the queue, and into
// the records of the commit as one of source manual.
func (l *Ledger) Rerun(ctx context.Context, repositoryID string, commit gitmodels.CommitID, by string, abbrev int) (run gitmodels.Run, err error) {
	err = l.write(ctx, "rerunning a commit", func(tx *txn) error {
		if err := mustServe(ctx, tx, repositoryID); err != nil {
			return err
		}
		newest, ok, err := newestRecord(ctx, tx, repositoryID, commit)
		if err != nil {
			return err
		}
		if !ok {
			return notFound("commit %s was never pushed to a governed ref", gitmodels.Printable(string(commit), 80))
		}
		var exists bool
		if run, exists, err = runOfCommit(ctx, tx, repositoryID, commit); err != nil {
			return err
		}
		switch {
		case exists && !run.State.Terminal():
			return invalid("run %s is %s: wait for its end, or cancel it first", run.Short, run.State)
		case exists:
			err = l.nextAttempt(ctx, tx, run, "rerun", by)
		default:
			run, err = l.createRun(ctx, tx, gitmodels.NewPush{Abbrev: abbrev, PushRecord: gitmodels.PushRecord{RepositoryID: repositoryID,
				Update: gitmodels.Update{New: commit, Ref: newest.Ref}, Pusher: gitmodels.Pusher{Name: by}}}, "rerun")
		}
		if err != nil {
			return err
		}
		manual := record{PushRecord: gitmodels.PushRecord{
			ID: l.newID(), RepositoryID: repositoryID, Update: gitmodels.Update{Old: commit, New: commit, Ref: newest.Ref},
			Pusher: gitmodels.Pusher{Name: by}, Source: gitmodels.SourceManual, Decision: gitmodels.DecisionRun,
			Reason: "rerun asked by " + by, RunID: run.ID, At: l.clock()}}
		if _, err := l.putRecord(ctx, tx, manual, len(run.Short)); err != nil {
			return err
		}
		if err := l.addEvent(ctx, tx, repositoryID, run.ID, "rerun", "asked by "+by); err != nil {
			return err
		}
		run, _, err = runByID(ctx, tx, run.ID)
		return err
	})
	if err != nil {
		return gitmodels.Run{}, err
	}
	return run, nil
}

// again makes another attempt of a run that has ended, for a push that asks for it.
func (l *Ledger) again(ctx context.Context, tx *txn, run gitmodels.Run, p gitmodels.NewPush) error {
	_, err := tx.ExecContext(ctx, "UPDATE runs SET priority = $1, engine = CASE WHEN $2 = '' THEN engine ELSE $2 END WHERE id = $3",
		p.Priority, p.Engine, run.ID)
	if err != nil {
		return err
	}
	if err := l.nextAttempt(ctx, tx, run, "again", p.Pusher.Name); err != nil {
		return err
	}
	return l.addEvent(ctx, tx, run.RepositoryID, run.ID, "again", "asked by "+p.Pusher.Name)
}

// nextAttempt queues another attempt of a run that has ended, under a new name
// and at the end of the queue. It keeps the run's priority.
func (l *Ledger) nextAttempt(ctx context.Context, tx *txn, run gitmodels.Run, cause, by string) error {
	place, err := next(ctx, tx, "places")
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE runs SET cancel_requested = 0, cancel_by = '', place = $1 WHERE id = $2", place, run.ID); err != nil {
		return err
	}
	n := run.Attempt + 1
	return l.queueAttempt(ctx, tx, gitmodels.Attempt{RunID: run.ID, N: n, Name: gitmodels.AttemptName(run.Short, n),
		Cause: cause, Actor: by})
}

// newestRecord is the record of a commit that came last.
func newestRecord(ctx context.Context, tx *txn, repositoryID string, commit gitmodels.CommitID) (record, bool, error) {
	r, ok, err := scanMaybe(tx.QueryRowContext(ctx, recordsQuery+" DESC LIMIT 1", repositoryID, commit), scanRecord)
	if err != nil {
		return record{}, false, fmt.Errorf("newest record of %s: %w", commit, err)
	}
	return r, ok, nil
}
