package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// The files of Job.Dir; see the package comment.
const (
	submitFile = "submit.lock"
	jobFile    = "job.json"
	lockFile   = "lock"
	recordFile = "supervisor.json"
	cancelFile = "cancel"
	exitFile   = "exit.json"
	faultFile  = "fault"
	tmpFolder  = "tmp"
)

const maxRecord = 16 << 20 // bytes of one of these files

// spec is job.json: all that the supervisor needs to know.
type spec struct {
	Version    int           `json:"version"`
	Job        gitmodels.Job `json:"job"`
	Supervisor []string      `json:"supervisor"`
	Grace      time.Duration `json:"grace"`
	BootID     string        `json:"boot_id_file"`
	Path       string        `json:"path"`
	Home       string        `json:"home"`
	Hide       []string      `json:"hide,omitempty"`
	Sandbox    *sandbox      `json:"sandbox,omitempty"` // nil: unsandboxed
}

// process is one process of this boot, told apart from a later one with the
// same number by its start time.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot: field 22 of /proc/PID/stat, proc(5)
}

// record is supervisor.json.
type record struct {
	Supervisor process   `json:"supervisor"`
	Boot       string    `json:"boot"`
	Started    time.Time `json:"started"`
	Main       *process  `json:"main,omitempty"`   // the job's first process: its command, or bubblewrap
	Init       *process  `json:"init,omitempty"`   // pid 1 of the sandbox
	Groups     []string  `json:"groups,omitempty"` // control groups, made for this job alone
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

// check refuses a record that no supervisor of ours wrote.
func (x exitRecord) check() error {
	switch x.State {
	case gitmodels.JobSucceeded, gitmodels.JobFailed, gitmodels.JobCancelled, gitmodels.JobLost:
		return nil
	}
	return fmt.Errorf("its state is %q", gitmodels.Printable(string(x.State), 40))
}

// check refuses a record whose numbers could name a process that is not ours.
func (r record) check() error {
	for _, p := range []*process{&r.Supervisor, r.Main, r.Init} {
		if p != nil && (p.PID <= 1 || p.Start == 0) {
			return fmt.Errorf("it names process %d started at %d", p.PID, p.Start)
		}
	}
	if r.Boot == "" {
		return errors.New("it names no boot")
	}
	return nil
}

func (s spec) check() error {
	if s.Version != 1 {
		return fmt.Errorf("its version is %d, this program reads 1", s.Version)
	}
	if s.Job.Name == "" {
		return errors.New("it names no job")
	}
	return nil
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
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&v); err != nil {
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

func writeDurably(dir, name string, data []byte) error {
	f, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
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
