package process

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

func TestNoBubblewrap(t *testing.T) {
	t.Parallel()
	broken := filepath.Join(t.TempDir(), "bwrap")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\n[ \"$1\" = --version ] && echo bubblewrap 0.1 && exit\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, words := range map[string]string{"/nonexistent/bwrap": "no such file", broken: "No permissions to create new namespace"} {
		b := newBench(t, "true")
		b.job.Unsandboxed = false
		b.e.o.Bubblewrap = path
		for what, err := range map[string]error{"check": b.e.Check(context.Background(), b.job), "submit": func() error {
			_, err := b.e.Submit(context.Background(), b.job)
			return err
		}()} {
			if gitmodels.KindOf(err) != gitmodels.Waiting {
				t.Fatalf("%s: %v", what, err)
			}
			for _, w := range []string{words, "engine: bubblewrap is not installed or does not work here", "apt-get install bubblewrap", "models.allowProcess = unsandboxed"} {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%s: %v, want %q", what, err, w)
				}
			}
		}
		if s := b.status(); s.State != gitmodels.JobUnknown {
			t.Errorf("%+v", s)
		}
		b.job.Unsandboxed = true
		if err := b.e.Check(context.Background(), b.job); err != nil {
			t.Error(err)
		}
	}
}

func TestMissingSupervisor(t *testing.T) {
	t.Parallel()
	b := newBench(t, "true")
	for _, argv := range [][]string{nil, {"git-models"}, {"/nonexistent/git-models", "supervise"}, {"/bin/false"}, {"/bin/true"}} {
		b.e.o.Supervisor = argv
		if _, err := b.e.Submit(context.Background(), b.job); err == nil {
			t.Errorf("%q: submitted", argv)
		}
	}
	b.e = newBench(t, "").e // mended: the job can start now
	b.want(b.run(), gitmodels.JobSucceeded, "")
}

// TestWalls looks around from inside the sandbox.
func TestWalls(t *testing.T) {
	t.Parallel()
	b := newBench(t, "").sandboxed()
	outside := filepath.Dir(b.job.Dir)
	secret := filepath.Join(outside, "secret")
	other := filepath.Join(outside, "other-run")
	if err := os.WriteFile(secret, []byte("outside"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(other, 0o777); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"link": secret, "up": "../secret"} {
		if err := os.Symlink(to, filepath.Join(b.job.Tree, link)); err != nil {
			t.Fatal(err)
		}
	}
	var script strings.Builder
	script.WriteString("cd " + b.job.Tree + "\n")
	hidden := []string{secret, other, b.job.Dir, b.job.Dir + "/" + jobFile, b.job.Log, "link", "up", "../secret", "/root", "/home",
		"/etc/shadow", "/etc/gitconfig", "/etc/hostname", "/var", "/run", "/sys", "/proc/1/root/etc/shadow", "/srv", "/opt", "/mnt"}
	if home, err := os.UserHomeDir(); err == nil && home != "/" && home != os.TempDir() && !strings.HasPrefix(outside, home) {
		hidden = append(hidden, home)
	}
	// Looked at with test -w, never written: a wall that fails must not let the
	// test change the machine.
	script.WriteString("for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/vm/swappiness /proc/self/uid_map /proc/irq/default_smp_affinity; do if [ -w $f ]; then echo WROTE $f; fi; done\n")
	for _, p := range hidden {
		fmt.Fprintf(&script, "if [ -e '%[1]s' ]; then echo 'SEEN %[1]s'; fi\n", p)
	}
	for _, p := range []string{"/", "/usr", "/etc", "/dev", "/proc/sys/kernel", "/etc/passwd"} {
		fmt.Fprintf(&script, "if [ -d '%[1]s' ]; then touch '%[1]s/gm-x' 2>/dev/null && echo 'WROTE %[1]s'; else (echo x > '%[1]s') 2>/dev/null && echo 'WROTE %[1]s'; fi\n", p)
	}
	fmt.Fprintf(&script, "for d in . '%s' /tmp /dev/shm; do echo x > $d/mine || echo \"CLOSED $d\"; done\n", b.job.Writable[0])
	script.WriteString(`id -un; id -u; getent passwd | wc -l
grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs):' /proc/self/status
ls /proc | grep -c '^[0-9]'
cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' '
unshare -U true 2>/dev/null && echo NESTED
mount -t tmpfs none /tmp 2>/dev/null && echo MOUNTED
echo end
`)
	b.job.Command = []string{"sh", "-c", script.String()}
	b.want(b.run(), gitmodels.JobSucceeded, "")
	log := b.log()
	for _, bad := range []string{"SEEN", "WROTE", "CLOSED", "MOUNTED"} {
		if strings.Contains(log, bad) {
			t.Errorf("%s in:\n%s", bad, log)
		}
	}
	s, err := b.e.findSandbox(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Extra) > 0 && strings.Contains(log, "NESTED") {
		t.Errorf("a user namespace inside:\n%s", log)
	}
	for _, want := range []string{"models\n1000\n1\n", "CapEff:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "CapBnd:\t0000000000000000\n", "NoNewPrivs:\t1\n", "\nlo\nend\n"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in:\n%s", want, log)
		}
	}
	for _, p := range []string{filepath.Join(b.job.Tree, "mine"), filepath.Join(b.job.Writable[0], "mine")} {
		info, err := os.Stat(p)
		if err != nil {
			t.Errorf("not kept: %v", err)
		} else if uid := ownerOf(info); uid != os.Getuid() {
			t.Errorf("%s belongs to %d", p, uid)
		}
	}
}

