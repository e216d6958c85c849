package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"sort"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// record is a row of pushes: a PushRecord and its place in the order of arrival,
// which is 0 for one that is not in the ledger yet.
type record struct {
	gitmodels.PushRecord
	seq int64
}

const recordColumns = `seq, id, repository_id, ref, old_id, new_id, pusher_name, pusher_via, options, protocol,
	source, decision, reason, run_id, at`

// noOptions is how the options of a push that has none are kept.
const noOptions = "null"

func scanRecord(s scanner) (r record, err error) {
	var options string
	var runID sql.NullString
	var at int64
	err = s.Scan(&r.seq, &r.ID, &r.RepositoryID, &r.Ref, &r.Old, &r.New, &r.Pusher.Name, &r.Pusher.Via, &options, &r.Protocol,
		&r.Source, &r.Decision, &r.Reason, &runID, &at)
	if err != nil {
		return record{}, err
	}
	r.RunID, r.At = runID.String, fromMillis(at)
	if options != noOptions {
		err = decode("push options", options, &r.Options)
	}
	return r, err
}

// RecordPush implements gitmodels.Ledger. The decision and the run of p are
// ignored: they are what it answers. A record of the reconciler or of the
// registration is found again by its ref and commit, and then stays as it is.
func (l *Ledger) RecordPush(ctx context.Context, p gitmodels.NewPush) (gitmodels.PushRecord, error) {
	if err := validPush(p); err != nil {
		return gitmodels.PushRecord{}, err
	}
	var done record
	err := l.write(ctx, "recording a push", func(tx *txn) (err error) {
		done, err = l.recordPush(ctx, tx, p)
		return err
	})
	return done.PushRecord, err
}

// Batch implements gitmodels.Ledger. A push that is refused leaves nothing behind
// and fn may go on; when the database itself fails, a push may be half recorded,
// and everything is taken back whatever fn says.
func (l *Ledger) Batch(ctx context.Context, fn func(gitmodels.PushRecorder) error) error {
	return l.write(ctx, "recording pushes", func(tx *txn) error {
		tx.memo = newMemo()
		b := &batch{l: l, tx: tx}
		if err := fn(b); err != nil {
			return err
		}
		if b.failed != nil {
			return b.failed
		}
		return tx.storeCounters(ctx)
	})
}

// batch records pushes within one transaction.
type batch struct {
	l      *Ledger
	tx     *txn
	failed error // of the database
}

// RecordPush implements gitmodels.PushRecorder.
func (b *batch) RecordPush(ctx context.Context, p gitmodels.NewPush) (gitmodels.PushRecord, error) {
	if err := validPush(p); err != nil {
		return gitmodels.PushRecord{}, err
	}
	done, err := b.l.recordPush(ctx, b.tx, p)
	err = b.l.explain("recording a push", err)
	if err != nil && gitmodels.KindOf(err) == gitmodels.Internal && b.failed == nil {
		b.failed = err
	}
	return done.PushRecord, err
}

// Base implements gitmodels.PushRecorder.
func (b *batch) Base(ctx context.Context, repositoryID string, ref gitmodels.RefName) (gitmodels.CommitID, bool, error) {
	base, ok, err := baseOf(ctx, b.tx, repositoryID, ref)
	return base, ok, b.l.explain("looking for the base", err)
}

// recordPush is RecordPush within a transaction.
func (l *Ledger) recordPush(ctx context.Context, tx *txn, p gitmodels.NewPush) (record, error) {
	if err := mustServe(ctx, tx, p.RepositoryID); err != nil {
		return record{}, err
	}
	rows, err := tx.QueryContext(ctx, priorQuery, p.RepositoryID, p.ID, p.Ref, p.New,
		bit(p.Source == gitmodels.SourceHook), gitmodels.SourceReconcile, gitmodels.SourceSeen)
	if err != nil {
		return record{}, err
	}
	found, err := scanAll(rows, scanRecord)
	if err != nil {
		return record{}, err
	}
	var prior record
	for _, r := range found {
		switch {
		case r.ID == p.ID && r.New != p.New:
			return record{}, invalid("push %s of %s is recorded with commit %s, not %s",
				gitmodels.Printable(p.ID, 80), gitmodels.Printable(string(p.Ref), 80), r.New, p.New)
		case r.ID == p.ID:
			return r, nil
		}
		prior = r
	}
	switch {
	case p.Source == gitmodels.SourceManual:
		prior = record{}
	case p.Source != gitmodels.SourceHook && prior.seq != 0:
		return prior, nil
	}
	return l.decide(ctx, tx, p, prior)
}

