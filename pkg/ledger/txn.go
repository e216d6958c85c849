package ledger

import (
	"context"
	"database/sql"
)

// txn is a transaction. One that repeats the same few statements many times makes
// a memo.
type txn struct {
	*sql.Tx
	*memo
}

// memo is what a long transaction asks the database only once: nobody else writes
// meanwhile.
type memo struct {
	prepared map[string]*sql.Stmt // by their text; they end with the transaction
	served   map[string]bool      // repositories that are registered
	counters map[string]int64     // values that are not stored yet
}

func newMemo() *memo {
	return &memo{prepared: make(map[string]*sql.Stmt), served: make(map[string]bool), counters: make(map[string]int64)}
}

// storeCounters writes the counters as they stand at the end of the transaction.
func (tx *txn) storeCounters(ctx context.Context) error {
	for name, value := range tx.counters {
		if _, err := tx.ExecContext(ctx, "UPDATE counters SET value = $1 WHERE name = $2", value, name); err != nil {
			return err
		}
	}
	return nil
}

// statement is the query compiled, or nil when it is to be run as it is.
func (tx *txn) statement(ctx context.Context, query string) *sql.Stmt {
	if tx.memo == nil {
		return nil
	}
	stmt := tx.prepared[query]
	if stmt == nil {
		var err error
		if stmt, err = tx.PrepareContext(ctx, query); err != nil {
			return nil // running it says what is wrong
		}
		tx.prepared[query] = stmt
	}
	return stmt
}

// ExecContext runs a statement that returns no rows.
func (tx *txn) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if stmt := tx.statement(ctx, query); stmt != nil {
		return stmt.ExecContext(ctx, args...)
	}
	return tx.Tx.ExecContext(ctx, query, args...)
}

// QueryContext runs a query.
func (tx *txn) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if stmt := tx.statement(ctx, query); stmt != nil {
		return stmt.QueryContext(ctx, args...)
	}
	return tx.Tx.QueryContext(ctx, query, args...)
}

// QueryRowContext runs a query for its first row.
func (tx *txn) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if stmt := tx.statement(ctx, query); stmt != nil {
		return stmt.QueryRowContext(ctx, args...)
	}
	return tx.Tx.QueryRowContext(ctx, query, args...)
}
