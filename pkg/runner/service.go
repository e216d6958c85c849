package runner

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Service answers for a state directory: the runner's socket and, where no
// runner answers and the caller owns the directory, the command line. It is safe
// for concurrent use, also beside a runner in another process: everything it
// does is one transaction of the ledger.
type Service struct {
	cfg    Config
	intake *intake
	// told is called after a change that a worker should see at once.
	told func(runID string)
}

// NewService needs the first half of Config.
func NewService(cfg Config) (*Service, error) {
	cfg, err := cfg.prepare()
	if err != nil {
		return nil, err
	}
	return newService(cfg, newIntake(cfg)), nil
}

func newService(cfg Config, in *intake) *Service {
	return &Service{cfg: cfg, intake: in, told: func(string) {}}
}

// List returns a row per commit with a record, newest first; an empty
// repository means all of them, a limit of 0 all rows.
func (s *Service) List(ctx context.Context, repository string, limit int) ([]gitmodels.Listing, error) {
	id := ""
	if repository != "" {
		repo, err := s.repository(ctx, repository)
		if err != nil {
			return nil, err
		}
		id = repo.ID
	}
	return s.cfg.Ledger.List(ctx, id, limit)
}

// Show returns the row of the commit that prefix names, with its details.
func (s *Service) Show(ctx context.Context, repository, prefix string) (gitmodels.Listing, error) {
	repo, row, err := s.find(ctx, repository, prefix)
	if err != nil || row.State == nil || *row.State != gitmodels.Queued || row.Ahead != nil || len(row.Refs) == 0 {
		return row, err
	}
	r, err := s.cfg.Ledger.Receipt(ctx, repo.ID, gitmodels.Update{Old: row.Commit, New: row.Commit, Ref: row.Refs[0]})
	if err == nil {
		row.Ahead = &r.Ahead
	}
	return row, err
}

// Cancel asks the run of the commit that prefix names to end, on behalf of by,
// and returns its row.
func (s *Service) Cancel(ctx context.Context, repository, prefix, by string) (gitmodels.Listing, error) {
	repo, row, err := s.find(ctx, repository, prefix)
	if err != nil {
		return gitmodels.Listing{}, err
	}
	if row.Run == nil {
		return gitmodels.Listing{}, noRun(row)
	}
	run, err := s.cfg.Ledger.Cancel(ctx, row.RunID, by)
	if err != nil {
		return gitmodels.Listing{}, err
	}
	s.cfg.Log.Info("a cancel was asked", "repository", repo.Name, "run", run.Short, "by", by)
	s.told(run.ID)
	return s.cfg.Ledger.Show(ctx, repo.ID, row.Commit)
}

// Rerun queues another attempt of the commit that prefix names, on behalf of by,
// and returns its row.
func (s *Service) Rerun(ctx context.Context, repository, prefix, by string) (gitmodels.Listing, error) {
	repo, row, err := s.find(ctx, repository, prefix)
	if err != nil {
		return gitmodels.Listing{}, err
	}
	_, pol, err := s.intake.open(ctx, repo)
	if err != nil {
		return gitmodels.Listing{}, err
	}
	run, err := s.cfg.Ledger.Rerun(ctx, repo.ID, row.Commit, by, pol.Abbrev)
	if err != nil {
		return gitmodels.Listing{}, err
	}
	s.cfg.Log.Info("another attempt was asked", "repository", repo.Name, "run", run.Short, "attempt", run.Attempt, "by", by)
	s.told(run.ID)
	return s.cfg.Ledger.Show(ctx, repo.ID, row.Commit)
}

// Reconcile compares the refs of one repository, or of all with an empty path,
// with the ledger and records what is missing. It returns one line for each
// thing it found.
func (s *Service) Reconcile(ctx context.Context, repository string) ([]string, error) {
	if repository == "" {
		return s.intake.reconcileAll(ctx, true)
	}
	repo, err := s.repository(ctx, repository)
	if err != nil {
		return nil, err
	}
	found, err := s.intake.reconcile(ctx, repo, true)
	s.told("")
	return found, err
}