// validPush refuses what no accepted update can be.
func validPush(p gitmodels.NewPush) error {
	if p.ID == "" {
		return invalid("the push has no id")
	}
	if p.Ref == "" {
		return invalid("push %s names no ref", gitmodels.Printable(p.ID, 80))
	}
	if _, err := gitmodels.ParseCommitID(string(p.New)); err != nil {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Err: err,
			Message: fmt.Sprintf("push %s of %s", gitmodels.Printable(p.ID, 80), gitmodels.Printable(string(p.Ref), 80))}
	}
	if p.New.IsZero() {
		return invalid("push %s deletes %s: there is no commit to record", gitmodels.Printable(p.ID, 80), gitmodels.Printable(string(p.Ref), 80))
	}
	switch p.Source {
	case gitmodels.SourceHook, gitmodels.SourceReconcile, gitmodels.SourceManual:
		return nil
	case gitmodels.SourceSeen:
		if p.Skip == "" {
			return invalid("push %s was seen at registration: it never runs by itself and needs a reason", gitmodels.Printable(p.ID, 80))
		}
		return nil
	}
	return invalid("push %s has the source %s: want hook, reconcile, seen or manual", gitmodels.Printable(p.ID, 80), gitmodels.Printable(string(p.Source), 40))
}

// The records that an update may have already: of its push, and of what it did.
// The hook's entry completes a record of the reconciler or the registration.
const (
	priorQuery = "SELECT " + recordColumns + ` FROM pushes WHERE repository_id = $1 AND id = $2 AND ref = $3
		UNION ALL SELECT * FROM (SELECT ` + recordColumns + ` FROM pushes
		WHERE repository_id = $1 AND new_id = $4 AND ref = $3 AND ($5 = 0 OR source IN ($6, $7)) ORDER BY seq LIMIT 1)`
	updateQuery = "SELECT " + recordColumns + ` FROM pushes
		WHERE repository_id = $1 AND new_id = $2 AND ref = $3 ORDER BY seq LIMIT 1`
)

// mustServe fails unless the repository is registered.
func mustServe(ctx context.Context, tx *txn, id string) error {
	if tx.memo != nil && tx.served[id] {
		return nil
	}
	var n int
	err := tx.QueryRowContext(ctx, "SELECT count(*) FROM repositories WHERE id = $1 AND removed_at = 0", id).Scan(&n)
	if err == nil && n == 0 {
		err = notFound("repository %s is not registered", gitmodels.Printable(id, 80))
	}
	if err == nil && tx.memo != nil {
		tx.served[id] = true
	}
	return err
}

// recordOf finds the oldest record of a ref at a commit.
func recordOf(ctx context.Context, tx *txn, repositoryID string, tip gitmodels.Tip) (record, bool, error) {
	return scanMaybe(tx.QueryRowContext(ctx, updateQuery,
		repositoryID, tip.Commit, tip.Ref), scanRecord)
}

// decide gives p its decision and writes the record, in place of prior when
// there is one.
func (l *Ledger) decide(ctx context.Context, tx *txn, p gitmodels.NewPush, prior record) (record, error) {
	run, exists, err := runOfCommit(ctx, tx, p.RepositoryID, p.New)
	if err != nil {
		return record{}, err
	}
	r := record{PushRecord: p.PushRecord, seq: prior.seq}
	completes := exists && prior.Decision == gitmodels.DecisionRun
	switch {
	case completes:
		r.Decision = gitmodels.DecisionRun
		// The first attempt was made in the name of whoever the reflog named.
		_, err = tx.ExecContext(ctx, "UPDATE attempts SET actor = $1 WHERE run_id = $2 AND n = 1", p.Pusher.Name, run.ID)
	case exists && p.Again && run.State.Terminal():
		r.Decision = gitmodels.DecisionRun
		err = l.again(ctx, tx, run, p)
	case exists:
		r.Decision, r.Reason = gitmodels.DecisionAttached, attachedReason(run)
	case p.Skip != "":
		r.Decision, r.Reason = gitmodels.DecisionSkipped, p.Skip
	default:
		r.Decision = gitmodels.DecisionRun
		run, err = l.createRun(ctx, tx, p, "push")
	}
	if err == nil && exists && run.State == gitmodels.Queued {
		err = raise(ctx, tx, run, p, completes)
	}
	if err != nil {
		return record{}, err
	}
	r.RunID = run.ID
	if r.At.IsZero() {
		r.At = l.clock()
	}
	r.At = fromMillis(millis(r.At)) // as it will be read back
	r.seq, err = l.putRecord(ctx, tx, r, p.Abbrev)
	return r, err
}

