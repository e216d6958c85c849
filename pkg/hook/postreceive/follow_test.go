package postreceive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// within fails the test when do takes longer than it may.
func within(t *testing.T, limit time.Duration, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(limit):
		t.Fatalf("it takes more than %s", limit)
	}
}

// A reader that is gone is seen at once, before anything is written.
func TestReaderGone(t *testing.T) {
	t.Parallel()
	r, w := pipe(t)
	l := newListener(w, time.Minute)
	if err := l.Check(); err != nil {
		t.Errorf("with a reader: %v", err)
	}
	r.Close()
	if err := l.Check(); !errors.Is(err, errGone) {
		t.Errorf("Check: %v", err)
	}
	if _, err := l.Write([]byte("x")); !errors.Is(err, errGone) {
		t.Errorf("Write: %v", err)
	}
}

// A reader that holds the pipe and takes nothing out is given up after the
// patience, be the pipe full or not; a slow one is not.
func TestReaderDeaf(t *testing.T) {
	t.Parallel()
	const patience = 300 * time.Millisecond
	_, w := pipe(t)
	l := newListener(w, patience)
	if _, err := l.Write([]byte("one line\n")); err != nil {
		t.Fatal(err)
	}
	within(t, 30*time.Second, func() {
		for l.Check() == nil {
			time.Sleep(10 * time.Millisecond)
		}
	})

	_, w = pipe(t)
	l = newListener(w, patience)
	within(t, 30*time.Second, func() {
		if n, err := l.Write(make([]byte, 1<<20)); !errors.Is(err, errGone) || n == 0 || n >= 1<<20 {
			t.Errorf("a full pipe: %d, %v", n, err)
		}
	})

	r, w := pipe(t)
	l = newListener(w, patience)
	go func() {
		for b := make([]byte, 1); ; {
			if _, err := r.Read(b); err != nil {
				return
			}
			time.Sleep(patience / 10)
		}
	}()
	for range 40 {
		if _, err := l.Write([]byte("x")); err != nil {
			t.Fatalf("a slow reader: %v", err)
		}
	}
	for start := time.Now(); time.Since(start) < 2*patience; time.Sleep(patience / 10) {
		if err := l.Check(); err != nil {
			t.Fatalf("a slow reader: %v", err)
		}
	}
}

// What can be read but not counted is a reader all the same.
func TestReaderOfAFile(t *testing.T) {
	t.Parallel()
	f, err := os.Create(t.TempDir() + "/words")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := readerOf(f, time.Nanosecond)
	if _, err := io.WriteString(out, "words"); err != nil || out.Check() != nil {
		t.Error(err, out.Check())
	}
	var b bytes.Buffer
	out = readerOf(&b, 0)
	if _, err := io.WriteString(out, "words"); err != nil || out.Check() != nil || b.String() != "words" {
		t.Error(err, out.Check(), &b)
	}
}

func newFollower(out reader) follower {
	return follower{out: out, checking: 5 * time.Millisecond, beating: time.Hour, max: 1 << 20, beat: func() string { return "all is well" }}
}

// Everything is shown, in order, and the source's end is the end.
func TestFollow(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	end := &gitmodels.Error{Message: "the runner is stopping"}
	err := newFollower(deaf{&b}).run(context.Background(), func(_ context.Context, emit func([]byte) error) error {
		for _, text := range []string{"one\ntw", "o\nthr", "ee"} {
			if err := emit([]byte(text)); err != nil {
				return err
			}
		}
		return end
	})
	if !errors.Is(err, end) || b.String() != "one\ntwo\nthree\n" {
		t.Errorf("%v, %q", err, &b)
	}
}

