package cli

import (
	"context"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/publish"
)

func (p *program) logCommand() *urfave.Command {
	return &urfave.Command{
		Name: "log", Category: toLook,
		Usage:     "the trained commits of a line, with what changed",
		UsageText: "[-n N] [--json] [REF|A..B]",
		Description: "Lists the trained commits in the history of models (or of models/main, of REF, or of a range), " +
			"the newest first: what changed in the parameters since the trained commit before, the metric that " +
			"ranks the run (results.best, else the first), and the difference to the run before that has it. " +
			"In a clone it reads notes and commits that git fetched; a commit that was not is shown with what its note says.\n\n" +
			"With --json it prints one array; changed is null where the files of a commit are not here.",
		Flags: []urfave.Flag{
			&urfave.IntFlag{Name: "number", Aliases: []string{"n"}, Value: -1,
				Usage: "at most `N` rows, 0 for all (default: 30, with --json all)"},
			jsonFlag(),
		},
		Action: p.log,
	}
}

// logRow is one trained commit in its history.
type logRow struct {
	gitmodels.Listing
	Changed    []paramView       `json:"changed"`    // since the trained commit before; null: not known
	Metric     *string           `json:"metric"`     // the one that ranks the run, else its first
	Value      *gitmodels.Number `json:"value"`      // of Metric
	Difference *gitmodels.Number `json:"difference"` // to the run before that has Metric
	changes    []gitmodels.ParamChange
}

// paramView is a gitmodels.ParamChange as JSON; what is absent is null.
type paramView struct {
	Key    string  `json:"key"`
	Before *string `json:"before"`
	After  *string `json:"after"`
}

func paramViews(changes []gitmodels.ParamChange) []paramView {
	views := make([]paramView, 0, len(changes))
	for _, c := range changes {
		v := paramView{Key: c.Key}
		if c.HadBefore {
			v.Before = &c.Before
		}
		if c.HasAfter {
			v.After = &c.After
		}
		views = append(views, v)
	}
	return views
}

func (p *program) log(c *urfave.Context) error {
	got, s, err := p.asked(c, 0, 1, "")
	if err != nil {
		return err
	}
	limit, err := rowsWanted(c)
	if err != nil {
		return err
	}
	word := ""
	if len(got) > 0 {
		word = got[0]
	}
	best := s.bestRefs(c.Context)
	h := p.past(c.Context, s)
	defer h.Close()
	if err := h.load(c.Context); err != nil {
		return err
	}
	rows, more, err := h.log(c.Context, word, limit)
	if err != nil {
		return err
	}
	at, err := best()
	if err != nil {
		return err
	}
	for i := range rows {
		rows[i].Best = at[rows[i].Commit]
	}
	switch {
	case c.Bool("json"):
		return p.json(rows)
	case len(rows) == 0 && (s.server || len(h.rows) > 0):
		p.say("nothing was trained in this history yet")
	case len(rows) > 0:
		p.logTable(rows)
	}
	if more {
		p.say("the newest %d; all of them: git models log -n 0", limit)
	}
	return nil
}

// rowsWanted is the option -n of a listing: 0 means all.
func rowsWanted(c *urfave.Context) (int, error) {
	limit := c.Int("number")
	switch {
	case limit < -1:
		return 0, usage("--number is %d, want 0 or more", limit)
	case limit == -1 && c.Bool("json"):
		return 0, nil
	case limit == -1:
		return tableRows, nil
	}
	return limit, nil
}

// rowsBefore is how many rows beyond those that are shown are read, so that the
// last ones have something to be compared with.
const rowsBefore = 8

// log is the trained commits that word names, at most limit of them (0: all);
// more says that there are others.
func (h *past) log(ctx context.Context, word string, limit int) (rows []logRow, more bool, err error) {
	rows = []logRow{}
	tip, exclude, line, err := h.stretch(ctx, word)
	if err != nil || tip == "" {
		return rows, false, err
	}
	var found []gitmodels.Listing
	err = h.walk(ctx, tip, exclude, func(row gitmodels.Listing) (bool, error) {
		found = append(found, row)
		return limit == 0 || len(found) < limit+rowsBefore, nil
	})
	if err != nil {
		return rows, false, err
	}
	if line != "" && !h.site.server {
		if found, err = h.withUnfetched(ctx, found, line); err != nil {
			return rows, false, err
		}
	}
	for i, row := range found {
		if limit > 0 && i == limit {
			return rows, true, nil
		}
		r, err := h.logRow(ctx, row, found[i+1:])
		if err != nil {
			return rows, false, err
		}
		rows = append(rows, r)
	}
	return rows, false, nil
}

// stretch is what word names: a range A..B, a ref, or nothing for the line of this
// repository. line is the server's name of the ref when it is a whole line.
func (h *past) stretch(ctx context.Context, word string) (tip gitmodels.CommitID, exclude []gitmodels.CommitID, line gitmodels.RefName, err error) {
	s := h.site
	if strings.Contains(word, "...") {
		return "", nil, "", usage("%s is no range: want A..B", shown(word))
	}
	from, word, ranged := cutRange(word)
	ref, err := s.line(ctx, word)
	switch {
	case err != nil:
		return "", nil, "", err
	case ref != "":
		word, line = string(ref), s.serverName(ref)
	case word == "" && !s.server && len(h.rows) > 0:
		return "", nil, "", s.noLine()
	case word == "":
		return "", nil, "", nil // nothing was pushed yet
	}
	if tip, err = s.repo.Peel(ctx, word); err != nil || !ranged {
		return tip, nil, line, err
	}
	start := tip
	if ref, err = s.line(ctx, from); err == nil && from != "" {
		if ref != "" {
			from = string(ref)
		}
		start, err = s.repo.Peel(ctx, from)
	}
	return tip, []gitmodels.CommitID{start}, "", err
}

