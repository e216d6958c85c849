package gitrepo

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/google/go-cmp/cmp"
)

func TestHistory(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, r *Repo) {
		gitIn(t, r.Dir(), "config", "core.logAllRefUpdates", "always")
		a := commit(t, r, content{"f": "1", "gone": "x"})
		b := commit(t, r, content{"f": "2", "new/deep": "y", "odd\n\"name": "z"}, a)
		c := commit(t, r, content{"f": "3"}, a)
		m := commit(t, r, content{"f": "4"}, b, c)
		alone := commit(t, r, content{"other": "5"})
		setRef(t, r, "refs/heads/main", m)
		gitIn(t, r.Dir(), "tag", "-a", "-m", "a tag", "v1", string(b))
		tag := gitmodels.CommitID(gitIn(t, r.Dir(), "rev-parse", "v1"))
		treeID := gitIn(t, r.Dir(), "rev-parse", string(a)+"^{tree}")
		absent := gitmodels.CommitID(strings.Repeat("d", r.IDLength()))

		if got := len(a); got != r.IDLength() {
			t.Fatalf("IDLength is %d, ids have %d digits", r.IDLength(), got)
		}
		for id, want := range map[gitmodels.CommitID]string{
			a: "commit", tag: "tag", gitmodels.CommitID(treeID): "tree",
			gitmodels.CommitID(blob(t, r, "1")): "blob", absent: "",
		} {
			if got := must(r.ObjectType(ctx, id))(t); got != want {
				t.Errorf("ObjectType(%s) = %q, want %q", id, got, want)
			}
		}
		for _, tc := range []struct {
			old, new gitmodels.CommitID
			want     bool
		}{{a, b, true}, {b, a, false}, {a, a, true}, {c, m, true}, {b, c, false}, {alone, m, false}, {a, alone, false}} {
			if got := must(r.IsAncestor(ctx, tc.old, tc.new))(t); got != tc.want {
				t.Errorf("IsAncestor(%s, %s) = %v", tc.old, tc.new, got)
			}
		}
		if _, err := r.IsAncestor(ctx, a, absent); err == nil {
			t.Error("IsAncestor of a commit that is not there has an answer")
		}
		if base, ok, err := r.MergeBase(ctx, b, c); base != a || !ok || err != nil {
			t.Errorf("MergeBase(b, c) = %s, %v, %v", base, ok, err)
		}
		if base, ok, err := r.MergeBase(ctx, m, alone); base != "" || ok || err != nil {
			t.Errorf("MergeBase of strangers = %s, %v, %v", base, ok, err)
		}
		if n := must(r.Count(ctx, a, m))(t); n != 3 {
			t.Errorf("Count(a, m) = %d", n)
		}
		if n := must(r.Count(ctx, "", m))(t); n != 4 {
			t.Errorf("Count(nothing, m) = %d", n)
		}
		if got := must(r.Parents(ctx, m))(t); !slices.Equal(got, []gitmodels.CommitID{b, c}) {
			t.Errorf("Parents(m) = %v", got)
		}
		if got := must(r.Tree(ctx, a))(t); got != treeID {
			t.Errorf("Tree(a) = %s, want %s", got, treeID)
		}
		if got := must(r.Peel(ctx, "v1"))(t); got != b {
			t.Errorf("Peel(v1) = %s", got)
		}
		if got := must(r.Peel(ctx, string(m[:12])))(t); got != m {
			t.Errorf("Peel(prefix) = %s", got)
		}
		setRef(t, r, "refs/heads/ada@home", b)
		for rev, want := range map[string]gitmodels.CommitID{
			"refs/heads/ada@home": b, "refs/heads/ada@home^": a, "refs/heads/main": m, "refs/heads/main@{0}": m, "refs/heads/main~1": b, "refs/heads/main^2": c, "refs/tags/v1": b, "refs/tags/v1^{commit}": b, "main^2": c,
		} {
			if got := must(r.Peel(ctx, rev))(t); got != want {
				t.Errorf("Peel(%s) = %s, want %s", rev, got, want)
			}
		}
		want := []string{"f", "gone", "new/deep", "odd\n\"name"}
		if diff := cmp.Diff(want, must(r.ChangedPaths(ctx, a, b))(t)); diff != "" {
			t.Errorf("ChangedPaths(a, b): %s", diff)
		}
		if diff := cmp.Diff([]string{"f", "gone"}, must(r.ChangedPaths(ctx, gitmodels.CommitID(strings.Repeat("0", r.IDLength())), a))(t)); diff != "" {
			t.Errorf("ChangedPaths(nothing, a): %s", diff)
		}
		if got := must(r.ChangedPaths(ctx, a, a))(t); len(got) != 0 {
			t.Errorf("ChangedPaths(a, a) = %v", got)
		}
	})
}

