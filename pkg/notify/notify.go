// Package notify gives an outcome to a program of the administrator's,
// models.notify: mail, a chat, a dashboard. The program finds one line of JSON on
// its standard input and a minimal environment; its exit status says whether it
// took it.
//
// It is an adapter: it imports the domain alone. It knows no shell.
package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const (
	// timeout is how long a program may take. It is ended then, and all that it
	// started in its group.
	timeout = time.Minute
	// grace is how long what it left behind may keep its output open.
	grace = 2 * time.Second
	// maxOutput bounds what an error quotes of its output, in bytes.
	maxOutput = 2 << 10
)

// Line is an outcome as a program gets it: what run.json says without the points
// of the metrics, with "event" in front, on one line.
func Line(o gitmodels.Outcome) ([]byte, error) {
	values := make([]gitmodels.Metric, len(o.Values))
	for i, m := range o.Values {
		m.Points = nil
		values[i] = m
	}
	o.Values = values
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		Event string `json:"event"`
		gitmodels.Outcome
	}{"outcome", o})
	return b.Bytes(), err
}

// Run starts the program, an absolute path, without arguments, and waits for its
// end. The error of one that failed, or did not end within a minute, quotes the
// end of its output.
func Run(ctx context.Context, program string, o gitmodels.Outcome) error {
	return run(ctx, program, o, timeout)
}

func run(ctx context.Context, program string, o gitmodels.Outcome, timeout time.Duration) error {
	if !filepath.IsAbs(program) {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "notify",
			Message: fmt.Sprintf("models.notify is %s, want an absolute path", gitmodels.Printable(program, 200))}
	}
	line, err := Line(o)
	if err != nil {
		return &gitmodels.Error{Op: "notify", Err: err}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it did not end within %s", timeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Dir = "/"
	cmd.Env = environment()
	cmd.Stdin = bytes.NewReader(line)
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
			return err
		}
		return os.ErrProcessDone
	}
	cmd.WaitDelay = grace
	err = cmd.Run()
	switch {
	case ctx.Err() != nil && err != nil:
		err = context.Cause(ctx)
	case errors.Is(err, exec.ErrWaitDelay): // it ended well; what it left behind is cut off
		err = nil
	case errors.Is(err, syscall.EPIPE): // it ended well without reading its input
		err = nil
	}
	if err == nil {
		return nil
	}
	if said := out.text(); said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return &gitmodels.Error{Op: "notify by " + gitmodels.Printable(program, 200), Err: err}
}

// environment is all that a program gets of ours.
func environment() []string {
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/bin:/usr/bin:/bin"
	}
	env := []string{"PATH=" + path, "LANG=C.UTF-8"}
	if home := os.Getenv("HOME"); home != "" {
		env = append(env, "HOME="+home)
	}
	return env
}

// tail keeps the last bytes that are written to it.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[max(0, len(p)-maxOutput):]...)
	t.kept = t.kept[max(0, len(t.kept)-maxOutput):]
	return len(p), nil
}

// text is what was kept, on one line.
func (t *tail) text() string {
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(string(t.kept))) {
		lines = append(lines, gitmodels.Printable(strings.TrimRight(line, "\r\n"), 0))
	}
	return strings.Join(lines, "; ")
}
