package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// atStep is called between the steps of Submit, Cancel and Supervise. Tests
// end the process there.
var atStep = func(string) {}

// testEnv is what tests hand down to the supervisor.
var testEnv = func() []string { return nil }

// stat is what the engine reads of /proc/PID/stat (proc(5)).
type stat struct {
	process
	State  byte
	Parent int
}

// readStat looks at a process; false when it is not there.
func readStat(pid int) (stat, bool, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return stat{}, false, nil
	}
	if err != nil {
		return stat{}, false, err
	}
	// The second field is the name in parentheses, which may hold anything.
	end := bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[end+1:]))
	if end < 0 || len(fields) < 20 {
		return stat{}, false, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	s := stat{State: fields[0][0]}
	s.PID = pid
	s.Parent, err = strconv.Atoi(fields[1])
	if err != nil {
		return stat{}, false, err
	}
	s.Start, err = strconv.ParseUint(fields[19], 10, 64)
	return s, err == nil, err
}

// self is the running process.
func self() (process, error) {
	s, ok, err := readStat(os.Getpid())
	if err == nil && !ok {
		err = errors.New("/proc does not show this process")
	}
	return s.process, err
}

// alive reports whether p is still there and no zombie.
func alive(p process) (bool, error) {
	s, ok, err := readStat(p.PID)
	return ok && s.Start == p.Start && s.State != 'Z' && s.State != 'X', err
}

// signalProcess sends sig to p and to nothing else: through a descriptor of the
// process (pidfd_open(2)) whose start time is compared after it was opened. It
// reports whether p was there.
func signalProcess(p process, sig unix.Signal) (sent bool, err error) {
	if p.PID <= 1 {
		return false, fmt.Errorf("process %d is never ours", p.PID)
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return false, nil
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM) && os.Getpid() != p.PID:
		return signalByNumber(p, sig)
	case err != nil:
		return false, err
	}
	defer unix.Close(fd)
	there, err := alive(p)
	if err != nil || !there {
		return false, err
	}
	switch err := unix.PidfdSendSignal(fd, sig, nil, 0); {
	case errors.Is(err, unix.ESRCH):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("signal %d to process %d: %w", sig, p.PID, err)
	}
	return true, nil
}

// signalByNumber serves kernels, and containers, without pidfd.
func signalByNumber(p process, sig unix.Signal) (bool, error) {
	there, err := alive(p)
	if err != nil || !there {
		return false, err
	}
	err = unix.Kill(p.PID, sig)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	return err == nil, err
}

// bootID reads what identifies this boot.
func bootID(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(b))
	if id == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return id, nil
}

// closeOnExec marks every descriptor above stderr, so that no child gets one
// that this process inherited.
func closeOnExec() error {
	err := unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC)
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
		return err
	}
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range list {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// The locks are open file description locks (fcntl(2)): they die with their
// holder, and can be asked about without being taken.

// lockHeld reports whether somebody holds the lock.
func lockHeld(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	l := unix.Flock_t{Type: unix.F_WRLCK}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l)
	return l.Type != unix.F_UNLCK, errors.Join(err, f.Close())
}

// tryLock takes the lock; nil when another holds it.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return nil, f.Close()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// lockSubmit waits for the submit lock of dir.
func lockSubmit(ctx context.Context, dir string) (unlock func() error, err error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		f, err := tryLock(filepath.Join(dir, submitFile))
		if err != nil {
			return nil, internal("locking the job's folder", err)
		}
		if f != nil {
			return f.Close, nil
		}
		select {
		case <-ctx.Done():
			return nil, &gitmodels.Error{Kind: gitmodels.Internal, Op: "waiting for another submit of the job", Err: ctx.Err()}
		case <-tick.C:
		}
	}
}