// raise gives a queued run what a further push of its commit brings: a higher
// priority, and the engine if it was not known. A priority that completes the
// record of the run's own push counts even when it is lower than none.
func raise(ctx context.Context, tx *txn, run gitmodels.Run, p gitmodels.NewPush, completes bool) error {
	priority := max(run.Priority, p.Priority)
	if completes && run.Priority == 0 {
		priority = p.Priority
	}
	_, err := tx.ExecContext(ctx, `
		UPDATE runs SET priority = $1, engine = CASE WHEN engine = '' THEN $2 ELSE engine END WHERE id = $3`,
		priority, p.Engine, run.ID)
	return err
}

// attachedReason says what became, or will become, of the commit's run.
func attachedReason(run gitmodels.Run) string {
	switch run.State {
	case gitmodels.Succeeded:
		return fmt.Sprintf("run %s of this commit has succeeded", run.Short)
	case gitmodels.Failed:
		return fmt.Sprintf("run %s of this commit has failed; a rerun makes another attempt", run.Short)
	case gitmodels.Cancelled:
		return fmt.Sprintf("run %s of this commit was cancelled; a rerun makes another attempt", run.Short)
	}
	return fmt.Sprintf("run %s of this commit is %s", run.Short, run.State)
}

// putRecord inserts r as the newest record, or writes it over the one in its
// place, and returns its place.
func (l *Ledger) putRecord(ctx context.Context, tx *txn, r record, abbrev int) (seq int64, err error) {
	options := noOptions
	if r.Options != nil {
		if options, err = encode("push options", r.Options); err != nil {
			return 0, err
		}
	}
	if r.seq != 0 {
		_, err = tx.ExecContext(ctx, `
			UPDATE pushes SET id = $1, old_id = $2, pusher_name = $3, pusher_via = $4, options = $5, protocol = $6,
				source = $7, decision = $8, reason = $9, run_id = $10, at = $11, abbrev = $12
			WHERE seq = $13`,
			r.ID, r.Old, r.Pusher.Name, r.Pusher.Via, options, r.Protocol,
			r.Source, r.Decision, r.Reason, orNull(r.RunID), millis(r.At), abbrev, r.seq)
		return r.seq, err
	}
	if seq, err = next(ctx, tx, "pushes"); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO pushes (seq, id, repository_id, ref, old_id, new_id, abbrev, pusher_name, pusher_via, options, protocol,
			source, decision, reason, run_id, at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
		seq, r.ID, r.RepositoryID, r.Ref, r.Old, r.New, abbrev, r.Pusher.Name, r.Pusher.Via, options, r.Protocol,
		r.Source, r.Decision, r.Reason, orNull(r.RunID), millis(r.At))
	return seq, err
}

// createRun makes the run of p's commit, which has none, with its first attempt,
// at the end of the queue, and ties the commit's earlier records to it.
func (l *Ledger) createRun(ctx context.Context, tx *txn, p gitmodels.NewPush, cause string) (gitmodels.Run, error) {
	run := gitmodels.Run{ID: l.newID(), RepositoryID: p.RepositoryID, Commit: p.New, Ref: p.Ref, State: gitmodels.Queued,
		Attempt: 1, Priority: p.Priority, CreatedAt: fromMillis(l.now())}
	place, err := next(ctx, tx, "places")
	if err != nil {
		return run, err
	}
	abbrev, commit := p.Abbrev, p.New
	if abbrev <= 0 || abbrev > len(commit) {
		abbrev = len(commit)
	}
	for digits := abbrev; ; digits++ {
		run.Short = commit.Short(digits)
		ok, err := changed(tx.ExecContext(ctx, `
			INSERT INTO runs (id, repository_id, commit_id, short, ref, state, waiting, cause, attempt, cancel_requested, cancel_by,
				created_at, started_at, finished_at, not_before, lease_owner, lease_until, epoch, priority, engine, place)
			VALUES ($1, $2, $3, $4, $5, $6, '', '', 1, 0, '', $7, 0, 0, 0, '', 0, 0, $8, $9, $10)
			ON CONFLICT DO NOTHING`,
			run.ID, run.RepositoryID, commit, run.Short, run.Ref, run.State, millis(run.CreatedAt), run.Priority, p.Engine, place))
		if err != nil {
			return run, err
		}
		if ok {
			break
		}
		// Either the commit has a run by now, or another commit has the name.
		// Only the full id tells.
		if other, exists, err := runOfCommit(ctx, tx, run.RepositoryID, commit); exists || err != nil {
			return other, err
		}
		if digits >= len(commit) {
			return run, fmt.Errorf("no free name for the run of commit %s", commit)
		}
	}
	if err := l.addAttempt(ctx, tx, gitmodels.Attempt{RunID: run.ID, N: 1, Name: gitmodels.AttemptName(run.Short, 1),
		Cause: cause, Actor: p.Pusher.Name, State: gitmodels.Queued}); err != nil {
		return run, err
	}
	_, err = tx.ExecContext(ctx, "UPDATE pushes SET run_id = $1 WHERE repository_id = $2 AND new_id = $3", run.ID, run.RepositoryID, commit)
	return run, err
}

