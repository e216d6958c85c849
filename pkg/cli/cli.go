package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Exit statuses, the same for every command.
const (
	exitOK     = 0
	exitFailed = 1 // refused or failed
	exitUsage  = 2 // the command line makes no sense
)

// Edges is where the program touches the world.
type Edges struct {
	Args           []string // without the program's name
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Env            []string // KEY=value
	Dir            string   // absolute working directory
	Columns        int      // of the terminal that Stdout is; 0 when it is none
	Now            func() time.Time
}

// Main runs the program on the edges of this process and returns its exit
// status. SIGINT and SIGTERM end it in good order, a second one at once.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	defer stop()
	edges := Edges{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Env: os.Environ(), Now: time.Now,
	}
	if size, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ); err == nil {
		edges.Columns = max(int(size.Col), defaultColumns)
	}
	return Run(ctx, edges)
}

// program is one run of the command line.
type program struct {
	edges Edges
	*terminal
	// Set from the global options before a command acts.
	homeFlag, repoFlag string
	toldNotes          bool // it was said that the answer is from the notes
}

// Run runs one command line and returns its exit status.
func Run(ctx context.Context, edges Edges) int {
	p := &program{edges: edges, terminal: &terminal{
		out: edges.Stdout, err: edges.Stderr, columns: max(edges.Columns, defaultColumns), now: edges.Now,
	}}
	if edges.Dir == "" {
		dir, err := os.Getwd()
		if err != nil {
			p.fail(&gitmodels.Error{Message: "the working directory is gone", Hint: "cd ~", Err: err})
			return exitFailed
		}
		p.edges.Dir = dir
	}
	err := p.run(ctx)
	var silent status
	if err == nil || errors.As(err, &silent) {
		return exitOf(err)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	p.fail(err)
	return exitOf(err)
}

func (p *program) run(ctx context.Context) error {
	app := p.app()
	if n := len(p.edges.Args); n > 0 && p.edges.Args[n-1] == completionFlag {
		p.complete(ctx, app, p.edges.Args[:n-1])
		return nil
	}
	line, err := arrange(app, p.edges.Args)
	if err != nil {
		return err
	}
	if line.help {
		return p.help(app, line)
	}
	return app.RunContext(ctx, line.argv(app))
}

// before reads the global options.
func (p *program) before(c *urfave.Context) error {
	p.homeFlag, p.repoFlag = c.String("home"), c.String("repo")
	if p.homeFlag == "" {
		p.homeFlag = p.getenv("GIT_MODELS_HOME")
	}
	switch when := c.String("color"); when {
	case "auto":
		p.colour = p.edges.Columns > 0 && p.getenv("NO_COLOR") == "" && p.getenv("TERM") != "dumb"
	case "always", "never":
		p.colour = when == "always"
	default:
		return usage("--color is %s, want auto, always or never", gitmodels.Printable(when, 40))
	}
	return nil
}

// getenv looks a variable up in the program's environment; the last one counts.
func (p *program) getenv(key string) string {
	value := ""
	for _, kv := range p.edges.Env {
		if k, v, _ := strings.Cut(kv, "="); k == key {
			value = v
		}
	}
	return value
}

// usageError is a command line that makes no sense.
type usageError struct{ err *gitmodels.Error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// misuse is a usageError with its hint.
func misuse(message, hint string) error {
	return usageError{&gitmodels.Error{Kind: gitmodels.Invalid, Message: message, Hint: hint}}
}

// status fails a command that has said why already.
type status int

func (s status) Error() string { return "exit status " + strconv.Itoa(int(s)) }

// errSilent is the usual one.
const errSilent = status(exitFailed)

func exitOf(err error) int {
	var (
		u usageError
		s status
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &s):
		return int(s)
	case errors.As(err, &u):
		return exitUsage
	}
	return exitFailed
}
