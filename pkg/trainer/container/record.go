package container

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
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// The files of Job.Dir; see the package comment.
const (
	submitFile    = "submit.lock"
	jobFile       = "job.json"
	envFile       = "env"
	lockFile      = "lock"
	containerFile = "container.json"
	endingFile    = "ending.json"
	cancelFile    = "cancel"
	exitFile      = "exit.json"
	faultFile     = "fault.json"
	ticketFolder  = "ticket"
	configFolder  = "config"
	configFile    = "config.json" // in configFolder: docker asks for this name
)

const maxRecord = 16 << 20 // bytes of one of these files

// spec is job.json: all that the keeper needs to know.
type spec struct {
	Version int           `json:"version"`
	Job     gitmodels.Job `json:"job"` // without Env and AuthFile
	Owner   string        `json:"owner"`
	Nonce   string        `json:"nonce"`
	Client  client        `json:"client"`
	Info    *engineInfo   `json:"info,omitempty"`  // of the engine, if it was just asked
	First   bool          `json:"first,omitempty"` // no keeper has seen the nonce before: nothing bears it
	Grace   time.Duration `json:"grace"`
	BootID  string        `json:"boot_id_file"`
	Network string        `json:"network,omitempty"`
}

func (s spec) check() error {
	if s.Version != 1 {
		return fmt.Errorf("its version is %d, this program reads 1", s.Version)
	}
	if s.Job.Name == "" || s.Nonce == "" || len(s.Client.Argv) == 0 {
		return errors.New("it names no job, nonce or client")
	}
	return nil
}

// record is container.json.
type record struct {
	ID       string    `json:"id"`
	Engine   string    `json:"engine"` // which docker or podman has it: engineInfo.ID
	Boot     string    `json:"boot"`
	LogBase  int64     `json:"log_base"` // where in Job.Log the engine's log begins, in bytes
	LogEnd   int64     `json:"log_end"`  // where in Job.Log LogLimit ends it
	Starting bool      `json:"starting"` // set before it is started
	Started  time.Time `json:"started"`  // set after
	Warnings []string  `json:"warnings,omitempty"`
}

func (r record) check() error {
	if r.ID == "" || r.Engine == "" || r.Boot == "" {
		return errors.New("it names no container, engine or boot")
	}
	return nil
}

// ending is ending.json: what made the keeper end the job, and when.
type ending struct {
	Why string    `json:"why"` // cancel or timeout
	At  time.Time `json:"at"`
}

const (
	whyCancel  = "cancel"
	whyTimeout = "timeout"
)

func (e ending) check() error {
	if e.Why != whyCancel && e.Why != whyTimeout || e.At.IsZero() {
		return fmt.Errorf("its reason is %q", gitmodels.Printable(e.Why, 40))
	}
	return nil
}

// exitRecord is exit.json.
type exitRecord struct {
	State    gitmodels.JobState `json:"state"`
	ExitCode int                `json:"exit_code"` // 128 + the signal, as in a shell
	Cause    string             `json:"cause,omitempty"`
	Started  time.Time          `json:"started"`
	Finished time.Time          `json:"finished"`
	Warnings []string           `json:"warnings,omitempty"`
}

func (x exitRecord) status(id string) gitmodels.JobStatus {
	return gitmodels.JobStatus{State: x.State, ID: id, ExitCode: x.ExitCode, Cause: x.Cause,
		Started: x.Started, Finished: x.Finished, Warnings: x.Warnings}
}

func (x exitRecord) check() error {
	switch x.State {
	case gitmodels.JobSucceeded, gitmodels.JobFailed, gitmodels.JobCancelled, gitmodels.JobLost:
		return nil
	}
	return fmt.Errorf("its state is %q", gitmodels.Printable(string(x.State), 40))
}

// fault is fault.json: an Error on its way from the keeper to Submit or Status.
type fault struct {
	Kind    gitmodels.Kind `json:"kind"`
	Message string         `json:"message"`
}

func (fault) check() error { return nil }

func faultFrom(err error) fault { return fault{gitmodels.KindOf(err), messageOf(err)} }

