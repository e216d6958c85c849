package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// call is one child of a build.
type call struct {
	argv []string // the first is a program, looked up in Options.Path
	env  []string // beside the build's
	// stdin writes the child's input; nil: none.
	stdin func(ctx context.Context, w io.Writer) error
	out   io.Writer // gets stdout and stderr, never at once
}

// maxAnswer bounds what is read of a program's answer, in bytes.
const maxAnswer = 4 << 20

// ask runs a program for its answer. What it prints on a failure is in the error.
func (j *job) ask(ctx context.Context, argv ...string) (string, error) {
	out := &bounded{}
	err := j.run(ctx, call{argv: argv, out: out})
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		err = fmt.Errorf("%w: %s", err, gitmodels.Printable(strings.TrimSpace(out.String()), 300))
	}
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("%s: %w", gitmodels.Printable(strings.Join(argv, " "), 200), err)
	}
	return strings.TrimSpace(out.String()), err
}

type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), maxAnswer-b.Len())])
	return len(p), nil
}

// printing makes the transcript of what comes next.
func (j *job) printing(talk dialect) *transcript {
	j.seen = &transcript{log: j.b.Log, talk: talk}
	if j.seen.log == nil {
		j.seen.log = io.Discard
	}
	return j.seen
}

// building runs the call that builds.
func (j *job) building(ctx context.Context, talk dialect, c call) error {
	t := j.printing(talk)
	c.out = t
	if err := j.run(ctx, c); err != nil {
		return j.buildFault(err)
	}
	return j.logFault(t)
}

func (j *job) logFault(t *transcript) error {
	return fsError("writing the build's log", t.broken)
}

// run runs the child to its end. The error is an *exec.ExitError when the child
// failed; when the input was bad it is the input's. When ctx ends, the child gets
// SIGTERM and Options.Grace to clean up; then what is left of all that it started
// gets SIGKILL. It is gone when run returns.
func (j *job) run(ctx context.Context, c call) error {
	program, err := j.find(c.argv[0])
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	cmd := exec.Command(program, c.argv[1:]...)
	cmd.Dir = j.dir
	cmd.Env = j.environment(c.env)
	cmd.Stdout, cmd.Stderr = c.out, c.out // the same writer: one pipe, in order
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = j.o.Grace // for a daemon that keeps the pipe open
	var in io.WriteCloser
	if c.stdin != nil {
		if in, err = cmd.StdinPipe(); err != nil {
			return j.internal("making a pipe", err)
		}
	}
	if err := cmd.Start(); err != nil {
		return j.internal("starting "+c.argv[0], err)
	}
	var fed chan error // gets the input's fault; nil: there is nothing to wait for
	if c.stdin != nil {
		fed = make(chan error, 1)
		go func() { fed <- feed(ctx, c.stdin, in) }()
	}
	return j.follow(ctx, cmd, fed)
}

// feed writes the input. One that is cut short must not look whole: its pipe stays
// open until the child was ended. A child that needs no more is no fault.
func feed(ctx context.Context, stdin func(context.Context, io.Writer) error, in io.WriteCloser) error {
	err := stdin(ctx, in)
	if err == nil {
		err = in.Close()
	}
	if errors.Is(err, unix.EPIPE) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// follow waits for the child's end, or ends it.
func (j *job) follow(ctx context.Context, cmd *exec.Cmd, fed <-chan error) error {
	pid := cmd.Process.Pid
	exited := make(chan error, 1)
	go func() { exited <- awaitExit(pid) }()
	var bad error // the input's fault, or ctx's end
	for running := true; running && bad == nil; {
		select {
		case err := <-exited:
			if err != nil {
				return j.internal("waiting for "+cmd.Path, err)
			}
			running = false
		case bad = <-fed:
			fed = nil
		case <-ctx.Done():
			bad = ctx.Err()
		}
	}
	// The child is not waited for yet: its number, and so that of its session, is
	// still its own.
	left := j.endSession(pid, bad != nil)
	err := cmd.Wait() // closes the input too, which ends a write that nobody reads
	switch {
	case left != nil:
		return left
	case bad != nil:
		return bad
	case errors.Is(err, exec.ErrWaitDelay):
		return j.internal("reading what "+cmd.Path+" prints", err)
	case err == nil && fed != nil:
		return j.lastFed(ctx, fed)
	}
	return err
}

// lastFed is the input's fault when the child ended well without reading all.
func (j *job) lastFed(ctx context.Context, fed <-chan error) error {
	late := time.NewTimer(j.o.Grace)
	defer late.Stop()
	select {
	case err := <-fed:
		return err
	case <-late.C:
		return j.internal("reading the context", errors.New("it does not end, and the builder has ended without it"))
	case <-ctx.Done():
		return ctx.Err()
	}
}

// awaitExit waits until the child has ended and leaves it a zombie.
func awaitExit(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// endSession ends all that the child started and returns when it is gone. With
// ask, the child gets SIGTERM first and time to clean up; it alone, as a program
// that is hit together with its helpers cannot. A child that ended well leaves its
// helpers as much time. What outlives it is killed.
func (j *job) endSession(sid int, ask bool) error {
	if ask {
		if err := unix.Kill(sid, unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
			return j.left(err)
		}
	}
	ours := j.ours(sid)
	tick := time.NewTicker(endTick)
	defer tick.Stop()
	for begun := time.Now(); time.Since(begun) < j.o.Grace; <-tick.C {
		if ask {
			if _, runs := sessionOf(sid); !runs {
				break
			}
			continue
		}
		list, err := processes(ours)
		if err != nil {
			return j.left(err)
		}
		if len(list) == 0 {
			return nil
		}
	}
	return j.left(end(ours))
}

// opLeft is the Op of the error that something could not be ended.
const opLeft = "ending what the build started"

// left says that something could not be ended; nil stays nil.
func (j *job) left(err error) error {
	if err == nil {
		return nil
	}
	return &gitmodels.Error{Kind: gitmodels.Internal, Op: opLeft, Err: fmt.Errorf("%s: %w", j.name, err)}
}
