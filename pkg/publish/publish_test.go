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

// refs is a repository in memory that counts what is written.
type refs struct {
	notes    map[gitmodels.RefName]map[gitmodels.CommitID]string
	kept     []gitmodels.CommitID
	writes   int
	failKeep error
	failNote error
}

func (r *refs) ReadNote(_ context.Context, ref gitmodels.RefName, c gitmodels.CommitID) (string, bool, error) {
	text, ok := r.notes[ref][c]
	return text, ok, nil
}

func (r *refs) WriteNote(_ context.Context, ref gitmodels.RefName, c gitmodels.CommitID, text string) error {
	if r.failNote != nil {
		return r.failNote
	}
	r.writes++
	if r.notes == nil {
		r.notes = map[gitmodels.RefName]map[gitmodels.CommitID]string{}
	}
	if r.notes[ref] == nil {
		r.notes[ref] = map[gitmodels.CommitID]string{}
	}
	r.notes[ref][c] = text
	return nil
}

func (r *refs) Keep(_ context.Context, ref gitmodels.RefName, c gitmodels.CommitID) error {
	if r.failKeep != nil {
		return r.failKeep
	}
	if ref != KeepRef {
		return errors.New("kept in " + string(ref))
	}
	for _, k := range r.kept {
		if k == c {
			return nil
		}
	}
	r.kept = append(r.kept, c)
	return nil
}

func publisher(r *refs) *Publisher {
	return &Publisher{Open: func(string) (Refs, error) { return r, nil }}
}

var dogs = gitmodels.Repository{ID: "1", Name: "dogs", Path: "/srv/git/dogs.git"}

func TestPublishOnce(t *testing.T) {
	t.Parallel()
	r := &refs{}
	p := publisher(r)
	for range 3 {
		if err := p.Publish(t.Context(), dogs, finished()); err != nil {
			t.Fatal(err)
		}
	}
	if r.writes != 1 || len(r.kept) != 1 {
		t.Errorf("%d notes written, %d commits kept", r.writes, len(r.kept))
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
	second.Attempt, second.Finished = 2, first.Finished.Add(time.Hour)
	third := second
	third.Attempt, third.State, third.Cause, third.Finished = 3, gitmodels.Cancelled, "by bob", second.Finished.Add(time.Hour)

	r := &refs{}
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
	if r.writes != 3 {
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
	r := &refs{}
	p := publisher(r)
	p.NotesRef = func(context.Context, gitmodels.Repository) (gitmodels.RefName, error) {
		return "refs/notes/commits", nil
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
	if r.writes != 3 {
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
	tests := map[string]struct {
		refs    *refs
		outcome gitmodels.Outcome
		want    string
	}{
		"commit not kept":  {&refs{failKeep: broken}, finished(), "publish 5a32b0f of dogs: keep the commit: disk full"},
		"note not written": {&refs{failNote: broken}, finished(), "publish 5a32b0f of dogs: write its note: disk full"},
		"not an end":       {&refs{}, running, `publish dogs: outcome of 5a32b0f is in state "running", which is not an end`},
		"no commit":        {&refs{}, unnamed, "publish dogs: object id 5a32b0f: 7 characters, want 40 or 64"},
		"no attempt":       {&refs{}, zeroth, "publish dogs: outcome of 5a32b0f has attempt number 0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := publisher(tt.refs).Publish(t.Context(), dogs, tt.outcome)
			if err == nil || err.Error() != tt.want {
				t.Errorf("error %v\nwant  %s", err, tt.want)
			}
			if tt.refs.writes != 0 {
				t.Error("a note was written")
			}
		})
	}
}
