package gitrepo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/google/go-cmp/cmp"
)

func TestRefs(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, r *Repo) {
		if refs := must(r.Refs(ctx))(t); len(refs) != 0 {
			t.Errorf("an empty repository has %v", refs)
		}
		a := commit(t, r, content{"f": "1"})
		b := commit(t, r, content{"f": "2"}, a)
		setRef(t, r, "refs/heads/main", b)
		setRef(t, r, "refs/heads/models/x", a)
		setRef(t, r, "refs/heads/models/y/z", b)
		setRef(t, r, "refs/heads/modelsque", b)
		setRef(t, r, "refs/models/keep", b)
		gitIn(t, r.Dir(), "symbolic-ref", "refs/heads/alias", "refs/heads/models/x")
		gitIn(t, r.Dir(), "symbolic-ref", "refs/heads/chain", "refs/heads/alias")
		gitIn(t, r.Dir(), "symbolic-ref", "refs/heads/dangling", "refs/heads/models/new")
		gitIn(t, r.Dir(), "tag", "-a", "-m", "t", "v1", string(a))
		gitIn(t, r.Dir(), "config", "transfer.hideRefs", "refs/models")
		tag := gitmodels.CommitID(gitIn(t, r.Dir(), "rev-parse", "v1"))
		want := []gitmodels.Ref{
			{Name: "refs/heads/alias", ID: a, Symref: "refs/heads/models/x"},
			{Name: "refs/heads/chain", ID: a, Symref: "refs/heads/models/x"},
			{Name: "refs/heads/main", ID: b},
			{Name: "refs/heads/models/x", ID: a},
			{Name: "refs/heads/models/y/z", ID: b},
			{Name: "refs/heads/modelsque", ID: b},
			{Name: "refs/models/keep", ID: b},
			{Name: "refs/tags/v1", ID: tag},
		}
		for _, state := range []string{"loose", "packed"} {
			if state == "packed" {
				gitIn(t, r.Dir(), "pack-refs", "--all")
			}
			if diff := cmp.Diff(want, must(r.Refs(ctx))(t)); diff != "" {
				t.Errorf("%s: %s", state, diff)
			}
			if diff := cmp.Diff(want[3:5], must(r.Refs(ctx, "refs/heads/models"))(t)); diff != "" {
				t.Errorf("%s, refs/heads/models: %s", state, diff)
			}
			if diff := cmp.Diff([]gitmodels.Ref{want[4], want[7]}, must(r.Refs(ctx, "refs/tags/", "refs/heads/models/y"))(t)); diff != "" {
				t.Errorf("%s, two prefixes: %s", state, diff)
			}
		}
		if got := must(r.RefsContaining(ctx, b, "refs/heads/"))(t); !cmp.Equal(got, []gitmodels.RefName{"refs/heads/main", "refs/heads/models/y/z", "refs/heads/modelsque"}) {
			t.Errorf("RefsContaining(b) = %v", got)
		}
		if got := must(r.RefsContaining(ctx, a, "refs/heads/main", "refs/models/"))(t); len(got) != 2 {
			t.Errorf("RefsContaining(a) = %v", got)
		}
		if _, err := r.RefsContaining(ctx, gitmodels.CommitID(strings.Repeat("d", r.IDLength()))); err == nil {
			t.Error("RefsContaining of nothing has an answer")
		}
		for _, prefix := range []string{"", "heads", "refs/heads/*", "--all", "refs/heads/[a]"} {
			_, err := r.Refs(ctx, prefix)
			wantKind(t, err, gitmodels.Invalid, "is no prefix")
		}
		for ref, target := range map[gitmodels.RefName]gitmodels.RefName{
			"refs/heads/alias": "refs/heads/models/x", "refs/heads/chain": "refs/heads/alias",
			"refs/heads/dangling": "refs/heads/models/new", "HEAD": "refs/heads/main",
			"refs/heads/main": "", "refs/heads/nothing": "", "refs/heads/models": "",
		} {
			got, ok, err := r.SymbolicTarget(ctx, ref)
			if got != target || ok != (target != "") || err != nil {
				t.Errorf("SymbolicTarget(%s) = %s, %v, %v", ref, got, ok, err)
			}
		}
		// What was a symbolic ref before 2005 is one still.
		if err := os.Symlink("refs/heads/models/x", filepath.Join(r.Dir(), "refs/heads/link")); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := r.SymbolicTarget(ctx, "refs/heads/link"); got != "refs/heads/models/x" || !ok || err != nil {
			t.Errorf("SymbolicTarget of a link = %s, %v, %v", got, ok, err)
		}
		for _, ref := range []gitmodels.RefName{"", "main", "-d", "refs/", "refs/heads/a..b", "refs/heads/a b", "refs/heads//a", "refs/heads/.a", "refs/heads/a.lock", "refs/heads/a\nb", "refs/heads/../x", "refs/heads/a~1", "refs/heads/@{1}"} {
			_, _, err := r.SymbolicTarget(ctx, ref)
			wantKind(t, err, gitmodels.Invalid, "is no full ref name")
		}
	})
}

