package hooks

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// postReceive is post-receive as git starts it, for an update of models that
// has happened.
func (s *site) postReceive() (start func() (pid int, wait func() error), stdin io.WriteCloser, stderr *bytes.Buffer, line string) {
	s.t.Helper()
	cmd := s.command(s.path("server.git"), filepath.Join(bin, "post-receive"))
	cmd.Env = append(cmd.Env, "GIT_DIR=.")
	stderr = &bytes.Buffer{}
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.server("fetch", "-q", s.work, "main:refs/heads/models")
	line = strings.Repeat("0", 40) + " " + s.git(s.work, "rev-parse", "main") + " refs/heads/models\n"
	return func() (int, func() error) {
		if err := cmd.Start(); err != nil {
			s.t.Fatal(err)
		}
		return cmd.Process.Pid, cmd.Wait
	}, stdin, stderr, line
}

// ignores reports whether the process ignores the signal, as /proc tells.
func ignores(t *testing.T, pid int, sig syscall.Signal) bool {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if hex, ok := strings.CutPrefix(line, "SigIgn:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return mask&(1<<(uint(sig)-1)) != 0
		}
	}
	t.Fatal("no SigIgn line")
	return false
}

// No signal that a terminal or a closing session sends takes a push away before
// it is durable.
func TestSignals(t *testing.T) {
	t.Parallel()
	s := newSite(t, "models.validate", "off")
	start, stdin, stderr, line := s.postReceive()
	pid, wait := start()
	for deadline := time.Now().Add(20 * time.Second); !ignores(t, pid, syscall.SIGTERM) || !ignores(t, pid, syscall.SIGINT) || !ignores(t, pid, syscall.SIGHUP); {
		if time.Now().After(deadline) {
			t.Fatal("it never ignored them")
		}
		time.Sleep(time.Millisecond)
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM} {
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(stdin, line); err != nil {
		t.Fatal(err)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := wait(); err != nil {
		t.Errorf("%v\n%s", err, stderr)
	}
	if e := s.spooled(); len(e) != 1 || e[0].Err != nil {
		t.Errorf("spool: %+v", e)
	}
}

// A client that went away takes nothing with it: the push is recorded, and the
// hook ends well.
func TestClientGone(t *testing.T) {
	t.Parallel()
	s := newSite(t, "models.validate", "off")
	s.server("fetch", "-q", s.work, "main:refs/heads/models")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	cmd := s.command(s.path("server.git"), filepath.Join(bin, "post-receive"))
	cmd.Env = append(cmd.Env, "GIT_DIR=.")
	cmd.Stdin = strings.NewReader(strings.Repeat("0", 40) + " " + s.git(s.work, "rev-parse", "main") + " refs/heads/models\n")
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Run(); err != nil {
		t.Errorf("the hook: %v", err)
	}
	if e := s.spooled(); len(e) != 1 || e[0].Err != nil {
		t.Errorf("spool: %+v", e)
	}
}

// A client that stays but never reads does not hold the hook for good.
func TestClientDeaf(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes the watchdog's patience")
	}
	s := newSite(t, "models.validate", "off")
	s.server("fetch", "-q", s.work, "main:refs/heads/models")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	// Fill the pipe.
	if err := w.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := w.Write(make([]byte, 4096)); err != nil {
			break
		}
	}
	cmd := s.command(s.path("server.git"), filepath.Join(bin, "post-receive"))
	cmd.Env = append(cmd.Env, "GIT_DIR=.")
	cmd.Stdin = strings.NewReader(strings.Repeat("0", 40) + " " + s.git(s.work, "rev-parse", "main") + " refs/heads/models\n")
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("the hook: %v", err)
		}
	case <-time.After(30 * time.Second):
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		t.Error("the hook hangs")
	}
	if e := s.spooled(); len(e) != 1 || e[0].Err != nil {
		t.Errorf("spool: %+v", e)
	}
}

// A runner that takes the call but never answers costs a push 200 ms, not more.
func TestRunnerDeaf(t *testing.T) {
	t.Parallel()
	s := newSite(t, "models.validate", "off", "models.autostart", "true")
	// A socket's path is short; the state directory holds the way to it.
	dir, err := os.MkdirTemp("/tmp", "gm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", dir+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.WriteFile(s.path("state", "runner.sock"), []byte(dir+"/s\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := ours(s.pushed("main:models"))
	if !strings.Contains(out, "too busy to answer") || !strings.Contains(out, "Nothing is lost") {
		t.Errorf("receipt:\n%s", out)
	}
	if e := s.spooled(); len(e) != 1 {
		t.Errorf("spool: %+v", e)
	}
}

// A runner that answers is all a receipt has to be silent about.
func TestRunnerAnswers(t *testing.T) {
	t.Parallel()
	s := newSite(t, "models.validate", "off")
	dir, err := os.MkdirTemp("/tmp", "gm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", dir+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b := make([]byte, 4096)
		n, _ := c.Read(b)
		asked <- string(b[:n])
		io.WriteString(c, `{"done":true}`+"\n")
	}()
	if err := os.WriteFile(s.path("state", "runner.sock"), []byte(dir+"/s\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := ours(s.pushed("main:models"))
	if strings.Contains(out, "runner") || !strings.Contains(out, "git-models: accepted ") {
		t.Errorf("receipt:\n%s", out)
	}
	if q := <-asked; !strings.Contains(q, `"op":"ring"`) || !strings.Contains(q, "server.git") {
		t.Errorf("asked: %s", q)
	}
}
