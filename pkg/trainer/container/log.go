package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// DefaultLogLimit bounds a log whose job names no limit, in bytes.
const DefaultLogLimit = 64 << 20

// clientWords bounds what a client may have put at the end of the log when it
// failed, in bytes: its standard error is that of the container.
const clientWords = 4 << 10

func logLimit(job gitmodels.Job) int64 {
	if job.LogLimit > 0 {
		return job.LogLimit
	}
	return DefaultLogLimit
}

// jobLog is Job.Log from the place where the engine's log begins in it.
type jobLog struct {
	file *os.File
	base int64 // where the engine's log begins
	end  int64 // what comes after is dropped
	at   int64 // how far the last copy came
	// limit is how much of the output fits before end, in bytes.
	limit int64
	move  func(base int64) error
}

// openLog opens the log; move records a new base before it counts.
func openLog(path string, base, end, limit int64, move func(int64) error) (*jobLog, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	return &jobLog{file: f, base: base, end: end, limit: limit, move: move}, nil
}

// errDiffers says that the job's log is not what the engine has; jobLog.at is
// where. It may also be that a client failed, whose words were read: mend it only
// after a client that succeeded.
var errDiffers = errors.New("the job's log differs from the container engine's")

// copy takes the engine's log from its beginning: what the job's log has of it
// is compared, the rest appended. whole says that the engine's log is complete, so
// that it cannot be shorter than the job's. full says that the limit is reached:
// nobody needs to read on.
func (l *jobLog) copy(r io.Reader, whole bool) (full bool, err error) {
	size, err := l.size()
	if err != nil || size > l.end {
		return size > l.end, err // the closing line stands
	}
	l.at = l.base // where the next byte of the engine's log belongs
	buf := make([]byte, 64<<10)
	for {
		n, readErr := r.Read(buf)
		b := buf[:n]
		if l.at < size {
			known := b[:min(int64(len(b)), size-l.at)]
			same, err := l.sameAt(l.at, known)
			l.at += same
			if err == nil && same < int64(len(known)) {
				err = errDiffers
			}
			if err != nil {
				return false, err
			}
			b = b[same:]
		}
		if len(b) > 0 {
			if full, err := l.append(b); full || err != nil {
				return full, err
			}
		}
		if readErr != nil {
			if whole && readErr == io.EOF && l.at < size {
				return false, errDiffers
			}
			return false, readEnd(readErr)
		}
	}
}

// append writes b at the end, up to the limit.
func (l *jobLog) append(b []byte) (full bool, err error) {
	room := max(l.end-l.at, 0)
	over := int64(len(b)) > room
	if over {
		b = b[:room]
	}
	n, err := l.file.WriteAt(b, l.at)
	l.at += int64(n)
	if err == nil && over {
		return true, l.close(l.at)
	}
	return false, err
}

// mend puts right a log that is not the engine's from at on. A short rest is what
// a failed client said. A long one was the engine's log before the engine cut
// that off: it stays, and what the engine has now follows behind it.
func (l *jobLog) mend() error {
	size, err := l.size()
	if err != nil {
		return err
	}
	if size-l.at <= clientWords {
		return l.file.Truncate(l.at)
	}
	note := fmt.Appendf(nil, "\ngit-models: something may be missing here: the container engine has cut its log\n")
	if _, err := l.file.WriteAt(note, size); err != nil {
		return err
	}
	l.base = size + int64(len(note))
	return l.move(l.base)
}

func (l *jobLog) size() (int64, error) {
	info, err := l.file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// lastLine is the last line of the job's output with words in it.
func (l *jobLog) lastLine() string {
	size, err := l.size()
	if err != nil || size <= l.base {
		return ""
	}
	tail := make([]byte, min(size-l.base, clientWords))
	if _, err := l.file.ReadAt(tail, size-int64(len(tail))); err != nil {
		return ""
	}
	text := strings.TrimSpace(string(tail))
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// sameAt counts how many bytes of b the log has at the place.
func (l *jobLog) sameAt(at int64, b []byte) (int64, error) {
	have := make([]byte, len(b))
	if _, err := l.file.ReadAt(have, at); err != nil {
		return 0, err
	}
	for i := range b {
		if b[i] != have[i] {
			return int64(i), nil
		}
	}
	return int64(len(b)), nil
}

// close writes the last line of a log that is full; it stands beyond the limit.
func (l *jobLog) close(at int64) error {
	line := fmt.Appendf(nil, "git-models: the log is full (%s), what follows is dropped\n", bytesWords(l.limit))
	last := []byte{'\n'}
	if at > l.base {
		if _, err := l.file.ReadAt(last, at-1); err != nil {
			return err
		}
	}
	if !bytes.Equal(last, []byte{'\n'}) {
		line = append([]byte{'\n'}, line...)
	}
	_, err := l.file.WriteAt(line, at)
	return err
}

func readEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// follower copies the engine's log while the container runs.
type follower struct {
	done chan struct{} // closed at its end
	kill context.CancelFunc
	// Set before done is closed.
	full bool
	err  error
}

// readLog copies the engine's log, with follow until the container ends. It is
// called by the keeper's first thread: the client dies with that.
func (c client) readLog(ctx context.Context, id string, follow bool, l *jobLog) (*follower, error) {
	ctx, kill := context.WithCancel(ctx)
	args := []string{"logs", id}
	if follow {
		args = []string{"logs", "--follow", id}
	}
	cmd, err := c.command(ctx, args...)
	if err != nil {
		kill()
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		kill()
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = w, w // one pipe keeps the order that the engine has
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		kill()
		return nil, errors.Join(err, r.Close(), w.Close())
	}
	f := &follower{done: make(chan struct{}), kill: kill}
	startErr := w.Close()
	go func() {
		defer close(f.done)
		defer kill()
		var copyErr error
		f.full, copyErr = l.copy(r, !follow)
		differs := copyErr == errDiffers && !follow
		switch {
		case differs:
			_, drainErr := io.Copy(io.Discard, r) // to see whether the client succeeds
			copyErr = errors.Join(copyErr, drainErr)
		case f.full || copyErr != nil:
			kill() // nobody reads on
		}
		waitErr := cmd.Wait()
		if f.full {
			waitErr = nil
		}
		if differs && waitErr == nil {
			copyErr = errors.Join(copyErr, l.mend())
		}
		f.err = errors.Join(startErr, copyErr, waitErr, r.Close())
	}()
	return f, nil
}
