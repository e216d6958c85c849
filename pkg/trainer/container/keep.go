package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Hooks of the tests.
var (
	atStep  = func(string) {}
	testEnv = func() []string { return nil }
)

const (
	lookPause  = 200 * time.Millisecond // between looks for a cancel
	askPause   = 30 * time.Second       // between questions to an engine whose log is followed
	retryPause = time.Second            // after an engine or a client has failed
)

// errCancelled ends a pull.
var errCancelled = errors.New("cancelled")

// Keep is the keeper of the job whose folder is dir: the hidden subcommand that
// Options.Keeper leads to. It returns the exit status of the program. It does
// nothing when the job has a keeper, or has ended.
func Keep(dir string) int {
	// The client that follows the log dies with the thread that started it
	// (PR_SET_PDEATHSIG), so this one must live as long as the keeper.
	runtime.LockOSThread()
	k := &keeper{dir: dir}
	atStep("keep: begin")
	if err := k.run(context.Background()); err != nil {
		if k.spec != nil && (k.record == nil || !k.record.Starting) {
			err = errors.Join(err, k.forget()) // the next Submit brings them again
		}
		// Standard error is nobody's. Submit repeats the words.
		if k.lock == nil || writeRecord(dir, faultFile, faultFrom(err)) != nil {
			return 2
		}
		return 1
	}
	return 0
}

// keeper looks after one job's container.
type keeper struct {
	dir    string
	lock   *os.File // held until the process ends, so that a fault is written under it
	spec   *spec
	c      client
	record *record
	ending *ending

	recorded bool // the start is, durably, and the secrets are gone

	outage bool // the engine did not answer since the container was last seen running
	told   bool // of an engine that does not answer
	log    *jobLog
	logs   *follower
}

// run takes the job through its life, from wherever the last keeper left it.
func (k *keeper) run(ctx context.Context) (err error) {
	if k.lock, err = tryLock(filepath.Join(k.dir, lockFile)); err != nil || k.lock == nil {
		return err
	}
	atStep("keep: locked")
	if exists(k.dir, exitFile) {
		return nil
	}
	if k.spec, err = readRecord[spec](k.dir, jobFile); err != nil || k.spec == nil {
		return errors.Join(err, fmt.Errorf("%s: no job", k.dir))
	}
	k.c = k.spec.Client
	if k.record, err = readRecord[record](k.dir, containerFile); err != nil {
		return err
	}
	if k.ending, err = readRecord[ending](k.dir, endingFile); err != nil {
		return err
	}
	if err := remove(k.dir, faultFile); err != nil {
		return err
	}
	k.recorded = k.record != nil && !k.record.Started.IsZero()
	if !k.recorded {
		ended, err := k.launch(ctx)
		if err != nil || ended {
			return err
		}
	}
	return k.attend(ctx)
}

// find looks for the job's container.
func (k *keeper) find(ctx context.Context) (s seen, there bool, err error) {
	id := ""
	if k.record != nil {
		id = k.record.ID
	}
	return k.c.find(ctx, k.spec.Nonce, id)
}

// cancelled reports whether Cancel has asked.
func (k *keeper) cancelled() bool { return exists(k.dir, cancelFile) }

// launch has the container started, or ends the job. An error leaves the job to
// the next keeper.
func (k *keeper) launch(ctx context.Context) (ended bool, err error) {
	boot, err := bootID(k.spec.BootID)
	if err != nil {
		return false, err
	}
	starting := k.record != nil && k.record.Starting
	if k.cancelled() && !starting {
		return true, k.neverStarted(ctx)
	}
	info, err := k.engineInfo(ctx)
	if err != nil {
		return false, err
	}
	if k.record != nil && k.record.Engine != info.ID {
		return false, k.otherEngine()
	}
	if starting {
		// After a reboot an engine may have forgotten that it ran: then it is lost.
		s, anew, err := k.takeBack(ctx, boot == k.record.Boot)
		if err != nil {
			return false, err
		}
		if !anew {
			k.recordStart(s)
			return false, nil
		}
	}
	id, err := k.create(ctx, info)
	if errors.Is(err, errCancelled) {
		return true, k.neverStarted(ctx)
	}
	if err != nil {
		return false, err
	}
	atStep("keep: created")
	_, warnings := k.spec.createArgs(info)
	if err := k.write(record{ID: id, Engine: info.ID, Boot: boot, Warnings: warnings}); err != nil {
		return false, err
	}
	atStep("keep: recorded")
	if k.cancelled() {
		return true, k.neverStarted(ctx)
	}
	return false, k.start(ctx)
}

