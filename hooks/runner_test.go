package hooks

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/wire"
)

// server speaks the language of the runner's socket, for what the hooks make of
// its answers.
type server struct {
	t      *testing.T
	answer func(req wire.Request, send func(wire.Response))

	mu    sync.Mutex
	asked []wire.Request
}

// serve answers on the socket of the site's state directory.
func (s *site) serve(answer func(req wire.Request, send func(wire.Response))) *server {
	s.t.Helper()
	// A socket's path is short; the state directory holds the way to it.
	dir, err := os.MkdirTemp("/tmp", "gm")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", dir+"/s")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
	if err := os.WriteFile(s.path("state", "runner.sock"), []byte(dir+"/s\n"), 0o644); err != nil {
		s.t.Fatal(err)
	}
	srv := &server{t: s.t, answer: answer}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go srv.one(conn)
		}
	}()
	return srv
}

func (srv *server) one(conn net.Conn) {
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadBytes('\n')
	if err != nil {
		return
	}
	var req wire.Request
	if err := json.Unmarshal(line, &req); err != nil {
		srv.t.Errorf("a request: %v: %s", err, line)
		return
	}
	srv.mu.Lock()
	srv.asked = append(srv.asked, req)
	srv.mu.Unlock()
	srv.answer(req, func(r wire.Response) {
		b, err := json.Marshal(r)
		if err != nil {
			srv.t.Errorf("an answer: %v", err)
		}
		conn.Write(append(b, '\n')) // the caller may be gone
	})
}

// requests are those of op so far.
func (srv *server) requests(op wire.Op) (found []wire.Request) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for _, r := range srv.asked {
		if r.Op == op {
			found = append(found, r)
		}
	}
	return found
}

// row is a run of commit in a state.
func row(commit string, state gitmodels.State, change ...func(*gitmodels.Listing)) gitmodels.Listing {
	run, attempt := commit[:7], 1
	r := gitmodels.Listing{Run: &run, Commit: gitmodels.CommitID(commit), Short: run, Decision: gitmodels.DecisionRun, State: &state, Attempt: &attempt}
	for _, c := range change {
		c(&r)
	}
	return r
}

func caused(cause string) func(*gitmodels.Listing) {
	return func(r *gitmodels.Listing) { r.Cause = &cause }
}

func waits(what string) func(*gitmodels.Listing) {
	return func(r *gitmodels.Listing) { r.Waiting = &what }
}

func valued(pairs map[string]gitmodels.Number) func(*gitmodels.Listing) {
	return func(r *gitmodels.Listing) { r.Values = pairs }
}

func overridden(words ...string) func(*gitmodels.Listing) {
	return func(r *gitmodels.Listing) { r.Overrides = words }
}
