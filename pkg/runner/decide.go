package runner

import (
	"context"
	"fmt"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/plan"
)

// record is an update on its way into the ledger. One that a path filter decided
// remembers what was compared with.
type record struct {
	gitmodels.NewPush
	entry    *entry // of the spool; nil for what the reconciler found
	filtered bool
	base     gitmodels.CommitID // empty: there was nothing to compare with
}

// prepare makes the records of one update of a push, if the repository bears it
// out: one, or with `each` one for every commit that it brought, oldest first.
func (r *round) prepare(ctx context.Context, until time.Time, p gitmodels.Push, u gitmodels.Update) ([]*record, error) {
	if err := r.believe(ctx, u); err != nil {
		return nil, err
	}
	steer := gitmodels.Steer(p.Options)
	tip := &record{NewPush: gitmodels.NewPush{
		PushRecord: gitmodels.PushRecord{ID: p.ID, RepositoryID: r.repo.ID, Update: u, Pusher: p.Pusher,
			Options: p.Options, Protocol: p.Protocol, Source: gitmodels.SourceHook, At: p.At},
		Abbrev: r.pol.Abbrev, Again: steer.Again, Priority: steer.Priority,
	}}
	records := []*record{tip}
	var err error
	switch {
	case steer.Skip:
		tip.Skip = "as asked by -o skip"
	case steer.Each:
		records, err = r.each(ctx, until, tip)
	default:
		err = r.decide(ctx, until, tip)
	}
	if err != nil {
		return nil, err
	}
	if tip.Skip == "" {
		r.bases[u.Ref] = u.New
	}
	if r.heads != nil {
		r.heads[u.Ref] = u.New
	}
	return records, nil
}

// believe refuses an update that the repository does not bear out: anybody who
// may write the spool could name any commit.
func (r *round) believe(ctx context.Context, u gitmodels.Update) error {
	name := gitmodels.Printable(string(u.Ref), 200)
	switch {
	case r.pol.Own(u.Ref):
		return aside("%s is written by the runner alone", name)
	case !r.pol.Governed(u.Ref):
		return aside("%s is not a governed ref of %s", name, r.repo.Name)
	case u.Deletes():
		return aside("a deletion of %s, which the gate never lets pass", name)
	}
	for _, id := range []gitmodels.CommitID{u.Old, u.New} {
		if _, err := gitmodels.ParseCommitID(string(id)); err != nil {
			return aside("%s: %v", name, err)
		}
	}
	was, err := r.wasTip(ctx, u.Ref, u.New)
	if err == nil && !was {
		err = aside("%s was never at %s: neither the ref nor its log shows it", name, u.New)
	}
	return err
}

// decide fills in whether an update is skipped, or why it runs where that is not
// plain, and its engine. What the commit's files make it take is bounded by the
// time given: beyond that the update runs, for a filter spares work and holds up
// nobody.
func (r *round) decide(ctx context.Context, until time.Time, rec *record) error {
	err := r.bounded(ctx, until, func(ctx context.Context, s Session) error {
		p, err := r.planOf(ctx, s, rec.Ref, rec.New)
		if err != nil || p == nil {
			return err // files at fault: it runs, and fails with the fault
		}
		rec.Engine = p.Engine
		return r.filter(ctx, s, p, rec)
	})
	if err != nil && ctx.Err() == nil && !time.Now().Before(until) {
		rec.Skip, rec.Reason, rec.filtered = "", fmt.Sprintf("its path filter was not decided within %s", r.in.cfg.Pace.Decide), false
		return nil
	}
	return err
}

