// Package publish puts the outcome of a run into git beside its commit: a note
// that people read with `git log --notes=models` and programs with git's own
// trailer parser, and a link in the hidden chain that keeps the commit from
// being collected as garbage.
//
// It writes refs only through the Refs it is given. It imports the domain and
// the standard library alone: never another adapter, never a package that runs
// git.
package publish

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// KeepRef is the chain whose commits hold every recorded commit as a parent.
// It lies outside refs/heads and refs/tags, and is hidden from pushers.
const KeepRef gitmodels.RefName = "refs/models/keep"

// DefaultNotesRef is where notes go unless policy says otherwise.
const DefaultNotesRef gitmodels.RefName = "refs/notes/models"

// Refs is what the Publisher needs of a repository. git itself writes behind
// it, so that concurrent pushes and gc are safe.
type Refs interface {
	// ReadNote returns the text of commit's note; ok is false when it has none.
	ReadNote(ctx context.Context, notesRef gitmodels.RefName, commit gitmodels.CommitID) (text string, ok bool, err error)
	// WriteNote replaces the note of commit.
	WriteNote(ctx context.Context, notesRef gitmodels.RefName, commit gitmodels.CommitID, text string) error
	// Keep makes commit reachable from ref; when it is already, nothing changes.
	Keep(ctx context.Context, ref gitmodels.RefName, commit gitmodels.CommitID) error
}

// Publisher implements gitmodels.Publisher. It is safe for concurrent use.
type Publisher struct {
	// Open returns the refs of the repository whose git directory is path.
	Open func(path string) (Refs, error)
	// NotesRef names the ref that the repository's policy wants notes in. Nil
	// means DefaultNotesRef.
	NotesRef func(ctx context.Context, repo gitmodels.Repository) (gitmodels.RefName, error)

	// A note is read, judged and written back; two of one commit must not do so
	// at once.
	mu sync.Mutex
}

var _ gitmodels.Publisher = (*Publisher)(nil)

// Publish writes the note of o.Commit and links the commit into the chain.
//
// The note tells of the newest attempt: one of a later attempt stays as it is,
// one of an earlier attempt is replaced and named under Previous. What somebody
// else wrote into the same note is kept above ours. A repetition writes nothing.
func (p *Publisher) Publish(ctx context.Context, repo gitmodels.Repository, o gitmodels.Outcome) error {
	p.mu.Lock()
	defer p.mu.Unlock()

	if err := check(o); err != nil {
		return &gitmodels.Error{Kind: gitmodels.Internal, Op: "publish " + repo.Name, Err: err}
	}
	notesRef := DefaultNotesRef
	if p.NotesRef != nil {
		var err error
		if notesRef, err = p.NotesRef(ctx, repo); err != nil {
			return fmt.Errorf("publish %s of %s: notes ref: %w", o.Run, repo.Name, err)
		}
	}
	refs, err := p.Open(repo.Path)
	if err != nil {
		return fmt.Errorf("publish %s of %s: %w", o.Run, repo.Name, err)
	}
	// The commit is kept first: a note must never outlive what it speaks of.
	if err := refs.Keep(ctx, KeepRef, o.Commit); err != nil {
		return fmt.Errorf("publish %s of %s: keep the commit: %w", o.Run, repo.Name, err)
	}
	old, _, err := refs.ReadNote(ctx, notesRef, o.Commit)
	if err != nil {
		return fmt.Errorf("publish %s of %s: read its note: %w", o.Run, repo.Name, err)
	}
	text, write := revise(old, o)
	if !write {
		return nil
	}
	if err := refs.WriteNote(ctx, notesRef, o.Commit, text); err != nil {
		return fmt.Errorf("publish %s of %s: write its note: %w", o.Run, repo.Name, err)
	}
	return nil
}

// check refuses an outcome that is none: a note is for good, so an error of
// ours must not end in one.
func check(o gitmodels.Outcome) error {
	if !o.State.Terminal() {
		return fmt.Errorf("outcome of %s is in state %q, which is not an end", o.Run, o.State)
	}
	if o.Attempt < 1 {
		return fmt.Errorf("outcome of %s has attempt number %d", o.Run, o.Attempt)
	}
	if _, err := gitmodels.ParseCommitID(string(o.Commit)); err != nil {
		return err
	}
	return nil
}

// revise decides what becomes of the note old when o is published.
func revise(old string, o gitmodels.Outcome) (text string, write bool) {
	foreign, last, found := split(old, o.Commit)
	var previous []Previous
	if found {
		finished := o.Finished.Truncate(time.Second) // as a note holds it
		switch {
		case last.Attempt == o.Attempt && last.Finished.Equal(finished):
			previous = last.Previous
		case last.Attempt > o.Attempt && (last.Finished.IsZero() || !last.Finished.Before(finished)):
			return "", false
		default:
			// An earlier attempt, or one of a ledger that was lost and counts anew.
			previous = append(previous, last.Previous...)
			previous = append(previous, Previous{last.Attempt, last.State, last.Cause})
		}
	}
	text = Note(o, previous)
	if foreign != "" {
		text = foreign + "\n\n" + text
	}
	return text, text != old
}
