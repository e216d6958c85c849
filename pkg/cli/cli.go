package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
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
	// Size is that of the terminal now; nil where Stdout is none.
	Size func() (columns, rows int)
	Now  func() time.Time
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
	if columns, _ := stdoutSize(); columns > 0 {
		edges.Columns, edges.Size = columns, stdoutSize
	}
	return Run(ctx, edges)
}

// stdoutSize is how large the terminal is that the standard output is; 0 columns
// when it is none. A terminal that does not know has 80 columns, as for git.
func stdoutSize() (columns, rows int) {
	size, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ)
	switch {
	case err != nil:
		return 0, 0
	case size.Col == 0:
		return defaultColumns, defaultRows
	}
	return int(size.Col), int(size.Row)
}

// program is one run of the command line.
type program struct {
	edges Edges
	*terminal
	// Set from the global options before a command acts.
	homeFlag, repoFlag string
	colourFlag         string
	toldNotes          bool // it was said that the answer is from the notes
}

// Run runs one command line and returns its exit status.
func Run(ctx context.Context, edges Edges) int {
	p := &program{edges: edges, terminal: &terminal{
		out: edges.Stdout, err: edges.Stderr, now: edges.Now,
	}}
	p.columns = p.tableColumns()
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
	p.colourFlag = c.String("color")
	if !slices.Contains([]string{"auto", "always", "never"}, p.colourFlag) {
		return usage("--color is %s, want auto, always or never", gitmodels.Printable(p.colourFlag, 40))
	}
	p.chooseColour("")
	return nil
}

// chooseColour follows the command line, then the environment, then git's own
// color.ui where a repository is known.
func (p *program) chooseColour(ui string) {
	switch force := p.getenv("CLICOLOR_FORCE"); {
	case p.colourFlag != "auto":
		p.colour = p.colourFlag == "always"
	case p.getenv("NO_COLOR") != "":
		p.colour = false
	case force != "" && force != "0", ui == "always":
		p.colour = true
	case p.getenv("CLICOLOR") == "0", ui == "never", ui == "false", ui == "no", ui == "off", ui == "0":
		p.colour = false
	default:
		p.colour = p.edges.Columns > 0 && !p.dumb()
	}
}

// dumb reports whether the terminal takes no escape sequences; one of an unknown
// kind takes none, as for git.
func (p *program) dumb() bool {
	term := p.getenv("TERM")
	return term == "" || term == "dumb"
}

// tableColumns is how wide an answer may be: as COLUMNS says, as for git, else
// as wide as the terminal is, within reason.
func (p *program) tableColumns() int {
	if n, err := strconv.Atoi(p.getenv("COLUMNS")); err == nil && n > 0 {
		return max(n, leastColumns)
	}
	if p.edges.Columns > 0 {
		return max(p.edges.Columns, leastColumns)
	}
	return defaultColumns
}

// size is that of the terminal now.
func (p *program) size() (columns, rows int) {
	if p.edges.Size != nil {
		if columns, rows = p.edges.Size(); columns > 0 {
			return columns, rows
		}
	}
	return p.columns, defaultRows
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
