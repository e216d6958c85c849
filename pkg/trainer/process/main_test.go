package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// crashEnv names the step at which a process of these tests ends by SIGKILL.
const crashEnv = "GIT_MODELS_TEST_CRASH_AT"

// TestMain makes the test binary the supervisor and the submitter too.
func TestMain(m *testing.M) {
	if at := os.Getenv(crashEnv); at != "" {
		testEnv = func() []string { return []string{crashEnv + "=" + at} }
		atStep = func(step string) {
			if step == at {
				unix.Kill(os.Getpid(), unix.SIGKILL)
				select {}
			}
		}
	}
	if len(os.Args) == 3 {
		switch os.Args[1] {
		case "supervise":
			os.Exit(Supervise(os.Args[2]))
		case "submit", "cancel":
			if err := act(os.Args[1], os.Args[2]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// act submits or cancels the job in the file, as a runner of its own.
func act(what, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var job gitmodels.Job
	if err := json.Unmarshal(b, &job); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	e := New(Options{Supervisor: []string{exe, "supervise"}, Grace: 300 * time.Millisecond})
	if what == "cancel" {
		return e.Cancel(context.Background(), job)
	}
	_, err = e.Submit(context.Background(), job)
	return err
}

// bench is one job with its folders.
type bench struct {
	*testing.T
	e   *Engine
	job gitmodels.Job
}

// newBench prepares a job that runs a shell script, unsandboxed.
func newBench(t *testing.T, script string) *bench {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	job := gitmodels.Job{Name: "5a32b0f", RunID: "run-1", Dir: dir + "/train", Tree: dir + "/tree",
		Command: []string{"sh", "-c", script}, Env: map[string]string{"GIT_MODELS_RUN": "5a32b0f"},
		Writable: []string{dir + "/artifacts"}, Log: dir + "/train.log", Unsandboxed: true}
	for _, d := range []string{job.Dir, job.Tree, job.Writable[0]} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{t, New(Options{Supervisor: []string{exe, "supervise"}, Grace: 300 * time.Millisecond}), job}
	t.Cleanup(b.end)
	return b
}

// both runs the test without and with the sandbox.
func both(t *testing.T, script string, test func(b *bench)) {
	t.Run("unsandboxed", func(t *testing.T) {
		t.Parallel()
		test(newBench(t, script))
	})
	t.Run("sandboxed", func(t *testing.T) {
		t.Parallel()
		test(newBench(t, script).sandboxed())
	})
}

// sandboxed asks for the sandbox, or skips where there is none.
func (b *bench) sandboxed() *bench {
	b.Helper()
	b.job.Unsandboxed = false
	if err := b.e.Check(context.Background(), b.job); err != nil {
		b.Skip(err)
	}
	return b
}

// end sees to it that no test leaves a job behind.
func (b *bench) end() {
	b.Helper()
	s, err := b.e.look(b.job)
	if err != nil || s.record == nil || !s.held {
		return
	}
	if err := b.e.Cancel(context.Background(), b.job); err != nil {
		b.Error(err)
	}
	b.wait()
}

func (b *bench) submit() {
	b.Helper()
	id, err := b.e.Submit(context.Background(), b.job)
	if err != nil {
		b.Fatal(err)
	}
	if id != b.job.Name {
		b.Fatalf("id %q, want %q", id, b.job.Name)
	}
}

func (b *bench) status() gitmodels.JobStatus {
	b.Helper()
	s, err := b.e.Status(context.Background(), b.job)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// wait waits for the job's end, and for its supervisor's.
func (b *bench) wait() gitmodels.JobStatus {
	b.Helper()
	var s gitmodels.JobStatus
	b.until("the job's end", func() bool {
		s = b.status()
		return s.State != gitmodels.JobRunning && s.State != gitmodels.JobPending
	})
	b.until("the supervisor's end", func() bool {
		held, err := lockHeld(filepath.Join(b.job.Dir, lockFile))
		return err == nil && !held
	})
	return s
}

func (b *bench) until(what string, done func() bool) {
	b.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("no %s in time; log:\n%s", what, b.log())
		}
	}
}

// run submits and waits.
func (b *bench) run() gitmodels.JobStatus {
	b.Helper()
	b.submit()
	return b.wait()
}

func (b *bench) log() string {
	l, err := os.ReadFile(b.job.Log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.Fatal(err)
	}
	return string(l)
}

// says waits until the log holds the words.
func (b *bench) says(words string) {
	b.Helper()
	b.until("words "+words, func() bool { return strings.Contains(b.log(), words) })
}

// want compares the state and a part of the cause.
func (b *bench) want(s gitmodels.JobStatus, state gitmodels.JobState, cause string) {
	b.Helper()
	if s.State != state || !strings.Contains(s.Cause, cause) || cause == "" && s.Cause != "" {
		b.Fatalf("%+v, want state %s with cause %q; log:\n%s", s, state, cause, b.log())
	}
	if s.Started.IsZero() || s.Finished.Before(s.Started) && state != gitmodels.JobLost {
		b.Fatalf("times %v to %v", s.Started, s.Finished)
	}
}

// nothingLeft checks that no process holds the mark in its command line.
func (b *bench) nothingLeft(mark string) {
	b.Helper()
	for _, s := range allProcesses() {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.PID))
		if err == nil && s.State != 'Z' && strings.Contains(string(line), mark) {
			b.Errorf("process %d is left: %s", s.PID, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
}

// other starts the test binary as a runner of its own.
func (b *bench) other(what, crashAt string) *exec.Cmd {
	b.Helper()
	file := filepath.Join(filepath.Dir(b.job.Dir), "job-for-"+what)
	j, err := json.Marshal(b.job)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(file, j, 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(b.e.o.Supervisor[0], what, file)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}
	if crashAt != "" {
		cmd.Env = append(cmd.Env, crashEnv+"="+crashAt)
	}
	cmd.Stderr = os.Stderr
	return cmd
}

// TestAsOrdinaryUser runs this suite again without root's rights.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this user is an ordinary one")
	}
	dir, err := os.MkdirTemp("/tmp", "git-models-process-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	const nobody = 65534
	exe := filepath.Join(dir, "process.test")
	tmp := filepath.Join(dir, "tmp")
	if err := errors.Join(os.Chmod(dir, 0o755), copyFile(exe), os.Mkdir(tmp, 0o700), os.Chown(tmp, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	args := []string{"-test.v", "-test.timeout=10m", "-test.skip=^Fuzz"}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	cmd := exec.Command(exe, args...)
	cmd.Dir = tmp
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + tmp, "TMPDIR=" + tmp, "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "SKIP") {
			t.Log("as an ordinary user: " + strings.TrimSpace(line))
		}
	}
}

// copyFile puts this test binary where another user may execute it.
func copyFile(to string) (err error) {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	in, err := os.Open(exe)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
