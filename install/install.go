package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Options say what is installed and from where.
type Options struct {
	// Home is the state directory, absolute.
	Home string
	// BinDir holds this program and, beside it, both hooks: they are copied to
	// <home>/bin. Empty means the folder of the running program.
	BinDir string
	// Layout is solo, team or auto; empty leaves models.layout as it is.
	Layout string
	// DryRun says what would be done and does nothing.
	DryRun bool
	// Ledger opens the ledger of a state directory. It is called at most once,
	// and not before the state directory exists.
	Ledger func(ctx context.Context, home string) (Ledger, error)
}

// Ledger is what installing needs of gitmodels.Ledger.
type Ledger interface {
	Register(ctx context.Context, path, name string, tips []gitmodels.Tip) (gitmodels.Repository, bool, error)
	Unregister(ctx context.Context, path string) error
	Repositories(ctx context.Context) ([]gitmodels.Repository, error)
	Close() error
}

// Problems are all the reasons why nothing was done. Each has its own Hint.
type Problems []*gitmodels.Error

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, e := range p {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find the first.
func (p Problems) Unwrap() []error {
	list := make([]error, len(p))
	for i, e := range p {
		list[i] = e
	}
	return list
}

// err is nil, the one problem, or all of them.
func (p Problems) err() error {
	switch len(p) {
	case 0:
		return nil
	case 1:
		return p[0]
	}
	return p
}

func (p *Problems) add(message, hint string) {
	*p = append(*p, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "install", Message: message, Hint: hint})
}

// addError keeps what is already for people and wraps what is not.
func (p *Problems) addError(err error) {
	var e *gitmodels.Error
	if !errors.As(err, &e) {
		e = &gitmodels.Error{Op: "install", Err: err}
	}
	*p = append(*p, e)
}

// step is one change. What it says is printed after it is done; a step that
// says nothing is housekeeping.
type step struct {
	says string
	do   func(ctx context.Context) error
	// again marks a step that may still be there when everything is in order.
	again bool
}

// chapter is what happens in one place: the state directory or a repository.
type chapter struct {
	title string
	steps []step
	notes []string // said at the end, whether something changed or not
	quiet bool     // not worth a word when nothing changed
}

// left is what is still to do, or empty when everything is in order.
func (c chapter) left() string {
	var words []string
	for _, s := range c.steps {
		if !s.again {
			words = append(words, cmp.Or(s.says, "the record"))
		}
	}
	return strings.Join(words, ", ")
}

// Install serves the bare repositories at paths from o.Home. It says on out
// what it did, and what engine pushes will find; a second time it changes
// nothing and says so. All problems come back together, as Problems or as a
// single *gitmodels.Error, and then nothing was touched.
func Install(ctx context.Context, o Options, paths []string, out io.Writer) error {
	return withSession(o, out, func(s *session) error {
		return s.run(ctx, func() ([]chapter, error) { return s.planInstall(ctx, paths, false) })
	})
}

// Uninstall takes out of the repositories at paths what Install put in. The
// state directory with its results stays.
func Uninstall(ctx context.Context, o Options, paths []string, out io.Writer) error {
	return withSession(o, out, func(s *session) error {
		return s.run(ctx, func() ([]chapter, error) { return s.planUninstall(ctx, paths) })
	})
}

// New makes a bare repository at path that is ready for pushes: installed, and
// with models.autostart, so that the first push starts a runner.
func New(ctx context.Context, o Options, path string, out io.Writer) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return &gitmodels.Error{Op: "new repository", Err: err}
	}
	return withSession(o, out, func(s *session) error { return s.makeNew(ctx, abs) })
}

// session is one command under way.
type session struct {
	Options
	out    io.Writer
	opened map[string]Ledger // by state directory
}

func withSession(o Options, out io.Writer, f func(*session) error) error {
	if o.BinDir == "" {
		self, err := os.Executable()
		if err != nil {
			return &gitmodels.Error{Op: "find this program", Err: err}
		}
		if self, err = filepath.EvalSymlinks(self); err != nil {
			return &gitmodels.Error{Op: "find this program", Err: err}
		}
		o.BinDir = filepath.Dir(self)
	}
	s := &session{Options: o, out: out, opened: map[string]Ledger{}}
	err := f(s)
	for _, l := range s.opened {
		err = errors.Join(err, l.Close())
	}
	return err
}

// ledger opens the ledger of home once.
func (s *session) ledger(ctx context.Context, home string) (Ledger, error) {
	if l, ok := s.opened[home]; ok {
		return l, nil
	}
	l, err := s.Ledger(ctx, home)
	if err != nil {
		return nil, err
	}
	s.opened[home] = l
	return l, nil
}

// knows reports whether the ledger of home serves the repository at path. A
// state directory without a ledger knows nothing, and gets none by asking.
func (s *session) knows(ctx context.Context, home, path string) (bool, error) {
	if _, err := os.Lstat(filepath.Join(home, "ledger.db")); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	l, err := s.ledger(ctx, home)
	if err != nil {
		return false, err
	}
	repos, err := l.Repositories(ctx)
	for _, r := range repos {
		if r.Path == path {
			return true, err
		}
	}
	return false, err
}

// run plans, applies and verifies: a second plan must find nothing to do.
func (s *session) run(ctx context.Context, plan func() ([]chapter, error)) error {
	chapters, err := plan()
	if err != nil {
		return err
	}
	for _, c := range chapters {
		if err := s.apply(ctx, c); err != nil {
			return err
		}
	}
	if s.DryRun {
		return nil
	}
	again, err := plan()
	if err != nil {
		return fmt.Errorf("looking at the result: %w", err)
	}
	for _, c := range again {
		if left := c.left(); left != "" {
			return &gitmodels.Error{Op: "verify", Message: fmt.Sprintf("%s is not as it should be after all; still to do: %s", c.title, left)}
		}
	}
	return nil
}

// apply does the steps of c in order and says so. It stops at the first that
// fails; running the command again goes on from there.
func (s *session) apply(ctx context.Context, c chapter) error {
	changed := false
	title := sync.OnceFunc(func() { fmt.Fprintln(s.out, c.title) })
	for _, step := range c.steps {
		if !s.DryRun {
			if err := step.do(ctx); err != nil {
				return fmt.Errorf("%s: %s: %w", c.title, cmp.Or(step.says, "preparing the change"), err)
			}
		}
		if step.says != "" {
			changed = true
			title()
			fmt.Fprintln(s.out, "  "+s.tense()+step.says)
		}
	}
	if !changed && !c.quiet {
		title()
		fmt.Fprintln(s.out, "  unchanged")
	}
	for _, note := range c.notes {
		title()
		fmt.Fprintln(s.out, "  "+note)
	}
	return nil
}

func (s *session) tense() string {
	if s.DryRun {
		return "would: "
	}
	return ""
}

// shown is a path as it may be printed.
func shown(path string) string { return gitmodels.Printable(path, 0) }

// quote makes s one word of a shell command.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+=:@%,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return singleQuoted(s)
}

// singleQuoted makes s one word of a shell, whatever is in it but a NUL.
func singleQuoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
