package gitrepo

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/google/go-cmp/cmp"
)

func everything(string) bool { return true }

// packed is the context of a folder, unpacked by tar itself.
func packed(t testing.TB, r *Repo, id gitmodels.CommitID, folder string, keep func(string) bool) (map[string]string, gitmodels.ExportReport) {
	t.Helper()
	var stream bytes.Buffer
	report, err := r.Context(ctx, id, folder, keep, &stream)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tar", "-x", "-p", "-C", dir)
	cmd.Stdin = &stream
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return contents(t, dir), report
}

// The context of the whole tree is what Export unpacks, and that of a folder is
// that part of it.
func TestContextIsTheExport(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, r *Repo) {
		long := "src/" + strings.Repeat("long/", 30) + strings.Repeat("n", 200)
		id := commit(t, r, content{
			"src/Dockerfile":      "FROM scratch",
			"src/run":             "exec:#!/bin/sh",
			"src/odd\n\xff name":  "odd",
			"src/VERSION":         "$Format:%H$",
			"src/secret/key":      "left out",
			"src/here":            "link:run",
			"src/vendor/sub":      "submodule:" + strings.Repeat("a", r.IDLength()),
			".gitattributes":      "secret export-ignore\nsrc/VERSION export-subst\n",
			"srcs/other":          "another folder",
			long:                  "deep",
			"link":                "link:src/run",
			"top":                 "top",
			"src/[a]*/x":          "no pattern",
			"src/lfs":             "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
			"outside/lfs":         "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
			"src/[a]*/y":          "no pattern",
			"src/a/x":             "not named by it",
			"src/" + "ä/unicode":  "u",
			"src/.dockerignore":   "x",
			"src/empty":           "",
			"src/back\\slash.txt": "b",
		})
		dir := filepath.Join(t.TempDir(), "tree")
		if _, err := r.Export(ctx, id, dir); err != nil {
			t.Fatal(err)
		}
		whole := contents(t, dir)
		got, report := packed(t, r, id, ".", everything)
		if diff := cmp.Diff(whole, got); diff != "" {
			t.Errorf("the whole tree (-export +context):\n%s", diff)
		}
		if report.Files != 17 {
			t.Errorf("%d files in the report", report.Files)
		}
		part := contents(t, filepath.Join(dir, "src"))
		got, report = packed(t, r, id, "src", everything)
		if diff := cmp.Diff(part, got); diff != "" {
			t.Errorf("the folder (-export +context):\n%s", diff)
		}
		warnings := []string{"submodule vendor/sub is an empty folder: its files are not part of the commit", "lfs is a Git LFS pointer, not the file itself"}
		if diff := cmp.Diff(warnings, report.Warnings); diff != "" {
			t.Errorf("warnings: %s", diff)
		}
		got, _ = packed(t, r, id, "src/[a]*", everything)
		if diff := cmp.Diff(contents(t, filepath.Join(dir, "src/[a]*")), got); diff != "" {
			t.Errorf("a name with stars (-export +context):\n%s", diff)
		}
		var seen []string
		got, report = packed(t, r, id, "src", func(path string) bool {
			seen = append(seen, path)
			return path == "run" || strings.HasPrefix(path, "[a]*/")
		})
		kept := map[string]string{".": part["."], "run": part["run"], "[a]*": part["[a]*"], "[a]*/x": part["[a]*/x"], "[a]*/y": part["[a]*/y"],
			"vendor": part["vendor"], "vendor/sub": part["vendor/sub"]}
		if diff := cmp.Diff(kept, got); diff != "" {
			t.Errorf("what is kept (-want +got):\n%s", diff)
		}
		if report.Files != 3 || report.Bytes != int64(len("#!/bin/sh")+2*len("no pattern")) {
			t.Errorf("%d files of %d bytes in the report", report.Files, report.Bytes)
		}
		if len(seen) != 14 {
			t.Errorf("asked for %q", seen)
		}
	})
}

