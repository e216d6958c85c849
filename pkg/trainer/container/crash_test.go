package container

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const counted = `echo x >> "$OUT/count"; echo ran`

// once asserts that the job of counted ran exactly once, to its end, and that
// nothing of it is left.
func (b *bench) once() {
	b.Helper()
	b.want(b.wait(), gitmodels.JobSucceeded, "")
	b.submit()
	if count, log := b.read("count"), b.log(); count != "x\n" || log != "ran\n" {
		b.Errorf("ran %q, log %q", count, log)
	}
	if left := b.containers(); len(left) != 0 {
		b.Errorf("left: %q", left)
	}
	for _, name := range []string{envFile, configFolder} {
		if exists(b.job.Dir, name) {
			b.Errorf("%s is left", name)
		}
	}
}

// TestDies kills submitters and keepers of one job, one after the other, each at
// the next of the steps; another runner then submits the same job and looks at it.
func TestDies(t *testing.T) {
	t.Parallel()
	before := []string{"submit: locked", "submit: env", "submit: job.json",
		"keep: begin", "keep: locked", "keep: image", "keep: created", "keep: recorded"}
	for _, c := range []struct {
		kind  string
		steps []string
	}{
		{"docker", append(before, "keep: starting", "keep: started")},
		{"docker", []string{"submit: started"}},
		{"docker", []string{"keep: image", "keep: starting", "keep: looks new", "keep: fenced", "keep: taken back", "keep: image", "keep: starting"}},
		{"docker", []string{"keep: started", "keep: recorded start", "keep: ended", "keep: exit.json"}},
		{"podman", []string{"keep: created", "keep: starting", "keep: fenced", "keep: taken back"}},
		{"podman", []string{"keep: started", "keep: ended", "keep: exit.json"}},
	} {
		t.Run(c.kind+" "+c.steps[len(c.steps)-1], func(t *testing.T) {
			with(t, c.kind, func(t *testing.T, kind string) {
				b := newBench(t, kind, counted)
				for _, step := range c.steps {
					b.dies(step)
				}
				b.submit()
				if c.steps[len(c.steps)-1] == "keep: exit.json" {
					n, running, err := b.e.Sweep(context.Background(), func(run string) bool { return run != b.job.RunID })
					if err != nil || n != 1 || len(running) != 0 {
						t.Errorf("swept %d, running %q, %v", n, running, err)
					}
				}
				b.once()
			})
		})
	}
}

// late is a client that waits at the first command with the verb until go is in
// the folder, and says in go.done how that ended.
const late = `#!/bin/sh
for word; do
	if [ "$word" = VERB ] && mkdir DIR/late 2>/dev/null; then
		while [ ! -e DIR/go ]; do sleep 0.02; done
		"$@" >/dev/null 2>&1
		echo $? > DIR/status && mv DIR/status DIR/go.done
		exit
	fi
done
exec "$@"
`

// TestLateClient: a keeper dies, but not the client with which it creates or
// starts the container. What that client asks for reaches the engine when the
// next keeper is at one of its steps, or has gone.
func TestLateClient(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind, verb, step string
		works            bool // what the late client asks for
	}{
		{"docker", "create", "keep: image", true},
		{"docker", "create", "keep: created", false},
		{"docker", "start", "keep: looks new", true},
		{"docker", "start", "keep: fenced", false},
		{"docker", "start", "keep: taken back", false},
		{"docker", "start", "", false},
		{"podman", "start", "keep: looks new", true},
		{"podman", "start", "keep: fenced", false},
	} {
		t.Run(c.kind+" "+c.verb+" "+c.step, func(t *testing.T) {
			with(t, c.kind, func(t *testing.T, kind string) {
				dir := t.TempDir()
				script := filepath.Join(dir, "client")
				if err := os.WriteFile(script, []byte(strings.NewReplacer("DIR", dir, "VERB", c.verb).Replace(late)), 0o700); err != nil {
					t.Fatal(err)
				}
				b := newBench(t, kind, counted).with(func(o *Options) {
					o.Docker, o.Podman = []string{script, "docker"}, append([]string{script}, o.Podman...)
				})
				first := b.other("", "", "")
				if err := first.Start(); err != nil {
					t.Fatal(err)
				}
				b.until("late client", func() bool { return exists(dir, "late") })
				b.killKeeper()
				if err := first.Wait(); err == nil {
					t.Error("the first Submit says that it started the job")
				}
				if c.step == "" {
					b.submit()
					b.wait()
					if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
						t.Fatal(err)
					}
				} else if out, err := b.other("wait", c.step, dir+"/go").CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				b.until("the late client's end", func() bool { return exists(dir, "go.done") })
				status, err := os.ReadFile(dir + "/go.done")
				if err != nil || (string(status) == "0\n") != c.works {
					t.Errorf("the late client ended with %q, %v", status, err)
				}
				b.once()
			})
		})
	}
}

