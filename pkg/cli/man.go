package cli

import (
	"fmt"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// placeMan puts the man page where man finds it, so that `git models --help`
// works: git answers that by man git-models.
const placeMan = "mkdir -p ~/.local/share/man/man1\n\ngit models man > ~/.local/share/man/man1/git-models.1"

func (p *program) manCommand() *urfave.Command {
	return &urfave.Command{
		Name: "man", Hidden: true, Category: toSetUp,
		Usage:     "print the man page",
		UsageText: "",
		Description: "Prints git-models.1, which `git models --help` shows. To put it in place for yourself:\n\n" +
			placeMan,
		Action: func(c *urfave.Context) error {
			if _, err := words(c, 0, 0, ""); err != nil {
				return err
			}
			p.printf("%s", manPage(c.App))
			return nil
		},
	}
}

// manPage writes the command tree in the man macros of groff_man(7), which
// mandoc reads too.
func manPage(app *urfave.App) string {
	var m man
	m.line(`.\" Made by git models man.`)
	m.macro("TH", "GIT-MODELS", "1", "", "git-models "+gitmodels.Version, "Git Manual")
	m.macro("SH", "NAME")
	m.text("git-models - " + app.Usage)
	m.macro("SH", "SYNOPSIS")
	m.line(".B git models")
	m.line(`\fICOMMAND\fR [\fIOPTION\fR...] [\fIARGUMENT\fR...]`)
	m.macro("SH", "DESCRIPTION")
	m.text("On a git server with git-models a push to the branch models, or to models/NAME, is a training run: it is " +
		"checked at the push, trained once, and its outcome lies in a note beside the commit. Plain git push and git fetch " +
		"are all that it takes; this program makes both ends comfortable.\n\n" +
		"SHA is any unambiguous beginning of a commit id, the name of an attempt, or a revision that this repository knows, " +
		"such as models or HEAD~2.")
	for _, category := range categories {
		m.macro("SH", strings.ToUpper(category))
		for _, c := range app.Commands {
			if c.Category == category && !c.Hidden {
				m.command(c)
			}
		}
	}
	m.macro("SH", "OPTIONS OF EVERY COMMAND")
	m.flags(app.Flags)
	m.macro("SH", "PUSH OPTIONS")
	m.text("Words of `git push -o WORD` to a trained branch; each may be written models.WORD too.")
	for _, w := range [][2]string{
		{gitmodels.WordPlan, "say what would run; nothing moves"},
		{gitmodels.WordSkip, "record the push without a run"},
		{gitmodels.WordFollow, "show the log until the run ends; ^C leaves the run alone"},
		{gitmodels.WordPriority + "=N", fmt.Sprintf("from %d to %d: before other runs of this repository", gitmodels.MinPriority, gitmodels.MaxPriority)},
		{gitmodels.WordEach, "run every commit of the push, the oldest first"},
		{gitmodels.WordAgain, "run although the commit has run, or no watched path changed"},
	} {
		m.item(w[0], w[1])
	}
	m.macro("SH", "CONTROL REFS")
	m.text("A push to one of these asks about a commit. It is answered in the push, and the ref does not stay.")
	for _, c := range gitmodels.Controls {
		m.item(c.PushCommand("COMMIT"), map[gitmodels.Control]string{
			gitmodels.ControlCancel: "ask its run to end", gitmodels.ControlRerun: "run it again",
			gitmodels.ControlPlan: "say what it would run", gitmodels.ControlStatus: "say how its run stands; with -o follow show its log",
		}[c])
	}
	m.macro("SH", "EXIT STATUS")
	m.item("0", "done")
	m.item("1", "refused or failed")
	m.item("2", "wrong usage")
	m.macro("SH", "ENVIRONMENT")
	m.item("GIT_MODELS_HOME", "the state directory, as --home names it")
	m.item("GIT_SSH_COMMAND, GIT_SSH", "ssh, as git(1) runs it; download uses it too")
	m.item("NO_COLOR", "when it is not empty, no colour")
	m.macro("SH", "FILES")
	m.item(".models.yaml", "what a commit trains, and which changes run")
	m.item("refs/notes/models", "the outcome of each trained commit")
	m.item("refs/notes/models-curves", "its curves, in a few points")
	m.macro("SH", "SEE ALSO")
	m.line(`.BR git\-push (1),`)
	m.line(`.BR git\-notes (1),`)
	m.line(`.BR git\-fetch (1)`)
	return m.b.String()
}

// man is a page in the making.
type man struct{ b strings.Builder }

// line adds a line as it is.
func (m *man) line(s string) { m.b.WriteString(s + "\n") }

// macro adds a request with its arguments.
func (m *man) macro(name string, args ...string) {
	line := "." + name
	for _, a := range args {
		line += ` "` + roff(a) + `"`
	}
	m.line(line)
}

// text adds paragraphs.
func (m *man) text(s string) {
	for i, paragraph := range strings.Split(s, "\n\n") {
		if i > 0 {
			m.line(".PP")
		}
		for line := range strings.Lines(wrap(paragraph, 0, defaultColumns)) {
			m.line(roffLine(strings.TrimSuffix(line, "\n")))
		}
	}
}

// item adds a term and what it is.
func (m *man) item(term, text string) {
	m.line(".TP")
	m.line(".B " + roff(term))
	m.text(text)
}

// command adds one command.
func (m *man) command(c *urfave.Command) {
	m.macro("SS", "git models "+strings.Join(c.Names(), ", git models "))
	m.text(c.Usage)
	m.line(".PP")
	m.line(".nf")
	for _, line := range strings.Split(c.UsageText, "\n") {
		m.line(roffLine(strings.TrimSpace("git models " + c.Name + " " + line)))
	}
	m.line(".fi")
	m.line(".PP")
	m.text(c.Description)
	m.flags(c.Flags)
}

// flags adds options.
func (m *man) flags(flags []urfave.Flag) {
	for _, f := range flags {
		doc, ok := f.(urfave.DocGenerationFlag)
		if !ok || isHidden(f) {
			continue
		}
		term, text := optionTerm(f, doc.GetUsage())
		m.item(term, text)
	}
}

// roff makes a text mean itself.
func roff(s string) string {
	s = gitmodels.Printable(s, 0)
	return strings.NewReplacer(`\`, `\e`, `"`, `\(dq`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "…", "...", "→", "->").Replace(s)
}

// roffLine is roff where a line of text begins: a dot there would be a request.
func roffLine(s string) string {
	s = roff(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

// optionTerm is an option with its names and its value, and its text without
// the marks around the value's name.
func optionTerm(f urfave.Flag, usage string) (term, text string) {
	var names []string
	for _, n := range f.Names() {
		if n != "colour" {
			names = slices.Insert(names, 0, strings.Repeat("-", min(len(n), 2))+n)
		}
	}
	term = strings.Join(names, ", ")
	if !isSwitch(f) {
		_, rest, _ := strings.Cut(usage, "`")
		value, _, _ := strings.Cut(rest, "`")
		term += " " + value
	}
	return term, strings.ReplaceAll(usage, "`", "")
}
