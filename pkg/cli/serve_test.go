package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestRunnerLog: it is the owner's alone, and nothing that somebody else may
// have put in its place leads elsewhere.
func TestRunnerLog(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	path := filepath.Join(home, "runner.log")
	write := func(text string) {
		t.Helper()
		f, err := openLog(home)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(path, want string) {
		t.Helper()
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s holds %q, want %q (%v)", path, got, want, err)
		}
	}
	refused := func(want string) {
		t.Helper()
		if f, err := openLog(home); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q (%v)", err, want, f)
		}
	}
	write("one\n")
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	write("two\n")
	holds(path, "one\ntwo\n")
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}

	// A large one makes room, once.
	if err := os.Truncate(path, logLimit+1); err != nil {
		t.Fatal(err)
	}
	write("three\n")
	holds(path, "three\n")
	if info, err := os.Stat(path + ".1"); err != nil || info.Size() != logLimit+1 {
		t.Errorf("%v, %v", info, err)
	}

	victim := filepath.Join(home, "victim")
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	must := func(put error) {
		t.Helper()
		if put != nil {
			t.Fatal(put)
		}
	}
	must(os.Remove(path))
	must(os.Symlink(victim, path))
	refused("too many levels of symbolic links")
	must(os.Remove(path))
	must(os.Symlink(filepath.Join(home, "new"), path))
	refused("too many levels of symbolic links")
	if _, err := os.Lstat(filepath.Join(home, "new")); !os.IsNotExist(err) {
		t.Errorf("the file that the link names was made: %v", err)
	}
	holds(victim, "")
	must(os.Remove(path))
	must(syscall.Mkfifo(path, 0o600))
	refused("no such device or address") // nobody reads it
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	must(err)
	defer pipe.Close()
	refused("is not a file")
	must(os.Remove(path))
	if os.Geteuid() != 0 {
		t.Skip("the rest needs root: a file of another user")
	}
	must(os.WriteFile(path, nil, 0o666))
	must(os.Chown(path, 65534, -1))
	refused("belongs to another user")
	holds(path, "")
}
