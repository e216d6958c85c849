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
	err = l.read(ctx, "finding a commit", func(tx *txn) error {
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
	p.repository_id, p.new_id, p.abbrev, p.decision, p.reason, p.at, repo.name, ` + runPartColumns

const runPartColumns = `
	r.id, r.short, r.state, r.cause, r.waiting, r.attempt, r.priority, r.created_at, r.started_at, r.finished_at,
	a.name, a.engine, a.job, a.artifacts, a.metrics, a.finals`

const rowTables = `
	pushes p
	JOIN repositories repo ON repo.id = p.repository_id
	LEFT JOIN runs r ON r.repository_id = p.repository_id AND r.commit_id = p.new_id
	LEFT JOIN attempts a ON a.run_id = r.id AND a.n = r.attempt`

const isNewest = `
	NOT EXISTS (SELECT 1 FROM pushes q WHERE q.repository_id = p.repository_id AND q.new_id = p.new_id AND q.seq > p.seq)`

// listQuery reads the first rows of one repository, or of all, newest first.
func listQuery(one bool) string {
	query, limit := "SELECT "+rowColumns+" FROM "+rowTables+" WHERE "+isNewest, "$1"
	if one {
		query, limit = query+" AND p.repository_id = $1", "$2"
	}
	return query + " ORDER BY p.seq DESC LIMIT " + limit
}

func limitClause(argument int) string { return fmt.Sprintf(" LIMIT $%d", argument) }

// row is a Listing on its way, with the keys that others are found by.
type row struct {
	gitmodels.Listing
	repositoryID string
	name         string
}

func scanRow(s scanner) (r row, err error) {
	var abbrev, at int64
	var reason string
	var part runPart
	err = s.Scan(append([]any{&r.repositoryID, &r.Commit, &abbrev, &r.Decision, &reason, &at, &r.Repository}, part.fields()...)...)
	if err != nil {
		return row{}, err
	}
	r.Refs = []gitmodels.RefName{}
	r.setRecord(int(abbrev), reason, at)
	return r, part.setTo(&r)
}

// setRecord sets what the newest record tells of a commit, as if it had no run.
func (r *row) setRecord(abbrev int, reason string, at int64) {
	r.Reason = present(reason)
	r.Short = r.Commit.Short(abbrev)
	r.Created = presentTime(at)
}

// runPart is what a row has of its run, all of it NULL where there is none.
type runPart struct {
	runID, short, state, cause, waiting                  sql.NullString
	attempt, priority, created, started, finished        sql.NullInt64
	attemptName, engine, job, artifacts, metrics, finals sql.NullString
}

// fields are the places of runPartColumns.
func (p *runPart) fields() []any {
	return []any{&p.runID, &p.short, &p.state, &p.cause, &p.waiting, &p.attempt, &p.priority, &p.created, &p.started, &p.finished,
		&p.attemptName, &p.engine, &p.job, &p.artifacts, &p.metrics, &p.finals}
}

func (p *runPart) setTo(r *row) error {
	if !p.runID.Valid {
		return nil
	}
	short, st, n := p.short.String, gitmodels.State(p.state.String), int(p.attempt.Int64)
	r.name = p.attemptName.String
	r.RunID, r.Run, r.Short, r.State, r.Attempt = p.runID.String, &short, short, &st, &n
	r.Priority = int(p.priority.Int64)
	r.Cause, r.Waiting = present(p.cause.String), present(p.waiting.String)
	r.Created, r.Started, r.Finished = presentTime(p.created.Int64), presentTime(p.started.Int64), presentTime(p.finished.Int64)
	r.Engine, r.Job = present(p.engine.String), present(p.job.String)
	r.Artifacts, r.Metrics = present(p.artifacts.String), present(p.metrics.String)
	if p.finals.String != "" {
		if err := decode("final values", p.finals.String, &r.Values); err != nil {
			return err
		}
	}
	if len(r.Values) == 0 {
		r.Values = nil
	}
	return nil
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
	err = l.read(ctx, "listing commits", func(tx *txn) (err error) {
		if limit <= 0 {
			list, err = listAll(ctx, tx, repositoryID)
			return err
		}
		args := []any{limit}
		if repositoryID != "" {
			args = []any{repositoryID, limit}
		}
		rows, err := tx.QueryContext(ctx, listQuery(repositoryID != ""), args...)
		if err != nil {
			return err
		}
		found, err := scanAll(rows, scanRow)
		if err != nil {
			return err
		}
		list = make([]gitmodels.Listing, len(found))
		err = addRefs(ctx, tx, found)
		for i := range found {
			list[i] = found[i].Listing
		}
		return err
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

// addRefs adds the refs of a few rows, each by its commit.
func addRefs(ctx context.Context, tx *txn, found []row) error {
	refs, err := tx.PrepareContext(ctx, refsQuery)
	if err != nil {
		return err
	}
	defer refs.Close()
	for i := range found {
		rows, err := refs.QueryContext(ctx, found[i].repositoryID, found[i].Commit)
		if err != nil {
			return err
		}
		names, err := scanAll(rows, scanOne[gitmodels.RefName])
		if err != nil {
			return err
		}
		for _, name := range names {
			found[i].addRef(name)
		}
	}
	return nil
}

func (r *row) addRef(ref gitmodels.RefName) {
	if !slices.Contains(r.Refs, ref) {
		r.Refs = append(r.Refs, ref)
	}
}
