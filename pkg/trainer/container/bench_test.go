package container

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

var quiet = log.New(io.Discard, "", 0)

// each runs the test with docker and with podman.
func each(t *testing.T, test func(t *testing.T, kind string)) {
	t.Parallel()
	for _, kind := range []string{"docker", "podman"} {
		t.Run(kind, func(t *testing.T) { with(t, kind, test) })
	}
}

// with runs the test with the client. What a keeper does alike with both is
// tested with docker alone.
func with(t *testing.T, kind string, test func(t *testing.T, kind string)) {
	t.Parallel()
	if why := parts.missing[kind]; why != "" {
		t.Skip(why)
	}
	test(t, kind)
}

// bench is one job with its folders.
type bench struct {
	*testing.T
	o   Options
	e   *Engine
	job gitmodels.Job
}

// newBench prepares a job that runs a shell script.
func newBench(t *testing.T, kind, script string) *bench {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	job := gitmodels.Job{Name: "5a32b0f", RunID: "run-" + filepath.Base(filepath.Dir(dir)), Commit: gitmodels.CommitID("5a32b0f" + strings.Repeat("0", 33)),
		Dir: dir + "/train", Tree: dir + "/tree", Image: parts.image, Plain: true, Command: []string{"sh", "-c", script},
		Env: map[string]string{"OUT": dir + "/artifacts"}, Writable: []string{dir + "/artifacts"}, Log: dir + "/train.log"}
	for _, d := range []string{job.Dir, job.Tree, job.Writable[0]} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	o := parts.options(kind)
	b := &bench{t, o, New(o), job}
	t.Cleanup(b.end)
	return b
}

// with is the bench with other options.
func (b *bench) with(change func(*Options)) *bench {
	change(&b.o)
	b.e = New(b.o)
	return b
}

// end sees to it that no test leaves a job behind.
func (b *bench) end() {
	b.Helper()
	s, err := b.e.Status(context.Background(), b.job)
	if err != nil || s.State != gitmodels.JobRunning && s.State != gitmodels.JobPending {
		return
	}
	if err := b.e.Cancel(context.Background(), b.job); err != nil {
		b.Error(err)
	}
	b.wait()
}

func (b *bench) submit() {
	b.Helper()
	if id, err := b.e.Submit(context.Background(), b.job); err != nil || id != b.job.Name {
		b.Fatalf("id %q, %v", id, err)
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

// wait waits for the job's end, and for its keeper's.
func (b *bench) wait() (s gitmodels.JobStatus) {
	b.Helper()
	b.until("the job's end", func() bool {
		s = b.status()
		return s.State != gitmodels.JobRunning && s.State != gitmodels.JobPending
	})
	b.until("the keeper's end", func() bool { return !b.kept() })
	return s
}

// kept reports whether the job has a keeper.
func (b *bench) kept() bool {
	held, err := lockHeld(filepath.Join(b.job.Dir, lockFile))
	return held || err != nil
}

func (b *bench) until(what string, done func() bool) {
	b.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("no %s in time; log:\n%s", what, b.log())
		}
	}
}

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

func (b *bench) says(words string) {
	b.Helper()
	b.until("words "+words, func() bool { return strings.Contains(b.log(), words) })
}

func (b *bench) want(s gitmodels.JobStatus, state gitmodels.JobState, cause string) {
	b.Helper()
	if s.State != state || !strings.Contains(s.Cause, cause) || cause == "" && s.Cause != "" {
		b.Fatalf("%+v, want state %s with cause %q; log:\n%s", s, state, cause, b.log())
	}
}

func (b *bench) read(name string) string {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(b.job.Writable[0], name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.Fatal(err)
	}
	return string(data)
}

// containers lists those of the job that its engine has.
func (b *bench) containers() []string {
	b.Helper()
	s, err := readRecord[spec](b.job.Dir, jobFile)
	if err != nil || s == nil {
		b.Fatal(s, err)
	}
	ids, err := s.Client.list(context.Background(), labelRun+"="+b.job.RunID)
	if err != nil {
		b.Fatal(err)
	}
	return ids
}

// other is the test binary as a runner of its own, which with what is told
// something else at a step, as atEnv says.
func (b *bench) other(what, step, file string) *exec.Cmd {
	b.Helper()
	orders := filepath.Join(filepath.Dir(b.job.Dir), "order")
	j, err := json.Marshal(order{b.job, b.o})
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(orders, j, 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(b.o.Keeper[0], "submit", orders)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}
	if what != "" {
		cmd.Env = append(cmd.Env, atEnv+"="+what+"|"+step+"|"+file)
	}
	return cmd
}

// dies submits the job as a runner that dies at the step, or whose keeper does.
func (b *bench) dies(step string) {
	b.Helper()
	mark := filepath.Join(b.TempDir(), "died")
	err := b.other("die", step, mark).Run()
	var exit *exec.ExitError
	if strings.HasPrefix(step, "submit: ") && (!errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled()) {
		b.Fatalf("it did not die at %s: %v", step, err)
	}
	b.until("death at "+step, func() bool { return exists(filepath.Dir(mark), "died") && !b.kept() })
}

// keeper is the process that looks after the job, 0 when there is none.
func (b *bench) keeper() int {
	b.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil && strings.HasSuffix(string(line), "\x00keep\x00"+b.job.Dir+"\x00") {
			return pid
		}
	}
	return 0
}
