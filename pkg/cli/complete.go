package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// What a word of a command line may be. A shell completes the names of files by
// itself when it gets no candidate.
const (
	aRun    = "run"   // the short name of a run
	aRef    = "ref"   // a branch of this repository
	aShell  = "shell" // of completion
	aThing  = "thing" // a command, of help
	nothing = "nothing"
)

// wordsOf are the words of each command, by their place; the last one stands
// for all that follow.
var wordsOf = map[string][]string{
	"show": {aRun, nothing}, "logs": {aRun, nothing}, "watch": {aRun, nothing}, "compare": {aRun, aRun, nothing},
	"cancel": {aRun, nothing}, "rerun": {aRun, nothing}, "restore": {aRun, nothing}, "download": {aRun, nothing},
	"branch": {nothing, aRun, nothing}, "push": {aRef, nothing}, "lint": {aRef, nothing}, "plan": {aRef, nothing},
	"completion": {aShell, nothing}, "help": {aThing, nothing},
}

// valuesOf are the values of options that have a few.
var valuesOf = map[string][]string{
	"color": {"auto", "always", "never"}, "layout": {"auto", "solo", "team"}, "stage": {"build", "train", "evaluate"},
	"push-option": {"plan", "skip", "follow", "priority=", "each", "again"},
}

// complete prints what may stand at the end of args, one a line. The last of
// args is what was typed of it, perhaps nothing. Whoever waits for a completion
// does not wait long, and nothing is said about what goes wrong.
func (p *program) complete(ctx context.Context, app *urfave.App, args []string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	typed := ""
	if n := len(args); n > 0 {
		typed, args = args[n-1], args[:n-1]
	}
	for _, c := range p.candidates(ctx, app, args, typed) {
		// What a shell would take apart again is not offered.
		if strings.HasPrefix(c, typed) && gitmodels.Printable(c, 0) == c && !strings.ContainsAny(c, " \t'\"\\$`;&|<>()*?[]!") {
			p.printf("%s\n", c)
		}
	}
}

// candidates are what may stand after args.
func (p *program) candidates(ctx context.Context, app *urfave.App, args []string, typed string) []string {
	// An option that waits for its value comes last, so arrange would refuse it.
	if n := len(args); n > 0 && strings.HasPrefix(args[n-1], "-") && !slices.Contains(args[:n-1], "--") {
		before, err := arrange(app, args[:n-1])
		name := strings.TrimLeft(args[n-1], "-")
		if flag := before.find(app, name); err == nil && flag != nil && !isSwitch(flag) {
			return p.values(ctx, before, flag.Names()[0])
		}
	}
	line, err := arrange(app, args)
	if err != nil {
		return nil
	}
	if name, _, ok := strings.Cut(typed, "="); ok && strings.HasPrefix(typed, "--") {
		flag := line.find(app, name[len("--"):])
		if flag == nil || isSwitch(flag) {
			return nil
		}
		var whole []string
		for _, v := range p.values(ctx, line, flag.Names()[0]) {
			whole = append(whole, name+"="+v)
		}
		return whole
	}
	if strings.HasPrefix(typed, "-") && !slices.Contains(args, "--") {
		var options []string
		for _, f := range line.flags(app) {
			if !isHidden(f) {
				options = append(options, "--"+f.Names()[0])
			}
		}
		return options
	}
	what := aThing
	if line.command != nil {
		places, ok := wordsOf[line.command.Name]
		if !ok {
			return nil
		}
		what = places[min(len(line.words), len(places)-1)]
	}
	switch what {
	case aThing:
		var names []string
		for _, c := range app.Commands {
			if !c.Hidden || c.Name == "help" && line.command == nil {
				names = append(names, c.Name)
			}
		}
		return names
	case aShell:
		return []string{"bash", "zsh", "fish"}
	case aRun:
		names, _ := p.completeRuns(ctx, line)
		return names
	case aRef:
		return p.completeRefs(ctx, line)
	}
	return nil
}

// values are those of an option; none for a folder's, which the shell knows.
func (p *program) values(ctx context.Context, line commandLine, option string) []string {
	if option != "sort" {
		return valuesOf[option]
	}
	_, metrics := p.completeRuns(ctx, line)
	return append(metrics, sortTook, sortCreated)
}

// silently is this program with the options of the line, and without a voice.
func (p *program) silently(line commandLine) *program {
	silent := *p.terminal
	silent.err = discard{}
	quiet := &program{edges: p.edges, terminal: &silent, homeFlag: p.getenv("GIT_MODELS_HOME")}
	for _, option := range line.global {
		switch name, value, _ := strings.Cut(option, "="); name {
		case "--repo":
			quiet.repoFlag = value
		case "--home":
			quiet.homeFlag = value
		}
	}
	return quiet
}

// completeRuns are the short names of runs, and the names of their metrics.
func (p *program) completeRuns(ctx context.Context, line commandLine) (runs, metrics []string) {
	quiet := p.silently(line)
	site, err := quiet.site(ctx)
	if err != nil {
		return nil, nil
	}
	rows, err := quiet.list(ctx, site, site.path(), 0)
	if err != nil {
		return nil, nil
	}
	for _, row := range rows {
		if row.Short != "" && row.State != nil {
			runs = append(runs, row.Short)
		}
		metrics = append(metrics, metricNames(row)...)
	}
	slices.Sort(metrics)
	return runs, slices.Compact(metrics)
}

// completeRefs are the branches here, and the trained lines of the server.
func (p *program) completeRefs(ctx context.Context, line commandLine) []string {
	site, err := p.silently(line).site(ctx)
	if err != nil || site.repo == nil {
		return nil
	}
	var names []string
	own, err := ownHeads(ctx, site)
	if err != nil {
		return nil
	}
	for ref := range own.tips {
		names = append(names, ref.Short())
	}
	server, err := trackedHeads(ctx, site)
	if err != nil {
		return nil
	}
	for ref := range server.tips {
		if site.policy.Governed(ref) {
			names = append(names, ref.Short())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