func TestIDsAreChecked(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	a := commit(t, r, content{"f": "1"})
	for _, id := range []gitmodels.CommitID{
		"", "HEAD", "--all", "-h", a[:39], a + "0", gitmodels.CommitID(strings.ToUpper(string(a))),
		gitmodels.CommitID(strings.Repeat("0", 40)), gitmodels.CommitID(strings.Repeat("a", 64)), a[:38] + "\n-",
	} {
		if id == gitmodels.CommitID(strings.ToUpper(string(a))) && id == a {
			continue // an id without letters
		}
		_, err := r.IsAncestor(ctx, id, a)
		wantKind(t, err, gitmodels.Invalid, "object id")
		_, err = r.IsAncestor(ctx, a, id)
		wantKind(t, err, gitmodels.Invalid, "object id")
		_, err = r.ObjectType(ctx, id)
		wantKind(t, err, gitmodels.Invalid, "object id")
	}
}

// What a created ref brought is what no other branch holds.
func TestCountNew(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	tip := line(t, r, 5, "") // on refs/heads/line
	for _, tc := range []struct {
		ref        gitmodels.RefName
		most, want int
	}{{"refs/heads/line", 10, 5}, {"refs/heads/line", 3, 3}, {"refs/heads/other", 10, 0}, {"refs/models/x", 10, 0}} {
		if n := must(r.CountNew(ctx, tc.ref, tip, tc.most))(t); n != tc.want {
			t.Errorf("%s: %d of at most %d, want %d", tc.ref, n, tc.most, tc.want)
		}
	}
	setRef(t, r, "refs/heads/main", must(r.Peel(ctx, string(tip)+"~2"))(t))
	if n := must(r.CountNew(ctx, "refs/heads/line", tip, 10))(t); n != 2 {
		t.Errorf("ahead of main: %d, want 2", n)
	}
	_, err := r.CountNew(ctx, "refs/heads/line", "HEAD", 10)
	wantKind(t, err, gitmodels.Invalid, "object id")
}

func TestPeelOfWords(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	a := commit(t, r, content{"f": "1"})
	setRef(t, r, "refs/heads/main", a)
	for _, rev := range []string{"nothing", "main~5", "0000000", "main:f", strings.Repeat("d", 40)} {
		_, err := r.Peel(ctx, rev)
		wantKind(t, err, gitmodels.NotFound, rev+" names no commit")
	}
	for _, rev := range []string{"", "--all", "-h", "a\nb", "a\x00b"} {
		_, err := r.Peel(ctx, rev)
		wantKind(t, err, gitmodels.Invalid, "is no revision")
	}
	// Enough commits that two share their first four digits.
	line(t, r, 2000, "")
	seen := map[string]bool{}
	for id := range strings.Lines(gitIn(t, r.Dir(), "rev-list", "refs/heads/line")) {
		if seen[id[:4]] {
			_, err := r.Peel(ctx, id[:4])
			wantKind(t, err, gitmodels.Invalid, "ambiguous")
			return
		}
		seen[id[:4]] = true
	}
	t.Fatal("no two commits share four digits")
}

