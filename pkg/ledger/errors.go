package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// explain names the operation that failed and, where the database itself is the
// matter, what to do about it. Errors that speak for themselves pass.
func (l *Ledger) explain(op string, err error) error {
	var ours *gitmodels.Error
	var theirs *sqlite.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ours):
		if ours.Op == "" {
			ours.Op = op
		}
		return err
	case errors.Is(err, gitmodels.ErrLeaseLost):
		return err
	case errors.As(err, &theirs):
		e := l.trouble(theirs)
		e.Op = op
		return e
	case errors.Is(err, fs.ErrPermission):
		e := l.readOnly(err)
		e.Op = op
		return e
	}
	return &gitmodels.Error{Op: op, Err: err}
}

// trouble puts SQLite's codes (sqlite.org/rescode.html) into words.
func (l *Ledger) trouble(err *sqlite.Error) *gitmodels.Error {
	switch err.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return l.damaged(err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN:
		return l.readOnly(err)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return &gitmodels.Error{
			Message: fmt.Sprintf("the ledger %s is busy: another process has been writing for %s", l.shown(), busyTimeout),
			Hint:    "fuser -v " + quote(l.path), Err: err}
	case sqlite3.SQLITE_FULL:
		return &gitmodels.Error{
			Message: fmt.Sprintf("the disk of the ledger %s is full: make room, nothing is lost", l.shown()),
			Hint:    "df -h " + quote(filepath.Dir(l.path)), Err: err}
	case sqlite3.SQLITE_IOERR:
		return &gitmodels.Error{
			Message: fmt.Sprintf("the disk of the ledger %s does not read or write: look at the system's log", l.shown()),
			Hint:    "dmesg | tail", Err: err}
	}
	return &gitmodels.Error{Message: fmt.Sprintf("the ledger %s failed", l.shown()), Err: err}
}

// damaged says that the file is not a sound database. Outcomes are safe in git's
// notes, and the refs say what was pushed; the queue is what is lost.
func (l *Ledger) damaged(err error) *gitmodels.Error {
	aside := filepath.Join(filepath.Dir(l.path), "damaged-ledger")
	return &gitmodels.Error{
		Message: fmt.Sprintf("the ledger %s is damaged: stop the runner, restore a backup or move the ledger aside, then install each repository again", l.shown()),
		Hint:    fmt.Sprintf("mkdir %s && mv %s* %s/", quote(aside), quote(l.path), quote(aside)),
		Err:     err}
}

// readOnly says that the file or its folder cannot be written.
func (l *Ledger) readOnly(err error) *gitmodels.Error {
	return &gitmodels.Error{
		Message: fmt.Sprintf("the ledger %s cannot be opened for writing: it and its folder must belong to the user of the runner, on a disk mounted for writing", l.shown()),
		Hint:    fmt.Sprintf("ls -ld %s %s*", quote(filepath.Dir(l.path)), quote(l.path)),
		Err:     err}
}

func (l *Ledger) shown() string { return gitmodels.Printable(l.path, 0) }

func invalid(format string, args ...any) error {
	return &gitmodels.Error{Kind: gitmodels.Invalid, Message: fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &gitmodels.Error{Kind: gitmodels.NotFound, Message: fmt.Sprintf(format, args...)}
}

// quote makes s one word of a shell's command line.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
