package process

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/trainer/trainertest"
)

func TestContract(t *testing.T) {
	for name, unsandboxed := range map[string]bool{"unsandboxed": true, "sandboxed": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trainertest.Test(t, func(t *testing.T, job *gitmodels.Job) gitmodels.Trainer {
				b := newBench(t, "")
				if job.Unsandboxed = unsandboxed; !unsandboxed {
					b.sandboxed()
				}
				return b.e
			})
		})
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script string
		state  gitmodels.JobState
		code   int
		cause  string
	}{
		"success":    {"echo done", gitmodels.JobSucceeded, 0, ""},
		"status":     {"echo oh >&2; exit 3", gitmodels.JobFailed, 3, "exit status 3"},
		"signal":     {"kill -SEGV $$", gitmodels.JobFailed, 139, "signal 11 (SIGSEGV)"},
		"killed":     {"kill -KILL $$", gitmodels.JobFailed, 137, "signal 9 (SIGKILL)"},
		"high":       {"exit 255", gitmodels.JobFailed, 255, "exit status 255"},
		"background": {"sleep 300 & sleep 300 >/dev/null 2>&1 & exit 0", gitmodels.JobSucceeded, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, c.script, func(b *bench) {
				s := b.run()
				b.want(s, c.state, c.cause)
				if s.ExitCode != c.code {
					b.Errorf("status %d, want %d", s.ExitCode, c.code)
				}
				if _, err := os.Lstat(filepath.Join(b.job.Dir, tmpFolder)); !os.IsNotExist(err) {
					b.Errorf("the job's temporary files are left: %v", err)
				}
			})
		})
	}
}

func TestLogFromTheFirstByte(t *testing.T) {
	t.Parallel()
	both(t, "printf 'one\n'; printf 'two\n' >&2; printf three", func(b *bench) {
		b.want(b.run(), gitmodels.JobSucceeded, "")
		if got := b.log(); got != "one\ntwo\nthree" {
			b.Errorf("log %q", got)
		}
	})
}

func TestLogIsCapped(t *testing.T) {
	t.Parallel()
	both(t, "i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done; echo end > artifact", func(b *bench) {
		b.job.LogLimit = 64 << 10
		s := b.run()
		b.want(s, gitmodels.JobSucceeded, "")
		log := b.log()
		last := log[strings.LastIndex(strings.TrimSpace(log), "\n")+1:]
		if len(log) > 64<<10+200 || last != "git-models: the log is full (64Ki), what follows is dropped\n" {
			b.Errorf("%d bytes, the last line %q", len(log), last)
		}
		if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "the log is cut at 64Ki") {
			b.Errorf("warnings %q", s.Warnings)
		}
		if _, err := os.Stat(filepath.Join(b.job.Tree, "artifact")); err != nil {
			b.Errorf("the job was held up: %v", err)
		}
	})
}

func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	b := newBench(t, "i=0; while [ $i -lt 300 ]; do printf '%01000d\n' $i; i=$((i+1)); done; echo done > ok")
	disk := filepath.Join(filepath.Dir(b.job.Dir), "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", disk, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("no small disk here: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	b.job.Log = disk + "/train.log"
	s := b.run()
	b.want(s, gitmodels.JobSucceeded, "")
	if !strings.Contains(fmt.Sprint(s.Warnings), "bytes of the log could not be written: no space left on device") {
		t.Errorf("warnings %q", s.Warnings)
	}
	if _, err := os.Stat(b.job.Tree + "/ok"); err != nil {
		t.Error(err)
	}
}

func TestEnvironmentIsExact(t *testing.T) {
	t.Setenv("GIT_MODELS_SECRET_OF_THE_RUNNER", "leaked")
	for _, sandboxed := range []bool{false, true} {
		t.Run(fmt.Sprint("sandboxed=", sandboxed), func(t *testing.T) {
			b := newBench(t, "")
			b.job.Command = []string{"env"}
			want := map[string]string{"PATH": b.e.o.Path, "HOME": b.e.o.Home, "USER": account(), "TMPDIR": b.job.Dir + "/tmp"}
			if sandboxed {
				b.sandboxed()
				want = map[string]string{"PATH": sandboxPath, "HOME": "/tmp", "USER": "models", "TMPDIR": "/tmp", "PWD": b.job.Tree}
			}
			b.job.Env = map[string]string{"A": "1 \"' $x", "TMPDIR": "/elsewhere", "LD_PRELOAD_": "x", "MULTI": "a\nB=b"}
			want["LANG"], want["A"], want["LD_PRELOAD_"], want["MULTI"] = "C.UTF-8", "1 \"' $x", "x", "a\nB=b"
			b.job.Command = []string{"cat", "/proc/self/environ"}
			b.want(b.run(), gitmodels.JobSucceeded, "")
			got := map[string]string{}
			for _, v := range strings.Split(strings.TrimSuffix(b.log(), "\x00"), "\x00") {
				name, value, _ := strings.Cut(v, "=")
				got[name] = value
			}
			for name := range want {
				if got[name] != want[name] {
					t.Errorf("%s=%q, want %q", name, got[name], want[name])
				}
				delete(got, name)
			}
			if len(got) > 0 {
				t.Errorf("too much: %q", got)
			}
			for _, f := range []string{jobFile, recordFile, exitFile} {
				if data, err := os.ReadFile(filepath.Join(b.job.Dir, f)); err != nil || strings.Contains(string(data), "1 \\\"'") {
					t.Errorf("%s holds the environment, or: %v", f, err)
				}
			}
		})
	}
}

func TestNoDescriptorIsInherited(t *testing.T) {
	// A descriptor without close-on-exec, as a hook inherits from git.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if err := unix.Dup3(int(w.Fd()), 777, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(777)
	for _, sandboxed := range []bool{false, true} {
		t.Run(fmt.Sprint("sandboxed=", sandboxed), func(t *testing.T) {
			b := newBench(t, "ls /proc/self/fd; readlink /proc/self/fd/0; echo started; sleep 300")
			if sandboxed {
				b.sandboxed()
			}
			b.submit()
			b.says("started")
			if got, want := b.log(), "0\n1\n2\n3\n/dev/null\nstarted\n"; got != want { // 3 is ls's own
				t.Errorf("the job's descriptors %q, want %q", got, want)
			}
			s, err := b.e.look(b.job)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/777", s.record.Supervisor.PID)); !os.IsNotExist(err) {
				t.Errorf("the supervisor holds it: %v", err)
			}
		})
	}
}