func TestCommitInfo(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	treeID := tree(t, r, content{"f": "1"})
	raw := func(s string) gitmodels.CommitID {
		return gitmodels.CommitID(gitInput(t, r.Dir(), []byte(s), "hash-object", "-w", "-t", "commit", "--literally", "--stdin"))
	}
	parent := strings.Repeat("b", 40)
	for name, tc := range map[string]struct {
		raw  string
		want gitmodels.CommitInfo
	}{
		"usual": {
			"tree " + treeID + "\nparent " + parent + "\nauthor Ada L <ada@example.com> 1700000000 +0130\ncommitter C <c@d> 1 +0000\n\nOne line\nand more\n\nbody\n",
			gitmodels.CommitInfo{Tree: treeID, Parents: []gitmodels.CommitID{gitmodels.CommitID(parent)}, Subject: "One line and more", Author: "Ada L", Email: "ada@example.com", Time: time.Unix(1700000000, 0)},
		},
		"signed": {
			"tree " + treeID + "\nauthor A <a@b> 5 +0000\ncommitter C <c@d> 1 +0000\ngpgsig -----BEGIN\n parent " + parent + "\n tree x\n -----END\n\nsigned",
			gitmodels.CommitInfo{Tree: treeID, Subject: "signed", Author: "A", Email: "a@b", Time: time.Unix(5, 0)},
		},
		"no message":    {"tree " + treeID + "\nauthor A <a@b> 5 +0000\n", gitmodels.CommitInfo{Tree: treeID, Author: "A", Email: "a@b", Time: time.Unix(5, 0)}},
		"odd name":      {"tree " + treeID + "\nauthor A <x> > <a@b> 5 +0000\n\n\n\n  s  \n", gitmodels.CommitInfo{Tree: treeID, Author: "A <x> >", Email: "a@b", Subject: "s", Time: time.Unix(5, 0)}},
		"no address":    {"tree " + treeID + "\nauthor A 5 +0000\n\ns", gitmodels.CommitInfo{Tree: treeID, Author: "A 5 +0000", Subject: "s"}},
		"date too late": {"tree " + treeID + "\nauthor A <a@b> 99999999999999999999 +0000\n\ns", gitmodels.CommitInfo{Tree: treeID, Author: "A", Email: "a@b", Subject: "s"}},
		"zone too far":  {"tree " + treeID + "\nauthor A <a@b> 5 +9999\n\ns", gitmodels.CommitInfo{Tree: treeID, Author: "A", Email: "a@b", Subject: "s"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := raw(tc.raw)
			tc.want.ID = id
			got := must(r.Commit(ctx, id))(t)
			equalTimes := cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })
			if diff := cmp.Diff(tc.want, got, equalTimes); diff != "" {
				t.Error(diff)
			}
			if subject := gitIn(t, r.Dir(), "log", "-1", "--format=%s", "--no-walk", string(id)); strings.TrimSpace(subject) != got.Subject {
				t.Errorf("subject %q, git says %q", got.Subject, subject)
			}
		})
	}
	t.Run("faults", func(t *testing.T) {
		t.Parallel()
		_, err := r.Commit(ctx, raw("author A <a@b> 5 +0000\n\ns"))
		wantKind(t, err, gitmodels.Invalid, "names no tree")
		_, err = r.Commit(ctx, raw("tree nothing\n\ns"))
		wantKind(t, err, gitmodels.Invalid, "tree:")
		_, err = r.Commit(ctx, gitmodels.CommitID(treeID))
		wantKind(t, err, gitmodels.Invalid, "is a tree, want a commit")
		_, err = r.Commit(ctx, gitmodels.CommitID(strings.Repeat("d", 40)))
		wantKind(t, err, gitmodels.NotFound, "no commit")
		_, err = r.Commit(ctx, raw("tree "+treeID+"\n\n"+strings.Repeat("x", maxCommit)))
		wantKind(t, err, gitmodels.Invalid, "the limit is")
	})
}

// What cannot be read is never taken for a "no".
func TestBrokenObjects(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	a := commit(t, r, content{"f": "1"})
	b := commit(t, r, content{"f": "2"}, a)
	c := commit(t, r, content{"f": "3"}, b)
	other := commit(t, r, content{"f": "4"})

	t.Run("corrupt", func(t *testing.T) {
		corrupt(t, r, string(b))
		if typ, err := r.ObjectType(ctx, b); err == nil {
			t.Errorf("ObjectType of a corrupt object is %q", typ)
		}
		if _, err := r.Commit(ctx, b); gitmodels.KindOf(err) != gitmodels.Internal || err == nil {
			t.Errorf("Commit of a corrupt object: %v", err)
		}
		for _, old := range []gitmodels.CommitID{a, other} {
			if yes, err := r.IsAncestor(ctx, old, c); err == nil {
				t.Errorf("IsAncestor across a corrupt commit is %v", yes)
			}
		}
		if _, _, err := r.MergeBase(ctx, other, c); err == nil {
			t.Error("MergeBase across a corrupt commit has an answer")
		}
		if _, err := r.Count(ctx, "", c); err == nil {
			t.Error("Count across a corrupt commit has an answer")
		}
		if _, err := r.Peel(ctx, string(b)); err == nil || gitmodels.KindOf(err) == gitmodels.NotFound {
			t.Errorf("Peel of a corrupt commit: %v", err)
		}
		if _, err := r.Files(ctx, b, []string{"f"}); err == nil {
			t.Error("Files of a corrupt commit has an answer")
		}
	})
	t.Run("missing parent", func(t *testing.T) {
		if err := os.Remove(loosePath(r, string(b))); err != nil {
			t.Fatal(err)
		}
		for _, old := range []gitmodels.CommitID{a, other} {
			if yes, err := r.IsAncestor(ctx, old, c); err == nil {
				t.Errorf("IsAncestor across a missing commit is %v", yes)
			}
		}
		if typ := must(r.ObjectType(ctx, b))(t); typ != "" {
			t.Errorf("ObjectType of a missing object is %q", typ)
		}
	})
}