// The sum is equal for equal content, and for nothing else.
func TestContextSum(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	base := content{"src/a": "1", "src/b/c": "2", "src/l": "link:a", "deploy/params": "lr: 1"}
	sum := func(files content, folder string, parents ...gitmodels.CommitID) string {
		report, err := r.Context(ctx, commit(t, r, files, parents...), folder, everything, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Sum) != 64 {
			t.Fatalf("sum %q", report.Sum)
		}
		return report.Sum
	}
	with := func(changes content) content {
		files := maps.Clone(base)
		maps.Copy(files, changes)
		maps.DeleteFunc(files, func(_, v string) bool { return v == "" })
		return files
	}
	want := sum(base, "src")
	if got := sum(with(content{"deploy/params": "lr: 2"}), "src", commit(t, r, content{"x": "y"})); got != want {
		t.Error("another commit with the same folder has another sum")
	}
	sums := map[string]string{want: "nothing"}
	for name, files := range map[string]content{
		"content": with(content{"src/a": "2"}),
		"mode":    with(content{"src/a": "exec:1"}),
		"name":    with(content{"src/a": "", "src/A": "1"}),
		"more":    with(content{"src/d": "1"}),
		"less":    with(content{"src/b/c": ""}),
		"target":  with(content{"src/l": "link:b"}),
		"kind":    with(content{"src/l": "a"}),
		"shifted": with(content{"src/a": "12", "src/b/c": "", "src/b": "x"}),
	} {
		got := sum(files, "src")
		if other, ok := sums[got]; ok {
			t.Errorf("%s and %s changed have the same sum", name, other)
		}
		sums[got] = name
	}
}

// What is hostile is refused as in an export, before anything is written.
func TestContextRefuses(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	one := blob(t, r, "one")
	hostile := commitTree(t, r, rawTree(t, r, treeEntry{modeTree, "src", rawTree(t, r, treeEntry{modeFile | 0o644, "..", one})}), "hostile")
	var out bytes.Buffer
	_, err := r.Context(ctx, hostile, "src", everything, &out)
	wantKind(t, err, gitmodels.Invalid, "no file may be called ..")
	id := commit(t, r, content{"src/a": "12345", "src/out": "link:../../etc/passwd", "src/abs": "link:/etc/passwd", "src/up": "link:../top", "top": "t"})
	for folder, words := range map[string]string{"none": "none is no folder of the commit", "top": "top is no folder", "src/out": "is no folder", "../src": "the part .."} {
		_, err := r.Context(ctx, id, folder, everything, &out)
		wantKind(t, err, gitmodels.Invalid, words)
	}
	if out.Len() > 0 {
		t.Errorf("%d bytes were written", out.Len())
	}
	_, err = r.contextWithin(ctx, id, "src", everything, io.Discard, exportLimit{Bytes: 4})
	wantKind(t, err, gitmodels.Invalid, "over the limit of 4 bytes")
	report, err := r.Context(ctx, id, "src", everything, &out)
	if err != nil {
		t.Fatal(err)
	}
	warnings := []string{
		"link abs is left out: its target /etc/passwd is absolute",
		"link out is left out: its target ../../etc/passwd leads out of the tree",
		"link up is left out: its target ../top leads out of the tree",
	}
	if diff := cmp.Diff(warnings, report.Warnings); diff != "" {
		t.Error(diff)
	}
	in := tar.NewReader(&out)
	for {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil || h.Name != "a" {
			t.Fatalf("member %v: %v", h, err)
		}
	}
}

// Who reads the stream may give up: that is no fault of the commit.
func TestContextReaderGone(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	id := commit(t, r, content{"src/a": strings.Repeat("a", 1<<20)})
	gone := errors.New("gone")
	if _, err := r.Context(ctx, id, "src", everything, &failing{after: 4096, err: gone}); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}

// failing takes some bytes, and no more.
type failing struct {
	after int
	err   error
}

func (f *failing) Write(b []byte) (int, error) {
	if f.after -= len(b); f.after < 0 {
		return 0, f.err
	}
	return len(b), nil
}
