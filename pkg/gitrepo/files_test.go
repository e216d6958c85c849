package gitrepo

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/google/go-cmp/cmp"
)

func TestFiles(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, r *Repo) {
		big := strings.Repeat("x", gitmodels.MaxPipelineFile+1)
		exact := big[1:]
		sub := strings.Repeat("a", r.IDLength())
		id := commit(t, r, content{
			".models.yaml":            "train: {}\n",
			"deploy/a/b/params.yaml":  "lr: 1",
			"deploy/run":              "exec:#!/bin/sh",
			"empty":                   "",
			"huge":                    big,
			"exact":                   exact,
			"link":                    "link:.models.yaml",
			"folder":                  "link:deploy",
			"vendor/sub":              "submodule:" + sub,
			"sp ace/\xff not utf8 \"": "odd",
		})
		file := func(path, data string) gitmodels.TreeFile {
			return gitmodels.TreeFile{Path: path, Kind: gitmodels.KindFile, Size: int64(len(data)), Data: []byte(data)}
		}
		want := []gitmodels.TreeFile{
			file(".models.yaml", "train: {}\n"),
			file("deploy/a/b/params.yaml", "lr: 1"),
			file("deploy/run", "#!/bin/sh"),
			file("empty", ""),
			// Too large in the middle: those after it are read all the same.
			{Path: "huge", Kind: gitmodels.KindTooLarge, Size: int64(len(big))},
			file("exact", exact),
			{Path: "link", Kind: gitmodels.KindLink, Link: "link"},
			{Path: "folder/a/b/params.yaml", Kind: gitmodels.KindLink, Link: "folder"},
			{Path: "link/x", Kind: gitmodels.KindLink, Link: "link"},
			{Path: "deploy/a", Kind: gitmodels.KindFolder},
			{Path: "vendor/sub", Kind: gitmodels.KindSubmodule},
			{Path: "vendor/sub/x/y", Kind: gitmodels.KindSubmodule},
			{Path: "nothing", Kind: gitmodels.KindAbsent},
			{Path: "deploy/nothing/at/all", Kind: gitmodels.KindAbsent},
			{Path: "empty/below a file", Kind: gitmodels.KindAbsent},
			{Path: "DEPLOY/run", Kind: gitmodels.KindAbsent},
			file("sp ace/\xff not utf8 \"", "odd"),
		}
		var paths []string
		wanted := map[string]gitmodels.TreeFile{}
		for _, f := range want {
			paths = append(paths, f.Path, f.Path)
			wanted[f.Path] = f
		}
		for _, state := range []string{"loose", "packed"} {
			if state == "packed" {
				setRef(t, r, "refs/heads/main", id)
				gitIn(t, r.Dir(), "-c", "protocol.file.allow=always", "repack", "-q", "-a", "-d")
			}
			if diff := cmp.Diff(wanted, must(r.Files(ctx, id, paths))(t), cmp.Comparer(bytes.Equal)); diff != "" {
				t.Errorf("%s: %s", state, diff)
			}
		}
		if got := must(r.Files(ctx, id, nil))(t); len(got) != 0 {
			t.Errorf("Files without paths = %v", got)
		}
	})
}

func TestFilesRefusesPaths(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	id := commit(t, r, content{"a/b": "1"})
	for path, why := range map[string]string{
		"":         "an empty part",
		"/a/b":     "a leading slash",
		"a//b":     "an empty part",
		"a/b/":     "an empty part",
		"./a":      "the part .",
		"a/../a/b": "the part ..",
		"..":       "the part ..",
		"a\nb":     "a control character",
		"a/b\x00":  "a control character",
	} {
		_, err := r.Files(ctx, id, []string{"a/b", path})
		wantKind(t, err, gitmodels.Invalid, why)
	}
}

