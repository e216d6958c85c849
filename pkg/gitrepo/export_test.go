package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/google/go-cmp/cmp"
)

// contents reads a folder back: path → mode and content or target.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			found[rel] = "-> " + target
			return err
		case d.IsDir():
			found[rel] = info.Mode().String()
		default:
			data, err := os.ReadFile(p)
			found[rel] = info.Mode().String() + " " + string(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// onlyChild fails if anything but dir is left beside it.
func onlyChild(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != filepath.Base(dir) {
			t.Errorf("%s is left behind", e.Name())
		}
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, r *Repo) {
		long := strings.Repeat("long/", 30) + strings.Repeat("n", 200)
		id := commit(t, r, content{
			"src/train.py":       "print(1)",
			"src/run":            "exec:#!/bin/sh",
			"empty":              "",
			"secret/key":         "left out",
			"only/ignored":       "left out",
			"VERSION":            "$Format:%H$",
			".gitattributes":     "secret export-ignore\nonly/ignored export-ignore\nVERSION export-subst\n",
			"odd\n\xff name":     "odd",
			"back\\slash":        "b",
			long:                 "deep",
			"here":               "link:src/train.py",
			"src/up":             "link:../empty",
			"src/dangling":       "link:nothing/yet",
			"folder":             "link:src",
			"vendor/sub":         "submodule:" + strings.Repeat("a", r.IDLength()),
			"data.bin":           "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
			"README":             "a",
			"readme":             "b",
			strings.ToUpper("ä"): "c",
			"ä":                  "d",
		})
		dir := filepath.Join(t.TempDir(), "tree")
		report, err := r.Export(ctx, id, dir)
		if err != nil {
			t.Fatal(err)
		}
		folder, file, exec := "drwxr-xr-x", "-rw-r--r-- ", "-rwxr-xr-x "
		want := map[string]string{
			".": folder, "only": folder, "src": folder, "vendor": folder, "vendor/sub": folder,
			"src/train.py": file + "print(1)", "src/run": exec + "#!/bin/sh", "empty": file,
			"VERSION": file + string(id), "odd\n\xff name": file + "odd", "back\\slash": file + "b",
			".gitattributes": file + "secret export-ignore\nonly/ignored export-ignore\nVERSION export-subst\n",
			long:             file + "deep",
			"here":           "-> src/train.py", "src/up": "-> ../empty", "src/dangling": "-> nothing/yet", "folder": "-> src",
			"data.bin": file + "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
			"README":   file + "a", "readme": file + "b", "Ä": file + "c", "ä": file + "d",
		}
		for p := filepath.Dir(long); p != "."; p = filepath.Dir(p) {
			want[p] = folder
		}
		if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
			t.Errorf("exported (-want +got):\n%s", diff)
		}
		warnings := []string{
			"submodule vendor/sub is an empty folder: its files are not part of the commit",
			"data.bin is a Git LFS pointer, not the file itself",
			"README and readme differ only in case",
			"Ä and ä differ only in case",
		}
		if diff := cmp.Diff(warnings, report.Warnings); diff != "" {
			t.Errorf("warnings: %s", diff)
		}
		if report.Files != 13 {
			t.Errorf("report has %d files", report.Files)
		}
		onlyChild(t, dir)
	})
}

