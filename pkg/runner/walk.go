package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// step is one stage of the walk. Its function looks first, adopts what is there,
// then acts; it begins and ends its stage in the ledger by itself, so that what
// only waits is no try.
type step struct {
	name gitmodels.StageName
	run  func(ctx context.Context) error
}

// verdict ends an attempt: with a cause in words.
type verdict struct {
	State gitmodels.State `json:"state"`
	Cause string          `json:"cause"`
	// Warnings are the engine's; the stage's note keeps them.
	Warnings []string `json:"-"`
}

func (v *verdict) Error() string { return string(v.State) + ": " + v.Cause }

// note is what the runner keeps as the output of a failed stage.
type note struct {
	Failures int      `json:"failures,omitempty"` // tries that failed for a cause that may pass
	Waits    int      `json:"waits,omitempty"`    // tries that ended in waiting for the server
	Final    bool     `json:"final,omitempty"`    // given up, and the run goes on without
	Verdict  *verdict `json:"verdict,omitempty"`  // how the attempt ends
	Warnings []string `json:"warnings,omitempty"` // as in trained
}

// stageError is a failed try of a stage.
type stageError struct {
	stage gitmodels.StageName
	err   error
}

func (e *stageError) Error() string { return fmt.Sprintf("%s: %v", e.stage, e.err) }
func (e *stageError) Unwrap() error { return e.err }

// final reports whether another try could not end otherwise.
func (e *stageError) final() bool {
	return isKind(e.err, gitmodels.Invalid) || isKind(e.err, gitmodels.Forbidden)
}

// errRetried says that the ledger has queued the next attempt.
var errRetried = errors.New("the next attempt is queued")

// walk takes the run from where the ledger has it to its end. It returns nil
// after the end, and otherwise what stands in the way.
func (w *worker) walk(ctx context.Context) error {
	git, pol, err := w.r.intake.open(ctx, w.claim.Repository)
	if err != nil {
		return waitingFor("repository %s: %v", w.claim.Repository.Name, err)
	}
	w.git, w.pol = git, pol
	for _, s := range []step{
		{gitmodels.StageBuild, w.build},
		{gitmodels.StageTrain, w.train},
		{gitmodels.StageEvaluate, w.evaluate},
		{gitmodels.StageCollect, w.collect},
	} {
		err := w.take(ctx, s)
		var ended *verdict
		switch {
		case err == nil:
		case errors.As(err, &ended):
			return w.judge(ctx, gitmodels.StageCollect, w.end(ctx, ended.State, ended.Cause))
		case errors.Is(err, errRetried):
			return nil
		default:
			return err
		}
	}
	return nil
}

// take runs one stage, unless an earlier worker has ended it.
func (w *worker) take(ctx context.Context, s step) error {
	st, begun := w.claim.Stage(s.name)
	if begun && (st.State == gitmodels.StageDone || st.State == gitmodels.StageSkipped) && s.name != gitmodels.StageCollect {
		return nil
	}
	if begun && st.State != gitmodels.StageDone {
		// What a stage kept when it failed stays while it is begun again.
		switch n := readNote(st); {
		case n.Verdict != nil:
			return n.Verdict
		case n.Final && st.State == gitmodels.StageFailed:
			return nil
		}
	}
	if begun && st.Tries-readNote(st).Waits >= maxStarts && s.name != gitmodels.StageTrain {
		return &verdict{State: gitmodels.Failed, Cause: fmt.Sprintf("%s began %d times and never ended", s.name, st.Tries)}
	}
	// A job that was begun is asked to end by its own stage; results that are
	// being collected are kept. A build that was begun has nothing to stop.
	if w.cancelled() && (!begun || s.name == gitmodels.StageBuild) && s.name != gitmodels.StageCollect {
		return w.cancelledVerdict()
	}
	err := guard(func() error { return s.run(ctx) })
	return w.judge(ctx, s.name, err)
}

// judge turns the error of a stage into what the walk does next.
func (w *worker) judge(ctx context.Context, stage gitmodels.StageName, err error) error {
	var (
		ended    *verdict
		wait     *errWait
		panicked *panicError
	)
	switch {
	case err == nil, ctx.Err() != nil, errors.Is(err, gitmodels.ErrLeaseLost), errors.Is(err, errRetried):
		return err
	case errors.As(err, &wait):
		return w.recordWait(ctx, stage, wait)
	case errors.As(err, &ended):
		return w.recordVerdict(ctx, stage, ended)
	case errors.As(err, &panicked):
		w.log.Error("a stage panicked", "stage", string(stage), "panic", fmt.Sprint(panicked.value), "stack", string(panicked.stack))
	case isKind(err, gitmodels.Waiting):
		return w.recordWait(ctx, stage, waitingFor("%s", messageOf(err)))
	case outOfSpace(err):
		return w.recordWait(ctx, stage, waitingFor("room on the server: %v", err))
	}
	failed := &stageError{stage, err}
	if stage == gitmodels.StageEvaluate && (failed.final() || w.failures[stage]+1 >= maxFailures) {
		return w.giveUp(ctx, stage, err.Error(), nil)
	}
	return failed
}

