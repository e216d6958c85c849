// Package gatetest holds a history in memory that answers the gate's questions:
// for tests alone.
package gatetest

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gate"
	"github.com/git-models/git-models/pkg/gitmodels"
)

// History is a repository in memory. Fail, when set, is the error of every
// question.
type History struct {
	Objects  map[gitmodels.CommitID]Object
	Refs     map[gitmodels.RefName]gitmodels.CommitID
	Symbolic map[gitmodels.RefName]gitmodels.RefName
	Fail     error
	Far      bool // Relate answers that every commit is far
}

// Object is a commit, unless Type says otherwise.
type Object struct {
	Type    string // empty: commit
	Target  gitmodels.CommitID
	Parents []gitmodels.CommitID
	Origin  gate.Origin
	Paths   []string // changed against the first parent
	Tree    string
}

var _ gate.History = (*History)(nil)

// ID is the object id that stands for a name.
func ID(name string) gitmodels.CommitID {
	sum := sha1.Sum([]byte(name))
	return gitmodels.CommitID(hex.EncodeToString(sum[:]))
}

// New makes a history of commits such as "a", "b:a" and "m:a,b": a name, and
// after a colon its parents. Each commit has an author of its own and changes a
// path of its own.
func New(commits ...string) *History {
	h := &History{
		Objects:  map[gitmodels.CommitID]Object{},
		Refs:     map[gitmodels.RefName]gitmodels.CommitID{},
		Symbolic: map[gitmodels.RefName]gitmodels.RefName{"HEAD": "refs/heads/main"},
	}
	for _, c := range commits {
		name, parents, _ := strings.Cut(c, ":")
		o := Object{Origin: gate.Origin{Author: name, Subject: "subject of " + name}, Paths: []string{name}, Tree: "tree of " + name}
		for p := range strings.SplitSeq(parents, ",") {
			if p != "" {
				o.Parents = append(o.Parents, ID(p))
			}
		}
		h.Objects[ID(name)] = o
	}
	return h
}

// Line adds n commits on top of from, named prefix1, prefix2, ….
func (h *History) Line(prefix, from string, n int) *History {
	for i := 1; i <= n; i++ {
		name := fmt.Sprintf("%s%d", prefix, i)
		one := New(name + ":" + from)
		h.Objects[ID(name)] = one.Objects[ID(name)]
		from = name
	}
	return h
}

// Rewrite makes the commit named again the same work as the one named first.
func (h *History) Rewrite(first, again string) *History {
	o := h.Objects[ID(again)]
	o.Origin = h.Objects[ID(first)].Origin
	h.Objects[ID(again)] = o
	return h
}

// Ref sets a ref to the commit of that name.
func (h *History) Ref(ref, commit string) *History {
	h.Refs[gitmodels.RefName(ref)] = ID(commit)
	return h
}

// Alias makes ref a symbolic one.
func (h *History) Alias(ref, target string) *History {
	h.Symbolic[gitmodels.RefName(ref)] = gitmodels.RefName(target)
	return h
}

func (h *History) commit(id gitmodels.CommitID) (Object, error) {
	if h.Fail != nil {
		return Object{}, h.Fail
	}
	o, ok := h.Objects[id]
	if !ok || o.Type != "" {
		return Object{}, fmt.Errorf("%s is no commit", id)
	}
	return o, nil
}

// reach is every commit that id reaches, itself included.
func (h *History) reach(id gitmodels.CommitID) (map[gitmodels.CommitID]bool, error) {
	found := map[gitmodels.CommitID]bool{}
	for next := []gitmodels.CommitID{id}; len(next) > 0; next = next[1:] {
		if found[next[0]] {
			continue
		}
		o, err := h.commit(next[0])
		if err != nil {
			return nil, err
		}
		found[next[0]] = true
		next = append(next, o.Parents...)
	}
	return found, nil
}

// ObjectType implements gate.History.
func (h *History) ObjectType(_ context.Context, id gitmodels.CommitID) (string, error) {
	o, ok := h.Objects[id]
	if !ok || o.Type != "" {
		return o.Type, h.Fail
	}
	return "commit", h.Fail
}

// Peel implements gate.History.
func (h *History) Peel(_ context.Context, rev string) (gitmodels.CommitID, error) {
	id := gitmodels.CommitID(rev)
	for h.Objects[id].Type == "tag" {
		id = h.Objects[id].Target
	}
	if o, ok := h.Objects[id]; !ok || o.Type != "" {
		return "", &gitmodels.Error{Kind: gitmodels.NotFound, Message: "no commit"}
	}
	return id, h.Fail
}

// IsAncestor implements gate.History.
func (h *History) IsAncestor(_ context.Context, ancestor, descendant gitmodels.CommitID) (bool, error) {
	if _, err := h.commit(ancestor); err != nil {
		return false, err
	}
	found, err := h.reach(descendant)
	return found[ancestor], err
}

