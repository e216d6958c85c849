package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// hungry takes 300 MB and fails if it gets them.
const hungry = `import os
b = bytearray(300 << 20)
for i in range(0, len(b), 4096): b[i] = 1
print("got it")
`

func needPython(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("/usr/bin/python3"); err != nil {
		t.Skip(err)
	}
}

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	needPython(t)
	both(t, "", func(b *bench) {
		b.job.Command = []string{"/usr/bin/python3", "-c", hungry}
		b.job.MemoryBytes = 100 << 20
		s := b.run()
		if strings.Contains(b.log(), "got it") {
			b.Fatalf("no limit: %+v", s)
		}
		if g, _ := makeGroup(b.job); g.limitsMemory() {
			if err := g.remove(); err != nil {
				b.Error(err)
			}
			b.want(s, gitmodels.JobFailed, "out of memory (job.memory 100Mi)")
			return
		}
		b.want(s, gitmodels.JobFailed, "exit status 1")
		if !strings.Contains(b.log(), "MemoryError") || !strings.Contains(fmt.Sprint(s.Warnings), "job.memory limits the address space") {
			b.Errorf("warnings %q, log %q", s.Warnings, b.log())
		}
	})
}

func TestMemoryOfAChild(t *testing.T) {
	t.Parallel()
	needPython(t)
	b := newBench(t, "/usr/bin/python3 -c '"+hungry+"' || true; echo went on")
	if g, _ := makeGroup(b.job); !g.limitsMemory() {
		t.Skip("no memory control group can be made here")
	} else if err := g.remove(); err != nil {
		t.Fatal(err)
	}
	b.job.MemoryBytes = 100 << 20
	s := b.run()
	b.want(s, gitmodels.JobSucceeded, "")
	if !strings.Contains(fmt.Sprint(s.Warnings), "was killed, out of memory (job.memory 100Mi)") {
		t.Errorf("warnings %q", s.Warnings)
	}
}

func TestCPULimit(t *testing.T) {
	t.Parallel()
	b := newBench(t, "cat /proc/self/cgroup")
	b.job.CPUs = 0.5
	s := b.run()
	b.want(s, gitmodels.JobSucceeded, "")
	sight, err := b.e.look(b.job)
	if err != nil {
		t.Fatal(err)
	}
	if grouped := strings.Contains(b.log(), "git-models-5a32b0f"); grouped != (len(sight.record.Groups) > 0) {
		t.Errorf("groups %q, but the job stood in:\n%s", sight.record.Groups, b.log())
	}
	for _, dir := range sight.record.Groups {
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
	g, _ := makeGroup(b.job)
	applied := g != nil && g.dirs["cpu"] != ""
	if g != nil {
		if err := g.remove(); err != nil {
			t.Error(err)
		}
	}
	if warned := strings.Contains(fmt.Sprint(s.Warnings), "job.cpus is not applied"); warned == applied {
		t.Errorf("applied %v, warnings %q", applied, s.Warnings)
	}
}

func TestForkBombIsBounded(t *testing.T) {
	t.Parallel()
	needPython(t)
	if testing.Short() {
		t.Skip("forks thousands of processes")
	}
	// Forks until it may not, or until it has more than it should ever get.
	bomb := fmt.Sprintf(`import os, time, signal
n = 0
try:
    while n < %d:
        if os.fork() == 0:
            signal.pause()
        n += 1
    print("unbounded", n)
except OSError as e:
    print("bounded", n, e)
`, 2*maxProcesses)
	both(t, "", func(b *bench) {
		b.job.Command = []string{"/usr/bin/python3", "-c", bomb}
		s := b.run()
		b.want(s, gitmodels.JobSucceeded, "")
		if !strings.Contains(b.log(), "bounded") || strings.Contains(b.log(), "unbounded") {
			if strings.Contains(fmt.Sprint(s.Warnings), "number of the job's processes is not limited") {
				b.Skip("neither a pids control group nor an ordinary user: said in the warnings")
			}
			b.Errorf("log %q, warnings %q", b.log(), s.Warnings)
		}
	})
}

func TestNoCoreDumps(t *testing.T) {
	t.Parallel()
	both(t, "ulimit -H -c", func(b *bench) {
		b.want(b.run(), gitmodels.JobSucceeded, "")
		if b.log() != "0\n" {
			b.Errorf("core limit %q", b.log())
		}
	})
}

func TestEscapees(t *testing.T) {
	t.Parallel()
	needPython(t)
	// A grandchild in a session of its own, with the pipe open and SIGTERM
	// ignored, twice removed from its parent.
	escape := `import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("away", flush=True)
        while True: time.sleep(300)
    os._exit(0)
os.wait()
time.sleep(0.3)
`
	both(t, "", func(b *bench) {
		b.job.Command = []string{"/usr/bin/python3", "-c", escape, b.job.Tree}
		begun := time.Now()
		s := b.run()
		b.want(s, gitmodels.JobSucceeded, "")
		if took := time.Since(begun); took > 20*time.Second {
			b.Errorf("the end took %v", took)
		}
		if !strings.Contains(b.log(), "away") {
			b.Errorf("log %q", b.log())
		}
		b.nothingLeft(b.job.Tree)
	})
}

func TestTemporaryFolderWithoutRights(t *testing.T) {
	t.Parallel()
	both(t, "mkdir -p $TMPDIR/a/b/c; echo x > $TMPDIR/a/b/c/d; chmod 0 $TMPDIR/a/b/c $TMPDIR/a/b $TMPDIR/a $TMPDIR", func(b *bench) {
		s := b.run()
		b.want(s, gitmodels.JobSucceeded, "")
		if _, err := os.Lstat(filepath.Join(b.job.Dir, tmpFolder)); !os.IsNotExist(err) || strings.Contains(fmt.Sprint(s.Warnings), "temporary") {
			b.Errorf("%v, warnings %q", err, s.Warnings)
		}
	})
}

func TestFindHierarchies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mountinfo, own string
		want           hierarchies
	}{
		"version 2": {
			"30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
			"0::/system.slice/git-models.service/runner\n",
			hierarchies{map[string]string{}, "/sys/fs/cgroup/system.slice/git-models.service/runner"},
		},
		"a container's part": {
			"30 24 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
			"0::/docker/abc/x\n",
			hierarchies{map[string]string{}, "/sys/fs/cgroup/x"},
		},
		"a place outside the mount": {
			"30 24 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
			"0::/../def\n",
			hierarchies{map[string]string{}, "/sys/fs/cgroup"},
		},
		"version 1 with joined controllers": {
			"1 2 0:3 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n4 2 0:5 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n6 2 0:7 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			"4:memory:/a/b\n3:cpu,cpuacct:/\n0::/\n",
			hierarchies{map[string]string{"cpu": "/sys/fs/cgroup/cpu,cpuacct", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct", "memory": "/sys/fs/cgroup/memory/a/b"}, "/sys/fs/cgroup/unified"},
		},
		"nonsense": {"x\n - \n1 2 3 4 5 - cgroup2\n", "zzz\n1:2\n", hierarchies{map[string]string{}, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, text := range map[string]string{"mountinfo": c.mountinfo, "cgroup": c.own} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := findHierarchies(dir+"/mountinfo", dir+"/cgroup")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(hierarchies{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestBytesWords(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{512 << 20: "512Mi", 1 << 30: "1Gi", 3 << 40: "3Ti", 999: "999 bytes", 2000: "2K", 2048: "2Ki", 1536 << 20: "1536Mi", 64e6: "64M", 1e9: "1G", 0: "0 bytes"} {
		if got := bytesWords(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