func TestCommandNotFound(t *testing.T) {
	t.Parallel()
	both(t, "", func(b *bench) {
		b.job.Command = []string{"no-such\x1bprogram", "x"}
		s := b.run()
		b.want(s, gitmodels.JobFailed, `command not found`)
		if s.ExitCode != 127 || strings.Contains(s.Cause, "\x1b") || !strings.Contains(s.Cause, `no-such\x1bprogram`) {
			b.Errorf("%d %q", s.ExitCode, s.Cause)
		}
	})
	t.Run("not executable", func(t *testing.T) {
		both(t, "", func(b *bench) {
			if err := os.WriteFile(b.job.Tree+"/train.py", []byte("print(1)\n"), 0o600); err != nil {
				b.Fatal(err)
			}
			b.job.Command = []string{"./train.py"}
			s := b.run()
			b.want(s, gitmodels.JobFailed, "cannot be executed")
			if s.ExitCode != 126 {
				b.Errorf("status %d", s.ExitCode)
			}
		})
	})
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	both(t, "trap 'echo asked' TERM; echo up; while :; do sleep 0.05; done", func(b *bench) {
		b.job.MaxRuntime = 500 * time.Millisecond
		s := b.run()
		b.want(s, gitmodels.JobFailed, "killed after 500ms (job.max_runtime)")
		if log := b.log(); !strings.Contains(log, "asked") {
			b.Errorf("it was not asked first: %q", log)
		}
		b.nothingLeft(b.job.Tree)
	})
}

func TestCancel(t *testing.T) {
	t.Parallel()
	t.Run("polite", func(t *testing.T) {
		both(t, "trap 'echo saved; exit 0' TERM; echo up; while :; do sleep 0.05; done", func(b *bench) {
			b.e.o.Grace = time.Minute
			b.submit()
			b.says("up")
			if err := b.e.Cancel(context.Background(), b.job); err != nil {
				b.Fatal(err)
			}
			b.want(b.wait(), gitmodels.JobCancelled, "cancelled, it ended with exit status 0")
			if !strings.Contains(b.log(), "saved") {
				b.Errorf("log %q", b.log())
			}
		})
	})
	t.Run("ignores SIGTERM", func(t *testing.T) {
		both(t, "trap '' TERM; echo up; while :; do sleep 0.05; done", func(b *bench) {
			b.submit()
			b.says("up")
			for range 2 {
				if err := b.e.Cancel(context.Background(), b.job); err != nil {
					b.Fatal(err)
				}
			}
			b.want(b.wait(), gitmodels.JobCancelled, "signal 9")
		})
	})
	t.Run("at once", func(t *testing.T) {
		both(t, "sleep 300", func(b *bench) {
			b.submit()
			if err := b.e.Cancel(context.Background(), b.job); err != nil {
				b.Fatal(err)
			}
			b.want(b.wait(), gitmodels.JobCancelled, "cancelled")
		})
	})
	t.Run("never submitted", func(t *testing.T) {
		b := newBench(t, "echo ran")
		if err := b.e.Cancel(context.Background(), b.job); err != nil {
			t.Fatal(err)
		}
		if s := b.status(); s.State != gitmodels.JobUnknown {
			t.Fatalf("%+v", s)
		}
		b.want(b.run(), gitmodels.JobSucceeded, "")
	})
	t.Run("after the end", func(t *testing.T) {
		b := newBench(t, "exit 3")
		b.run()
		if err := b.e.Cancel(context.Background(), b.job); err != nil {
			t.Fatal(err)
		}
		b.want(b.status(), gitmodels.JobFailed, "exit status 3")
	})
}

