package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// nextOutboxQuery finds the oldest item of a kind that is due. The outcomes of one run go to
// each of their places in order, so that the note ends with the last: an item
// waits for the run's earlier ones of its kind, and for none of another.
const nextOutboxQuery = `
	SELECT o.id, o.kind, o.run_id, o.attempt, o.tries, a.outcome, r.repository_id
	FROM outbox o JOIN attempts a ON a.run_id = o.run_id AND a.n = o.attempt JOIN runs r ON r.id = o.run_id
	WHERE o.kind = $1 AND o.not_before <= $2
		AND NOT EXISTS (SELECT 1 FROM outbox e WHERE e.run_id = o.run_id AND e.attempt < o.attempt AND e.kind = o.kind)
	ORDER BY o.not_before, o.id LIMIT 1`

// fillOutbox puts the outcome of c's attempt on its way into git and begins the
// stage publish.
func (l *Ledger) fillOutbox(ctx context.Context, tx *txn, c *gitmodels.Claim) error {
	if err := l.putOutbox(ctx, tx, itemKey{c.Run.ID, c.Attempt.N, gitmodels.OutboxGit}); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO stages (run_id, attempt, name, state, tries, error, log_path, started_at, finished_at, output)
		VALUES ($1, $2, $3, $4, 0, '', '', $5, 0, NULL)
		ON CONFLICT (run_id, attempt, name) DO UPDATE SET state = excluded.state, error = '', finished_at = 0`,
		c.Run.ID, c.Attempt.N, gitmodels.StagePublish, gitmodels.StageRunning, l.now())
	return err
}

// putOutbox adds an item that is due at once, unless it is there.
func (l *Ledger) putOutbox(ctx context.Context, tx *txn, k itemKey) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO outbox (id, run_id, attempt, kind, tries, cause, not_before, created_at) VALUES ($1, $2, $3, $4, 0, '', 0, $5)
		ON CONFLICT (run_id, attempt, kind) DO NOTHING`, l.newID(), k.runID, k.attempt, k.kind, l.now())
	return err
}