// engineInfo is what the engine says of itself, or just said to Submit.
func (k *keeper) engineInfo(ctx context.Context) (engineInfo, error) {
	if k.record == nil && k.spec.First && k.spec.Info != nil {
		return *k.spec.Info, nil
	}
	return k.c.info(ctx)
}

func (k *keeper) otherEngine() error {
	return &gitmodels.Error{Kind: gitmodels.Waiting, Op: "looking for the container",
		Message: fmt.Sprintf("engine: another %s answers than the one that has the job's container (%s)", k.c.Kind, k.record.Engine)}
}

// takeBack looks at a container whose start was asked for. Of one that shows no
// sign of it the start is withdrawn, if it may be: anew says that it never ran
// and never will. The order is what counts, see the package comment.
func (k *keeper) takeBack(ctx context.Context, may bool) (s seen, anew bool, err error) {
	s, there, err := k.find(ctx)
	if err != nil || !may || !there || !s.fresh() {
		return s, false, err
	}
	atStep("keep: looks new")
	if err := remove(k.dir, ticketFolder); err != nil {
		return s, false, err
	}
	atStep("keep: fenced")
	s, there, err = k.find(ctx)
	if err != nil || !there || !s.fresh() {
		return s, false, err
	}
	if err := remove(k.dir, containerFile); err != nil {
		return s, false, err
	}
	k.record, k.spec.First = nil, false
	atStep("keep: taken back")
	return s, true, nil
}

// create returns the id of the job's container, which is created, after the image
// is here, unless an earlier keeper did.
func (k *keeper) create(ctx context.Context, info engineInfo) (string, error) {
	if !k.spec.First {
		s, there, err := k.find(ctx)
		if err != nil || there && exists(k.dir, ticketFolder) {
			return s.ID, err
		}
		if there { // its start was taken back
			if err := k.c.remove(ctx, s.ID); err != nil {
				return "", err
			}
		}
	}
	if err := os.Mkdir(filepath.Join(k.dir, ticketFolder), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	atStep("keep: image")
	// The image is here as a rule, and then it need not be looked for.
	id, createErr := k.askToCreate(ctx, info)
	if createErr != nil && id == "" {
		switch pulled, err := k.getImage(ctx); {
		case err != nil:
			return "", err
		case pulled:
			id, createErr = k.askToCreate(ctx, info)
		}
	}
	if id != "" {
		return id, nil
	}
	return "", createErr
}

// askToCreate has the engine create the container and returns its id; empty: there
// is none, and why.
func (k *keeper) askToCreate(ctx context.Context, info engineInfo) (id string, err error) {
	args, _ := k.spec.createArgs(info)
	out, createErr := k.c.run(ctx, args...)
	if id := out[strings.LastIndexByte(out, '\n')+1:]; createErr == nil && idForm.MatchString(id) {
		return id, nil // warnings may stand before it
	}
	// An earlier keeper's client may have been first: then the name is taken.
	s, there, err := k.find(ctx)
	switch {
	case err != nil:
		return "", err
	case there:
		return s.ID, nil
	case createErr == nil:
		createErr = internal("creating the container", errors.New("it is not there"))
	}
	return "", createErr
}

// getImage pulls the image unless it is here, and says so in the job's log.
// Cancel ends it.
func (k *keeper) getImage(ctx context.Context) (pulled bool, err error) {
	image := k.spec.Job.Image
	if k.c.hasImage(ctx, image) {
		return false, nil
	}
	if strings.HasPrefix(image, "sha256:") {
		return false, &gitmodels.Error{Kind: gitmodels.NotFound, Op: "looking for the image",
			Message: fmt.Sprintf("engine: %s does not have the image %s", k.c.Kind, image)}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		for !k.cancelled() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(lookPause):
			}
		}
		cancel(errCancelled)
	}()
	begun := time.Now()
	if err := k.say("pulling %s", image); err != nil {
		return false, err
	}
	credentials := ""
	if exists(k.dir, configFolder) {
		credentials = filepath.Join(k.dir, configFolder)
	}
	if err := k.c.pull(ctx, image, credentials, k.spec.Job.Plain); err != nil {
		if context.Cause(ctx) != nil {
			return false, context.Cause(ctx)
		}
		return false, errors.Join(err, k.say("%s", messageOf(err)))
	}
	return true, k.say("pulled in %s", time.Since(begun).Round(100*time.Millisecond))
}

