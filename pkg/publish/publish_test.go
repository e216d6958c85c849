package publish

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

func TestPublishOnce(t *testing.T) {
	t.Parallel()
	r := newRefs()
	p := publisher(r)
	for range 3 {
		if err := p.Publish(t.Context(), dogs, finished()); err != nil {
			t.Fatal(err)
		}
	}
	if r.writes != 3 { // the chain, the tag, the note
		t.Errorf("%d writes", r.writes)
	}
	if diff := cmp.Diff(Note(finished(), nil), r.notes[DefaultNotesRef][commit]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPublishAttempts(t *testing.T) {
	t.Parallel()
	first := finished()
	first.State, first.Cause = gitmodels.Failed, "exit status 3"
	second := finished()
	second.Attempt, second.Name, second.Finished = 2, "5a32b0f-r2", first.Finished.Add(time.Hour)
	third := second
	third.Attempt, third.Name, third.State, third.Cause, third.Finished = 3, "5a32b0f-r3", gitmodels.Cancelled, "by bob", second.Finished.Add(time.Hour)

	r := newRefs()
	p := publisher(r)
	publish := func(o gitmodels.Outcome) Parsed {
		t.Helper()
		if err := p.Publish(t.Context(), dogs, o); err != nil {
			t.Fatal(err)
		}
		got, ok := ParseNote(r.notes[DefaultNotesRef][commit], commit)
		if !ok {
			t.Fatal("no note of ours")
		}
		return got
	}
	publish(first)
	got := publish(second)
	if diff := cmp.Diff([]Previous{{1, gitmodels.Failed, "exit status 3"}}, got.Previous); diff != "" || got.Attempt != 2 {
		t.Errorf("attempt %d, previous (-want +got):\n%s", got.Attempt, diff)
	}
	if got = publish(first); got.State != gitmodels.Succeeded || got.Attempt != 2 {
		t.Errorf("an old item of the outbox left attempt %d %s", got.Attempt, got.State)
	}
	publish(third)
	got = publish(third)
	want := []Previous{{1, gitmodels.Failed, "exit status 3"}, {2, gitmodels.Succeeded, "training ended with status 0"}}
	if diff := cmp.Diff(want, got.Previous); diff != "" || got.State != gitmodels.Cancelled {
		t.Errorf("%s, previous (-want +got):\n%s", got.State, diff)
	}
	if r.writes != 5 { // the chain, three notes, the tag of the second attempt
		t.Errorf("%d writes", r.writes)
	}
	// A ledger that was lost counts attempts anew; its outcomes are news.
	anew := finished()
	anew.Finished = third.Finished.Add(time.Hour)
	if got = publish(anew); got.Attempt != 1 || len(got.Previous) != 3 {
		t.Errorf("attempt %d, previous %v", got.Attempt, got.Previous)
	}
}

func TestPublishKeepsForeignWords(t *testing.T) {
	t.Parallel()
	r := newRefs()
	p := publisher(r)
	p.Settings = func(context.Context, gitmodels.Repository) (Settings, error) {
		return Settings{NotesRef: "refs/notes/commits", Tags: "none"}, nil
	}
	words := "  reviewed:\n\n\n   indented, with Key: value\n"
	if err := r.WriteNote(t.Context(), "refs/notes/commits", commit, words); err != nil {
		t.Fatal(err)
	}
	first, second := finished(), finished()
	second.Attempt, second.Finished = 2, first.Finished.Add(time.Minute)
	for _, o := range []gitmodels.Outcome{first, second, second} {
		if err := p.Publish(t.Context(), dogs, o); err != nil {
			t.Fatal(err)
		}
	}
	text := r.notes["refs/notes/commits"][commit]
	if !strings.HasPrefix(text, "  reviewed:\n\n   indented, with Key: value\n\nsucceeded  ") {
		t.Errorf("the words before ours are lost:\n%s", text)
	}
	if n := strings.Count(text, "\nState: "); n != 1 {
		t.Errorf("%d states in\n%s", n, text)
	}
	if r.writes != 4 { // the words, the chain, two notes
		t.Errorf("%d writes", r.writes)
	}
}

func TestPublishFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk full")
	running := finished()
	running.State = gitmodels.Running
	unnamed := finished()
	unnamed.Commit = "5a32b0f"
	zeroth := finished()
	zeroth.Attempt = 0
	ranked := finished()
	ranked.Best = &gitmodels.Best{Metric: "loss", Mode: "min"}
	curved := finished()
	curved.Values = []gitmodels.Metric{line("loss", 3)}
	tests := map[string]struct {
		fail    string // the step that does
		outcome gitmodels.Outcome
		want    string
		noted   bool // the note is written all the same
	}{
		"commit not kept":       {"keep", finished(), "publish 5a32b0f of dogs: keep the commit: disk full", false},
		"note not read":         {"read note", finished(), "publish 5a32b0f of dogs: read its note: disk full", false},
		"note not written":      {"write refs/notes/models", finished(), "publish 5a32b0f of dogs: write its note: disk full", false},
		"curves not written":    {"write refs/notes/models-curves", curved, "publish 5a32b0f of dogs: write its curves: disk full", true},
		"notes not listed":      {"list notes", ranked, "publish 5a32b0f of dogs: rank it: disk full", true},
		"best branch not moved": {"move a ref", ranked, "publish 5a32b0f of dogs: rank it: disk full", true},
		"no tag":                {"tag", finished(), "publish 5a32b0f of dogs: tag it: disk full", true},
		"not an end":            {"", running, `publish dogs: outcome of 5a32b0f is in state "running", which is not an end`, false},
		"no commit":             {"", unnamed, "publish dogs: object id 5a32b0f: 7 characters, want 40 or 64", false},
		"no attempt":            {"", zeroth, "publish dogs: outcome of 5a32b0f has attempt number 0", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRefs()
			r.fail[tt.fail] = broken
			p := publisher(r)
			err := p.Publish(t.Context(), dogs, tt.outcome)
			if err == nil || err.Error() != tt.want {
				t.Errorf("error %v\nwant  %s", err, tt.want)
			}
			if _, noted := r.notes[DefaultNotesRef][commit]; noted != tt.noted {
				t.Errorf("a note was written: %v", noted)
			}
			if tt.fail == "" {
				return
			}
			delete(r.fail, tt.fail)
			if err := p.Publish(t.Context(), dogs, tt.outcome); err != nil {
				t.Fatal(err)
			}
			whole := newRefs()
			if err := publisher(whole).Publish(t.Context(), dogs, tt.outcome); err != nil {
				t.Fatal(err)
			}
			same(t, whole, r)
		})
	}
}

