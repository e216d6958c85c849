package gitmodels

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable makes a pusher's bytes safe to show on a terminal and in a log:
// control, bidirectional and invisible characters and broken UTF-8 are escaped,
// and what is longer than limit runes is cut with an ellipsis. A limit of 0
// means no limit.
func Printable(s string, limit int) string {
	var b strings.Builder
	n := 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if limit > 0 && n == limit {
			b.WriteString("…")
			break
		}
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		i += size
		n++
	}
	return b.String()
}

// FileURI is the file:// form of an absolute path (RFC 8089). What a URI gives a
// meaning of its own, and control characters, are percent-encoded.
func FileURI(absolute string) string {
	var b strings.Builder
	b.WriteString("file://")
	for i := 0; i < len(absolute); i++ {
		switch c := absolute[i]; {
		case c <= ' ' || c == 0x7f || strings.IndexByte(`%?#"<>\^{}|`+"`", c) >= 0:
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Error is a failure with its two voices: Message and Hint for the person who
// has to act, Op and Err for the operator's log.
type Error struct {
	Kind    Kind
	Message string // what was wrong, with the value; lower case, no full stop
	Hint    string // one command to paste, or empty
	Op      string // what was being done, for the operator
	Err     error  // the cause, for the operator
}

// Kind says who can mend an error, and so what the runner does about it.
type Kind int

const (
	Internal  Kind = iota // ours, or the machine's: tried again
	Invalid               // the commit's or the caller's: never tried again
	NotFound              // what was named does not exist
	Waiting               // a gap of the server: the run waits, Message says for what
	Forbidden             // the caller may not
)

func (e *Error) Error() string {
	switch {
	case e.Message == "" && e.Err != nil:
		return e.Op + ": " + e.Err.Error()
	case e.Err != nil:
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf finds the kind of the first Error in err's chain; Internal otherwise.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Suggest returns the candidate that is within two edits of word, or "".
func Suggest(word string, candidates []string) string {
	best, bestDistance := "", 3
	for _, c := range candidates {
		if d := distance(word, c, bestDistance); d < bestDistance && d < len(c) {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the optimal-string-alignment distance between a and b (a swap of
// neighbours counts once), or limit when it is at least limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	var before []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return min(row[len(b)], limit)
}
