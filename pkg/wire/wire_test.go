package wire

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// serve answers one call on the socket of home with the given lines.
func serve(t *testing.T, path string, answers ...Response) <-chan Request {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	asked := make(chan Request, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		line, err := bufio.NewReader(conn).ReadBytes('\n')
		if err != nil {
			conn.Close()
			return
		}
		var r Request
		json.Unmarshal(line, &r)
		asked <- r
		enc := json.NewEncoder(conn)
		for _, a := range answers {
			enc.Encode(a)
		}
		if len(answers) > 0 {
			conn.Close()
		} else {
			t.Cleanup(func() { conn.Close() })
		}
	}()
	return asked
}

func TestCallGivesEveryLine(t *testing.T) {
	home := t.TempDir()
	asked := serve(t, filepath.Join(home, SocketName), Response{Text: []byte("one\n")}, Response{Text: []byte("two\n")}, Response{Done: true, PID: 7})
	var text string
	var last Response
	err := Call(t.Context(), home, Request{Op: Logs, Repository: "/srv/dogs.git", Commit: "5a32b0f", Follow: true}, func(r Response) error {
		text += string(r.Text)
		last = r
		return nil
	})
	if err != nil || text != "one\ntwo\n" || !last.Done || last.PID != 7 {
		t.Errorf("err %v, text %q, last %+v", err, text, last)
	}
	if r := <-asked; r.Op != Logs || r.Commit != "5a32b0f" || !r.Follow {
		t.Errorf("the runner was asked %+v", r)
	}
}

func TestCallTellsErrorsApart(t *testing.T) {
	home := t.TempDir()
	if err := Call(t.Context(), home, Request{Op: Ping}, nil); !IsNoRunner(err) {
		t.Errorf("no socket: %v", err)
	}
	// A socket that nobody listens on any more.
	l, err := net.Listen("unix", filepath.Join(home, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if err := Call(t.Context(), home, Request{Op: Ping}, nil); !IsNoRunner(err) {
		t.Errorf("stale socket: %v", err)
	}

	home = t.TempDir()
	serve(t, filepath.Join(home, SocketName), Response{Done: true, Error: "no run has this name", Hint: "git models ls", Kind: gitmodels.NotFound})
	err = Call(t.Context(), home, Request{Op: Show}, nil)
	var e *gitmodels.Error
	if !errors.As(err, &e) || e.Kind != gitmodels.NotFound || e.Hint != "git models ls" || IsNoRunner(err) {
		t.Errorf("an answered error came back as %#v", err)
	}

	home = t.TempDir()
	serve(t, filepath.Join(home, SocketName), Response{Text: []byte("half")})
	if err := Call(t.Context(), home, Request{Op: Logs}, nil); err == nil || IsNoRunner(err) {
		t.Errorf("a broken answer: %v", err)
	}
}

func TestCallKeepsItsDeadline(t *testing.T) {
	home := t.TempDir()
	serve(t, filepath.Join(home, SocketName)) // accepts, never answers
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Call(ctx, home, Request{Op: Ring}, nil); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a silent runner: %v", err)
	}
}

func TestSocketPathFollowsThePointer(t *testing.T) {
	home, short := t.TempDir(), t.TempDir()
	real := filepath.Join(short, "s")
	if err := os.WriteFile(filepath.Join(home, SocketName), []byte(real+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	asked := serve(t, real, Response{Done: true})
	if err := Call(t.Context(), home, Request{Op: Ring}, nil); err != nil {
		t.Fatal(err)
	}
	if r := <-asked; r.Op != Ring {
		t.Errorf("asked %+v", r)
	}
}
