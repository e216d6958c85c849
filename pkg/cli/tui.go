package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/git-models/git-models/install"
	"github.com/git-models/git-models/pkg/gitmodels"
)

// Everything that a person reads goes through this file, in one voice: lower
// case, no full stop, and what to do next as a command to paste.

const (
	// defaultColumns is the width of what is not a terminal, and defaultRows the
	// height of one that does not say.
	defaultColumns, defaultRows = 80, 24
	// leastColumns is the least that answers are made for.
	leastColumns = 40
)

// terminal is where a person reads.
type terminal struct {
	out, err io.Writer
	columns  int
	colour   bool // of out
	now      func() time.Time
}

// say prints a remark that is no part of the answer.
func (t *terminal) say(format string, args ...any) {
	t.voice("", fmt.Sprintf(format, args...))
}

// hint prints a command to paste.
func (t *terminal) hint(command string) {
	if command != "" {
		t.voice("hint: ", command)
	}
}

// fail prints an error and, if it carries one, its hint. Of several problems
// each has its own.
func (t *terminal) fail(err error) {
	var problems install.Problems
	if errors.As(err, &problems) {
		for _, problem := range problems {
			t.fail(problem)
		}
		return
	}
	t.voice("error: ", message(err))
	var e *gitmodels.Error
	if errors.As(err, &e) {
		t.hint(e.Hint)
	}
}

// message is what an error says to a person. The cause of one that has a message
// is the operator's, unless it is the machine that failed.
func message(err error) string {
	if u, ok := err.(usageError); ok {
		err = u.err
	}
	if e, ok := err.(*gitmodels.Error); ok && e.Message != "" && e.Kind != gitmodels.Internal {
		return e.Message
	}
	return err.Error()
}

// voice writes text with our name before every line.
func (t *terminal) voice(kind, text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(t.err, "git-models: %s%s\n", kind, gitmodels.Printable(strings.TrimRight(line, "\n"), 0))
	}
}

// printf writes to the answer. What is foreign in args was made printable.
func (t *terminal) printf(format string, args ...any) {
	fmt.Fprintf(t.out, format, args...)
}

// paint colours the name of a state.
func (t *terminal) paint(text string, state gitmodels.State) string {
	code := ""
	switch state {
	case gitmodels.Succeeded:
		code = "32"
	case gitmodels.Failed:
		code = "31"
	case gitmodels.Building, gitmodels.Submitted, gitmodels.Running, gitmodels.Evaluating, gitmodels.Cancelling:
		code = "33"
	default:
		code = "2"
	}
	return t.sgr(text, code)
}

func (t *terminal) bold(text string) string { return t.sgr(text, "1") }