// Modes do not depend on the umask. Not parallel: the umask is the process's.
func TestExportWhateverTheUmask(t *testing.T) {
	r := newBare(t)
	id := commit(t, r, content{"a/run": "exec:x", "a/f": "y"})
	dir := filepath.Join(t.TempDir(), "tree")
	old := syscall.Umask(0o077)
	_, err := r.Export(ctx, id, dir)
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{".": "drwxr-xr-x", "a": "drwxr-xr-x", "a/run": "-rwxr-xr-x x", "a/f": "-rw-r--r-- y"}
	if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// Links leave the tree in many ways; none is written that does.
func TestExportLinks(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	links := content{
		"a/b/c/file":   "x",
		"absolute":     "link:/etc/passwd",
		"root":         "link:/",
		"up":           "link:..",
		"a/up":         "link:../../x",
		"self":         "link:self",
		"circle1":      "link:circle2",
		"circle2":      "link:circle1",
		"dot":          "link:.",
		"tricky":       "link:dot/..",           // by the letter it is the root, in truth above it
		"a/deep":       "link:b/c",              //
		"over":         "link:a/deep/../../../", // leads to the root: the parents of a/b/c
		"overboard":    "link:a/deep/../../../..",
		"through":      "link:up/x",
		"to-absolute":  "link:absolute",
		"into-circle":  "link:circle1/x",
		"fine":         "link:a/b/../b/c/file",
		"a/fine":       "link:../fine",
		"spaced":       "link: odd \n",
		"below a file": "link:a/b/c/file/../x",
		"slashes":      "link:a//b///c/",
	}
	for i := range 45 {
		links[fmt.Sprintf("chain%02d", i)] = fmt.Sprintf("link:chain%02d", i+1)
	}
	links["chain45"] = "end"
	id := commit(t, r, links)
	dir := filepath.Join(t.TempDir(), "tree")
	report, err := r.Export(ctx, id, dir)
	if err != nil {
		t.Fatal(err)
	}
	gone := map[string]string{
		"absolute": "is absolute", "root": "is absolute", "up": "leads out of the tree", "a/up": "leads out of the tree",
		"self": "leads in a circle", "circle1": "leads in a circle", "circle2": "leads in a circle",
		"tricky": "leads out of the tree", "overboard": "leads out of the tree", "through": "leads out of the tree",
		"to-absolute": "leads to an absolute link", "into-circle": "leads in a circle",
		"chain00": "leads in a circle", "chain01": "leads in a circle", "chain02": "leads in a circle",
		"chain03": "leads in a circle", "chain04": "leads in a circle",
	}
	got := contents(t, dir)
	for name, value := range links {
		target, isLink := strings.CutPrefix(value, "link:")
		why, dropped := gone[name]
		switch {
		case !isLink:
		case dropped:
			if got[name] != "" {
				t.Errorf("%s -> %s is there", name, target)
			}
			want := fmt.Sprintf("link %s is left out: its target %s %s", name, target, why)
			if !slices.Contains(report.Warnings, want) {
				t.Errorf("no warning %q in\n%s", want, strings.Join(report.Warnings, "\n"))
			}
		case got[name] != "-> "+target:
			t.Errorf("%s = %q, want -> %s", name, got[name], target)
		}
	}
	if len(report.Warnings) != len(gone) {
		t.Errorf("%d warnings, want %d:\n%s", len(report.Warnings), len(gone), strings.Join(report.Warnings, "\n"))
	}
	// The kernel agrees: whatever resolves stays inside.
	for name := range got {
		if real, err := filepath.EvalSymlinks(filepath.Join(dir, name)); err == nil && real != dir && !strings.HasPrefix(real, dir+"/") {
			t.Errorf("%s leads to %s", name, real)
		}
	}
}

func TestExportHostileTrees(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	one := blob(t, r, "one")
	file := func(name string) treeEntry { return treeEntry{modeFile | 0o644, name, one} }
	for name, tc := range map[string]struct {
		entries []treeEntry
		words   string
	}{
		"dotdot":       {[]treeEntry{file("..")}, "no file may be called .."},
		"dot":          {[]treeEntry{file(".")}, "no file may be called ."},
		"git":          {[]treeEntry{{modeTree, ".git", rawTree(t, r, file("config"))}}, "no file may be called .git"},
		"GIT":          {[]treeEntry{{modeTree, "a", rawTree(t, r, file(".GiT"))}}, "no file may be called .GiT"},
		"slash":        {[]treeEntry{file("../../evil")}, "a slash"},
		"absolute":     {[]treeEntry{file("/etc/evil")}, "a slash"},
		"empty":        {[]treeEntry{file("")}, "a name is empty"},
		"folder up":    {[]treeEntry{{modeTree, "..", rawTree(t, r, file("evil"))}}, "no file may be called .."},
		"twice":        {[]treeEntry{file("a"), file("a")}, "lists it twice"},
		"link, folder": {[]treeEntry{{modeLink, "a", blob(t, r, "/tmp")}, {modeTree, "a", rawTree(t, r, file("evil"))}}, "lists it twice"},
		"mode":         {[]treeEntry{{0o020000, "device", one}}, "git knows no mode 20000"},
		"long name":    {[]treeEntry{file(strings.Repeat("n", 256))}, "longer than 255 bytes"},
		"link NUL":     {[]treeEntry{{modeLink, "l", blob(t, r, "a\x00b")}}, "its link target is no path"},
		"link empty":   {[]treeEntry{{modeLink, "l", blob(t, r, "")}}, "its link target is no path"},
		"link long":    {[]treeEntry{{modeLink, "l", blob(t, r, strings.Repeat("t", 4096))}}, "its link target is no path"},
		"link tree":    {[]treeEntry{{modeLink, "l", rawTree(t, r, file("x"))}}, "its link target is no path"},
		"not a tree":   {[]treeEntry{{modeTree, "t", one}}, "want a tree"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "tree")
			_, err := r.Export(ctx, commitTree(t, r, rawTree(t, r, tc.entries...), "hostile"), dir)
			wantKind(t, err, gitmodels.Invalid, tc.words)
			onlyChild(t, dir)
			if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a refused export is there: %v", err)
			}
		})
	}
}

