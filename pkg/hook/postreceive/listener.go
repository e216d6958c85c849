package postreceive

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errGone says that nobody reads any more.
var errGone = errors.New("nobody reads any more")

// listener is a pusher who reads what is written for as long as it takes. A
// client that was killed is not seen by the hook: git's receive-pack holds the
// other end of the pipe and only stops emptying it. So what was written and is
// not taken out is the sign, beside the pipe's own.
type listener struct {
	file     *os.File
	patience time.Duration // how long a reader may take nothing out
	pipe     bool          // what waits in it can be counted
	written  int64
	taken    int64     // as last seen; what others wrote before counts against it
	since    time.Time // when it was last seen to grow, or nothing waited
}

// newListener listens to whoever reads f.
func newListener(f *os.File, patience time.Duration) *listener {
	info, err := f.Stat()
	return &listener{file: f, patience: patience, pipe: err == nil && info.Mode()&os.ModeNamedPipe != 0, since: time.Now()}
}

// atOnce is how much a pipe that can be written takes without blocking: POSIX
// and pipe(7) call it PIPE_BUF.
const atOnce = 4096

// Write waits for room before every piece, so that it never blocks for longer
// than the patience. It returns errGone when there is no reader.
func (l *listener) Write(text []byte) (n int, err error) {
	for n < len(text) {
		if err := l.room(); err != nil {
			return n, err
		}
		m, err := l.file.Write(text[n:min(n+atOnce, len(text))])
		n += m
		l.written += int64(m)
		if err != nil {
			return n, errGone // EPIPE, as a rule; whatever it is, nobody reads
		}
	}
	return n, nil
}

// room waits until the pipe takes atOnce bytes.
func (l *listener) room() error {
	for {
		ready, err := l.poll(unix.POLLOUT, 200*time.Millisecond)
		if err != nil {
			return err
		}
		if ready {
			return nil
		}
		if err := l.Check(); err != nil {
			return err
		}
	}
}

// poll asks the pipe itself; errGone when it has no reader.
func (l *listener) poll(events int16, limit time.Duration) (ready bool, err error) {
	fds := []unix.PollFd{{Fd: int32(l.file.Fd()), Events: events}}
	n, err := unix.Poll(fds, int(limit/time.Millisecond))
	switch {
	case errors.Is(err, unix.EINTR):
		return false, nil
	case err != nil:
		return false, errGone
	case fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0:
		return false, errGone
	}
	return n > 0, nil
}

// Check looks whether anybody still reads: errGone when not.
func (l *listener) Check() error {
	if _, err := l.poll(0, 0); err != nil || !l.pipe {
		return err
	}
	waiting, err := unix.IoctlGetInt(int(l.file.Fd()), unix.TIOCINQ) // FIONREAD by its other name
	if err != nil {
		return nil // it cannot be counted: the pipe's own signs remain
	}
	if taken := l.written - int64(waiting); waiting == 0 || taken > l.taken {
		l.taken, l.since = taken, time.Now()
		return nil
	}
	if time.Since(l.since) > l.patience {
		return errGone
	}
	return nil
}

// reader is a listener, or what stands for one.
type reader interface {
	io.Writer
	Check() error
}

// deaf is a writer that cannot tell whether anybody reads.
type deaf struct{ io.Writer }

func (deaf) Check() error { return nil }

// readerOf is whoever reads w.
func readerOf(w io.Writer, patience time.Duration) reader {
	if f, ok := w.(*os.File); ok {
		return newListener(f, patience)
	}
	return deaf{w}
}