func (t *terminal) sgr(text, code string) string {
	if !t.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[m"
}

// ago says how long before now at was, as git does.
func (t *terminal) ago(at time.Time) string {
	d := t.now().Sub(at)
	count := func(n int64, unit string) string {
		if n == 1 {
			return "1 " + unit + " ago"
		}
		return fmt.Sprintf("%d %ss ago", n, unit)
	}
	switch s := int64(d / time.Second); {
	case at.IsZero():
		return ""
	case s < -60:
		return "in the future"
	case s < 1:
		return "now"
	case s < 90:
		return count(s, "second")
	case s < 90*60:
		return count((s+30)/60, "minute")
	case s < 36*3600:
		return count((s+1800)/3600, "hour")
	case s < 14*24*3600:
		return count((s+12*3600)/(24*3600), "day")
	case s < 70*24*3600:
		return count((s+84*3600)/(7*24*3600), "week")
	case s < 365*24*3600:
		return count((s+15*24*3600)/(30*24*3600), "month")
	default:
		return count(s/(365*24*3600), "year")
	}
}

// cell is one field of a table. Text is what is measured; Paint, when set,
// colours what is left of it.
type cell struct {
	text  string
	paint func(string) string
}

func plain(s string) cell { return cell{text: s} }

// table aligns rows in columns. The column flex gives way where the terminal is
// too narrow, but not below minFlex, and those of more with it, always the widest
// of them; the last column is not padded.
type table struct {
	head   []string
	rows   [][]cell
	flex   int
	more   []int
	sparse bool // columns without any text are left out
}

// dense is the table without its empty columns.
func (tb table) dense() table {
	out := table{rows: make([][]cell, len(tb.rows))}
	place := make([]int, len(tb.head))
	for i, head := range tb.head {
		empty := true
		for _, row := range tb.rows {
			empty = empty && row[i].text == ""
		}
		if empty {
			continue
		}
		place[i] = len(out.head)
		if i <= tb.flex {
			out.flex = len(out.head)
		}
		out.head = append(out.head, head)
		for j, row := range tb.rows {
			out.rows[j] = append(out.rows[j], row[i])
		}
	}
	for _, i := range tb.more {
		if place[i] > 0 || i == 0 {
			out.more = append(out.more, place[i])
		}
	}
	return out
}

const minFlex = 8

func (t *terminal) table(tb table) {
	if tb.sparse {
		tb = tb.dense()
	}
	widths := make([]int, len(tb.head))
	for i, h := range tb.head {
		widths[i] = width(h)
		for _, row := range tb.rows {
			widths[i] = max(widths[i], width(row[i].text))
		}
	}
	total := 2 * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for ; total > t.columns; total-- {
		widest := tb.flex
		for _, i := range tb.more {
			if widths[i] > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= minFlex {
			break
		}
		widths[widest]--
	}
	line := func(row []cell) {
		var b strings.Builder
		for i, c := range row {
			text := clip(c.text, widths[i])
			pad := strings.Repeat(" ", widths[i]-width(text))
			if c.paint != nil {
				text = c.paint(text)
			}
			b.WriteString(text)
			if i < len(row)-1 {
				b.WriteString(pad + "  ")
			}
		}
		t.printf("%s\n", strings.TrimRight(b.String(), " "))
	}
	head := make([]cell, len(tb.head))
	for i, h := range tb.head {
		head[i] = cell{text: h, paint: t.bold}
	}
	line(head)
	for _, row := range tb.rows {
		line(row)
	}
}

// clip cuts s to n columns, the last of them an ellipsis.
func clip(s string, n int) string {
	if width(s) <= n {
		return s
	}
	used := 0
	for i, r := range s {
		if w := runeWidth(r); used+w > n-1 {
			return s[:i] + "…"
		} else {
			used += w
		}
	}
	return s
}

// width is how many columns a terminal gives s.
func width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// runeWidth follows UAX #11 as far as names and subjects need it: marks that
// combine take no column, East Asian wide characters and pictures two.
func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3,
		r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60,
		r >= 0xffe0 && r <= 0xffe6, r >= 0x1f300 && r <= 0x1faff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

// wrap breaks text at spaces into lines of at most n columns, each after indent
// spaces.
func wrap(text string, indent, n int) string {
	var b strings.Builder
	for i, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			b.WriteString("\n\n")
		}
		column := 0
		for _, word := range strings.Fields(paragraph) {
			switch {
			case column == 0:
				b.WriteString(strings.Repeat(" ", indent))
				column = indent
			case column+1+width(word) > n:
				b.WriteString("\n" + strings.Repeat(" ", indent))
				column = indent
			default:
				b.WriteString(" ")
				column++
			}
			b.WriteString(word)
			column += width(word)
		}
	}
	return b.String()
}

// logWriter passes a job's log on to a person's terminal: lines stay lines, a
// progress bar's carriage return begins a new one, and every other control
// character is shown instead of obeyed.
type logWriter struct {
	out  io.Writer
	held []byte // a carriage return or the beginning of a character
}

func (w *logWriter) Write(p []byte) (int, error) {
	data := append(w.held, p...)
	w.held = nil
	var b strings.Builder
	for len(data) > 0 {
		if data[0] == '\r' {
			if len(data) == 1 {
				break
			}
			if data[1] != '\n' {
				b.WriteByte('\n')
			}
			data = data[1:]
			continue
		}
		if !utf8.FullRune(data) {
			break
		}
		_, size := utf8.DecodeRune(data)
		switch text := string(data[:size]); text {
		case "\n", "\t":
			b.WriteString(text)
		default:
			b.WriteString(gitmodels.Printable(text, 0))
		}
		data = data[size:]
	}
	w.held = append(w.held, data...)
	if _, err := io.WriteString(w.out, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close writes what was held back.
func (w *logWriter) Close() error {
	if len(w.held) == 0 {
		return nil
	}
	text := gitmodels.Printable(string(w.held), 0)
	if w.held[0] == '\r' {
		text = "\n"
	}
	w.held = nil
	_, err := io.WriteString(w.out, text)
	return err
}
