package runner_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/runner"
	"github.com/git-models/git-models/pkg/wire"
)

// call asks the runner of a home and returns all answers.
func call(t *testing.T, home string, req wire.Request) ([]wire.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var all []wire.Response
	err := wire.Call(ctx, home, req, func(r wire.Response) error {
		all = append(all, r)
		return nil
	})
	return all, err
}

// serveSocket starts a runner and waits until it answers.
func (s *site) serveSocket() *serving {
	s.t.Helper()
	v := s.serve()
	s.await("an answer on the socket", func() bool {
		return wire.Call(context.Background(), s.home, wire.Request{Op: wire.Ping}, nil) == nil
	})
	return v
}

func TestSocketAnswers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.cfg.Pace.Spool = time.Hour // only a ring has the spool looked into
	s.trainer.holdAll()
	v := s.serveSocket()
	if got, err := call(t, s.home, wire.Request{Op: wire.Ping}); err != nil || got[0].PID != os.Getpid() || got[0].Version != "test" {
		t.Fatalf("ping: %+v, %v", got, err)
	}
	commit := s.push(models)
	if _, err := call(t, s.home, wire.Request{Op: wire.Ring, Repository: s.bare}); err != nil {
		t.Fatal(err)
	}
	s.awaitState(commit, gitmodels.Running)
	name := commit.Short(7)
	if got, err := call(t, s.home, wire.Request{Op: wire.List}); err != nil || len(got[0].Rows) != 1 || got[0].Rows[0].Short != name {
		t.Errorf("ls: %+v, %v", got, err)
	}
	if got, err := call(t, s.home, wire.Request{Op: wire.Show, Repository: s.bare, Commit: name}); err != nil || got[0].Rows[0].Name != name {
		t.Errorf("show: %+v, %v", got, err)
	}
	if got, err := call(t, s.home, wire.Request{Op: wire.Cancel, Repository: s.bare, Commit: name}); err != nil || *got[0].Rows[0].State != gitmodels.Cancelling && *got[0].Rows[0].State != gitmodels.Cancelled {
		t.Errorf("cancel: %+v, %v", got, err)
	}
	s.awaitState(commit, gitmodels.Cancelled)
	if got, err := call(t, s.home, wire.Request{Op: wire.Rerun, Repository: s.bare, Commit: name}); err != nil || *got[0].Rows[0].Attempt != 2 {
		t.Errorf("rerun: %+v, %v", got, err)
	}
	s.trainer.finish(name+"-r2", "succeeded")
	s.awaitState(commit, gitmodels.Succeeded)
	s.git(s.bare, "update-ref", "-d", string(models))
	if got, err := call(t, s.home, wire.Request{Op: wire.Reconcile}); err != nil || !strings.Contains(string(got[0].Text), "models vanished") {
		t.Errorf("reconcile: %+v, %v", got, err)
	}
	for _, c := range []struct {
		req  wire.Request
		kind gitmodels.Kind
	}{
		{wire.Request{Op: "dance"}, gitmodels.Invalid},
		{wire.Request{Op: wire.Show, Repository: s.bare, Commit: "0000000"}, gitmodels.NotFound},
		{wire.Request{Op: wire.Show, Repository: "/nowhere", Commit: name}, gitmodels.NotFound},
		{wire.Request{Op: wire.Cancel, Repository: s.bare, Commit: name}, gitmodels.Invalid},
	} {
		if _, err := call(t, s.home, c.req); err == nil || gitmodels.KindOf(err) != c.kind || wire.IsNoRunner(err) {
			t.Errorf("%+v: %v", c.req, err)
		}
	}
	v.end()
	if _, err := call(t, s.home, wire.Request{Op: wire.Ping}); !wire.IsNoRunner(err) {
		t.Errorf("after the end: %v", err)
	}
}

func TestLogsAreFollowedToTheEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.trainer.holdAll()
	v := s.serveSocket()
	commit := s.push(models)
	s.awaitState(commit, gitmodels.Running)
	var text strings.Builder
	first, done := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		req := wire.Request{Op: wire.Logs, Repository: s.bare, Commit: commit.Short(7), Follow: true}
		done <- wire.Call(context.Background(), s.home, req, func(r wire.Response) error {
			text.Write(r.Text)
			if strings.Contains(text.String(), "training ") {
				select {
				case first <- struct{}{}:
				default:
				}
			}
			return nil
		})
	}()
	select {
	case <-first:
	case err := <-done:
		t.Fatalf("it ended before the run: %v", err)
	case <-time.After(patience):
		t.Fatal("no log came")
	}
	log := filepath.Join(s.home, "runs", s.repo.ID, string(commit), "1", "train.log")
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, "the last line")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s.trainer.finish(commit.Short(7), "succeeded")
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("it does not end with the run")
	}
	if got := text.String(); !strings.HasPrefix(got, "exported 2 files") || !strings.HasSuffix(got, "the last line\n") {
		t.Errorf("log:\n%s", got)
	}
	v.end()
}

