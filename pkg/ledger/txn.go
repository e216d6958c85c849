package ledger

import (
	"context"
	"database/sql"
)

// txn is a transaction. One that repeats the same few statements many times makes
// the map prepared, so that each is compiled once; they end with it.
type txn struct {
	*sql.Tx
	prepared map[string]*sql.Stmt
}

// statement is the query compiled, or nil when it is to be run as it is.
func (tx *txn) statement(ctx context.Context, query string) *sql.Stmt {
	if tx.prepared == nil {
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

// QueryRowContext runs a query for its first row.
func (tx *txn) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if stmt := tx.statement(ctx, query); stmt != nil {
		return stmt.QueryRowContext(ctx, args...)
	}
	return tx.Tx.QueryRowContext(ctx, query, args...)
}