// Neither refs/replace, which could be pushed, nor grafts change what an id
// means.
func TestReplaceAndGraftsAreIgnored(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	a := commit(t, r, content{"f": "1"})
	b := commit(t, r, content{"f": "2"}, a)
	stranger := commit(t, r, content{"f": "evil"})
	setRef(t, r, "refs/replace/"+string(b), stranger)
	if out, err := tryGit(r.Dir(), nil, "merge-base", "--is-ancestor", string(a), string(b)); err == nil {
		t.Fatalf("plain git is not fooled by the fixture: %q", out)
	}
	if !must(r.IsAncestor(ctx, a, b))(t) {
		t.Error("a replaced commit lost its parent")
	}
	if f := must(r.Files(ctx, b, []string{"f"}))(t)["f"]; string(f.Data) != "2" {
		t.Errorf("a replaced commit has the content %q", f.Data)
	}
	gitIn(t, r.Dir(), "update-ref", "-d", "refs/replace/"+string(b))
	if err := os.WriteFile(filepath.Join(r.Dir(), "info", "grafts"), []byte(string(stranger)+" "+string(a)+"\n"+string(b)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := tryGit(r.Dir(), nil, "merge-base", "--is-ancestor", string(a), string(stranger)); err != nil {
		t.Fatalf("plain git does not read the fixture's grafts: %v", err)
	}
	if must(r.IsAncestor(ctx, a, stranger))(t) {
		t.Error("a graft made a stranger a descendant")
	}
	if !must(r.IsAncestor(ctx, a, b))(t) {
		t.Error("a graft cut a commit from its parent")
	}
}

// IsAncestor against reachability computed in memory, over random graphs, loose
// and packed with and without a commit-graph.
func TestIsAncestorAgainstClosure(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	for _, state := range []string{"loose", "packed", "commit-graph", "stale commit-graph"} {
		r := newBare(t)
		const n = 40
		ids := make([]gitmodels.CommitID, 0, n)
		reach := make([]map[int]bool, 0, n)
		treeID := tree(t, r, content{"f": "1"})
		add := func() {
			i := len(ids)
			closure := map[int]bool{i: true}
			var parents []gitmodels.CommitID
			for range rng.IntN(4) {
				if i == 0 {
					break
				}
				p := rng.IntN(i)
				if slices.Contains(parents, ids[p]) {
					continue
				}
				parents = append(parents, ids[p])
				for k := range reach[p] {
					closure[k] = true
				}
			}
			ids = append(ids, commitTree(t, r, treeID, fmt.Sprint(i), parents...))
			reach = append(reach, closure)
			setRef(t, r, fmt.Sprintf("refs/heads/b%d", i), ids[i])
		}
		for range n / 2 {
			add()
		}
		switch state {
		case "packed":
			gitIn(t, r.Dir(), "gc", "-q")
		case "stale commit-graph":
			if err := r.WriteCommitGraph(ctx); err != nil {
				t.Fatal(err)
			}
		}
		for range n - n/2 {
			add()
		}
		if state == "commit-graph" {
			if err := r.WriteCommitGraph(ctx); err != nil {
				t.Fatal(err)
			}
		}
		for range 60 {
			a, b := rng.IntN(n), rng.IntN(n)
			if got := must(r.IsAncestor(ctx, ids[a], ids[b]))(t); got != reach[b][a] {
				t.Fatalf("%s: IsAncestor(%d, %d) = %v", state, a, b, got)
			}
		}
	}
}
