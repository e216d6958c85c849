package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// sandbox is how bubblewrap is called on this machine.
type sandbox struct {
	Path    string   `json:"path"`
	Version string   `json:"version"`
	Extra   []string `json:"extra,omitempty"` // options that only some versions know
}

const (
	sandboxPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	sandboxUser = "models"
	sandboxID   = 1000
)

// systemFiles are what of /etc a job may need: the loader's, time, certificates
// and fonts, nothing that names users, hosts or services.
var systemFiles = []string{
	"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives",
	"/etc/localtime", "/etc/timezone", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/ca-certificates",
	"/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted", "/etc/crypto-policies", "/etc/fonts", "/etc/mime.types",
	"/etc/OpenCL/vendors", "/etc/magic",
}

// networkFiles are needed to find hosts.
var networkFiles = []string{"/etc/resolv.conf", "/etc/hosts", "/etc/services", "/etc/protocols", "/etc/gai.conf"}

// baseArgs are the options that make the walls, without the job's folders.
func baseArgs(extra []string, network bool, hide []string) []string {
	args := []string{
		"--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try",
		"--uid", strconv.Itoa(sandboxID), "--gid", strconv.Itoa(sandboxID), "--hostname", "models",
		"--new-session", "--die-with-parent", "--cap-drop", "ALL", "--clearenv",
	}
	if !network {
		args = append(args, "--unshare-net")
	}
	args = append(args, extra...)
	args = append(args, "--ro-bind", "/usr", "/usr")
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		info, err := os.Lstat(dir)
		if err != nil {
			continue // not every system has it
		}
		if target, err := os.Readlink(dir); err == nil {
			args = append(args, "--symlink", target, dir)
		} else if info.IsDir() {
			args = append(args, "--ro-bind", dir, dir)
		}
	}
	for _, file := range systemFiles {
		args = append(args, "--ro-bind-try", file, file)
	}
	if network {
		for _, file := range networkFiles {
			args = append(args, "--ro-bind-try", file, file)
		}
	}
	// Read-only all of it: a runner that is root owns /proc/sys and
	// /proc/sysrq-trigger even without capabilities, and bubblewrap covers them
	// only when access(2) finds their folder writable.
	args = append(args, "--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev", "--tmpfs", "/dev/shm")
	if devices, err := filepath.Glob("/dev/nvidia*"); err == nil {
		for _, d := range devices {
			args = append(args, "--dev-bind-try", d, d)
		}
	}
	for _, dir := range hide {
		for _, shown := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
			if info, err := os.Stat(dir); within(dir, shown) && dir != shown && err == nil && info.IsDir() {
				args = append(args, "--tmpfs", dir)
			}
		}
	}
	return args
}

// sandboxArgs are bubblewrap's options for the job, each ended by a NUL, as
// --args reads them: an environment may hold secrets, and a command line is
// everybody's to read. The job's environment must never be bubblewrap's own
// either: the commit chooses it, and LD_PRELOAD there would run outside.
func (s *supervisor) sandboxArgs() []byte {
	job := s.spec.Job
	args := baseArgs(s.spec.Sandbox.Extra, job.Network, append(slices.Clone(s.spec.Hide), s.spec.Home))
	args = append(args, "--info-fd", strconv.Itoa(infoFD))
	files := map[string]string{
		"/etc/passwd":        fmt.Sprintf("%s:x:%d:%d::/tmp:/bin/sh\n", sandboxUser, sandboxID, sandboxID),
		"/etc/group":         fmt.Sprintf("%s:x:%d:\n", sandboxUser, sandboxID),
		"/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
	}
	if !job.Network {
		files["/etc/hosts"] = "127.0.0.1 localhost models\n::1 localhost\n"
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		own := filepath.Join(s.dir, "etc-"+filepath.Base(name))
		if err := os.WriteFile(own, []byte(files[name]), 0o644); err != nil {
			s.warn("%s could not be made for the job: %v", name, err)
			continue
		}
		args = append(args, "--ro-bind", own, name)
	}
	args = append(args, "--bind", filepath.Join(s.dir, tmpFolder), "/tmp", "--bind", job.Tree, job.Tree)
	for _, dir := range job.Writable {
		args = append(args, "--bind", dir, dir)
	}
	// What bubblewrap made on the way to the mounts is in memory: closed.
	args = append(args, "--remount-ro", "/", "--remount-ro", "/dev", "--chdir", job.Tree)
	env := s.jobEnv()
	for _, name := range slices.Sorted(maps.Keys(env)) {
		args = append(args, "--setenv", name, env[name])
	}
	return []byte(strings.Join(args, "\x00") + "\x00")
}

// findSandbox tries bubblewrap on this machine. Success is remembered.
func (e *Engine) findSandbox(ctx context.Context) (*sandbox, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sandbox != nil {
		return e.sandbox, nil
	}
	path := e.o.Bubblewrap
	if path == "" {
		var err error
		if path, err = exec.LookPath("bwrap"); err != nil {
			return nil, noSandbox("no bwrap in PATH", err)
		}
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, internal("finding bubblewrap", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	version, err := output(ctx, path, "--version")
	if err != nil {
		return nil, noSandbox(err.Error(), err)
	}
	s := &sandbox{Path: path, Version: strings.TrimPrefix(version, "bubblewrap ")}
	var why error
	// --disable-userns is known from 0.8.0 on.
	for _, s.Extra = range [][]string{{"--disable-userns"}, nil} {
		args := append(baseArgs(s.Extra, false, nil), "--remount-ro", "/", "--", "true")
		if _, err = output(ctx, path, args...); err == nil {
			e.sandbox = s
			return s, nil
		}
		if why == nil || !strings.Contains(err.Error(), "--disable-userns") {
			why = err
		}
	}
	if ctx.Err() != nil {
		return nil, internal("trying bubblewrap", ctx.Err())
	}
	return nil, noSandbox(why.Error(), why)
}

// output runs a program with no environment and returns its first line.
func output(ctx context.Context, path string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env = "/", []string{"PATH=" + sandboxPath}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if words := strings.TrimSpace(stderr.String()); err != nil && words != "" {
		err = errors.New(gitmodels.Printable(strings.SplitN(words, "\n", 2)[0], 200))
	}
	line, _, _ := strings.Cut(stdout.String(), "\n")
	return line, err
}

// noSandbox is Waiting: the server lacks it.
func noSandbox(why string, err error) error {
	return &gitmodels.Error{Kind: gitmodels.Waiting, Op: "trying bubblewrap", Err: err,
		Message: fmt.Sprintf("engine: bubblewrap is not installed or does not work here (%s): apt-get install bubblewrap, or models.allowProcess = unsandboxed", why),
		Hint:    "apt-get install bubblewrap"}
}
