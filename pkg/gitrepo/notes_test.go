package gitrepo

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const notesRef = "refs/notes/models"

func TestNotes(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, r *Repo) {
		a := commit(t, r, content{"f": "1"})
		b := commit(t, r, content{"f": "2"}, a)
		if _, ok, err := r.ReadNote(ctx, notesRef, a); ok || err != nil {
			t.Fatalf("note before the first: %v, %v", ok, err)
		}
		if notes := must(r.Notes(ctx, notesRef))(t); len(notes) != 0 {
			t.Errorf("notes before the first: %v", notes)
		}
		write := func(id gitmodels.CommitID, text string) {
			t.Helper()
			if err := r.WriteNote(ctx, notesRef, id, text); err != nil {
				t.Fatal(err)
			}
		}
		tip := func() string { return gitIn(t, r.Dir(), "rev-parse", notesRef) }

		write(a, "succeeded\n\nState: succeeded\n")
		first := tip()
		write(a, "succeeded\n\nState: succeeded\n")
		if tip() != first {
			t.Error("the same note again made a commit")
		}
		odd := "from refs/heads/x\ndata 5\n\x00 no newline \xff"
		write(b, odd)
		write(a, "failed\n")
		for id, want := range map[gitmodels.CommitID]string{a: "failed\n", b: odd} {
			if got, ok, err := r.ReadNote(ctx, notesRef, id); got != want || !ok || err != nil {
				t.Errorf("ReadNote = %q, %v, %v, want %q", got, ok, err, want)
			}
		}
		// Git and its trailer parser read what we wrote.
		if got := gitIn(t, r.Dir(), "notes", "--ref=models", "show", string(a)); got != "failed" {
			t.Errorf("git notes show = %q", got)
		}
		if got := gitIn(t, r.Dir(), "log", "-1", "--format=%an %ae %cn %P", notesRef+"~0"); !strings.HasPrefix(got, "git-models git-models@localhost git-models ") {
			t.Errorf("notes commit is by %q", got)
		}
		if n := gitIn(t, r.Dir(), "rev-list", "--count", notesRef); n != "3" {
			t.Errorf("notes have %s commits", n)
		}
		notes := must(r.Notes(ctx, notesRef))(t)
		want := []Note{{Commit: a, Text: "failed\n"}, {Commit: b, Text: odd}}
		slices.SortFunc(want, func(x, y Note) int { return strings.Compare(string(x.Commit), string(y.Commit)) })
		if !slices.Equal(notes, want) {
			t.Errorf("Notes = %q", notes)
		}
		gitIn(t, r.Dir(), "fsck", "--strict")

		wantKind(t, r.WriteNote(ctx, notesRef, gitmodels.CommitID(strings.Repeat("d", r.IDLength())), "x"), gitmodels.NotFound, "no commit")
		wantKind(t, r.WriteNote(ctx, notesRef, gitmodels.CommitID(blob(t, r, "1")), "x"), gitmodels.Invalid, "want a commit")
		wantKind(t, r.WriteNote(ctx, notesRef, a, strings.Repeat("x", MaxNote+1)), gitmodels.Invalid, "the limit is")
		wantKind(t, r.WriteNote(ctx, "refs/notes/a b", a, "x"), gitmodels.Invalid, "no full ref name")
	})
}

// manyNotes makes n commits with a note each, and a file beside the notes.
func manyNotes(t testing.TB, r *Repo, n int) []gitmodels.CommitID {
	t.Helper()
	line(t, r, n, "")
	var ids []gitmodels.CommitID
	var stdin strings.Builder
	fmt.Fprintf(&stdin, "commit %s\ncommitter A <a@b> 1 +0000\ndata 0\n", notesRef)
	for id := range strings.FieldsSeq(gitIn(t, r.Dir(), "rev-list", "refs/heads/line")) {
		ids = append(ids, gitmodels.CommitID(id))
		fmt.Fprintf(&stdin, "N inline %s\ndata 2\nx\n\n", id)
	}
	stdin.WriteString("M 100644 inline README\ndata 4\nkeep\n")
	gitInput(t, r.Dir(), []byte(stdin.String()), "fast-import", "--quiet")
	return ids
}