// recordVerdict keeps how the attempt ends, so that a worker that takes over
// ends it the same way.
func (w *worker) recordVerdict(ctx context.Context, stage gitmodels.StageName, v *verdict) error {
	if st, begun := w.claim.Stage(stage); begun && st.State == gitmodels.StageRunning {
		if err := w.endStage(ctx, stage, gitmodels.StageFailed, note{Verdict: v, Warnings: v.Warnings}, v.Cause); err != nil {
			return err
		}
	}
	return v
}

// recordFailure keeps how often a stage has failed.
func (w *worker) recordFailure(ctx context.Context, stage gitmodels.StageName, count int, cause string) error {
	if st, begun := w.claim.Stage(stage); !begun || st.State != gitmodels.StageRunning {
		if err := w.begin(ctx, stage, w.claim.Run.State); err != nil {
			return err
		}
	}
	st, _ := w.claim.Stage(stage)
	return w.endStage(ctx, stage, gitmodels.StageFailed, note{Failures: count, Waits: readNote(st).Waits}, cause)
}

// recordWait ends a try of a stage that has to wait for the server: however often
// that happens, it does not count as a stage that never ends. A stage with a job
// stays begun.
func (w *worker) recordWait(ctx context.Context, stage gitmodels.StageName, wait error) error {
	st, begun := w.claim.Stage(stage)
	if !begun || st.State != gitmodels.StageRunning || stage == gitmodels.StageTrain || stage == gitmodels.StageEvaluate {
		return wait
	}
	n := readNote(st)
	n.Waits++
	if err := w.endStage(ctx, stage, gitmodels.StageFailed, n, wait.Error()); err != nil {
		return err
	}
	return wait
}

// giveUp ends a stage without which the run goes on.
func (w *worker) giveUp(ctx context.Context, stage gitmodels.StageName, cause string, warnings []string) error {
	if st, begun := w.claim.Stage(stage); !begun || st.State != gitmodels.StageRunning {
		if err := w.begin(ctx, stage, gitmodels.Evaluating); err != nil {
			return err
		}
	}
	w.log.Warn("a stage failed, the run goes on without it", "stage", string(stage), "cause", cause)
	return w.endStage(ctx, stage, gitmodels.StageFailed, note{Final: true, Warnings: warnings}, cause)
}

// begin records that a stage begins, with its log if it writes one.
func (w *worker) begin(ctx context.Context, stage gitmodels.StageName, state gitmodels.State) error {
	log := ""
	if slices.Contains(loggedStages, stage) {
		log = w.dirs.log(stage)
	}
	if err := w.r.cfg.Ledger.BeginStage(ctx, w.claim, stage, state, log); err != nil {
		return err
	}
	w.log.Info("stage began", "stage", string(stage))
	return nil
}

// endStage records how a stage ended, with what later ones need of it.
func (w *worker) endStage(ctx context.Context, stage gitmodels.StageName, state gitmodels.StageState, output any, cause string) error {
	var data []byte
	if output != nil {
		var err error
		if data, err = json.Marshal(output); err != nil {
			return fmt.Errorf("keeping the output of %s: %w", stage, err)
		}
	}
	if err := w.r.cfg.Ledger.EndStage(ctx, w.claim, stage, state, data, cause); err != nil {
		return err
	}
	w.log.Info("stage ended", "stage", string(stage), "state", string(state), "cause", cause)
	return nil
}

// output reads what an ended stage kept.
func (w *worker) output(stage gitmodels.StageName, into any) error {
	st, ok := w.claim.Stage(stage)
	if !ok || len(st.Output) == 0 {
		return fmt.Errorf("stage %s kept nothing", stage)
	}
	if err := json.Unmarshal(st.Output, into); err != nil {
		return fmt.Errorf("reading what stage %s kept: %w", stage, err)
	}
	return nil
}

// readNote reads the note of a failed stage; one that cannot be read is as good
// as none.
func readNote(st gitmodels.Stage) (n note) {
	if err := json.Unmarshal(st.Output, &n); err != nil {
		return note{}
	}
	return n
}

// failuresOf counts the failed tries of each stage so far.
func failuresOf(c *gitmodels.Claim) map[gitmodels.StageName]int {
	counts := map[gitmodels.StageName]int{}
	for _, st := range c.Stages {
		if st.State != gitmodels.StageDone {
			counts[st.Name] = readNote(st).Failures
		}
	}
	return counts
}

// cancelledVerdict ends the attempt because somebody asked.
func (w *worker) cancelledVerdict() error {
	return &verdict{State: gitmodels.Cancelled, Cause: "cancelled by " + gitmodels.Printable(w.askedBy, 100)}
}

// messageOf is the words of an Error, without its cause.
func messageOf(err error) string {
	var e *gitmodels.Error
	if errors.As(err, &e) && e.Message != "" {
		return e.Message
	}
	return err.Error()
}
