package runner

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/wire"
)

// client is one connection.
type client struct {
	server *server
	conn   *net.UnixConn
	peer   peer
}

// serve reads one request and answers it. The error is for the log alone; what
// the caller should know is in the answer.
func (s *server) serve(ctx context.Context, conn *net.UnixConn) error {
	c := &client{server: s, conn: conn}
	var err error
	if c.peer, err = peerOf(conn); err != nil {
		return fmt.Errorf("asking who connected: %w", err)
	}
	may, err := s.r.mayAct(ctx, c.peer)
	if err != nil {
		return c.fail(err)
	}
	patience := requestTime
	if !may {
		patience = strangerTime
	}
	// A stranger's request is read, too: closing before it is written would cost
	// the stranger the answer.
	req, err := c.read(patience)
	if !may {
		s.r.log.Warn("a stranger was refused at the socket", "uid", c.peer.uid, "pid", c.peer.pid)
		return c.fail(&gitmodels.Error{Kind: gitmodels.Forbidden,
			Message: fmt.Sprintf("refused: uid %d neither owns a repository served here nor belongs to the group of the spool", c.peer.uid)})
	}
	if err != nil {
		return c.fail(&gitmodels.Error{Kind: gitmodels.Invalid, Message: "the request cannot be read: " + err.Error()})
	}
	ctx, stop := c.bound(ctx, req)
	defer stop()
	err = c.answer(ctx, req)
	if errors.Is(err, context.Canceled) {
		err = &gitmodels.Error{Kind: gitmodels.Internal, Message: "the runner is stopping", Err: err}
	}
	if err != nil {
		return c.fail(err)
	}
	return nil
}

// bound ends a request in time: one that follows when the caller hangs up, for
// it has nothing more to say, and any other after answerTime.
func (c *client) bound(ctx context.Context, req wire.Request) (context.Context, context.CancelFunc) {
	if !req.Follow {
		return context.WithTimeout(ctx, answerTime)
	}
	ctx, stop := context.WithCancel(ctx)
	c.server.all.Go(func() {
		defer stop()
		var b [1]byte
		if c.conn.SetReadDeadline(time.Time{}) == nil {
			c.conn.Read(b[:]) // its end is what we wait for
		}
	})
	return ctx, func() {
		stop()
		c.conn.CloseRead() // wakes that reader up
	}
}

// read reads the request: one line of bounded length, in bounded time.
func (c *client) read(patience time.Duration) (wire.Request, error) {
	var req wire.Request
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return req, err
	}
	line, err := bufio.NewReader(io.LimitReader(c.conn, maxRequest)).ReadBytes('\n')
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return req, fmt.Errorf("nothing came within %s", patience)
	case errors.Is(err, io.EOF) && len(line) >= maxRequest:
		return req, fmt.Errorf("it has more than %d bytes", maxRequest)
	case err != nil && !errors.Is(err, io.EOF):
		return req, err
	}
	if err := json.Unmarshal(line, &req); err != nil {
		return req, fmt.Errorf("it is not a line of JSON")
	}
	return req, nil
}

