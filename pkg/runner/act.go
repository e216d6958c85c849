package runner

import (
	"context"
	"errors"
	"fmt"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// act does what control refs asked while no runner answered. A file that is
// imported again after a crash changes nothing more: a rerun is a record with an
// id of its own, and a cancel is not for an attempt that was asked for after it.
// What cannot be done is an errSetAside; told are the runs that changed.
func (r *round) act(ctx context.Context, p gitmodels.Push) (told []string, refused error) {
	for _, a := range p.Acts {
		runID, err := r.actOne(ctx, p, a)
		switch {
		case asideOf(err) != "":
			refused = errors.Join(refused, err)
		case err != nil:
			return told, err
		case runID != "":
			told = append(told, runID)
		}
	}
	clear(r.bases) // a run that ends, or begins anew, may be one
	if refused != nil {
		return told, aside("%v", refused)
	}
	return told, nil
}

func (r *round) actOne(ctx context.Context, p gitmodels.Push, a gitmodels.Act) (runID string, err error) {
	what := gitmodels.Printable(string(a.Control), 40) + " of " + gitmodels.Printable(string(a.Commit), 64)
	if a.Control != gitmodels.ControlCancel && a.Control != gitmodels.ControlRerun {
		return "", aside("%s: only cancel and rerun wait for a runner", what)
	}
	if r.pol.Cancel == "owner" {
		return "", aside("%s: not by a push here (models.cancel=owner)", what)
	}
	if _, err := gitmodels.ParseCommitID(string(a.Commit)); err != nil {
		return "", aside("%s: %v", what, err)
	}
	row, err := r.in.cfg.Ledger.Show(ctx, r.repo.ID, a.Commit)
	if isKind(err, gitmodels.NotFound) {
		return "", aside("%s: it was never pushed to a governed ref", what)
	}
	if err != nil {
		return "", err
	}
	by := gitmodels.Printable(p.Pusher.Name, 100)
	if a.Control == gitmodels.ControlCancel {
		return r.cancel(ctx, p, row, by)
	}
	return r.rerun(ctx, p, row, by)
}

// cancel cancels a run that was live when that was asked. One that has ended
// since is left as it is, which the history tells.
func (r *round) cancel(ctx context.Context, p gitmodels.Push, row gitmodels.Listing, by string) (string, error) {
	late := ""
	if row.Run == nil {
		late = "it has no run"
	}
	for _, v := range row.Pushes {
		if v.Source == gitmodels.SourceManual && v.At.After(p.At) {
			late = "another attempt was asked for since"
		}
	}
	if late == "" {
		run, err := r.in.cfg.Ledger.Cancel(ctx, row.RunID, by)
		if err == nil {
			r.in.cfg.Log.Info("a cancel was asked", "repository", r.repo.Name, "run", run.Short, "by", by, "push", p.ID)
			return run.ID, nil
		}
		if !isKind(err, gitmodels.Invalid) {
			return "", err
		}
		late = messageOf(err)
	}
	return "", r.in.report(ctx, r.repo, "cancel came too late", fmt.Sprintf("asked by %s for %s: %s", by, row.Short, late))
}

// rerun makes another attempt of a commit, or its first.
func (r *round) rerun(ctx context.Context, p gitmodels.Push, row gitmodels.Listing, by string) (string, error) {
	if len(row.Refs) == 0 {
		return "", aside("rerun of %s: no ref is recorded with it", row.Short)
	}
	rec, err := r.in.cfg.Ledger.RecordPush(ctx, gitmodels.NewPush{
		PushRecord: gitmodels.PushRecord{ID: p.ID + "-rerun-" + string(row.Commit), RepositoryID: r.repo.ID,
			Update: gitmodels.Update{Old: row.Commit, New: row.Commit, Ref: row.Refs[0]}, Pusher: gitmodels.Pusher{Name: by, Via: p.Pusher.Via},
			Protocol: p.Protocol, Source: gitmodels.SourceManual, Reason: "rerun asked by " + by, At: p.At},
		Abbrev: r.pol.Abbrev, Again: true,
	})
	if err != nil {
		return "", err
	}
	r.in.logRecord(r.repo, rec)
	return rec.RunID, nil
}
