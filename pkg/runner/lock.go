package runner

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lockName is the file whose flock makes a process the runner of its home.
const lockName = "runner.lock"

// homeLock is held by the one runner of a home. The kernel drops it with the
// process, however that ends, so the reuse of a process id is no risk.
type homeLock struct{ file *os.File }

// errServed says that another runner holds the lock.
type errServed struct{ owner string }

func (e *errServed) Error() string {
	if e.owner == "" {
		return "another runner serves this home"
	}
	return "another runner serves this home: " + e.owner
}

// newOwner names this runner in leases: host, process, time of start, chance.
func newOwner(now time.Time) (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("naming this runner: %w", err)
	}
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return "", fmt.Errorf("naming this runner: %w", err)
	}
	host = strings.ReplaceAll(host, ":", "-")
	return fmt.Sprintf("%s:%d:%d:%s", host, os.Getpid(), now.Unix(), hex.EncodeToString(nonce[:])), nil
}

// lockHome takes the lock of home and writes owner into it, or returns an
// *errServed that names who holds it.
func lockHome(home, owner string) (*homeLock, error) {
	path := filepath.Join(home, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the runner's lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder, _ := io.ReadAll(io.LimitReader(f, 512)) // only to name it
		f.Close()
		return nil, &errServed{describeOwner(strings.TrimSpace(string(holder)))}
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(owner+"\n"), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("taking the runner's lock %s: %w", path, err)
	}
	return &homeLock{f}, nil
}

// describeOwner puts an owner's name into words.
func describeOwner(owner string) string {
	parts := strings.Split(owner, ":")
	if len(parts) != 4 {
		return ""
	}
	return fmt.Sprintf("process %s on %s", parts[1], parts[0])
}

// release gives the lock up. The file stays: removing it would let two runners
// hold locks on two files of one name.
func (l *homeLock) release() error {
	// Unlocked by name: a child between fork and exec still has the file open.
	err := unix.Flock(int(l.file.Fd()), unix.LOCK_UN)
	return errors.Join(err, l.file.Close())
}
