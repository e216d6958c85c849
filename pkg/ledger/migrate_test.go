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
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

var update = flag.Bool("update", false, "write testdata/version1.sql anew: only before version 1 is released")

// version1 is a ledger as version 1 of the schema left it, as SQL: a run that
// succeeded, one that runs, one that waits, a skipped push, and an outcome that
// is still to be published. Every later version must open it.
//
//go:embed testdata/version1.sql
var version1 string

// load makes the ledger of home from a dump.
func load(t *testing.T, home, dump string) {
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

func TestVersion1IsFrozen(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if *update {
		version1Ledger(b)
		_, err := b.db.ExecContext(t.Context(), "UPDATE "+versionTable+" SET tstamp = '2026-01-01 00:00:00'")
		b.must(err)
		b.must(os.WriteFile("testdata/version1.sql", []byte(dump(t, b.db)), 0o644))
		return
	}
	first, err := fs.ReadFile(migrations, "migrations/00001_ledger.sql")
	b.must(err)
	made, frozen := t.TempDir(), t.TempDir()
	load(t, made, "")
	load(t, frozen, version1)
	var schemas []string
	for _, home := range []string{made, frozen} {
		db, err := sql.Open("sqlite", dsn(filepath.Join(home, FileName)))
		b.must(err)
		defer db.Close()
		db.SetMaxOpenConns(1)
		if home == made {
			b.must((&Ledger{db: db, path: home}).prepareTo(t.Context(), fstest.MapFS{"00001_ledger.sql": {Data: first}}))
		}
		schemas = append(schemas, schema(t, db))
	}
	if diff := cmp.Diff(schemas[1], schemas[0]); diff != "" {
		t.Errorf("the first migration makes another version 1 than the one released; write a new migration instead (-released +now):\n%s", diff)
	}
}

// TestVersion1Migrates opens the frozen ledger with today's migrations, and with
// one more that a later version might bring.
func TestVersion1Migrates(t *testing.T) {
	t.Parallel()
	b := &bench{t: t, home: t.TempDir(), now: time.UnixMilli(1_800_000_100_000), ids: 1000}
	load(t, b.home, version1)
	b.Ledger = b.open()
	ctx := t.Context()
	b.must(b.Check(ctx))
	repos, err := b.Repositories(ctx)
	if err != nil || len(repos) != 1 || repos[0].Name != "dogs" {
		t.Fatalf("repositories %v, %v", repos, err)
	}
	b.repo = repos[0]
	want := map[gitmodels.CommitID]gitmodels.State{
		commit("aa"): gitmodels.Succeeded, commit("bb"): gitmodels.Submitted, commit("cc"): gitmodels.Queued, commit("dd"): ""}
	for c, state := range want {
		if got := b.state(c); got != state {
			t.Errorf("%s is %q, want %q", c, got, state)
		}
	}
	item, err := b.NextOutbox(ctx)
	if err != nil || item == nil || item.Outcome.Commit != commit("aa") || len(item.Outcome.Values) != 1 {
		t.Errorf("the outbox: %+v, %v", item, err)
	}
	// The lease of the one that runs has expired: it goes on.
	c := b.claim("w2")
	if s, ok := c.Stage(gitmodels.StageTrain); c.Run.Commit != commit("bb") || c.Epoch != 2 || !ok || s.State != gitmodels.StageRunning || c.Attempt.Job != "4711" {
		t.Errorf("claimed %+v", c)
	}
	b.finish(c, gitmodels.Succeeded)

	later := fstest.MapFS{"00002_later.sql": {Data: []byte(`-- +goose Up
ALTER TABLE runs ADD COLUMN priority BIGINT NOT NULL DEFAULT 5;
UPDATE runs SET priority = 7 WHERE state = 'queued';
`)}}
	first, err := fs.ReadFile(migrations, "migrations/00001_ledger.sql")
	b.must(err)
	later["00001_ledger.sql"] = &fstest.MapFile{Data: first}
	for range 2 { // the second time there is nothing to do
		b.must(b.prepareTo(ctx, later))
	}
	var priorities string
	b.must(b.db.QueryRowContext(ctx, "SELECT group_concat(state || ' ' || priority, ', ') FROM (SELECT * FROM runs ORDER BY commit_id)").Scan(&priorities))
	if priorities != "succeeded 5, succeeded 5, queued 7" {
		t.Errorf("migrated to %s", priorities)
	}
	b.must(b.Check(ctx))
	b.push(commit("ee"))

	// What was migrated is too new for this program as it is.
	_, err = Open(ctx, b.home)
	wantKind(t, err, gitmodels.Invalid, "schema 2, this one knows 1")
}

// TestFailedMigrationLeavesAll checks that a migration is one transaction.
func TestFailedMigrationLeavesAll(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first, err := fs.ReadFile(migrations, "migrations/00001_ledger.sql")
	b.must(err)
	broken := fstest.MapFS{
		"00001_ledger.sql": {Data: first},
		"00002_broken.sql": {Data: []byte("-- +goose Up\nALTER TABLE runs ADD COLUMN priority BIGINT;\nUPDATE nothing SET x = 1;\n")},
	}
	if err := b.prepareTo(t.Context(), broken); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("a broken migration: %v", err)
	}
	if version, err := b.schemaVersion(t.Context()); version != 1 || err != nil {
		t.Errorf("version %d, %v; want 1", version, err)
	}
	if now := dump(t, b.db); strings.Contains(now, "priority") {
		t.Errorf("half a migration stayed:\n%s", now)
	}
	b.push(commit("aa"))
}
