package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// collect stores the results of a training that succeeded, and ends the run.
func (w *worker) collect(ctx context.Context) error {
	return w.conclude(ctx, gitmodels.Succeeded, "the training ended with status 0")
}

// end ends the run otherwise, with what there is of logs and metrics. Nothing
// that goes wrong in gathering them keeps the outcome back.
func (w *worker) end(ctx context.Context, state gitmodels.State, cause string) error {
	return w.conclude(ctx, state, cause)
}

// fail ends the run because of a stage that failed too often or for good.
func (w *worker) fail(ctx context.Context, stage gitmodels.StageName, cause string) error {
	err := w.recordVerdict(ctx, stage, &verdict{State: gitmodels.Failed, Cause: cause})
	var v *verdict
	if !errors.As(err, &v) {
		return err
	}
	return w.end(ctx, v.State, v.Cause)
}

// conclude makes the outcome, stores run.json after everything else, and ends
// the run in the ledger, from where it is published. The outcome is kept in a
// file before anything shows it, so that a worker that takes over says the same
// to the byte.
func (w *worker) conclude(ctx context.Context, state gitmodels.State, cause string) error {
	if st, begun := w.claim.Stage(gitmodels.StageCollect); !begun || st.State != gitmodels.StageDone {
		if err := w.begin(ctx, gitmodels.StageCollect, w.collectingState(state)); err != nil {
			return err
		}
	}
	o, err := w.keptOutcome(state)
	if err != nil {
		return err
	}
	if o == nil {
		if o, err = w.outcome(ctx, state, cause); err != nil {
			return err
		}
		if err := w.gather(ctx, o); err != nil {
			return err
		}
		if err := w.keepOutcome(o); err != nil {
			return err
		}
	}
	if err := w.storeOutcome(ctx, o); err != nil {
		return err
	}
	if err := w.endStage(ctx, gitmodels.StageCollect, gitmodels.StageDone, nil, ""); err != nil {
		return err
	}
	if err := w.r.cfg.Ledger.Finish(ctx, w.claim, *o); err != nil {
		return err
	}
	w.r.say.over("gap " + w.claim.Run.ID)
	w.log.Info("run ended", "state", string(o.State), "cause", o.Cause, "took", o.Duration().String())
	return nil
}

// collectingState is what a run shows while it is collected: one that failed or
// was cancelled does not claim to be evaluated.
func (w *worker) collectingState(state gitmodels.State) gitmodels.State {
	switch {
	case state == gitmodels.Succeeded:
		return gitmodels.Evaluating
	case w.claim.Run.State == gitmodels.Queued:
		return gitmodels.Building
	}
	return w.claim.Run.State
}

