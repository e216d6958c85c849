package postreceive

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/hook"
)

// ownsHome reports whether the state directory belongs to the account that runs
// the hook: nobody else's runner may be started in it.
func ownsHome(home string) bool {
	info, err := os.Stat(home)
	if err != nil {
		return false
	}
	return int(info.Sys().(*syscall.Stat_t).Uid) == os.Geteuid()
}

// autostart starts a runner that ends when nothing is left to do. It holds
// nothing of the push: its own session, no descriptor, a fresh environment.
func autostart(e hook.Edges, home string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program := filepath.Join(filepath.Dir(self), "git-models")
	if err := closeOnExec(); err != nil {
		return fmt.Errorf("marking descriptors: %w", err)
	}
	cmd := exec.Command(program, "--home", home, "runner", "--until-idle", "--detached")
	cmd.Dir = "/"
	cmd.Env = fresh(e.Env)
	// Standard input and output stay nil: /dev/null.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// fresh is what a runner needs of the environment. A web server hands the
// pusher's password to hooks: it stops here.
func fresh(env []string) []string {
	var kept []string
	for _, kv := range env {
		key, _, _ := strings.Cut(kv, "=")
		switch {
		case key == "HOME", key == "PATH", key == "LANG", key == "TMPDIR", strings.HasPrefix(key, "XDG_"):
			kept = append(kept, kv)
		}
	}
	return kept
}

// closeOnExec marks every descriptor above standard error: hosts and wrapper
// scripts leave some open, and one copy of the client's pipe in a child would
// hold the push.
func closeOnExec() error {
	err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
		return err
	}
	// Before Linux 5.11, or behind a filter that does not know the call.
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
