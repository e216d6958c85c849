package cli

import (
	"context"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/publish"
)

func (p *program) compareCommand() *urfave.Command {
	return &urfave.Command{
		Name: "compare", Category: toLook,
		Usage:     "show what differs between two runs",
		UsageText: "[--json] A B",
		Description: "Compares two runs: how they ended, the parameters and files that changed from A to B, their " +
			"final values side by side with the difference, and their curves on one scale. Notes and commits are " +
			"enough: a clone needs no server. With --json it prints one object.",
		Flags:  []urfave.Flag{jsonFlag()},
		Action: p.compare,
	}
}

// comparison is two runs side by side.
type comparison struct {
	A          gitmodels.Listing `json:"a"`
	B          gitmodels.Listing `json:"b"`
	Parameters []paramView       `json:"parameters"` // that differ; null: not known, as the files of a commit are not here
	Files      *changedFiles     `json:"files"`      // null: not known
	Values     []valuePair       `json:"values"`
	Curves     []curvePair       `json:"curves"`
	changes    []gitmodels.ParamChange
}

// changedFiles are the paths that differ between two commits.
type changedFiles struct {
	Count int      `json:"count"`
	Paths []string `json:"paths"` // at most maxPaths
}

// valuePair is one final value of two runs; null where a run lacks it.
type valuePair struct {
	Name       string            `json:"name"`
	A          *gitmodels.Number `json:"a"`
	B          *gitmodels.Number `json:"b"`
	Difference *gitmodels.Number `json:"difference"` // B - A
}

// curvePair is one series of two runs.
type curvePair struct {
	Name string            `json:"name"`
	A    []gitmodels.Point `json:"a"`
	B    []gitmodels.Point `json:"b"`
}

// Bounds on what a comparison lists.
const (
	maxPaths      = 1000
	maxPathsShown = 20
	maxPairs      = 64 // values, and curves, that are shown
)

func (p *program) compare(c *urfave.Context) error {
	got, s, err := p.asked(c, 2, 2, "a commit")
	if err != nil {
		return err
	}
	h := p.past(c.Context, s)
	defer h.Close()
	var two [2]details
	for i, word := range got {
		row, err := h.find(c.Context, word)
		if err != nil {
			return err
		}
		if two[i], err = h.own(c.Context, row); err != nil {
			return err
		}
		if two[i].curves, err = h.curves(c.Context, row.Commit); err != nil {
			return err
		}
	}
	cmp, err := h.compare(c.Context, two[0], two[1])
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return p.json(cmp)
	}
	p.compareText(cmp)
	return nil
}

// compare puts two runs side by side.
func (h *past) compare(ctx context.Context, a, b details) (comparison, error) {
	cmp := comparison{A: a.Listing, B: b.Listing, Values: []valuePair{}, Curves: pairCurves(a.curves, b.curves)}
	for _, name := range metricNames(gitmodels.Listing{Values: union(a.Values, b.Values)}) {
		pair := valuePair{Name: name}
		x, hasA := a.Values[name]
		y, hasB := b.Values[name]
		if hasA {
			pair.A = &x
		}
		if hasB {
			pair.B = &y
		}
		if d := y - x; hasA && hasB && d.Finite() {
			pair.Difference = &d
		}
		cmp.Values = append(cmp.Values, pair)
	}
	changes, known, err := h.changes(ctx, a.Commit, b.Commit)
	if err != nil {
		return cmp, err
	}
	if known {
		cmp.changes, cmp.Parameters = changes, paramViews(changes)
	}
	for _, id := range []gitmodels.CommitID{a.Commit, b.Commit} {
		if lacks, err := h.lacks(ctx, id); lacks || err != nil {
			return cmp, err
		}
	}
	paths, err := h.session.ChangedPaths(ctx, a.Commit, b.Commit)
	if err != nil {
		return cmp, err
	}
	cmp.Files = &changedFiles{Count: len(paths), Paths: append([]string{}, paths[:min(len(paths), maxPaths)]...)}
	return cmp, nil
}

func union(a, b map[string]gitmodels.Number) map[string]gitmodels.Number {
	all := make(map[string]gitmodels.Number, len(a)+len(b))
	for _, values := range []map[string]gitmodels.Number{a, b} {
		for name, v := range values {
			all[name] = v
		}
	}
	return all
}

// pairCurves pairs series of the same name, in the order of a, then of b.
func pairCurves(a, b []gitmodels.Metric) []curvePair {
	pairs := []curvePair{}
	for _, m := range a {
		pairs = append(pairs, curvePair{Name: m.Name, A: m.Points})
	}
	for _, m := range b {
		i := slices.IndexFunc(pairs, func(p curvePair) bool { return p.Name == m.Name })
		if i < 0 {
			pairs = append(pairs, curvePair{Name: m.Name})
			i = len(pairs) - 1
		}
		pairs[i].B = m.Points
	}
	return pairs
}