// Trees that no git command makes are refused or read to the letter, never
// misread.
func TestFilesOfHostileTrees(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	one, two := blob(t, r, "one"), blob(t, r, "two")
	inner := rawTree(t, r, treeEntry{modeFile | 0o644, "x", one})
	read := func(path string, entries ...treeEntry) (gitmodels.TreeFile, error) {
		id := commitTree(t, r, rawTree(t, r, entries...), "hostile")
		files, err := r.Files(ctx, id, []string{path})
		return files[path], err
	}
	_, err := read("f", treeEntry{modeFile | 0o644, "f", one}, treeEntry{modeFile | 0o644, "f", two})
	wantKind(t, err, gitmodels.Invalid, "lists f twice")
	_, err = read("f/x", treeEntry{modeFile | 0o644, "f", one}, treeEntry{modeTree, "f", inner})
	wantKind(t, err, gitmodels.Invalid, "lists f twice")
	_, err = read("f", treeEntry{modeFile | 0o644, "f", inner})
	wantKind(t, err, gitmodels.Invalid, "is a tree")
	_, err = read("f/x", treeEntry{modeTree, "f", one})
	wantKind(t, err, gitmodels.Invalid, "is a blob, want a tree")
	_, err = read("f", treeEntry{0o010644, "f", one})
	wantKind(t, err, gitmodels.Invalid, "mode 10644")
	if _, err = read("f", treeEntry{modeFile | 0o644, "f", strings.Repeat("d", 40)}); err == nil || gitmodels.KindOf(err) != gitmodels.Internal {
		t.Errorf("a blob that is not there: %v", err)
	}
	// A name with a slash in it is one name, and is not what the path means.
	f, err := read("a/x", treeEntry{modeFile | 0o644, "a/x", two}, treeEntry{modeTree, "a", inner})
	if err != nil || string(f.Data) != "one" {
		t.Errorf("a/x beside a name with a slash = %q, %v", f.Data, err)
	}
	if f, err := read("f", treeEntry{modeFile | 0o7777, "f", one}); err != nil || f.Kind != gitmodels.KindFile {
		t.Errorf("a file with odd permissions = %v, %v", f, err)
	}
	for _, junk := range []string{"no mode", "100644 cut\x00short", "9 x\x00" + strings.Repeat("i", 20), " x\x00" + strings.Repeat("i", 20)} {
		id := gitInput(t, r.Dir(), []byte(junk), "hash-object", "-w", "-t", "tree", "--literally", "--stdin")
		_, err := r.Files(ctx, commitTree(t, r, id, "junk"), []string{"f"})
		wantKind(t, err, gitmodels.Invalid, "entry 1")
	}
}

func TestFilesTreeTooLarge(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	name := strings.Repeat("n", 4000)
	var b strings.Builder
	for i := 0; b.Len() <= maxTree; i++ {
		fmt.Fprintf(&b, "100644 %s%08d\x00%s", name, i, strings.Repeat("i", 20))
	}
	id := gitInput(t, r.Dir(), []byte(b.String()), "hash-object", "-w", "-t", "tree", "--literally", "--stdin")
	_, err := r.Files(ctx, commitTree(t, r, id, "large"), []string{"f"})
	wantKind(t, err, gitmodels.Invalid, "the limit is")
}

