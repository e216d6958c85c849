package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// branch is a branch of a repository.
type branch struct {
	path string
	ref  gitmodels.RefName
}

// ranking is how the best branch was left.
type ranking struct {
	rule   gitmodels.Best
	newest time.Time // the end of the newest run that has a rule
	tip    gitmodels.CommitID
	value  gitmodels.Number // that tip has
	ended  time.Time        // when the attempt at tip did
}

// crowned is a run that the best branch is at after a ranking; its Commit is
// empty when none ranks, or when another one stays the best.
type crowned struct{ Parsed }

const (
	heads      = "refs/heads/"
	bestFolder = heads + "best/"
	// rankTries is how often a ranking starts over because the best branch moved
	// under it.
	rankTries = 8
)

// rank moves the best branch of the outcome's branch to the run that ranks
// first by results.best of the newest run, ties to the older one. It returns nil
// when the outcome has no say in that.
//
// The first ranking of a branch in this process, one by another rule, and one in
// which the best commit itself was run again read all notes; every other
// compares the outcome with what stands at the head, however many notes there are.
func (p *Publisher) rank(ctx context.Context, w *publication) (*crowned, error) {
	o := w.outcome
	short, isBranch := strings.CutPrefix(string(o.Ref), heads)
	if !isBranch {
		return nil, nil
	}
	best := gitmodels.RefName(bestFolder + short)
	for n := 1; ; n++ {
		tip, err := w.Tip(ctx, best)
		if err != nil {
			return nil, err
		}
		if o.Best == nil {
			delete(p.ranked, w.branch) // it competes as soon as a newer run has a rule
		}
		if tip != o.Commit && (o.Best == nil || o.State != gitmodels.Succeeded) {
			return nil, nil
		}
		next, winner, err := p.winner(ctx, w, tip)
		if err != nil {
			return nil, err
		}
		if next.tip != tip && next.tip != "" {
			// A branch that is gone, and a late outcome of it, get no best branch.
			if at, err := w.Tip(ctx, o.Ref); err != nil || at == "" {
				return nil, err
			}
		}
		err = w.move(ctx, best, next.tip, tip)
		if err == nil {
			if p.ranked == nil {
				p.ranked = map[branch]ranking{}
			}
			p.ranked[w.branch] = next
			return &winner, nil
		}
		delete(p.ranked, w.branch)
		switch now, lookErr := w.Tip(ctx, best); {
		case lookErr != nil:
			return nil, errors.Join(err, lookErr)
		case now == tip || n == rankTries: // it did not fail because the branch moved
			return nil, err
		}
	}
}

// winner decides where the best branch belongs, which is at tip now.
func (p *Publisher) winner(ctx context.Context, w *publication, tip gitmodels.CommitID) (ranking, crowned, error) {
	o := w.outcome
	known, ok := p.ranked[w.branch]
	switch {
	case !ok || known.tip != tip || o.Best == nil:
	case tip == o.Commit && known.ended.Equal(seconds(o.Finished)):
		return known, crowned{Parsed{Outcome: o}}, nil // this very outcome brought it there
	case tip != o.Commit && (known.rule == *o.Best || seconds(o.Finished).Before(known.newest)):
		if at := seconds(o.Finished); at.After(known.newest) {
			known.newest = at
		}
		value, has := score(o, known.rule)
		if !has || tip != "" && !known.rule.Better(value, known.value) {
			return known, crowned{}, nil
		}
		known.tip, known.value, known.ended = o.Commit, value, seconds(o.Finished)
		return known, crowned{Parsed{Outcome: o}}, nil
	}
	runs, err := w.runs(ctx)
	if err != nil {
		return ranking{}, crowned{}, err
	}
	next, first := ranked(runs)
	if next.tip == "" && (next.rule.Metric == "" || standing(runs, tip)) {
		next.tip = tip // nothing has such a metric: it stays
	}
	return next, first, nil
}

