package ledger

import (
	"context"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// LiveRuns implements gitmodels.Ledger.
func (l *Ledger) LiveRuns(ctx context.Context) (ids []string, err error) {
	err = l.read(ctx, "listing live runs", func(tx *txn) error {
		rows, err := tx.QueryContext(ctx, "SELECT id FROM runs WHERE finished_at = 0")
		if err != nil {
			return err
		}
		ids, err = scanAll(rows, scanOne[string])
		return err
	})
	return ids, err
}

// The digest stands in what the build stage kept. There is no index on it: this is
// asked by the hour, for a few images that nobody has used for long.
const imageUsesQuery = `
	SELECT r.repository_id, r.state, r.finished_at FROM stages s JOIN runs r ON r.id = s.run_id
	WHERE s.name = $1 AND s.output LIKE $2`

// ImageUses implements gitmodels.Ledger.
func (l *Ledger) ImageUses(ctx context.Context, digest string) (uses []gitmodels.ImageUse, err error) {
	if err := gitmodels.CheckDigest(digest); err != nil { // it stands in a pattern
		return nil, err
	}
	err = l.read(ctx, "looking for the runs of an image", func(tx *txn) error {
		rows, err := tx.QueryContext(ctx, imageUsesQuery, gitmodels.StageBuild, `%"digest":"`+digest+`"%`)
		if err != nil {
			return err
		}
		uses, err = scanAll(rows, func(row scanner) (u gitmodels.ImageUse, err error) {
			var finished int64
			err = row.Scan(&u.RepositoryID, &u.State, &finished)
			if finished > 0 {
				u.Finished = fromMillis(finished)
			}
			return u, err
		})
		return err
	})
	return uses, err
}
