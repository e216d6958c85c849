package ledger

import (
	"database/sql"
	_ "embed"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

var update = flag.Bool("update", false, "write testdata/version2.sql anew: only before version 2 is released")

// version1 and version2 are ledgers as those versions of the schema left them, as
// SQL: a run that succeeded, one that runs, one that waits, a skipped push, and
// an outcome that is still to be published; from version 2 on also priorities, an
// attempt that was asked for again, and an outcome that somebody is to be told
// of. Every later version must open them.
var (
	//go:embed testdata/version1.sql
	version1 string
	//go:embed testdata/version2.sql
	version2 string
)

// load makes the ledger of home from a dump.
func load(t testing.TB, home, dump string) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(filepath.Join(home, FileName)))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(t.Context(), "PRAGMA journal_mode = WAL; PRAGMA foreign_keys = 0;"+dump); err != nil {
		t.Fatal(err)
	}
}

// ask reads a column of text.
func ask(t *testing.T, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	all, err := scanAll(rows, scanOne[string])
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// schema is what makes the tables and indexes of a database, in SQL.
func schema(t *testing.T, db *sql.DB) string {
	t.Helper()
	return strings.Join(ask(t, db, `
		SELECT sql || ';' FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'
		ORDER BY type DESC, name`), "\n\n") + "\n"
}

// dump writes the database as SQL that load reads.
func dump(t *testing.T, db *sql.DB) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(schema(t, db))
	for _, table := range ask(t, db, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name") {
		var values []string
		for _, c := range ask(t, db, fmt.Sprintf("SELECT name FROM pragma_table_info('%s')", table)) {
			values = append(values, fmt.Sprintf("quote(%s)", c))
		}
		for _, row := range ask(t, db, fmt.Sprintf("SELECT %s FROM %s ORDER BY 1", strings.Join(values, " || ', ' || "), table)) {
			fmt.Fprintf(&b, "\nINSERT INTO %s VALUES (%s);", table, row)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// version1Ledger fills a ledger with what version1 holds.
func version1Ledger(b *bench) {
	ctx := b.t.Context()
	skip := b.newPush("skip", models, commit("dd"))
	skip.Skip = "no change"
	b.record(skip)
	for _, digits := range []string{"aa", "bb", "cc"} {
		b.push(commit(digits))
		b.pass(time.Second)
	}
	done, running, waits := b.claim("w1"), b.claim("w1"), b.claim("w1")
	b.finish(done, gitmodels.Succeeded)
	b.must(b.BeginStage(ctx, running, gitmodels.StageTrain, gitmodels.Submitted, "/log"))
	_, err := b.Intend(ctx, running, gitmodels.StageTrain, "bb00000", "process")
	b.must(err)
	b.must(b.Confirm(ctx, running, gitmodels.StageTrain, "4711"))
	b.must(b.Release(ctx, waits, "engine: none", b.clock().Add(time.Hour)))
}

// version2Ledger adds what version2 holds besides.
func version2Ledger(b *bench) {
	ctx := b.t.Context()
	urgent := b.newPush("urgent", models, commit("ee"))
	urgent.Priority, urgent.Engine = 7, "slurm"
	b.record(urgent)
	item, err := b.NextOutbox(ctx)
	b.must(err)
	b.must(b.DoneOutbox(ctx, item.ID, gitmodels.OutboxNotify))
	again := b.newPush("again", models, commit("aa"))
	again.Again, again.Priority = true, -3
	b.record(again)
}

// upTo are the migrations to the given version.
func upTo(t testing.TB, version int) fstest.MapFS {
	t.Helper()
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(names) < version {
		t.Fatalf("migrations %v, %v; want %d", names, err, version)
	}
	files := fstest.MapFS{}
	for _, name := range names[:version] {
		data, err := fs.ReadFile(migrations, name)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(name)] = &fstest.MapFile{Data: data}
	}
	return files
}

func TestVersionsAreFrozen(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if *update {
		version1Ledger(b)
		version2Ledger(b)
		_, err := b.db.ExecContext(t.Context(), "UPDATE "+versionTable+" SET tstamp = '2026-01-01 00:00:00'")
		b.must(err)
		b.must(os.WriteFile("testdata/version2.sql", []byte(dump(t, b.db)), 0o644))
		return
	}
	for i, frozen := range []string{version1, version2} {
		var schemas []string
		for _, dump := range []string{"", frozen} {
			home := t.TempDir()
			load(t, home, dump)
			db, err := sql.Open("sqlite", dsn(filepath.Join(home, FileName)))
			b.must(err)
			defer db.Close()
			db.SetMaxOpenConns(1)
			if dump == "" {
				b.must((&Ledger{db: db, path: home}).prepareTo(t.Context(), upTo(t, i+1)))
			}
			schemas = append(schemas, schema(t, db))
		}
		if diff := cmp.Diff(schemas[1], schemas[0]); diff != "" {
			t.Errorf("the migrations make another version %d than the one released; write a new one instead (-released +now):\n%s", i+1, diff)
		}
	}
}

// TestVersionsMigrate opens the frozen ledgers with today's migrations, and with
// one more that a later version might bring.
func TestVersionsMigrate(t *testing.T) {
	t.Parallel()
	for version, frozen := range map[int]string{1: version1, 2: version2} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			b := &bench{t: t, home: t.TempDir(), now: time.UnixMilli(1_800_000_100_000), ids: 1000}
			load(t, b.home, frozen)
			b.Ledger = b.open()
			b.must(b.Check(t.Context()))
			repos, err := b.Repositories(t.Context())
			if err != nil || len(repos) != 1 || repos[0].Name != "dogs" {
				t.Fatalf("repositories %v, %v", repos, err)
			}
			b.repo = repos[0]
			b.checkMigrated(version)
			b.checkLater()
		})
	}
}

