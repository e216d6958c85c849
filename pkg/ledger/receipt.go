package ledger

import (
	"context"
	"slices"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// usualRuns is how many runs say how long one usually takes.
const usualRuns = 20

// Receipt implements gitmodels.Ledger, in one look at the ledger. A commit that
// has no live run is counted as if it was queued now, with no priority.
func (l *Ledger) Receipt(ctx context.Context, repositoryID string, u gitmodels.Update) (gitmodels.Receipt, error) {
	r := gitmodels.Receipt{Ref: u.Ref, Commit: u.New}
	err := l.read(ctx, "making a receipt", func(tx *txn) (err error) {
		if r.Base, _, err = baseOf(ctx, tx, repositoryID, u.Ref); err != nil {
			return err
		}
		own, ok, err := rowOf(ctx, tx, repositoryID, u.New)
		if err != nil {
			return err
		}
		if ok && own.Run != nil {
			own.Name = own.name
			r.Own = &own.Listing
		}
		if r.Last, err = lastOf(ctx, tx, repositoryID, u); err != nil {
			return err
		}
		if r.Ahead, err = l.aheadOf(ctx, tx, repositoryID, own.RunID); err != nil {
			return err
		}
		r.Usual, err = usualOf(ctx, tx, repositoryID, u.Ref)
		return err
	})
	return r, err
}

const lastQuery = `
	SELECT new_id FROM pushes WHERE run_id IS NOT NULL AND repository_id = $1 AND ref = $2 AND new_id <> $3 AND source <> $4
	ORDER BY seq DESC LIMIT 1`

// lastOf is the run that was pushed to the ref last, but for u's own, with its
// overrides; nil when there is none.
func lastOf(ctx context.Context, tx *txn, repositoryID string, u gitmodels.Update) (*gitmodels.Listing, error) {
	commit, ok, err := scanMaybe(tx.QueryRowContext(ctx, lastQuery, repositoryID, u.Ref, u.New, gitmodels.SourceManual), scanOne[gitmodels.CommitID])
	if !ok || err != nil {
		return nil, err
	}
	last, _, err := rowOf(ctx, tx, repositoryID, commit)
	if err != nil {
		return nil, err
	}
	err = addTold(ctx, tx, &last)
	return &last.Listing, err
}

const (
	usualOfRef = `
		SELECT finished_at - started_at FROM runs WHERE state = 'succeeded' AND started_at > 0 AND repository_id = $1 AND ref = $2
		ORDER BY finished_at DESC LIMIT $3`
	usualOfAll = `
		SELECT finished_at - started_at FROM runs WHERE state = 'succeeded' AND started_at > 0 AND repository_id = $1
		ORDER BY finished_at DESC LIMIT $2`
)

// usualOf is the median duration of the newest runs of the ref that succeeded,
// or, where it has none, of the repository.
func usualOf(ctx context.Context, tx *txn, repositoryID string, ref gitmodels.RefName) (time.Duration, error) {
	took, err := durations(ctx, tx, usualOfRef, repositoryID, ref, usualRuns)
	if len(took) == 0 && err == nil {
		took, err = durations(ctx, tx, usualOfAll, repositoryID, usualRuns)
	}
	if len(took) == 0 || err != nil {
		return 0, err
	}
	slices.Sort(took)
	n := len(took)
	return time.Duration((took[(n-1)/2]+took[n/2])/2) * time.Millisecond, nil
}

func durations(ctx context.Context, tx *txn, query string, args ...any) ([]int64, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return scanAll(rows, scanOne[int64])
}
