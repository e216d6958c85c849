package container

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testLog is a job's log that already holds text, with the engine's log
// beginning after the first base bytes.
func testLog(t *testing.T, text string, base, limit int64) (*jobLog, func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := openLog(path, base, base+limit, limit, func(int64) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return l, func() string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

func TestLogCopy(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789\n", 20_000)
	for name, c := range map[string]struct {
		have   string
		limit  int64
		engine string
		want   string
		full   bool
		err    error
	}{
		"empty":             {"", 1 << 20, "one\ntwo", "one\ntwo", false, nil},
		"taken over":        {"one\nt", 1 << 20, "one\ntwo\n", "one\ntwo\n", false, nil},
		"nothing new":       {"one\n", 1 << 20, "one\n", "one\n", false, nil},
		"a long one":        {long[:70_001], 1 << 20, long, long, false, nil},
		"exactly the limit": {"", 8, "one\ntwo\n", "one\ntwo\n", false, nil},
		"full":              {"", 6, "one\ntwo\n", "one\ntw\ngit-models: the log is full (6 bytes), what follows is dropped\n", true, nil},
		"was full": {"one\ntw\ngit-models: the log is full (6 bytes), what follows is dropped\n", 6, "one\ntwo\n",
			"one\ntw\ngit-models: the log is full (6 bytes), what follows is dropped\n", true, nil},
		"another":  {"one\ntwo\n", 1 << 20, "one\nTWO\n", "one\ntwo\n", false, errDiffers},
		"a part":   {"one\ntwo\n", 1 << 20, "one\n", "one\ntwo\n", false, errDiffers},
		"no bytes": {"one\n", 1 << 20, "", "one\n", false, errDiffers},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const ours = "git-models: pulled in 3s\n"
			l, text := testLog(t, ours+c.have, int64(len(ours)), c.limit)
			full, err := l.copy(strings.NewReader(c.engine), true)
			if full != c.full || err != c.err || text() != ours+c.want {
				t.Errorf("full %v, %v, %.300q", full, err, text())
			}
		})
	}
}

// TestLogMend: the words of a client that failed are taken back; what an engine
// has cut off stays, and the rest follows.
func TestLogMend(t *testing.T) {
	t.Parallel()
	copyTwice := func(l *jobLog, engine string) {
		t.Helper()
		if _, err := l.copy(strings.NewReader(engine), true); !errors.Is(err, errDiffers) {
			t.Fatal(err)
		}
		if err := l.mend(); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time there is nothing to do
			if _, err := l.copy(strings.NewReader(engine), true); err != nil {
				t.Fatal(err)
			}
		}
	}
	l, text := testLog(t, "one\nError: no daemon\n", 0, 1<<20)
	if copyTwice(l, "one\ntwo\n"); text() != "one\ntwo\n" {
		t.Errorf("%q", text())
	}
	before := strings.Repeat("before\n", 2000)
	l, text = testLog(t, before, 0, 1<<20)
	copyTwice(l, "after\n")
	if got := text(); got != before+"\ngit-models: something may be missing here: the container engine has cut its log\nafter\n" {
		t.Errorf("%.200q", got)
	}
}
