// Package trainertest is the contract of the port gitmodels.Trainer as a test
// suite, which every adapter runs with the real engine behind it:
//
//	trainertest.Test(t, func(t *testing.T, job *gitmodels.Job) gitmodels.Trainer {…})
//
// It imports gitmodels and the standard library alone, never an adapter.
package trainertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Make returns an engine, as a runner that has just started makes it, and adds to
// the job what this engine needs, such as an image. The job's commands need a
// POSIX shell as sh, and sleep and cat. What a job gets between SIGTERM and
// SIGKILL is a second or less. A test that the host cannot run is skipped here.
type Make func(t *testing.T, job *gitmodels.Job) gitmodels.Trainer

// Test runs the suite, or those of its cases that are named. An engine may be slow
// to start a job, so that what one job can show is not shown by two.
func Test(t *testing.T, engine Make, only ...string) {
	cases := map[string]func(*bench){
		"success":           success,
		"failure":           failure,
		"signal":            func(b *bench) { b.ends("kill -SEGV $$", 139, "signal 11 (SIGSEGV)") },
		"killed":            func(b *bench) { b.ends("kill -KILL $$", 137, "signal 9 (SIGKILL)") },
		"log is capped":     logIsCapped,
		"command not found": commandNotFound,
		"timeout":           timeout,
		"polite cancel":     politeCancel,
		"stubborn cancel":   stubbornCancel,
		"cancel at once":    cancelAtOnce,
		"idempotent":        idempotent,
		"adoption":          adoption,
		"invalid jobs":      invalidJobs,
	}
	if len(only) == 0 {
		only = slices.Collect(maps.Keys(cases))
	}
	for _, name := range only {
		test := cases[name]
		if test == nil {
			t.Fatalf("no case is called %q", name)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(newBench(t, engine))
		})
	}
}

// bench is one job with its folders.
type bench struct {
	*testing.T
	engine Make
	e      gitmodels.Trainer
	job    gitmodels.Job
}

func newBench(t *testing.T, engine Make) *bench {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	job := gitmodels.Job{Name: "5a32b0f", RunID: "run-1", Commit: gitmodels.CommitID("5a32b0f" + strings.Repeat("0", 33)),
		Dir: dir + "/train", Tree: dir + "/tree", Env: map[string]string{"OUT": dir + "/artifacts"},
		Writable: []string{dir + "/artifacts", dir + "/metrics"}, Log: dir + "/train.log"}
	for _, d := range append([]string{job.Dir, job.Tree}, job.Writable...) {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{T: t, engine: engine, job: job}
	b.e = engine(t, &b.job)
	t.Cleanup(b.end)
	return b
}

// end sees to it that no test leaves a job behind.
func (b *bench) end() {
	b.Helper()
	s, err := b.e.Status(context.Background(), b.job)
	if err != nil || s.State != gitmodels.JobPending && s.State != gitmodels.JobRunning {
		return
	}
	if err := b.e.Cancel(context.Background(), b.job); err != nil {
		b.Error(err)
	}
	b.wait()
}

func (b *bench) command(script string) { b.job.Command = []string{"sh", "-c", script} }

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

func (b *bench) cancel() {
	b.Helper()
	if err := b.e.Cancel(context.Background(), b.job); err != nil {
		b.Fatal(err)
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

func (b *bench) wait() (s gitmodels.JobStatus) {
	b.Helper()
	b.until("the job's end", func() bool {
		s = b.status()
		return s.State != gitmodels.JobRunning && s.State != gitmodels.JobPending
	})
	return s
}

// run submits the script and waits for its end.
func (b *bench) run(script string) gitmodels.JobStatus {
	b.Helper()
	b.command(script)
	b.submit()
	return b.wait()
}

func (b *bench) until(what string, done func() bool) {
	b.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("no %s in time; log:\n%s", what, b.log())
		}
	}
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

// want compares the state and a part of the cause, and looks at the rest.
func (b *bench) want(s gitmodels.JobStatus, state gitmodels.JobState, cause string) {
	b.Helper()
	if s.State != state || !strings.Contains(s.Cause, cause) || cause == "" && s.Cause != "" {
		b.Fatalf("%+v, want state %s with cause %q; log:\n%s", s, state, cause, b.log())
	}
	if s.ID != b.job.Name || s.Started.IsZero() || s.Finished.Before(s.Started) && state != gitmodels.JobLost {
		b.Fatalf("id %q, times %v to %v", s.ID, s.Started, s.Finished)
	}
	again := b.status()
	if !slices.Equal(again.Warnings, s.Warnings) {
		b.Errorf("another answer: %+v, then %+v", s, again)
	}
	if again.Warnings, s.Warnings = nil, nil; fmt.Sprint(again) != fmt.Sprint(s) {
		b.Errorf("another answer: %+v, then %+v", s, again)
	}
}

// ends runs a script that fails.
func (b *bench) ends(script string, code int, cause string) {
	b.Helper()
	s := b.run(script)
	b.want(s, gitmodels.JobFailed, cause)
	if s.ExitCode != code {
		b.Errorf("status %d, want %d", s.ExitCode, code)
	}
}

// success is a job that is unknown before, leaves processes behind, and whose
// log, environment and results are the runner's.
func success(b *bench) {
	b.command("true")
	if err := b.e.Check(context.Background(), b.job); err != nil {
		b.Fatal(err)
	}
	if s := b.status(); s.State != gitmodels.JobUnknown {
		b.Fatalf("%+v", s)
	}
	maps.Copy(b.job.Env, map[string]string{"A": "1 \"' $x # y", "B": " ", "HASH": "#x", "EMPTY": ""})
	b.want(b.run(`printf 'one\n\377\000two'; printf 'three\n' >&2
		cat /proc/self/environ > "$OUT/environ"; echo result > "$OUT/../metrics/file"
		sleep 300 & sleep 300 >/dev/null 2>&1 & exit 0`), gitmodels.JobSucceeded, "")
	// stdout and stderr may be two pipes: their order is not the port's.
	if got := b.log(); !strings.HasSuffix(got, "one\n\xff\x00twothree\n") && !strings.HasSuffix(got, "three\none\n\xff\x00two") && !strings.HasSuffix(got, "one\nthree\n\xff\x00two") {
		b.Errorf("log %q", got)
	}
	got := strings.Split(b.take(b.job.Writable[0]+"/environ"), "\x00")
	for name, value := range b.job.Env {
		if line := name + "=" + value; !slices.Contains(got, line) {
			b.Errorf("no %q in %q", line, got)
		}
	}
	if result := b.take(b.job.Writable[1] + "/file"); result != "result\n" {
		b.Errorf("%q", result)
	}
	b.hides("$x # y")
	b.folderOfAnotherJob()
}

// take reads a file that the job made, and removes it.
func (b *bench) take(path string) string {
	b.Helper()
	data, err := os.ReadFile(path)
	if err := errors.Join(err, os.Remove(path)); err != nil {
		b.Error(err)
	}
	return string(data)
}

// hides sees to it that none of the engine's files holds the secret.
func (b *bench) hides(secret string) {
	b.Helper()
	err := filepath.WalkDir(b.job.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), secret) {
			b.Errorf("%s holds the environment", path)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil // taken away meanwhile
		}
		return err
	})
	if err != nil {
		b.Error(err)
	}
}

