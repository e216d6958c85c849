package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/publish"
)

// tableRows is how many rows `ls` shows to people who do not say.
const tableRows = 30

func (p *program) lookCommands() []*urfave.Command {
	return []*urfave.Command{
		{
			Name: "ls", Aliases: []string{"list"}, Category: toLook,
			Usage:     "list runs, the newest first",
			UsageText: "[-n N] [--sort KEY] [--since WHEN] [--all] [--json]",
			Description: "Lists every commit that was pushed to train: how its run stands or ended, with its " +
				"numbers or its cause. On the server it asks the runner, or the ledger when no runner answers. In " +
				"a clone it reads the notes that git fetched, and says so. (best) marks where a branch best/… is.\n\n" +
				"KEY is the name of a metric, whose best value comes first: the lowest of a loss, an error, or what " +
				"results.best of .models.yaml calls min; else the highest. It may also be took or created. A minus " +
				"before KEY turns the order round. Runs without the metric come last. WHEN is a time such as 2h, 3d, " +
				"\"2 weeks ago\", yesterday or 2026-01-31; what last happened to a run counts.\n\n" +
				"With --json it prints one array of every row.",
			Flags: []urfave.Flag{
				&urfave.IntFlag{Name: "number", Aliases: []string{"n"}, Value: -1,
					Usage: "at most `N` rows, 0 for all (default: 30, with --json all)"},
				&urfave.StringFlag{Name: "sort", Usage: "by `KEY`: a metric, took or created; -KEY is the other way round"},
				&urfave.BoolFlag{Name: "reverse", Aliases: []string{"r"}, Usage: "turn the order round"},
				&urfave.StringFlag{Name: "since", Usage: "only what happened since `WHEN`"},
				&urfave.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "every repository of the state directory"},
				jsonFlag(),
			},
			Action: p.ls,
		},
		{
			Name: "show", Aliases: []string{"view"}, Category: toLook,
			Usage:     "show one run with everything about it",
			UsageText: "[--json] SHA",
			Description: "Shows the run of a commit: its state and cause, the command that ran, where its results and " +
				"logs are, its metrics, stages, attempts, and the pushes that named it. With --json it prints one " +
				"object.",
			Flags:  []urfave.Flag{jsonFlag()},
			Action: p.showCommand,
		},
		p.logCommand(),
		p.compareCommand(),
		p.watchCommand(),
		p.statusCommand(),
		{
			Name: "logs", Category: toLook,
			Usage:     "print the log of a run",
			UsageText: "[-f] [--stage STAGE] SHA",
			Description: "Prints what the stages of the current attempt wrote, in their order. On a terminal control " +
				"characters are shown and not obeyed; elsewhere the bytes come as they were written.",
			Flags: []urfave.Flag{
				&urfave.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until the run ends; ^C leaves the run alone"},
				&urfave.StringFlag{Name: "stage", Usage: "only that `STAGE`: build, train or evaluate"},
			},
			Action: p.logs,
		},
	}
}

func (p *program) ls(c *urfave.Context) error {
	if _, err := words(c, 0, 0, ""); err != nil {
		return err
	}
	limit, err := rowsWanted(c)
	if err != nil {
		return err
	}
	by, reverse := c.String("sort"), c.Bool("reverse")
	from, err := p.checkSince(c.String("since"))
	if err != nil {
		return err
	}
	s, err := p.site(c.Context)
	if err != nil {
		return err
	}
	path := s.path()
	best := func() (map[gitmodels.CommitID]bool, error) { return nil, nil }
	switch {
	case c.Bool("all"):
		path = ""
	case s.repo == nil:
		e := p.needRepository("ls").(*gitmodels.Error)
		e.Hint = "git models ls --all"
		return e
	default:
		best = s.bestRefs(c.Context)
	}
	ask := limit
	switch {
	case by != "" || reverse || !from.IsZero():
		ask = 0
	case ask > 0:
		ask++ // is there more?
	}
	rows, err := p.list(c.Context, s, path, ask)
	if err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(row gitmodels.Listing) bool { return whenOf(row).Before(from) })
	switch {
	case by != "":
		if err := sortable(rows, by); err != nil {
			return err
		}
		order(rows, by, reverse, p.tookOf)
	case reverse:
		slices.Reverse(rows)
	}
	more := limit > 0 && len(rows) > limit
	if more {
		rows = rows[:limit]
	}
	at, err := best()
	if err != nil {
		return err
	}
	for i := range rows {
		rows[i].Best = at[rows[i].Commit]
	}
	if c.Bool("json") {
		if rows == nil {
			rows = []gitmodels.Listing{}
		}
		return p.json(rows)
	}
	if len(rows) == 0 {
		switch {
		case !from.IsZero():
			p.say("nothing happened since %s", from.Format("2006-01-02 15:04 -0700"))
		case s.server:
			p.say("nothing was pushed to train yet")
		}
		return nil
	}
	p.lsTable(rows, path == "", strings.TrimPrefix(by, "-"))
	if more {
		p.say("%s", leftOut(limit, by))
	}
	return nil
}

