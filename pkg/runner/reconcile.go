package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// reconcilerName is the pusher of an update whose hook never told of it.
const reconcilerName = "unknown"

// reconcileAll compares every registered repository with the ledger. One that
// cannot be read is reported, and the others are served. It returns a line for
// each thing it found.
func (in *intake) reconcileAll(ctx context.Context, now bool) ([]string, error) {
	repos, err := in.cfg.Ledger.Repositories(ctx)
	if err != nil {
		return nil, err
	}
	var found []string
	var failed error
	for _, repo := range repos {
		lines, err := in.reconcile(ctx, repo, now)
		found = append(found, lines...)
		if ctx.Err() != nil {
			return found, ctx.Err()
		}
		key := "reconcile " + repo.ID
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", repo.Name, err))
			in.say.warn(key, "a repository cannot be compared with the ledger", "repository", repo.Name, "path", repo.Path, "cause", err.Error())
			continue
		}
		in.say.over(key)
	}
	return found, failed
}

// reconcile compares the refs of one repository with the ledger: refs are the
// truth. A tip without a record is recorded as a push, like the hook would have
// done, and so is a tip that another has replaced, as the reflog shows. With now
// it takes up tips of any age; otherwise those whose hook has had its time. Refs
// that vanished or went back are told to the administrator; no run is cancelled
// for them.
func (in *intake) reconcile(ctx context.Context, repo gitmodels.Repository, now bool) ([]string, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	r, err := in.newRound(ctx, repo)
	if err != nil {
		return nil, err
	}
	defer r.close()
	refs, err := r.git.Refs(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the refs: %w", err)
	}
	known, err := in.cfg.Ledger.Known(ctx, repo.ID)
	if err != nil {
		return nil, err
	}
	history := map[gitmodels.RefName][]gitmodels.CommitID{}
	for _, tip := range known {
		history[tip.Ref] = append(history[tip.Ref], tip.Commit)
	}
	found, err := r.sweepControls(ctx, refs)
	if err != nil {
		return found, err
	}
	for _, ref := range refs {
		if ref.Symref != "" || !r.pol.Governed(ref.Name) {
			continue
		}
		recorded := history[ref.Name]
		delete(history, ref.Name)
		lines, err := r.reconcileRef(ctx, ref, recorded, now)
		found = append(found, lines...)
		if err != nil {
			return found, fmt.Errorf("%s: %w", ref.Name, err)
		}
	}
	for ref, commits := range history {
		line := fmt.Sprintf("%s vanished; it was last recorded at %s", ref.Short(), commits[len(commits)-1])
		if r.pol.Governed(ref) && in.say.changed("ref "+repo.ID+string(ref), line) {
			if err := in.report(ctx, repo, "ref vanished", line); err != nil {
				return found, err
			}
			found = append(found, repo.Name+": "+line)
		}
	}
	return found, nil
}

// reconcileRef records what the ref and its log show and the ledger lacks.
// recorded are the commits of this ref in the ledger, oldest first.
func (r *round) reconcileRef(ctx context.Context, ref gitmodels.Ref, recorded []gitmodels.CommitID, now bool) ([]string, error) {
	var found []string
	entries, err := r.git.Reflog(ctx, ref.Name)
	if err != nil {
		return nil, fmt.Errorf("reading its log: %w", err)
	}
	if line, err := r.wentBack(ctx, ref, recorded); err != nil {
		return nil, err
	} else if line != "" {
		found = append(found, r.repo.Name+": "+line)
	}
	for _, m := range missing(ref, entries, recorded, r.repo.RegisteredAt) {
		if kind, err := r.git.ObjectType(ctx, m.New); err != nil {
			return found, err
		} else if kind != "commit" {
			continue // nothing that could run: the gate refuses these, so an administrator put it there
		}
		if m.New == ref.ID && !now && r.in.settling(r.repo, m) {
			continue
		}
		rec, err := r.recordFound(ctx, m)
		if err != nil {
			return found, err
		}
		found = append(found, fmt.Sprintf("%s: %s at %s had no record: %s", r.repo.Name, m.Ref.Short(), m.New.Short(r.pol.Abbrev), rec.Decision))
	}
	return found, nil
}

// missed is an update that the ledger has no record of.
type missed struct {
	gitmodels.Update
	at time.Time // zero when no log tells
}