func TestFollowerEndsWithTheRunner(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.trainer.holdAll()
	v := s.serveSocket()
	commit := s.push(models)
	s.awaitState(commit, gitmodels.Running)
	began, done := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		req := wire.Request{Op: wire.Logs, Repository: s.bare, Commit: commit.Short(7), Follow: true}
		done <- wire.Call(context.Background(), s.home, req, func(wire.Response) error {
			select {
			case began <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	<-began
	v.end()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "the runner is stopping") {
		t.Errorf("it ended with %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	v := s.serveSocket()
	for name, line := range map[string]string{
		"no JSON": "GET / HTTP/1.1\r\n", "cut off": `{"op":"ls"`, "endless": strings.Repeat("x", 100<<10), "wrong type": `{"op":7}` + "\n",
	} {
		conn, err := net.Dial("unix", filepath.Join(s.home, wire.SocketName))
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(patience))
		go func() { // it may stop reading before all is written
			conn.Write([]byte(line))
			conn.(*net.UnixConn).CloseWrite()
		}()
		var r wire.Response
		if err := json.NewDecoder(conn).Decode(&r); err != nil || !r.Done || !strings.Contains(r.Error, "the request cannot be read") {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		conn.Close()
	}
	if _, err := call(t, s.home, wire.Request{Op: wire.Ping}); err != nil {
		t.Error(err)
	}
	v.end()
}

func TestSlowReadersHoldUpNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	commit := s.push(models)
	s.trainer.work = func(job gitmodels.Job) error {
		return os.WriteFile(job.Log, []byte(strings.Repeat("a line of the log\n", 1<<18)), 0o600)
	}
	v := s.serveSocket()
	s.awaitState(commit, gitmodels.Succeeded)
	req, err := json.Marshal(wire.Request{Op: wire.Logs, Repository: s.bare, Commit: commit.Short(7)})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // they ask for more than any buffer holds and read nothing
		conn, err := net.Dial("unix", filepath.Join(s.home, wire.SocketName))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(append(req, '\n')); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReaderSize(conn, 16).ReadByte(); err != nil {
			t.Fatal(err)
		}
	}
	next := s.change("two")
	s.push(models)
	if _, err := call(t, s.home, wire.Request{Op: wire.Ring}); err != nil {
		t.Fatal(err)
	}
	s.awaitState(next, gitmodels.Succeeded)
	v.end()
}

func TestLongHomeHasAPointer(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "")
	s := newSite(t)
	long := filepath.Join(s.home, strings.Repeat("long", 30))
	if err := os.MkdirAll(long, 0o711); err != nil {
		t.Fatal(err)
	}
	s.cfg.Home = long
	pointer := filepath.Join(long, wire.SocketName)
	if err := os.WriteFile(pointer, []byte("/nonexistent/s\n"), 0o644); err != nil { // of a runner that died
		t.Fatal(err)
	}
	s.home = long
	v := s.serveSocket()
	path, err := wire.SocketPath(long)
	if err != nil || !strings.HasPrefix(path, "/tmp/git-models-") {
		t.Fatalf("socket %s, %v", path, err)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("its folder: %v, %v", info, err)
	}
	v.end()
	for _, p := range []string{pointer, path, filepath.Dir(path)} {
		if _, err := os.Lstat(p); err == nil {
			t.Errorf("%s is left", p)
		}
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := filepath.Join(s.home, wire.SocketName)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	s.serveSocket().end()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := runner.New(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context(), false); err == nil || !strings.Contains(err.Error(), "is in the way") {
		t.Errorf("Run: %v", err)
	}
}

// connectAs connects as another account: one thread takes on its ids, connects,
// and is thrown away.
func connectAs(t *testing.T, path string, uid, gid int, groups ...uint32) net.Conn {
	t.Helper()
	type result struct {
		fd  int
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		var list unsafe.Pointer
		if len(groups) > 0 {
			list = unsafe.Pointer(&groups[0])
		}
		for _, c := range [][4]uintptr{
			{unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(list)},
			{unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)},
			{unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)},
		} {
			if _, _, errno := unix.RawSyscall(c[0], c[1], c[2], c[3]); errno != 0 && err == nil {
				err = errno
			}
		}
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		}
		done <- result{fd, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatalf("connecting as uid %d: %v", uid, r.err)
	}
	f := os.NewFile(uintptr(r.fd), path)
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// ask sends a request on a connection and returns the first answer.
func ask(t *testing.T, conn net.Conn, req wire.Request) wire.Response {
	t.Helper()
	var r wire.Response
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(conn).Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestStrangersAreRefused(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to connect as other accounts")
	}
	t.Parallel()
	s := newSite(t)
	const stranger, member, owner, group = 65534, 61001, 61002, 61003
	for _, dir := range []string{filepath.Dir(filepath.Dir(s.home)), filepath.Dir(s.home)} {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	commit := s.push(models)
	v := s.serveSocket()
	s.awaitState(commit, gitmodels.Succeeded)
	path := filepath.Join(s.home, wire.SocketName)

	for _, op := range []wire.Op{wire.Ring, wire.Ping, wire.List, wire.Show, wire.Logs, wire.Cancel, wire.Rerun, wire.Reconcile} {
		r := ask(t, connectAs(t, path, stranger, stranger), wire.Request{Op: op, Repository: s.bare, Commit: commit.Short(7)})
		if r.Kind != gitmodels.Forbidden || !strings.HasPrefix(r.Error, "refused: uid 65534") || len(r.Rows) != 0 {
			t.Errorf("%s as a stranger: %+v", op, r)
		}
	}
	if n := s.logs.count("a stranger was refused at the socket"); n != 8 {
		t.Errorf("logged %d times", n)
	}
	// A member of the group that may write the spool acts; one of a group that
	// only owns the folder does not.
	spool := filepath.Join(s.home, "spool", "new")
	if err := os.Chown(spool, 0, group); err != nil {
		t.Fatal(err)
	}
	if r := ask(t, connectAs(t, path, member, member, group), wire.Request{Op: wire.List}); r.Kind != gitmodels.Forbidden {
		t.Errorf("a group without rights: %+v", r)
	}
	if err := syscall.Chmod(spool, 0o3770); err != nil {
		t.Fatal(err)
	}
	for name, conn := range map[string]net.Conn{"supplementary": connectAs(t, path, member, member, 1, 2, group), "primary": connectAs(t, path, member, group)} {
		if r := ask(t, conn, wire.Request{Op: wire.List}); r.Error != "" || len(r.Rows) != 1 {
			t.Errorf("a member by its %s group: %+v", name, r)
		}
	}
	// The owner of a repository acts, unless cancel is kept to the runner's account.
	if err := os.Chown(s.bare, owner, owner); err != nil {
		t.Fatal(err)
	}
	rerun := wire.Request{Op: wire.Rerun, Repository: s.bare, Commit: commit.Short(7)}
	s.configure("[models]\n\tengine = process\n\tallowProcess = true\n\tcancel = owner\n")
	if r := ask(t, connectAs(t, path, owner, owner), rerun); r.Kind != gitmodels.Forbidden || !strings.Contains(r.Error, "models.cancel=owner") {
		t.Errorf("rerun with models.cancel=owner: %+v", r)
	}
	s.configure("[models]\n\tengine = process\n\tallowProcess = true\n")
	if r := ask(t, connectAs(t, path, owner, owner), rerun); r.Error != "" || *r.Rows[0].Attempt != 2 {
		t.Errorf("rerun by the owner: %+v", r)
	}
	s.awaitState(commit, gitmodels.Succeeded)
	v.end()
}

// Right after a push, before any runner has looked into the spool, the commit is
// known, and following it waits until it is taken up.
func TestLooksRightAfterAPush(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	commit := s.push(models)
	svc, err := runner.NewService(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = svc.Show(t.Context(), s.bare, commit.Short(7))
	var e *gitmodels.Error
	if !errors.As(err, &e) || e.Kind != gitmodels.Waiting || e.Message != commit.Short(7)+" is accepted and not taken up yet" ||
		e.Hint != "git models logs -f "+commit.Short(7) {
		t.Errorf("show: %#v", err)
	}
	if err := svc.Logs(t.Context(), s.bare, string(commit), "", false, nil); !errors.As(err, &e) || e.Kind != gitmodels.Waiting {
		t.Errorf("logs: %v", err)
	}
	if _, err := svc.Show(t.Context(), s.bare, "abcdef0"); !errors.As(err, &e) || e.Kind != gitmodels.NotFound {
		t.Errorf("another commit: %v", err)
	}
	ended, stop := context.WithTimeout(t.Context(), time.Millisecond)
	defer stop()
	if err := svc.Logs(ended, s.bare, string(commit), "", true, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a wait that is broken off: %v", err)
	}
	// Beside a runner.
	var text bytes.Buffer
	emit := func(b []byte) error { text.Write(b); return nil }
	done := make(chan error, 1)
	go func() { done <- svc.Logs(t.Context(), s.bare, commit.Short(7), "train", true, emit) }()
	s.cfg.Pace.Spool = time.Hour // only a ring has the spool looked into
	s.serveSocket()
	if err := <-done; err != nil || text.String() != "training "+commit.Short(7)+"\n" {
		t.Errorf("beside a runner: %q, %v", text.String(), err)
	}
	// Through its socket.
	text.Reset()
	commit = s.pushChange()
	if _, err := call(t, s.home, wire.Request{Op: wire.Show, Repository: s.bare, Commit: string(commit)}); !errors.As(err, &e) || e.Kind != gitmodels.Waiting {
		t.Errorf("show through the socket: %v", err)
	}
	go func() {
		done <- wire.Call(t.Context(), s.home, wire.Request{Op: wire.Logs, Repository: s.bare, Commit: string(commit), Stage: "train", Follow: true},
			func(r wire.Response) error { return emit(r.Text) })
	}()
	if _, err := call(t, s.home, wire.Request{Op: wire.Ring}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || text.String() != "training "+commit.Short(7)+"\n" {
		t.Errorf("through the socket: %q, %v", text.String(), err)
	}
}