// faultOf is the Error that the last keeper left, if it did.
func faultOf(dir, op string) error {
	f, err := readRecord[fault](dir, faultFile)
	if err != nil || f == nil {
		return internal(op, err)
	}
	return &gitmodels.Error{Kind: f.Kind, Op: op, Message: f.Message}
}

// sight is what the files of a job say.
type sight struct {
	spec      *spec
	container *record
	exit      *exitRecord
	held      bool // a keeper lives
}

func (s sight) started() bool { return s.container != nil && !s.container.Started.IsZero() }

// look reads the files in the order that makes a keeper's end between two reads
// harmless: it writes exit.json before it lets the lock go.
func look(job gitmodels.Job) (s sight, err error) {
	if s.spec, err = readRecord[spec](job.Dir, jobFile); err != nil || s.spec == nil {
		return s, internal("looking at the job", err)
	}
	if s.spec.Job.Name != job.Name || s.spec.Job.RunID != job.RunID {
		return s, internal("looking at the job", fmt.Errorf("%s belongs to job %s of run %s, not to %s of %s",
			job.Dir, s.spec.Job.Name, s.spec.Job.RunID, job.Name, job.RunID))
	}
	if s.held, err = lockHeld(filepath.Join(job.Dir, lockFile)); err == nil {
		s.container, err = readRecord[record](job.Dir, containerFile)
	}
	if err == nil {
		s.exit, err = readRecord[exitRecord](job.Dir, exitFile)
	}
	return s, internal("looking at the job", err)
}

// readRecord reads one of the files; nil when it is not there.
func readRecord[T interface{ check() error }](dir, name string) (*T, error) {
	path := filepath.Join(dir, name)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	var v T
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&v); err != nil {
		return nil, fmt.Errorf("%s cannot be understood: %w", path, err)
	}
	if err := v.check(); err != nil {
		return nil, fmt.Errorf("%s cannot be understood: %w", path, err)
	}
	return &v, nil
}

// writeRecord writes one of the files: it appears whole, and durably, or not.
func writeRecord(dir, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeDurably(dir, name, append(b, '\n'))
}

// writeDurably writes a file of mode 0600.
func writeDurably(dir, name string, data []byte) error {
	f, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// remove removes one of the files, if it is there.
func remove(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// exists reports whether one of the files is there. What cannot be looked at counts
// as not there: a healthy job is not ended because of it.
func exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

func bootID(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if id := strings.TrimSpace(string(b)); id != "" {
		return id, nil
	}
	return "", fmt.Errorf("%s is empty", path)
}

// The locks are of the open file, not of the process (fcntl(2)): asking for one
// does not disturb its holder, and the kernel frees it with its holder.

func whole(kind int16) *unix.Flock_t { return &unix.Flock_t{Type: kind} }

// lockHeld reports whether somebody holds the lock.
func lockHeld(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	lock := whole(unix.F_WRLCK)
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, lock)
	return lock.Type != unix.F_UNLCK, errors.Join(err, f.Close())
}

// tryLock takes the lock, or returns nil when somebody else has it.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, whole(unix.F_WRLCK))
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return nil, f.Close()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// lockSubmit waits for other Submits of the job to end.
func lockSubmit(ctx context.Context, dir string) (unlock func() error, err error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		lock, err := tryLock(filepath.Join(dir, submitFile))
		if err != nil {
			return nil, internal("locking the job", err)
		}
		if lock != nil {
			return lock.Close, nil
		}
		select {
		case <-ctx.Done():
			return nil, internal("waiting for another Submit", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// internal gives an error its operation; nil and an Error stay what they are.
func internal(op string, err error) error {
	var known *gitmodels.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &gitmodels.Error{Kind: gitmodels.Internal, Op: op, Err: err}
}

// messageOf is what an Error says to the pusher, else the whole error.
func messageOf(err error) string {
	var known *gitmodels.Error
	if errors.As(err, &known) && known.Message != "" {
		return known.Message
	}
	return err.Error()
}
