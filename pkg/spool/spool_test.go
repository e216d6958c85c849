package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const (
	zero = "0000000000000000000000000000000000000000"
	one  = "1111111111111111111111111111111111111111"
)

func push(id string) gitmodels.Push {
	return gitmodels.Push{
		ID: id, Repository: "/srv/dogs.git",
		Updates: []gitmodels.Update{{Old: zero, New: one, Ref: "refs/heads/models"}},
		Options: []string{"skip"}, Pusher: gitmodels.Pusher{Name: "alice", Via: "REMOTE_USER"}, Protocol: "http",
		At: time.Date(2024, 5, 6, 7, 8, 9, 10, time.UTC),
	}
}

func entries(t *testing.T, home string) []gitmodels.SpoolEntry {
	t.Helper()
	list, err := Entries(home)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestRoundTrip(t *testing.T) {
	// The umask is the process's: no other test may run meanwhile.
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	home := filepath.Join(t.TempDir(), "a", "home")
	if list := entries(t, home); len(list) != 0 {
		t.Errorf("a spool that was never prepared: %v", list)
	}
	now := time.Now()
	var want []gitmodels.Push
	for i := range 3 {
		p := push(NewID(now.Add(time.Duration(i) * time.Microsecond)))
		want = append(want, p)
		if err := Write(home, p); err != nil {
			t.Fatal(err)
		}
	}
	list := entries(t, home)
	var got []gitmodels.Push
	for _, e := range list {
		if e.Err != nil || e.ID != e.Push.ID {
			t.Errorf("%+v", e)
		}
		got = append(got, e.Push)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	info, err := os.Stat(list[0].Path)
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v (%v), want 0640 whatever the umask", info.Mode(), err)
	}
	if info, err := os.Stat(home); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("home: %v (%v)", info.Mode(), err)
	}
	if info, err := os.Stat(newDir(home)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("private: %v (%v)", info.Mode(), err)
	}
	if err := errors.Join(Remove(list[0]), Remove(list[0])); err != nil {
		t.Error(err)
	}
	if err := SetAside(list[1], "not ours\nat all"); err != nil {
		t.Error(err)
	}
	why, err := os.ReadFile(filepath.Join(badDir(home), list[1].ID+".why"))
	if err != nil || string(why) != `not ours\x0aat all`+"\n" {
		t.Errorf("%q, %v", why, err)
	}
	if _, err := os.Stat(filepath.Join(badDir(home), list[1].ID+".json")); err != nil {
		t.Error(err)
	}
	if left := entries(t, home); len(left) != 1 || left[0].ID != want[2].ID {
		t.Errorf("left: %v", left)
	}
	if tmp, err := os.ReadDir(tmpDir(home)); err != nil || len(tmp) != 0 {
		t.Errorf("tmp: %v, %v", tmp, err)
	}
}

func TestShared(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if err := Prepare(home, os.Getgid()); err != nil {
		t.Fatal(err)
	}
	want := fs.ModeDir | fs.ModeSetgid | fs.ModeSticky | 0o770
	for _, dir := range []string{root(home), tmpDir(home), newDir(home)} {
		if info, err := os.Stat(dir); err != nil || info.Mode() != want {
			t.Errorf("%s: %v (%v), want %v", dir, info.Mode(), err, want)
		}
	}
	// What is set aside is the runner's alone.
	if info, err := os.Stat(badDir(home)); err != nil || info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("%s: %v (%v)", badDir(home), info.Mode(), err)
	}
	// Neither a runner's start nor a hook narrows it again.
	if err := Prepare(home, -1); err != nil {
		t.Fatal(err)
	}
	if err := Write(home, push(NewID(time.Now()))); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(newDir(home)); err != nil || info.Mode() != want {
		t.Errorf("%v (%v)", info.Mode(), err)
	}
	if err := Prepare("relative", -1); err == nil {
		t.Error("a relative path was taken")
	}
}

