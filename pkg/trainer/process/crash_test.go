package process

import (
	"context"
	"errors"
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

func ownerOf(info os.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// counted runs once and says so.
const counted = `echo x >> "$COUNT"; sleep 0.2`

func (b *bench) counted() *bench {
	b.job.Env["COUNT"] = b.job.Tree + "/count"
	return b
}

func (b *bench) count() string {
	n, err := os.ReadFile(b.job.Tree + "/count")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.Fatal(err)
	}
	return strings.TrimSpace(strings.ReplaceAll(string(n), "\n", ""))
}

// TestSubmitterDies kills the submitter at each of its steps; a second runner
// then submits the same job: it runs once.
func TestSubmitterDies(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"submit: begin", "submit: locked", "submit: job.json", "submit: started"} {
		t.Run(at, func(t *testing.T) {
			both(t, counted, func(b *bench) {
				b.counted()
				err := b.other("submit", at).Run()
				var exit *exec.ExitError
				if !errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled() {
					b.Fatalf("it did not die: %v", err)
				}
				b.submit()
				b.want(b.wait(), gitmodels.JobSucceeded, "")
				b.submit()
				if b.count() != "x" {
					b.Errorf("ran %q", b.count())
				}
			})
		})
	}
}

// TestSupervisorDies kills the supervisor at each of its steps: before it has
// recorded itself the job can start again; after that it is lost, or its end is
// known, and never does it run twice.
func TestSupervisorDies(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]gitmodels.JobState{
		"supervise: begin":     gitmodels.JobUnknown,
		"supervise: locked":    gitmodels.JobUnknown,
		"supervise: recorded":  gitmodels.JobLost,
		"supervise: prepared":  gitmodels.JobLost,
		"supervise: started":   gitmodels.JobLost,
		"supervise: ended":     gitmodels.JobLost,
		"supervise: exit.json": gitmodels.JobSucceeded,
	} {
		t.Run(at, func(t *testing.T) {
			both(t, counted, func(b *bench) {
				b.counted()
				cmd := b.other("submit", at)
				cmd.Stderr = nil // it says that its supervisor died
				err := cmd.Run()
				if (err != nil) != (want == gitmodels.JobUnknown) {
					b.Fatalf("submit: %v", err)
				}
				s := b.wait()
				if s.State != want {
					b.Fatalf("%+v, want %s", s, want)
				}
				b.nothingLeft(b.job.Tree)
				b.submit()
				if want == gitmodels.JobUnknown {
					b.want(b.wait(), gitmodels.JobSucceeded, "")
				}
				if ran := b.count(); len(ran) > 1 || want == gitmodels.JobSucceeded && ran != "x" {
					b.Errorf("ran %q", ran)
				}
				if _, err := os.Lstat(filepath.Join(b.job.Dir, tmpFolder)); !errors.Is(err, os.ErrNotExist) {
					b.Errorf("temporary files are left: %v", err)
				}
			})
		})
	}
}

// TestCancellerDies: the request stands although the signal was never sent.
func TestCancellerDies(t *testing.T) {
	t.Parallel()
	b := newBench(t, "sleep 300")
	b.submit()
	var exit *exec.ExitError
	if err := b.other("cancel", "cancel: recorded").Run(); !errors.As(err, &exit) {
		t.Fatalf("it did not die: %v", err)
	}
	if s := b.status(); s.State != gitmodels.JobRunning {
		t.Fatalf("%+v", s)
	}
	if err := b.e.Cancel(context.Background(), b.job); err != nil {
		t.Fatal(err)
	}
	b.want(b.wait(), gitmodels.JobCancelled, "cancelled")
}

// TestCancelBeforeTheSupervisor: a job whose submitter died is cancelled; the
// Submit that follows does not run it.
func TestCancelBeforeTheSupervisor(t *testing.T) {
	t.Parallel()
	b := newBench(t, counted).counted()
	var exit *exec.ExitError
	if err := b.other("submit", "submit: job.json").Run(); !errors.As(err, &exit) {
		t.Fatalf("it did not die: %v", err)
	}
	if err := b.e.Cancel(context.Background(), b.job); err != nil {
		t.Fatal(err)
	}
	b.want(b.run(), gitmodels.JobCancelled, "cancelled before it started")
	if b.count() != "" {
		t.Errorf("ran %q", b.count())
	}
}

