package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// refs is a repository in memory that counts what is written and what is listed.
type refs struct {
	notes  map[gitmodels.RefName]map[gitmodels.CommitID]string
	kept   []gitmodels.CommitID
	tips   map[gitmodels.RefName]gitmodels.CommitID
	tags   map[gitmodels.RefName]string
	writes int // of anything
	lists  int // of all notes
	fail   map[string]error
	before func(r *refs, op string) // called before a step, once for each
}

func newRefs() *refs {
	return &refs{
		notes: map[gitmodels.RefName]map[gitmodels.CommitID]string{},
		tips:  map[gitmodels.RefName]gitmodels.CommitID{"refs/heads/models": "tip"},
		tags:  map[gitmodels.RefName]string{},
		fail:  map[string]error{},
	}
}

// step is what every method begins with.
func (r *refs) step(op string) error {
	if f := r.before; f != nil {
		f(r, op)
	}
	return r.fail[op]
}

func (r *refs) ReadNote(_ context.Context, ref gitmodels.RefName, c gitmodels.CommitID) (string, bool, error) {
	text, ok := r.notes[ref][c]
	return text, ok, r.step("read note")
}

func (r *refs) WriteNote(_ context.Context, ref gitmodels.RefName, c gitmodels.CommitID, text string) error {
	if err := r.step("write " + string(ref)); err != nil {
		return err
	}
	if old, ok := r.notes[ref][c]; ok && old == text {
		return nil
	}
	r.writes++
	if r.notes[ref] == nil {
		r.notes[ref] = map[gitmodels.CommitID]string{}
	}
	r.notes[ref][c] = text
	return nil
}

func (r *refs) Notes(_ context.Context, ref gitmodels.RefName) ([]gitmodels.Note, error) {
	r.lists++
	var all []gitmodels.Note
	for c, text := range r.notes[ref] {
		all = append(all, gitmodels.Note{Commit: c, Text: text})
	}
	slices.SortFunc(all, func(a, b gitmodels.Note) int { return strings.Compare(string(a.Commit), string(b.Commit)) })
	return all, r.step("list notes")
}

func (r *refs) Keep(_ context.Context, ref gitmodels.RefName, c gitmodels.CommitID) error {
	if err := r.step("keep"); err != nil {
		return err
	}
	if ref != KeepRef {
		return errors.New("kept in " + string(ref))
	}
	if !slices.Contains(r.kept, c) {
		r.writes++
		r.kept = append(r.kept, c)
	}
	return nil
}

func (r *refs) Refs(_ context.Context, prefixes ...string) ([]gitmodels.Ref, error) {
	var all []gitmodels.Ref
	for name, id := range r.tips {
		for _, p := range prefixes {
			if string(name) == p || strings.HasPrefix(string(name), p+"/") {
				all = append(all, gitmodels.Ref{Name: name, ID: id})
			}
		}
	}
	return all, r.step("list refs")
}

func (r *refs) Tip(_ context.Context, ref gitmodels.RefName) (gitmodels.CommitID, error) {
	return r.tips[ref], r.step("look up a ref")
}

func (r *refs) UpdateRef(_ context.Context, ref gitmodels.RefName, id, old gitmodels.CommitID) error {
	if err := r.step("move a ref"); err != nil {
		return err
	}
	if r.tips[ref] != old {
		return fmt.Errorf("%s is at %s, not at %s", ref, r.tips[ref], old)
	}
	for name := range r.tips {
		if strings.HasPrefix(string(name), string(ref)+"/") || strings.HasPrefix(string(ref), string(name)+"/") {
			return fmt.Errorf("%s exists, cannot create %s", name, ref)
		}
	}
	r.writes++
	r.tips[ref] = id
	return nil
}

func (r *refs) DeleteRef(_ context.Context, ref gitmodels.RefName, old gitmodels.CommitID) error {
	if err := r.step("remove a ref"); err != nil {
		return err
	}
	if r.tips[ref] != old {
		return fmt.Errorf("%s is at %s, not at %s", ref, r.tips[ref], old)
	}
	r.writes++
	delete(r.tips, ref)
	return nil
}

func (r *refs) WriteTag(_ context.Context, tag gitmodels.RefName, target gitmodels.CommitID, message string) error {
	if err := r.step("tag"); err != nil {
		return err
	}
	if _, there := r.tags[tag]; !there {
		r.writes++
		r.tags[tag] = message
		r.tips[tag] = target
	}
	return nil
}

func publisher(r *refs) *Publisher {
	return &Publisher{Open: func(string) (Refs, error) { return r, nil }}
}

// tagging is a publisher for a repository with these models.tags.
func tagging(r *refs, tags string) *Publisher {
	p := publisher(r)
	p.Settings = func(context.Context, gitmodels.Repository) (Settings, error) { return Settings{Tags: tags}, nil }
	return p
}

var dogs = gitmodels.Repository{ID: "1", Name: "dogs", Path: "/srv/git/dogs.git"}