// filter skips an update that has nothing to train. One that creates its ref
// always runs. Others run when a path that the commit's own filter watches
// differs from the last run on that ref that succeeded or is active: so a skip
// never hides a change that was never trained.
func (r *round) filter(ctx context.Context, s Session, p *plan.Plan, rec *record) error {
	if rec.Creates() || rec.Again {
		return nil
	}
	base, ok := r.bases[rec.Ref]
	if !ok {
		var err error
		if base, _, err = r.in.cfg.Ledger.Base(ctx, r.repo.ID, rec.Ref); err != nil {
			return err
		}
		r.bases[rec.Ref] = base
	}
	rec.filtered, rec.base, rec.Skip = true, base, ""
	if base == "" {
		return nil
	}
	if kind, err := s.ObjectType(ctx, base); err != nil || kind != "commit" {
		return err // gone: nothing to compare, and the run says so
	}
	reason, err := plan.Unwatched(ctx, s, base, rec.New, p.Filter, r.pol.Abbrev)
	if reason != "" {
		rec.Skip = reason + "; to run it anyway: " + gitmodels.ControlRerun.PushCommand(rec.New.Short(r.pol.Abbrev))
	}
	return err
}

// each makes a record of every commit that the update of tip brought to the
// governed refs, oldest first, the tip last: all of them run, whatever they
// change. They are believed because the tip was one, and they lie between what
// was there and it.
func (r *round) each(ctx context.Context, until time.Time, tip *record) ([]*record, error) {
	known, err := r.known(ctx)
	if err != nil {
		return nil, err
	}
	var commits []gitmodels.CommitID
	err = r.bounded(ctx, until, func(ctx context.Context, s Session) error {
		var there []gitmodels.CommitID
		for _, id := range append(known, tip.Old) { // known is the tip itself when it is imported again
			if id.IsZero() || id == tip.New {
				continue
			}
			if kind, err := s.ObjectType(ctx, id); err != nil {
				return err
			} else if kind == "commit" {
				there = append(there, id)
			}
		}
		commits, err = r.git.Commits(ctx, tip.New, there, gitmodels.MaxEach)
		return err
	})
	if err != nil && (ctx.Err() != nil || time.Now().Before(until)) {
		return nil, fmt.Errorf("listing the commits of %s: %w", tip.Ref, err)
	}
	if err != nil {
		commits, tip.Reason = nil, fmt.Sprintf("its commits were not listed within %s: the last one runs alone", r.in.cfg.Pace.Decide)
	}
	var records []*record
	before := tip.Old
	for _, id := range commits {
		if id == tip.New {
			continue
		}
		rec := *tip
		rec.ID, rec.Update = tip.ID+"-"+string(id), gitmodels.Update{Old: before, New: id, Ref: tip.Ref}
		rec.Reason = "-o each of the push of " + tip.New.Short(r.pol.Abbrev)
		records, before = append(records, &rec), id
	}
	records = append(records, tip)
	for _, rec := range records {
		if err := r.engineOf(ctx, until, rec); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// engineOf fills in the engine, if that is known in time: it is for the limits
// of the queue alone.
func (r *round) engineOf(ctx context.Context, until time.Time, rec *record) error {
	err := r.bounded(ctx, until, func(ctx context.Context, s Session) error {
		p, err := r.planOf(ctx, s, rec.Ref, rec.New)
		if p != nil {
			rec.Engine = p.Engine
		}
		return err
	})
	if err != nil && ctx.Err() == nil && !time.Now().Before(until) {
		return nil
	}
	return err
}

// known are the commits that the governed refs were at when this push came: what
// was recorded last of each, which is in the order of the pushes, as the refs
// themselves are not.
func (r *round) known(ctx context.Context) ([]gitmodels.CommitID, error) {
	if r.heads == nil {
		tips, err := r.in.cfg.Ledger.Known(ctx, r.repo.ID)
		if err != nil {
			return nil, err
		}
		r.heads = map[gitmodels.RefName]gitmodels.CommitID{}
		for _, t := range tips {
			r.heads[t.Ref] = t.Commit
		}
	}
	ids := make([]gitmodels.CommitID, 0, len(r.heads)+1)
	for _, id := range r.heads {
		ids = append(ids, id)
	}
	return ids, nil
}
