package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// logLimit bounds the log of one job.
const logLimit = 256 << 20

// trained is what the train stage keeps.
type trained struct {
	Job      string   `json:"job"`
	Warnings []string `json:"warnings,omitempty"`
}

// train runs the job: looks for it, submits it if it never was, and watches it
// to its end.
func (w *worker) train(ctx context.Context) error {
	var out built
	if err := w.output(gitmodels.StageBuild, &out); err != nil {
		return err
	}
	st, err := w.runJob(ctx, gitmodels.StageTrain, &out, w.claim.Attempt.Name, out.Command)
	if err != nil {
		return err
	}
	switch st.State {
	case gitmodels.JobSucceeded:
		return w.endStage(ctx, gitmodels.StageTrain, gitmodels.StageDone, trained{Job: st.ID, Warnings: st.Warnings}, "")
	case gitmodels.JobLost, gitmodels.JobUnknown:
		return w.lost(ctx, st)
	case gitmodels.JobCancelled:
		if w.cancelled() {
			return w.cancelledVerdict()
		}
		return &verdict{State: gitmodels.Cancelled, Cause: worded(st.Cause, "cancelled at the engine"), Warnings: st.Warnings}
	}
	return &verdict{State: gitmodels.Failed, Cause: worded(st.Cause, "the training failed"), Warnings: st.Warnings}
}

// evaluate runs the evaluation, if the commit has one, in the surroundings of
// the training. Whatever becomes of it, the model is kept.
func (w *worker) evaluate(ctx context.Context) error {
	var out built
	if err := w.output(gitmodels.StageBuild, &out); err != nil {
		return err
	}
	if len(out.Evaluate) == 0 {
		return w.endStage(ctx, gitmodels.StageEvaluate, gitmodels.StageSkipped, nil, "")
	}
	if err := makeEvalFolder(w.dirs.metrics()); err != nil {
		return err
	}
	st, err := w.runJob(ctx, gitmodels.StageEvaluate, &out, w.claim.Attempt.Name+"-eval", out.Evaluate)
	if err != nil {
		return err
	}
	switch {
	case w.cancelled() && st.State != gitmodels.JobSucceeded:
		return w.cancelledVerdict()
	case st.State == gitmodels.JobSucceeded:
		return w.endStage(ctx, gitmodels.StageEvaluate, gitmodels.StageDone, trained{Job: st.ID, Warnings: st.Warnings}, "")
	}
	return w.giveUp(ctx, gitmodels.StageEvaluate, worded(st.Cause, "it was "+string(st.State)), st.Warnings)
}

// worded is cause, or other when the engine gave none.
func worded(cause, other string) string {
	if cause == "" {
		return other
	}
	return gitmodels.Printable(cause, 500)
}

// runJob brings the job of a stage to its end and returns its last status. A job
// that an earlier worker submitted is adopted. JobUnknown means that it was
// cancelled before it ever was, or that the engine has forgotten it.
func (w *worker) runJob(ctx context.Context, stage gitmodels.StageName, out *built, name string, command []string) (gitmodels.JobStatus, error) {
	none := gitmodels.JobStatus{State: gitmodels.JobUnknown}
	trainer := w.r.cfg.Trainers[out.Engine]
	if trainer == nil {
		return none, waitingFor("engine: %s is not part of this runner", gitmodels.Printable(out.Engine, 40))
	}
	job := w.job(stage, out, name, command)
	state := gitmodels.Submitted
	if stage == gitmodels.StageEvaluate {
		state = gitmodels.Evaluating
	}
	st, begun := w.claim.Stage(stage)
	if !begun {
		if err := w.ready(ctx, trainer, &job, out); err != nil {
			return none, err
		}
	}
	if !begun || st.State != gitmodels.StageRunning {
		if err := w.begin(ctx, stage, state); err != nil {
			return none, err
		}
	}
	sub, err := w.r.cfg.Ledger.Intend(ctx, w.claim, stage, job.Name, out.Engine)
	if err != nil {
		return none, err
	}
	switch {
	case sub.Confirmed:
		w.log.Info("job adopted", "stage", string(stage), "job", sub.ID)
	case w.cancelled():
		w.log.Info("job not submitted: a cancel was asked first", "stage", string(stage))
	default:
		if begun {
			if err := w.ready(ctx, trainer, &job, out); err != nil {
				return none, err
			}
		}
		id, err := w.submit(ctx, trainer, job, out)
		if err != nil {
			return none, w.leaseBack(out.GPUs, fmt.Errorf("submitting: %w", err))
		}
		if err := w.r.cfg.Ledger.Confirm(ctx, w.claim, stage, id); err != nil {
			return none, err
		}
		w.log.Info("job submitted", "stage", string(stage), "job", id)
	}
	return w.watch(ctx, stage, trainer, job)
}