// addAttempt inserts a queued attempt.
func (l *Ledger) addAttempt(ctx context.Context, tx *txn, a gitmodels.Attempt) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO attempts (run_id, n, name, cause, actor, resumes, state, end_cause, engine, job, created_at, finished_at,
			artifacts, metrics, finals, outcome)
		VALUES ($1, $2, $3, $4, $5, $6, $7, '', '', '', $8, 0, '', '', '', NULL)`,
		a.RunID, a.N, a.Name, a.Cause, a.Actor, bit(a.Resumes), a.State, l.now())
	return err
}

// knownQuery lists the tips with their first record, from an index alone; to have
// them sorted there costs more than all else.
const knownQuery = "SELECT ref, new_id, MIN(seq) FROM pushes WHERE repository_id = $1 GROUP BY new_id, ref"

// Known implements gitmodels.Ledger. The tips are in the order in which they got
// their first record.
func (l *Ledger) Known(ctx context.Context, repositoryID string) (tips []gitmodels.Tip, err error) {
	err = l.read(ctx, "listing the known tips", func(tx *txn) error {
		rows, err := tx.QueryContext(ctx, knownQuery, repositoryID)
		if err != nil {
			return err
		}
		defer rows.Close()
		refs := make(map[string]gitmodels.RefName)
		var first []int64
		for rows.Next() {
			var ref sql.RawBytes
			var commit gitmodels.CommitID
			var seq int64
			if err := rows.Scan(&ref, &commit, &seq); err != nil {
				return err
			}
			name, ok := refs[string(ref)]
			if !ok {
				name = gitmodels.RefName(ref)
				refs[string(name)] = name
			}
			tips, first = append(tips, gitmodels.Tip{Ref: name, Commit: commit}), append(first, seq)
		}
		sort.Sort(&tipsByAge{tips, first})
		return rows.Err()
	})
	return tips, err
}

// tipsByAge sorts tips by the place of their first record.
type tipsByAge struct {
	tips  []gitmodels.Tip
	first []int64
}

func (t *tipsByAge) Len() int           { return len(t.tips) }
func (t *tipsByAge) Less(i, j int) bool { return t.first[i] < t.first[j] }
func (t *tipsByAge) Swap(i, j int) {
	t.tips[i], t.tips[j] = t.tips[j], t.tips[i]
	t.first[i], t.first[j] = t.first[j], t.first[i]
}

// Base implements gitmodels.Ledger. The last is the one pushed last, not the one
// that was run again last; a run that is being cancelled is no base.
func (l *Ledger) Base(ctx context.Context, repositoryID string, ref gitmodels.RefName) (base gitmodels.CommitID, ok bool, err error) {
	err = l.read(ctx, "looking for the base", func(tx *txn) error {
		base, ok, err = baseOf(ctx, tx, repositoryID, ref)
		return err
	})
	return base, ok, err
}

func baseOf(ctx context.Context, tx *txn, repositoryID string, ref gitmodels.RefName) (gitmodels.CommitID, bool, error) {
	return scanMaybe(tx.QueryRowContext(ctx, baseQuery,
		repositoryID, ref, gitmodels.SourceManual, gitmodels.Failed, gitmodels.Cancelled, gitmodels.Cancelling),
		scanOne[gitmodels.CommitID])
}

const baseQuery = `
	SELECT p.new_id FROM pushes p JOIN runs r ON r.id = p.run_id
	WHERE p.run_id IS NOT NULL AND p.repository_id = $1 AND p.ref = $2 AND p.source <> $3 AND r.state NOT IN ($4, $5, $6)
	ORDER BY p.seq DESC LIMIT 1`
