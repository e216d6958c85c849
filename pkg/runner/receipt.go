package runner

import (
	"context"
	"errors"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/wire"
)

// Receipts says what there is to say about updates that were just accepted, or
// are about to be: their commits need not be in the repository yet. It asks the
// ledger and starts no git child, for a push waits for it.
func (s *Service) Receipts(ctx context.Context, repository string, updates []gitmodels.Update) ([]gitmodels.Receipt, error) {
	repo, err := s.repository(ctx, repository)
	if err != nil {
		return nil, err
	}
	store := s.defaultStore(ctx, repo)
	updates = updates[:min(len(updates), wire.MaxReceipts)]
	receipts := make([]gitmodels.Receipt, 0, len(updates))
	for _, u := range updates {
		_, errOld := gitmodels.ParseCommitID(string(u.Old))
		_, errNew := gitmodels.ParseCommitID(string(u.New))
		_, errRef := gitmodels.ParseRefName(string(u.Ref))
		if err := errors.Join(errOld, errNew, errRef); err != nil {
			return nil, &gitmodels.Error{Kind: gitmodels.Invalid, Message: "no update of a ref: " + err.Error()}
		}
		r, err := s.cfg.Ledger.Receipt(ctx, repo.ID, u)
		if err != nil {
			return nil, err
		}
		r.Repository, r.Store = repo.Name, store
		receipts = append(receipts, r)
	}
	return receipts, nil
}

// defaultStore is the prefix of results of the repository, or empty where policy
// cannot be read now: the runner tells of that itself. A policy that was read
// before is good enough for words.
func (s *Service) defaultStore(ctx context.Context, repo gitmodels.Repository) string {
	pol := s.intake.lastPolicy(repo.ID)
	if pol == nil {
		var err error
		if _, pol, err = s.intake.open(ctx, repo); err != nil {
			return ""
		}
	}
	if prefixes := pol.StorePrefixes(); len(prefixes) > 0 {
		return prefixes[0] + "/" + repo.Name
	}
	return ""
}