// A group that is not the maker's own, and an account that is not the owner.
func TestOtherAccounts(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root: it writes as other accounts")
	}
	home := t.TempDir()
	if err := Prepare(home, 4321); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(newDir(home))
	if err != nil || info.Sys().(*syscall.Stat_t).Gid != 4321 || info.Mode()&fs.ModeSetgid == 0 {
		t.Errorf("%v %v", info, err)
	}
	p := push(NewID(time.Now()))
	if err := Write(home, p); err != nil {
		t.Fatal(err)
	}
	list := entries(t, home)
	if info, err := os.Stat(list[0].Path); err != nil || info.Sys().(*syscall.Stat_t).Gid != 4321 {
		t.Errorf("the file has another group: %v %v", info, err)
	}
	if err := os.Chown(list[0].Path, 1234, 4321); err != nil {
		t.Fatal(err)
	}
	if list := entries(t, home); list[0].Err != nil {
		t.Errorf("shared: %v", list[0].Err)
	}
	for _, dir := range []string{root(home), newDir(home)} {
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if list := entries(t, home); list[0].Err == nil || !strings.Contains(list[0].Err.Error(), "belongs to uid 1234") {
		t.Errorf("private: %v", list[0].Err)
	}
}

// What a hostile account may leave in the folder is never followed, never
// waited for, and can be set aside.
func TestHostile(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if err := Prepare(home, -1); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(newDir(home), name) }
	put := func(name string, p gitmodels.Push) {
		t.Helper()
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at(name), b, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	good := push("a-good")
	put("a-good.json", good)
	change := func(name string, change func(*gitmodels.Push)) {
		t.Helper()
		p := push(name)
		p.Updates = slices.Clone(p.Updates)
		change(&p)
		put(name+".json", p)
	}
	change("b-id", func(p *gitmodels.Push) { p.ID = "other" })
	change("c-path", func(p *gitmodels.Push) { p.Repository = "srv/dogs.git" })
	change("d-path", func(p *gitmodels.Push) { p.Repository = "/srv/../etc" })
	change("e-ref", func(p *gitmodels.Push) { p.Updates[0].Ref = "HEAD" })
	change("f-commit", func(p *gitmodels.Push) { p.Updates[0].New = "--help" })
	change("g-none", func(p *gitmodels.Push) { p.Updates = nil })
	change("h-twice", func(p *gitmodels.Push) { p.Updates = append(p.Updates, p.Updates[0]) })
	change("i-options", func(p *gitmodels.Push) { p.Options = make([]string, 1000) })
	change("j-option", func(p *gitmodels.Push) { p.Options = []string{strings.Repeat("x", 5000)} })
	change("k-pusher", func(p *gitmodels.Push) { p.Pusher.Name = "" })
	for name, text := range map[string]string{"l-empty.json": "", "m-text.json": "hello", "n-list.json": "[]", "o-deep.json": strings.Repeat("[", 100000)} {
		if err := os.WriteFile(at(name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(home, "secret")
	if err := os.WriteFile(secret, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	huge := at("s-huge.json")
	failed := errors.Join(
		os.Symlink(secret, at("p-link.json")),
		os.Link(secret, at("q-hard.json")),
		syscall.Mkfifo(at("r-fifo.json"), 0o600),
		os.WriteFile(huge, nil, 0o640), os.Truncate(huge, 1<<40),
		os.Mkdir(at("t-folder.json"), 0o755),
		os.WriteFile(at(".hidden"), nil, 0o600),
		os.WriteFile(at("u-\x1b[0m\n.json"), nil, 0o600),
		os.WriteFile(at("v-good"), nil, 0o600),
		os.Symlink("p-link.json", at("w-loop.json")),
	)
	if failed != nil {
		t.Fatal(failed)
	}
	done := make(chan []gitmodels.SpoolEntry)
	go func() {
		list, err := Entries(home)
		if err != nil {
			t.Error(err)
		}
		done <- list
	}()
	var list []gitmodels.SpoolEntry
	select {
	case list = <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("an entry held the reader")
	}
	if !slices.IsSortedFunc(list, func(a, b gitmodels.SpoolEntry) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("not sorted")
	}
	if len(list) != 24 {
		t.Errorf("%d entries, want 24", len(list))
	}
	for _, e := range list {
		if e.ID == "a-good" {
			if e.Err != nil || !cmp.Equal(e.Push, good) {
				t.Errorf("the good one: %v", e.Err)
			}
			continue
		}
		if e.Err == nil || e.Push.ID != "" {
			t.Errorf("%q was believed", e.ID)
			continue
		}
		if err := SetAside(e, e.Err.Error()); err != nil {
			t.Errorf("setting %q aside: %v", e.ID, err)
		}
	}
	if left := entries(t, home); len(left) != 1 {
		t.Errorf("%d left", len(left))
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != "{}" {
		t.Errorf("the secret was touched: %q, %v", b, err)
	}
	// The name may be taken there.
	put("b-id.json", good)
	if err := SetAside(gitmodels.SpoolEntry{ID: "b-id", Path: at("b-id.json")}, "again"); err != nil {
		t.Error(err)
	}
}

func TestBadIDs(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	for _, id := range []string{"", "../x", "a/b", ".hidden", "a b", strings.Repeat("x", 300), "a\n"} {
		if err := Write(home, push(id)); err == nil {
			t.Errorf("%q was written", id)
		}
	}
}

// What a dead hook left goes, what a living one writes stays.
func TestSweep(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if err := Prepare(home, -1); err != nil {
		t.Fatal(err)
	}
	old, young := filepath.Join(tmpDir(home), "old"), filepath.Join(tmpDir(home), "young")
	past := time.Now().Add(-2 * leftover)
	if err := errors.Join(os.WriteFile(old, nil, 0o600), os.WriteFile(young, nil, 0o600), os.Chtimes(old, past, past)); err != nil {
		t.Fatal(err)
	}
	entries(t, home)
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the leftover stays")
	}
	if _, err := os.Stat(young); err != nil {
		t.Error("a living hook's file went")
	}
}

// A spool that several accounts write keeps being read, whatever one of them
// leaves in it that cannot be removed or moved away.
func TestImmovable(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if err := Prepare(home, -1); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(tmpDir(home), "folder")
	past := time.Now().Add(-2 * leftover)
	if err := errors.Join(os.MkdirAll(filepath.Join(folder, "full"), 0o755), os.Chtimes(folder, past, past)); err != nil {
		t.Fatal(err)
	}
	p := push(NewID(time.Now()))
	if err := Write(home, p); err != nil {
		t.Fatal(err)
	}
	if list := entries(t, home); len(list) != 1 || list[0].ID != p.ID {
		t.Errorf("with a folder in tmp: %v", list)
	}
	if err := Prepare(home, -1); err != nil {
		t.Errorf("with a folder in tmp: %v", err)
	}

	if os.Getuid() != 0 {
		t.Skip("needs root: a folder of another account")
	}
	// Its own account alone can move it: rename(2) has to write its `..`.
	foreign := filepath.Join(newDir(home), "a.json")
	if err := errors.Join(os.Mkdir(foreign, 0o700), os.Chown(foreign, 1234, 1234)); err != nil {
		t.Fatal(err)
	}
	if list := entries(t, home); len(list) != 1 || list[0].ID != p.ID {
		t.Errorf("with a folder of another account: %v", list)
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a, b := NewID(now), NewID(now.Add(1))
	if a >= b || len(a) != len(b) || NewID(now) == a {
		t.Errorf("%s %s", a, b)
	}
	if err := checkID(a); err != nil {
		t.Error(err)
	}
}

// Many hooks write while a runner reads: nothing is half there, nothing is lost.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	var writers sync.WaitGroup
	const hooks, pushes = 8, 25
	for range hooks {
		writers.Go(func() {
			for range pushes {
				if err := Write(home, push(NewID(time.Now()))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	seen := map[string]bool{}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for last := false; ; {
		list, err := Entries(home)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range list {
			if e.Err != nil || seen[e.ID] {
				t.Fatalf("%s: %v, seen %v", e.ID, e.Err, seen[e.ID])
			}
			seen[e.ID] = true
			if err := Remove(e); err != nil {
				t.Fatal(err)
			}
		}
		if last {
			break
		}
		select {
		case <-done:
			last = true
		default:
		}
	}
	if len(seen) != hooks*pushes {
		t.Errorf("%d of %d arrived", len(seen), hooks*pushes)
	}
}

// FuzzEntry: whatever bytes lie there, reading them ends and believes only what
// a hook could have written.
func FuzzEntry(f *testing.F) {
	b, err := json.Marshal(push("x"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"id":"x","updates":[{}]}`))
	f.Add([]byte("null"))
	home := f.TempDir()
	if err := Prepare(home, -1); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		name := fmt.Sprintf("%d", os.Getpid())
		data = []byte(strings.ReplaceAll(string(data), `"id":"x"`, `"id":"`+name+`"`))
		path := filepath.Join(newDir(home), name+".json")
		if err := os.WriteFile(path, data, 0o640); err != nil {
			t.Fatal(err)
		}
		folder, err := os.Lstat(newDir(home))
		if err != nil {
			t.Fatal(err)
		}
		p, err := read(gitmodels.SpoolEntry{ID: name, Path: path}, folder)
		if err == nil && (p.ID != name || !filepath.IsAbs(p.Repository) || len(p.Updates) == 0 || p.Pusher.Name == "") {
			t.Errorf("believed: %+v", p)
		}
	})
}
