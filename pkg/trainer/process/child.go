package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is the running job.
type child struct {
	main  process  // its first process, leader of its session: the command, or bubblewrap
	init  *process // pid 1 of the sandbox, leader of the session inside
	ended chan unix.WaitStatus
	empty chan struct{} // closed when no process of the job is left

	output *os.File // the log's end of the pipe
	copied chan struct{}
	fault  *os.File // the launcher's last words
}

// start starts the job through the launcher and follows it.
func (s *supervisor) start() (*child, error) {
	words, err := s.launchWords()
	if err != nil {
		return nil, err
	}
	var open []*os.File // ours to close once the job has its copies
	defer func() {
		for _, f := range open {
			f.Close() // the job holds its own copies
		}
	}()
	pipe := func() (r, w *os.File, err error) {
		if r, w, err = os.Pipe(); err == nil {
			open = append(open, w)
		}
		return r, w, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	open = append(open, null)
	output, outputIn, err := pipe()
	if err != nil {
		return nil, err
	}
	fault, faultIn, err := pipe()
	if err != nil {
		return nil, err
	}
	info, infoIn, err := pipe()
	if err != nil {
		return nil, err
	}
	defer info.Close() // read to its end
	order, err := memfile("launch", words)
	if err != nil {
		return nil, err
	}
	open = append(open, order)
	files := []uintptr{null.Fd(), outputIn.Fd(), outputIn.Fd(), order.Fd(), faultIn.Fd(), infoIn.Fd()}
	if s.spec.Sandbox != nil {
		args, err := memfile("bubblewrap", s.sandboxArgs())
		if err != nil {
			return nil, err
		}
		open = append(open, args)
		files = append(files, args.Fd())
	}

	argv := append(slices.Clone(s.spec.Supervisor), s.dir)
	pid, err := syscall.ForkExec("/proc/self/exe", argv, &syscall.ProcAttr{
		Dir:   "/",
		Env:   append(testEnv(), launchEnv+"=1"),
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return nil, err
	}
	c := &child{ended: make(chan unix.WaitStatus, 1), empty: make(chan struct{}),
		output: output, copied: make(chan struct{}), fault: fault}
	st, there, err := readStat(pid)
	if err != nil || !there {
		return nil, fmt.Errorf("looking at the job's process: %w", errors.Join(err, unix.Kill(pid, unix.SIGKILL)))
	}
	c.main = st.process
	go c.reap(pid)
	go func() {
		defer close(c.copied)
		s.log.copy(output)
	}()
	for _, f := range open {
		f.Close() // so that info ends when the job has let go of it
	}
	open = nil
	if s.spec.Sandbox != nil {
		c.init = readInit(info)
	}
	return c, nil
}

// reap collects every process that becomes ours, until none is left.
func (c *child) reap(main int) {
	defer close(c.empty)
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil: // ECHILD: none is left
			return
		case pid == main:
			c.ended <- status
		}
	}
}

// readInit reads what bubblewrap says of the sandbox; nil when it ended before.
func readInit(info *os.File) *process {
	var told struct {
		PID int `json:"child-pid"`
	}
	if json.NewDecoder(io.LimitReader(info, 1<<16)).Decode(&told) != nil || told.PID <= 1 {
		return nil
	}
	st, there, err := readStat(told.PID)
	if err != nil || !there {
		return nil
	}
	return &st.process
}

// terminate asks the job to end and reports whether somebody heard. In the
// sandbox the whole session inside gets the signal, but for its pid 1, which the
// kernel shields.
func (c *child) terminate() bool {
	leader := c.main
	if c.init != nil {
		leader = *c.init
	}
	// The leader is our descendant and not yet reaped, or its group is empty:
	// the number cannot belong to another.
	there, err := alive(leader)
	return err == nil && there && unix.Kill(-leader.PID, unix.SIGTERM) == nil
}

// kill ends the job.
func (c *child) kill(g *group) {
	if c.init != nil {
		signalProcess(*c.init, unix.SIGKILL) // the kernel ends the rest of the sandbox; finish sees to it
	}
	signalProcess(c.main, unix.SIGKILL)
	killDescendants()
	g.kill()
}

// finish ends whatever the main process left behind and waits until the log
// has everything.
func (c *child) finish(g *group) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for done := false; !done; {
		select {
		case <-c.empty:
			done = true
		case <-tick.C:
			killDescendants()
			g.kill()
		}
	}
	// Nobody of the job is left to write. One who got the pipe in another way,
	// handed over a socket, does not hold the end up.
	if err := c.output.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		c.output.Close()
	}
	<-c.copied
	c.output.Close() // read to its end, or given up
}

// startFault is a job that never ran.
type startFault struct {
	code  int
	cause string
}

// startFault tells "the command does not exist" from a command that failed.
func (c *child) startFault(log *logWriter, code int, sandboxed bool) *startFault {
	var told launchFault
	b, err := io.ReadAll(io.LimitReader(c.fault, 1<<16))
	c.fault.Close() // read to its end
	if err == nil && json.Unmarshal(b, &told) == nil && told.Cause != "" {
		return &startFault{told.Code, told.Cause}
	}
	if !sandboxed || code != 1 {
		return nil
	}
	// Bubblewrap says on standard error what it could not do, and ends with 1.
	// A job may write the same words: it would change its own cause, no more.
	last := log.lastLine()
	switch rest, ok := strings.CutPrefix(last, "bwrap: "); {
	case !ok:
		return nil
	case strings.HasPrefix(rest, "execvp ") && strings.HasSuffix(rest, "No such file or directory"):
		return &startFault{127, "command not found in the sandbox: " + commandOf(rest)}
	case strings.HasPrefix(rest, "execvp "):
		return &startFault{126, "the command cannot be executed: " + commandOf(rest)}
	default:
		return &startFault{125, "the sandbox could not be made: " + printable(rest)}
	}
}

func commandOf(execvp string) string { return printable(strings.TrimPrefix(execvp, "execvp ")) }

// jobEnv is the job's environment.
func (s *supervisor) jobEnv() map[string]string {
	env := map[string]string{"PATH": s.spec.Path, "HOME": s.spec.Home, "LANG": "C.UTF-8", "USER": account()}
	if s.spec.Sandbox != nil {
		env["PATH"], env["HOME"], env["USER"] = sandboxPath, "/tmp", sandboxUser
	}
	maps.Copy(env, s.spec.Job.Env)
	env["TMPDIR"] = "/tmp"
	if s.spec.Sandbox == nil {
		env["TMPDIR"] = filepath.Join(s.dir, tmpFolder)
	}
	return env
}

// memfile is a file in memory that holds b, at its beginning.
func memfile(name string, b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("git-models-"+name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(b); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
