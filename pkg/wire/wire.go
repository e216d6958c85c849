// Package wire is the language of the runner's socket: one JSON object a line,
// a request from the caller, then one or more responses, the last with Done.
//
// It imports the standard library alone, without net/http: post-receive links
// it.
package wire

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Op is what a caller asks for.
type Op string

const (
	Ring   Op = "ring"   // a spool file was written: import now; answered at once, with a Receipt for each of Updates
	Ping   Op = "ping"   // who serves, which version
	List   Op = "ls"     // rows, newest first
	Show   Op = "show"   // one row with details
	Logs   Op = "logs"   // lines of a log, with Follow until the run ends
	Cancel Op = "cancel" // ask a run to end
	Rerun  Op = "rerun"  // another attempt

	Receipts Op = "receipts" // the receipts of a ring without the ring: the commits need not be in the repository yet

	Reconcile Op = "reconcile" // compare refs and ledger now; what was found comes as lines of Text
)

// Request is what a caller sends: one line.
type Request struct {
	Op         Op                 `json:"op"`
	Repository string             `json:"repository,omitempty"` // absolute git directory; empty in ls means all
	Commit     string             `json:"commit,omitempty"`     // an unambiguous prefix
	Stage      string             `json:"stage,omitempty"`      // of logs
	Follow     bool               `json:"follow,omitempty"`
	Limit      int                `json:"limit,omitempty"`   // of ls: at most so many rows, the newest; 0 means all
	Updates    []gitmodels.Update `json:"updates,omitempty"` // of ring and receipts: what the receipts are wanted for
	By         string             `json:"by,omitempty"`      // of cancel and rerun: the pusher, where a hook asks on a pusher's behalf; else the caller's account
}

// Response is one line of the answer.
type Response struct {
	Done     bool                `json:"done,omitempty"` // the last line
	Error    string              `json:"error,omitempty"`
	Hint     string              `json:"hint,omitempty"`
	Kind     gitmodels.Kind      `json:"kind,omitempty"`
	Rows     []gitmodels.Listing `json:"rows,omitempty"`
	Text     []byte              `json:"text,omitempty"` // a piece of a log
	Receipts []gitmodels.Receipt `json:"receipts,omitempty"`
	Version  string              `json:"version,omitempty"`
	PID      int                 `json:"pid,omitempty"`
}

// MaxLine bounds a request, and a response's line that carries no rows.
const MaxLine = 1 << 20

// MaxReceipts is how many of a request's Updates are answered with a Receipt, the
// first ones: a caller need not send more.
const MaxReceipts = 32

// SocketName is the socket's file in the state directory. It holds the path of
// the real socket as text where the path would exceed the system's bound.
const SocketName = "runner.sock"

// SocketPath resolves the socket of the state directory home.
func SocketPath(home string) (string, error) {
	path := filepath.Join(home, SocketName)
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return path, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

// Call sends req to the runner of home and gives every response to each, until
// the last one or the context's end. An answered error comes back as a
// *gitmodels.Error; no runner as an error that IsNoRunner recognises.
func Call(ctx context.Context, home string, req Request, each func(Response) error) error {
	path, err := SocketPath(home)
	if err != nil {
		return &noRunner{err}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return &noRunner{err}
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("asking the runner: %w", err)
	}
	dec := json.NewDecoder(bufio.NewReader(conn))
	for {
		var r Response
		if err := dec.Decode(&r); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("the runner's answer broke off: %w", err)
		}
		if r.Error != "" {
			return &gitmodels.Error{Kind: r.Kind, Message: r.Error, Hint: r.Hint}
		}
		if each != nil {
			if err := each(r); err != nil {
				return err
			}
		}
		if r.Done {
			return nil
		}
	}
}

// noRunner marks that nobody listens on the socket.
type noRunner struct{ err error }

func (e *noRunner) Error() string { return "no runner is answering: " + e.err.Error() }
func (e *noRunner) Unwrap() error { return e.err }

// IsNoRunner reports whether err says that nobody serves the state directory,
// rather than that somebody answered with an error.
func IsNoRunner(err error) bool {
	var e *noRunner
	return errors.As(err, &e)
}
