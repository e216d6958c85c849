// Package process is the engine that runs a job as a process of this host: the
// gitmodels.Trainer named "process".
//
// A small supervisor, started by Submit in a session of its own, owns the job
// and outlives the runner. What happened is in files of Job.Dir, which the job
// itself cannot reach:
//
//	submit.lock      held by a Submit while it works
//	job.json         what to run, written before the supervisor starts; the job's
//	                 environment is struck out once the job has it
//	lock             held by the supervisor for its life: there is never a second one
//	supervisor.json  its pid, start time and boot id, first of all it writes
//	cancel           asks the supervisor to end the job
//	tmp/             the job's /tmp, removed at its end
//	exit.json        how the job ended, last of all it writes
//	fault            why a supervisor gave up before it had a job
//
// So a record of the supervisor without exit.json means running while the lock
// is held, and lost when it is not.
//
// # Sandbox
//
// Unless policy says unsandboxed, the job runs in bubblewrap: new user, pid,
// ipc, uts, cgroup and, unless policy allows the network, net namespaces; no
// capabilities, no_new_privs, no further user namespaces where bubblewrap can
// forbid them, an empty session keyring. It sees /usr, /bin, /sbin and /lib* read-only, a few files of
// /etc, new /proc and /dev, the export and its own folders, which it may write,
// and a /tmp of its own on disk. It never sees a home, the state directory or a
// repository, not even one below /usr (Options.Hide). /dev/nvidia* are there when the
// host has them. On the host it is the runner's user, inside it is user 1000: a
// runner that is root runs its jobs as root without capabilities, in a user
// namespace, so the limit on processes needs the pids cgroup there.
//
// Its environment is Job.Env and, unless that sets them, PATH, HOME, LANG and
// USER; TMPDIR is the engine's, and bubblewrap adds PWD. Unsandboxed, PATH and
// HOME are the runner's.
//
// # Limits
//
// Memory, processes and CPUs are limited by control groups where the engine may
// make one: version 2 below its own group or beside it (a systemd unit with
// Delegate=yes and DelegateSubgroup=), or version 1 per controller. Without a
// memory group each process of the job is limited by RLIMIT_AS (address space,
// not resident memory), and running out of it looks like an error of the program;
// without a pids group RLIMIT_NPROC bounds them, which the kernel does not apply
// to root; without a cpu group the limit of CPUs is not applied. Each is said in
// the warnings. Core dumps are off.
//
// The package imports gitmodels, the standard library and x/sys; it must never
// import the runner or another adapter.
package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Options configure an Engine. The zero value of each field is usable, but
// Supervisor.
type Options struct {
	// Supervisor is the argv that, with Job.Dir appended, ends up in Supervise:
	// {"/…/bin/git-models", "supervise"}. Its first word is an absolute path.
	Supervisor []string
	// Grace is what a job gets between SIGTERM and SIGKILL: 30 s.
	Grace time.Duration
	// Path is the PATH of unsandboxed jobs: the engine's own.
	Path string
	// Home is the HOME of unsandboxed jobs: the engine's own.
	Home string
	// Hide are folders that no sandbox may show, such as the state directory and
	// the repositories: they matter where they lie below /usr.
	Hide []string
	// Bubblewrap is its path: looked up in PATH.
	Bubblewrap string
	// BootID is the file that identifies the boot: the kernel's (random(4)).
	BootID string
}

// Engine runs jobs on this host.
type Engine struct {
	o  Options
	mu sync.Mutex // guards sandbox
	// sandbox is the result of the last trial.
	sandbox *sandbox
}

// New returns the engine.
func New(o Options) *Engine {
	if o.Grace <= 0 {
		o.Grace = 30 * time.Second
	}
	if o.Path == "" {
		o.Path = os.Getenv("PATH")
	}
	if o.Home == "" {
		o.Home = os.Getenv("HOME")
	}
	if o.BootID == "" {
		o.BootID = "/proc/sys/kernel/random/boot_id"
	}
	return &Engine{o: o}
}

var _ gitmodels.Trainer = (*Engine)(nil)

// Engine implements gitmodels.Trainer.
func (e *Engine) Engine() string { return "process" }

// Check implements gitmodels.Trainer: for a sandboxed job it tries bubblewrap
// once with `true`; a success is remembered for this Engine's life.
func (e *Engine) Check(ctx context.Context, job gitmodels.Job) error {
	if err := e.checkSupervisor(); err != nil {
		return err
	}
	if job.Unsandboxed {
		return nil
	}
	_, err := e.findSandbox(ctx)
	return err
}

