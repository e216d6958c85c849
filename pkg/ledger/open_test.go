package ledger

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// nobody is the user that tests become when they must not be root.
const nobody = 65534

func TestOpenIsPrivateAndDurable(t *testing.T) {
	b := newBench(t)
	// The database is open, so its companions are there as well.
	for _, name := range []string{"", "-wal", "-shm"} {
		info, err := os.Lstat(filepath.Join(b.home, FileName+name))
		b.must(err)
		if info.Mode() != 0o600 {
			t.Errorf("%s%s has mode %v, want -rw-------", FileName, name, info.Mode())
		}
	}
	entries, err := os.ReadDir(b.home)
	b.must(err)
	if len(entries) != 3 {
		t.Errorf("the home holds %v", entries)
	}
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000"} {
		var got string
		b.must(b.db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got))
		if got != want {
			t.Errorf("PRAGMA %s is %s, want %s", pragma, got, want)
		}
	}
	if n := b.db.Stats().MaxOpenConnections; n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestOpenTightensRights(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	l, err := Open(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := os.Chmod(filepath.Join(home, FileName), 0o664); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(t.Context(), home); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Stat(filepath.Join(home, FileName)); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestOpenOddPath(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "a b?mode=memory&c#d%41;e'\"ü")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := Open(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Register(t.Context(), "/srv/dogs.git", "dogs", nil); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(home, FileName)); err != nil || info.Size() == 0 {
		t.Errorf("the database is not in its home: %v, %v", info, err)
	}
	if l, err = Open(t.Context(), home); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if repos, err := l.Repositories(t.Context()); err != nil || len(repos) != 1 {
		t.Errorf("opened again: %v, %v", repos, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	write := func(t *testing.T, home, text string) {
		if err := os.WriteFile(filepath.Join(home, FileName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, home string)
		kind    gitmodels.Kind
		words   []string
	}{
		"garbage": {func(t *testing.T, home string) { write(t, home, strings.Repeat("no database at all ", 300)) },
			gitmodels.Internal, []string{"is damaged", "stop the runner", "install each repository again", "mkdir "}},
		"a torn database": {func(t *testing.T, home string) {
			made(t, home)
			if err := os.Truncate(filepath.Join(home, FileName), 5000); err != nil {
				t.Fatal(err)
			}
		}, gitmodels.Internal, []string{"is damaged"}},
		"newer": {func(t *testing.T, home string) {
			made(t, home)
			change(t, home, "INSERT INTO ledger_version (version_id, is_applied) VALUES (99, 1)")
		}, gitmodels.Invalid, []string{"newer git-models", "schema 99", "this one knows 2", "git models --version"}},
		"of another program": {func(t *testing.T, home string) { change(t, home, "CREATE TABLE cookies (a TEXT)") },
			gitmodels.Invalid, []string{"another program", "move it away"}},
		"a folder": {func(t *testing.T, home string) {
			if err := os.Mkdir(filepath.Join(home, FileName), 0o700); err != nil {
				t.Fatal(err)
			}
		}, gitmodels.Invalid, []string{"not a regular file"}},
		"a link": {func(t *testing.T, home string) {
			made(t, home)
			path := filepath.Join(home, FileName)
			if err := errors.Join(os.Rename(path, path+".real"), os.Symlink(path+".real", path)); err != nil {
				t.Fatal(err)
			}
		}, gitmodels.Invalid, []string{"not a regular file"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := t.TempDir()
			c.prepare(t, home)
			before := contents(t, home)
			l, err := Open(t.Context(), home)
			if err == nil {
				l.Close()
			}
			wantKind(t, err, c.kind, append(c.words, home)...)
			if after := contents(t, home); before != after {
				t.Error("the refused database was changed")
			}
		})
	}
}

// made makes an empty ledger in home.
func made(t *testing.T, home string) {
	t.Helper()
	l, err := Open(t.Context(), home)
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// change runs a statement on the database of home, past the ledger.
func change(t *testing.T, home, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(filepath.Join(home, FileName)))
	if err == nil {
		_, err = db.ExecContext(t.Context(), statement)
	}
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// contents is every file below dir with its bytes.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var all bytes.Buffer
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		all.WriteString(path + "\n")
		all.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func TestDamageInUse(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.fill(200, 10)
	b.must(b.Ledger.Close())
	path := filepath.Join(b.home, FileName)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	b.must(err)
	info, err := f.Stat()
	b.must(err)
	// Everything but the first pages, which hold the schema.
	_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, int(info.Size())-30*4096), 30*4096)
	b.must(errors.Join(err, f.Close()))
	l, err := Open(t.Context(), b.home)
	if err == nil {
		defer l.Close()
		wantKind(t, l.Check(t.Context()), gitmodels.Internal, "is damaged", "mkdir ")
		_, err = l.List(t.Context(), "", 0)
	}
	wantKind(t, err, gitmodels.Internal, "is damaged", "restore a backup")
}

func TestOpenRefusesNetworkDisks(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	for magic, name := range map[int64]string{unix.NFS_SUPER_MAGIC: "NFS", unix.SMB2_SUPER_MAGIC: "SMB", 0x0BD00BD0: "Lustre"} {
		_, err := Open(t.Context(), home, func(o *options) {
			o.filesystem = func(string) (int64, error) { return magic, nil }
		})
		wantKind(t, err, gitmodels.Invalid, "is on "+name, "local disk", home, "models.home")
	}
	if entries, err := os.ReadDir(home); err != nil || len(entries) != 0 {
		t.Errorf("something was made there: %v, %v", entries, err)
	}
	if magic, err := filesystemType("/proc"); err != nil || magic != unix.PROC_SUPER_MAGIC {
		t.Errorf("/proc is %#x, %v", magic, err)
	}
	_, err := Open(t.Context(), filepath.Join(home, "absent"))
	wantKind(t, err, gitmodels.NotFound, "absent", "git models install")
}

func TestExplainBusyAndFull(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	// Another connection holds the write lock, and this one does not wait.
	other := b.open()
	tx, err := other.db.BeginTx(t.Context(), nil)
	b.must(err)
	defer tx.Rollback()
	_, err = b.db.ExecContext(t.Context(), "PRAGMA busy_timeout = 1")
	b.must(err)
	_, err = b.RecordPush(t.Context(), b.newPush("p", models, commit("aa")))
	wantKind(t, err, gitmodels.Internal, "is busy", "fuser -v")
	if _, err := b.List(t.Context(), "", 0); err != nil {
		t.Errorf("reading beside a writer: %v", err)
	}
	b.must(tx.Rollback())
	_, err = b.db.ExecContext(t.Context(), "PRAGMA max_page_count = 1")
	b.must(err)
	_, err = b.RecordPush(t.Context(), b.newPush("p", models, commit("aa")))
	for i := 0; err == nil && i < 1000; i++ {
		err = b.Event(t.Context(), "", "filler", strings.Repeat("x", 10_000))
	}
	wantKind(t, err, gitmodels.Internal, "is full", "df -h")
}

func init() {
	// Opens, and registers a repository in, the ledger of LEDGER_HOME.
	children["register"] = func() error {
		l, err := Open(context.Background(), os.Getenv("LEDGER_HOME"))
		if err != nil {
			return err
		}
		_, _, err = l.Register(context.Background(), "/srv/dogs.git", "dogs", nil)
		return errors.Join(err, l.Close())
	}
}

// child is this test binary as another process.
func child(t *testing.T, name string, env ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), append(env, "LEDGER_CHILD="+name)...)
	return cmd
}

// asNobody runs a child as a user without rights, from a copy of this binary
// that such a user can reach, and returns what it said.
func asNobody(t *testing.T, name, home string) (string, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: becomes another user")
	}
	cmd := child(t, name, "LEDGER_HOME="+home)
	// Copied by another process: a child that a parallel test forks meanwhile
	// would hold the copy open for writing, and then it cannot be run.
	reachable := filepath.Join(filepath.Dir(home), "ledger.test")
	if out, err := exec.CommandContext(t.Context(), "install", "-m", "755", cmd.Path, reachable).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd.Path = reachable
	cmd.Args[0] = cmd.Path
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// openHome is a home that a user without rights can reach.
func openHome(t *testing.T) string {
	t.Helper()
	base, err := os.MkdirTemp("", "ledger")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	home := filepath.Join(base, "home")
	if err := errors.Join(os.Chmod(base, 0o755), os.Mkdir(home, 0o711)); err != nil {
		t.Fatal(err)
	}
	return home
}

func TestRootLeavesFilesToTheOwner(t *testing.T) {
	t.Parallel()
	home := openHome(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a home of another user")
	}
	if err := os.Chown(home, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	l, err := Open(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, _, err := l.Register(t.Context(), "/srv/cats.git", "cats", nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "-wal", "-shm"} {
		var stat unix.Stat_t
		if err := unix.Lstat(filepath.Join(home, FileName+name), &stat); err != nil || stat.Uid != nobody || stat.Gid != nobody || stat.Mode&0o777 != 0o600 {
			t.Errorf("%s%s is of %d:%d with mode %o, %v", FileName, name, stat.Uid, stat.Gid, stat.Mode, err)
		}
	}
	if out, err := asNobody(t, "register", home); err != nil {
		t.Errorf("the owner cannot use it: %v\n%s", err, out)
	}
	if repos, err := l.Repositories(t.Context()); err != nil || len(repos) != 2 {
		t.Errorf("repositories %v, %v", repos, err)
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	home := openHome(t)
	made(t, home)
	path := filepath.Join(home, FileName)
	if os.Geteuid() == 0 {
		// Root may write anything; another user may not, whether the folder, or
		// only the file, is not theirs.
		out, err := asNobody(t, "register", home)
		if err == nil || !strings.Contains(out, "cannot be opened for writing") {
			t.Errorf("in a folder of another: %v, %s", err, out)
		}
		if err := errors.Join(os.Chown(home, nobody, nobody), os.Chmod(path, 0o644)); err != nil {
			t.Fatal(err)
		}
		out, err = asNobody(t, "register", home)
		if err == nil || !strings.Contains(out, "cannot be opened for writing") {
			t.Errorf("with a file of another: %v, %s", err, out)
		}
		return
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), home)
	wantKind(t, err, gitmodels.Internal, "cannot be opened for writing", "ls -ld ")
	if err := errors.Join(os.Remove(path), os.Chmod(home, 0o500)); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), home)
	wantKind(t, err, gitmodels.Internal, "cannot be opened for writing")
	if err := os.Chmod(home, 0o700); err != nil { // for the clean-up
		t.Fatal(err)
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"/plain/path", "", "with space", "it's", `$(id) "x" \ * ;`, "new\nline"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+quote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("%q quoted as %s is %q to a shell, %v", s, quote(s), out, err)
		}
	}
}
