package container

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// attend follows a container that was started, to its end and removal.
func (k *keeper) attend(ctx context.Context) error {
	r := k.record
	l, err := openLog(k.spec.Job.Log, r.LogBase, r.LogEnd, logLimit(k.spec.Job), func(base int64) error {
		moved := *k.record
		moved.LogBase = base
		return k.write(moved)
	})
	if err != nil {
		return internal("opening the job's log", err)
	}
	k.log = l
	early := false // its log could not be followed to its end
	for {
		s, there, err := k.find(ctx)
		if err == nil && !there {
			err = k.sameEngine(ctx)
		}
		k.tell(err)
		switch {
		case err != nil:
			time.Sleep(retryPause)
		case !there:
			k.gone(ctx)
			return nil
		case s.ended() || s.fresh():
			k.finish(ctx, s)
			return nil
		default:
			if early {
				time.Sleep(retryPause)
			}
			k.outage = k.outage && !s.State.Running
			early = k.watch(ctx, s)
		}
	}
}

// tell leaves word for Status of an engine that does not answer, until it does.
func (k *keeper) tell(err error) {
	k.outage = k.outage || errors.Is(err, errDown)
	switch {
	case err != nil && !k.told:
		k.told = writeRecord(k.dir, faultFile, faultFrom(err)) == nil
	case err != nil:
	case k.told:
		k.told = remove(k.dir, faultFile) != nil
	}
}

// sameEngine asks whether the engine that was to have the container answers:
// another one says nothing about it.
func (k *keeper) sameEngine(ctx context.Context) error {
	info, err := k.c.info(ctx)
	if err == nil && info.ID != k.record.Engine {
		return k.otherEngine()
	}
	return err
}

// gone ends a job whose container somebody has removed.
func (k *keeper) gone(ctx context.Context) {
	x := exitRecord{State: gitmodels.JobLost, Cause: "its container was removed, not by the runner",
		Started: k.record.Started, Finished: time.Now().UTC(), Warnings: k.record.Warnings}
	if k.logs != nil {
		k.logs.kill()
		<-k.logs.done
	}
	x.Warnings = append(x.Warnings, k.closeLog(nil)...)
	k.leave(x)
	k.clear(ctx)
}

// watch follows the log of a container that runs, and ends it when it is time
// to. It returns when the engine is to be asked again; ended says that the log
// has come to its end, which should be the container's.
func (k *keeper) watch(ctx context.Context, s seen) (ended bool) {
	ask := askPause
	if k.logs == nil {
		if size, err := k.log.size(); err == nil && size > k.log.end {
			// Nobody reads a full log on, so its end does not tell the container's.
			ask = min(max(time.Since(k.record.Started)/20, retryPause), askPause)
		} else if k.logs, err = k.c.readLog(ctx, s.ID, true, k.log); err != nil {
			ask = retryPause
		}
	}
	atStep("keep: watching")
	again := time.NewTimer(ask)
	defer again.Stop()
	tick := time.NewTicker(lookPause)
	defer tick.Stop()
	for {
		k.recordLate()
		if why := k.why(); why != "" {
			k.end(ctx, s, why)
			return false
		}
		var followed <-chan struct{}
		if k.logs != nil {
			followed = k.logs.done
		}
		select {
		case <-followed:
			differs := errors.Is(k.logs.err, errDiffers)
			if k.logs = nil; differs && k.readAll(ctx, s.ID) != nil {
				time.Sleep(lookPause) // mended, or a client failed: it is tried again
			}
			return true
		case <-again.C:
			return false
		case <-tick.C:
		}
	}
}

// why says what ends the job now: the first reason stays.
func (k *keeper) why() string {
	limit := k.spec.Job.MaxRuntime
	switch {
	case k.ending != nil:
		return k.ending.Why
	case k.cancelled():
		return whyCancel
	case limit > 0 && time.Since(k.record.Started) >= limit:
		return whyTimeout
	}
	return ""
}

// end has the engine end the container, and records why before. What fails is
// tried again after the engine was asked.
func (k *keeper) end(ctx context.Context, s seen, why string) {
	if k.ending == nil {
		// On a full disk it is ended all the same: that may be what filled it.
		e := ending{Why: why, At: time.Now().UTC()}
		_ = writeRecord(k.dir, endingFile, e)
		k.ending = &e
	}
	atStep("keep: ending")
	if k.c.stop(ctx, s.ID, k.spec.Grace) != nil {
		time.Sleep(retryPause)
	}
}

