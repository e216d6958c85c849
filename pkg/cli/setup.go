package cli

import (
	"context"
	"io"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/install"
	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
	"github.com/git-models/git-models/pkg/ledger"
	"github.com/git-models/git-models/pkg/policy"
)

func (p *program) setUpCommands() []*urfave.Command {
	layout := &urfave.StringFlag{Name: "layout", Usage: "trained refs in `LAYOUT` solo (models), team (models/**) or auto (as the first push has it)"}
	dryRun := &urfave.BoolFlag{Name: "dry-run", Usage: "only say what would be done"}
	return []*urfave.Command{
		{
			Name: "install", Category: toSetUp,
			Usage:     "serve bare repositories, or make a clone fetch outcomes",
			UsageText: "[--layout LAYOUT] [--dry-run] REPO…\n",
			Description: "With repositories: puts the hooks in, keeping and chaining those that are there, sets what git " +
				"needs for them, and records what the trained refs hold already, which does not run. It says what it " +
				"did; a second time it changes nothing.\n\n" +
				"Without, in a clone: makes `git fetch` bring the outcomes along.\n\n" +
				"It leaves your shell alone: `git models help completion` says how to have completion and the man page.",
			Flags:  []urfave.Flag{layout, dryRun},
			Action: p.install,
		},
		{
			Name: "uninstall", Category: toSetUp,
			Usage:     "take out of repositories what install put in",
			UsageText: "[--dry-run] REPO…",
			Description: "Takes the hooks and settings out and puts back what was there before. Records, results, logs " +
				"and notes stay where they are.",
			Flags:  []urfave.Flag{dryRun},
			Action: p.uninstall,
		},
		{
			Name: "new", Category: toSetUp,
			Usage:     "make a bare repository that is ready for pushes",
			UsageText: "[--layout LAYOUT] PATH.git",
			Description: "Makes a bare repository, installs into it, and lets a push start a runner when none is " +
				"answering.",
			Flags:  []urfave.Flag{layout},
			Action: p.newCommand,
		},
		{
			Name: "scaffold", Category: toSetUp,
			Usage:     "make a training repository from the template",
			UsageText: "DIR",
			Description: "Makes a small project that really trains: a classifier on a small data set, with nothing but " +
				"python3. Push it, then put your own training in its place.",
			Action: func(c *urfave.Context) error {
				got, err := words(c, 1, 1, "the folder")
				if err != nil {
					return err
				}
				return install.Scaffold(c.Context, p.absolute(got[0]), p.out)
			},
		},
	}
}

func (p *program) install(c *urfave.Context) error {
	got := c.Args().Slice()
	if len(got) > 0 {
		return p.withOptions(c, got, install.Install)
	}
	if c.IsSet("layout") || c.IsSet("dry-run") {
		return usage("the repository to install into is missing")
	}
	s, err := p.site(c.Context)
	if err != nil {
		return err
	}
	switch {
	case s.repo == nil:
		e := p.needRepository("install").(*gitmodels.Error)
		e.Hint = "git models install /path/to/repository.git"
		return e
	case s.server:
		return &gitmodels.Error{Kind: gitmodels.Invalid, Message: "this is a server's repository: name it to install into it",
			Hint: "git models install " + quote(s.path())}
	case s.worktree == "":
		return &gitmodels.Error{Kind: gitmodels.Invalid, Message: "this is not the work tree of a clone"}
	}
	return install.InstallClone(c.Context, s.worktree, p.out)
}

func (p *program) uninstall(c *urfave.Context) error {
	got, err := words(c, 1, -1, "the repository")
	if err != nil {
		return err
	}
	return p.withOptions(c, got, install.Uninstall)
}

func (p *program) newCommand(c *urfave.Context) error {
	got, err := words(c, 1, 1, "the path")
	if err != nil {
		return err
	}
	return p.withOptions(c, got, func(ctx context.Context, o install.Options, paths []string, out io.Writer) error {
		return install.New(ctx, o, paths[0], out)
	})
}

// withOptions runs one of package install's commands on the paths.
func (p *program) withOptions(c *urfave.Context, paths []string,
	do func(context.Context, install.Options, []string, io.Writer) error) error {
	switch layout := c.String("layout"); layout {
	case "", "auto", "solo", "team":
	default:
		message := "--layout is " + shown(layout) + ", want auto, solo or team"
		return misuse(message, "git models help "+c.Command.Name)
	}
	home, err := p.installHome(c.Context)
	if err != nil {
		return err
	}
	absolute := make([]string, len(paths))
	for i, path := range paths {
		absolute[i] = p.absolute(path)
	}
	return do(c.Context, install.Options{
		Home: home, Layout: c.String("layout"), DryRun: c.Bool("dry-run"),
		Ledger: func(ctx context.Context, home string) (install.Ledger, error) { return ledger.Open(ctx, home) },
	}, absolute, p.out)
}

// installHome is the state directory that repositories are to be served from:
// where the command stands plays no part in it.
func (p *program) installHome(ctx context.Context) (string, error) {
	entries, err := gitrepo.GlobalConfig(ctx, "")
	if err != nil {
		return "", err
	}
	pol, _ := policy.Parse(entries, policy.Hook)
	return p.home(pol)
}
