package ledger

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/git-models/git-models/pkg/gitmodels"
)

//go:embed migrations/*.sql
var migrations embed.FS

// versionTable is where goose notes which migrations a database has had.
const versionTable = "ledger_version"

// prepare brings the database to the schema of this program. The caller holds
// the folder's lock.
func (l *Ledger) prepare(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	return l.prepareTo(ctx, files)
}

func (l *Ledger) prepareTo(ctx context.Context, files fs.FS) error {
	ours, err := newestVersion(files)
	if err != nil {
		return err
	}
	if err := l.mustWrite(ctx); err != nil {
		return err
	}
	have, err := l.schemaVersion(ctx)
	if err != nil {
		return err
	}
	if have > ours {
		return &gitmodels.Error{Kind: gitmodels.Invalid,
			Message: fmt.Sprintf("the ledger %s was written by a newer git-models (schema %d, this one knows %d): use that version", l.shown(), have, ours),
			Hint:    "git models --version"}
	}
	// A reader of an older state must see whole transactions while another
	// process writes; the setting stays with the file.
	var mode string
	if err := l.db.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return &gitmodels.Error{Kind: gitmodels.Invalid,
			Message: fmt.Sprintf("the disk of the ledger %s allows no write-ahead log (journal mode %s): choose a local disk", l.shown(), mode)}
	}
	if have == ours {
		return nil // every command opens the ledger, and few migrate it
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, l.db, files,
		goose.WithTableName(versionTable),
		goose.WithDisableGlobalRegistry(true),
		goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// newestVersion is the version that the last of the migrations makes.
func newestVersion(files fs.FS) (version int64, err error) {
	names, err := fs.Glob(files, "*.sql")
	for _, name := range names {
		n, err := goose.NumericComponent(name)
		if err != nil {
			return 0, err
		}
		version = max(version, n)
	}
	return version, err
}

// mustWrite fails when SQLite could open the file for reading alone, which it
// does in silence: that must show now, not at the first push.
func (l *Ledger) mustWrite(ctx context.Context) error {
	conn, err := l.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(c any) error {
		readOnly, err := c.(interface{ IsReadOnly(string) (bool, error) }).IsReadOnly("main")
		if err == nil && readOnly {
			err = l.readOnly(nil)
		}
		return err
	})
}

// schemaVersion is the newest migration the database has had, 0 for an empty
// one. It changes nothing, so that a newer or a stranger's database stays as it
// is.
func (l *Ledger) schemaVersion(ctx context.Context) (version int64, err error) {
	var tables, versioned int64
	err = l.db.QueryRowContext(ctx, `
		SELECT count(*), COALESCE(SUM(CASE WHEN name = $1 THEN 1 ELSE 0 END), 0)
		FROM sqlite_master WHERE type = 'table'`, versionTable).Scan(&tables, &versioned)
	if err != nil {
		return 0, err
	}
	switch {
	case tables == 0:
		return 0, nil
	case versioned == 0:
		return 0, &gitmodels.Error{Kind: gitmodels.Invalid,
			Message: fmt.Sprintf("%s is the database of another program: move it away", l.shown())}
	}
	err = l.db.QueryRowContext(ctx, "SELECT COALESCE(MAX(version_id), 0) FROM "+versionTable+" WHERE is_applied").Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return version, err
}
