package ledger

import (
	"cmp"
	"context"
	"slices"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// scanLimit is how many ready runs of a repository a claim looks at: those
// behind so many that limits turn away wait until some of them have gone.
const scanLimit = 1000

// A run is ready when it is live, not waiting, and held by nobody for longer than
// the lease. Literals stand where an index is of such rows alone.
const (
	ready            = "finished_at = 0 AND not_before <= $1 AND lease_until <= $1"
	readyQueued      = ready + " AND state = 'queued'"
	candidateColumns = "id, repository_id, ref, engine, priority"

	// A cancelled run with nothing submitted comes before all others, and does so
	// even when all places are taken: it is ended within moments and starts nothing.
	endableQuery = "SELECT " + candidateColumns + ` FROM runs r WHERE ` + ready + ` AND cancel_requested = 1
		AND NOT EXISTS (SELECT 1 FROM submissions s WHERE s.run_id = r.id AND s.attempt = r.attempt)
		ORDER BY place LIMIT 1`
	// A run that had begun lost its worker: its job may be running, so it goes on
	// before another begins.
	begunQuery = "SELECT " + candidateColumns + " FROM runs WHERE " + ready + " AND state <> 'queued' ORDER BY place LIMIT $2"
	// The head of each repository's queue that is ready, whether it was given a
	// place before, and how long ago.
	headsQuery = `
		SELECT repo.id, repo.turn, r.place FROM repositories repo JOIN runs r ON r.id = (
			SELECT id FROM runs WHERE repository_id = repo.id AND ` + readyQueued + ` ORDER BY priority DESC, place LIMIT 1)`
	readyQuery = "SELECT " + candidateColumns + " FROM runs WHERE " + readyQueued + ` AND repository_id = $2
		ORDER BY priority DESC, place LIMIT $3`

	heldQuery = "SELECT " + candidateColumns + " FROM runs WHERE lease_owner <> '' AND lease_until > $1"
	freeQuery = `UPDATE runs SET lease_owner = '', lease_until = 0 WHERE lease_owner <> '' AND lease_until <= $1`
)

func scanCandidate(s scanner) (c gitmodels.Candidate, err error) {
	err = s.Scan(&c.RunID, &c.RepositoryID, &c.Ref, &c.Engine, &c.Priority)
	return c, err
}

// queue says which run comes next.
type queue struct {
	now     int64
	maxRuns int
	admit   func(c gitmodels.Candidate, held []gitmodels.Candidate) bool
}

// pick is the run that comes next.
type pick struct {
	gitmodels.Candidate
	takesPlace bool // it counts against the places, and as its repository's turn
}

// next finds the run to give out, if there is one and a place for it.
func (q queue) next(ctx context.Context, tx *txn) (p pick, found bool, err error) {
	p.Candidate, found, err = scanMaybe(tx.QueryRowContext(ctx, endableQuery, q.now), scanCandidate)
	if found || err != nil {
		return p, found, err
	}
	rows, err := tx.QueryContext(ctx, heldQuery, q.now)
	if err != nil {
		return p, false, err
	}
	held, err := scanAll(rows, scanCandidate)
	if len(held) >= q.maxRuns || err != nil {
		return p, false, err
	}
	p.takesPlace = true
	p.Candidate, found, err = q.first(ctx, tx, held, begunQuery, q.now, scanLimit)
	if found || err != nil {
		return p, found, err
	}
	heads, err := headsOf(ctx, tx, q.now, held)
	for _, h := range heads {
		p.Candidate, found, err = q.first(ctx, tx, held, readyQuery, q.now, h.repositoryID, scanLimit)
		if found || err != nil {
			return p, found, err
		}
	}
	return p, false, err
}

// first is the first of the candidates of a query that limits leave a place for.
func (q queue) first(ctx context.Context, tx *txn, held []gitmodels.Candidate, query string, args ...any) (c gitmodels.Candidate, found bool, err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return c, false, err
	}
	defer rows.Close()
	for rows.Next() {
		if c, err = scanCandidate(rows); err != nil {
			return c, false, err
		}
		if q.admit == nil || q.admit(c, held) {
			return c, true, nil
		}
	}
	return gitmodels.Candidate{}, false, rows.Err()
}

// head is a repository that has a ready run.
type head struct {
	repositoryID string
	turn         int64 // the claim that last gave it a place, 0 for none
	place        int64 // of its ready run that comes first
}

// headsOf lists the repositories with ready runs in the order in which they come:
// the fewest runs under way, the longest wait for a place, the earliest push.
func headsOf(ctx context.Context, tx *txn, now int64, held []gitmodels.Candidate) ([]head, error) {
	rows, err := tx.QueryContext(ctx, headsQuery, now)
	if err != nil {
		return nil, err
	}
	heads, err := scanAll(rows, func(s scanner) (h head, err error) {
		err = s.Scan(&h.repositoryID, &h.turn, &h.place)
		return h, err
	})
	if err != nil {
		return nil, err
	}
	underWay := make(map[string]int)
	for _, c := range held {
		underWay[c.RepositoryID]++
	}
	slices.SortFunc(heads, func(a, b head) int {
		return cmp.Or(cmp.Compare(underWay[a.repositoryID], underWay[b.repositoryID]), a.compare(b))
	})
	return heads, nil
}

// compare orders two repositories with equally many runs under way.
func (a head) compare(b head) int {
	return cmp.Or(cmp.Compare(a.turn, b.turn), cmp.Compare(a.place, b.place))
}
