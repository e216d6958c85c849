package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// hardened is the configuration of every child. A repository's own file may be
// writable by pushers, so whatever in it names a program is overruled here.
var hardened = []string{
	"core.hooksPath=/dev/null",       // update-ref runs reference-transaction
	"core.fsmonitor=false",           // a program
	"core.attributesFile=/dev/null",  // may select a filter
	"core.alternateRefsCommand=true", // a program
	"core.sshCommand=false",          // a program; nothing here fetches
	"core.commitGraph=true",          // ancestry stays fast whatever the repository says
	"gpg.program=false",              // $Format:%G?$ in an exported file would run it
	"gpg.openpgp.program=false",
	"gpg.x509.program=false",
	"gpg.ssh.program=false",
	"tag.gpgSign=false",
	"commit.gpgSign=false",
	"log.showSignature=false",
	"gc.auto=0",
	"maintenance.auto=false",
	"protocol.allow=never",
}

// baseEnvironment is what every child gets of ours: nothing of the caller's but
// PATH. Replace refs and grafts are off because pushed refs/replace, or a file
// in the repository, must not change what an id means; a missing object of a
// partial clone is never fetched.
func baseEnvironment() []string {
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/bin:/usr/bin:/bin"
	}
	return []string{
		"PATH=" + path,
		"LC_ALL=C",
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_GRAFT_FILE=/dev/null",
		"GIT_NO_LAZY_FETCH=1",
		"GIT_ALLOW_PROTOCOL=none",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_OPTIONAL_LOCKS=0",
		"GIT_ATTR_NOSYSTEM=1",
		"GIT_PAGER=cat",
		"GIT_EDITOR=false",
		"GIT_AUTHOR_NAME=" + identName, "GIT_AUTHOR_EMAIL=" + identEmail,
		"GIT_COMMITTER_NAME=" + identName, "GIT_COMMITTER_EMAIL=" + identEmail,
	}
}

// Who writes the runner's refs and their reflogs.
const (
	identName  = "git-models"
	identEmail = "git-models@localhost"
)

const (
	// maxStderr bounds what an error quotes of git.
	maxStderr = 4 << 10
	// maxOutput bounds what is kept of a child's output; a listing of a million
	// paths fits.
	maxOutput = 256 << 20
	// killGrace is how long a killed child's pipes may stay open.
	killGrace = 2 * time.Second
)

// call is one git child.
type call struct {
	gitDir string   // absolute, or empty
	dir    string   // working directory; gitDir when empty
	args   []string // the command and its arguments
	env    []string // on top of baseEnvironment
	config []string // on top of hardened, key=value
	stdin  io.Reader
	// people means that system and global configuration count, as they do for
	// policy alone. Everywhere else the repository's own file decides how it is
	// stored, and nothing else matters.
	people bool
}

// command is the one constructor of git children.
func (c call) command(ctx context.Context) *exec.Cmd {
	argv := []string{"--no-pager"}
	if c.gitDir != "" {
		// Named outright, a repository of another uid is no dubious one.
		argv = append(argv, "--git-dir="+c.gitDir, "-c", "safe.directory="+c.gitDir)
	}
	for _, kv := range slices.Concat(hardened, c.config) {
		argv = append(argv, "-c", kv)
	}
	cmd := exec.CommandContext(ctx, "git", append(argv, c.args...)...)
	cmd.Dir = c.dir
	if cmd.Dir == "" {
		cmd.Dir = c.gitDir
	}
	cmd.Stdin = c.stdin
	cmd.Env = slices.Concat(baseEnvironment(), configEnvironment(c.people), c.env)
	// A group of its own, so that cancelling also ends what git started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
			return err
		}
		return os.ErrProcessDone
	}
	cmd.WaitDelay = killGrace
	return cmd
}

