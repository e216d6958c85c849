package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
)

func TestKeep(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, r *Repo) {
		const keep = "refs/models/keep"
		a := commit(t, r, content{"f": "1"})
		b := commit(t, r, content{"f": "2"}, a)
		c := commit(t, r, content{"f": "3"})
		do := func(id gitmodels.CommitID) gitmodels.CommitID {
			t.Helper()
			if err := r.Keep(ctx, keep, id); err != nil {
				t.Fatal(err)
			}
			return gitmodels.CommitID(gitIn(t, r.Dir(), "rev-parse", keep))
		}
		first := do(b)
		if got := must(r.Parents(ctx, first))(t); !slices.Equal(got, []gitmodels.CommitID{b}) {
			t.Errorf("first link has the parents %v", got)
		}
		for _, id := range []gitmodels.CommitID{a, b, first} {
			if do(id) != first {
				t.Errorf("%s was kept twice", id)
			}
		}
		second := do(c)
		if got := must(r.Parents(ctx, second))(t); !slices.Equal(got, []gitmodels.CommitID{first, c}) {
			t.Errorf("second link has the parents %v", got)
		}
		for _, id := range []gitmodels.CommitID{first, second} {
			if got := must(r.Tree(ctx, id))(t); got != emptyTree(r.IDLength()) {
				t.Errorf("link %s has the tree %s", id, got)
			}
		}
		// Nothing else holds the commits: gc leaves them.
		gitIn(t, r.Dir(), "gc", "-q", "--prune=now")
		for _, id := range []gitmodels.CommitID{a, b, c} {
			if typ := must(r.ObjectType(ctx, id))(t); typ != "commit" {
				t.Errorf("gc took %s", id)
			}
		}
		gitIn(t, r.Dir(), "fsck", "--strict")
		gone := gitmodels.CommitID(strings.Repeat("d", r.IDLength()))
		wantKind(t, r.Keep(ctx, keep, gone), gitmodels.NotFound, "no commit")
		wantKind(t, r.Keep(ctx, keep, gitmodels.CommitID(blob(t, r, "1"))), gitmodels.Invalid, "want a commit")
	})
}