func (p *program) json(v any) error {
	enc := json.NewEncoder(p.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// lsTable prints rows. The metric that they are sorted by comes first among the
// numbers.
func (p *program) lsTable(rows []gitmodels.Listing, repositories bool, metric string) {
	tb := table{head: []string{"RUN", "STATE", "REF", "RESULT", "TOOK", "WHEN"}, flex: 3}
	if repositories {
		tb.head = append([]string{"REPOSITORY"}, tb.head...)
		tb.flex++
	}
	for _, row := range rows {
		word, state := stateOf(row)
		refs := shortRefs(row.Refs)
		ref := ""
		if len(refs) > 0 {
			ref = clip(refs[0], 20)
		}
		if len(refs) > 1 {
			ref += fmt.Sprintf(" +%d", len(refs)-1)
		}
		cells := []cell{
			plain(shown(row.Short)),
			{text: word, paint: func(s string) string { return p.paint(s, state) }},
			plain(ref), plain(resultOf(row, metric)), plain(p.took(row)), plain(p.ago(whenOf(row))),
		}
		if repositories {
			cells = append([]cell{plain(clip(shown(row.Repository), 20))}, cells...)
		}
		tb.rows = append(tb.rows, cells)
	}
	p.table(tb)
}

// shown is a foreign word on one line.
func shown(s string) string { return gitmodels.Printable(s, 200) }

func text[T ~string](s *T) string {
	if s == nil {
		return ""
	}
	return shown(string(*s))
}

// stateOf is the word for how a row stands. What never ran has no state but
// the decision.
func stateOf(row gitmodels.Listing) (string, gitmodels.State) {
	if row.State == nil {
		return shown(string(row.Decision)), ""
	}
	return text(row.State), *row.State
}

// resultOf is what people want to know of a row: its numbers, or why there are
// none. The metric named first comes first, and a best run says so before them.
func resultOf(row gitmodels.Listing, first string) string {
	switch {
	case row.State == nil:
		return text(row.Reason)
	case row.Waiting != nil && !row.State.Terminal():
		return "waiting: " + text(row.Waiting)
	case *row.State == gitmodels.Succeeded && len(row.Values) > 0:
		var words []string
		if row.Best {
			words = append(words, "(best)")
		}
		names := metricNames(row)
		if i := slices.Index(names, first); i > 0 {
			names = slices.Insert(slices.Delete(names, i, i+1), 0, first)
		}
		for _, name := range names {
			words = append(words, shown(name)+"="+publish.Brief(row.Values[name]))
		}
		return strings.Join(words, " ")
	case row.State.Terminal():
		return text(row.Cause)
	}
	return ""
}

// metricNames are the names of a row's final values, in the order of a note.
func metricNames(row gitmodels.Listing) []string {
	var names []string
	for name := range row.Values {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if publish.Less(a, b) {
			return -1
		}
		return 1
	})
	return names
}

func shortRefs(refs []gitmodels.RefName) []string {
	var names []string
	for _, r := range refs {
		names = append(names, shown(r.Short()))
	}
	return names
}

// took is how long a run took, or has taken so far.
func (p *program) took(row gitmodels.Listing) string {
	if row.Started == nil || row.State == nil {
		return ""
	}
	end := p.now()
	if row.Finished != nil {
		end = *row.Finished
	} else if row.State.Terminal() {
		return ""
	}
	return publish.Duration(max(0, end.Sub(*row.Started)))
}

// whenOf is the last thing that happened to a row.
func whenOf(row gitmodels.Listing) time.Time {
	for _, at := range []*time.Time{row.Finished, row.Started, row.Created} {
		if at != nil {
			return *at
		}
	}
	return time.Time{}
}

func (p *program) showCommand(c *urfave.Context) error {
	got, s, err := p.asked(c, 1, 1, "the commit")
	if err != nil {
		return err
	}
	best := s.bestRefs(c.Context)
	h := p.past(c.Context, s)
	defer h.Close()
	row, err := h.find(c.Context, got[0])
	if err != nil {
		return err
	}
	d, err := h.details(c.Context, row)
	if err != nil {
		return err
	}
	at, err := best()
	if err != nil {
		return err
	}
	d.Best = at[d.Commit]
	if c.Bool("json") {
		return p.json(d.Listing)
	}
	p.showText(d)
	return nil
}

// logs copies a log to the answer.
func (p *program) logs(c *urfave.Context) error {
	got, err := words(c, 1, 1, "the commit")
	if err != nil {
		return err
	}
	stage := c.String("stage")
	if logged := []string{"", "build", "train", "evaluate"}; !slices.Contains(logged, stage) {
		return usage("no log of stage %s, want build, train or evaluate", shown(stage))
	}
	s, err := p.site(c.Context)
	if err != nil {
		return err
	}
	if err := p.onServer(c.Context, s, "logs", got[0]); err != nil {
		return err
	}
	var out io.Writer = p.out
	if p.edges.Columns > 0 {
		w := &logWriter{out: p.out}
		defer w.Close()
		out = w
	}
	return s.named(c.Context, got[0], func(commit string) error {
		return p.copyLog(c.Context, s, commit, stage, c.Bool("follow"), out)
	})
}

// onServer refuses a command that needs more than a clone has, and says where to
// do it. word is the commit it speaks of, or empty.
func (p *program) onServer(ctx context.Context, s *site, command, word string) error {
	if s.repo == nil {
		return p.needRepository(strings.TrimSpace(command + " " + shown(word)))
	}
	if s.server {
		return nil
	}
	// A revision of the clone may be another commit on the server.
	if id, err := s.repo.Peel(ctx, word); word != "" && err == nil {
		word = id.Short(12)
	}
	return &gitmodels.Error{Kind: gitmodels.Invalid,
		Message: "refused: this is a clone, and in this version " + command + " works on the server alone",
		Hint:    p.atServer(s, strings.TrimSpace(command+" "+quoteWord(word)))}
}

// scpLike is the short form of an ssh address, host:path.
var scpLike = pattern(`^([\w.@-]+):([\w./~@+-]+)$`)

// atServer is command as it would be typed for the repository that the clone s
// calls origin, as far as that can be told from here.
func (p *program) atServer(s *site, command string) string {
	at := func(path string) string { return "git models --repo " + quote(path) + " " + command }
	url := strings.TrimPrefix(s.origin, "file://")
	if url != "" && !filepath.IsAbs(url) && s.worktree != "" {
		if near := filepath.Join(s.worktree, url); isFolder(near) {
			url = near
		}
	}
	if filepath.IsAbs(url) {
		return at(url)
	}
	if m := scpLike().FindStringSubmatch(url); m != nil {
		return "ssh " + m[1] + " " + at(m[2])
	}
	return "ssh SERVER " + at("/path/to/repository.git")
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// quoteWord quotes what is there.
func quoteWord(s string) string {
	if s == "" {
		return ""
	}
	return quote(s)
}

// quote makes s one word of a shell command, safe to show.
func quote(s string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+=:@%,", r)
	}
	s = gitmodels.Printable(s, 0)
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
