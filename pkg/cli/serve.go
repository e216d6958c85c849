package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/runner"
	"github.com/git-models/git-models/pkg/trainer/container"
	"github.com/git-models/git-models/pkg/trainer/process"
	"github.com/git-models/git-models/pkg/wire"
)

func (p *program) serveCommands() []*urfave.Command {
	return []*urfave.Command{
		{
			Name: "runner", Category: toServe,
			Usage:     "serve: take up pushes and run them",
			UsageText: "[--until-idle]",
			Description: "Serves every repository of the state directory until it is interrupted. One runner serves a " +
				"state directory; a second one refuses to start. A runner that stops leaves running jobs alone, and the " +
				"next one adopts them.\n\n" +
				"With --until-idle it ends when nothing is left to do: no push to take up, no run under way, no outcome " +
				"to publish. What waits for something that only the administrator can mend stays for the next runner.",
			Flags: []urfave.Flag{
				&urfave.BoolFlag{Name: "until-idle", Usage: "end when nothing is left to do"},
				&urfave.BoolFlag{Name: "detached", Hidden: true, Usage: "log to runner.log of the state directory, as a push starts it"},
			},
			Action: p.runner,
		},
		{
			Name: "reconcile", Category: toServe,
			Usage:     "record what was accepted but never taken up",
			UsageText: "[REPO]",
			Description: "Looks for commits that were accepted but never recorded, as when a push was killed after its " +
				"ref had moved, and records them. The runner does the same when it starts and every minute. Without " +
				"REPO, and outside of a repository, it looks at every repository of the state directory.",
			Action: p.reconcile,
		},
		p.configCommand(),
		p.doctorCommand(),
		{
			Name: "supervise", Hidden: true,
			Usage:       "watch over one job of the engine process",
			UsageText:   "DIR",
			Description: "Started by the runner for each job; of no use by hand.",
			Action: func(c *urfave.Context) error {
				got, err := words(c, 1, 1, "the job's folder")
				if err != nil {
					return err
				}
				if code := process.Supervise(got[0]); code != 0 {
					return status(code)
				}
				return nil
			},
		},
		{
			Name: "keep", Hidden: true,
			Usage:       "watch over one job of the engine container",
			UsageText:   "DIR",
			Description: "Started by the runner for each job; of no use by hand.",
			Action: func(c *urfave.Context) error {
				got, err := words(c, 1, 1, "the job's folder")
				if err != nil {
					return err
				}
				if code := container.Keep(got[0]); code != 0 {
					return status(code)
				}
				return nil
			},
		},
	}
}

// runner serves the state directory.
func (p *program) runner(c *urfave.Context) (err error) {
	if _, err := words(c, 0, 0, ""); err != nil {
		return err
	}
	s, err := p.site(c.Context)
	if err != nil {
		return err
	}
	if !owns(s.home) {
		return &gitmodels.Error{Kind: gitmodels.Forbidden,
			Message: "refused: the state directory " + shown(s.home) + " belongs to another user"}
	}
	if _, err := os.Stat(s.home); err != nil {
		return &gitmodels.Error{Kind: gitmodels.NotFound, Message: "there is no state directory " + shown(s.home),
			Hint: "git models install /path/to/repository.git"}
	}
	var out io.Writer = p.err
	if c.Bool("detached") {
		file, err := openLog(s.home)
		if err != nil {
			return err
		}
		defer file.Close()
		out = file
	}
	log := slog.New(slog.NewTextHandler(out, nil))
	defer func() {
		// A detached runner has nobody else to tell.
		if err != nil && c.Bool("detached") {
			log.Error("the runner ended", "cause", err.Error())
		}
	}()
	cfg, done, err := p.wire(c.Context, s.home)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	cfg.Log = log
	if err := p.wireRunner(c.Context, &cfg); err != nil {
		return err
	}
	r, err := runner.New(cfg)
	if err != nil {
		return err
	}
	return r.Run(c.Context, c.Bool("until-idle"))
}

// logLimit is how large runner.log grows before it becomes runner.log.1: a
// runner that pushes start has nobody who rotates it.
const logLimit = 16 << 20

// openLog opens <home>/runner.log, the log of a detached runner. It lies beside
// the ledger, not in log/, where the members of a group may write: there, one
// of them could put a link and have the runner write where it leads.
func openLog(home string) (f *os.File, err error) {
	path := filepath.Join(home, "runner.log")
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() > logLimit {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, &gitmodels.Error{Op: "rotate the runner's log", Err: err}
		}
	}
	f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, &gitmodels.Error{Op: "open the runner's log", Err: err}
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is not a file", shown(path))
	case info.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()):
		err = fmt.Errorf("%s belongs to another user", shown(path))
	default:
		err = f.Chmod(0o600) // whatever it was before
	}
	if err != nil {
		return nil, &gitmodels.Error{Op: "open the runner's log", Err: errors.Join(err, f.Close())}
	}
	return f, nil
}

// reconcile compares refs and ledger: the runner does, or, when none answers,
// this command on behalf of the owner of the state directory.
func (p *program) reconcile(c *urfave.Context) error {
	got, err := words(c, 0, 1, "")
	if err != nil {
		return err
	}
	s, err := p.siteOf(c.Context, got)
	if err != nil {
		return err
	}
	if s.repo != nil {
		if err := p.onServer(c.Context, s, "reconcile", ""); err != nil {
			return err
		}
	}
	var found []byte
	alone := false
	err = wire.Call(c.Context, s.home, wire.Request{Op: wire.Reconcile, Repository: s.path()}, func(r wire.Response) error {
		found = append(found, r.Text...)
		return nil
	})
	if wire.IsNoRunner(err) {
		if !owns(s.home) {
			return notOurs(s.home)
		}
		alone = true
		err = p.withService(c.Context, s.home, func(svc *runner.Service) error {
			lines, err := svc.Reconcile(c.Context, s.path())
			for _, line := range lines {
				found = append(found, line+"\n"...)
			}
			return err
		})
	}
	for line := range strings.Lines(string(found)) {
		p.printf("%s\n", gitmodels.Printable(strings.TrimSuffix(line, "\n"), 0))
	}
	switch {
	case err != nil:
		return err
	case len(found) == 0:
		p.printf("nothing was missing\n")
	case alone:
		p.sayAlone()
	}
	return nil
}

// sayAlone follows what was recorded while nobody serves.
func (p *program) sayAlone() {
	p.say("recorded; no runner is answering, it will act when one starts")
	p.hint(p.again("runner --until-idle"))
}

// again is a command with the global options of this one.
func (p *program) again(command string) string {
	words := "git models "
	if p.homeFlag != "" && p.homeFlag != p.getenv("GIT_MODELS_HOME") {
		words += "--home " + quote(p.homeFlag) + " "
	}
	if p.repoFlag != "" {
		words += "--repo " + quote(p.repoFlag) + " "
	}
	return words + command
}