func (p *program) compareText(c comparison) {
	tb := table{head: []string{"", "RUN", "STATE", "TOOK", "SUBJECT"}, flex: 4, sparse: true}
	for i, row := range []gitmodels.Listing{c.A, c.B} {
		word, state := stateOf(row)
		tb.rows = append(tb.rows, []cell{{text: "AB"[i : i+1], paint: p.bold}, plain(shown(row.Short)),
			{text: word, paint: func(s string) string { return p.paint(s, state) }}, plain(p.took(row)), plain(shown(row.Subject))})
	}
	p.table(tb)
	for i, row := range []gitmodels.Listing{c.A, c.B} {
		if row.State != nil && *row.State != gitmodels.Succeeded {
			p.prose("cause of "+"AB"[i:i+1], text(row.Cause))
		}
	}
	p.compareParameters(c)
	p.compareFiles(c)
	p.compareValues(c)
	p.compareCurves(c)
}

func (p *program) compareParameters(c comparison) {
	p.printf("\n%s", p.bold("parameters"))
	switch {
	case c.Parameters == nil:
		p.printf("  not known: the files of both commits are not here, or at fault\n")
		return
	case len(c.changes) == 0:
		p.printf("  the same\n")
		return
	}
	p.printf("\n")
	for i, change := range c.changes {
		if i == maxParameters && len(c.changes) > maxParameters+1 {
			p.printf("  … %s\n", count(len(c.changes)-i, "more change"))
			break
		}
		p.printf("  %s\n", clip(shown(change.String()), p.columns-2))
	}
}

func (p *program) compareFiles(c comparison) {
	p.printf("\n%s", p.bold("files"))
	switch {
	case c.Files == nil:
		p.printf("  not known: both commits have to be here\n")
		return
	case c.Files.Count == 0:
		p.printf("  the same\n")
		return
	}
	p.printf("  %d changed\n", c.Files.Count)
	for i, path := range c.Files.Paths {
		if i == maxPathsShown && c.Files.Count > maxPathsShown+1 {
			p.printf("  … %s: git diff --stat %s %s\n", count(c.Files.Count-i, "more file"), c.A.Commit.Short(12), c.B.Commit.Short(12))
			break
		}
		p.printf("  %s\n", clip(shown(path), p.columns-2))
	}
}

func (p *program) compareValues(c comparison) {
	if len(c.Values) == 0 {
		return
	}
	p.printf("\n")
	tb := table{head: []string{"FINAL VALUE", "A", "B", "DIFFERENCE"}}
	brief := func(n *gitmodels.Number) cell {
		if n == nil {
			return plain("-")
		}
		return plain(publish.Brief(*n))
	}
	for i, v := range c.Values {
		if i == maxPairs {
			break
		}
		d := plain("")
		if v.Difference != nil {
			ranked := c.B.RankedBy
			if ranked == nil {
				ranked = c.A.RankedBy
			}
			d = p.signed(*v.Difference, better(v.Name, ranked))
		}
		tb.rows = append(tb.rows, []cell{plain(shown(v.Name)), brief(v.A), brief(v.B), d})
	}
	p.table(tb)
	if n := len(c.Values) - maxPairs; n > 0 {
		p.printf("… %s: git models compare --json\n", count(n, "more value"))
	}
}

// compareCurves draws the curves of both runs below one another, on the same
// scale.
func (p *program) compareCurves(c comparison) {
	if len(c.Curves) == 0 {
		return
	}
	p.printf("\n%s\n", p.bold("curves"))
	longest := 0
	for _, pair := range c.Curves[:min(len(c.Curves), maxCurves)] {
		longest = max(longest, min(width(shown(pair.Name)), p.columns/3))
	}
	for i, pair := range c.Curves {
		if i == maxCurves {
			p.printf("  … %s\n", count(len(c.Curves)-i, "more curve"))
			break
		}
		name := clip(shown(pair.Name), longest)
		in := spanOf(pair.A, pair.B)
		for k, points := range [][]gitmodels.Point{pair.A, pair.B} {
			if len(points) == 0 {
				continue
			}
			p.printf("  %s%s  %s %s  %s -> %s\n", name, strings.Repeat(" ", longest-width(name)), "AB"[k:k+1],
				spark(points, sparkColumns, in), publish.Brief(points[0].Value), publish.Brief(points[gitmodels.LastFinite(points)].Value))
			name = ""
		}
	}
}
