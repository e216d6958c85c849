package cli

import (
	"fmt"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// commandLine is the arguments, sorted out.
type commandLine struct {
	command *urfave.Command // nil: none was named
	help    bool            // --help stood somewhere
	global  []string        // global options, as --name=value
	local   []string        // options of the command, as --name=value
	words   []string        // everything else
}

// argv is the line in the order in which the library wants it.
func (l commandLine) argv(app *urfave.App) []string {
	argv := append([]string{app.Name}, l.global...)
	if l.command == nil {
		return argv
	}
	argv = append(append(argv, l.command.Name), l.local...)
	return append(append(argv, "--"), l.words...)
}

// arrange sorts the arguments out, so that people may write options wherever
// they think of them: the library takes global ones before the command only, and
// a command's own before its first word only. Short options may be joined, as in
// -fn3. After `--` all are words.
func arrange(app *urfave.App, args []string) (line commandLine, err error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			line.words = append(line.words, args[i+1:]...)
			return line, nil
		case arg == "-h" || arg == "--help":
			line.help = true
		case arg == "--version" && line.command == nil:
			line.command = app.Command("version")
		case len(arg) > 1 && arg[0] == '-':
			used, err := line.option(app, arg, args[i+1:])
			if err != nil {
				return line, err
			}
			i += used
		case line.command == nil:
			if line.command = app.Command(arg); line.command == nil {
				return line, unknownCommand(app, arg)
			}
			if line.command.SkipFlagParsing {
				line.words = args[i+1:]
				return line, nil
			}
		default:
			line.words = append(line.words, arg)
		}
	}
	return line, nil
}

// option sorts in one argument that begins with a dash. used is how many of the
// next arguments it took as its value.
func (l *commandLine) option(app *urfave.App, arg string, next []string) (used int, err error) {
	name, value, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	if !strings.HasPrefix(arg, "--") && len(name) > 1 && l.find(app, name) == nil {
		// Joined short options: all but the last are switches, the rest of the
		// word is the value of the one that takes a value.
		first := l.find(app, name[:1])
		if first == nil {
			return 0, l.unknownOption(app, "-"+name[:1])
		}
		if isSwitch(first) {
			l.put(app, first, "")
			return l.option(app, "-"+strings.TrimLeft(arg, "-")[1:], next)
		}
		name, value, hasValue = name[:1], strings.TrimLeft(arg, "-")[1:], true
	}
	flag := l.find(app, name)
	if flag == nil {
		return 0, l.unknownOption(app, strings.Repeat("-", min(len(name), 2))+name)
	}
	if isSwitch(flag) {
		if hasValue && value != "true" && value != "false" {
			return 0, usage("option --%s takes no value", flag.Names()[0])
		}
		l.put(app, flag, value)
		return 0, nil
	}
	if !hasValue {
		if len(next) == 0 {
			return 0, usage("option --%s needs a value", flag.Names()[0])
		}
		value, used = next[0], 1
	}
	if value == "" {
		return 0, usage("option --%s needs a value", flag.Names()[0])
	}
	l.put(app, flag, value)
	return used, nil
}

func (l *commandLine) put(app *urfave.App, flag urfave.Flag, value string) {
	word := "--" + flag.Names()[0]
	if value != "" {
		word += "=" + value
	}
	if slices.Contains(app.Flags, flag) {
		l.global = append(l.global, word)
	} else {
		l.local = append(l.local, word)
	}
}

// flags are the options that may stand here.
func (l *commandLine) flags(app *urfave.App) []urfave.Flag {
	if l.command == nil {
		return app.Flags
	}
	return slices.Concat(l.command.Flags, app.Flags)
}

func (l *commandLine) find(app *urfave.App, name string) urfave.Flag {
	for _, f := range l.flags(app) {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func isSwitch(f urfave.Flag) bool {
	_, ok := f.(*urfave.BoolFlag)
	return ok
}

func (l *commandLine) unknownOption(app *urfave.App, word string) error {
	var names []string
	for _, f := range l.flags(app) {
		if !isHidden(f) {
			names = append(names, "--"+f.Names()[0])
		}
	}
	help := "git models help"
	if l.command != nil {
		help += " " + l.command.Name
	}
	message := fmt.Sprintf("unknown option %s", gitmodels.Printable(word, 40))
	if near := gitmodels.Suggest(word, names); near != "" {
		message += fmt.Sprintf("; did you mean %s?", near)
	}
	return misuse(message, help)
}

func unknownCommand(app *urfave.App, word string) error {
	var names []string
	for _, c := range app.Commands {
		if !c.Hidden || isLater(c) {
			names = append(names, c.Names()...)
		}
	}
	message := fmt.Sprintf("unknown command %s", gitmodels.Printable(word, 40))
	hint := "git models help"
	if near := gitmodels.Suggest(word, names); near != "" {
		message += fmt.Sprintf("; did you mean %s?", near)
	}
	return misuse(message, hint)
}

func isHidden(f urfave.Flag) bool {
	v, ok := f.(urfave.VisibleFlag)
	return ok && !v.IsVisible()
}

// usage is a command line that makes no sense, and why.
func usage(format string, args ...any) error {
	return misuse(fmt.Sprintf(format, args...), "")
}

// words checks how many words a command got. want names them for the error.
func words(c *urfave.Context, least, most int, want string) ([]string, error) {
	got := c.Args().Slice()
	help := "git models help " + c.Command.Name
	switch {
	case len(got) < least:
		return nil, misuse(want+" is missing", help)
	case most >= 0 && len(got) > most:
		return nil, misuse("one word too many: "+gitmodels.Printable(got[most], 80), help)
	}
	return got, nil
}
