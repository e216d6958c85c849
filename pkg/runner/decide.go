package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/plan"
	"github.com/git-models/git-models/pkg/policy"
)

// decide says whether an update is skipped, or why it runs where that is not
// plain. What the commit's files make it take is bounded by the time given:
// beyond that the update runs, for a filter spares work and holds up nobody.
func (in *intake) decide(ctx context.Context, until time.Time, repo gitmodels.Repository, git Repo, pol *policy.Policy,
	u gitmodels.Update) (skip, reason string, err error) {
	bounded, stop := context.WithDeadline(ctx, until)
	defer stop()
	skip, err = in.filtered(bounded, repo, git, pol, u)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		return "", fmt.Sprintf("its path filter was not decided within %s", in.cfg.Pace.Decide), nil
	}
	return skip, "", err
}

// filtered decides whether an update has anything to train: it returns why not,
// or nothing. An update that creates its ref always runs. Others run when a path
// that the commit's own filter watches differs from the last run on that ref
// that succeeded or is active: so a skip never hides a change that was never
// trained. A commit whose files are at fault runs, and fails with the fault.
func (in *intake) filtered(ctx context.Context, repo gitmodels.Repository, git Repo, pol *policy.Policy, u gitmodels.Update) (string, error) {
	if u.Creates() {
		return "", nil
	}
	base, ok, err := in.cfg.Ledger.Base(ctx, repo.ID, u.Ref)
	if err != nil {
		return "", err
	}
	if !ok || base == u.New {
		return "", nil
	}
	for _, id := range []gitmodels.CommitID{base, u.New} {
		kind, err := git.ObjectType(ctx, id)
		if err != nil {
			return "", err
		}
		if kind != "commit" {
			return "", nil // gone: nothing to compare, and the run says so
		}
	}
	p, err := plan.Make(ctx, plan.Input{Commit: u.New, Ref: u.Ref, Repository: repo.Name, Policy: pol,
		Files: git, AttemptName: u.New.Short(pol.Abbrev)})
	var faults *plan.Faults
	if errors.As(err, &faults) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the files of %s: %w", u.New, err)
	}
	changed, err := git.ChangedPaths(ctx, base, u.New)
	if err != nil {
		return "", fmt.Errorf("comparing %s with %s: %w", u.New, base, err)
	}
	if _, ok, err := p.Filter.Match(ctx, changed); ok || err != nil {
		return "", err
	}
	return fmt.Sprintf("nothing that trains changed since %s (%s); to run it anyway: git models rerun %s",
		base.Short(pol.Abbrev), gitmodels.Printable(p.Filter.String(), 300), u.New.Short(pol.Abbrev)), nil
}