func TestReflog(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, r *Repo) {
		const ref = "refs/heads/models"
		if got := must(r.Reflog(ctx, ref))(t); got != nil {
			t.Errorf("without a log: %v", got)
		}
		gitIn(t, r.Dir(), "config", "core.logAllRefUpdates", "always")
		a := commit(t, r, content{"f": "1"})
		b := commit(t, r, content{"f": "2"}, a)
		before := time.Now().Add(-time.Second)
		setRef(t, r, ref, a)
		gitIn(t, r.Dir(), "update-ref", "-m", "a\tmessage > with <odd> things", ref, string(b))
		zero := gitmodels.CommitID(strings.Repeat("0", r.IDLength()))
		log := filepath.Join(r.Dir(), "logs", filepath.FromSlash(ref))
		got := must(r.Reflog(ctx, ref))(t)
		for i := range got {
			if got[i].At.Before(before) || got[i].At.After(time.Now().Add(time.Second)) {
				t.Errorf("entry %d is of %s", i, got[i].At)
			}
			got[i].At = time.Time{}
		}
		who := "Ada Test <ada@example.com>"
		first, second := gitmodels.ReflogEntry{Old: zero, New: a, Who: who}, gitmodels.ReflogEntry{Old: a, New: b, Who: who}
		if diff := cmp.Diff([]gitmodels.ReflogEntry{first, second}, got); diff != "" {
			t.Error(diff)
		}

		// Lines as crashes, other programs and strangers leave them.
		good := func(old, new gitmodels.CommitID, rest string) string {
			return string(old) + " " + string(new) + " " + rest
		}
		text := strings.Join([]string{
			good(zero, a, "A <a@b> 100 +0100\tpush"),
			"",
			"\x00\x00\x00\x00",
			"junk",
			good(a, b, ""),
			string(a[1:]) + " " + string(b) + " x A <a@b> 1 +0000\tshort id",
			strings.ToUpper(good(a, b, "A <a@b> 1 +0000")) + "X",
			good(a, b, "name with <x> in it <a@b> when zone\tm"),
			good(b, a, " <> 5 -0030"),
			strings.Repeat("y", 3*maxReflogLine),
			good(a, b, "A <a@b> 300 +0000\tlast whole"),
			good(b, a, "A <a@b> 400 +0000\ttorn"),
		}, "\n")
		if err := os.WriteFile(log, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		want := []gitmodels.ReflogEntry{
			{Old: zero, New: a, Who: "A <a@b>", At: time.Unix(100, 0)},
			{Old: a, New: b, Who: "name with <x> in it <a@b>", At: time.Time{}},
			{Old: b, New: a, Who: " <>", At: time.Unix(5, 0)},
			{Old: a, New: b, Who: "A <a@b>", At: time.Unix(300, 0)},
		}
		equalTimes := cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })
		if diff := cmp.Diff(want, must(r.Reflog(ctx, ref))(t), equalTimes); diff != "" {
			t.Error(diff)
		}

		// What is not a log of ours is not followed, and not waited for.
		if err := os.Remove(log); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(log, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Reflog(ctx, ref); err == nil || !strings.Contains(err.Error(), "no regular file") {
			t.Errorf("a pipe as log: %v", err)
		}
		os.Remove(log)
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(secret, log); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Reflog(ctx, ref); err == nil {
			t.Errorf("a link out of the repository was read: %v", got)
		}
		os.Remove(log)
		if err := os.Mkdir(log, 0o755); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Reflog(ctx, ref); got != nil || err != nil {
			t.Errorf("a folder of logs: %v, %v", got, err)
		}
	})
}

// Git leaves the log of a ref in place that a tool has removed; a ref below that
// name then has none.
func TestReflogBelowAnother(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	log := filepath.Join(r.Dir(), "logs", "refs", "heads", "models")
	if err := errors.Join(os.MkdirAll(filepath.Dir(log), 0o755), os.WriteFile(log, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Reflog(ctx, "refs/heads/models/x"); got != nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestReflogIsBounded(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	log := filepath.Join(r.Dir(), "logs", "refs", "heads", "main")
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		t.Fatal(err)
	}
	id := strings.Repeat("a", 40)
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "%s %s old <a@b> 1 +0000\n", id, id)
	if err := f.Truncate(4 * maxReflog); err != nil { // a hole: no space is taken
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(fmt.Sprintf("\n%s %s new <a@b> 2 +0000\n", id, id)), 4*maxReflog); err != nil {
		t.Fatal(err)
	}
	f.Close()
	got := must(r.Reflog(ctx, "refs/heads/main"))(t)
	if len(got) != 1 || got[0].Who != "new <a@b>" {
		t.Errorf("%v", got)
	}
}

func TestReflogOfReftable(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	config := "[core]\n\trepositoryformatversion = 1\n[extensions]\n\trefStorage = reftable\n"
	if err := os.WriteFile(filepath.Join(r.Dir(), "config"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, r.Dir()).Reflog(ctx, "refs/heads/main"); err == nil || !strings.Contains(err.Error(), "reftable") {
		t.Errorf("error %v", err)
	}
}

func FuzzReflogLine(f *testing.F) {
	id := strings.Repeat("a", 40)
	f.Add(id + " " + id + " A <a@b> 1 +0000\tm")
	f.Add(id + " " + id + " > < 1")
	f.Fuzz(func(t *testing.T, line string) {
		e, ok := parseReflogLine(line, 40)
		if !ok {
			return
		}
		if !strings.HasPrefix(line, string(e.Old)+" "+string(e.New)+" "+e.Who) {
			t.Fatalf("%q was read as %+v", line, e)
		}
		if len(e.Old) != 40 || len(e.New) != 40 || strings.ContainsRune(e.Who, '\t') {
			t.Fatalf("%+v", e)
		}
	})
}