// same compares what two repositories hold.
func same(t *testing.T, want, got *refs) {
	t.Helper()
	for _, diff := range []string{cmp.Diff(want.notes, got.notes), cmp.Diff(want.kept, got.kept), cmp.Diff(want.tips, got.tips), cmp.Diff(want.tags, got.tags)} {
		if diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// A process that dies at any step leaves what a repetition completes, and the
// note is never there without the rest.
func TestPublishCrash(t *testing.T) {
	t.Parallel()
	type crash struct{}
	for _, tags := range []string{"succeeded", "all", "best", "none"} {
		first, second := finished(), finished()
		first.Best = &gitmodels.Best{Metric: "loss", Mode: "min"}
		first.Values = append(first.Values[1:], line("loss", 100))
		second.Best, second.Commit, second.Run, second.Name = first.Best, other, "0e1d2c3", "0e1d2c3"
		second.Values, second.Finished = []gitmodels.Metric{{Name: "loss", Final: -1}}, first.Finished.Add(time.Minute)
		whole := newRefs()
		for _, o := range []gitmodels.Outcome{first, second} {
			if err := tagging(whole, tags).Publish(t.Context(), dogs, o); err != nil {
				t.Fatal(err)
			}
		}
		for at := 1; ; at++ {
			r := newRefs()
			if err := tagging(r, tags).Publish(t.Context(), dogs, first); err != nil {
				t.Fatal(err)
			}
			steps, died := 0, false
			r.before = func(r *refs, op string) {
				if steps++; steps == at {
					panic(crash{})
				}
			}
			func() {
				defer func() { died = recover() != nil }()
				if err := tagging(r, tags).Publish(t.Context(), dogs, second); err != nil {
					t.Fatal(err)
				}
			}()
			r.before = nil
			if _, noted := r.notes[DefaultNotesRef][other]; noted {
				same(t, whole, r)
			}
			for range 2 {
				if err := tagging(r, tags).Publish(t.Context(), dogs, second); err != nil {
					t.Fatal(err)
				}
			}
			same(t, whole, r)
			if !died {
				if at < 10 {
					t.Errorf("only %d steps", at)
				}
				break
			}
		}
	}
}

// other is another commit of the branch.
const other = gitmodels.CommitID("0e1d2c3b4a5968778695a4b3c2d1e0f001122334")
