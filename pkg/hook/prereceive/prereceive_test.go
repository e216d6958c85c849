package prereceive

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/hook"
)

// edges are those of a hook in an empty folder, whose state is below it.
func edges(t *testing.T, out *strings.Builder) hook.Edges {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "git-models"), 0o755); err != nil {
		t.Fatal(err)
	}
	return hook.Edges{Stdin: strings.NewReader("x\n"), Stdout: out, Stderr: out, Env: []string{"XDG_STATE_HOME=" + dir}, Dir: dir, Program: "hooks/pre-receive"}
}

// Whatever happens while a push is judged refuses it: one line for the pusher,
// the cause in the log under the same id.
func TestBroken(t *testing.T) {
	t.Parallel()
	for name, judge := range map[string]judging{
		"panic": func(context.Context, hook.Edges, []byte, *string) (judgement, error) { panic("with words") },
		"error": func(context.Context, hook.Edges, []byte, *string) (judgement, error) {
			return judgement{}, errors.New("with words")
		},
		"error beside an answer": func(context.Context, hook.Edges, []byte, *string) (judgement, error) {
			return judgement{}, errors.New("with words")
		},
		"deadline": func(ctx context.Context, _ hook.Edges, _ []byte, _ *string) (judgement, error) {
			<-ctx.Done()
			return judgement{}, errors.Join(ctx.Err(), errors.New("with words"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			e := edges(t, &out)
			if status := run(e, 50*time.Millisecond, judge); status == 0 {
				t.Error("the push passes")
			}
			text := out.String()
			if !strings.HasPrefix(text, "git-models: refused, nothing moved") || strings.Count(text, "\n") != 1 || len(text) > hook.Columns+1 || strings.Contains(text, "with words") {
				t.Errorf("words: %q", text)
			}
			_, id, _ := strings.Cut(strings.TrimSuffix(text, ")\n"), "(id ")
			log, err := os.ReadFile(filepath.Join(e.Dir, "git-models", "log", "hooks.log"))
			if err != nil || id == "" || !strings.Contains(string(log), id) || !strings.Contains(string(log), "with words") {
				t.Errorf("log: %q (%v) for %q", log, err, text)
			}
		})
	}
}

// A judge that does not hear of the deadline does not hold the push.
func TestDeaf(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes the grace period")
	}
	var out strings.Builder
	done := make(chan struct{})
	defer close(done)
	status := run(edges(t, &out), time.Millisecond, func(context.Context, hook.Edges, []byte, *string) (judgement, error) {
		<-done
		return judgement{}, nil
	})
	if status == 0 || !strings.Contains(out.String(), "refused") {
		t.Errorf("%d, %s", status, &out)
	}
}

func TestUnloggable(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	e := edges(t, &out)
	e.Env = nil
	if status := run(e, time.Second, func(context.Context, hook.Edges, []byte, *string) (judgement, error) { panic(1) }); status == 0 {
		t.Error("the push passes")
	}
	if out.String() != "git-models: refused, nothing moved: the gate failed, and its log as well\n" {
		t.Errorf("words: %q", &out)
	}
}

type brokenPipe struct{}

func (brokenPipe) Read([]byte) (int, error)  { return 0, errors.New("broken pipe") }
func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestBrokenEdges(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	e := edges(t, &out)
	e.Stdin = brokenPipe{}
	if status := Run(e); status == 0 {
		t.Error("a push that could not be read passes")
	}
	// Words that nobody hears still refuse.
	e = edges(t, &out)
	e.Stderr = brokenPipe{}
	refuse := func(context.Context, hook.Edges, []byte, *string) (judgement, error) {
		return judgement{blocks: []*hook.Block{(&hook.Block{}).Say("no")}, refused: true}, nil
	}
	if status := run(e, time.Second, refuse); status == 0 {
		t.Error("a refusal that could not be said passes")
	}
	pass := func(context.Context, hook.Edges, []byte, *string) (judgement, error) { return judgement{}, nil }
	out.Reset()
	if status := run(edges(t, &out), time.Second, pass); status != 0 || out.Len() != 0 {
		t.Errorf("a good push: %d, %q", status, &out)
	}
}