// submit has the engine take the job, with the credentials that its image is
// pulled with.
func (w *worker) submit(ctx context.Context, trainer gitmodels.Trainer, job gitmodels.Job, out *built) (id string, err error) {
	if out.Image != nil {
		registry := w.r.cfg.Registry(w.pol.RegistryAuth)
		auth, remove, err := registry.AuthFile(ctx, out.Image.Name)
		if err != nil {
			return "", err
		}
		defer w.forget(remove)
		job.AuthFile, job.Plain = auth, registry.SpeaksPlain(out.Image.Name)
	}
	// Submit may pull an image for long: a cancel ends that too.
	done := make(chan struct{})
	var watching sync.WaitGroup
	defer watching.Wait()
	defer close(done)
	watching.Go(func() {
		select {
		case <-w.asked:
		case <-done:
			return
		}
		for {
			if err := trainer.Cancel(ctx, job); err != nil && ctx.Err() == nil {
				w.log.Warn("the engine did not take the cancel", "job", job.Name, "cause", err.Error())
			}
			select {
			case <-done:
				return
			case <-w.r.cfg.Clock.After(10 * w.r.cfg.Pace.Status):
			}
		}
	})
	return trainer.Submit(ctx, job)
}

// forget removes a file with credentials.
func (w *worker) forget(remove func() error) {
	if err := remove(); err != nil {
		w.log.Error("a file with credentials stays", "cause", err.Error())
	}
}

// ready checks, before a job is submitted, that the server still can and may run
// it, and hands it the secrets that only jobs get.
func (w *worker) ready(ctx context.Context, trainer gitmodels.Trainer, job *gitmodels.Job, out *built) error {
	if err := w.mayRun(out.Engine, ""); err != nil {
		return err
	}
	secrets, err := readEnvFile(w.pol.JobEnvFile)
	if err != nil {
		return waitingFor("models.jobEnvFile: %v", err)
	}
	job.Env = w.environment(out, job.Env, secrets)
	for _, dir := range append([]string{job.Dir}, job.Writable...) {
		if err := makeFolder(dir); err != nil {
			return err
		}
	}
	if job.GPUs, err = w.leaseGPUs(ctx, out.GPUs); err != nil {
		return err
	}
	return w.leaseBack(out.GPUs, trainer.Check(ctx, *job))
}

// job is what the trainer knows the job by and what it runs, without secrets.
func (w *worker) job(stage gitmodels.StageName, out *built, name string, command []string) gitmodels.Job {
	metrics := w.dirs.metrics()
	if stage == gitmodels.StageEvaluate {
		metrics = evalFolder(metrics)
	}
	own := map[string]string{"ARTIFACTS_DIR": w.dirs.artifacts(), "METRICS_DIR": metrics, "CHECKPOINT_DIR": w.dirs.checkpoints()}
	image := ""
	if made := out.Image; made != nil {
		image = made.ref().Ref()
	}
	return gitmodels.Job{
		Image: image,
		Name:  name, RunID: w.claim.Run.ID, Commit: w.claim.Run.Commit,
		Dir: w.dirs.engine(stage), Tree: w.dirs.tree(), Command: command,
		Env:      w.environment(out, own, nil),
		Writable: []string{w.dirs.artifacts(), w.dirs.metrics(), w.dirs.checkpoints()},
		Log:      w.dirs.log(stage), LogLimit: logLimit,
		MaxRuntime: out.MaxRuntime, MemoryBytes: out.MemoryBytes, CPUs: out.CPUs,
		Network: w.pol.Network, Unsandboxed: w.pol.AllowProcess == "unsandboxed",
	}
}

// jobStates are all that an engine may answer.
var jobStates = []gitmodels.JobState{gitmodels.JobUnknown, gitmodels.JobPending, gitmodels.JobRunning,
	gitmodels.JobSucceeded, gitmodels.JobFailed, gitmodels.JobCancelled, gitmodels.JobLost}