// TestKeeperIsReplaced: the next Status starts another, which goes on with the
// log without a gap or a double.
func TestKeeperIsReplaced(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		b := newBench(t, kind, `i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; echo up; while [ ! -e "$OUT/go" ]; do sleep 0.05; done; echo end`)
		b.submit()
		b.says("up\n")
		b.killKeeper()
		if err := os.WriteFile(b.job.Writable[0]+"/go", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		b.want(b.wait(), gitmodels.JobSucceeded, "")
		if log := b.log(); strings.Count(log, "line ") != 3000 || strings.Count(log, "up\n") != 1 || !strings.HasSuffix(log, "line 2999\nup\nend\n") {
			t.Errorf("%d lines, ends with %q", strings.Count(log, "\n"), log[max(0, len(log)-100):])
		}
	})
}

// TestOrphanTimesOut: the limit of time outlives the keeper too.
func TestOrphanTimesOut(t *testing.T) {
	with(t, "docker", func(t *testing.T, kind string) {
		b := newBench(t, kind, "sleep 300")
		b.job.MaxRuntime = time.Second
		b.dies("keep: recorded start")
		b.want(b.wait(), gitmodels.JobFailed, "killed after 1s (job.max_runtime)")
	})
}

func (b *bench) killKeeper() {
	b.Helper()
	pid := b.keeper()
	if pid == 0 {
		b.Fatal("no keeper")
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		b.Fatal(err)
	}
	b.until("the keeper's death", func() bool { return !b.kept() })
}

// TestCancelWithoutKeeper: the request starts another keeper.
func TestCancelWithoutKeeper(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		b := newBench(t, kind, "echo up; sleep 300")
		b.submit()
		b.says("up")
		b.killKeeper()
		if err := b.e.Cancel(context.Background(), b.job); err != nil {
			t.Fatal(err)
		}
		b.want(b.wait(), gitmodels.JobCancelled, "cancelled, it ended with ")
	})
}

// TestCancelBeforeTheKeeper: a job whose submitter died is cancelled; the Submit
// that follows does not run it.
func TestCancelBeforeTheKeeper(t *testing.T) {
	with(t, "docker", func(t *testing.T, kind string) {
		b := newBench(t, kind, counted)
		b.dies("submit: job.json")
		if err := b.e.Cancel(context.Background(), b.job); err != nil {
			t.Fatal(err)
		}
		b.submit()
		b.want(b.wait(), gitmodels.JobCancelled, "cancelled before it started")
		if b.read("count") != "" {
			t.Error("it ran")
		}
	})
}

// TestRemovedByHand: nobody guesses how it would have ended.
func TestRemovedByHand(t *testing.T) {
	with(t, "docker", func(t *testing.T, kind string) {
		b := newBench(t, kind, "echo up; sleep 300")
		b.submit()
		b.says("up")
		if _, err := parts.client(kind).run(context.Background(), "rm", "--force", b.containers()[0]); err != nil {
			t.Fatal(err)
		}
		s := b.wait()
		if s.State != gitmodels.JobLost { // it is ended first, and the keeper may see that
			b.want(s, gitmodels.JobFailed, "killed by signal 9")
		}
		if !strings.HasPrefix(b.log(), "up\n") {
			t.Errorf("log %q", b.log())
		}
	})
}

// TestReboot: the boot is another one, and the container runs no more.
func TestReboot(t *testing.T) {
	with(t, "docker", func(t *testing.T, kind string) {
		b := newBench(t, kind, "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done")
		boot := filepath.Join(t.TempDir(), "boot_id")
		if err := os.WriteFile(boot, []byte("before\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		b.with(func(o *Options) { o.BootID = boot }).submit()
		b.says("up")
		b.killKeeper()
		if _, err := parts.client(kind).run(context.Background(), "stop", "--time", "10", b.containers()[0]); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(boot, []byte("after\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		b.want(b.wait(), gitmodels.JobLost, "the machine restarted")
		if left := b.containers(); len(left) != 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// TestEngineRestarts: while docker is away the job's state is an error, never a
// guess; afterwards the job is lost, however it ended.
func TestEngineRestarts(t *testing.T) {
	if why := parts.missing["docker"]; why != "" {
		t.Skip(why)
	}
	d := parts.dockerd
	b := newBench(t, "docker", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done")
	b.submit()
	b.says("up")
	if err := d.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	b.until("word of it", func() bool {
		s, err := b.e.Status(context.Background(), b.job)
		if err != nil && messageOf(err) != "engine: docker does not answer on "+d.host {
			t.Fatalf("%+v, %v", s, err)
		}
		return err != nil
	})
	if err := New(b.o).Check(context.Background(), b.job); gitmodels.KindOf(err) != gitmodels.Waiting || !strings.Contains(err.Error(), "docker does not answer on "+d.host) {
		t.Errorf("check: %v", err)
	}
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	b.until("the keeper's word", func() bool {
		_, err := b.e.Status(context.Background(), b.job)
		return err == nil
	})
	b.want(b.wait(), gitmodels.JobLost, "the container engine restarted under it")
	if b.log() != "up\n" {
		t.Errorf("log %q", b.log())
	}
}
