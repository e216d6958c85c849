// Package publish puts the outcome of a run into git beside its commit, so that
// a clone knows it after a fetch: a note that people read with
// `git log --notes=models` and programs with git's own trailer parser, another
// with the curves, a tag, the branch best/<branch> that follows the best run,
// and a link in the hidden chain that keeps the commit from being collected as
// garbage.
//
// It writes refs only through the Refs it is given. It imports the domain and
// the standard library alone: never another adapter, never a package that runs
// git.
package publish

import (
	"cmp"
	"context"
	"errors"
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
	// WriteNote replaces the note of commit; an equal one is left as it is.
	WriteNote(ctx context.Context, notesRef gitmodels.RefName, commit gitmodels.CommitID, text string) error
	// Notes lists every note of the ref.
	Notes(ctx context.Context, notesRef gitmodels.RefName) ([]gitmodels.Note, error)
	// Keep makes commit reachable from ref; when it is already, nothing changes.
	Keep(ctx context.Context, ref gitmodels.RefName, commit gitmodels.CommitID) error
	// Refs lists the refs at or below the prefixes.
	Refs(ctx context.Context, prefixes ...string) ([]gitmodels.Ref, error)
	// Tip is what ref points to, empty when there is none.
	Tip(ctx context.Context, ref gitmodels.RefName) (gitmodels.CommitID, error)
	// UpdateRef moves ref from old (empty: it does not exist) to id, or fails.
	UpdateRef(ctx context.Context, ref gitmodels.RefName, id, old gitmodels.CommitID) error
	// DeleteRef removes ref if it is at old.
	DeleteRef(ctx context.Context, ref gitmodels.RefName, old gitmodels.CommitID) error
	// WriteTag makes an annotated tag; one of that name that exists stays as it is.
	WriteTag(ctx context.Context, tag gitmodels.RefName, target gitmodels.CommitID, message string) error
}

// Settings are what the policy of a repository says about publishing.
type Settings struct {
	NotesRef gitmodels.RefName // empty: DefaultNotesRef
	Tags     string            // models.tags; empty: succeeded
}

// Publisher implements gitmodels.Publisher. It is safe for concurrent use.
type Publisher struct {
	// Open returns the refs of the repository whose git directory is path.
	Open func(path string) (Refs, error)
	// Settings of the repository. Nil means the defaults.
	Settings func(ctx context.Context, repo gitmodels.Repository) (Settings, error)

	// What is read is judged and written back; two outcomes must not do so at once.
	mu     sync.Mutex
	ranked map[branch]ranking // what is known of the best runs, since this process began
}

var _ gitmodels.Publisher = (*Publisher)(nil)

// Publish writes what o says into the repository: the chain, the curves, the
// best branch, the tag, and the note.
//
// The chain is first: nothing may speak of a commit that could vanish. The note
// is last, since it is what others wait for: when it tells of this attempt, the
// rest is there. What fails before it, but for the chain, does not keep the
// note back, for a tag of somebody else's in the way must not hide an outcome;
// the error then says so, and the whole is tried again. Every step looks first,
// so after a crash at any point a repetition does what is left, and a repetition
// of the whole writes nothing.
//
// The note tells of the newest attempt: one of a later attempt stays as it is,
// one of an earlier attempt is replaced and named under Previous. What somebody
// else wrote into the same note is kept above ours.
func (p *Publisher) Publish(ctx context.Context, repo gitmodels.Repository, o gitmodels.Outcome) error {
	p.mu.Lock()
	defer p.mu.Unlock()

	if err := check(o); err != nil {
		return &gitmodels.Error{Kind: gitmodels.Internal, Op: "publish " + repo.Name, Err: err}
	}
	if err := p.publish(ctx, repo, o); err != nil {
		return fmt.Errorf("publish %s of %s: %w", o.Run, repo.Name, err)
	}
	return nil
}

// publication is one outcome on its way into a repository.
type publication struct {
	Refs
	Settings
	branch  branch
	outcome gitmodels.Outcome
}

