package gitrepo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
		s.objs.quickly = 0 // the child is asked
		if err := s.objs.start(); err != nil {
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

// What is read from files without a child is what git says, for loose objects
// and for packed ones that are changes of others.
func TestQuickObjects(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, r *Repo) {
		text := strings.Repeat("a line that stays the same in every version\n", 200)
		files := content{}
		for i := range 40 {
			files[fmt.Sprintf("d/f%02d", i)] = text + fmt.Sprint(i)
		}
		a := commit(t, r, files)
		files["d/f00"] = text + "another end"
		b := commit(t, r, files, a)
		gitIn(t, r.Dir(), "update-ref", "refs/heads/b", string(b))
		gitIn(t, r.Dir(), "tag", "-a", "-m", "one", "t", string(b))
		check := func(t *testing.T) {
			t.Helper()
			list := strings.Fields(gitIn(t, r.Dir(), "cat-file", "--batch-all-objects", "--batch-check=%(objectname)"))
			if len(list) < 40 {
				t.Fatalf("%d objects", len(list))
			}
			child, quick := r.objects(ctx), r.objects(ctx)
			defer child.close()
			defer quick.close()
			child.quickly, quick.quickly = 0, 1000
			for _, id := range append(list, string(a)+"^{tree}", string(b)+"^{commit}", string(b)+"^{tree}") {
				want, err := child.get(id, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				got, ok := quick.quick(id)
				if !ok || got.id != want.id || got.kind != want.kind || got.size != want.size || !bytes.Equal(got.data, want.data) {
					t.Errorf("%s: %v %+v, want %+v", id, ok, got, want)
				}
			}
			if quick.cmd != nil {
				t.Error("a child was started")
			}
			for _, id := range []string{strings.Repeat("d", r.IDLength()), "HEAD", string(b)[:10], string(a) + "^{tag}", list[0] + "^{nonsense}"} {
				if got, ok := quick.quick(id); ok {
					t.Errorf("%s: %+v", id, got)
				}
			}
		}
		check(t)
		gitIn(t, r.Dir(), "repack", "-adfq", "--depth=20")
		if deltas := gitIn(t, r.Dir(), "cat-file", "--batch-all-objects", "--batch-check=%(deltabase)"); !strings.Contains(strings.ReplaceAll(deltas, strings.Repeat("0", r.IDLength()), ""), "a") {
			t.Fatal("nothing is stored as a change of another")
		}
		check(t)
	})
}

// An object that is not what its name says, or is too large, is left to git.
func TestQuickLeavesToGit(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	large := blob(t, r, strings.Repeat("x", maxRead+1))
	good, other := blob(t, r, "good"), blob(t, r, "other")
	path := func(id string) string { return filepath.Join(r.Dir(), "objects", id[:2], id[2:]) }
	data, err := os.ReadFile(path(other))
	if err != nil {
		t.Fatal(err)
	}
	write(t, path(good), data)
	o := r.objects(ctx)
	defer o.close()
	for _, id := range []string{large, good} {
		if got, ok := o.quick(id); ok {
			t.Errorf("%s: a %s of %d bytes", id, got.kind, got.size)
		}
	}
	if got, ok := o.quick(other); !ok || string(got.data) != "other" {
		t.Errorf("%v %+v", ok, got)
	}
	for range maxQuick {
		o.quick(other)
	}
	if _, ok := o.quick(other); ok {
		t.Error("files are read without end")
	}
}