func TestExportLimits(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	id := commit(t, r, content{"a/b/c": "12345", "d": "12345", "e": "1234567"})
	for name, tc := range map[string]struct {
		limit exportLimit
		words string
	}{
		"entries": {exportLimit{Entries: 4}, "more than 4 files"},
		"bytes":   {exportLimit{Bytes: 16}, "over the limit of 16 bytes"},
		"file":    {exportLimit{FileSize: 6}, "it is 7 bytes, the limit is 6"},
		"depth":   {exportLimit{Depth: 2}, "more than 2 folders deep"},
		"path":    {exportLimit{Path: 4}, "longer than 4 bytes"},
	} {
		dir := filepath.Join(t.TempDir(), "tree")
		_, err := r.exportWithin(ctx, id, dir, tc.limit)
		wantKind(t, err, gitmodels.Invalid, tc.words)
		onlyChild(t, dir)
		if _, err := os.Lstat(dir); err == nil {
			t.Errorf("%s: the folder is there", name)
		}
	}
	dir := filepath.Join(t.TempDir(), "tree")
	if _, err := r.exportWithin(ctx, id, dir, exportLimit{Entries: 5, Bytes: 17, FileSize: 7, Depth: 3, Path: 5}); err != nil {
		t.Errorf("at its limits: %v", err)
	}
}

// A few objects that unfold to millions of paths, and folders without end, are
// refused before git meets them.
func TestExportBombs(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	bomb := rawTree(t, r, treeEntry{modeFile | 0o644, "f", blob(t, r, "x")})
	for range 10 {
		var entries []treeEntry
		for i := range 10 {
			entries = append(entries, treeEntry{modeTree, fmt.Sprint(i), bomb})
		}
		bomb = rawTree(t, r, entries...)
	}
	dir := filepath.Join(t.TempDir(), "tree")
	_, err := r.exportWithin(ctx, commitTree(t, r, bomb, "bomb"), dir, exportLimit{Entries: 100_000})
	wantKind(t, err, gitmodels.Invalid, "more than 100000 files")

	deep := rawTree(t, r, treeEntry{modeFile | 0o644, "f", blob(t, r, "x")})
	for range 80 {
		deep = rawTree(t, r, treeEntry{modeTree, "d", deep})
	}
	_, err = r.Export(ctx, commitTree(t, r, deep, "deep"), dir)
	wantKind(t, err, gitmodels.Invalid, "more than 64 folders deep")
}

func TestExportWarningsAreBounded(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	files := content{}
	for i := range 100 {
		files[fmt.Sprintf("l%d", i)] = "link:/etc"
	}
	report := must(r.Export(ctx, commit(t, r, files), filepath.Join(t.TempDir(), "tree")))(t)
	if n := len(report.Warnings); n != maxWarnings+1 || report.Warnings[n-1] != "and more of the same" {
		t.Errorf("%d warnings, the last is %q", n, report.Warnings[n-1])
	}
}

// Links that lead through each other cannot keep the server busy.
func TestExportLinkMaze(t *testing.T) {
	t.Parallel()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	u := newUnpacker(root, defaultExportLimit, nil)
	for i := range 300 {
		u.links[fmt.Sprintf("l%03d", i)] = strings.Repeat("./", 1000) + fmt.Sprintf("l%03d", (i+1)%290)
	}
	wantKind(t, u.finish(), gitmodels.Invalid, "through each other too often")
}

// Nothing that is configured in the repository, or selected by the commit, runs.
func TestExportRunsNothing(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	marker := filepath.Join(t.TempDir(), "ran")
	script := filepath.Join(t.TempDir(), "evil")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$0 $*\" >> "+marker+"\ncat\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	plant(t, r, script)
	id := commit(t, r, content{".gitattributes": "* filter=evil diff=evil\nsubst export-subst\n", "f": "plain\n", "subst": "$Format:%G? %GS$ $Format:%(describe)$"})
	dir := filepath.Join(t.TempDir(), "tree")
	// The fixture bites: plain git runs it.
	gitIn(t, r.Dir(), "archive", "--format=tar", string(id))
	if _, err := os.Stat(marker); err != nil {
		t.Fatal("the planted filter does not run with plain git")
	}
	if err := os.Remove(marker); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Export(ctx, id, dir); err != nil {
		t.Fatal(err)
	}
	if ran, err := os.ReadFile(marker); err == nil {
		t.Errorf("ran: %s", ran)
	}
	if got := contents(t, dir)["f"]; got != "-rw-r--r-- plain\n" {
		t.Errorf("f = %q", got)
	}
}