// answer does what is asked.
func (c *client) answer(ctx context.Context, req wire.Request) error {
	r := c.server.r
	svc := r.service
	switch req.Op {
	case wire.Ring, wire.Receipts:
		return c.receipts(ctx, req)
	case wire.Ping:
		return c.done(wire.Response{Version: r.cfg.Version, PID: os.Getpid()})
	case wire.List:
		rows, err := svc.List(ctx, req.Repository, max(req.Limit, 0))
		if err != nil {
			return err
		}
		for part := range slices.Chunk(rows, rowsAtOnce) {
			if err := c.send(wire.Response{Rows: part}); err != nil {
				return err
			}
		}
		return c.done(wire.Response{})
	case wire.Show:
		row, err := svc.Show(ctx, req.Repository, req.Commit)
		return c.row(row, err)
	case wire.Logs:
		err := svc.Logs(ctx, req.Repository, req.Commit, req.Stage, req.Follow, func(text []byte) error {
			return c.send(wire.Response{Text: text})
		})
		if err != nil {
			return err
		}
		return c.done(wire.Response{})
	case wire.Cancel, wire.Rerun:
		if err := c.maySteer(ctx, req); err != nil {
			return err
		}
		act := svc.Cancel
		if req.Op == wire.Rerun {
			act = svc.Rerun
		}
		row, err := act(ctx, req.Repository, req.Commit, c.asks(req))
		return c.row(row, err)
	case wire.Reconcile:
		found, err := svc.Reconcile(ctx, req.Repository)
		for _, line := range found {
			if err := c.send(wire.Response{Text: []byte(line + "\n")}); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		return c.done(wire.Response{})
	}
	return &gitmodels.Error{Kind: gitmodels.Invalid,
		Message: fmt.Sprintf("this runner (%s) does not know the request %s", r.cfg.Version, gitmodels.Printable(string(req.Op), 40))}
}

// receipts answers a ring, and whoever asks what a ring would be answered with.
// The answer is made before the import is woken, so that it does not know of the
// push itself. A ring without it is a ring all the same.
func (c *client) receipts(ctx context.Context, req wire.Request) error {
	r := c.server.r
	var found []gitmodels.Receipt
	var err error
	if len(req.Updates) > 0 {
		found, err = r.service.Receipts(ctx, req.Repository, req.Updates)
	}
	if req.Op == wire.Ring {
		r.ring()
		if err != nil && ctx.Err() == nil {
			r.log.Warn("a ring has no receipt", "repository", gitmodels.Printable(req.Repository, 200), "cause", err.Error())
			err = nil
		}
	}
	if err != nil {
		return err
	}
	return c.done(wire.Response{Receipts: found})
}

// asks is on whose behalf a cancel or a rerun is asked: a hook names the pusher.
// Whoever may ask at all is believed; it is a name for the records and decides
// nothing.
func (c *client) asks(req wire.Request) string {
	if req.By != "" {
		return gitmodels.Printable(req.By, 100)
	}
	return c.peer.name()
}

// maySteer holds cancel and rerun to models.cancel.
func (c *client) maySteer(ctx context.Context, req wire.Request) error {
	if c.peer.owns() {
		return nil
	}
	repo, err := c.server.r.service.repository(ctx, req.Repository)
	if err != nil {
		return err
	}
	_, pol, err := c.server.r.intake.open(ctx, repo)
	if err != nil {
		return err
	}
	if pol.Cancel != "owner" {
		return nil
	}
	c.server.r.log.Warn("a request was refused at the socket", "op", string(req.Op), "uid", c.peer.uid, "repository", repo.Name)
	return &gitmodels.Error{Kind: gitmodels.Forbidden,
		Message: fmt.Sprintf("refused: uid %d may not %s here, the runner's account alone may (models.cancel=owner)", c.peer.uid, req.Op)}
}

// row answers with one row.
func (c *client) row(row gitmodels.Listing, err error) error {
	if err != nil {
		return err
	}
	return c.done(wire.Response{Rows: []gitmodels.Listing{row}})
}

func (c *client) done(resp wire.Response) error {
	resp.Done = true
	return c.send(resp)
}

// errGone marks that the caller no longer reads.
type errGone struct{ err error }

func (e *errGone) Error() string { return "the caller does not read: " + e.err.Error() }
func (e *errGone) Unwrap() error { return e.err }

// send writes one line. A caller that does not read it in time is given up; it
// holds up nobody else.
func (c *client) send(resp wire.Response) error {
	line, err := json.Marshal(resp)
	if err != nil {
		return fmt.Errorf("writing an answer: %w", err)
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return &errGone{err}
	}
	if _, err := c.conn.Write(append(line, '\n')); err != nil {
		return &errGone{err}
	}
	return nil
}

// fail answers with an error in the caller's words, keeps the operator's for the
// log, and returns it.
func (c *client) fail(err error) error {
	var gone *errGone
	if errors.As(err, &gone) {
		return err
	}
	resp := wire.Response{Done: true, Error: err.Error(), Kind: gitmodels.KindOf(err)}
	var e *gitmodels.Error
	if errors.As(err, &e) {
		resp.Hint = e.Hint
		if e.Message != "" {
			resp.Error = e.Message
		}
	}
	if resp.Kind == gitmodels.Internal {
		c.server.r.log.Error("a request failed", "uid", c.peer.uid, "cause", err.Error())
	}
	return errors.Join(err, c.send(resp))
}