// checkMigrated checks that a frozen ledger is whole, and works through it.
func (b *bench) checkMigrated(version int) {
	t, ctx := b.t, b.t.Context()
	want := map[gitmodels.CommitID]gitmodels.State{
		commit("aa"): gitmodels.Succeeded, commit("bb"): gitmodels.Submitted, commit("cc"): gitmodels.Queued, commit("dd"): ""}
	kind := gitmodels.OutboxGit
	if version > 1 {
		want[commit("aa")], want[commit("ee")] = gitmodels.Queued, gitmodels.Queued
		kind = gitmodels.OutboxNotify
	}
	for c, state := range want {
		if got := b.state(c); got != state {
			t.Errorf("%s is %q, want %q", c, got, state)
		}
	}
	item, err := b.NextOutbox(ctx)
	if err != nil || item == nil || item.Outcome.Commit != commit("aa") || len(item.Outcome.Values) != 1 || item.Kind != kind {
		t.Errorf("the outbox: %+v, %v", item, err)
	}
	b.must(b.DoneOutbox(ctx, item.ID, ""))
	// The lease of the one that runs has expired: it goes on.
	c := b.claim("w2")
	if s, ok := c.Stage(gitmodels.StageTrain); c.Run.Commit != commit("bb") || c.Epoch != 2 || !ok || s.State != gitmodels.StageRunning || c.Attempt.Job != "4711" {
		t.Errorf("claimed %+v", c)
	}
	b.finish(c, gitmodels.Succeeded)
	// The queue keeps its order, and new pushes come behind it.
	b.push(commit("ff"))
	order := []gitmodels.CommitID{commit("cc"), commit("ff")}
	if version > 1 {
		order = []gitmodels.CommitID{commit("ee"), commit("cc"), commit("ff"), commit("aa")}
	}
	b.pass(2 * time.Hour)
	for _, want := range order {
		c := b.claim("w2")
		if c.Run.Commit != want {
			t.Errorf("claimed %s, want %s", c.Run.Commit, want)
		}
		b.finish(c, gitmodels.Succeeded)
	}
	if c := b.claimOf("w2", 9); c != nil {
		t.Errorf("too many runs: %+v", c)
	}
}

