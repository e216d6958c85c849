package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/install"
	"github.com/git-models/git-models/pkg/gitmodels"
)

var noon = time.Date(2027, 3, 3, 12, 0, 0, 0, time.UTC)

func newTerminal(columns int) (*terminal, *bytes.Buffer, *bytes.Buffer) {
	var out, err bytes.Buffer
	return &terminal{out: &out, err: &err, columns: columns, now: func() time.Time { return noon }}, &out, &err
}

func TestFail(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err  error
		want string
	}{
		"plain":     {errors.New("disk full"), "git-models: error: disk full\n"},
		"with hint": {&gitmodels.Error{Message: "no run", Hint: "git models ls"}, "git-models: error: no run\ngit-models: hint: git models ls\n"},
		"wrapped":   {fmt.Errorf("cancel: %w", &gitmodels.Error{Message: "no", Hint: "x"}), "git-models: error: cancel: no\ngit-models: hint: x\n"},
		"hostile":   {errors.New("a\x1b[31mb\u202e\nc\rd"), "git-models: error: a\\x1b[31mb\\u202e\ngit-models: error: c\\x0dd\n"},
		"several": {install.Problems{{Message: "a", Hint: "mend a"}, {Message: "b"}},
			"git-models: error: a\ngit-models: hint: mend a\ngit-models: error: b\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			term, out, err := newTerminal(80)
			term.fail(tt.err)
			if diff := cmp.Diff(tt.want, err.String()); diff != "" || out.Len() > 0 {
				t.Errorf("(-want +got):\n%s\nout: %s", diff, out)
			}
		})
	}
}

func TestAgo(t *testing.T) {
	t.Parallel()
	term, _, _ := newTerminal(80)
	day := 24 * time.Hour
	for d, want := range map[time.Duration]string{
		0: "now", -time.Hour: "in the future", -time.Second: "now", time.Second: "1 second ago", 89 * time.Second: "89 seconds ago",
		91 * time.Second: "2 minutes ago", 89 * time.Minute: "89 minutes ago", 2 * time.Hour: "2 hours ago",
		35 * time.Hour: "35 hours ago", 2 * day: "2 days ago", 13 * day: "13 days ago", 21 * day: "3 weeks ago",
		100 * day: "3 months ago", 400 * day: "1 year ago", 800 * day: "2 years ago",
	} {
		if got := term.ago(noon.Add(-d)); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	if got := term.ago(time.Time{}); got != "" {
		t.Errorf("never: %q", got)
	}
}

func TestTableFits(t *testing.T) {
	t.Parallel()
	rows := [][]cell{
		{plain("5a32b0f"), plain("succeeded"), plain(strings.Repeat("val=0.1 ", 40)), plain("2 hours ago")},
		{plain("4f2c1aa"), plain("failed"), plain("日本語の原因" + strings.Repeat("長", 60)), plain("now")},
		{plain("4f2c1ab"), plain("failed"), plain("e\u0301" + strings.Repeat("e\u0301", 100)), plain("")},
	}
	for _, columns := range []int{80, 100, 200} {
		term, out, _ := newTerminal(columns)
		term.table(table{head: []string{"RUN", "STATE", "RESULT", "WHEN"}, rows: rows, flex: 2})
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != 4 {
			t.Fatalf("%d lines:\n%s", len(lines), out)
		}
		for _, line := range lines {
			if w := width(line); w > columns {
				t.Errorf("%d columns in a terminal of %d: %s", w, columns, line)
			}
		}
		if !strings.Contains(lines[1], "…") != (columns == 400) {
			t.Errorf("nothing is cut: %s", lines[1])
		}
		if at := strings.Index(lines[1], "2 hours ago"); at < 0 {
			t.Errorf("the last column is lost: %s", lines[1])
		}
	}
}

func TestColour(t *testing.T) {
	t.Parallel()
	term, out, _ := newTerminal(80)
	red := cell{text: "failed", paint: func(s string) string { return term.paint(s, gitmodels.Failed) }}
	term.table(table{head: []string{"STATE", "X"}, rows: [][]cell{{red, plain("1")}}, flex: 1})
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("colour where none is wanted: %q", out)
	}
	out.Reset()
	term.colour = true
	term.table(table{head: []string{"STATE", "X"}, rows: [][]cell{{red, plain("1")}}, flex: 1})
	want := "\x1b[1mSTATE\x1b[m   \x1b[1mX\x1b[m\n\x1b[31mfailed\x1b[m  1\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLogWriter(t *testing.T) {
	t.Parallel()
	in := "epoch 1\t50%\repoch 1\t100%\r\n\x1b[31mred\x1b[0m\x07 é\xff\u202e日\r"
	want := "epoch 1\t50%\nepoch 1\t100%\n\\x1b[31mred\\x1b[0m\\x07 é\\xff\\u202e日\n"
	for size := 1; size <= len(in); size++ {
		var out bytes.Buffer
		w := &logWriter{out: &out}
		for rest := in; rest != ""; {
			n := min(size, len(rest))
			if m, err := w.Write([]byte(rest[:n])); m != n || err != nil {
				t.Fatalf("Write: %d, %v", m, err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Fatalf("in pieces of %d (-want +got):\n%s", size, diff)
		}
	}
	var out bytes.Buffer
	w := &logWriter{out: &out}
	w.Write([]byte("half \xe6\x97"))
	if err := w.Close(); err != nil || out.String() != `half \xe6\x97` {
		t.Errorf("a log that ends within a character: %q, %v", &out, err)
	}
}

func FuzzLogWriter(f *testing.F) {
	f.Add([]byte("a\r\nb"), 2)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		var out bytes.Buffer
		w := &logWriter{out: &out}
		cut = max(0, min(cut, len(data)))
		w.Write(data[:cut])
		w.Write(data[cut:])
		w.Close()
		for _, r := range out.String() {
			if r < 0x20 && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x202e {
				t.Fatalf("%q passes: %q", r, out.String())
			}
		}
	})
}

func TestWrap(t *testing.T) {
	t.Parallel()
	got := wrap("one two three\nfour\n\nfive", 2, 9)
	want := "  one two\n  three\n  four\n\n  five"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