func FuzzParseTree(f *testing.F) {
	f.Add([]byte("100644 a\x00aaaaaaaaaaaaaaaaaaaa40000 b\x00bbbbbbbbbbbbbbbbbbbb"), 20)
	f.Add([]byte("100644 \x00"), 32)
	f.Fuzz(func(t *testing.T, data []byte, idBytes int) {
		if idBytes != 20 && idBytes != 32 {
			t.Skip()
		}
		entries, err := treeData{"x", data, idBytes}.entries()
		if err != nil {
			return
		}
		var b strings.Builder
		for _, e := range entries {
			if len(e.id) != 2*idBytes || strings.ContainsRune(e.name, 0) {
				t.Fatalf("entry %+v", e)
			}
			var id []byte
			fmt.Sscanf(e.id, "%x", &id)
			fmt.Fprintf(&b, "%o %s\x00%s", e.mode, e.name, id)
		}
		again, err := treeData{"x", []byte(b.String()), idBytes}.entries()
		if err != nil || len(again) != len(entries) {
			t.Fatalf("read back: %d entries, %v", len(again), err)
		}
		if diff := cmp.Diff(entries, again, cmp.AllowUnexported(treeEntry{})); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzParseCommit(f *testing.F) {
	f.Add([]byte("tree " + strings.Repeat("a", 40) + "\nauthor A <a@b> 1 +0000\n\nsubject\n"))
	f.Add([]byte("tree " + strings.Repeat("a", 64) + "\nauthor <<>> -1 -9999\nencoding x\n\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := parseCommit(data)
		if err == nil && info.Tree == "" {
			t.Fatal("a commit without a tree passed")
		}
		if strings.ContainsAny(info.Subject, "\n") {
			t.Fatalf("subject %q has lines", info.Subject)
		}
	})
}

func TestList(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, r *Repo) {
		id := commit(t, r, content{
			"src/a.py":             "",
			"src/run":              "exec:#!/bin/sh",
			"src/data/x":           "",
			"src/link":             "link:nowhere",
			"src/vendor":           "submodule:" + strings.Repeat("a", r.IDLength()),
			"src/od\nd \xff name":  "",
			"src/huge":             strings.Repeat("x", gitmodels.MaxPipelineFile+1),
			"elsewhere/not/wanted": "",
		})
		want := []gitmodels.TreeEntry{
			{Name: "a.py", Kind: gitmodels.KindFile}, {Name: "data", Kind: gitmodels.KindFolder},
			{Name: "huge", Kind: gitmodels.KindFile}, {Name: "link", Kind: gitmodels.KindLink},
			{Name: "od\nd \xff name", Kind: gitmodels.KindFile}, {Name: "run", Kind: gitmodels.KindFile},
			{Name: "vendor", Kind: gitmodels.KindSubmodule},
		}
		session := r.Session(t.Context())
		defer session.Close()
		for name, from := range map[string]interface {
			List(context.Context, gitmodels.CommitID, string, int) ([]gitmodels.TreeEntry, error)
		}{"repository": r, "session": session} {
			if diff := cmp.Diff(want, must(from.List(t.Context(), id, "src", 100))(t)); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
			if diff := cmp.Diff(want[:2], must(from.List(t.Context(), id, "src", 2))(t)); diff != "" {
				t.Errorf("%s, the first two: %s", name, diff)
			}
			if diff := cmp.Diff([]gitmodels.TreeEntry{{Name: "x", Kind: gitmodels.KindFile}}, must(from.List(t.Context(), id, "src/data", 9))(t)); diff != "" {
				t.Errorf("%s, deeper: %s", name, diff)
			}
			for _, folder := range []string{"nothing", "src/a.py", "src/link", "src/vendor", "src/a.py/x", "SRC"} {
				_, err := from.List(t.Context(), id, folder, 9)
				wantKind(t, err, gitmodels.NotFound, "no folder "+folder)
			}
			for _, folder := range []string{"", "../src", "/src", "src/", "s\nrc"} {
				_, err := from.List(t.Context(), id, folder, 9)
				wantKind(t, err, gitmodels.Invalid, "want a path inside the repository")
			}
		}
	})
}

// Trees that git would not have made are listed as they stand, or refused.
func TestListOddTree(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, r *Repo) {
		b := blob(t, r, "x")
		odd := rawTree(t, r, treeEntry{modeFile | 0o644, "..", b}, treeEntry{modeFile | 0o644, "a/b", b}, treeEntry{modeFile, "a/b", b})
		id := commitTree(t, r, rawTree(t, r, treeEntry{modeTree, "src", odd}), "odd")
		want := []gitmodels.TreeEntry{{Name: "..", Kind: gitmodels.KindFile}, {Name: "a/b", Kind: gitmodels.KindFile}, {Name: "a/b", Kind: gitmodels.KindFile}}
		if diff := cmp.Diff(want, must(r.List(t.Context(), id, "src", 9))(t)); diff != "" {
			t.Error(diff)
		}
		odd = rawTree(t, r, treeEntry{0o010644, "pipe", b})
		id = commitTree(t, r, rawTree(t, r, treeEntry{modeTree, "src", odd}), "a pipe")
		_, err := r.List(t.Context(), id, "src", 9)
		wantKind(t, err, gitmodels.Invalid, "which git does not know")
	})
}
