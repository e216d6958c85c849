package gitrepo

import (
	"context"
	"os/exec"
	"syscall"
	"time"
)

// Person is git as the person at the keyboard runs it in the folder dir, with
// the whole of that person's environment: keys, credentials, aliases and hooks.
// It is for commands of a clone that fetch, push or change files, and never for
// a server's repository. The caller connects its files; when ctx ends it is
// asked to end first.
func Person(ctx context.Context, dir string, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = env
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}