// Writers of notes and of the chain, an admin's own notes, pushes and gc at the
// same time: everything that was written is there.
func TestWritesBesideEachOther(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	gitIn(t, r.Dir(), "config", "core.logAllRefUpdates", "always")
	const writers, each = 4, 5
	line(t, r, writers*each+1, "")
	ids := strings.Fields(gitIn(t, r.Dir(), "rev-list", "refs/heads/line"))
	clone := cloneOf(t, r)
	gitIn(t, clone.Dir(), "fetch", "-q", "origin")

	var group sync.WaitGroup
	fail := make(chan error, 100)
	run := func(f func() error) {
		group.Go(func() {
			if err := f(); err != nil {
				fail <- err
			}
		})
	}
	for w := range writers {
		run(func() error {
			for i := range each {
				id := gitmodels.CommitID(ids[w*each+i])
				if err := r.WriteNote(ctx, notesRef, id, "note of "+string(id)+"\n"); err != nil {
					return err
				}
				if err := r.Keep(ctx, "refs/models/keep", id); err != nil {
					return err
				}
			}
			return nil
		})
	}
	run(func() error {
		for i := range 6 {
			if _, err := tryGit(clone.Dir(), nil, "push", "-q", "origin", ids[20-i]+":refs/heads/models/"+fmt.Sprint(i)); err != nil {
				return err
			}
		}
		return nil
	})
	run(func() error {
		for range 4 {
			if _, err := tryGit(r.Dir(), nil, "gc", "-q"); err != nil {
				return err
			}
		}
		return nil
	})
	run(func() error {
		for range 6 {
			if err := r.WriteCommitGraph(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	group.Wait()
	close(fail)
	for err := range fail {
		t.Error(err)
	}
	notes := must(r.Notes(ctx, notesRef))(t)
	if len(notes) != writers*each {
		t.Errorf("%d notes, want %d", len(notes), writers*each)
	}
	for _, n := range notes {
		if n.Text != "note of "+string(n.Commit)+"\n" {
			t.Errorf("note of %s = %q", n.Commit, n.Text)
		}
		if !must(r.IsAncestor(ctx, n.Commit, gitmodels.CommitID(gitIn(t, r.Dir(), "rev-parse", "refs/models/keep"))))(t) {
			t.Errorf("%s is not kept", n.Commit)
		}
	}
	if refs := must(r.Refs(ctx, "refs/heads/models"))(t); len(refs) != 6 {
		t.Errorf("%d pushed refs", len(refs))
	}
	gitIn(t, r.Dir(), "fsck", "--strict")
	if left, _ := filepath.Glob(r.Dir() + "/fast_import_crash_*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// Our own moves are in the reflog, as the repository asks for.
	if log := must(r.Reflog(ctx, notesRef))(t); len(log) != writers*each || log[0].Who != "git-models <git-models@localhost>" {
		t.Errorf("the reflog has %d entries: %v", len(log), log)
	}
}

// A lock that is never given back is named, and waiting for it ends with the
// context.
func TestForgottenLock(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	a := commit(t, r, content{"f": "1"})
	lock := filepath.Join(r.Dir(), "refs", "notes", "models.lock")
	if err := os.MkdirAll(filepath.Dir(lock), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lock, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithCancelCause(ctx)
	gaveUp := errors.New("enough")
	tries := 0
	err := retry(soon, "write note", func() (bool, error) {
		if tries++; tries == 3 {
			cancel(gaveUp)
		}
		err := r.fastImport(ctx, notesRef, "", "m", fmt.Sprintf("N inline %s\ndata 1\nx\n", a))
		return errors.Is(err, errMoved), err
	})
	if !errors.Is(err, gaveUp) || !strings.Contains(err.Error(), "models.lock") {
		t.Errorf("error %v", err)
	}
	if tries != 3 {
		t.Errorf("%d tries", tries)
	}
}

// Writes run nothing that is configured or planted in the repository.
func TestWritesRunNothing(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	a := commit(t, r, content{"f": "1", ".gitattributes": "* filter=evil diff=evil\n"})
	b := commit(t, r, content{"f": "2", ".gitattributes": "* filter=evil diff=evil\n"}, a)
	marker := filepath.Join(t.TempDir(), "ran")
	script := filepath.Join(t.TempDir(), "evil")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$0 $*\" >> "+marker+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	plant(t, r, script)
	setRef(t, r, "refs/heads/main", b)
	if _, err := os.Stat(marker); err != nil {
		t.Fatal("the planted hook does not run with plain git")
	}
	if err := os.Remove(marker); err != nil {
		t.Fatal(err)
	}
	gone := gitmodels.CommitID(strings.Repeat("d", 40))
	for name, do := range map[string]func() error{
		"WriteNote":        func() error { return r.WriteNote(ctx, notesRef, a, "x\n") },
		"Keep":             func() error { return r.Keep(ctx, "refs/models/keep", a) },
		"WriteCommitGraph": func() error { return r.WriteCommitGraph(ctx) },
		"ConfigSet":        func() error { return r.ConfigSet(ctx, "models.layout", "solo") },
		"Config":           func() error { _, err := r.Config(ctx, "/nowhere"); return err },
		"ChangedPaths":     func() error { _, err := r.ChangedPaths(ctx, a, b); return err },
		"Files":            func() error { _, err := r.Files(ctx, a, []string{"f"}); return err },
		"IsAncestor":       func() error { _, err := r.IsAncestor(ctx, a, b); return err },
		"Count":            func() error { _, err := r.Count(ctx, a, b); return err },
		"Commit":           func() error { _, err := r.Commit(ctx, a); return err },
		"Refs":             func() error { _, err := r.Refs(ctx); return err },
		"RefsContaining":   func() error { _, err := r.RefsContaining(ctx, a); return err },
		"Notes":            func() error { _, err := r.Notes(ctx, notesRef); return err },
		"Peel":             func() error { _, err := r.Peel(ctx, "main"); return err },
		// In a partial clone, git would fetch what is missing.
		"missing": func() error {
			if _, err := r.ObjectType(ctx, gone); err != nil {
				return err
			}
			r.IsAncestor(ctx, gone, b)
			r.Files(ctx, gone, []string{"f"})
			r.Peel(ctx, string(gone))
			return nil
		},
	} {
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if ran, err := os.ReadFile(marker); err == nil {
			t.Errorf("%s ran: %s", name, ran)
			os.Remove(marker)
		}
	}
}

// In a repository shared by a group, what we write is the group's too.
func TestSharedRepository(t *testing.T) {
	t.Parallel()
	r := newBare(t, "--shared=group")
	gitIn(t, r.Dir(), "config", "core.logAllRefUpdates", "always")
	line(t, r, 20, "")
	ids := strings.Fields(gitIn(t, r.Dir(), "rev-list", "refs/heads/line"))
	for _, id := range ids {
		if err := r.WriteNote(ctx, notesRef, gitmodels.CommitID(id), "x "+id); err != nil {
			t.Fatal(err)
		}
		if err := r.Keep(ctx, "refs/models/keep", gitmodels.CommitID(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.WriteCommitGraph(ctx); err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{"objects", "refs", "logs"} {
		err := filepath.Walk(filepath.Join(r.Dir(), where), func(p string, info os.FileInfo, err error) error {
			if err != nil {
				return err
			}
			switch mode := info.Mode(); {
			case mode.IsDir() && mode.Perm()&0o070 != 0o070:
				t.Errorf("folder %s has the mode %v", p, mode)
			case !mode.IsDir() && where == "objects" && mode.Perm()&0o040 == 0:
				t.Errorf("object %s has the mode %v", p, mode)
			case !mode.IsDir() && where != "objects" && mode.Perm()&0o060 != 0o060:
				t.Errorf("%s has the mode %v", p, mode)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestWriteCommitGraph(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, r *Repo) {
		if err := r.WriteCommitGraph(ctx); err != nil {
			t.Errorf("in an empty repository: %v", err)
		}
		head := line(t, r, 50, "")
		chain := func() []string {
			data, err := os.ReadFile(filepath.Join(r.Dir(), "objects", "info", "commit-graphs", "commit-graph-chain"))
			if err != nil {
				t.Fatal(err)
			}
			return strings.Fields(string(data))
		}
		if err := r.WriteCommitGraph(ctx); err != nil {
			t.Fatal(err)
		}
		base := chain()
		line(t, r, 3, head)
		// A repository that turned the graph off still gets a fast ancestry.
		gitIn(t, r.Dir(), "config", "core.commitGraph", "false")
		if err := r.WriteCommitGraph(ctx); err != nil {
			t.Fatal(err)
		}
		if got := chain(); len(got) != 2 || got[0] != base[0] {
			t.Errorf("the chain is %v after %v", got, base)
		}
		gitIn(t, r.Dir(), "-c", "core.commitGraph=true", "commit-graph", "verify")
	})
}

// With a cancelled context nothing is begun, and a child that runs is ended.
func TestCancelled(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	a := commit(t, r, content{"f": "1"})
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := r.IsAncestor(gone, a, a); !errors.Is(err, context.Canceled) {
		t.Errorf("IsAncestor: %v", err)
	}
	if _, err := r.Files(gone, a, []string{"f"}); !errors.Is(err, context.Canceled) {
		t.Errorf("Files: %v", err)
	}
	if err := r.WriteNote(gone, notesRef, a, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("WriteNote: %v", err)
	}
	if _, ok, err := r.ReadNote(ctx, notesRef, a); ok || err != nil {
		t.Errorf("a cancelled write left a note: %v", err)
	}
	running, stop := context.WithCancel(ctx)
	hold, holdWriter, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	defer holdWriter.Close()
	c := r.call("cat-file", "--batch")
	c.stdin = hold
	ended := make(chan error, 1)
	go func() { _, err := run(running, c); ended <- err }()
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("a child that waits: %v", err)
	}
}