func (p *Publisher) publish(ctx context.Context, repo gitmodels.Repository, o gitmodels.Outcome) error {
	o.Name = cmp.Or(o.Name, gitmodels.AttemptName(o.Run, o.Attempt))
	w := &publication{branch: branch{repo.Path, o.Ref}, outcome: o}
	var err error
	if p.Settings != nil {
		if w.Settings, err = p.Settings(ctx, repo); err != nil {
			return fmt.Errorf("its policy: %w", err)
		}
	}
	w.NotesRef = cmp.Or(w.NotesRef, DefaultNotesRef)
	w.Tags = cmp.Or(w.Tags, "succeeded")
	if w.Refs, err = p.Open(repo.Path); err != nil {
		return err
	}
	if err := w.Keep(ctx, KeepRef, o.Commit); err != nil {
		return fmt.Errorf("keep the commit: %w", err)
	}
	old, _, err := w.ReadNote(ctx, w.NotesRef, o.Commit)
	if err != nil {
		return fmt.Errorf("read its note: %w", err)
	}
	note := revise(old, o)
	var best *crowned
	var curvesErr, bestErr, noteErr error
	if note.newest {
		curvesErr = w.curves(ctx)
		best, bestErr = p.rank(ctx, w)
	}
	tagErr := w.tag(ctx, note.previous, best)
	if tagErr != nil {
		delete(p.ranked, w.branch) // so that the next try finds what to tag again
	}
	if note.newest && note.text != old {
		if noteErr = w.WriteNote(ctx, w.NotesRef, o.Commit, note.text); noteErr == nil && best != nil {
			// Another process may have ranked without this note: who writes the last
			// note sees them all.
			_, again := p.rank(ctx, w)
			bestErr = errors.Join(bestErr, again)
		}
	}
	return errors.Join(during("write its curves", curvesErr), during("rank it", bestErr),
		during("tag it", tagErr), during("write its note", noteErr))
}

// during says what failed.
func during(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", step, err)
}

// curves writes the curves, or empties those of an earlier attempt.
func (w *publication) curves(ctx context.Context) error {
	text := Curves(w.outcome.Values, w.outcome.Best)
	if text == "{}" {
		if _, there, err := w.ReadNote(ctx, CurvesRef, w.outcome.Commit); err != nil || !there {
			return err
		}
	}
	return w.WriteNote(ctx, CurvesRef, w.outcome.Commit, text)
}

// tagFolders are where the tags of each state lie.
var tagFolders = map[gitmodels.State]gitmodels.RefName{
	gitmodels.Succeeded: "refs/tags/trained/",
	gitmodels.Failed:    "refs/tags/failed/",
	gitmodels.Cancelled: "refs/tags/cancelled/",
}

// tag writes the tag that models.tags asks for, if any.
func (w *publication) tag(ctx context.Context, previous []Previous, best *crowned) error {
	o := w.outcome
	switch {
	case w.Tags == "all", w.Tags == "succeeded" && o.State == gitmodels.Succeeded:
	case w.Tags == "best" && best != nil && best.Commit == o.Commit:
	case w.Tags == "best" && best != nil && best.Commit != "":
		o, previous = best.Outcome, best.Previous
	default:
		return nil
	}
	return w.WriteTag(ctx, tagFolders[o.State]+gitmodels.RefName(o.Name), o.Commit, Note(o, previous))
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

// revision is what becomes of a note.
type revision struct {
	newest   bool // it tells of the outcome; otherwise of a later attempt, and stays
	text     string
	previous []Previous // the attempts before
}

// revise decides what becomes of the note old when o is published.
func revise(old string, o gitmodels.Outcome) revision {
	foreign, last, found := split(old, o.Commit)
	r := revision{newest: true}
	if found {
		finished := o.Finished.Truncate(time.Second) // as a note holds it
		switch {
		case last.Attempt == o.Attempt && last.Finished.Equal(finished):
			r.previous = last.Previous
		case last.Attempt > o.Attempt && (last.Finished.IsZero() || !last.Finished.Before(finished)):
			return revision{}
		default:
			// An earlier attempt, or one of a ledger that was lost and counts anew.
			r.previous = append(r.previous, last.Previous...)
			r.previous = append(r.previous, Previous{last.Attempt, last.State, last.Cause})
		}
	}
	r.text = Note(o, r.previous)
	if foreign != "" {
		r.text = foreign + "\n\n" + r.text
	}
	return r
}
