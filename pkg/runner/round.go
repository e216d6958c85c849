package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline/dockerfile"
	"github.com/git-models/git-models/pkg/plan"
	"github.com/git-models/git-models/pkg/policy"
)

// round is what one look into the spool, or at the refs, knows of a repository:
// everything is asked once, and of objects through one child. It is older than
// nothing that the look is about, for it begins after the spool was read.
type round struct {
	in   *intake
	repo gitmodels.Repository
	git  Repo
	pol  *policy.Policy

	ctx     context.Context // of the child
	session Session         // nil while nothing is asked

	was   map[gitmodels.RefName]*past
	plans map[gitmodels.CommitID]*plan.Plan        // nil: its files are at fault
	bases map[gitmodels.RefName]gitmodels.CommitID // what the next path filter compares with, as it looks; empty: nothing
	heads map[gitmodels.RefName]gitmodels.CommitID // what was recorded last, once somebody asks
}

// newRound begins a round; its child ends with ctx or close.
func (in *intake) newRound(ctx context.Context, repo gitmodels.Repository) (*round, error) {
	git, pol, err := in.open(ctx, repo)
	if err != nil {
		return nil, err
	}
	return &round{in: in, repo: repo, git: git, pol: pol, ctx: ctx, was: map[gitmodels.RefName]*past{},
		plans: map[gitmodels.CommitID]*plan.Plan{}, bases: map[gitmodels.RefName]gitmodels.CommitID{}}, nil
}

func (r *round) close() {
	if r.session != nil {
		r.session.Close()
	}
}

// bounded asks about objects until the given time. The child that answers is
// ended then, and the next question has another.
func (r *round) bounded(ctx context.Context, until time.Time, ask func(context.Context, Session) error) error {
	ctx, stop := context.WithDeadline(ctx, until)
	defer stop()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if r.session == nil {
		r.session = r.git.Session(r.ctx)
	}
	return ask(ctx, r.session)
}

// planOf is what a commit would run; nil when its files are at fault, or it is
// no commit.
func (r *round) planOf(ctx context.Context, s Session, ref gitmodels.RefName, commit gitmodels.CommitID) (*plan.Plan, error) {
	if p, ok := r.plans[commit]; ok {
		return p, nil
	}
	kind, err := s.ObjectType(ctx, commit)
	if err != nil {
		return nil, err
	}
	var p *plan.Plan
	if kind == "commit" {
		p, err = plan.Make(ctx, plan.Input{Commit: commit, Ref: ref, Repository: r.repo.Name, Policy: r.pol,
			Files: s, AttemptName: commit.Short(r.pol.Abbrev), Dockerfile: dockerfile.Check})
		var faults *plan.Faults
		if errors.As(err, &faults) {
			p, err = nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the files of %s: %w", commit, err)
		}
	}
	r.plans[commit] = p
	return p, nil
}

// past is where a ref was, as it and its log tell.
type past struct {
	tip    gitmodels.CommitID // empty: there is no such ref, or it is symbolic
	moves  map[gitmodels.CommitID]bool
	logged bool
}

// wasTip reports whether ref is at commit or its log shows that it was. Only a
// ref that keeps no log is believed by ancestry.
func (r *round) wasTip(ctx context.Context, ref gitmodels.RefName, commit gitmodels.CommitID) (bool, error) {
	p, err := r.past(ctx, ref)
	if err != nil {
		return false, err
	}
	switch {
	case p.tip == commit || p.moves[commit]:
		return true, nil
	case p.tip == "" || p.logged: // a ref that is gone has no log either
		return false, nil
	}
	if kind, err := r.git.ObjectType(ctx, commit); err != nil || kind != "commit" {
		return false, err
	}
	return r.git.IsAncestor(ctx, commit, p.tip)
}

// past reads where ref is and was, once a round. The tip comes first: a move that
// happens in between is then a last line that the ref does not confirm.
func (r *round) past(ctx context.Context, ref gitmodels.RefName) (*past, error) {
	if p := r.was[ref]; p != nil {
		return p, nil
	}
	tip, err := tipOf(ctx, r.git, ref)
	if err != nil {
		return nil, err
	}
	p := &past{tip: tip, moves: map[gitmodels.CommitID]bool{}}
	if tip != "" {
		entries, err := r.git.Reflog(ctx, ref)
		if err != nil {
			return nil, fmt.Errorf("reading the log of %s: %w", ref, err)
		}
		p.logged = len(entries) > 0
		for i, e := range entries {
			if confirmed(entries, i, tip) {
				p.moves[e.New] = true
			}
		}
	}
	r.was[ref] = p
	return p, nil
}

// tipOf is the commit ref points to, or empty when there is no such ref or it
// is a symbolic one.
func tipOf(ctx context.Context, git Repo, ref gitmodels.RefName) (gitmodels.CommitID, error) {
	tip, err := git.Tip(ctx, ref)
	if err == nil && tip != "" {
		var symbolic bool
		if _, symbolic, err = git.SymbolicTarget(ctx, ref); symbolic {
			tip = ""
		}
	}
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", ref, err)
	}
	return tip, nil
}

// confirmed reports whether line i of a reflog is an update that happened: git
// writes the log before it commits the ref, so a last line counts only once the
// ref agrees, and any other once the next line starts from it.
func confirmed(entries []gitmodels.ReflogEntry, i int, tip gitmodels.CommitID) bool {
	if i == len(entries)-1 {
		return entries[i].New == tip
	}
	return entries[i+1].Old == entries[i].New
}