// configEnvironment names the configuration files beside the repository's own.
func configEnvironment(people bool) []string {
	if !people {
		return []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null"}
	}
	var env []string
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_GLOBAL"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// name is the child as an operator knows it: git merge-base in /srv/a.git.
func (c call) name() string {
	words := []string{"git", c.args[0]}
	for _, a := range c.args[1:] {
		if !strings.HasPrefix(a, "--") || strings.Contains(a, "=") {
			break
		}
		words = append(words, a)
	}
	name := strings.Join(words, " ")
	if where := c.gitDir; where != "" {
		name += " in " + gitmodels.Printable(where, 200)
	}
	return name
}

// Version is git's own version, such as 2.39.5.
func Version(ctx context.Context) (string, error) {
	res, err := run(ctx, call{args: []string{"version"}})
	if err != nil {
		return "", err
	}
	version, ok := strings.CutPrefix(strings.TrimSpace(string(res.out)), "git version ")
	if res.code != 0 || !ok {
		return "", res.unexpected()
	}
	return version, nil
}

// result is how a child ended that did start.
type result struct {
	call   call
	out    []byte
	code   int // exit status; -1 when a signal ended it
	stderr string
}

// run starts the child and waits for its end. An error means that git gave no
// answer at all: it could not start, the context ended it, or its output was
// beyond maxOutput. An exit status is left for the caller to read.
func run(ctx context.Context, c call) (result, error) {
	out, stderr := &bounded{limit: maxOutput, strict: true}, &bounded{limit: maxStderr}
	cmd := c.command(ctx)
	cmd.Stdout, cmd.Stderr = out, stderr
	err := cmd.Run()
	res := result{call: c, out: out.buf.Bytes(), code: -1, stderr: stderr.text()}
	if cmd.ProcessState != nil {
		res.code = cmd.ProcessState.ExitCode()
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil && err != nil:
		return res, &gitmodels.Error{Op: c.name(), Err: context.Cause(ctx)}
	case out.over:
		return res, &gitmodels.Error{Op: c.name(), Err: fmt.Errorf("its output is longer than %d bytes", maxOutput)}
	case err == nil, errors.As(err, &exit) && res.code >= 0:
		return res, nil
	}
	return res, &gitmodels.Error{Op: c.name(), Err: withStderr(err, res.stderr)}
}

// failure is the error for an exit status that says no more than "failed".
func (r result) failure() *gitmodels.Error {
	return &gitmodels.Error{Op: r.call.name(), Err: withStderr(fmt.Errorf("exit status %d", r.code), r.stderr)}
}

// unexpected is the error for an answer that cannot be read.
func (r result) unexpected() *gitmodels.Error {
	return &gitmodels.Error{Op: r.call.name(), Err: fmt.Errorf("unexpected answer %s", gitmodels.Printable(string(r.out), 200))}
}

// complains reports whether git reported an error beside its answer. Some
// commands, such as merge-base --is-ancestor before git 2.45, go on after an
// object they could not read and then answer "no".
func complains(stderr string) bool {
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "error:") || strings.HasPrefix(line, "fatal:") || strings.HasPrefix(line, "BUG:") {
			return true
		}
	}
	return false
}

func withStderr(err error, stderr string) error {
	if s := strings.TrimSpace(stderr); s != "" {
		lines := strings.Split(s, "\n")
		for i := range lines {
			lines[i] = gitmodels.Printable(lines[i], 500)
		}
		return fmt.Errorf("%w: %s", err, strings.Join(lines, "; "))
	}
	return err
}

// bounded keeps the first limit bytes written to it. A strict one then fails,
// which closes the pipe and so ends the child; the other drops the rest.
type bounded struct {
	buf    bytes.Buffer
	limit  int
	strict bool
	over   bool
}

var errTooMuch = errors.New("too much output")

func (b *bounded) Write(p []byte) (int, error) {
	if room := b.limit - b.buf.Len(); len(p) > room {
		b.over = true
		b.buf.Write(p[:room])
		if b.strict {
			return room, errTooMuch
		}
		return len(p), nil
	}
	return b.buf.Write(p)
}

func (b *bounded) text() string {
	if b.over {
		return b.buf.String() + "…"
	}
	return b.buf.String()
}

// call is a child of this repository.
func (r *Repo) call(args ...string) call {
	return call{gitDir: r.dir, args: args, env: r.quarantine}
}

// ask runs a child whose only good exit status is 0.
func (r *Repo) ask(ctx context.Context, args ...string) ([]byte, error) {
	res, err := run(ctx, r.call(args...))
	if err != nil {
		return nil, err
	}
	if res.code != 0 {
		return nil, res.failure()
	}
	return res.out, nil
}
