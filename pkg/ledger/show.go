package ledger

import (
	"context"
	"database/sql"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const showQuery = "SELECT " + rowColumns + " FROM " + rowTables + `
	WHERE p.repository_id = $1 AND p.new_id = $2 ORDER BY p.seq DESC LIMIT 1`

// Show implements gitmodels.Ledger. The stages are those of the current
// attempt; of a live one command and overrides are known once it is built.
func (l *Ledger) Show(ctx context.Context, repositoryID string, commit gitmodels.CommitID) (gitmodels.Listing, error) {
	var r row
	err := l.read(ctx, "showing a commit", func(tx *txn) error {
		var ok bool
		var err error
		r, ok, err = rowOf(ctx, tx, repositoryID, commit)
		if err != nil {
			return err
		}
		if !ok {
			return notFound("commit %s was never pushed to a governed ref", gitmodels.Printable(string(commit), 80))
		}
		if err := addPushes(ctx, tx, &r); err != nil || r.Run == nil {
			return err
		}
		return l.addDetails(ctx, tx, &r)
	})
	if err != nil {
		return gitmodels.Listing{}, err
	}
	return r.Listing, nil
}

// rowOf reads the row of a commit, as List does, if it has a record.
func rowOf(ctx context.Context, tx *txn, repositoryID string, commit gitmodels.CommitID) (row, bool, error) {
	r, ok, err := scanMaybe(tx.QueryRowContext(ctx, showQuery, repositoryID, commit), scanRow)
	if !ok || err != nil {
		return r, ok, err
	}
	one := []row{r}
	err = addRefs(ctx, tx, one)
	return one[0], true, err
}

const recordsQuery = "SELECT " + recordColumns + " FROM pushes WHERE repository_id = $1 AND new_id = $2 ORDER BY seq"

// addPushes adds every record of the commit, in the order of arrival.
func addPushes(ctx context.Context, tx *txn, r *row) error {
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

// addDetails adds the attempts of the run, the stages of the current one, its
// place in the queue, and what its outcome or its build tells.
func (l *Ledger) addDetails(ctx context.Context, tx *txn, r *row) error {
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
	if *r.State == gitmodels.Queued {
		ahead, err := l.aheadOf(ctx, tx, r.repositoryID, r.RunID)
		if err != nil {
			return err
		}
		r.Ahead = &ahead
	}
	return addTold(ctx, tx, r)
}

const toldQuery = `
	SELECT a.outcome, s.output FROM attempts a
	LEFT JOIN stages s ON s.run_id = a.run_id AND s.attempt = a.n AND s.name = $3
	WHERE a.run_id = $1 AND a.n = $2`

// addTold adds what the outcome of the current attempt tells, or, before its
// end, what was built for it.
func addTold(ctx context.Context, tx *txn, r *row) error {
	r.Name = r.name
	var outcome, built sql.NullString
	err := tx.QueryRowContext(ctx, toldQuery, r.RunID, *r.Attempt, gitmodels.StageBuild).Scan(&outcome, &built)
	if err != nil {
		return err
	}
	// Of the output of the build these are shared with whoever wrote it.
	var o gitmodels.Outcome
	var b struct {
		Command   []string `json:"command"`
		Overrides []string `json:"overrides"`
		Image     *struct {
			Name   string `json:"name"`
			Digest string `json:"digest"`
			Key    string `json:"key"`
			Built  bool   `json:"built"`
			gitmodels.ImageStory
		} `json:"image"`
	}
	switch {
	case outcome.Valid:
		err = decode("outcome", outcome.String, &o)
	case built.Valid:
		err = decode("output of the build", built.String, &b)
		o.Command, o.Overrides = b.Command, b.Overrides
		if i := b.Image; i != nil {
			o.Image, o.Digest, o.BuildKey, o.Built = i.Name, i.Digest, i.Key, &i.Built
			o.ImageStory = i.ImageStory
		}
	}
	r.Subject, r.Command, r.Overrides, r.Warnings, r.Log = o.Subject, o.Command, o.Overrides, o.Warnings, o.Log
	r.ImageStory = o.ImageStory
	r.Image, r.Digest, r.BuildKey, r.Built = gitmodels.Absent(o.Image), gitmodels.Absent(o.Digest), gitmodels.Absent(o.BuildKey), o.Built
	return err
}
