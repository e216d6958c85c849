package process

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Supervise is the supervisor of the job whose folder is dir: the hidden
// subcommand that Options.Supervisor leads to. It returns the exit status of
// the program. It does nothing when the job has, or had, a supervisor.
func Supervise(dir string) int {
	if os.Getenv(launchEnv) != "" {
		return launch()
	}
	// Bubblewrap and the job die with the thread that started them
	// (PR_SET_PDEATHSIG), so this one must live as long as the supervisor.
	runtime.LockOSThread()
	s := &supervisor{dir: dir, stop: make(chan os.Signal, 8)}
	signal.Notify(s.stop, unix.SIGTERM)
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE, unix.SIGUSR1, unix.SIGUSR2)
	atStep("supervise: begin")
	if err := s.run(); err != nil {
		// Standard error is nobody's. The lock is free now and the record, or its
		// absence, says what Status and Submit have to do; Submit repeats the words.
		if os.WriteFile(filepath.Join(dir, faultFile), []byte(err.Error()), 0o600) != nil {
			return 2
		}
		return 1
	}
	return 0
}

// supervisor owns one job.
type supervisor struct {
	dir      string
	stop     chan os.Signal
	spec     spec
	record   record
	warnings []string

	group *group
	log   *logWriter
	child *child
}

func (s *supervisor) warn(format string, args ...any) {
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
}

// run takes the job through its life.
func (s *supervisor) run() (err error) {
	unix.Umask(0o077)
	if err := errors.Join(os.Chdir("/"), closeOnExec()); err != nil {
		return err
	}
	lock, err := tryLock(filepath.Join(s.dir, lockFile))
	if err != nil || lock == nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	atStep("supervise: locked")
	for _, name := range []string{recordFile, exitFile} {
		if _, err := os.Lstat(filepath.Join(s.dir, name)); err == nil || !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := s.begin(); err != nil {
		return err
	}
	atStep("supervise: recorded")
	end := s.live()
	atStep("supervise: ended")
	s.clean(&end)
	end.Started, end.Finished, end.Warnings = s.record.Started, time.Now().UTC(), s.warnings
	s.leave(end)
	atStep("supervise: exit.json")
	return nil
}

// begin reads the job and records who runs it.
func (s *supervisor) begin() error {
	sp, err := readRecord[spec](s.dir, jobFile)
	if err != nil {
		return err
	}
	if sp == nil {
		return fmt.Errorf("%s: no job", s.dir)
	}
	s.spec = *sp
	s.record.Started = time.Now().UTC()
	if s.record.Boot, err = bootID(s.spec.BootID); err != nil {
		return err
	}
	if s.record.Supervisor, err = self(); err != nil {
		return err
	}
	// Orphans of the job become our children: none gets away.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming the reaper of the job's orphans: %w", err)
	}
	return writeRecord(s.dir, recordFile, s.record)
}

// live starts the job and waits for its end.
func (s *supervisor) live() exitRecord {
	failed := func(what string, err error) exitRecord {
		return exitRecord{State: gitmodels.JobFailed, ExitCode: 1, Cause: fmt.Sprintf("%s: %v", what, err)}
	}
	if s.cancelled() {
		return exitRecord{State: gitmodels.JobCancelled, Cause: "cancelled before it started"}
	}
	var err error
	if s.log, err = openLog(s.spec.Job.Log, s.spec.Job.LogLimit); err != nil {
		return failed("the log cannot be opened", err)
	}
	if err := os.Mkdir(filepath.Join(s.dir, tmpFolder), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return failed("the job's temporary folder cannot be made", err)
	}
	var warnings []string
	s.group, warnings = makeGroup(s.spec.Job)
	s.warnings = append(s.warnings, warnings...)
	if s.group != nil {
		s.record.Groups = s.group.paths()
		if err := writeRecord(s.dir, recordFile, s.record); err != nil {
			return failed("the control group cannot be recorded", err)
		}
	}
	atStep("supervise: prepared")
	if s.child, err = s.start(); err != nil {
		return failed("the job cannot be started", err)
	}
	s.recordStart()
	atStep("supervise: started")
	return s.judge(s.wait())
}

// recordStart adds the job's processes to the record, and strikes out the
// environment, which may hold secrets. A full disk stops neither the job nor us.
func (s *supervisor) recordStart() {
	s.record.Main = &s.child.main
	if s.child.init != nil {
		s.record.Init = s.child.init
	}
	if err := writeRecord(s.dir, recordFile, s.record); err != nil {
		s.warn("the job's process could not be recorded: %v", err)
	}
	struck := s.spec
	struck.Job.Env = nil
	if err := writeRecord(s.dir, jobFile, struck); err != nil {
		s.warn("the job's environment could not be struck from its record: %v", err)
	}
}