// failure is a job that a cancel before its Submit and one after its end change
// nothing of.
func failure(b *bench) {
	b.command("exit 3")
	b.cancel()
	if s := b.status(); s.State != gitmodels.JobUnknown {
		b.Fatalf("%+v", s)
	}
	b.ends("echo oh >&2; exit 3", 3, "exit status 3")
	b.cancel()
	b.want(b.status(), gitmodels.JobFailed, "exit status 3")
}

func logIsCapped(b *bench) {
	b.job.LogLimit = 64 << 10
	s := b.run(`i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done; echo end > "$OUT/artifact"`)
	b.want(s, gitmodels.JobSucceeded, "")
	log := b.log()
	last := log[strings.LastIndex(strings.TrimSpace(log), "\n")+1:]
	if len(log) > 64<<10+600 || last != "git-models: the log is full (64Ki), what follows is dropped\n" {
		b.Errorf("%d bytes, the last line %q", len(log), last)
	}
	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "the log is cut at 64Ki") {
		b.Errorf("warnings %q", s.Warnings)
	}
	if _, err := os.Stat(b.job.Writable[0] + "/artifact"); err != nil {
		b.Errorf("the job was held up: %v", err)
	}
}

func commandNotFound(b *bench) {
	b.job.Command = []string{"no-such\x1bprogram", "x"}
	b.submit()
	s := b.wait()
	b.want(s, gitmodels.JobFailed, "command not found")
	if s.ExitCode != 127 || strings.Contains(s.Cause, "\x1b") || !strings.Contains(s.Cause, `no-such\x1bprogram`) {
		b.Errorf("%d %q", s.ExitCode, s.Cause)
	}
}

func timeout(b *bench) {
	b.job.MaxRuntime = time.Second
	s := b.run("trap 'echo asked' TERM; echo up; while :; do sleep 0.05; done")
	b.want(s, gitmodels.JobFailed, "killed after 1s (job.max_runtime)")
	if !strings.Contains(b.log(), "asked") {
		b.Errorf("it was not asked first: %q", b.log())
	}
}

