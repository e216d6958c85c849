package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// minPrefix is how many digits of a commit id name it: git's own minimum.
const minPrefix = 4

// Find implements gitmodels.Ledger. A whole short name wins over the other
// commits that begin with it; a prefix has at least four digits.
func (l *Ledger) Find(ctx context.Context, repositoryID, prefix string) (commit gitmodels.CommitID, err error) {
	shown := gitmodels.Printable(prefix, 80)
	digits := strings.ToLower(prefix)
	err = l.read(ctx, "finding a commit", func(tx *sql.Tx) error {
		named, ok, err := scanMaybe(tx.QueryRowContext(ctx,
			"SELECT commit_id FROM runs WHERE repository_id = $1 AND short = $2", repositoryID, digits), scanOne[gitmodels.CommitID])
		if err != nil {
			return err
		}
		if ok {
			commit = named
			return nil
		}
		if len(digits) < minPrefix || strings.Trim(digits, "0123456789abcdef") != "" {
			return invalid("%s is no commit: want at least %d hexadecimal digits", shown, minPrefix)
		}
		// "g" comes after every digit.
		rows, err := tx.QueryContext(ctx, findQuery, repositoryID, digits, digits+"g")
		if err != nil {
			return err
		}
		found, err := scanAll(rows, scanOne[gitmodels.CommitID])
		switch {
		case err != nil:
			return err
		case len(found) == 0:
			return notFound("no pushed commit begins with %s", shown)
		case len(found) > 1:
			return invalid("%s is ambiguous: %s", shown, candidates(found, len(digits)))
		}
		commit = found[0]
		return nil
	})
	return commit, err
}

const findQuery = `
	SELECT DISTINCT new_id FROM pushes WHERE repository_id = $1 AND new_id >= $2 AND new_id < $3
	ORDER BY new_id LIMIT 4`

// candidates lists commits that share their first digits, as short as tells
// them apart.
func candidates(found []gitmodels.CommitID, shared int) string {
	digits := shared + 1
	for ; digits < len(found[0]); digits++ {
		names := make(map[string]bool)
		for _, c := range found {
			names[c.Short(digits)] = true
		}
		if len(names) == len(found) {
			break
		}
	}
	var names []string
	for i, c := range found {
		if i == 3 {
			names = append(names, "…")
			break
		}
		names = append(names, c.Short(digits))
	}
	return strings.Join(names, ", ")
}

// rowColumns are what a Listing is made of: the newest record of a commit, its
// run, and the run's current attempt.
const rowColumns = `
	p.repository_id, p.new_id, p.abbrev, p.decision, p.reason, p.at, repo.name,
	r.id, r.short, r.state, r.cause, r.waiting, r.attempt, r.created_at, r.started_at, r.finished_at,
	a.name, a.engine, a.job, a.artifacts, a.metrics, a.finals`

const rowTables = `
	pushes p
	JOIN repositories repo ON repo.id = p.repository_id
	LEFT JOIN runs r ON r.repository_id = p.repository_id AND r.commit_id = p.new_id
	LEFT JOIN attempts a ON a.run_id = r.id AND a.n = r.attempt`

const isNewest = `
	NOT EXISTS (SELECT 1 FROM pushes q WHERE q.repository_id = p.repository_id AND q.new_id = p.new_id AND q.seq > p.seq)`

// listQuery reads the rows of one repository, or of all, newest first.
func listQuery(one bool, limit int) string {
	query := "SELECT " + rowColumns + " FROM " + rowTables + " WHERE " + isNewest
	args := 0
	if one {
		query += " AND p.repository_id = $1"
		args++
	}
	query += " ORDER BY p.seq DESC"
	if limit > 0 {
		query += limitClause(args + 1)
	}
	return query
}

func limitClause(argument int) string { return fmt.Sprintf(" LIMIT $%d", argument) }

// row is a Listing on its way, with the keys that others are found by.
type row struct {
	gitmodels.Listing
	repositoryID string
	name         string
}

func scanRow(s scanner) (r row, err error) {
	var (
		abbrev, at                                           int64
		reason                                               string
		runID, short, state, cause, waiting                  sql.NullString
		attempt, created, started, finished                  sql.NullInt64
		attemptName, engine, job, artifacts, metrics, finals sql.NullString
	)
	err = s.Scan(&r.repositoryID, &r.Commit, &abbrev, &r.Decision, &reason, &at, &r.Repository,
		&runID, &short, &state, &cause, &waiting, &attempt, &created, &started, &finished,
		&attemptName, &engine, &job, &artifacts, &metrics, &finals)
	if err != nil {
		return row{}, err
	}
	r.Reason = present(reason)
	r.Refs = []gitmodels.RefName{}
	if !runID.Valid {
		r.Short = r.Commit.Short(int(abbrev))
		r.Created = presentTime(at)
		return r, nil
	}
	st, n := gitmodels.State(state.String), int(attempt.Int64)
	r.name = attemptName.String
	r.RunID, r.Run, r.Short, r.State, r.Attempt = runID.String, &short.String, short.String, &st, &n
	r.Cause, r.Waiting = present(cause.String), present(waiting.String)
	r.Created, r.Started, r.Finished = presentTime(created.Int64), presentTime(started.Int64), presentTime(finished.Int64)
	r.Engine, r.Job = present(engine.String), present(job.String)
	r.Artifacts, r.Metrics = present(artifacts.String), present(metrics.String)
	if finals.String != "" {
		if err := decode("final values", finals.String, &r.Values); err != nil {
			return row{}, err
		}
	}
	if len(r.Values) == 0 {
		r.Values = nil
	}
	return r, nil
}