func (e *Engine) checkSupervisor() error {
	if len(e.o.Supervisor) == 0 || !filepath.IsAbs(e.o.Supervisor[0]) {
		return &gitmodels.Error{Kind: gitmodels.Internal, Op: "starting a supervisor",
			Message: fmt.Sprintf("engine: the supervisor's command %q does not begin with an absolute path", e.o.Supervisor)}
	}
	if err := unix.Access(e.o.Supervisor[0], unix.X_OK); err != nil {
		return &gitmodels.Error{Kind: gitmodels.Waiting, Op: "starting a supervisor",
			Message: fmt.Sprintf("engine: %s cannot be executed", e.o.Supervisor[0]), Hint: "git models install", Err: err}
	}
	return nil
}

// Versions names what runs the jobs, for an Outcome: bubblewrap's version, when
// it works here.
func (e *Engine) Versions(ctx context.Context) map[string]string {
	s, err := e.findSandbox(ctx)
	if err != nil {
		return nil
	}
	return map[string]string{"bubblewrap": s.Version}
}

// Submit implements gitmodels.Trainer. The id is the job's name. It returns
// once the supervisor has recorded itself, so that a caller that crashes later
// can find the job.
func (e *Engine) Submit(ctx context.Context, job gitmodels.Job) (id string, err error) {
	if err := validate(job); err != nil {
		return "", err
	}
	atStep("submit: begin")
	unlock, err := lockSubmit(ctx, job.Dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	atStep("submit: locked")

	s, err := e.look(job)
	switch {
	case err != nil:
		return "", err
	case s.record != nil || s.exit != nil:
		return job.Name, nil
	case s.held: // started by a Submit that died before the record was there
		return job.Name, e.awaitRecord(ctx, job, nil)
	}
	if err := e.checkSupervisor(); err != nil {
		return "", err
	}
	sp := spec{Version: 1, Job: job, Supervisor: e.o.Supervisor, Grace: e.o.Grace, BootID: e.o.BootID,
		Path: e.o.Path, Home: e.o.Home, Hide: e.o.Hide}
	if !job.Unsandboxed {
		if sp.Sandbox, err = e.findSandbox(ctx); err != nil {
			return "", err
		}
	}
	// A job.json without a record is from a Submit that died: written again, as
	// its environment or the sandbox may have been mended since.
	if err := writeRecord(job.Dir, jobFile, sp); err != nil {
		return "", internal("recording the job", err)
	}
	atStep("submit: job.json")
	ended, err := e.startSupervisor(job.Dir)
	if err != nil {
		return "", internal("starting the supervisor", err)
	}
	atStep("submit: started")
	return job.Name, e.awaitRecord(ctx, job, ended)
}

// startSupervisor starts it apart from us: a session of its own, no descriptor
// of ours, an empty environment but PATH.
func (e *Engine) startSupervisor(dir string) (ended <-chan error, err error) {
	if err := closeOnExec(); err != nil {
		return nil, err
	}
	cmd := exec.Command(e.o.Supervisor[0], append(slices.Clone(e.o.Supervisor[1:]), dir)...)
	cmd.Dir = "/"
	cmd.Env = append(testEnv(), "PATH="+sandboxPath)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	return done, nil
}

// awaitRecord waits until the supervisor has recorded itself, or the job has
// ended. ended tells when the supervisor that we started is gone.
func (e *Engine) awaitRecord(ctx context.Context, job gitmodels.Job, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := e.look(job)
		if err != nil {
			return err
		}
		if s.record != nil || s.exit != nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return internal("waiting for the supervisor's record", ctx.Err())
		case why := <-ended:
			// One of an earlier Submit may hold the lock, and ours has made way.
			if s, err := e.look(job); err != nil || s.record == nil && s.exit == nil && !s.held {
				return internal("starting the supervisor", errors.Join(err, fmt.Errorf("it ended without a record: %w%s", orExit0(why), faultWords(job.Dir))))
			}
			ended = nil
		case <-tick.C:
		}
	}
}

// faultWords is what the supervisor left to say.
func faultWords(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, faultFile))
	if err != nil {
		return "" // it said nothing
	}
	return ": " + gitmodels.Printable(string(b), 500)
}