// missing lists what a ref and its log show and the ledger lacks, oldest first:
// tips that another has replaced, then the tip. What happened before the
// repository was registered is nobody's push: of the log only what follows the
// first recorded commit counts, or all of a log that begins after registration.
func missing(ref gitmodels.Ref, entries []gitmodels.ReflogEntry, recorded []gitmodels.CommitID, registered time.Time) []missed {
	var list []missed
	listed := map[gitmodels.CommitID]bool{}
	tip := missed{Update: gitmodels.Update{New: ref.ID, Ref: ref.Name}}
	counts := len(entries) > 0 && entries[0].Old.IsZero() && entries[0].At.Unix() > registered.Unix()
	for i, e := range entries {
		switch {
		case !confirmed(entries, i, ref.ID):
		case e.New == ref.ID && i == len(entries)-1:
			tip.Old, tip.at = e.Old, e.At
		case slices.Contains(recorded, e.New):
			counts = true
		case counts && !e.New.IsZero() && e.New != ref.ID && !listed[e.New] && e.At.Unix() >= registered.Unix():
			listed[e.New] = true
			list = append(list, missed{gitmodels.Update{Old: e.Old, New: e.New, Ref: ref.Name}, e.At})
		}
	}
	if slices.Contains(recorded, ref.ID) {
		return list
	}
	if tip.Old == "" {
		// No log tells what it was: a first record counts as a creation, and any
		// other is compared with what was recorded last.
		tip.Old = gitmodels.CommitID(zeros(len(ref.ID)))
		if len(recorded) > 0 {
			tip.Old = recorded[len(recorded)-1]
		}
	}
	return append(list, tip)
}

// zeros is the id of no object, as long as the others of the repository.
func zeros(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = '0'
	}
	return string(b)
}

// settling reports whether a tip is so young that its hook may still be on the
// way. It spares a guess that the hook's record would complete a moment later;
// nothing depends on it.
func (in *intake) settling(repo gitmodels.Repository, m missed) bool {
	at := m.at
	if at.IsZero() {
		key := repo.ID + " " + string(m.Ref) + " " + string(m.New)
		if _, ok := in.young[key]; !ok {
			in.young[key] = in.cfg.Clock.Now()
		}
		at = in.young[key]
	}
	age := in.cfg.Clock.Now().Sub(at)
	return age >= 0 && age < in.cfg.Pace.Settle
}

// recordFound records an update whose hook never told of it. The id is made of
// what was found, so that finding it again adds nothing.
func (r *round) recordFound(ctx context.Context, m missed) (gitmodels.PushRecord, error) {
	delete(r.in.young, r.repo.ID+" "+string(m.Ref)+" "+string(m.New))
	at := m.at
	if at.IsZero() {
		at = r.in.cfg.Clock.Now()
	}
	rec := &record{NewPush: gitmodels.NewPush{
		PushRecord: gitmodels.PushRecord{ID: "found-" + r.repo.ID + "-" + string(m.New), RepositoryID: r.repo.ID, Update: m.Update,
			Pusher: gitmodels.Pusher{Name: reconcilerName}, Source: gitmodels.SourceReconcile, At: at},
		Abbrev: r.pol.Abbrev,
	}}
	if err := r.decide(ctx, time.Now().Add(r.in.cfg.Pace.Decide), rec); err != nil {
		return rec.PushRecord, err
	}
	made, err := r.in.cfg.Ledger.RecordPush(ctx, rec.NewPush)
	if err != nil {
		return made, err
	}
	delete(r.bases, m.Ref)
	r.in.logRecord(r.repo, made)
	return made, nil
}

// wentBack tells of a ref that no longer holds the commit last recorded for it,
// which no push can do.
func (r *round) wentBack(ctx context.Context, ref gitmodels.Ref, recorded []gitmodels.CommitID) (string, error) {
	key := "ref " + r.repo.ID + string(ref.Name)
	if len(recorded) == 0 {
		return "", nil
	}
	last := recorded[len(recorded)-1]
	if last == ref.ID {
		r.in.say.over(key)
		return "", nil
	}
	if kind, err := r.git.ObjectType(ctx, last); err != nil {
		return "", err
	} else if kind == "commit" {
		holds, err := r.git.IsAncestor(ctx, last, ref.ID)
		if err != nil {
			return "", err
		}
		if holds {
			r.in.say.over(key)
			return "", nil
		}
	}
	line := fmt.Sprintf("%s is at %s, which does not hold %s, recorded before it", ref.Name.Short(), ref.ID, last)
	if !r.in.say.changed(key, line) {
		return "", nil
	}
	return line, r.in.report(ctx, r.repo, "ref went back", line)
}