// Git moves notes into folders as they become many. Ours are found and replaced
// wherever they are, and files that are no notes stay.
func TestNotesFanOut(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	ids := manyNotes(t, r, 400)
	if files := gitIn(t, r.Dir(), "ls-tree", "-r", "--name-only", notesRef); !strings.Contains(files, string(ids[5][:2]+"/"+ids[5][2:])) {
		t.Fatalf("the fixture has no folders: %.100s", files)
	}
	for _, id := range []gitmodels.CommitID{ids[0], ids[5]} {
		if err := r.WriteNote(ctx, notesRef, id, "ours\n"); err != nil {
			t.Fatal(err)
		}
	}
	notes := must(r.Notes(ctx, notesRef))(t)
	if len(notes) != len(ids) {
		t.Errorf("%d notes, want %d", len(notes), len(ids))
	}
	for _, n := range notes {
		want := "x\n"
		if n.Commit == ids[0] || n.Commit == ids[5] {
			want = "ours\n"
		}
		if n.Text != want {
			t.Errorf("note of %s = %q", n.Commit, n.Text)
		}
	}
	if got := gitIn(t, r.Dir(), "show", notesRef+":README"); got != "keep" {
		t.Errorf("README = %q", got)
	}
	for _, i := range []int{0, 5, 77} {
		text, ok, err := r.ReadNote(ctx, notesRef, ids[i])
		if shown := gitIn(t, r.Dir(), "notes", "--ref=models", "show", string(ids[i])); text != shown+"\n" || !ok || err != nil {
			t.Errorf("ReadNote(%d) = %q, %v, %v; git shows %q", i, text, ok, err, shown)
		}
	}
}

// A note that somebody else made large is read as far as a note may go.
func TestLargeForeignNote(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	a := commit(t, r, content{"f": "1"})
	b := commit(t, r, content{"f": "2"})
	large := blob(t, r, strings.Repeat("x", 3*MaxNote))
	gitIn(t, r.Dir(), "notes", "--ref=models", "add", "-C", large, string(a))
	gitIn(t, r.Dir(), "notes", "--ref=models", "add", "-m", "small", string(b))
	for _, n := range must(r.Notes(ctx, notesRef))(t) {
		want := "small\n"
		if n.Commit == a {
			want = strings.Repeat("x", MaxNote)
		}
		if n.Text != want {
			t.Errorf("note of %s has %d bytes", n.Commit, len(n.Text))
		}
	}
	if err := r.WriteNote(ctx, notesRef, a, "ours\n"); err != nil {
		t.Fatal(err)
	}
	if text, _, err := r.ReadNote(ctx, notesRef, a); text != "ours\n" {
		t.Errorf("note = %q, %v", text, err)
	}
}

// A note that an admin adds between our look and our write survives, and so
// does ours.
func TestNoteWrittenMeanwhile(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	a := commit(t, r, content{"f": "1"})
	b := commit(t, r, content{"f": "2"})
	gitIn(t, r.Dir(), "notes", "--ref=models", "add", "-m", "first", string(b))
	old := must(r.Tip(ctx, notesRef))(t)
	gitIn(t, r.Dir(), "notes", "--ref=models", "add", "-f", "-m", "meanwhile", string(b))
	body := fmt.Sprintf("N inline %s\ndata 1\nx\n", a)
	if err := r.fastImport(ctx, notesRef, old, "m", body); !errors.Is(err, errMoved) {
		t.Fatalf("a write on top of an old tip: %v", err)
	}
	if err := r.fastImport(ctx, notesRef, "", "m", body); !errors.Is(err, errMoved) {
		t.Fatalf("a write as if there were no notes: %v", err)
	}
	if err := r.WriteNote(ctx, notesRef, a, "ours\n"); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[gitmodels.CommitID]string{a: "ours\n", b: "meanwhile\n"} {
		if got, _, err := r.ReadNote(ctx, notesRef, id); got != want {
			t.Errorf("note = %q, %v, want %q", got, err, want)
		}
	}
}

// A branch that is called like our ref is not taken for it, as git's own lookup
// would: anybody may push one, and forge the first notes with it.
func TestNotesOfALookalike(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	a := commit(t, r, content{"f": "1"})
	b := commit(t, r, content{"f": "2"})
	gitIn(t, r.Dir(), "notes", "--ref=forged", "add", "-m", "forged", string(b))
	forged := gitmodels.CommitID(gitIn(t, r.Dir(), "rev-parse", "refs/notes/forged"))
	setRef(t, r, "refs/heads/"+notesRef, forged)
	if gitIn(t, r.Dir(), "rev-parse", notesRef) != string(forged) {
		t.Fatal("git is not fooled by the fixture")
	}
	if text, ok, err := r.ReadNote(ctx, notesRef, b); ok || err != nil {
		t.Errorf("a forged note was read: %q, %v", text, err)
	}
	if notes := must(r.Notes(ctx, notesRef))(t); len(notes) > 0 {
		t.Errorf("forged notes were listed: %q", notes)
	}
	_, err := r.Peel(ctx, notesRef)
	wantKind(t, err, gitmodels.NotFound, "names no commit")
	if err := r.WriteNote(ctx, notesRef, a, "ours\n"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := r.ReadNote(ctx, notesRef, b); ok || err != nil {
		t.Errorf("our first note was put on top of forged ones: %v", err)
	}
	tip := must(r.Peel(ctx, notesRef))(t)
	if parents := must(r.Parents(ctx, tip))(t); len(parents) > 0 {
		t.Errorf("our first note has the parents %v", parents)
	}
}