// plant configures script wherever git can be told to run something.
func plant(t testing.TB, r *Repo, script string) {
	t.Helper()
	for _, key := range []string{
		"filter.evil.smudge", "filter.evil.clean", "filter.evil.process", "diff.evil.textconv", "diff.evil.command",
		"diff.external", "core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "core.gitProxy",
		"core.askPass", "core.alternateRefsCommand", "gpg.program", "gpg.ssh.program", "credential.helper",
		"tar.tar.command", "uploadpack.packObjectsHook", "remote.origin.uploadpack", "remote.origin.vcs", "sequence.editor",
		"notes.rewrite.evil", "interactive.diffFilter", "trailer.evil.command",
	} {
		if key == "filter.evil.process" {
			continue // git asks it to speak a protocol, and then ignores smudge
		}
		gitIn(t, r.Dir(), "config", key, script)
	}
	gitIn(t, r.Dir(), "config", "filter.evil.required", "true")
	gitIn(t, r.Dir(), "config", "remote.origin.url", "ext::"+script)
	gitIn(t, r.Dir(), "config", "remote.origin.promisor", "true")
	gitIn(t, r.Dir(), "config", "extensions.partialClone", "origin")
	gitIn(t, r.Dir(), "config", "core.repositoryFormatVersion", "1")
	gitIn(t, r.Dir(), "config", "commit.gpgSign", "true")
	gitIn(t, r.Dir(), "config", "gc.auto", "1")
	hooks := filepath.Join(r.Dir(), "hooks")
	if err := os.MkdirAll(hooks, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"reference-transaction", "post-update", "pre-commit", "post-commit", "prepare-commit-msg", "commit-msg", "post-rewrite", "pre-auto-gc", "fsmonitor-watchman"} {
		if err := os.Symlink(script, filepath.Join(hooks, name)); err != nil {
			t.Fatal(err)
		}
	}
	gitIn(t, r.Dir(), "config", "core.hooksPath", hooks)
	if err := os.MkdirAll(filepath.Join(r.Dir(), "info"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.Dir(), "info", "attributes"), []byte("* filter=evil\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestExportInPlace(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	id := commit(t, r, content{"f": "1"})
	parent := t.TempDir()
	dir := filepath.Join(parent, "tree")

	// What a killed export left is cleared away.
	left := filepath.Join(parent, ".tree.export-123", "tree")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil { // an empty folder may be replaced
		t.Fatal(err)
	}
	if _, err := r.Export(ctx, id, dir); err != nil {
		t.Fatal(err)
	}
	onlyChild(t, dir)

	_, err := r.Export(ctx, id, dir)
	wantKind(t, err, gitmodels.Invalid, "is not empty")
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v is no fs.ErrExist", err)
	}
	_, err = r.Export(ctx, gitmodels.CommitID(strings.Repeat("d", 40)), filepath.Join(parent, "x"))
	wantKind(t, err, gitmodels.NotFound, "no commit")
	if _, err := r.Export(ctx, id, filepath.Join(parent, "no", "parent")); err == nil {
		t.Error("an export into a folder without a parent succeeded")
	}
}

// A blob that cannot be read ends the export: an incomplete tree is never put
// in place.
func TestExportBrokenObject(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	id := commit(t, r, content{"a": "1", "b": "2", "c": "3"})
	corrupt(t, r, blob(t, r, "2"))
	dir := filepath.Join(t.TempDir(), "tree")
	_, err := r.Export(ctx, id, dir)
	if err == nil || gitmodels.KindOf(err) != gitmodels.Internal {
		t.Fatalf("error %v", err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("an incomplete tree is there")
	}
	onlyChild(t, dir)
}

func TestExportCancelled(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	id := commit(t, r, content{"a": "1"})
	gone, cancel := context.WithCancel(ctx)
	cancel()
	dir := filepath.Join(t.TempDir(), "tree")
	if _, err := r.Export(gone, id, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	onlyChild(t, dir)
}
