package runner_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// trainer is an engine on a script. What it knows of a job lies in files, so
// that the jobs outlive a runner. A job ends at once, with a model and a metric,
// unless the test holds it. It fails the test when it is misused.
type trainer struct {
	t    *testing.T
	dir  string
	mu   sync.Mutex
	busy map[string]string // job → call under way

	hold   func(job string) bool                // does the job run until the test ends it
	check  func(job gitmodels.Job) error        // nil: fine
	submit func(job gitmodels.Job) error        // before the job is there
	status func(job gitmodels.Job) error        // may panic
	work   func(job gitmodels.Job) error        // what the job does
	end    func(job string) gitmodels.JobStatus // how an unheld job ends
	cancel func(job gitmodels.Job) (ends bool)  // does a cancel end the job
}

func newTrainer(t *testing.T, dir string) *trainer {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &trainer{t: t, dir: dir, busy: map[string]string{}}
}

func (e *trainer) Engine() string { return "process" }

// misuse fails the test.
func (e *trainer) misuse(format string, args ...any) {
	e.t.Errorf("trainer misused: "+format, args...)
}

// enter notes a call; the runner never makes two at once for one job, but Cancel
// beside Status and Submit.
func (e *trainer) enter(job gitmodels.Job, call string) func() {
	key := job.Dir
	e.mu.Lock()
	defer e.mu.Unlock()
	if was := e.busy[key]; was != "" && !(call == "Cancel" && (was == "Status" || was == "Submit")) {
		e.misuse("%s while %s of job %s is under way", call, was, job.Name)
	}
	e.busy[key] = call
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.busy, key)
	}
}

// valid holds a job to the port's contract.
func (e *trainer) valid(job gitmodels.Job) {
	if job.Name == "" || job.RunID == "" || job.Commit == "" || len(job.Command) == 0 || job.MaxRuntime <= 0 || job.LogLimit <= 0 {
		e.misuse("job is not whole: %+v", job)
	}
	for _, dir := range append([]string{job.Dir, job.Tree}, job.Writable...) {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() || !filepath.IsAbs(dir) {
			e.misuse("folder %s of job %s: %v", dir, job.Name, err)
		}
	}
	if info, err := os.Stat(filepath.Dir(job.Log)); err != nil || !info.IsDir() {
		e.misuse("log %s of job %s: %v", job.Log, job.Name, err)
	}
}

func (e *trainer) Check(ctx context.Context, job gitmodels.Job) error {
	defer e.enter(job, "Check")()
	e.valid(job)
	if e.check != nil {
		return e.check(job)
	}
	return nil
}

func (e *trainer) Submit(ctx context.Context, job gitmodels.Job) (string, error) {
	defer e.enter(job, "Submit")()
	e.valid(job)
	if e.submit != nil {
		if err := e.submit(job); err != nil {
			return "", err
		}
	}
	id := "job-" + job.Name
	f, err := os.OpenFile(filepath.Join(job.Dir, "job"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return id, nil
	}
	if err != nil {
		return "", err
	}
	f.Close()
	e.append("submits", job.Name)
	if err := e.do(job); err != nil {
		return "", err
	}
	return id, nil
}

// do writes what a training writes.
func (e *trainer) do(job gitmodels.Job) error {
	if e.work != nil {
		return e.work(job)
	}
	return errors.Join(
		os.WriteFile(job.Log, []byte("training "+job.Name+"\n"), 0o600),
		os.WriteFile(filepath.Join(job.Env["ARTIFACTS_DIR"], "model.bin"), []byte("weights of "+job.Name), 0o600),
		os.WriteFile(filepath.Join(job.Env["METRICS_DIR"], "metrics.json"), []byte(`{"accuracy": 0.9}`), 0o600),
	)
}

func (e *trainer) Status(ctx context.Context, job gitmodels.Job) (gitmodels.JobStatus, error) {
	defer e.enter(job, "Status")()
	if e.status != nil {
		if err := e.status(job); err != nil {
			return gitmodels.JobStatus{}, err
		}
	}
	if _, err := os.Stat(filepath.Join(job.Dir, "job")); err != nil {
		return gitmodels.JobStatus{State: gitmodels.JobUnknown}, nil
	}
	st := gitmodels.JobStatus{State: gitmodels.JobRunning, ID: "job-" + job.Name}
	if text, err := os.ReadFile(e.endFile(job.Name)); err == nil {
		state, cause, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
		st.State, st.Cause = gitmodels.JobState(state), cause
		return st, nil
	}
	if _, err := os.Stat(filepath.Join(job.Dir, "cancelled")); err == nil {
		st.State, st.Cause = gitmodels.JobCancelled, "asked"
		return st, nil
	}
	if e.hold != nil && e.hold(job.Name) {
		return st, nil
	}
	if e.end != nil {
		end := e.end(job.Name)
		end.ID = st.ID
		return end, nil
	}
	st.State = gitmodels.JobSucceeded
	return st, nil
}

func (e *trainer) Cancel(ctx context.Context, job gitmodels.Job) error {
	defer e.enter(job, "Cancel")()
	if _, err := os.Stat(filepath.Join(job.Dir, "job")); err != nil {
		return nil
	}
	e.append("cancels", job.Name)
	if e.cancel != nil && !e.cancel(job) {
		return nil
	}
	return os.WriteFile(filepath.Join(job.Dir, "cancelled"), nil, 0o600)
}

// finish ends a held job: "succeeded", "failed exit status 3", "lost …".
func (e *trainer) finish(job, how string) {
	e.t.Helper()
	tmp := e.endFile(job) + ".new" // whole or not at all: the runner looks all the time
	if err := errors.Join(os.WriteFile(tmp, []byte(how), 0o600), os.Rename(tmp, e.endFile(job))); err != nil {
		e.t.Fatal(err)
	}
}

func (e *trainer) endFile(job string) string { return filepath.Join(e.dir, "end-"+job) }

func (e *trainer) append(list, job string) {
	f, err := os.OpenFile(filepath.Join(e.dir, list), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(f, job)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		e.t.Error(err)
	}
}

// jobs lists the submitted or cancelled jobs in order.
func (e *trainer) jobs(list string) []string {
	data, err := os.ReadFile(filepath.Join(e.dir, list))
	if err != nil {
		return nil
	}
	return strings.Fields(string(data))
}

// holdAll makes every job run until the test ends it.
func (e *trainer) holdAll() { e.hold = func(string) bool { return true } }
