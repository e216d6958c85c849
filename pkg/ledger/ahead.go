package ledger

import (
	"context"
	"math"
)

// aheadLimit bounds how far the queue is counted.
const aheadLimit = 10_000

const (
	// A run is under way while it is held, or had begun before its worker was lost.
	underWayQuery = `
		SELECT id, repository_id, priority, place FROM runs WHERE finished_at = 0 AND state <> 'queued'
		UNION ALL SELECT id, repository_id, priority, place FROM runs WHERE lease_owner <> '' AND lease_until > $1 AND state = 'queued'`
	// Every repository with the number of its live runs and the place of the first.
	linesQuery = `
		SELECT repo.id, repo.turn,
			(SELECT count(*) FROM (SELECT 1 FROM runs WHERE finished_at = 0 AND repository_id = repo.id LIMIT $1) AS live),
			COALESCE((SELECT place FROM runs WHERE finished_at = 0 AND repository_id = repo.id ORDER BY priority DESC, place LIMIT 1), 0)
		FROM repositories repo`
	higherQuery = `
		SELECT count(*) FROM (SELECT 1 FROM runs WHERE finished_at = 0 AND repository_id = $1 AND priority > $2 LIMIT $3) AS higher`
	earlierQuery = `
		SELECT count(*) FROM (SELECT 1 FROM runs WHERE finished_at = 0 AND repository_id = $1 AND priority = $2 AND place < $3 LIMIT $4) AS earlier`
)

// spot is where a live run stands in the queue of its repository.
type spot struct {
	id, repositoryID string
	priority         int
	place            int64
}

func scanSpot(s scanner) (p spot, err error) {
	err = s.Scan(&p.id, &p.repositoryID, &p.priority, &p.place)
	return p, err
}

// before reports whether p comes before o in the queue of their repository.
func (p spot) before(o spot) bool {
	return p.repositoryID == o.repositoryID && (p.priority > o.priority || p.priority == o.priority && p.place < o.place)
}

// line is the queue of one repository.
type line struct {
	head
	live     int // runs that are not terminal, at most aheadLimit
	underWay int // of these
}

// aheadOf counts the runs that start before the run, or run now, if the queue is
// walked as Claim does and nothing is waited for. An empty runID, or a run that
// has ended, stands for one that would be queued now. A run that is under way
// has nothing ahead.
func (l *Ledger) aheadOf(ctx context.Context, tx *txn, repositoryID, runID string) (int, error) {
	own, queued, err := scanMaybe(tx.QueryRowContext(ctx,
		"SELECT id, repository_id, priority, place FROM runs WHERE id = $1 AND finished_at = 0", runID), scanSpot)
	if err != nil {
		return 0, err
	}
	if !queued {
		own = spot{repositoryID: repositoryID, place: math.MaxInt64}
	}
	before, err := countBefore(ctx, tx, own)
	if err != nil {
		return 0, err
	}
	rows, err := tx.QueryContext(ctx, underWayQuery, l.now())
	if err != nil {
		return 0, err
	}
	begun, err := scanAll(rows, scanSpot)
	if err != nil {
		return 0, err
	}
	underWay := make(map[string]int)
	for _, s := range begun {
		if s.id == own.id {
			return 0, nil
		}
		if s.before(own) {
			before--
		}
		underWay[s.repositoryID]++
	}
	lines, err := linesOf(ctx, tx, underWay)
	if err != nil {
		return 0, err
	}
	return min(len(begun)+before+between(lines, own, before), aheadLimit), nil
}

// countBefore counts the live runs that come before own in its repository.
func countBefore(ctx context.Context, tx *txn, own spot) (int, error) {
	var higher, earlier int
	err := tx.QueryRowContext(ctx, higherQuery, own.repositoryID, own.priority, aheadLimit).Scan(&higher)
	if err != nil {
		return 0, err
	}
	err = tx.QueryRowContext(ctx, earlierQuery, own.repositoryID, own.priority, own.place, aheadLimit).Scan(&earlier)
	return higher + earlier, err
}

func linesOf(ctx context.Context, tx *txn, underWay map[string]int) ([]line, error) {
	rows, err := tx.QueryContext(ctx, linesQuery, aheadLimit)
	if err != nil {
		return nil, err
	}
	return scanAll(rows, func(s scanner) (n line, err error) {
		err = s.Scan(&n.repositoryID, &n.turn, &n.live, &n.place)
		n.underWay = underWay[n.repositoryID]
		return n, err
	})
}

// between counts the queued runs of other repositories that are given a place
// before own, which has so many before it in its own. The repository with the
// fewest under way comes first, so another one starts runs until it has as many
// as own's will have by then; as equals, whoever had them first goes on.
func between(lines []line, own spot, before int) (n int) {
	mine := line{head: head{repositoryID: own.repositoryID, place: own.place}}
	for _, other := range lines {
		if other.repositoryID == own.repositoryID {
			if other.live == 0 {
				other.place = own.place
			}
			mine = other
		}
	}
	for _, other := range lines {
		if other.repositoryID == own.repositoryID {
			continue
		}
		starts := mine.underWay + before - other.underWay
		if other.underWay > mine.underWay || other.underWay == mine.underWay && other.compare(mine.head) < 0 {
			starts++
		}
		n += min(max(starts, 0), other.live-other.underWay)
	}
	return n
}
