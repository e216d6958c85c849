package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// TestMain makes the test binary a Put that dies: see TestPutDies.
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "put" {
		d := New(os.Args[2])
		d.free = func(string) (int64, error) { return 1 << 40, nil }
		if _, _, err := d.Put(context.Background(), os.Args[3], os.Args[4]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// results makes a folder of a job.
func results(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// stored reads a folder back: path → content.
func stored(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		found[strings.TrimPrefix(p, dir+"/")] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func TestPut(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	d := New(home)
	want := map[string]string{"model.bin": "weights", "deep/er/x": "1", "empty": "", "name with space": "2", "é": "3"}
	src := results(t, want)
	if err := os.Mkdir(src+"/bare", 0o755); err != nil {
		t.Fatal(err)
	}
	uri := gitmodels.FileURI(home + "/store/dogs/artifacts/5a32b0f")
	for range 2 { // the second changes nothing
		files, warnings, err := d.Put(context.Background(), uri, src)
		if err != nil || len(warnings) > 0 {
			t.Fatal(err, warnings)
		}
		if d := cmp.Diff([]gitmodels.File{
			{Path: "deep/er/x", Size: 1, SHA256: sum("1")},
			{Path: "empty", Size: 0, SHA256: sum("")},
			{Path: "model.bin", Size: 7, SHA256: sum("weights")},
			{Path: "name with space", Size: 1, SHA256: sum("2")},
			{Path: "é", Size: 1, SHA256: sum("3")},
		}, files); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(want, stored(t, home+"/store/dogs/artifacts/5a32b0f")); d != "" {
			t.Error(d)
		}
	}
	only(t, home+"/store/dogs/artifacts", "5a32b0f")
}

// only checks that nothing else is left beside the prefix.
func only(t *testing.T, dir string, names ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, names) {
		t.Errorf("%s holds %q, want %q", dir, got, names)
	}
}

func TestFinish(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	d := New(home)
	ctx := context.Background()
	uri := gitmodels.FileURI(home + "/store/dogs/metrics/5a32b0f")
	first, other := results(t, map[string]string{"a": "1"}), results(t, map[string]string{"a": "2"})

	if _, _, err := d.Put(ctx, uri, other); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Put(ctx, uri, first); err != nil { // not finished: replaced
		t.Fatal(err)
	}
	for range 2 {
		if err := d.Finish(ctx, uri, []byte(`{"run":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Finish(ctx, uri, []byte(`{"run":2}`)); gitmodels.KindOf(err) != gitmodels.Invalid {
		t.Errorf("other content: %v", err)
	}
	if files, _, err := d.Put(ctx, uri, first); err != nil || len(files) != 1 {
		t.Errorf("the same again: %v %v", files, err)
	}
	if _, _, err := d.Put(ctx, uri, other); gitmodels.KindOf(err) != gitmodels.Invalid || !strings.Contains(err.Error(), "holds a finished run of other content") {
		t.Errorf("another run's: %v", err)
	}
	if d := cmp.Diff(map[string]string{"a": "1", "run.json": `{"run":1}`}, stored(t, home+"/store/dogs/metrics/5a32b0f")); d != "" {
		t.Error(d)
	}
	only(t, home+"/store/dogs/metrics", "5a32b0f")
	if err := d.Finish(ctx, gitmodels.FileURI(home+"/store/dogs/metrics/empty"), []byte("{}")); err != nil {
		t.Error("without a Put: ", err)
	}
}

// TestBelowAFinishedRun: logs are put below the metrics; when all is finished,
// each Put may be repeated, and no other run's gets in.
func TestBelowAFinishedRun(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	d := New(home)
	uri := gitmodels.FileURI(home + "/store/dogs/metrics/5a32b0f")
	values, logs, other := results(t, map[string]string{"z.jsonl": "1"}), results(t, map[string]string{"train.log": "2"}), results(t, map[string]string{"train.log": "3"})
	for round := range 2 {
		if err := errors.Join(put(d, uri, values), put(d, uri+"/logs", logs), d.Finish(context.Background(), uri, []byte("{}"))); err != nil {
			t.Fatal(round, err)
		}
	}
	for _, below := range []string{"/logs", "/logs/deeper", "/new"} {
		if err := put(d, uri+below, other); gitmodels.KindOf(err) != gitmodels.Invalid {
			t.Errorf("%s: %v", below, err)
		}
	}
	if d := cmp.Diff(map[string]string{"z.jsonl": "1", "logs/train.log": "2", "run.json": "{}"}, stored(t, home+"/store/dogs/metrics/5a32b0f")); d != "" {
		t.Error(d)
	}
}

func TestHostileResults(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	src := results(t, map[string]string{"ok": "1", "run.json": "forged", "deep/run.json": "its own", "bad\nname": "x", "bad\xffname": "y", ".run.json.partial": "forged"})
	for link, to := range map[string]string{"link": secret, "up": "../..", "inside": "ok", "loop": "."} {
		if err := os.Symlink(to, filepath.Join(src, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(unix.Mkfifo(src+"/pipe", 0o600), os.Link(src+"/ok", src+"/hard")); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", src+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	deep := src + strings.Repeat("/d", MaxFolders+2)
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(deep+"/lost", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := New(home).Put(context.Background(), gitmodels.FileURI(home+"/store/x"), src)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"ok": "1", "hard": "1", "deep/run.json": "its own"}, stored(t, home+"/store/x")); d != "" {
		t.Error(d)
	}
	all := strings.Join(warnings, "\n")
	for _, want := range []string{"link is left out: it is a symbolic link", "up is left out", "inside is left out", "loop is left out", "pipe is left out: it is a pipe", "socket is left out: it is a socket",
		"store: run.json is left out: this name is the run's own record", `bad\x0aname is left out`, `bad\xffname is left out`, "folders go deeper than 32"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in:\n%s", want, all)
		}
	}
	if strings.Contains(all, "bad\n") {
		t.Errorf("a raw name in:\n%s", all)
	}
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		t.Skip("root reads everything")
	}
	home := t.TempDir()
	src := results(t, map[string]string{"ok": "1", "closed": "2", "folder/x": "3"})
	if err := errors.Join(os.Chmod(src+"/closed", 0), os.Chmod(src+"/folder", 0)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(src+"/folder", 0o700) })
	files, warnings, err := New(home).Put(context.Background(), gitmodels.FileURI(home+"/store/x"), src)
	if err != nil || len(files) != 1 || len(warnings) != 2 {
		t.Errorf("%v %q %v", files, warnings, err)
	}
}

func TestSparseAndHoles(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	src := results(t, map[string]string{"sparse": "head"})
	const length = 64 << 20
	f, err := os.OpenFile(src+"/sparse", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("tail"), length-4); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	d := New(home)
	d.free = func(string) (int64, error) { return spare + 1<<20, nil } // room for what it takes, not for its length
	files, _, err := d.Put(context.Background(), gitmodels.FileURI(home+"/store/x"), src)
	if err != nil || files[0].Size != length {
		t.Fatal(files, err)
	}
	in, err := os.ReadFile(src + "/sparse")
	if err != nil || files[0].SHA256 != sum(string(in)) {
		t.Errorf("checksum %s, %v", files[0].SHA256, err)
	}
	out, err := os.ReadFile(home + "/store/x/sparse")
	if err != nil || string(out) != string(in) {
		t.Errorf("the copy differs: %v", err)
	}
	info, err := os.Stat(home + "/store/x/sparse")
	if err != nil {
		t.Fatal(err)
	}
	if taken := info.Sys().(*syscall.Stat_t).Blocks * 512; taken > 4<<20 {
		t.Errorf("the copy takes %d bytes", taken)
	}
}

// Holes cost a job nothing, but who copies them reads every byte: a terabyte of
// them would hold the runner for an hour.
func TestTooManyHoles(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	src := results(t, map[string]string{"model": "weights", "vast": "x"})
	if err := os.Truncate(src+"/vast", MaxHoles+1<<20); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	files, warnings, err := New(home).Put(ctx, gitmodels.FileURI(home+"/store/x"), src)
	if err != nil || len(files) != 1 || files[0].Path != "model" || len(warnings) != 1 || !strings.Contains(warnings[0], "vast is left out: with it, more than 69 GB of holes") {
		t.Errorf("%v %q %v", files, warnings, err)
	}
}

func TestSpace(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	d := New(home)
	d.free = func(string) (int64, error) { return 10_000_000, nil }
	src := results(t, map[string]string{"big": strings.Repeat("x", 2_000_000)})
	uri := gitmodels.FileURI(home + "/store/x")
	for _, err := range []error{put(d, uri, src), d.Finish(context.Background(), uri, []byte("{}"))} {
		if gitmodels.KindOf(err) != gitmodels.Waiting || !strings.Contains(err.Error(), "store: 10 MB free on "+home+"/store, ") {
			t.Errorf("%v", err)
		}
	}
}

func put(d *Dir, uri, src string) error {
	_, _, err := d.Put(context.Background(), uri, src)
	return err
}

// TestDiskFull fills a real small disk in the middle of a copy.
func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	home := t.TempDir()
	if err := os.Mkdir(home+"/store", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", home+"/store", "tmpfs", 0, "size=256k"); err != nil {
		t.Skip("no small disk here: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(home+"/store", 0); err != nil {
			t.Error(err)
		}
	})
	d := New(home)
	d.free = func(string) (int64, error) { return 1 << 40, nil } // as when another fills it meanwhile
	src := results(t, map[string]string{"a": "small", "big": strings.Repeat("x", 1<<20)})
	if err := put(d, gitmodels.FileURI(home+"/store/x"), src); gitmodels.KindOf(err) != gitmodels.Waiting {
		t.Fatal(err)
	}
	only(t, home+"/store")
	if err := put(d, gitmodels.FileURI(home+"/store/x"), results(t, map[string]string{"a": "small"})); err != nil {
		t.Error("when there is room again: ", err)
	}
}

func TestRoots(t *testing.T) {
	t.Parallel()
	home, shared := t.TempDir(), t.TempDir()
	src := results(t, map[string]string{"a": "1"})
	d := New(home, gitmodels.FileURI(shared), "s3://bucket/x", gitmodels.FileURI(shared)+"-b/", "file:///un?usable")
	if err := put(d, "file:///etc/x", src); err == nil || !strings.Contains(err.Error(), "un?usable") || strings.Contains(err.Error(), "bucket") {
		t.Errorf("the refusal does not name the root that cannot be used: %v", err)
	}
	for uri, ok := range map[string]bool{
		gitmodels.FileURI(shared) + "/dogs": true, gitmodels.FileURI(shared) + "-b/dogs": true,
		gitmodels.FileURI(shared): false, gitmodels.FileURI(shared) + "/": false, gitmodels.FileURI(shared) + "-c/x": false,
		gitmodels.FileURI(home) + "/store/x": false, "file:///etc/x": false, "s3://bucket/x/y": false, "": false,
		gitmodels.FileURI(shared) + "/../x": false, gitmodels.FileURI(shared) + "/%2e%2e/x": false,
	} {
		err := put(d, uri, src)
		if (err == nil) != ok || err != nil && gitmodels.KindOf(err) != gitmodels.Invalid {
			t.Errorf("%s: %v", uri, err)
		}
	}
	if err := os.Symlink("/etc", shared+"/out"); err != nil {
		t.Fatal(err)
	}
	if err := put(d, gitmodels.FileURI(shared)+"/out/x", src); err == nil {
		t.Error("a link led out of the store")
	}
}

func TestUnusableRoot(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if err := os.WriteFile(home+"/store", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := put(New(home), gitmodels.FileURI(home+"/store/x"), results(t, nil))
	if gitmodels.KindOf(err) != gitmodels.Waiting {
		t.Error(err)
	}
}

func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	src := results(t, map[string]string{"a": strings.Repeat("1", 1<<20), "b": "2", "c/d": "3"})
	uri := gitmodels.FileURI(home + "/store/dogs/x")
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for {
				err := put(New(home), uri, src)
				if err == nil {
					return
				}
				if gitmodels.KindOf(err) != gitmodels.Waiting {
					t.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	if got := stored(t, home+"/store/dogs/x"); len(got) != 3 {
		t.Errorf("%d files", len(got))
	}
	only(t, home+"/store/dogs", "x")
}

// TestPutDies ends a Put by SIGKILL at arbitrary moments: the prefix is whole
// or not there, and the next Put mends everything.
func TestPutDies(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	files := map[string]string{}
	for i := range 60 {
		files[fmt.Sprintf("f%02d/x", i)] = strings.Repeat(fmt.Sprint(i), 5000)
	}
	src := results(t, files)
	old := results(t, map[string]string{"old": "1"})
	uri := gitmodels.FileURI(home + "/store/dogs/x")
	dest := home + "/store/dogs/x"
	deaths := 0
	for round := range 12 {
		if err := put(New(home), uri, old); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(exe, "put", home, uri, src)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Kill it when the stage holds so many entries.
		for part := home + "/store/dogs/.x.partial"; ; {
			if list, err := os.ReadDir(part); err == nil && len(list) > round*5 {
				break
			}
			if _, err := os.Stat(dest + "/f59"); err == nil {
				break
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			deaths++
		}
		if _, err := os.Lstat(dest); err == nil {
			if n := len(stored(t, dest)); n != 1 && n != len(files) {
				t.Fatalf("round %d: the prefix holds %d files", round, n)
			}
		}
		if err := put(New(home), uri, src); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(files, stored(t, dest)); d != "" {
			t.Fatal(d)
		}
		only(t, home+"/store/dogs", "x")
	}
	if deaths == 0 {
		t.Error("none was killed in the middle")
	}
}

func TestCancelledPut(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, err := New(home).Put(ctx, gitmodels.FileURI(home+"/store/x"), results(t, map[string]string{"a": "1"}))
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	only(t, home+"/store")
}

func TestURI(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"/srv/models", "/a b/c%d/e?f#g", "/ünï/✓", "/x/.hidden/..y"} {
		got, err := Path(gitmodels.FileURI(p))
		if err != nil || got != p {
			t.Errorf("%q: %q, %v", p, got, err)
		}
	}
	for uri, words := range map[string]string{
		"": "not a file:// URI", "/srv": "not a file:// URI", "FILE:///x": "not a file:// URI", "s3://b/x": "not a file:// URI",
		"file://host/x": "three slashes", "file://": "three slashes", "file:///": "root of the file system", "file:////x": "an empty path segment",
		"file:///a//b": "an empty path segment", "file:///a/../b": "a path segment ..", "file:///a/./b": "a path segment .", "file:///a/%2E%2e/b": "a path segment ..",
		"file:///a%2Fb": "an encoded slash", "file:///a%00b": "a control character", "file:///a\x00b": "a control character", "file:///a%0Ab": "a control character",
		"file:///a%ffb": "broken UTF-8", "file:///a%zz": "two hexadecimal digits", "file:///a%4": "two hexadecimal digits", "file:///a?b": "a query", "file:///a#b": "a query",
	} {
		p, err := Path(uri)
		if err == nil || gitmodels.KindOf(err) != gitmodels.Invalid || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %q, %v, want %q", uri, p, err, words)
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"file:///srv/models", "file:///a%20b/", "file:///%2e", "file:///a/../b", "file:///%00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		p, err := Path(uri)
		if err != nil {
			return
		}
		if !filepath.IsAbs(p) || filepath.Clean(p) != p || p == "/" || strings.Contains(p, "\x00") {
			t.Fatalf("%q became %q", uri, p)
		}
		if again, err := Path(gitmodels.FileURI(p)); err != nil || again != p {
			t.Fatalf("%q became %q and then %q, %v", uri, p, again, err)
		}
	})
}

func TestSize(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 bytes", 999: "999 bytes", 1500: "1.5 kB", 10_000_000: "10 MB", 2_000_000_000: "2.0 GB", 1 << 62: "4611686 TB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
