package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/policy"
)

const (
	graphTimeout = 10 * time.Minute
	sweepEvery   = time.Hour
)

// houseLoop does what no run waits for: it keeps the commit-graphs fresh after
// imports, which keeps the hooks fast, and removes old folders. What fails here
// is logged and harms nothing.
func (r *Runner) houseLoop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.cfg.Clock.After(r.cfg.Pace.Spool):
		}
		for _, path := range r.dueGraphs() {
			r.writeGraph(ctx, path)
		}
		if err := guard(func() error { return r.sweepIfDue(ctx) }); err != nil && ctx.Err() == nil {
			r.say.warn("sweep", "old folders could not all be removed", "cause", err.Error())
		}
	}
}

// dueGraphs lists the repositories whose commit-graph is due, as being written.
func (r *Runner) dueGraphs() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var due []string
	for path := range r.graphs {
		due = append(due, path)
		r.graphs[path] = false
	}
	return due
}

// graphDone takes a repository off the list, unless it has become due again.
func (r *Runner) graphDone(path string) {
	r.mu.Lock()
	if !r.graphs[path] {
		delete(r.graphs, path)
	}
	r.mu.Unlock()
	wake(r.progress)
}

// writeGraph brings the commit-graph of one repository up to date. One that
// cannot be written waits for the next import.
func (r *Runner) writeGraph(ctx context.Context, path string) {
	defer r.graphDone(path)
	ctx, cancel := context.WithTimeout(ctx, graphTimeout)
	defer cancel()
	err := guard(func() error {
		git, err := r.cfg.Open(path)
		if err != nil {
			return err
		}
		return git.WriteCommitGraph(ctx)
	})
	if err != nil && !isCancelled(err) && ctx.Err() == nil {
		r.say.warn("graph "+path, "the commit-graph could not be written", "path", path, "cause", err.Error())
		return
	}
	r.say.over("graph " + path)
}

// sweepIfDue sweeps when nobody has for sweepEvery: a file tells, so that runners
// that start with every push do not sweep with every push.
func (r *Runner) sweepIfDue(ctx context.Context) error {
	now := r.cfg.Clock.Now()
	if now.Sub(r.swept) < sweepEvery {
		return nil
	}
	stamp := filepath.Join(r.cfg.Home, "runs", ".swept")
	if info, err := os.Stat(stamp); err == nil && now.Sub(info.ModTime()) < sweepEvery {
		r.swept = info.ModTime()
		return nil
	}
	r.swept = now
	if err := makeFolder(filepath.Dir(stamp)); err != nil {
		return err
	}
	if err := os.WriteFile(stamp, nil, 0o600); err != nil {
		return err
	}
	if err := os.Chtimes(stamp, now, now); err != nil {
		return err
	}
	return r.sweep(ctx)
}

// sweep removes what runs that ended left behind, after the times of models.keep.*:
// folders, containers and images.
func (r *Runner) sweep(ctx context.Context) error {
	repos, err := r.cfg.Ledger.Repositories(ctx)
	if err != nil {
		return err
	}
	var failed error
	policies := map[string]*policy.Policy{} // by repository id
	for _, repo := range repos {
		_, pol, err := r.intake.open(ctx, repo)
		if err != nil {
			continue // nothing of a repository goes whose policy cannot be read
		}
		policies[repo.ID] = pol
		commits, err := os.ReadDir(filepath.Join(r.cfg.Home, "runs", repo.ID))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		for _, e := range commits {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			id, err := gitmodels.ParseCommitID(e.Name())
			if err != nil {
				continue // not ours
			}
			info, err := e.Info()
			if err != nil {
				continue // gone meanwhile
			}
			if at := info.ModTime(); r.over(at, pol.KeepArtifacts) || r.over(at, pol.KeepLogs) { // else its newest attempt is younger
				failed = errors.Join(failed, r.sweepRun(ctx, repo, id, pol))
			}
		}
	}
	return errors.Join(failed, r.sweepEngines(ctx, policies))
}

// over reports whether what ended at that time has been kept long enough; keep 0
// is for ever.
func (r *Runner) over(at time.Time, keep time.Duration) bool {
	return keep > 0 && r.cfg.Clock.Now().Sub(at) >= keep
}

// sweepEngines has engines remove the containers of runs that ended, and the
// images that no run names which is kept: one that is live, that succeeded, or
// that ended less than models.keep.images ago. An image that no run of this ledger
// names is somebody else's.
func (r *Runner) sweepEngines(ctx context.Context, policies map[string]*policy.Policy) error {
	if r.cfg.Sweep == nil {
		return nil
	}
	// Asked for each container, after it was seen: a run may begin meanwhile.
	keepRun := func(runID string) bool {
		live, err := r.cfg.Ledger.LiveRuns(ctx)
		return err != nil || slices.Contains(live, runID)
	}
	keepImage := func(digest string) bool {
		uses, err := r.cfg.Ledger.ImageUses(ctx, digest)
		return err != nil || len(uses) == 0 || slices.ContainsFunc(uses, func(u gitmodels.ImageUse) bool {
			pol := policies[u.RepositoryID]
			return pol == nil || u.State == gitmodels.Succeeded || u.Finished.IsZero() || !r.over(u.Finished, pol.KeepImages)
		})
	}
	lines, err := r.cfg.Sweep(ctx, keepRun, keepImage)
	for _, line := range lines {
		r.log.Info("swept", "what", line)
	}
	return err
}

// sweepRun removes what one commit left behind.
func (r *Runner) sweepRun(ctx context.Context, repo gitmodels.Repository, commit gitmodels.CommitID, pol *policy.Policy) error {
	row, err := r.cfg.Ledger.Show(ctx, repo.ID, commit)
	if isKind(err, gitmodels.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if row.State == nil || !row.State.Terminal() || row.Attempt == nil {
		return nil
	}
	var failed error
	kept := false
	for _, a := range row.Attempts {
		dirs := attemptFolders(r.cfg.Home, repo.ID, commit, a.N)
		files := a.Finished != nil && r.over(*a.Finished, pol.KeepArtifacts)
		logs := a.Finished != nil && r.over(*a.Finished, pol.KeepLogs) && a.State != gitmodels.Succeeded
		var gone []string
		switch {
		case files && logs:
			gone = []string{dirs.attempt()}
		case files:
			gone = []string{dirs.tree(), dirs.artifacts(), dirs.metrics(), dirs.engine(gitmodels.StageTrain), dirs.engine(gitmodels.StageEvaluate)}
		case logs:
			for _, stage := range loggedStages {
				gone = append(gone, dirs.log(stage))
			}
		}
		kept = kept || !files
		for _, path := range gone {
			if err := removeAll(path); err != nil {
				failed = errors.Join(failed, fmt.Errorf("attempt %s of %s: %w", strconv.Itoa(a.N), commit, err))
			}
		}
	}
	if !kept {
		failed = errors.Join(failed, removeAll(attemptFolders(r.cfg.Home, repo.ID, commit, 1).checkpoints()))
	}
	return failed
}