// watch looks at the job until it has ended, and has it cancelled when that is
// asked. When ctx ends the job goes on: the next worker adopts it.
func (w *worker) watch(ctx context.Context, stage gitmodels.StageName, trainer gitmodels.Trainer, job gitmodels.Job) (gitmodels.JobStatus, error) {
	clock, pace := w.r.cfg.Clock, w.r.cfg.Pace
	var (
		since   = clock.Now() // when something last could have begun to end the job
		told    time.Time     // when the engine was last told to cancel
		late    string        // why we cancel a job that did not start in time
		asked   = w.asked
		problem = "status " + w.claim.Run.ID + string(stage)
	)
	for {
		st, err := trainer.Status(ctx, job)
		if err == nil && !slices.Contains(jobStates, st.State) {
			err = fmt.Errorf("it answers with the state %q", st.State)
		}
		switch {
		case ctx.Err() != nil:
			return st, context.Cause(ctx)
		case err != nil:
			w.r.say.warn(problem, "the engine does not say how the job is", "run", w.claim.Run.Short, "cause", err.Error())
		default:
			w.r.say.over(problem)
			if st.State != gitmodels.JobPending && st.State != gitmodels.JobRunning {
				if late != "" && st.State == gitmodels.JobCancelled {
					st.State, st.Cause = gitmodels.JobFailed, late
				}
				return st, nil
			}
			if err := w.follow(ctx, stage, st); err != nil {
				return st, err
			}
			if late == "" && st.State == gitmodels.JobPending {
				late = w.tooLate(clock.Now())
			}
		}
		if now := clock.Now(); (w.cancelled() || late != "") && now.Sub(told) >= 10*pace.Status {
			if err := w.cancelJob(ctx, trainer, job); err != nil {
				return st, err
			}
			asked, told, since = nil, now, now
		}
		select {
		case <-ctx.Done():
			return st, context.Cause(ctx)
		case <-asked:
		case <-clock.After(lookPause(clock.Now().Sub(since), pace.Status)):
		}
	}
}

// lookPause is the time to the next look at a job that has been watched for so
// long: a tenth of that, so that a short job's end is seen soon, up to longest.
func lookPause(watched, longest time.Duration) time.Duration {
	return min(max(watched/10, 25*time.Millisecond), longest)
}

// follow shows in the run's state that the engine reports the job running.
func (w *worker) follow(ctx context.Context, stage gitmodels.StageName, st gitmodels.JobStatus) error {
	if stage != gitmodels.StageTrain || st.State != gitmodels.JobRunning || w.cancelled() || w.claim.Run.State == gitmodels.Running {
		return nil
	}
	return w.r.cfg.Ledger.SetState(ctx, w.claim, gitmodels.Running, "")
}

// cancelJob tells the engine to end the job. An engine that cannot be told now
// is told again.
func (w *worker) cancelJob(ctx context.Context, trainer gitmodels.Trainer, job gitmodels.Job) error {
	if w.cancelled() && w.claim.Run.State != gitmodels.Cancelling {
		if err := w.r.cfg.Ledger.SetState(ctx, w.claim, gitmodels.Cancelling, ""); err != nil {
			return err
		}
	}
	w.log.Info("cancelling the job", "job", job.Name, "by", w.askedBy)
	if err := trainer.Cancel(ctx, job); err != nil && ctx.Err() == nil {
		w.log.Warn("the engine did not take the cancel", "job", job.Name, "cause", err.Error())
	}
	return nil
}

// tooLate says that the run has waited longer for its start than policy allows.
func (w *worker) tooLate(now time.Time) string {
	limit := w.queueTimeout()
	if limit <= 0 || now.Sub(w.claim.Attempt.CreatedAt) < limit {
		return ""
	}
	return fmt.Sprintf("the job did not start within %s (models.timeout.queue)", limit)
}

// lost ends an attempt whose job is gone without an end of its own, such as
// after a restart of the machine. It is tried again, from its checkpoints, as
// often as policy allows; a cancelled one is not.
func (w *worker) lost(ctx context.Context, st gitmodels.JobStatus) error {
	cause := "lost: " + worded(st.Cause, "the engine does not know the job")
	if w.cancelled() {
		return w.cancelledVerdict()
	}
	row, err := w.r.cfg.Ledger.Show(ctx, w.claim.Repository.ID, w.claim.Run.Commit)
	if err != nil {
		return err
	}
	retries := 0
	for _, a := range row.Attempts {
		if a.Name == w.claim.Attempt.Name && a.N <= w.claim.Attempt.N && a.Cause == lostCause {
			retries++
		}
	}
	if retries >= w.pol.RetryLost {
		if retries > 0 {
			cause += fmt.Sprintf(" (tried again %d times)", retries)
		}
		return &verdict{State: gitmodels.Failed, Cause: cause}
	}
	w.log.Warn("the job is lost and is tried again from its checkpoints", "cause", cause)
	if err := w.r.cfg.Ledger.Retry(ctx, w.claim, cause, lostCause); err != nil {
		return err
	}
	if err := removeAll(w.dirs.tree()); err != nil {
		w.log.Warn("the export of a lost attempt stays", "cause", err.Error())
	}
	return errRetried
}

// lostCause is why an attempt that resumes was made.
const lostCause = "lost"

// isCancelled reports whether err only says that its context ended.
func isCancelled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