func orExit0(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// sight is what the files of a job say.
type sight struct {
	spec   *spec
	record *record
	exit   *exitRecord
	held   bool // a supervisor lives
}

// look reads the files in the order that makes a supervisor's start or end
// between two reads harmless: it takes the lock before it writes its record, and
// writes exit.json before it lets the lock go.
func (e *Engine) look(job gitmodels.Job) (s sight, err error) {
	if s.spec, err = readRecord[spec](job.Dir, jobFile); err != nil || s.spec == nil {
		return s, wrap(err)
	}
	if s.spec.Job.Name != job.Name || s.spec.Job.RunID != job.RunID {
		return s, internal("looking at the job", fmt.Errorf("%s belongs to job %s of run %s, not to %s of %s",
			job.Dir, s.spec.Job.Name, s.spec.Job.RunID, job.Name, job.RunID))
	}
	if s.record, err = readRecord[record](job.Dir, recordFile); err != nil {
		return s, wrap(err)
	}
	if s.held, err = lockHeld(filepath.Join(job.Dir, lockFile)); err != nil {
		return s, wrap(err)
	}
	s.exit, err = readRecord[exitRecord](job.Dir, exitFile)
	return s, wrap(err)
}

// Status implements gitmodels.Trainer.
func (e *Engine) Status(ctx context.Context, job gitmodels.Job) (gitmodels.JobStatus, error) {
	s, err := e.look(job)
	if err != nil {
		return gitmodels.JobStatus{}, err
	}
	switch {
	case s.exit != nil:
		return s.exit.status(job.Name), nil
	case s.held && s.record == nil:
		return gitmodels.JobStatus{State: gitmodels.JobPending, ID: job.Name}, nil
	case s.held:
		return gitmodels.JobStatus{State: gitmodels.JobRunning, ID: job.Name, Started: s.record.Started}, nil
	case s.record == nil: // a Submit died on the way, or never was: the next one starts it
		return gitmodels.JobStatus{State: gitmodels.JobUnknown}, nil
	}
	boot, err := bootID(e.o.BootID)
	if err != nil {
		return gitmodels.JobStatus{}, internal("reading the boot id", err)
	}
	lost := gitmodels.JobStatus{State: gitmodels.JobLost, ID: job.Name, Started: s.record.Started}
	if boot != s.record.Boot {
		lost.Cause = "the machine restarted"
		return lost, nil
	}
	if err := sweep(ctx, *s.spec, *s.record); err != nil {
		return gitmodels.JobStatus{}, internal("ending what a vanished supervisor left", err)
	}
	lost.Cause = "the supervisor vanished"
	return lost, nil
}

// Cancel implements gitmodels.Trainer. The request is a file, so that it also
// reaches a supervisor that is just starting; the signal only wakes it up.
func (e *Engine) Cancel(ctx context.Context, job gitmodels.Job) error {
	s, err := e.look(job)
	if err != nil {
		return err
	}
	if s.spec == nil || s.exit != nil || s.record != nil && !s.held {
		return nil
	}
	atStep("cancel: begin")
	if err := writeRecord(job.Dir, cancelFile, struct {
		At time.Time `json:"at"`
	}{time.Now().UTC()}); err != nil {
		return internal("recording the cancel", err)
	}
	atStep("cancel: recorded")
	if s, err = e.look(job); err != nil {
		return err
	}
	if s.record == nil || s.exit != nil || !s.held {
		return nil
	}
	boot, err := bootID(e.o.BootID)
	if err != nil {
		return internal("reading the boot id", err)
	}
	if boot != s.record.Boot {
		return nil
	}
	if _, err := signalProcess(s.record.Supervisor, unix.SIGTERM); err != nil {
		return internal("waking the supervisor", err)
	}
	return nil
}

// validate refuses jobs that could not be run as asked.
func validate(job gitmodels.Job) error {
	invalid := func(format string, args ...any) error {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "submitting " + job.Name, Message: "engine: " + fmt.Sprintf(format, args...)}
	}
	if job.Name == "" {
		return invalid("the job has no name")
	}
	if len(job.Command) == 0 || job.Command[0] == "" {
		return invalid("the job has no command")
	}
	for _, word := range job.Command {
		if strings.Contains(word, "\x00") {
			return invalid("the command %q contains a NUL byte", gitmodels.Printable(word, 60))
		}
	}
	for name, value := range job.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
			return invalid("the variable %q cannot be set: an empty name, a = in it, or a NUL byte", gitmodels.Printable(name, 60))
		}
	}
	if job.MaxRuntime < 0 || job.MemoryBytes < 0 || job.CPUs < 0 {
		return invalid("a limit is below zero")
	}
	for _, p := range append([]string{job.Dir, job.Tree, job.Log}, job.Writable...) {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p || p == "/" || strings.Contains(p, "\x00") {
			return invalid("the path %q is not absolute and clean", gitmodels.Printable(p, 200))
		}
	}
	for _, open := range append([]string{job.Tree}, job.Writable...) {
		if within(job.Dir, open) || within(open, job.Dir) || within(job.Log, open) {
			return invalid("the job could reach the engine's own files: %s and %s", gitmodels.Printable(open, 200), gitmodels.Printable(job.Dir, 200))
		}
		for _, system := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/proc", "/dev", "/sys"} {
			if within(system, open) {
				return invalid("the folder %s would cover the system's %s", gitmodels.Printable(open, 200), system)
			}
		}
	}
	if info, err := os.Stat(job.Dir); err != nil || !info.IsDir() {
		return internal("submitting "+job.Name, errors.Join(err, fmt.Errorf("%s is not a folder", job.Dir)))
	}
	return nil
}

// within reports whether path is folder or lies below it.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func internal(op string, err error) error {
	return &gitmodels.Error{Kind: gitmodels.Internal, Op: op, Err: err}
}

func wrap(err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return internal("looking at the job", err)
}
