package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"slices"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// The whole history is read in two walks, each over a table in its own order: to
// look up the newest record and the run of every commit costs several times that.
const (
	everyRecord   = "SELECT repository_id, new_id, ref, abbrev, decision, reason, at FROM pushes"
	everyRecordOf = everyRecord + " WHERE repository_id = $1 ORDER BY seq"
	everyRun      = "SELECT r.repository_id, r.commit_id, " + runPartColumns + `
		FROM runs r LEFT JOIN attempts a ON a.run_id = r.id AND a.n = r.attempt`
	everyRunOf = everyRun + " WHERE +r.repository_id = $1" // by the index on commits, every row would lie elsewhere
)

// commits finds the rows of a whole history by repository and commit.
type commits map[string]map[string]*place

// place is a row and the number of its newest record.
type place struct {
	row
	newest int
}

// listAll lists every commit of the repository, or of all when it is empty.
func listAll(ctx context.Context, tx *txn, repositoryID string) ([]gitmodels.Listing, error) {
	records, runs, args := everyRecord+" ORDER BY seq", everyRun, []any(nil)
	if repositoryID != "" {
		records, runs, args = everyRecordOf, everyRunOf, []any{repositoryID}
	}
	found := make(commits)
	all, err := found.read(ctx, tx, records, args)
	if err != nil {
		return nil, err
	}
	if err := found.addRuns(ctx, tx, runs, args); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b *place) int { return cmp.Compare(b.newest, a.newest) })
	list := make([]gitmodels.Listing, len(all))
	for i, p := range all {
		list[i] = p.Listing
	}
	return list, nil
}

// read makes the rows from the records, oldest first.
func (found commits) read(ctx context.Context, tx *txn, query string, args []any) (all []*place, err error) {
	names, err := repositoryNames(ctx, tx)
	if err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	refs := make(map[string]gitmodels.RefName)
	for n := 0; rows.Next(); n++ {
		var repositoryID, commit, ref, decision, reason sql.RawBytes
		var abbrev, at int64
		if err := rows.Scan(&repositoryID, &commit, &ref, &abbrev, &decision, &reason, &at); err != nil {
			return nil, err
		}
		of := found[string(repositoryID)]
		if of == nil {
			of = make(map[string]*place)
			found[string(repositoryID)] = of
		}
		p := of[string(commit)]
		if p == nil {
			p = &place{}
			p.Commit, p.Repository = gitmodels.CommitID(commit), names[string(repositoryID)]
			of[string(p.Commit)] = p
			all = append(all, p)
		}
		p.newest, p.Decision = n, gitmodels.Decision(decision)
		p.setRecord(int(abbrev), string(reason), at)
		name, ok := refs[string(ref)]
		if !ok {
			name = gitmodels.RefName(ref)
			refs[string(name)] = name
		}
		p.addRef(name)
	}
	return all, rows.Err()
}

// addRuns adds the runs to their commits.
func (found commits) addRuns(ctx context.Context, tx *txn, query string, args []any) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var repositoryID, commit sql.RawBytes
	var part runPart
	fields := append([]any{&repositoryID, &commit}, part.fields()...)
	for rows.Next() {
		if err := rows.Scan(fields...); err != nil {
			return err
		}
		if p := found[string(repositoryID)][string(commit)]; p != nil {
			if err := part.setTo(&p.row); err != nil {
				return err
			}
		}
	}
	return rows.Err()
}

// repositoryNames finds the name of every repository, by its id.
func repositoryNames(ctx context.Context, tx *txn) (map[string]string, error) {
	rows, err := tx.QueryContext(ctx, "SELECT id, name FROM repositories")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names := make(map[string]string)
	for rows.Next() {
		var id, name string
		if err := rows.Scan(&id, &name); err != nil {
			return nil, err
		}
		names[id] = name
	}
	return names, rows.Err()
}