func TestSubmitIsIdempotent(t *testing.T) {
	t.Parallel()
	both(t, "echo ran >> ran; sleep 0.3", func(b *bench) {
		var wait sync.WaitGroup
		for range 6 {
			wait.Go(func() {
				e := New(b.e.o)
				if _, err := e.Submit(context.Background(), b.job); err != nil {
					b.Error(err)
				}
			})
		}
		wait.Wait()
		b.want(b.wait(), gitmodels.JobSucceeded, "")
		b.submit() // after its end too
		ran, err := os.ReadFile(b.job.Tree + "/ran")
		if err != nil || string(ran) != "ran\n" {
			b.Errorf("ran %q, %v", ran, err)
		}
	})
}

func TestAdoption(t *testing.T) {
	t.Parallel()
	both(t, "echo up; while [ ! -e go ]; do sleep 0.02; done; exit 4", func(b *bench) {
		if err := b.other("submit", "").Run(); err != nil {
			b.Fatal(err)
		}
		b.says("up") // its submitter is gone
		if s := b.status(); s.State != gitmodels.JobRunning || s.Started.IsZero() {
			b.Fatalf("%+v", s)
		}
		b.submit()
		if err := os.WriteFile(b.job.Tree+"/go", nil, 0o600); err != nil {
			b.Fatal(err)
		}
		s := b.wait()
		b.want(s, gitmodels.JobFailed, "exit status 4")
		if strings.Count(b.log(), "up") != 1 {
			b.Errorf("log %q", b.log())
		}
	})
}

func TestFolderOfAnotherJob(t *testing.T) {
	t.Parallel()
	b := newBench(t, "true")
	b.run()
	b.job.Name = "1111111"
	if _, err := b.e.Submit(context.Background(), b.job); err == nil {
		t.Error("accepted")
	}
	if _, err := b.e.Status(context.Background(), b.job); err == nil {
		t.Error("a status of another job")
	}
}

func TestCorruptRecords(t *testing.T) {
	t.Parallel()
	for _, name := range []string{jobFile, recordFile, exitFile} {
		for _, data := range []string{"", "{", `{"version":9}`, `{"supervisor":{"pid":1,"start":5},"boot":"x"}`, `{"state":"running"}`} {
			b := newBench(t, "sleep 300")
			b.run0(name, data)
			if s, err := b.e.Status(context.Background(), b.job); err == nil {
				t.Errorf("%s %q: %+v", name, data, s)
			}
			if err := b.e.Cancel(context.Background(), b.job); err == nil {
				t.Errorf("%s %q: cancelled", name, data)
			}
			if _, err := b.e.Submit(context.Background(), b.job); err == nil {
				t.Errorf("%s %q: submitted", name, data)
			}
		}
	}
}

// run0 writes records of a job that never ran, one of them broken.
func (b *bench) run0(broken, data string) {
	b.Helper()
	boot, err := bootID(b.e.o.BootID)
	if err != nil {
		b.Fatal(err)
	}
	if err := writeRecord(b.job.Dir, jobFile, spec{Version: 1, Job: b.job}); err != nil {
		b.Fatal(err)
	}
	if broken == exitFile {
		if err := writeRecord(b.job.Dir, recordFile, record{Supervisor: process{1 << 21, 1}, Boot: boot}); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(b.job.Dir, broken), []byte(data), 0o600); err != nil {
		b.Fatal(err)
	}
}

func TestInvalidJobs(t *testing.T) {
	t.Parallel()
	b := newBench(t, "true")
	for name, change := range map[string]func(*gitmodels.Job){
		"no name":          func(j *gitmodels.Job) { j.Name = "" },
		"no command":       func(j *gitmodels.Job) { j.Command = nil },
		"NUL":              func(j *gitmodels.Job) { j.Command = []string{"a\x00b"} },
		"variable":         func(j *gitmodels.Job) { j.Env = map[string]string{"A=B": "c"} },
		"value":            func(j *gitmodels.Job) { j.Env = map[string]string{"A": "\x00"} },
		"relative":         func(j *gitmodels.Job) { j.Tree = "tree" },
		"unclean":          func(j *gitmodels.Job) { j.Tree += "/../tree" },
		"dir in tree":      func(j *gitmodels.Job) { j.Tree = filepath.Dir(j.Dir) },
		"log in artifacts": func(j *gitmodels.Job) { j.Log = j.Writable[0] + "/log" },
		"covers /usr":      func(j *gitmodels.Job) { j.Writable = []string{"/usr"} },
		"root":             func(j *gitmodels.Job) { j.Writable = []string{"/"} },
	} {
		job := b.job
		change(&job)
		if _, err := b.e.Submit(context.Background(), job); gitmodels.KindOf(err) != gitmodels.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
