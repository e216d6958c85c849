package cli

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// screen is a terminal that knows what a live view tells it: up, clear, text.
type screen struct {
	mu    sync.Mutex
	lines []string
	row   int
	end   int      // bytes that were written in this row since the cursor came to it
	odd   []string // sequences that it does not know
}

var sequence = regexp.MustCompile(`^\x1b\[([0-9]*)([A-Za-z])`)

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := string(b)
	for text != "" {
		for len(s.lines) <= s.row {
			s.lines = append(s.lines, "")
		}
		if m := sequence.FindStringSubmatch(text); m != nil {
			text = text[len(m[0]):]
			switch m[2] {
			case "A":
				n := 0
				for _, d := range m[1] {
					n = n*10 + int(d-'0')
				}
				s.row -= n
				s.end = 0
			case "K":
				s.lines[s.row] = s.lines[s.row][:s.end]
			case "J":
				s.lines = s.lines[:s.row]
			case "m":
			default:
				s.odd = append(s.odd, m[0])
			}
			continue
		}
		switch c := text[0]; c {
		case '\n':
			s.row++
			s.end = 0
		case '\r':
			s.end = 0
		default:
			end := strings.IndexAny(text, "\n\r\x1b")
			if end < 0 {
				end = len(text)
			}
			if end == 0 {
				s.odd = append(s.odd, text[:1])
				end = 1
			}
			// Written from the first column, and what is longer has to be cleared.
			old := []rune(s.lines[s.row])
			new := s.lines[s.row][:s.end] + text[:end]
			s.lines[s.row] = new + string(old[min(len(old), len([]rune(new))):])
			s.end = len(new)
			text = text[end:]
			continue
		}
		text = text[1:]
	}
	return len(b), nil
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// A live view rewrites its lines, fits the terminal whatever its size, and
// leaves nothing behind.
func TestViewInPlace(t *testing.T) {
	t.Parallel()
	out := &screen{}
	columns, rows := 80, 24
	p := &program{terminal: &terminal{out: out, err: out, columns: 80, now: func() time.Time { return noon }},
		edges: Edges{Size: func() (int, int) { return columns, rows }}}
	v := &view{p: p, live: true}
	p.printf("before\n")
	log := []string{"one", "two", strings.Repeat("long ", 40), "four", "five", "six"}
	v.show("5a32b0f  running, train", log[:3])
	if got := out.text(); got != "before\n5a32b0f  running, train  for 0s\n  one\n  two\n  "+strings.Repeat("long ", 15)+"l…\n^C leaves the run alone" {
		t.Errorf("%s", got)
	}
	v.show("5a32b0f  evaluating", log)
	if got := out.text(); strings.Count(got, "\n") != 8 || strings.Contains(got, "train") {
		t.Errorf("%s", got)
	}
	// A terminal that becomes narrow breaks the lines that stand there.
	if columns, rows = 30, 6; v.height(columns) != 8+2 {
		t.Errorf("%d lines of 30 columns", v.height(columns))
	}
	columns = 80
	v.show("5a32b0f  evaluating", log)
	if got := out.text(); got != "before\n5a32b0f  evaluating  for 0s\n  five\n  six\n^C leaves the run alone" {
		t.Errorf("a low terminal:\n%s", got)
	}
	v.clear()
	p.printf("after\n")
	if got := strings.TrimSpace(out.text()); !strings.HasPrefix(got, "before\nafter") || len(out.odd) > 0 {
		t.Errorf("%q, %q", got, out.odd)
	}
}

func TestViewInLines(t *testing.T) {
	t.Parallel()
	p, out := newProgram(80, false)
	v := &view{p: p}
	for _, standing := range []string{"a  queued", "a  queued", "a  running", "a  running"} {
		v.show(standing, []string{"log"})
	}
	v.clear()
	if got := out.String(); got != "a  queued\na  running\n" {
		t.Errorf("%q", got)
	}
}