// cutRange splits A..B.
func cutRange(word string) (from, to string, ranged bool) {
	if from, to, ranged = strings.Cut(word, ".."); ranged {
		return from, to, true
	}
	return "", word, false
}

// withUnfetched puts outcomes of the line whose commits are not in this clone
// among those that are, by the time of their end.
func (h *past) withUnfetched(ctx context.Context, found []gitmodels.Listing, line gitmodels.RefName) ([]gitmodels.Listing, error) {
	var ids []gitmodels.CommitID
	for id, row := range h.rows {
		if len(row.Refs) > 0 && row.Refs[0] == line {
			ids = append(ids, id)
		}
	}
	types, err := h.session.ObjectTypes(ctx, ids)
	if err != nil {
		return nil, err
	}
	var absent []gitmodels.Listing
	for _, id := range ids {
		if types[id] == "" {
			absent = append(absent, h.rows[id])
		}
	}
	byEnd(absent)
	var all []gitmodels.Listing
	for _, row := range found {
		for len(absent) > 0 && whenOf(absent[0]).After(whenOf(row)) {
			all, absent = append(all, absent[0]), absent[1:]
		}
		all = append(all, row)
	}
	return append(all, absent...), nil
}

// logRow compares row with those before it.
func (h *past) logRow(ctx context.Context, row gitmodels.Listing, before []gitmodels.Listing) (logRow, error) {
	r := logRow{}
	own, err := h.own(ctx, row)
	if err != nil {
		return r, err
	}
	r.Listing = own.Listing
	if len(before) > 0 {
		changes, known, err := h.changes(ctx, before[0].Commit, row.Commit)
		if err != nil {
			return r, err
		}
		if known {
			r.changes, r.Changed = changes, paramViews(changes)
		}
	}
	name := firstMetric(r.Listing)
	if name == "" {
		return r, nil
	}
	value := r.Values[name]
	r.Metric, r.Value = &name, &value
	for _, b := range before {
		if was, ok := b.Values[name]; ok && b.State != nil && *b.State == gitmodels.Succeeded {
			if d := value - was; d.Finite() {
				r.Difference = &d
			}
			break
		}
	}
	return r, nil
}

// firstMetric is the one that ranks a run, else the first; empty without any.
func firstMetric(row gitmodels.Listing) string {
	if row.RankedBy != nil {
		if _, ok := row.Values[row.RankedBy.Metric]; ok {
			return row.RankedBy.Metric
		}
	}
	if names := metricNames(row); len(names) > 0 {
		return names[0]
	}
	return ""
}

// mark is a state in one column.
func (p *program) mark(row gitmodels.Listing) cell {
	word, state := stateOf(row)
	mark := "•"
	switch {
	case state == gitmodels.Succeeded:
		mark = "✓"
	case state == gitmodels.Failed:
		mark = "✗"
	case state == gitmodels.Cancelled, word == "":
		mark = "-"
	}
	return cell{text: mark, paint: func(s string) string { return p.paint(s, state) }}
}

// logTable prints one line a commit.
func (p *program) logTable(rows []logRow) {
	metric := ""
	for i, row := range rows {
		if row.Metric == nil {
			continue
		}
		if metric != "" && metric != *row.Metric {
			metric = "" // not the same in all: named in each row
			break
		}
		metric = *rows[i].Metric
	}
	head := clip(shown(metric), 20)
	if metric == "" {
		head = "RESULT"
	}
	tb := table{head: []string{"", "RUN", "SUBJECT", "CHANGED", head, "", "TOOK"}, flex: 2, more: []int{3, 4}, sparse: true}
	for _, row := range rows {
		tb.rows = append(tb.rows, []cell{p.mark(row.Listing), plain(shown(row.Short)), plain(shown(row.Subject)), plain(briefly(row.changes)),
			plain(clip(row.result(metric), max(13, p.columns/6))), p.difference(row), plain(p.took(row.Listing))})
	}
	p.table(tb)
}

// result is the row's number, or why there is none. The metric that the column
// is named after needs no name.
func (r logRow) result(column string) string {
	if r.State == nil || *r.State != gitmodels.Succeeded || r.Value == nil {
		word, _ := stateOf(r.Listing)
		if text := resultOf(r.Listing, ""); text != "" && r.Value == nil {
			word = text
		}
		return word
	}
	text := publish.Brief(*r.Value)
	if column != *r.Metric {
		text = shown(*r.Metric) + "=" + text
	}
	if r.Best {
		text += " (best)"
	}
	return text
}

// difference is how far the row's number went, green for the better.
func (p *program) difference(r logRow) cell {
	if r.Difference == nil || *r.State != gitmodels.Succeeded {
		return plain("")
	}
	return p.signed(*r.Difference, better(*r.Metric, r.RankedBy))
}

// signed is a difference with its sign, painted when more (1) or less (-1) is
// better.
func (p *program) signed(d gitmodels.Number, direction int) cell {
	c := plain(publish.Brief(d))
	if d >= 0 {
		c.text = "+" + c.text
	}
	switch way := float64(d) * float64(direction); {
	case way > 0:
		c.paint = func(s string) string { return p.sgr(s, "32") }
	case way < 0:
		c.paint = func(s string) string { return p.sgr(s, "31") }
	}
	return c
}