func TestNetworkByPolicyOnly(t *testing.T) {
	t.Parallel()
	needPython(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	reach := fmt.Sprintf("import socket; s = socket.create_connection(('127.0.0.1', %d), 5); print('reached')", l.Addr().(*net.TCPAddr).Port)
	for _, network := range []bool{false, true} {
		b := newBench(t, "").sandboxed()
		b.job.Network = network
		b.job.Command = []string{"/usr/bin/python3", "-c", reach}
		s := b.run()
		if (s.State == gitmodels.JobSucceeded) != network || strings.Contains(b.log(), "reached") != network {
			t.Errorf("network %v: %+v, log %q", network, s, b.log())
		}
	}
}

// TestPreloadStaysInside: the commit's environment must not reach bubblewrap.
func TestPreloadStaysInside(t *testing.T) {
	t.Parallel()
	b := newBench(t, "echo trained").sandboxed()
	b.job.Env["LD_PRELOAD"] = b.job.Tree + "/evil.so"
	b.job.Env["LD_DEBUG"] = "files"
	b.job.Env["LD_DEBUG_OUTPUT"] = b.job.Tree + "/debug"
	b.want(b.run(), gitmodels.JobSucceeded, "")
	traces, err := filepath.Glob(b.job.Tree + "/debug.*")
	if err != nil || len(traces) == 0 {
		t.Fatalf("the job itself should have been traced: %v", err)
	}
	for _, file := range traces {
		data, err := os.ReadFile(file)
		if err != nil || strings.Contains(string(data), "bwrap") {
			t.Errorf("%s: bubblewrap ran with the job's environment: %v", file, err)
		}
	}
}

func TestHiddenBelowUsr(t *testing.T) {
	t.Parallel()
	b := newBench(t, "ls -A /usr/share; ls /usr/bin/env").sandboxed()
	b.e.o.Hide = []string{"/usr/share", "/nonexistent", "/usr"}
	b.want(b.run(), gitmodels.JobSucceeded, "")
	if b.log() != "/usr/bin/env\n" {
		t.Errorf("seen %q", b.log())
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	b := newBench(t, "").sandboxed()
	if v := b.e.Versions(context.Background())["bubblewrap"]; v == "" || strings.Contains(v, " ") {
		t.Errorf("version %q", v)
	}
}

// TestKeyring: the runner's session keyring, where tickets and keys of disks
// lie, is not the job's.
func TestKeyring(t *testing.T) {
	needPython(t)
	b := newBench(t, "").sandboxed()
	// Keyrings belong to threads: this one's is handed down by Submit, and ends
	// with the goroutine.
	runtime.LockOSThread()
	if _, _, errno := unix.Syscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0); errno != 0 {
		t.Skipf("no keyrings here: %v", errno)
	}
	if _, err := unix.AddKey("user", "git-models-test", []byte("hunter2"), unix.KEY_SPEC_SESSION_KEYRING); err != nil {
		t.Skipf("no keyrings here: %v", err)
	}
	// By name in the rings of a process, and by the numbers that it may list.
	b.job.Command = []string{"/usr/bin/python3", "-c", fmt.Sprintf(`
import ctypes
libc = ctypes.CDLL(None)
keys = [(ring, libc.syscall(%[1]d, %[2]d, ring, b"user", b"git-models-test", 0)) for ring in (-3, -4, -5)]
keys += [("listed", int(line.split()[0], 16)) for line in open("/proc/keys")]
for where, key in keys:
    libc.syscall(%[1]d, %[3]d, key, -3)
    text = ctypes.create_string_buffer(99)
    if key != -1 and libc.syscall(%[1]d, %[4]d, key, text, 99) > 0 and b"hunter2" in text.value:
        print(where, text.value)
print("looked")
`, unix.SYS_KEYCTL, unix.KEYCTL_SEARCH, unix.KEYCTL_LINK, unix.KEYCTL_READ)}
	b.want(b.run(), gitmodels.JobSucceeded, "")
	if b.log() != "looked\n" {
		t.Errorf("the job found: %s", b.log())
	}
}