func politeCancel(b *bench) {
	b.command("trap 'echo saved; exit 0' TERM; echo up; while :; do sleep 0.05; done")
	b.submit()
	b.says("up")
	b.cancel()
	b.want(b.wait(), gitmodels.JobCancelled, "cancelled, it ended with exit status 0")
	if !strings.Contains(b.log(), "saved") {
		b.Errorf("log %q", b.log())
	}
}

func stubbornCancel(b *bench) {
	b.command("trap '' TERM; echo up; while :; do sleep 0.05; done")
	b.submit()
	b.says("up")
	b.cancel()
	b.cancel()
	b.want(b.wait(), gitmodels.JobCancelled, "signal 9")
}

func cancelAtOnce(b *bench) {
	b.command("sleep 300")
	b.submit()
	b.cancel()
	b.want(b.wait(), gitmodels.JobCancelled, "cancelled")
}

func idempotent(b *bench) {
	b.command(`echo ran >> "$OUT/ran"; sleep 0.3`)
	var wait sync.WaitGroup
	for range 6 {
		job := b.job
		e := b.engine(b.T, &job)
		wait.Go(func() {
			if _, err := e.Submit(context.Background(), job); err != nil {
				b.Error(err)
			}
		})
	}
	wait.Wait()
	b.want(b.wait(), gitmodels.JobSucceeded, "")
	b.submit() // after its end too
	if ran, err := os.ReadFile(b.job.Writable[0] + "/ran"); err != nil || string(ran) != "ran\n" {
		b.Errorf("ran %q, %v", ran, err)
	}
}

func adoption(b *bench) {
	b.command(`echo up; while [ ! -e "$OUT/go" ]; do sleep 0.02; done; exit 255`)
	b.submit()
	b.says("up")
	b.job.Env = nil // secrets are for the first Submit alone
	job := b.job
	b.e = b.engine(b.T, &job) // as of a runner that has just started
	if s := b.status(); s.State != gitmodels.JobRunning || s.Started.IsZero() {
		b.Fatalf("%+v", s)
	}
	b.submit()
	if err := os.WriteFile(b.job.Writable[0]+"/go", nil, 0o600); err != nil {
		b.Fatal(err)
	}
	b.want(b.wait(), gitmodels.JobFailed, "exit status 255")
	if strings.Count(b.log(), "up") != 1 {
		b.Errorf("log %q", b.log())
	}
}

// folderOfAnotherJob sees to it that a job's folder is no other's.
func (b *bench) folderOfAnotherJob() {
	b.Helper()
	name := b.job.Name
	defer func() { b.job.Name = name }()
	b.job.Name = "1111111"
	if _, err := b.e.Submit(context.Background(), b.job); err == nil {
		b.Error("accepted")
	}
	if s, err := b.e.Status(context.Background(), b.job); err == nil {
		b.Errorf("a status of another job: %+v", s)
	}
	if err := b.e.Cancel(context.Background(), b.job); err == nil {
		b.Error("cancelled another job")
	}
}

func invalidJobs(b *bench) {
	b.command("true")
	for name, change := range map[string]func(*gitmodels.Job){
		"no name":          func(j *gitmodels.Job) { j.Name = "" },
		"no command":       func(j *gitmodels.Job) { j.Command = nil },
		"empty command":    func(j *gitmodels.Job) { j.Command = []string{""} },
		"NUL":              func(j *gitmodels.Job) { j.Command = []string{"a\x00b"} },
		"variable":         func(j *gitmodels.Job) { j.Env = map[string]string{"A=B": "c"} },
		"value":            func(j *gitmodels.Job) { j.Env = map[string]string{"A": "\x00"} },
		"below zero":       func(j *gitmodels.Job) { j.MemoryBytes = -1 },
		"relative":         func(j *gitmodels.Job) { j.Tree = "tree" },
		"unclean":          func(j *gitmodels.Job) { j.Tree += "/../tree" },
		"dir in artifacts": func(j *gitmodels.Job) { j.Writable = []string{filepath.Dir(j.Dir)} },
		"log in artifacts": func(j *gitmodels.Job) { j.Log = j.Writable[0] + "/log" },
		"covers /usr":      func(j *gitmodels.Job) { j.Writable = []string{"/usr"} },
		"root":             func(j *gitmodels.Job) { j.Writable = []string{"/"} },
	} {
		job := b.job
		change(&job)
		if _, err := b.e.Submit(context.Background(), job); gitmodels.KindOf(err) != gitmodels.Invalid {
			b.Errorf("%s: %v", name, err)
		}
	}
	if s := b.status(); s.State != gitmodels.JobUnknown {
		b.Errorf("%+v", s)
	}
}