// outcome is how the attempt ended, without what gather adds.
func (w *worker) outcome(ctx context.Context, state gitmodels.State, cause string) (*gitmodels.Outcome, error) {
	c := w.claim
	row, err := w.r.cfg.Ledger.Show(ctx, c.Repository.ID, c.Run.Commit)
	if err != nil {
		return nil, err
	}
	o := &gitmodels.Outcome{
		State: state, Cause: gitmodels.Printable(cause, 1000), Run: c.Run.Short, Attempt: c.Attempt.N, Name: c.Attempt.Name,
		Commit: c.Run.Commit, Repository: c.Repository.Name, Ref: c.Run.Ref, Pusher: pusherOf(row, c.Attempt),
		Engine: c.Attempt.Engine, Job: c.Attempt.Job, Created: c.Run.CreatedAt, Started: w.started(),
		Finished: w.r.cfg.Clock.Now().UTC().Truncate(time.Millisecond), Version: w.r.cfg.Version,
	}
	if w.r.cfg.Versions != nil {
		o.Versions = w.r.cfg.Versions(ctx)
	}
	if w.git != nil {
		info, err := w.git.Commit(ctx, c.Run.Commit)
		if err == nil {
			o.Subject = gitmodels.Printable(info.Subject, 200)
		} else if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	var out built
	if st, ok := c.Stage(gitmodels.StageBuild); ok && st.State == gitmodels.StageDone {
		if err := w.output(gitmodels.StageBuild, &out); err != nil {
			return nil, err
		}
		o.Command, o.Overrides, o.Metrics, o.Best = out.Command, out.Overrides, out.Metrics, out.Best
		if o.Engine == "" {
			o.Engine = out.Engine
		}
		if made := out.Image; made != nil {
			o.Image, o.Digest, o.BuildKey, o.Built, o.ImageStory = made.Name, made.Digest, made.Key, &made.Built, made.ImageStory
		}
		if state == gitmodels.Succeeded {
			o.Artifacts = out.Artifacts
		}
	}
	o.Warnings = append(o.Warnings, out.Warnings...)
	o.Warnings = append(o.Warnings, w.stageWarnings(state)...)
	return o, nil
}

// pusherOf is whose push is trained: the one who asked for this attempt, unless
// the runner itself did.
func pusherOf(row gitmodels.Listing, a gitmodels.Attempt) string {
	name := a.Actor
	if a.Resumes && len(row.Attempts) > 0 {
		for _, earlier := range row.Attempts {
			if earlier.Name == a.Name {
				name = earlier.Actor
				break
			}
		}
	}
	return gitmodels.Printable(name, 100)
}

// started is when the attempt's first stage began.
func (w *worker) started() time.Time {
	for _, st := range w.claim.Stages {
		if !st.StartedAt.IsZero() {
			return st.StartedAt
		}
	}
	return time.Time{}
}

// stageWarnings is what the jobs' ends left to say.
func (w *worker) stageWarnings(state gitmodels.State) []string {
	var warnings []string
	for _, st := range w.claim.Stages {
		var out trained
		if (st.Name == gitmodels.StageTrain || st.Name == gitmodels.StageEvaluate) && json.Unmarshal(st.Output, &out) == nil {
			warnings = append(warnings, out.Warnings...)
		}
		if st.Name == gitmodels.StageEvaluate && st.State == gitmodels.StageFailed && readNote(st).Final {
			warnings = append(warnings, "the evaluation failed: "+st.Error)
		}
	}
	if state == gitmodels.Succeeded && w.cancelled() {
		warnings = append(warnings, "a cancel by "+gitmodels.Printable(w.askedBy, 100)+" came after the training had ended")
	}
	return warnings
}

// gather brings results, metrics and logs to the store and their values into
// the outcome. For a run that succeeded all of it has to work; otherwise what
// did not is a warning.
func (w *worker) gather(ctx context.Context, o *gitmodels.Outcome) error {
	local := w.localLog()
	if local != "" {
		o.Log = "file://" + local
	}
	if o.Metrics == "" {
		return nil // it ended before it was known where results go
	}
	err := w.store(ctx, o, local)
	if err == nil || o.State == gitmodels.Succeeded || ctx.Err() != nil {
		return err
	}
	w.log.Warn("the remains of the run could not be stored", "cause", err.Error())
	o.Warnings = append(o.Warnings, "metrics and logs could not be stored: "+messageOf(err))
	o.Metrics, o.Values, o.Files = "", nil, nil
	return nil
}

// store does the work of gather.
func (w *worker) store(ctx context.Context, o *gitmodels.Outcome, local string) error {
	values, warnings, err := w.r.cfg.Metrics(w.dirs.metrics())
	if err != nil {
		return fmt.Errorf("reading the metrics: %w", err)
	}
	o.Values = values
	o.Warnings = append(o.Warnings, warnings...)
	logs, err := w.gatherLogs()
	if err != nil {
		return fmt.Errorf("gathering the logs: %w", err)
	}
	// The metrics go first: a finished run's record there refuses another before
	// anything of it is touched. The logs lie beside them, where no job can write.
	logsURI := o.Metrics + ".logs"
	parts := []struct{ uri, src, prefix string }{
		{o.Metrics, w.dirs.metrics(), "metrics/"},
		{logsURI, logs, "logs/"},
		{o.Artifacts, w.dirs.artifacts(), "artifacts/"},
	}
	for _, p := range parts {
		if p.uri == "" {
			continue
		}
		files, warnings, err := w.r.cfg.Store.Put(ctx, p.uri, p.src)
		if err != nil {
			return fmt.Errorf("storing %s: %w", p.uri, err)
		}
		for _, f := range files {
			f.Path = p.prefix + f.Path
			o.Files = append(o.Files, f)
		}
		o.Warnings = append(o.Warnings, warnings...)
	}
	if local != "" {
		o.Log = logsURI + "/" + filepath.Base(local)
	}
	slices.SortFunc(o.Files, func(a, b gitmodels.File) int { return strings.Compare(a.Path, b.Path) })
	return removeAll(logs)
}

// localLog is the log of the last stage that has one and that matters most: the
// training's, or the build's when there was no training.
func (w *worker) localLog() string {
	for _, stage := range []gitmodels.StageName{gitmodels.StageTrain, gitmodels.StageBuild} {
		if info, err := os.Lstat(w.dirs.log(stage)); err == nil && info.Mode().IsRegular() {
			return w.dirs.log(stage)
		}
	}
	return ""
}

// gatherLogs copies the logs of the attempt into one folder for the store.
func (w *worker) gatherLogs() (string, error) {
	dir := w.dirs.logs()
	if err := removeAll(dir); err != nil {
		return "", err
	}
	if err := makeFolder(dir); err != nil {
		return "", err
	}
	for _, stage := range loggedStages {
		err := copyFile(w.dirs.log(stage), filepath.Join(dir, string(stage)+".log"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return dir, nil
}

// copyFile copies a regular file to a new one.
func copyFile(from, to string) (err error) {
	in, err := os.OpenFile(from, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.Join(err, fmt.Errorf("%s is not a regular file", from))
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// keptOutcome is the outcome that an earlier worker made of this attempt, if it
// ended it the same way; otherwise nil.
func (w *worker) keptOutcome(state gitmodels.State) (*gitmodels.Outcome, error) {
	data, err := os.ReadFile(w.dirs.outcome())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the kept outcome: %w", err)
	}
	var o gitmodels.Outcome
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, fmt.Errorf("reading the kept outcome: %w", err)
	}
	if o.State != state {
		return nil, nil
	}
	return &o, nil
}

// keepOutcome writes the outcome's file, whole and durable.
func (w *worker) keepOutcome(o *gitmodels.Outcome) error {
	data, err := runJSON(o)
	if err != nil {
		return err
	}
	if err := makeFolder(w.dirs.attempt()); err != nil {
		return err
	}
	return writeDurably(w.dirs.outcome(), data)
}

// writeDurably replaces a file by way of another one beside it.
func writeDurably(path string, data []byte) (err error) {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// storeOutcome puts run.json beside the metrics, after everything else.
func (w *worker) storeOutcome(ctx context.Context, o *gitmodels.Outcome) error {
	if o.Metrics == "" {
		return nil
	}
	data, err := runJSON(o)
	if err != nil {
		return err
	}
	err = w.r.cfg.Store.Finish(ctx, o.Metrics, data)
	if err == nil || o.State == gitmodels.Succeeded || ctx.Err() != nil {
		return err
	}
	w.log.Warn("run.json of a run that did not succeed could not be stored", "cause", err.Error())
	return nil
}

// runJSON is an outcome as run.json shows it.
func runJSON(o *gitmodels.Outcome) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(o); err != nil {
		return nil, fmt.Errorf("writing run.json: %w", err)
	}
	return b.Bytes(), nil
}