// MergeBase implements gate.History.
func (h *History) MergeBase(_ context.Context, a, b gitmodels.CommitID) (gitmodels.CommitID, bool, error) {
	of, err := h.reach(a)
	if err != nil {
		return "", false, err
	}
	for next := []gitmodels.CommitID{b}; len(next) > 0; next = next[1:] {
		if of[next[0]] {
			return next[0], true, nil
		}
		o, err := h.commit(next[0])
		if err != nil {
			return "", false, err
		}
		next = append(next, o.Parents...)
	}
	return "", false, nil
}

// Relate implements gate.History.
func (h *History) Relate(ctx context.Context, tip, commit gitmodels.CommitID) (gitmodels.Relation, error) {
	base, related, err := h.MergeBase(ctx, tip, commit)
	switch {
	case err != nil || h.Fail != nil:
		return gitmodels.Relation{}, errors.Join(err, h.Fail)
	case h.Far:
		return gitmodels.Relation{Kind: gitmodels.Far}, nil
	case !related:
		return gitmodels.Relation{Kind: gitmodels.Unrelated}, nil
	}
	rel := gitmodels.Relation{Kind: gitmodels.Diverged, Base: base}
	if base == commit {
		rel.Kind = gitmodels.Rewind
	}
	if rel.Lacks, err = h.count(commit, tip); err == nil {
		rel.Has, err = h.count(tip, commit)
	}
	return rel, err
}

// count is the number of commits that include reaches and exclude does not.
func (h *History) count(exclude, include gitmodels.CommitID) (int, error) {
	with, err := h.reach(include)
	if err != nil {
		return 0, err
	}
	without, err := h.reach(exclude)
	if err != nil {
		return 0, err
	}
	n := 0
	for id := range with {
		if !without[id] {
			n++
		}
	}
	return min(n, gitmodels.MaxRelated), nil
}

// Commits implements gate.History, in the order of the ids for want of times.
func (h *History) Commits(_ context.Context, include gitmodels.CommitID, exclude []gitmodels.CommitID, limit int) ([]gitmodels.CommitID, error) {
	with, err := h.reach(include)
	if err != nil {
		return nil, err
	}
	for _, id := range exclude {
		without, err := h.reach(id)
		if err != nil {
			return nil, err
		}
		for id := range without {
			delete(with, id)
		}
	}
	ids := slices.Sorted(maps.Keys(with))
	return ids[max(0, len(ids)-limit):], nil
}

// Parents implements gate.History.
func (h *History) Parents(_ context.Context, id gitmodels.CommitID) ([]gitmodels.CommitID, error) {
	o, err := h.commit(id)
	return o.Parents, err
}

// Tree implements gate.History.
func (h *History) Tree(_ context.Context, id gitmodels.CommitID) (string, error) {
	o, err := h.commit(id)
	return o.Tree, err
}

// Origin implements gate.History.
func (h *History) Origin(_ context.Context, id gitmodels.CommitID) (gate.Origin, error) {
	o, err := h.commit(id)
	return o.Origin, err
}

// ChangedPaths implements gate.History for a commit and its parent.
func (h *History) ChangedPaths(_ context.Context, from, to gitmodels.CommitID) ([]string, error) {
	o, err := h.commit(to)
	if err == nil && !slices.Contains(o.Parents, from) {
		err = fmt.Errorf("%s is not the parent of %s", from, to)
	}
	return o.Paths, err
}

// SymbolicTarget implements gate.History.
func (h *History) SymbolicTarget(_ context.Context, ref gitmodels.RefName) (gitmodels.RefName, bool, error) {
	target, ok := h.Symbolic[ref]
	return target, ok, h.Fail
}

// Tips implements gate.History.
func (h *History) Tips(_ context.Context, prefixes ...string) (map[gitmodels.RefName]gitmodels.CommitID, error) {
	tips := map[gitmodels.RefName]gitmodels.CommitID{}
	for ref, id := range h.Refs {
		for _, p := range prefixes {
			if string(ref) == p || strings.HasPrefix(string(ref), p+"/") {
				tips[ref] = id
			}
		}
	}
	return tips, h.Fail
}

// RefsContaining implements gate.History.
func (h *History) RefsContaining(_ context.Context, id gitmodels.CommitID, prefixes ...string) ([]gitmodels.RefName, error) {
	var names []gitmodels.RefName
	for ref, tip := range h.Refs {
		for _, p := range prefixes {
			if !strings.HasPrefix(string(ref), p) {
				continue
			}
			found, err := h.reach(tip)
			if err != nil {
				return nil, err
			}
			if found[id] {
				names = append(names, ref)
			}
		}
	}
	slices.Sort(names)
	return names, h.Fail
}