// NextOutbox implements gitmodels.Ledger. It does not take the item away. Kinds
// are looked through in their order, git first.
func (l *Ledger) NextOutbox(ctx context.Context, kinds ...gitmodels.OutboxKind) (*gitmodels.OutboxItem, error) {
	if len(kinds) == 0 {
		kinds = []gitmodels.OutboxKind{gitmodels.OutboxGit, gitmodels.OutboxNotify}
	}
	var found *gitmodels.OutboxItem
	err := l.read(ctx, "looking into the outbox", func(tx *txn) (err error) {
		for _, kind := range kinds {
			if found, err = l.nextOutbox(ctx, tx, kind); found != nil || err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// nextOutbox is the oldest item of a kind that is due, or nil.
func (l *Ledger) nextOutbox(ctx context.Context, tx *txn, kind gitmodels.OutboxKind) (*gitmodels.OutboxItem, error) {
	var repositoryID string
	item, ok, err := scanMaybe(tx.QueryRowContext(ctx, nextOutboxQuery, kind, l.now()), func(s scanner) (o gitmodels.OutboxItem, err error) {
		var outcome string
		if err := s.Scan(&o.ID, &o.Kind, &o.RunID, &o.Attempt, &o.Tries, &outcome, &repositoryID); err != nil {
			return o, err
		}
		err = decode("outcome", outcome, &o.Outcome)
		return o, err
	})
	if !ok || err != nil {
		return nil, err
	}
	item.Repository, _, err = repositoryByID(ctx, tx, repositoryID)
	return &item, err
}

// DoneOutbox implements gitmodels.Ledger. The stage publish ends with the item of
// kind git. An item that is gone already is no error, and nothing comes next then.
func (l *Ledger) DoneOutbox(ctx context.Context, id string, next gitmodels.OutboxKind) error {
	return l.write(ctx, "taking from the outbox", func(tx *txn) error {
		item, ok, err := scanMaybe(tx.QueryRowContext(ctx, "DELETE FROM outbox WHERE id = $1 RETURNING run_id, attempt, kind", id), scanItemKey)
		if !ok || err != nil {
			return err
		}
		switch next {
		case "":
		case gitmodels.OutboxGit, gitmodels.OutboxNotify:
			if next == item.kind {
				return fmt.Errorf("outcome of run %s goes to %s a second time", item.runID, next)
			}
			if err := l.putOutbox(ctx, tx, itemKey{item.runID, item.attempt, next}); err != nil {
				return err
			}
		default:
			return fmt.Errorf("an outcome cannot go to %q", next)
		}
		if item.kind != gitmodels.OutboxGit {
			return nil
		}
		_, err = tx.ExecContext(ctx, `
			UPDATE stages SET state = $1, tries = tries + 1, error = '', finished_at = $2
			WHERE run_id = $3 AND attempt = $4 AND name = $5`,
			gitmodels.StageDone, l.now(), item.runID, item.attempt, gitmodels.StagePublish)
		return err
	})
}

// RetryOutbox implements gitmodels.Ledger. An unknown id is an Error of Kind
// NotFound.
func (l *Ledger) RetryOutbox(ctx context.Context, id, cause string, at time.Time) error {
	return l.write(ctx, "putting back into the outbox", func(tx *txn) error {
		item, ok, err := scanMaybe(tx.QueryRowContext(ctx, `
			UPDATE outbox SET tries = tries + 1, cause = $1, not_before = $2 WHERE id = $3 RETURNING run_id, attempt, kind`,
			cause, millis(at), id), scanItemKey)
		if err != nil {
			return err
		}
		if !ok {
			return notFound("the outbox holds no item %s", gitmodels.Printable(id, 80))
		}
		if item.kind != gitmodels.OutboxGit {
			return nil
		}
		_, err = tx.ExecContext(ctx, "UPDATE stages SET tries = tries + 1, error = $1 WHERE run_id = $2 AND attempt = $3 AND name = $4",
			cause, item.runID, item.attempt, gitmodels.StagePublish)
		return err
	})
}

// itemKey tells an item by what it delivers.
type itemKey struct {
	runID   string
	attempt int
	kind    gitmodels.OutboxKind
}

func scanItemKey(s scanner) (k itemKey, err error) {
	err = s.Scan(&k.runID, &k.attempt, &k.kind)
	return k, err
}

// PendingOutbox implements gitmodels.Ledger.
func (l *Ledger) PendingOutbox(ctx context.Context) (int, error) {
	return l.count(ctx, "counting the outbox", "SELECT count(*) FROM outbox")
}

// Live implements gitmodels.Ledger.
func (l *Ledger) Live(ctx context.Context) (int, error) {
	return l.count(ctx, "counting live runs", liveQuery)
}

const liveQuery = "SELECT count(*) FROM runs WHERE finished_at = 0"

func (l *Ledger) count(ctx context.Context, op, query string) (n int, err error) {
	err = l.read(ctx, op, func(tx *txn) error { return tx.QueryRowContext(ctx, query).Scan(&n) })
	return n, err
}

// Event implements gitmodels.Ledger. An empty repositoryID means the host.
func (l *Ledger) Event(ctx context.Context, repositoryID, kind, text string) error {
	return l.write(ctx, "adding to the history", func(tx *txn) error {
		return l.addEvent(ctx, tx, repositoryID, "", kind, text)
	})
}

// Event is an entry of the history.
type Event struct {
	RunID string // empty: of the repository
	Kind  string
	Text  string
	At    time.Time
}

// Events lists the newest entries of a repository, the last first; an empty
// repositoryID means those of the host. limit 0 means no limit.
func (l *Ledger) Events(ctx context.Context, repositoryID string, limit int) (events []Event, err error) {
	query := "SELECT COALESCE(run_id, ''), kind, text, at FROM events WHERE repository_id = $1 ORDER BY id DESC"
	args := []any{repositoryID}
	if repositoryID == "" {
		query, args = "SELECT COALESCE(run_id, ''), kind, text, at FROM events WHERE repository_id IS NULL ORDER BY id DESC", nil
	}
	if limit > 0 {
		args = append(args, limit)
		query += limitClause(len(args))
	}
	err = l.read(ctx, "reading the history", func(tx *txn) error {
		rows, err := tx.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		events, err = scanAll(rows, func(s scanner) (e Event, err error) {
			var at int64
			err = s.Scan(&e.RunID, &e.Kind, &e.Text, &at)
			e.At = fromMillis(at)
			return e, err
		})
		return err
	})
	return events, err
}