// runs are the runs of the outcome's branch as their notes tell them, the
// outcome in the place of its own note, from the oldest end to the newest.
func (w *publication) runs(ctx context.Context) ([]Parsed, error) {
	notes, err := w.Notes(ctx, w.NotesRef)
	if err != nil {
		return nil, err
	}
	own := Parsed{Outcome: w.outcome}
	own.Finished = seconds(own.Finished)
	runs := []Parsed{own}
	for _, n := range notes {
		if n.Commit == w.outcome.Commit {
			continue
		}
		if r, ok := ParseNote(n.Text, n.Commit); ok && r.Ref == w.outcome.Ref {
			runs = append(runs, r)
		}
	}
	slices.SortStableFunc(runs, func(a, b Parsed) int { return a.Finished.Compare(b.Finished) })
	return runs, nil
}

// ranked finds the run that ranks first by the rule of the newest that has one.
// The runs are in the order of their ends.
func ranked(runs []Parsed) (ranking, crowned) {
	var r ranking
	var first crowned
	for _, run := range slices.Backward(runs) {
		if run.Best != nil {
			r.rule, r.newest = *run.Best, run.Finished
			break
		}
	}
	if r.rule.Metric == "" {
		return r, first
	}
	for _, run := range runs {
		value, has := score(run.Outcome, r.rule)
		if has && (r.tip == "" || r.rule.Better(value, r.value)) {
			r.tip, r.value, r.ended = run.Commit, value, run.Finished
			first.Parsed = run
		}
	}
	return r, first
}

// score is the value by which a run competes; failed runs never do.
func score(o gitmodels.Outcome, rule gitmodels.Best) (gitmodels.Number, bool) {
	for _, m := range o.Values {
		if m.Name == rule.Metric {
			return m.Final, o.State == gitmodels.Succeeded && m.Final.Finite()
		}
	}
	return 0, false
}

// standing reports whether commit may stay the best one when nothing ranks: its
// run has not ended badly since.
func standing(runs []Parsed, commit gitmodels.CommitID) bool {
	return !slices.ContainsFunc(runs, func(r Parsed) bool { return r.Commit == commit && r.State != gitmodels.Succeeded })
}

// seconds is a time as a note holds it.
func seconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// move brings the best branch from where it is to where it belongs. An empty to
// removes it.
func (w *publication) move(ctx context.Context, best gitmodels.RefName, to, from gitmodels.CommitID) error {
	switch {
	case to == from:
		return nil
	case to == "":
		return w.DeleteRef(ctx, best, from)
	}
	if from == "" {
		if err := w.clear(ctx, best); err != nil {
			return err
		}
	}
	return w.UpdateRef(ctx, best, to, from)
}

// clear makes room for a best branch after the layout moved: git keeps either
// best/models or branches below best/models/. One whose branch is gone is stale.
func (w *publication) clear(ctx context.Context, best gitmodels.RefName) error {
	refs, err := w.Refs.Refs(ctx, strings.TrimSuffix(bestFolder, "/"))
	if err != nil {
		return err
	}
	for _, r := range refs {
		if !strings.HasPrefix(string(best), string(r.Name)+"/") && !strings.HasPrefix(string(r.Name), string(best)+"/") {
			continue
		}
		of, ours := strings.CutPrefix(string(r.Name), bestFolder)
		if ours {
			at, err := w.Tip(ctx, gitmodels.RefName(heads+of))
			if err != nil {
				return err
			}
			ours = at == ""
		}
		if !ours {
			return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "make room for a best branch",
				Message: fmt.Sprintf("the branch %s leaves no room for %s", gitmodels.Printable(r.Name.Short(), 200), gitmodels.Printable(best.Short(), 200)),
				Hint:    "git branch -m " + r.Name.Short() + " another-name"}
		}
		if err := w.DeleteRef(ctx, r.Name, r.ID); err != nil {
			return err
		}
	}
	return nil
}