// checkLater migrates the ledger on, after which it is too new for this program.
func (b *bench) checkLater() {
	t, ctx := b.t, b.t.Context()
	later := upTo(t, 2)
	later["00003_later.sql"] = &fstest.MapFile{Data: []byte(`-- +goose Up
ALTER TABLE runs ADD COLUMN weight BIGINT NOT NULL DEFAULT 5;
UPDATE runs SET weight = 7 WHERE commit_id LIKE 'cc%';
`)}
	for range 2 { // the second time there is nothing to do
		b.must(b.prepareTo(ctx, later))
	}
	var weights string
	b.must(b.db.QueryRowContext(ctx, `SELECT group_concat(substr(commit_id, 1, 2) || ' ' || weight, ', ')
		FROM (SELECT * FROM runs WHERE commit_id < 'dd' ORDER BY commit_id)`).Scan(&weights))
	if weights != "aa 5, bb 5, cc 7" {
		t.Errorf("migrated to %s", weights)
	}
	b.must(b.Check(ctx))
	b.push(commit("99"))
	_, err := Open(ctx, b.home)
	wantKind(t, err, gitmodels.Invalid, "schema 3, this one knows 2")
}

// TestMigrationKeepsTheQueue migrates runs that were queued within one
// millisecond, some of them with a lower id than earlier ones.
func TestMigrationKeepsTheQueue(t *testing.T) {
	t.Parallel()
	b := &bench{t: t, home: t.TempDir(), now: time.UnixMilli(1_800_000_100_000), ids: 1000}
	load(t, b.home, version1+`
		UPDATE runs SET state = 'queued', waiting = '', not_before = 0, lease_owner = '', lease_until = 0, finished_at = 0;
		UPDATE attempts SET state = 'queued', finished_at = 0, outcome = NULL;
		DELETE FROM outbox; DELETE FROM submissions; DELETE FROM stages;
		UPDATE runs SET queued_at = 5; UPDATE runs SET queued_at = 4 WHERE commit_id LIKE 'cc%';`)
	b.Ledger = b.open()
	for _, want := range []string{"cc", "aa", "bb"} {
		if c := b.claim("w"); c.Run.Commit != commit(want) {
			t.Errorf("claimed %s, want %s", c.Run.Commit, want)
		}
	}
}

// TestMigrateAtOnce lets several processes open a ledger of the version before.
func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	load(t, home, version1)
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			if out, err := child(t, "register", "LEDGER_HOME="+home).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	all.Wait()
	l, err := Open(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if rows, err := l.List(t.Context(), "", 0); err != nil || len(rows) != 4 {
		t.Errorf("%d rows, %v; want 4", len(rows), err)
	}
	if applied := ask(t, l.db, "SELECT version_id FROM "+versionTable+" ORDER BY id"); fmt.Sprint(applied) != "[0 1 2]" {
		t.Errorf("applied %v", applied)
	}
}

// TestFailedMigrationLeavesAll checks that a migration is one transaction.
func TestFailedMigrationLeavesAll(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	broken := upTo(t, 2)
	broken["00003_broken.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nALTER TABLE runs ADD COLUMN weight BIGINT;\nUPDATE nothing SET x = 1;\n")}
	if err := b.prepareTo(t.Context(), broken); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("a broken migration: %v", err)
	}
	if version, err := b.schemaVersion(t.Context()); version != 2 || err != nil {
		t.Errorf("version %d, %v; want 2", version, err)
	}
	if now := dump(t, b.db); strings.Contains(now, "weight") {
		t.Errorf("half a migration stayed:\n%s", now)
	}
	b.push(commit("aa"))
}