// present is nil for what is absent.
func present(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func presentTime(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := fromMillis(ms)
	return &t
}

// List implements gitmodels.Ledger. The newest commit is the one recorded last,
// a rerun included; its decision and reason are those of its newest record. The
// values are those of the current attempt. A commit without a run shows the time
// of its record as created.
func (l *Ledger) List(ctx context.Context, repositoryID string, limit int) (list []gitmodels.Listing, err error) {
	var args []any
	if repositoryID != "" {
		args = append(args, repositoryID)
	}
	if limit > 0 {
		args = append(args, limit)
	}
	err = l.read(ctx, "listing commits", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, listQuery(repositoryID != "", limit), args...)
		if err != nil {
			return err
		}
		found, err := scanAll(rows, scanRow)
		if err != nil {
			return err
		}
		list = make([]gitmodels.Listing, len(found))
		refs, err := tx.PrepareContext(ctx, refsQuery)
		if err != nil {
			return err
		}
		defer refs.Close()
		for i := range found {
			if err := addRefs(ctx, refs, &found[i]); err != nil {
				return err
			}
			list[i] = found[i].Listing
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// refsQuery lists the refs of a commit in the order in which they got it, one
// for every record.
const refsQuery = `
	SELECT ref FROM pushes WHERE repository_id = $1 AND new_id = $2 ORDER BY seq`

func addRefs(ctx context.Context, refs *sql.Stmt, r *row) error {
	rows, err := refs.QueryContext(ctx, r.repositoryID, r.Commit)
	if err != nil {
		return err
	}
	names, err := scanAll(rows, scanOne[gitmodels.RefName])
	for _, name := range names {
		if !slices.Contains(r.Refs, name) {
			r.Refs = append(r.Refs, name)
		}
	}
	return err
}

const showQuery = "SELECT " + rowColumns + " FROM " + rowTables + `
	WHERE p.repository_id = $1 AND p.new_id = $2 ORDER BY p.seq DESC LIMIT 1`

// Show implements gitmodels.Ledger. The stages are those of the current
// attempt.
func (l *Ledger) Show(ctx context.Context, repositoryID string, commit gitmodels.CommitID) (gitmodels.Listing, error) {
	var r row
	err := l.read(ctx, "showing a commit", func(tx *sql.Tx) error {
		var ok bool
		var err error
		r, ok, err = scanMaybe(tx.QueryRowContext(ctx, showQuery, repositoryID, commit), scanRow)
		if err != nil {
			return err
		}
		if !ok {
			return notFound("commit %s was never pushed to a governed ref", gitmodels.Printable(string(commit), 80))
		}
		refs, err := tx.PrepareContext(ctx, refsQuery)
		if err != nil {
			return err
		}
		defer refs.Close()
		if err := addRefs(ctx, refs, &r); err != nil {
			return err
		}
		if err := addPushes(ctx, tx, &r); err != nil || r.Run == nil {
			return err
		}
		return addDetails(ctx, tx, &r)
	})
	if err != nil {
		return gitmodels.Listing{}, err
	}
	return r.Listing, nil
}

const recordsQuery = "SELECT " + recordColumns + " FROM pushes WHERE repository_id = $1 AND new_id = $2 ORDER BY seq"

// addPushes adds every record of the commit, in the order of arrival.
func addPushes(ctx context.Context, tx *sql.Tx, r *row) error {
	rows, err := tx.QueryContext(ctx, recordsQuery, r.repositoryID, r.Commit)
	if err != nil {
		return err
	}
	records, err := scanAll(rows, scanRecord)
	for _, p := range records {
		r.Pushes = append(r.Pushes, gitmodels.PushView{Ref: p.Ref, Pusher: p.Pusher.Name, Decision: p.Decision,
			Reason: p.Reason, Source: p.Source, At: p.At})
	}
	return err
}

// addDetails adds the attempts of the run, the stages of the current one, and
// what its outcome tells.
func addDetails(ctx context.Context, tx *sql.Tx, r *row) error {
	r.Name = r.name
	attempts, err := attemptsOf(ctx, tx, r.RunID)
	if err != nil {
		return err
	}
	for _, a := range attempts {
		r.Attempts = append(r.Attempts, gitmodels.AttemptRow{N: a.N, Name: a.Name, Cause: a.Cause, Actor: a.Actor,
			State: a.State, EndCause: a.EndCause, Finished: presentTime(millis(a.FinishedAt))})
	}
	stages, err := stagesOf(ctx, tx, r.RunID, *r.Attempt)
	if err != nil {
		return err
	}
	for _, s := range stages {
		r.Stages = append(r.Stages, gitmodels.StageView{Name: s.Name, State: s.State, Tries: s.Tries, Error: s.Error,
			Log: s.LogPath, Started: presentTime(millis(s.StartedAt)), Finished: presentTime(millis(s.FinishedAt))})
	}
	var outcome sql.NullString
	err = tx.QueryRowContext(ctx, "SELECT outcome FROM attempts WHERE run_id = $1 AND n = $2", r.RunID, *r.Attempt).Scan(&outcome)
	if err != nil || !outcome.Valid {
		return err
	}
	var o gitmodels.Outcome
	if err := decode("outcome", outcome.String, &o); err != nil {
		return err
	}
	r.Subject, r.Command, r.Overrides, r.Warnings, r.Log = o.Subject, o.Command, o.Overrides, o.Warnings, o.Log
	return nil
}

// Receipt implements gitmodels.Ledger.
func (l *Ledger) Receipt(ctx context.Context, repositoryID string, u gitmodels.Update) (gitmodels.Receipt, error) {
	r := gitmodels.Receipt{Ref: u.Ref, Commit: u.New}
	err := l.read(ctx, "making a receipt", func(tx *sql.Tx) (err error) {
		r.Base, _, err = baseOf(ctx, tx, repositoryID, u.Ref)
		return err
	})
	return r, err
}
