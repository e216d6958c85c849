package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Claim implements gitmodels.Ledger. A run whose lease has run out is taken from
// its owner for good: the owner's next write fails, so that places are counted
// exactly.
//
// admit is called within the claim's transactions, more than once for the same
// candidate: it must be quick, answer alike, and not touch the ledger, which
// would wait for it for ever. It sees at most the first thousand ready runs of
// each repository.
func (l *Ledger) Claim(ctx context.Context, owner string, lease time.Duration, maxRuns int,
	admit func(gitmodels.Candidate, []gitmodels.Candidate) bool) (*gitmodels.Claim, error) {
	if owner == "" || lease <= 0 {
		return nil, fmt.Errorf("claiming a run: owner %q and lease %s: both are needed", owner, lease)
	}
	look := queue{now: l.now(), maxRuns: maxRuns, admit: admit}
	// Most polls find nothing to do; they must not wait for the disk.
	found := false
	err := l.read(ctx, "looking for a run", func(tx *txn) (err error) {
		_, found, err = look.next(ctx, tx)
		return err
	})
	if !found || err != nil {
		return nil, err
	}
	var claim *gitmodels.Claim
	err = l.write(ctx, "claiming a run", func(tx *txn) error {
		claim, err = l.claim(ctx, tx, owner, lease, look)
		return err
	})
	if err != nil {
		return nil, err
	}
	return claim, nil
}

// claim looks again under the lock of all claims and leases what it finds.
func (l *Ledger) claim(ctx context.Context, tx *txn, owner string, lease time.Duration, look queue) (*gitmodels.Claim, error) {
	turn, err := next(ctx, tx, "claims")
	if err != nil {
		return nil, err
	}
	look.now = l.now()
	p, found, err := look.next(ctx, tx)
	if !found || err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, freeQuery, look.now); err != nil {
		return nil, err
	}
	var epoch int64
	err = tx.QueryRowContext(ctx, `
		UPDATE runs SET lease_owner = $1, lease_until = $2, epoch = epoch + 1 WHERE id = $3 RETURNING epoch`,
		owner, look.now+lease.Milliseconds(), p.RunID).Scan(&epoch)
	if err != nil {
		return nil, err
	}
	if p.takesPlace {
		if _, err := tx.ExecContext(ctx, "UPDATE repositories SET turn = $1 WHERE id = $2", turn, p.RepositoryID); err != nil {
			return nil, err
		}
	}
	c, err := loadClaim(ctx, tx, p.RunID)
	if err != nil {
		return nil, err
	}
	c.Owner, c.Epoch = owner, epoch
	return c, nil
}

// Wait implements gitmodels.Ledger. A runner says the same at every poll: what is
// said already is not written again.
func (l *Ledger) Wait(ctx context.Context, runID, waiting string) error {
	var news bool
	err := l.read(ctx, "looking what a run waits for", func(tx *txn) error {
		run, ok, err := runByID(ctx, tx, runID)
		news = ok && run.State == gitmodels.Queued && run.Waiting != waiting
		return err
	})
	if !news || err != nil {
		return err
	}
	return l.write(ctx, "setting what a run waits for", func(tx *txn) error {
		_, err := tx.ExecContext(ctx, "UPDATE runs SET waiting = $1 WHERE id = $2 AND state = $3", waiting, runID, gitmodels.Queued)
		return err
	})
}

// loadClaim reads a run with what a worker needs of it.
func loadClaim(ctx context.Context, tx *txn, runID string) (*gitmodels.Claim, error) {
	run, ok, err := runByID(ctx, tx, runID)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("run %s has no row", runID)
	}
	c := &gitmodels.Claim{Run: run}
	if c.Repository, ok, err = repositoryByID(ctx, tx, run.RepositoryID); err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("repository %s of run %s has no row", run.RepositoryID, runID)
	}
	c.Attempt, err = scanAttempt(tx.QueryRowContext(ctx,
		"SELECT "+attemptColumns+" FROM attempts WHERE run_id = $1 AND n = $2", runID, run.Attempt))
	if err != nil {
		return nil, fmt.Errorf("attempt %d of run %s: %w", run.Attempt, runID, err)
	}
	c.Stages, err = stagesOf(ctx, tx, runID, run.Attempt)
	return c, err
}

// Rescue implements gitmodels.Ledger. alive is called outside of any
// transaction; an owner is one process, and never comes back after its end.
func (l *Ledger) Rescue(ctx context.Context, alive func(owner string) bool) (freed int, err error) {
	var owners []string
	err = l.read(ctx, "listing the leases", func(tx *txn) error {
		rows, err := tx.QueryContext(ctx, "SELECT DISTINCT lease_owner FROM runs WHERE lease_owner <> ''")
		if err != nil {
			return err
		}
		owners, err = scanAll(rows, scanOne[string])
		return err
	})
	if err != nil {
		return 0, err
	}
	var dead []string
	for _, o := range owners {
		if !alive(o) {
			dead = append(dead, o)
		}
	}
	if len(dead) == 0 {
		return 0, nil
	}
	err = l.write(ctx, "freeing leases", func(tx *txn) error {
		freed = 0
		for _, o := range dead {
			res, err := tx.ExecContext(ctx,
				"UPDATE runs SET lease_owner = '', lease_until = 0 WHERE lease_owner <> '' AND lease_owner = $1", o)
			if err != nil {
				return err
			}
			n, err := res.RowsAffected()
			if err != nil {
				return err
			}
			freed += int(n)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return freed, nil
}

// Heartbeat implements gitmodels.Ledger. It leaves c alone, so that it may run
// beside the stage.
func (l *Ledger) Heartbeat(ctx context.Context, c *gitmodels.Claim, lease time.Duration) (cancelBy string, cancel bool, err error) {
	err = l.write(ctx, "extending a lease", func(tx *txn) error {
		var asked int64
		err := tx.QueryRowContext(ctx, `
			UPDATE runs SET lease_until = $1
			WHERE id = $2 AND lease_owner = $3 AND epoch = $4 AND finished_at = 0
			RETURNING cancel_requested, cancel_by`,
			l.now()+lease.Milliseconds(), c.Run.ID, c.Owner, c.Epoch).Scan(&asked, &cancelBy)
		if errors.Is(err, sql.ErrNoRows) {
			return gitmodels.ErrLeaseLost
		}
		cancel = asked != 0
		return err
	})
	return cancelBy, cancel, err
}
