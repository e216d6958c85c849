package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/git-models/git-models/pkg/wire"
)

// maxSocketPath is the longest path a unix socket can be bound to: sun_path of
// unix(7) has 108 bytes with the NUL at the end.
const maxSocketPath = 107

// Bounds of the socket.
const (
	maxClients   = 64
	requestTime  = 10 * time.Second // from connecting to the whole request
	strangerTime = time.Second      // the same for one who may not ask
	answerTime   = time.Minute      // for an answer that does not follow
	writeTime    = 30 * time.Second // for one line to a slow reader
	maxRequest   = 256 << 10        // bytes; a longer one is refused
	acceptPause  = 100 * time.Millisecond
	rowsAtOnce   = 200
	textAtOnce   = 32 << 10
	closeTimeout = 5 * time.Second
	lastWords    = 100 * time.Millisecond // for a line that is being written when the runner stops
)

// server answers on the socket of a home.
type server struct {
	r        *Runner
	listener *net.UnixListener
	pointer  string // the file in home, when the socket lies elsewhere
	folder   string // the private folder of a socket that lies elsewhere
	stop     context.CancelFunc
	all      sync.WaitGroup
	free     chan struct{} // a token for each client that may be served
}

// listen opens the socket of home, replacing one that a dead runner left: the
// lock is ours, so nobody else serves it. Other accounts may connect; who is on
// the other side decides what they may do.
func (r *Runner) listen(ctx context.Context) (*server, error) {
	s := &server{r: r, free: make(chan struct{}, maxClients)}
	path := filepath.Join(r.cfg.Home, wire.SocketName)
	if err := removeStale(path); err != nil {
		return nil, err
	}
	if len(path) > maxSocketPath {
		var err error
		if s.folder, err = socketFolder(r.spoolGroup() >= 0); err != nil {
			return nil, err
		}
		s.pointer, path = path, filepath.Join(s.folder, "s")
	}
	var err error
	if s.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}); err != nil {
		s.remove()
		return nil, fmt.Errorf("opening the socket: %w", err)
	}
	s.listener.SetUnlinkOnClose(true)
	err = os.Chmod(path, 0o666)
	if err == nil && s.pointer != "" {
		err = writePointer(s.pointer, path)
	}
	if err != nil {
		s.listener.Close()
		s.remove()
		return nil, fmt.Errorf("opening the socket: %w", err)
	}
	ctx, s.stop = context.WithCancel(ctx)
	s.all.Go(func() { s.accept(ctx) })
	return s, nil
}

// close takes the socket away and lets the clients that are being served finish:
// those that follow a run see its end first.
func (s *server) close() {
	s.listener.Close() // also removes the socket
	s.remove()
	done := make(chan struct{})
	go func() { s.all.Wait(); close(done) }()
	for _, patience := range []time.Duration{followPace * 5, closeTimeout} {
		select {
		case <-done:
		case <-time.After(patience):
		}
		s.stop()
	}
}

// remove takes away what stands for a socket elsewhere.
func (s *server) remove() {
	for _, path := range []string{s.pointer, s.folder} {
		if path == "" {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.r.log.Warn("removing the socket", "path", path, "cause", err.Error())
		}
	}
}

// removeStale removes the socket, or the pointer to one, of a runner that is
// gone. Anything else at its place is left alone.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for an old socket: %w", err)
	}
	switch info.Mode().Type() {
	case fs.ModeSocket:
	case 0:
		removeOldFolder(path)
	default:
		return fmt.Errorf("opening the socket: %s is in the way", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing an old socket: %w", err)
	}
	return nil
}

// removeOldFolder removes the private folder that an old pointer leads to. The
// pointer is believed only where it names a folder of ours with our name.
func removeOldFolder(pointer string) {
	b, err := os.ReadFile(pointer)
	if err != nil {
		return
	}
	folder := filepath.Dir(strings.TrimSpace(string(b)))
	info, err := os.Lstat(folder)
	if err != nil || !info.IsDir() || !strings.HasPrefix(filepath.Base(folder), folderPrefix) || !ownedByUs(info) {
		return
	}
	// Leftovers in a folder of temporary files: nothing depends on these.
	_ = os.Remove(filepath.Join(folder, "s"))
	_ = os.Remove(folder)
}

const folderPrefix = "git-models-"

// socketFolder makes a folder of ours for a socket whose path in home would be
// too long: in XDG_RUNTIME_DIR where that is ours and whoever may write the spool
// can pass, else in /tmp. Others may pass through it, nobody else may write there.
func socketFolder(shared bool) (string, error) {
	parent := "/tmp"
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) && len(dir) < 64 {
		info, err := os.Stat(dir)
		if err == nil && info.IsDir() && ownedByUs(info) && info.Mode().Perm()&0o022 == 0 &&
			(!shared || info.Mode().Perm()&0o001 != 0) {
			parent = dir
		}
	}
	folder, err := os.MkdirTemp(parent, folderPrefix)
	if err != nil {
		return "", fmt.Errorf("making a folder for the socket: %w", err)
	}
	if err := os.Chmod(folder, 0o711); err != nil {
		return "", errors.Join(fmt.Errorf("making a folder for the socket: %w", err), os.Remove(folder))
	}
	return folder, nil
}

func ownedByUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// writePointer places a file that names the socket, whole.
func writePointer(pointer, path string) error {
	tmp := pointer + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(path + "\n")
	err = errors.Join(err, f.Chmod(0o644), f.Close()) // others read it, whatever the umask
	if err != nil {
		return err
	}
	return os.Rename(tmp, pointer)
}

// accept serves every client in a goroutine of its own, a bounded number at a
// time: the others wait in the kernel's queue.
func (s *server) accept(ctx context.Context) {
	for {
		select {
		case s.free <- struct{}{}:
		case <-ctx.Done():
			return
		}
		conn, err := s.listener.AcceptUnix()
		if err != nil {
			<-s.free
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			s.r.say.warn("accept", "a client could not be accepted", "cause", err.Error())
			select {
			case <-ctx.Done():
			case <-s.r.cfg.Clock.After(acceptPause):
			}
			continue
		}
		s.all.Go(func() {
			defer func() { <-s.free }()
			defer conn.Close()
			// Nobody who does not read keeps the runner from stopping.
			defer context.AfterFunc(ctx, func() { conn.SetWriteDeadline(time.Now().Add(lastWords)) })()
			if err := guard(func() error { return s.serve(ctx, conn) }); err != nil {
				s.r.log.Debug("a client was not served", "cause", err.Error())
			}
		})
	}
}