// find resolves a repository's path and a commit's prefix. A commit that no
// runner has taken up yet is an Error of Kind Waiting.
func (s *Service) find(ctx context.Context, repository, prefix string) (gitmodels.Repository, gitmodels.Listing, error) {
	repo, err := s.repository(ctx, repository)
	if err != nil {
		return gitmodels.Repository{}, gitmodels.Listing{}, err
	}
	commit, err := s.cfg.Ledger.Find(ctx, repo.ID, prefix)
	if isKind(err, gitmodels.NotFound) {
		spooled, spoolErr := s.spooled(repo, prefix)
		if spoolErr != nil {
			return gitmodels.Repository{}, gitmodels.Listing{}, spoolErr
		}
		// What was imported in the meantime is found now.
		commit, err = s.cfg.Ledger.Find(ctx, repo.ID, prefix)
		if isKind(err, gitmodels.NotFound) && spooled {
			err = &gitmodels.Error{Kind: gitmodels.Waiting,
				Message: gitmodels.Printable(prefix, 80) + " is accepted and not taken up yet",
				Hint:    "git models logs -f " + gitmodels.Printable(prefix, 80)}
		}
	}
	if err != nil {
		return gitmodels.Repository{}, gitmodels.Listing{}, err
	}
	row, err := s.cfg.Ledger.Show(ctx, repo.ID, commit)
	return repo, row, err
}

// spooled reports whether a push of a commit that begins with prefix waits in
// the spool.
func (s *Service) spooled(repo gitmodels.Repository, prefix string) (bool, error) {
	entries, err := s.cfg.Spool.Entries()
	if err != nil {
		return false, fmt.Errorf("reading the spool: %w", err)
	}
	prefix = strings.ToLower(prefix)
	for _, e := range entries {
		if e.Err != nil || resolved(e.Push.Repository) != resolved(repo.Path) {
			continue
		}
		for _, u := range e.Push.Updates {
			if strings.HasPrefix(string(u.New), prefix) {
				return true, nil
			}
		}
	}
	return false, nil
}

// repository finds a registered repository by its path.
func (s *Service) repository(ctx context.Context, path string) (gitmodels.Repository, error) {
	if path == "" {
		return gitmodels.Repository{}, &gitmodels.Error{Kind: gitmodels.Invalid,
			Message: "no repository is named", Hint: "git models ls --all"}
	}
	repo, err := findRepository(ctx, s.cfg.Ledger, path)
	if err != nil {
		return repo, err
	}
	return repo, nil
}

// noRun says why a commit with a record has nothing to cancel or to show.
func noRun(row gitmodels.Listing) error {
	why := string(row.Decision)
	if row.Reason != nil && *row.Reason != "" {
		why += ": " + *row.Reason
	}
	return &gitmodels.Error{Kind: gitmodels.Invalid,
		Message: fmt.Sprintf("%s has not run (%s)", row.Short, why),
		Hint:    "git models rerun " + row.Short}
}

// findRepository finds the registered repository that lies at path.
func findRepository(ctx context.Context, ledger gitmodels.Ledger, path string) (gitmodels.Repository, error) {
	repos, err := ledger.Repositories(ctx)
	if err != nil {
		return gitmodels.Repository{}, err
	}
	return repositoryAt(repos, path)
}

// repositoryAt is the one of repos that lies at path, whatever symbolic links
// either of the two was written with.
func repositoryAt(repos []gitmodels.Repository, path string) (gitmodels.Repository, error) {
	i := slices.IndexFunc(repos, func(r gitmodels.Repository) bool { return r.Path == path })
	if i < 0 {
		want := resolved(path)
		i = slices.IndexFunc(repos, func(r gitmodels.Repository) bool { return resolved(r.Path) == want })
	}
	if i >= 0 {
		return repos[i], nil
	}
	return gitmodels.Repository{}, &gitmodels.Error{Kind: gitmodels.NotFound,
		Message: fmt.Sprintf("repository %s is not registered here", gitmodels.Printable(path, 200)),
		Hint:    "git models install " + gitmodels.Printable(path, 200)}
}

// resolved is path without symbolic links, or cleaned when it does not exist.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return filepath.Clean(path)
}

// isKind reports whether err carries an Error of that kind, and not merely an
// unknown cause.
func isKind(err error, kind gitmodels.Kind) bool {
	var e *gitmodels.Error
	return errors.As(err, &e) && e.Kind == kind
}
