package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// millis is a time as the database keeps it: milliseconds since 1970, 0 for
// the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// fromMillis is the inverse of millis, in UTC.
func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// bit is a truth as the database keeps it.
func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// scanner is a row, or the current one of several.
type scanner interface{ Scan(...any) error }

// scanAll reads every row and closes rows.
func scanAll[T any](rows *sql.Rows, one func(scanner) (T, error)) ([]T, error) {
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := one(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// scanOne reads a row of one column.
func scanOne[T any](s scanner) (v T, err error) {
	err = s.Scan(&v)
	return v, err
}

// scanMaybe reads one row that may be missing.
func scanMaybe[T any](row *sql.Row, one func(scanner) (T, error)) (v T, ok bool, err error) {
	v, err = one(row)
	if errors.Is(err, sql.ErrNoRows) {
		var none T
		return none, false, nil
	}
	return v, err == nil, err
}

// changed reports whether a statement touched a row.
func changed(res sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// next counts the named counter up. Doing so first also takes the lock of what
// it counts, on a database that locks rows. With a memo the transaction counts by
// itself from then on.
func next(ctx context.Context, tx *txn, counter string) (n int64, err error) {
	if tx.memo != nil {
		if n, ok := tx.counters[counter]; ok {
			tx.counters[counter] = n + 1
			return n + 1, nil
		}
		defer func() {
			if err == nil {
				tx.counters[counter] = n
			}
		}()
	}
	err = tx.QueryRowContext(ctx, "UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value", counter).Scan(&n)
	return n, err
}

const repositoryColumns = "id, name, path, registered_at"

func scanRepository(s scanner) (r gitmodels.Repository, err error) {
	var at int64
	err = s.Scan(&r.ID, &r.Name, &r.Path, &at)
	r.RegisteredAt = fromMillis(at)
	return r, err
}

func repositoryByID(ctx context.Context, tx *txn, id string) (gitmodels.Repository, bool, error) {
	return scanMaybe(tx.QueryRowContext(ctx, "SELECT "+repositoryColumns+" FROM repositories WHERE id = $1", id), scanRepository)
}

const runColumns = `id, repository_id, commit_id, short, ref, state, waiting, cause, attempt, priority,
	cancel_requested, cancel_by, created_at, started_at, finished_at`

func scanRun(s scanner) (r gitmodels.Run, err error) {
	var cancel, created, started, finished int64
	err = s.Scan(&r.ID, &r.RepositoryID, &r.Commit, &r.Short, &r.Ref, &r.State, &r.Waiting, &r.Cause, &r.Attempt, &r.Priority,
		&cancel, &r.CancelBy, &created, &started, &finished)
	r.CancelRequested = cancel != 0
	r.CreatedAt, r.StartedAt, r.FinishedAt = fromMillis(created), fromMillis(started), fromMillis(finished)
	return r, err
}

func runByID(ctx context.Context, tx *txn, id string) (gitmodels.Run, bool, error) {
	return scanMaybe(tx.QueryRowContext(ctx, "SELECT "+runColumns+" FROM runs WHERE id = $1", id), scanRun)
}

func runOfCommit(ctx context.Context, tx *txn, repositoryID string, commit gitmodels.CommitID) (gitmodels.Run, bool, error) {
	return scanMaybe(tx.QueryRowContext(ctx,
		"SELECT "+runColumns+" FROM runs WHERE repository_id = $1 AND commit_id = $2", repositoryID, commit), scanRun)
}

const attemptColumns = "run_id, n, name, cause, actor, resumes, state, end_cause, engine, job, created_at, finished_at"

func scanAttempt(s scanner) (a gitmodels.Attempt, err error) {
	var resumes, created, finished int64
	err = s.Scan(&a.RunID, &a.N, &a.Name, &a.Cause, &a.Actor, &resumes, &a.State, &a.EndCause, &a.Engine, &a.Job,
		&created, &finished)
	a.Resumes = resumes != 0
	a.CreatedAt, a.FinishedAt = fromMillis(created), fromMillis(finished)
	return a, err
}

func attemptsOf(ctx context.Context, tx *txn, runID string) ([]gitmodels.Attempt, error) {
	rows, err := tx.QueryContext(ctx, "SELECT "+attemptColumns+" FROM attempts WHERE run_id = $1 ORDER BY n", runID)
	if err != nil {
		return nil, err
	}
	return scanAll(rows, scanAttempt)
}

func scanStage(s scanner) (st gitmodels.Stage, err error) {
	var started, finished int64
	var output sql.NullString
	err = s.Scan(&st.Name, &st.State, &st.Tries, &st.Error, &st.LogPath, &started, &finished, &output)
	if output.Valid {
		st.Output = []byte(output.String)
	}
	st.StartedAt, st.FinishedAt = fromMillis(started), fromMillis(finished)
	return st, err
}

// stagesOf lists the stages of an attempt that have begun, in the order of
// gitmodels.Stages.
func stagesOf(ctx context.Context, tx *txn, runID string, attempt int) ([]gitmodels.Stage, error) {
	rows, err := tx.QueryContext(ctx, `
		SELECT name, state, tries, error, log_path, started_at, finished_at, output
		FROM stages WHERE run_id = $1 AND attempt = $2`, runID, attempt)
	if err != nil {
		return nil, err
	}
	found, err := scanAll(rows, scanStage)
	if err != nil {
		return nil, err
	}
	var ordered []gitmodels.Stage
	for _, name := range gitmodels.Stages {
		for _, s := range found {
			if s.Name == name {
				ordered = append(ordered, s)
			}
		}
	}
	return ordered, nil
}

// addEvent appends to the history.
func (l *Ledger) addEvent(ctx context.Context, tx *txn, repositoryID, runID, kind, text string) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO events (id, repository_id, run_id, kind, text, at) VALUES ($1, $2, $3, $4, $5, $6)",
		l.newID(), orNull(repositoryID), orNull(runID), kind, text, l.now())
	return err
}

func orNull(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

// encode is v as JSON text.
func encode(what string, v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("%s as JSON: %w", what, err)
	}
	return string(b), nil
}

// decode reads JSON text that encode wrote.
func decode(what, text string, v any) error {
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("%s from JSON: %w", what, err)
	}
	return nil
}