// TestKilledSupervisor: the job, with a child that has left its session, ends
// with its supervisor, or with the Status that finds it dead.
func TestKilledSupervisor(t *testing.T) {
	t.Parallel()
	needPython(t)
	both(t, "", func(b *bench) {
		b.job.Command = []string{"/usr/bin/python3", "-c", `import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("up", flush=True)
        time.sleep(300)
    os._exit(0)
time.sleep(300)`, b.job.Tree}
		b.submit()
		b.says("up")
		s, err := b.e.look(b.job)
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.Kill(s.record.Supervisor.PID, unix.SIGKILL); err != nil {
			b.Fatal(err)
		}
		b.want(b.wait(), gitmodels.JobLost, "the supervisor vanished")
		b.nothingLeft(b.job.Tree)
		b.submit()
		b.want(b.status(), gitmodels.JobLost, "the supervisor vanished")
	})
}

// TestToldToEnd: a SIGTERM that no Cancel announced, as at a shutdown.
func TestToldToEnd(t *testing.T) {
	t.Parallel()
	both(t, "trap 'echo saving; exit 0' TERM; echo up; while :; do sleep 0.05; done", func(b *bench) {
		b.submit()
		b.says("up")
		s, err := b.e.look(b.job)
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.Kill(s.record.Supervisor.PID, unix.SIGTERM); err != nil {
			b.Fatal(err)
		}
		b.want(b.wait(), gitmodels.JobLost, "as at a shutdown")
		if !strings.Contains(b.log(), "saving") {
			b.Errorf("log %q", b.log())
		}
	})
}

// TestReboot: the record is from another boot; a process that has the number of
// its supervisor now is left alone.
func TestReboot(t *testing.T) {
	t.Parallel()
	b := newBench(t, "sleep 300")
	stranger := exec.Command("sleep", "300")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stranger.Process.Kill(); err != nil {
			t.Error("the stranger was ended: ", err)
		}
		stranger.Wait()
	}()
	st, _, err := readStat(stranger.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	b.e.o.BootID = filepath.Join(t.TempDir(), "boot_id")
	if err := os.WriteFile(b.e.o.BootID, []byte("after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := record{Supervisor: st.process, Main: &st.process, Boot: "before", Started: time.Now()}
	if err := errors.Join(writeRecord(b.job.Dir, jobFile, spec{Version: 1, Job: b.job}), writeRecord(b.job.Dir, recordFile, old)); err != nil {
		t.Fatal(err)
	}
	b.want(b.status(), gitmodels.JobLost, "the machine restarted")
	if err := b.e.Cancel(context.Background(), b.job); err != nil {
		t.Fatal(err)
	}
	b.submit() // starts nothing
	b.want(b.status(), gitmodels.JobLost, "the machine restarted")

	// The same boot, and the number has passed to the stranger.
	old.Boot = "after"
	old.Main = &process{PID: st.PID, Start: st.Start - 1}
	old.Supervisor = *old.Main
	if err := writeRecord(b.job.Dir, recordFile, old); err != nil {
		t.Fatal(err)
	}
	b.want(b.status(), gitmodels.JobLost, "the supervisor vanished")
	if there, err := alive(st.process); err != nil || !there {
		t.Errorf("the stranger was ended: %v", err)
	}
}

// TestBootID: it goes through the supervisor too.
func TestBootID(t *testing.T) {
	t.Parallel()
	b := newBench(t, "sleep 300")
	b.e.o.BootID = filepath.Join(t.TempDir(), "boot_id")
	if err := os.WriteFile(b.e.o.BootID, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.submit()
	s, err := b.e.look(b.job)
	if err != nil || s.record.Boot != "one" {
		t.Fatalf("%+v, %v", s.record, err)
	}
}

// TestSupervisorGivesUp: its reason reaches the one who submits.
func TestSupervisorGivesUp(t *testing.T) {
	t.Parallel()
	b := newBench(t, "true")
	b.e.o.BootID = "/nonexistent/boot_id"
	if _, err := b.e.Submit(context.Background(), b.job); err == nil || !strings.Contains(err.Error(), "/nonexistent/boot_id") {
		t.Errorf("%v", err)
	}
	if s := b.status(); s.State != gitmodels.JobUnknown {
		t.Errorf("%+v", s)
	}
}