func FuzzTail(f *testing.F) {
	f.Add([]byte("a\r50%\r\x1b[2J\u202e\n"), 3)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		tail := &tail{}
		cut = max(0, min(cut, len(data)))
		tail.add(data[:cut])
		tail.add(data[cut:])
		if len(tail.lines()) > tailLines || len(tail.part) > maxPart {
			t.Fatalf("%d lines, %d bytes", len(tail.lines()), len(tail.part))
		}
		for _, line := range tail.lines() {
			for _, r := range line {
				if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x202e {
					t.Fatalf("%q passes: %q", r, line)
				}
			}
		}
	})
}

// What a job writes cannot end a watch: the server puts a space before it.
func TestEndReader(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r := &endReader{out: &out, commit: gitmodels.CommitID(strings.Repeat("5a32b0f0", 5))}
	for _, line := range []string{"git-models: 5a32b0f running, 2m\n", " git-models: 5a32b0f succeeded\n", "git-models: 4444444 succeeded\n"} {
		if _, err := r.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if r.state != gitmodels.Running {
		t.Errorf("%s", r.state)
	}
	r.Write([]byte("git-models: 5a32b0f failed: exit status 3, 14m02s\n"))
	if r.state != gitmodels.Failed || strings.Count(out.String(), "\n") != 4 {
		t.Errorf("%s\n%s", r.state, &out)
	}
}

func TestWatchOnTheServer(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.startRunner(t)
	runIn(t, s.repo, "watch", "HEAD").want(t, 1, "", "git-models: error: HEAD names no commit of this repository\n")
	commit := s.commit(t, "long", map[string]string{"src/sleep": "300"})
	s.push(t)

	// ^C leaves the run alone and says so.
	ctx, cancel := context.WithCancel(t.Context())
	line := newWatch("running, train")
	left := make(chan said, 1)
	go func() {
		left <- runWith(ctx, Edges{Dir: s.repo, Args: []string{"watch", "models"}, Stdout: line})
	}()
	select {
	case <-line.seen:
	case <-time.After(30 * time.Second):
		t.Fatalf("no state in 30 s")
	}
	cancel()
	if got := <-left; got.code != 1 || got.err != "git-models: no longer watching; the run goes on\ngit-models: hint: git models watch models\n" {
		t.Errorf("interrupted: %+v", got)
	}
	noControls(t, "watch", line.text.String())

	// On a terminal it shows the log, and the outcome in the end.
	out := &screen{}
	ended := make(chan said, 1)
	go func() {
		ended <- runWith(t.Context(), Edges{Dir: s.repo, Args: []string{"watch", commit[:7]}, Stdout: out, Columns: 100,
			Size: func() (int, int) { return 100, 24 }, Env: append(os.Environ(), "TERM=xterm", "NO_COLOR=1")})
	}()
	deadline := time.Now().Add(30 * time.Second)
	for !strings.Contains(out.text(), `  training \x1b[31moptimizer.lr=0.01`) {
		if time.Now().After(deadline) {
			t.Fatalf("no log in 30 s:\n%s", out.text())
		}
		time.Sleep(20 * time.Millisecond)
	}
	runIn(t, s.repo, "cancel", "models").ok(t)
	got := <-ended
	text := out.text()
	if got.code != 1 || !strings.Contains(text, short(commit)+"  cancelled") || strings.Contains(text, "^C leaves") ||
		!strings.Contains(text, "again       git push origin "+short(commit)+":refs/run/rerun") || len(out.odd) > 0 {
		t.Errorf("%+v\n%s\n%q", got, text, out.odd)
	}
	// One that has ended is told at once, and success is status 0.
	s.commit(t, "quick", map[string]string{"src/sleep": "0"})
	s.push(t)
	if got := runIn(t, s.repo, "watch", "models"); got.code != 0 || !strings.Contains(got.out, "succeeded  val_accuracy=0.875") {
		t.Errorf("%+v", got)
	}
	if got := runIn(t, s.repo, "watch", commit); got.code != 1 || strings.Count(got.out, "cancelled") == 0 {
		t.Errorf("%+v", got)
	}
	if got := runIn(t, s.repo, "status").ok(t); !strings.Contains(got, "runner      answers: ") || !strings.Contains(got, "queue       0 queued, 0 under way") {
		t.Errorf("%s", got)
	}
	if got := runIn(t, s.repo, "log").ok(t); !strings.Contains(got, "quick") || !strings.Contains(got, "cancelled") {
		t.Errorf("log on the server:\n%s", got)
	}
}
