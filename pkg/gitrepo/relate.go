package gitrepo

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Relate says how commit stands to tip, of which it is no descendant: what a
// pusher is told depends on it. In a history of a million commits the whole
// truth about a very old commit takes git a second; then the answer is Far.
func (r *Repo) Relate(ctx context.Context, tip, commit gitmodels.CommitID) (gitmodels.Relation, error) {
	if err := r.checkIDs(tip, commit); err != nil {
		return gitmodels.Relation{}, err
	}
	rel, err := r.relate(tip, commit)
	switch {
	case ctx.Err() != nil:
		return rel, &gitmodels.Error{Op: "relate commits", Err: context.Cause(ctx)}
	case errors.Is(err, errFar):
		return gitmodels.Relation{Kind: gitmodels.Far}, nil
	case err != nil:
		return r.askRelation(ctx, tip, commit)
	case rel.Kind == gitmodels.Unrelated:
		return rel, nil
	}
	if rel.Lacks, err = r.countUpTo(ctx, commit, tip); err == nil && rel.Kind == gitmodels.Diverged {
		rel.Has, err = r.countUpTo(ctx, tip, commit)
	}
	return rel, err
}

// askRelation has git answer: one child looks for the base while another counts.
func (r *Repo) askRelation(ctx context.Context, tip, commit gitmodels.CommitID) (gitmodels.Relation, error) {
	type counts struct {
		lacks, has int
		err        error
	}
	counted := make(chan counts, 1)
	go func() {
		var c counts
		var out []byte
		if out, c.err = r.ask(ctx, "rev-list", "--count", "--left-right", string(tip)+"..."+string(commit), "--"); c.err == nil {
			if _, err := fmt.Sscanf(string(out), "%d\t%d\n", &c.lacks, &c.has); err != nil {
				c.err = &gitmodels.Error{Op: "git rev-list --count", Err: err}
			}
		}
		counted <- c
	}()
	base, related, err := r.MergeBase(ctx, tip, commit)
	c := <-counted
	if err = errors.Join(err, c.err); err != nil {
		return gitmodels.Relation{}, err
	}
	rel := gitmodels.Relation{Kind: gitmodels.Diverged, Base: base, Lacks: min(c.lacks, gitmodels.MaxRelated), Has: min(c.has, gitmodels.MaxRelated)}
	switch {
	case !related:
		return gitmodels.Relation{Kind: gitmodels.Unrelated}, nil
	case base == commit:
		rel.Kind = gitmodels.Rewind
	}
	return rel, nil
}

// countUpTo is Count that ends at MaxRelated.
func (r *Repo) countUpTo(ctx context.Context, exclude, include gitmodels.CommitID) (int, error) {
	n, err := r.count(include, []gitmodels.CommitID{exclude}, gitmodels.MaxRelated)
	if err == nil || ctx.Err() != nil {
		return n, ctx.Err()
	}
	if errors.Is(err, errFar) {
		return gitmodels.MaxRelated, nil // so many were passed on the way
	}
	out, err := r.ask(ctx, "rev-list", "--count", "--max-count="+strconv.Itoa(gitmodels.MaxRelated), string(include), "^"+string(exclude), "--")
	if err != nil {
		return 0, err
	}
	return number(out)
}

// maxRelating is how many commits of the graph are read to find where two lines
// part: a few milliseconds.
const maxRelating = 2_000

// Sides of a commit that relate walks.
const (
	ofTip = 1 << iota
	ofCommit
)

// relating paints what each of two commits reaches, the highest level first: the
// first that both reach is a best common ancestor.
type relating struct {
	*history
	sides map[node]int
	queue levels
	open  [ofTip + ofCommit + 1]int // commits of the queue by their sides
}

// relate is Relate without a child and without counts.
func (r *Repo) relate(tip, commit gitmodels.CommitID) (gitmodels.Relation, error) {
	h, err := r.history()
	if err != nil {
		return gitmodels.Relation{}, err
	}
	defer h.close()
	h.left = maxRelating
	w := relating{history: h, sides: map[node]int{}}
	var target node
	for i, id := range []gitmodels.CommitID{tip, commit} {
		n, err := h.named(id)
		if err == nil {
			target = n
			err = w.begin(n, 1<<i)
		}
		if err != nil {
			return gitmodels.Relation{}, err
		}
	}
	base, err := w.meet()
	switch {
	case err != nil:
		return gitmodels.Relation{}, err
	case base == nil:
		return gitmodels.Relation{Kind: gitmodels.Unrelated}, nil
	case *base == target:
		return gitmodels.Relation{Kind: gitmodels.Rewind, Base: commit}, nil
	}
	id, err := h.graph.id(base.pos)
	return gitmodels.Relation{Kind: gitmodels.Diverged, Base: id}, err
}

// begin paints start and what it reaches outside the graph. Where both sides
// meet outside of it, no level says which of their meetings is the highest.
func (w *relating) begin(start node, side int) error {
	for todo := []node{start}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if at.inside() {
			if err := w.add(at.pos, maxLevel, side); err != nil {
				return err
			}
			continue
		}
		switch was := w.sides[at]; {
		case was == side:
			continue
		case was != 0:
			return errUnusual
		}
		w.sides[at] = side
		parents, err := w.read(at)
		if err != nil {
			return err
		}
		todo = append(todo, parents...)
	}
	return nil
}

// add paints a commit of the graph.
func (w *relating) add(pos, below uint32, sides int) error {
	n := node{pos: pos}
	was := w.sides[n]
	if was == 0 {
		info, err := w.look(pos, below)
		if err != nil {
			return err
		}
		heap.Push(&w.queue, leveled{pos, info})
	} else {
		w.open[was]--
	}
	w.sides[n] = was | sides
	w.open[was|sides]++
	return nil
}

// meet walks down to the first commit that both sides reach; nil when there is
// none, as it is known once the queue holds nothing of one side.
func (w *relating) meet() (*node, error) {
	const both = ofTip | ofCommit
	for w.open[both] > 0 || w.open[ofTip] > 0 && w.open[ofCommit] > 0 {
		at := heap.Pop(&w.queue).(leveled)
		n := node{pos: at.pos}
		sides := w.sides[n]
		if sides == both {
			return &n, nil
		}
		w.open[sides]--
		for _, p := range at.parents {
			if err := w.add(p, at.level, sides); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}