// say writes a line of ours into the job's log, before the job has begun.
func (k *keeper) say(format string, args ...any) error {
	f, err := os.OpenFile(k.spec.Job.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "git-models: "+format+"\n", args...)
	return errors.Join(err, f.Close())
}

// start starts the container that is recorded. One that the engine could not
// start is removed, so that the next Submit begins anew.
func (k *keeper) start(ctx context.Context) error {
	f, err := os.OpenFile(k.spec.Job.Log, os.O_WRONLY|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	r := *k.record
	if r.LogBase, err = f.Seek(0, io.SeekEnd); err == nil {
		err = f.Close()
	}
	if err != nil {
		return err
	}
	r.LogEnd, r.Starting = r.LogBase+logLimit(k.spec.Job), true
	if err := k.write(r); err != nil {
		return err
	}
	atStep("keep: starting")
	startErr := k.c.start(ctx, k.record.ID)
	atStep("keep: started")
	s, anew, err := k.takeBack(ctx, startErr != nil)
	switch {
	case err != nil:
		return errors.Join(startErr, err)
	case anew:
		return errors.Join(startErr, k.c.remove(ctx, s.ID))
	}
	k.recordStart(s)
	return nil
}

// recordStart records that the container was started; from now on it is never
// started again.
func (k *keeper) recordStart(s seen) {
	r := *k.record
	if r.Started = s.State.StartedAt.UTC(); r.Started.Year() <= 1 {
		r.Started = time.Now().UTC()
	}
	k.record = &r
	k.recordLate()
	atStep("keep: recorded start")
}

// recordLate writes what is not recorded yet of the start, which a full disk may
// have kept from being: the container is looked after all the same.
func (k *keeper) recordLate() {
	if !k.recorded && k.write(*k.record) == nil && k.forget() == nil {
		k.recorded = true
	}
}

// forget removes the secrets that are of no more use.
func (k *keeper) forget() error {
	return errors.Join(remove(k.dir, envFile), os.RemoveAll(filepath.Join(k.dir, configFolder)))
}

func (k *keeper) write(r record) error {
	if err := writeRecord(k.dir, containerFile, r); err != nil {
		return internal("recording the container", err)
	}
	k.record = &r
	return nil
}

// neverStarted ends a job that was cancelled before its container ran.
func (k *keeper) neverStarted(ctx context.Context) error {
	now := time.Now().UTC()
	k.leave(exitRecord{State: gitmodels.JobCancelled, Cause: "cancelled before it started", Started: now, Finished: now})
	k.clear(ctx)
	return nil
}

// leave writes exit.json, however long the disk stays full: without it the
// job's end would be lost.
func (k *keeper) leave(end exitRecord) {
	wait := 100 * time.Millisecond
	for writeRecord(k.dir, exitFile, end) != nil {
		if _, err := os.Stat(k.dir); errors.Is(err, os.ErrNotExist) {
			return // the folder is gone, and with it everyone who could ask
		}
		time.Sleep(wait)
		wait = min(2*wait, 10*time.Second)
	}
	atStep("keep: exit.json")
}

// clear removes what is of no more use. What cannot be removed now is Sweep's.
func (k *keeper) clear(ctx context.Context) {
	_ = errors.Join(k.forget(), remove(k.dir, ticketFolder))
	for tries := range 3 {
		if tries > 0 {
			time.Sleep(retryPause)
		}
		if k.record != nil && k.c.remove(ctx, k.record.ID) == nil {
			return
		}
		s, there, err := k.find(ctx)
		if err == nil && (!there || k.c.remove(ctx, s.ID) == nil) {
			return
		}
	}
}
