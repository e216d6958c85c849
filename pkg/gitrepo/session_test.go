package gitrepo

import (
	"errors"
	"strings"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/google/go-cmp/cmp"
)

// A session says what the repository says, through one child that absent paths
// do not end.
func TestSession(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, r *Repo) {
		a := commit(t, r, content{"f": "1", "d/x": "1", "d/y": "2", "z": "3", "d.e": "4"})
		b := commit(t, r, content{"f/g": "1", "d/x": "exec:1", "d/n/m": "2", "z": "link:f", "d.e": "4"}, a)
		s := r.Session(ctx)
		defer s.Close()
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		child := s.objs.cmd
		paths := []string{"none", "d/x", "none/of/it", "f"}
		if diff := cmp.Diff(must(r.Files(ctx, b, paths))(t), must(s.Files(ctx, b, paths))(t)); diff != "" {
			t.Errorf("Files: %s", diff)
		}
		absent := gitmodels.CommitID(strings.Repeat("d", r.IDLength()))
		ids := []gitmodels.CommitID{a, absent, b}
		if diff := cmp.Diff(must(r.ObjectTypes(ctx, ids))(t), must(s.ObjectTypes(ctx, ids))(t)); diff != "" {
			t.Errorf("ObjectTypes: %s", diff)
		}
		for _, pair := range [][2]gitmodels.CommitID{{a, b}, {b, a}, {a, a}, {"", b}} {
			if diff := cmp.Diff(must(r.ChangedPaths(ctx, pair[0], pair[1]))(t), must(s.ChangedPaths(ctx, pair[0], pair[1]))(t)); diff != "" {
				t.Errorf("ChangedPaths: %s", diff)
			}
			if _, err := s.objs.changed(pair[0], pair[1]); err != nil {
				t.Errorf("the trees were left to git: %v", err)
			}
		}
		if s.objs.cmd != child {
			t.Error("it took a second child")
		}
	})
}

// A move that loses says why.
func TestMoves(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	a := commit(t, r, content{"f": "1"})
	b := commit(t, r, content{"f": "2"}, a)
	if err := r.UpdateRef(ctx, "refs/heads/x", a, ""); err != nil {
		t.Fatal(err)
	}
	for _, pack := range []bool{false, true} {
		if pack {
			gitIn(t, r.Dir(), "pack-refs", "--all")
		}
		if at, err := r.refID("refs/heads/x"); at != a || err != nil {
			t.Errorf("packed %v: the tip is %s, %v", pack, at, err)
		}
		if at := must(r.Tip(ctx, "refs/heads/none"))(t); at != "" {
			t.Errorf("a ref that is not there is at %s", at)
		}
	}
	for _, old := range []gitmodels.CommitID{"", b} {
		if err := r.UpdateRef(ctx, "refs/heads/x", b, old); !errors.Is(err, ErrMoved) {
			t.Errorf("from %q: %v", old, err)
		}
	}
	if err := r.UpdateRef(ctx, "refs/heads/x/y", b, ""); !errors.Is(err, ErrClash) {
		t.Errorf("below a ref: %v", err)
	}
	if err := r.DeleteRef(ctx, "refs/heads/x", b); !errors.Is(err, ErrMoved) {
		t.Errorf("deleted from elsewhere: %v", err)
	}
	if err := r.DeleteRef(ctx, "refs/heads/none", b); err != nil {
		t.Errorf("what is gone already: %v", err)
	}
	gitIn(t, r.Dir(), "symbolic-ref", "refs/heads/s", "refs/heads/x")
	wantKind(t, r.UpdateRef(ctx, "refs/heads/s", b, a), gitmodels.Invalid, "symbolic ref")
	for range 2 {
		if err := r.WriteTag(ctx, "refs/tags/trained/1", a, "words\n"); err != nil {
			t.Fatal(err)
		}
	}
	if got := gitIn(t, r.Dir(), "for-each-ref", "--format=%(objecttype) %(*objectname) %(taggeremail)", "refs/tags/trained/1"); got != "tag "+string(a)+" <"+identEmail+">" {
		t.Errorf("the tag is %s", got)
	}
	if err := r.WriteTag(ctx, "refs/tags/trained", a, "words\n"); !errors.Is(err, ErrClash) {
		t.Errorf("a tag in place of a folder: %v", err)
	}
}
