package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// seenReason is on the records of what was there before us.
const seenReason = "was there when the repository was registered"

// defaultAbbrev names a seen commit, for which no policy was asked: the default
// of models.abbrev.
const defaultAbbrev = 7

// Register implements gitmodels.Ledger. A repository that is already served
// keeps its unseen tips for the reconciler, which runs them: they were pushed
// while it was served. One that comes back is added again, with its id, its
// name and its history.
func (l *Ledger) Register(ctx context.Context, path, name string, tips []gitmodels.Tip) (repo gitmodels.Repository, added bool, err error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return repo, false, invalid("repository path %s: want a clean absolute path", gitmodels.Printable(path, 200))
	}
	if !plainName(name) {
		return repo, false, invalid("repository name %s: want letters, digits, `.`, `_` and `-`, the first no `.` or `-`", gitmodels.Printable(name, 80))
	}
	err = l.write(ctx, "registering a repository", func(tx *txn) error {
		id, served, err := findPath(ctx, tx, path)
		switch {
		case err != nil:
			return err
		case served:
			repo, _, err = repositoryByID(ctx, tx, id)
			return err
		case id == "":
			id, err = l.addRepository(ctx, tx, path, name)
		default:
			_, err = tx.ExecContext(ctx, "UPDATE repositories SET removed_at = 0, registered_at = $1 WHERE id = $2", l.now(), id)
		}
		if err != nil {
			return err
		}
		added = true
		if err := l.recordSeen(ctx, tx, id, tips); err != nil {
			return err
		}
		if err := l.addEvent(ctx, tx, id, "", "registered", path); err != nil {
			return err
		}
		repo, _, err = repositoryByID(ctx, tx, id)
		return err
	})
	if err != nil {
		return gitmodels.Repository{}, false, err
	}
	return repo, added, nil
}

// findPath returns the id of the repository at path, "" if it was never here,
// and whether it is served.
func findPath(ctx context.Context, tx *txn, path string) (id string, served bool, err error) {
	var removed int64
	err = tx.QueryRowContext(ctx, "SELECT id, removed_at FROM repositories WHERE path = $1", path).Scan(&id, &removed)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return id, err == nil && removed == 0, err
}

// addRepository inserts under the first free name: dogs, then team-dogs for
// .../team/dogs.git, then dogs-2 and on.
func (l *Ledger) addRepository(ctx context.Context, tx *txn, path, name string) (id string, err error) {
	id = l.newID()
	for n := 0; ; n++ {
		res, err := tx.ExecContext(ctx, `
			INSERT INTO repositories (id, path, name, registered_at, removed_at) VALUES ($1, $2, $3, $4, 0)
			ON CONFLICT (name) DO NOTHING`, id, path, candidate(path, name, n), l.now())
		if ok, err := changed(res, err); ok || err != nil {
			return id, err
		}
	}
}

// candidate is the n-th name to try.
func candidate(path, name string, n int) string {
	folder := strings.TrimSuffix(filepath.Base(filepath.Dir(path)), ".git")
	switch {
	case n == 0 || n == 1 && !plainName(folder):
		return name
	case n == 1:
		return folder + "-" + name
	}
	return fmt.Sprintf("%s-%d", name, n)
}

// plainName reports whether s can stand as one segment of a path and as one
// word on a command line: results lie in folders of that name.
func plainName(s string) bool {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
	}
	return s != "" && len(s) <= 100 && s[0] != '.' && s[0] != '-' &&
		strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0
}

// recordSeen records those of tips that have no record yet.
func (l *Ledger) recordSeen(ctx context.Context, tx *txn, repositoryID string, tips []gitmodels.Tip) error {
	for _, tip := range tips {
		_, known, err := recordOf(ctx, tx, repositoryID, tip)
		if err != nil {
			return err
		}
		if known {
			continue
		}
		p := gitmodels.NewPush{Abbrev: defaultAbbrev, Skip: seenReason, PushRecord: gitmodels.PushRecord{
			ID: l.newID(), RepositoryID: repositoryID, Source: gitmodels.SourceSeen, At: l.clock(),
			Update: gitmodels.Update{Old: zeroLike(tip.Commit), New: tip.Commit, Ref: tip.Ref},
			Pusher: gitmodels.Pusher{Name: "nobody"},
		}}
		if err := validPush(p); err != nil {
			return err
		}
		if _, err := l.decide(ctx, tx, p, record{}); err != nil {
			return err
		}
	}
	return nil
}

// zeroLike is the all-zero id of the length of c.
func zeroLike(c gitmodels.CommitID) gitmodels.CommitID {
	return gitmodels.CommitID(strings.Repeat("0", len(c)))
}

// Unregister implements gitmodels.Ledger. A path that is not served is an Error
// of Kind NotFound.
func (l *Ledger) Unregister(ctx context.Context, path string) error {
	return l.write(ctx, "unregistering a repository", func(tx *txn) error {
		id, served, err := findPath(ctx, tx, path)
		if err != nil {
			return err
		}
		if !served {
			return notFound("repository %s is not registered", gitmodels.Printable(path, 200))
		}
		if _, err := tx.ExecContext(ctx, "UPDATE repositories SET removed_at = $1 WHERE id = $2", l.now(), id); err != nil {
			return err
		}
		return l.addEvent(ctx, tx, id, "", "unregistered", path)
	})
}

// Repositories implements gitmodels.Ledger.
func (l *Ledger) Repositories(ctx context.Context) (all []gitmodels.Repository, err error) {
	err = l.read(ctx, "listing repositories", func(tx *txn) error {
		rows, err := tx.QueryContext(ctx, "SELECT "+repositoryColumns+" FROM repositories WHERE removed_at = 0 ORDER BY name")
		if err != nil {
			return err
		}
		all, err = scanAll(rows, scanRepository)
		return err
	})
	return all, err
}
