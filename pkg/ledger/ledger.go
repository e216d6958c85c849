// Package ledger remembers repositories, pushes, runs and outcomes in an SQLite
// database of its own, <home>/ledger.db. It implements gitmodels.Ledger.
//
// It is an adapter: it imports the domain and no other room, and neither hook
// may reach it. Nothing in it runs git or knows of engines.
package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// FileName is the database's file in the state directory. SQLite keeps two more
// beside it while it is open, with -wal and -shm behind the name.
const FileName = "ledger.db"

// busyTimeout is how long a statement waits for another process's write.
const busyTimeout = 10 * time.Second

// cacheKiB bounds the pages of the database that a process keeps in memory: what
// SQLite keeps by itself is too little for the indexes of 100,000 runs.
const cacheKiB = 32 << 10

// Ledger is the ledger of one state directory. It is safe for concurrent use,
// also by several processes, and writes in one transaction a method.
type Ledger struct {
	db    *sql.DB
	path  string
	clock func() time.Time
	newID func() string
}

var _ gitmodels.Ledger = (*Ledger)(nil)

// Option changes how a ledger is opened.
type Option func(*options)

type options struct {
	clock      func() time.Time
	newID      func() string
	filesystem func(dir string) (int64, error)
}

// WithClock replaces the system's clock, for tests.
func WithClock(now func() time.Time) Option { return func(o *options) { o.clock = now } }

// WithIDs replaces the source of ids, for tests. Ids must be unique and sort in
// the order they are given out.
func WithIDs(next func() string) Option { return func(o *options) { o.newID = next } }

// Open opens the ledger of the state directory home, which exists, and makes or
// migrates the database if need be. The file is private to the owner of home.
//
// A database that is damaged, read-only, of a newer git-models, of another
// program, or on a network file system is an error that says what to do; such a
// database is left as it is.
func Open(ctx context.Context, home string, opts ...Option) (*Ledger, error) {
	o := options{clock: time.Now, newID: newIDs(time.Now), filesystem: filesystemType}
	for _, opt := range opts {
		opt(&o)
	}
	home, err := filepath.Abs(home)
	if err != nil {
		return nil, err
	}
	l := &Ledger{path: filepath.Join(home, FileName), clock: o.clock, newID: o.newID}
	if err := refuseNetwork(home, o.filesystem); err != nil {
		return nil, err
	}
	// The first to come makes and migrates the file; the others wait for it.
	unlock, err := lockFolder(home)
	if err != nil {
		return nil, l.explain("opening the ledger", err)
	}
	defer unlock()
	if err := createPrivate(home, l.path); err != nil {
		return nil, l.explain("creating the ledger", err)
	}
	if l.db, err = sql.Open("sqlite", dsn(l.path)); err != nil {
		return nil, l.explain("opening the ledger", err)
	}
	// One connection a process: SQLite has one writer anyway, and transactions
	// of this process then queue here instead of in busy loops.
	l.db.SetMaxOpenConns(1)
	if err := l.prepare(ctx); err != nil {
		l.db.Close()
		return nil, l.explain("opening the ledger", err)
	}
	return l, nil
}

// dsn names the database to the driver. FULL makes a commit durable before it is
// answered; immediate takes the write lock at the start of a transaction, so
// that what it read stays true until it writes.
func dsn(path string) string {
	q := url.Values{}
	q.Add("_pragma", fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()))
	q.Add("_pragma", "synchronous(FULL)")
	q.Add("_pragma", "foreign_keys(1)")
	q.Add("_pragma", fmt.Sprintf("cache_size(-%d)", cacheKiB))
	q.Add("_txlock", "immediate")
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return u.String()
}

// Close releases the database.
func (l *Ledger) Close() error { return l.explain("closing the ledger", l.db.Close()) }

// Check reads the whole database and reports damage.
func (l *Ledger) Check(ctx context.Context) error {
	return l.read(ctx, "checking the ledger", func(tx *txn) error {
		rows, err := tx.QueryContext(ctx, "PRAGMA integrity_check")
		if err != nil {
			return err
		}
		found, err := scanAll(rows, scanOne[string])
		if err != nil {
			return err
		}
		if len(found) != 1 || found[0] != "ok" {
			return l.damaged(fmt.Errorf("integrity check: %q", found))
		}
		return nil
	})
}

// write runs fn in a transaction that holds the write lock from its start.
func (l *Ledger) write(ctx context.Context, op string, fn func(*txn) error) error {
	return l.transact(ctx, op, nil, fn)
}

// read runs fn over one state of the database, without holding up writers.
func (l *Ledger) read(ctx context.Context, op string, fn func(*txn) error) error {
	return l.transact(ctx, op, &sql.TxOptions{ReadOnly: true}, fn)
}

func (l *Ledger) transact(ctx context.Context, op string, o *sql.TxOptions, fn func(*txn) error) error {
	tx, err := l.db.BeginTx(ctx, o)
	if err != nil {
		return l.explain(op, err)
	}
	defer tx.Rollback() // after a commit it does nothing
	if err := fn(&txn{Tx: tx}); err != nil {
		return l.explain(op, err)
	}
	return l.explain(op, tx.Commit())
}

// now is the ledger's time, in the database's milliseconds.
func (l *Ledger) now() int64 { return l.clock().UnixMilli() }