// finish records the end of a container, with its whole log, and removes it.
func (k *keeper) finish(ctx context.Context, s seen) {
	atStep("keep: ended")
	warnings := append(k.record.Warnings, k.closeLog(func() error { return k.readAll(ctx, s.ID) })...)
	x, more := k.judge(s)
	x.Warnings = append(warnings, more...)
	k.leave(x)
	k.clear(ctx)
}

// readAll copies what the engine has of the log by now. After errDiffers the
// job's log was mended, and it is to be read once more.
func (k *keeper) readAll(ctx context.Context, id string) error {
	f, err := k.c.readLog(ctx, id, false, k.log)
	if err != nil {
		return err
	}
	<-f.done
	return f.err
}

// closeLog takes what is left of the engine's log and makes the job's durable.
func (k *keeper) closeLog(rest func() error) (warnings []string) {
	if k.logs != nil {
		select {
		case <-k.logs.done:
		case <-time.After(10 * time.Second):
			k.logs.kill()
			<-k.logs.done
		}
		k.logs = nil
	}
	var err error
	for tries := 0; rest != nil && tries < 4; tries++ {
		if err = rest(); err == nil {
			break
		}
		time.Sleep(retryPause)
	}
	size, sizeErr := k.log.size()
	if sizeErr == nil && size > k.log.end {
		warnings = append(warnings, fmt.Sprintf("the log is cut at %s, what follows is dropped", bytesWords(logLimit(k.spec.Job))))
	}
	if err != nil {
		warnings = append(warnings, fmt.Sprintf("a part of the log could not be written: %s", gitmodels.Printable(bareError(err), 300)))
	}
	if err := k.log.file.Sync(); err != nil {
		warnings = append(warnings, fmt.Sprintf("the log could not be made durable: %s", bareError(err)))
	}
	return warnings
}

// judge turns what the engine says of an ended container into the record of it.
func (k *keeper) judge(s seen) (x exitRecord, warnings []string) {
	code, words := s.State.ExitCode, describe(s.State.ExitCode)
	x = exitRecord{State: gitmodels.JobFailed, ExitCode: code, Cause: words,
		Started: k.record.Started, Finished: s.State.FinishedAt.UTC()}
	if x.Finished.Before(x.Started) {
		x.Finished = time.Now().UTC()
	}
	// A job that had ended before it was to be ended keeps its own end.
	ours := k.ending != nil && !s.State.FinishedAt.Before(k.ending.At)
	boot, err := bootID(k.spec.BootID)
	if err != nil {
		warnings = append(warnings, fmt.Sprintf("whether the machine restarted is not known: %v", err))
	}
	memory := ""
	if n := k.spec.Job.MemoryBytes; n > 0 {
		memory = fmt.Sprintf(" (job.memory %s)", bytesWords(n))
	}
	faultCode, faultCause, noStart := startFault(s, k.spec.Job.Command, k.log.lastLine())
	switch {
	case ours && k.ending.Why == whyCancel:
		x.State, x.Cause = gitmodels.JobCancelled, "cancelled, it ended with "+words
	case ours:
		x.Cause = fmt.Sprintf("killed after %s (job.max_runtime)", k.spec.Job.MaxRuntime)
	case err == nil && boot != k.record.Boot:
		x.State, x.Cause = gitmodels.JobLost, "the machine restarted"
	case k.outage || s.fresh():
		x.State, x.Cause = gitmodels.JobLost, "the container engine restarted under it, it ended with "+words
	case code == 0:
		x.State, x.Cause = gitmodels.JobSucceeded, ""
		if s.State.OOMKilled {
			warnings = append(warnings, "a process of the job was killed, out of memory"+memory)
		}
	case s.State.OOMKilled:
		x.Cause = "out of memory" + memory
	case code == 137:
		x.Cause = words + ", perhaps out of memory" + memory // not every engine is told
	case noStart:
		x.ExitCode, x.Cause = faultCode, faultCause
	}
	return x, warnings
}

// bareError is an error without the words for the operator around it.
func bareError(err error) string {
	text := messageOf(err)
	if i := strings.IndexByte(text, '\n'); i > 0 {
		text = text[:i]
	}
	return text
}