// ending is what led to the job's end.
type ending struct {
	status  unix.WaitStatus
	timeout bool // MaxRuntime was over
	cancel  bool // Cancel asked
	told    bool // somebody else ended the supervisor, as a shutdown does
}

// wait waits for the job's end, and ends it when it is time to.
func (s *supervisor) wait() (end ending) {
	var limit, kill <-chan time.Time
	if s.spec.Job.MaxRuntime > 0 {
		t := time.NewTimer(s.spec.Job.MaxRuntime)
		defer t.Stop()
		limit = t.C
	}
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	var polite <-chan time.Time // while SIGTERM found nobody to take it
	terminate := func() {
		if kill == nil {
			kill = time.After(s.spec.Grace)
		}
		if !s.child.terminate() {
			polite = retry.C
		}
	}
	for {
		select {
		case end.status = <-s.child.ended:
			s.child.finish(s.group)
			return end
		case <-s.stop:
			// A Cancel writes its file first, so a signal without it is another's.
			if kill == nil || !end.timeout {
				if s.cancelled() {
					end.cancel = true
				} else if !end.cancel {
					end.told = true
				}
			}
			terminate()
		case <-limit:
			end.timeout = !end.cancel && !end.told
			terminate()
		case <-polite:
			polite = nil
			if !s.child.terminate() {
				polite = retry.C
			}
		case <-kill:
			s.child.kill(s.group)
			kill = time.After(time.Second) // what was forked in the meantime
		}
	}
}

// cancelled reports whether Cancel has asked. What cannot be read counts as
// asked: the file exists only because of a Cancel.
func (s *supervisor) cancelled() bool {
	_, err := os.Lstat(filepath.Join(s.dir, cancelFile))
	return !errors.Is(err, os.ErrNotExist)
}

// judge turns an ending into the record of it.
func (s *supervisor) judge(end ending) exitRecord {
	code, words := describe(end.status, s.spec.Sandbox != nil)
	x := exitRecord{State: gitmodels.JobFailed, ExitCode: code, Cause: words}
	oom := s.group.outOfMemory()
	memory := ""
	if s.spec.Job.MemoryBytes > 0 {
		memory = fmt.Sprintf(" (job.memory %s)", bytesWords(s.spec.Job.MemoryBytes))
	}
	notFound := s.child.startFault(s.log, code, s.spec.Sandbox != nil)
	switch {
	case end.cancel:
		x.State, x.Cause = gitmodels.JobCancelled, "cancelled, it ended with "+words
	case end.timeout:
		x.Cause = fmt.Sprintf("killed after %s (job.max_runtime)", s.spec.Job.MaxRuntime)
	case end.told:
		x.State, x.Cause = gitmodels.JobLost, "the supervisor was told to end, as at a shutdown"
	case code == 0:
		x.State, x.Cause = gitmodels.JobSucceeded, ""
		if oom {
			s.warn("a process of the job was killed, out of memory%s", memory)
		}
	case oom:
		x.Cause = "out of memory" + memory
	case notFound != nil:
		x.ExitCode, x.Cause = notFound.code, notFound.cause
	}
	return x
}

// clean removes what the job no longer needs, and closes the log.
func (s *supervisor) clean(end *exitRecord) {
	if s.log != nil {
		warnings := s.log.close()
		s.warnings = append(s.warnings, warnings...)
	}
	if s.group != nil {
		if err := s.group.remove(); err != nil {
			s.warn("the job's control group could not be removed: %v", err)
		}
	}
	if err := removeAll(filepath.Join(s.dir, tmpFolder)); err != nil {
		s.warn("the job's temporary files could not be removed: %v", err)
	}
	slices.Sort(s.warnings)
	s.warnings = slices.Compact(s.warnings)
}

// leave writes exit.json, however long the disk stays full: without it the
// job's end would be lost.
func (s *supervisor) leave(end exitRecord) {
	wait := 100 * time.Millisecond
	for writeRecord(s.dir, exitFile, end) != nil {
		if _, err := os.Stat(s.dir); errors.Is(err, os.ErrNotExist) {
			return // the folder is gone, and with it everyone who could ask
		}
		time.Sleep(wait)
		wait = min(2*wait, 10*time.Second)
	}
}