// The reader's end ends a source that never would, and one that always has more.
func TestFollowGone(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]func(context.Context, func([]byte) error) error{
		"silent": func(ctx context.Context, _ func([]byte) error) error { <-ctx.Done(); return ctx.Err() },
		"noisy": func(_ context.Context, emit func([]byte) error) error {
			for {
				if err := emit([]byte(strings.Repeat("x", 70) + "\n")); err != nil {
					return err
				}
			}
		},
		"deaf to it": func(context.Context, func([]byte) error) error { select {} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, w := pipe(t)
			f := newFollower(newListener(w, 100*time.Millisecond))
			time.AfterFunc(50*time.Millisecond, func() { r.Close() })
			within(t, 30*time.Second, func() {
				if err := f.run(context.Background(), source); !errors.Is(err, errGone) {
					t.Errorf("%v", err)
				}
			})
		})
	}
	// One that stays and does not read is only seen by what was written: a beat.
	_, w := pipe(t)
	f := newFollower(newListener(w, 100*time.Millisecond))
	f.beating = 50 * time.Millisecond
	within(t, 30*time.Second, func() {
		if err := f.run(context.Background(), func(ctx context.Context, _ func([]byte) error) error { <-ctx.Done(); return nil }); !errors.Is(err, errGone) {
			t.Errorf("%v", err)
		}
	})
}

func TestBeat(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	f := newFollower(deaf{&b})
	f.beating = 10 * time.Millisecond
	stop := make(chan struct{})
	beats := 0
	f.beat = func() string {
		if beats++; beats == 3 {
			close(stop)
		}
		return "all is well"
	}
	err := f.run(context.Background(), func(context.Context, func([]byte) error) error { <-stop; return nil })
	if err != nil || !strings.HasPrefix(b.String(), "git-models: all is well\ngit-models: all is well\n") {
		t.Errorf("%v, %q", err, &b)
	}
}

// A log has a bound; the run's end is told all the same.
func TestFollowBound(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	f := newFollower(deaf{&b})
	f.max = 100
	err := f.run(context.Background(), func(_ context.Context, emit func([]byte) error) error {
		for range 50 {
			if err := emit([]byte("0123456789\n")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || b.Len() > 200 || !strings.HasSuffix(b.String(), "git-models: the log is longer than is shown in a push; the run goes on\n") {
		t.Errorf("%v, %q", err, &b)
	}
}

func TestLogText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain\n":                               "plain\n",
		"\n":                                    "\n",
		"no end":                                "no end\n",
		"windows\r\n":                           "windows\n",
		"10%\r20%\r30%\n":                       "30%\n",
		"a\tb\n":                                "a    b\n",
		"\x1b[1;31mred\x1b[0m\n":                "red\n",
		"\x1b[2Jgone\x1b]0;title\x07\n":         `\x1b[2Jgone\x1b]0;title\x07` + "\n",
		"\x1b[":                                 `\x1b[` + "\n",
		"git-models: succeeded 5a32b0f\n":       " git-models: succeeded 5a32b0f\n",
		"x\rgit-models: forged\n":               " git-models: forged\n",
		"\x1b[0mgit-models: forged\n":           " git-models: forged\n",
		"\xff\u202e\n":                          `\xff\u202e` + "\n",
		strings.Repeat("x", maxLogLine) + "y\n": strings.Repeat("x", maxLogLine) + "…\n",
	} {
		for _, size := range []int{1, 3, len(in)} {
			var l logText
			var out strings.Builder
			for rest := []byte(in); len(rest) > 0; rest = rest[min(size, len(rest)):] {
				out.WriteString(l.lines(rest[:min(size, len(rest))]))
			}
			out.WriteString(l.rest())
			if out.String() != want {
				t.Errorf("%q in pieces of %d: %q, want %q", in, size, &out, want)
			}
		}
	}
}

// FuzzLogText: whatever a job prints is lines of printable characters, none of
// which could be taken for ours, however it is cut into pieces.
func FuzzLogText(f *testing.F) {
	f.Add([]byte("one\r\ntwo\x1b[31m\n"), 3)
	f.Add([]byte("git-models: x\n\n"), 1)
	f.Add(bytes.Repeat([]byte("x"), maxHeld+10), 5000)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		if size < 1 {
			t.Skip()
		}
		var l logText
		var out strings.Builder
		for rest := in; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			out.WriteString(l.lines(rest[:min(size, len(rest))]))
		}
		out.WriteString(l.rest())
		for line := range strings.Lines(out.String()) {
			text := strings.TrimSuffix(line, "\n")
			if text == line || gitmodels.Printable(text, 0) != text || strings.HasPrefix(text, "git-models:") {
				t.Errorf("%q", line)
			}
		}
		if len(l.held) > maxHeld {
			t.Errorf("%d bytes are held", len(l.held))
		}
	})
}
