package cli

import (
	_ "embed"
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const exitStatuses = "Exit status: 0 done, 1 refused or failed, 2 wrong usage."

// help prints the help of the command on the line, or of the whole program.
func (p *program) help(app *urfave.App, line commandLine) error {
	c := line.command
	if c != nil && c.Name == "help" && len(line.words) > 0 {
		if c = app.Command(line.words[0]); c == nil {
			return unknownCommand(app, line.words[0])
		}
	}
	switch {
	case c == nil || c.Name == "help":
		p.printf("%s", overview(app))
	case isLater(c):
		return c.Action(nil)
	default:
		p.printf("%s", commandHelp(c))
	}
	return nil
}

// overview is the help of the program.
func overview(app *urfave.App) string {
	var b strings.Builder
	b.WriteString("git models - " + app.Usage + "\n\n")
	b.WriteString("usage: git models COMMAND [OPTION…] [ARGUMENT…]\n")
	longest := 0
	for _, c := range app.Commands {
		if !c.Hidden {
			longest = max(longest, len(strings.Join(c.Names(), ", ")))
		}
	}
	for _, category := range categories {
		fmt.Fprintf(&b, "\n%s\n", category)
		for _, c := range app.Commands {
			if c.Category == category && !c.Hidden {
				fmt.Fprintf(&b, "  %-*s  %s\n", longest, strings.Join(c.Names(), ", "), c.Usage)
			}
		}
	}
	b.WriteString("\noptions of every command\n" + options(app.Flags))
	b.WriteString("\n" + wrap("SHA is any unambiguous beginning of a commit id, the name of an attempt, or "+
		"a revision that this repository knows, such as models or HEAD~2.\n\n"+
		"`git models help COMMAND` tells more. "+exitStatuses, 0, defaultColumns) + "\n")
	return b.String()
}

// commandHelp is the help of one command.
func commandHelp(c *urfave.Command) string {
	var b strings.Builder
	b.WriteString("git models " + c.Name + " - " + c.Usage + "\n\n")
	for i, line := range strings.Split(c.UsageText, "\n") {
		lead := "usage: "
		if i > 0 {
			lead = "       "
		}
		b.WriteString(lead + strings.TrimSpace("git models "+c.Name+" "+line) + "\n")
	}
	if len(c.Aliases) > 0 {
		b.WriteString("also:  git models " + strings.Join(c.Aliases, ", git models ") + "\n")
	}
	b.WriteString("\n" + wrap(c.Description, 0, defaultColumns) + "\n")
	if text := options(c.Flags); text != "" {
		b.WriteString("\noptions\n" + text)
	}
	b.WriteString("\n" + exitStatuses + "\nOptions of every command: git models help\n")
	return b.String()
}

// options lists flags, one a line, continued under their text.
func options(flags []urfave.Flag) string {
	type row struct{ left, right string }
	var rows []row
	longest := 0
	for _, f := range flags {
		doc, ok := f.(urfave.DocGenerationFlag)
		if !ok || isHidden(f) {
			continue
		}
		left, text := optionTerm(f, doc.GetUsage())
		longest = max(longest, len(left))
		rows = append(rows, row{left, text})
	}
	var b strings.Builder
	for _, r := range rows {
		text := wrap(r.right, 4+longest, defaultColumns)
		fmt.Fprintf(&b, "  %-*s  %s\n", longest, r.left, strings.TrimLeft(text, " "))
	}
	return b.String()
}

// completionFlag is the last argument of a line that a shell wants completed.
const completionFlag = "--generate-completion"

//go:embed completion/git-models.bash
var bashCompletion string

//go:embed completion/_git-models
var zshCompletion string

//go:embed completion/git-models.fish
var fishCompletion string

func (p *program) helpCommands() []*urfave.Command {
	scripts := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
	return []*urfave.Command{
		p.manCommand(),
		{
			Name: "completion", Category: toSetUp,
			Usage:     "print a completion script for a shell",
			UsageText: "bash|zsh|fish",
			Description: "For bash, put `eval \"$(git models completion bash)\"` into ~/.bashrc. For zsh, " +
				"write the output to a file named _git-models in a folder of $fpath. For fish, write it to " +
				"~/.config/fish/completions/git-models.fish.\n\n" +
				"The man page, which `git models --help` shows, is put in place by:\n\n" + placeMan,
			Action: func(c *urfave.Context) error {
				got, err := words(c, 1, 1, "the shell (bash, zsh or fish)")
				if err != nil {
					return err
				}
				script, ok := scripts[got[0]]
				if !ok {
					return usage("no completion for %s, want bash, zsh or fish", gitmodels.Printable(got[0], 40))
				}
				p.printf("%s", script)
				return nil
			},
		},
		{
			Name: "version", Category: toSetUp,
			Usage:       "print the version",
			UsageText:   "",
			Description: "Prints the version of this program on one line.",
			Action: func(c *urfave.Context) error {
				if _, err := words(c, 0, 0, ""); err != nil {
					return err
				}
				p.printf("git-models %s\n", gitmodels.Version)
				return nil
			},
		},
		{
			Name: "help", Hidden: true,
			Usage:       "explain a command",
			UsageText:   "[COMMAND]",
			Description: "Explains a command, or lists all.",
			Action: func(c *urfave.Context) error {
				return p.help(c.App, commandLine{command: c.Command, words: c.Args().Slice()})
			},
		},
	}
}
