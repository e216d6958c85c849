package cli

import (
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Categories of commands, in the order in which help shows them.
const (
	toLook  = "look"
	toAct   = "act"
	toCheck = "check before a push"
	toSetUp = "set up"
	toServe = "serve"
)

var categories = []string{toLook, toAct, toCheck, toSetUp, toServe}

// app is the command tree. Help is ours (help.go), and so are errors: the
// library parses.
func (p *program) app() *urfave.App {
	app := &urfave.App{
		Name:                   "git-models",
		Usage:                  "a push to `models` trains it; the outcome lies beside its commit",
		HideHelp:               true,
		HideVersion:            true,
		UseShortOptionHandling: false,
		// A comma in a path is no separator.
		DisableSliceFlagSeparator: true,
		Reader:                    p.edges.Stdin,
		Writer:                    p.out,
		ErrWriter:                 p.err,
		Before:                    p.before,
		Action:                    func(*urfave.Context) error { return p.help(p.app(), commandLine{}) },
		ExitErrHandler:            func(*urfave.Context, error) {},
		OnUsageError:              onUsageError,
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "repo", Usage: "speak of the repository `DIR` (default: the one around this folder)"},
			&urfave.StringFlag{Name: "home", Usage: "the state directory is `DIR` (default: $GIT_MODELS_HOME, else models.home)"},
			&urfave.StringFlag{Name: "color", Aliases: []string{"colour"}, Value: "auto", Usage: "colour `WHEN`: auto (on a terminal), always or never"},
		},
	}
	app.Commands = append(app.Commands, p.lookCommands()...)
	app.Commands = append(app.Commands, p.actCommands()...)
	app.Commands = append(app.Commands, p.checkCommands()...)
	app.Commands = append(app.Commands, p.setUpCommands()...)
	app.Commands = append(app.Commands, p.serveCommands()...)
	app.Commands = append(app.Commands, p.helpCommands()...)
	app.Commands = append(app.Commands, laterCommands()...)
	for _, c := range app.Commands {
		c.HideHelp = true
		c.OnUsageError = onUsageError
	}
	return app
}

// onUsageError takes over what the library finds wrong: a value that is no
// number.
func onUsageError(c *urfave.Context, err error, _ bool) error {
	hint := "git models help"
	if c.Command != nil && c.Command.Name != c.App.Name {
		hint += " " + c.Command.Name
	}
	text := strings.Replace(err.Error(), " for flag -", " for option --", 1)
	return misuse(gitmodels.Printable(strings.TrimSuffix(text, ": parse error"), 200), hint)
}

// jsonFlag is on every listing.
func jsonFlag() urfave.Flag {
	return &urfave.BoolFlag{Name: "json", Usage: "print JSON: RFC 3339 times, null for what is absent"}
}

// later are the commands of the next version. They are refused by name, so that
// nobody takes a missing feature for a typing error; instead says what serves
// until then.
var later = []struct{ name, instead string }{
	{"schema", "git models lint"},
	{"layout", "git models new --layout team PATH.git"},
	{"purge", "git models uninstall REPO"},
	{"verify", "git models reconcile"},
}

func laterCommands() []*urfave.Command {
	var commands []*urfave.Command
	for _, l := range later {
		commands = append(commands, &urfave.Command{
			Name: l.name, Hidden: true, SkipFlagParsing: true,
			Action: func(*urfave.Context) error {
				return &gitmodels.Error{Kind: gitmodels.Invalid,
					Message: "refused: " + l.name + " is not in this version", Hint: l.instead}
			},
		})
	}
	return commands
}

func isLater(c *urfave.Command) bool {
	for _, l := range later {
		if c.Name == l.name {
			return true
		}
	}
	return false
}
