package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// MaxNote bounds the text of a note, in bytes; of a longer one that somebody
// else wrote, that much is read.
const MaxNote = 64 << 10

// Note is what a notes ref holds for a commit.
type Note = gitmodels.Note

// WriteNote makes text the note of commit, in place of another, as a commit on
// top of the notes ref. Nothing is written when it is so already. The ref is
// moved only from where it was read, so that a note written meanwhile is never
// lost; the write is then repeated on top of it.
func (r *Repo) WriteNote(ctx context.Context, notesRef gitmodels.RefName, commit gitmodels.CommitID, text string) error {
	if err := r.checkWritable("write note"); err != nil {
		return err
	}
	if len(text) > MaxNote {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "write note",
			Message: fmt.Sprintf("the note of %s is %d bytes, the limit is %d", commit, len(text), MaxNote)}
	}
	if err := r.requireCommit(ctx, commit); err != nil {
		return err
	}
	return retry(ctx, "write note of "+string(commit), func() (bool, error) {
		tip, err := r.Tip(ctx, notesRef)
		if err != nil {
			return false, err
		}
		if tip != "" {
			old, ok, err := r.note(ctx, tip, commit)
			if err != nil || ok && old == text {
				return false, err
			}
		}
		body := fmt.Sprintf("N inline %s\ndata %d\n%s\n", commit, len(text), text)
		err = r.fastImport(ctx, notesRef, tip, "note on "+string(commit), body)
		return errors.Is(err, errMoved), err
	})
}

// ReadNote is the note of a commit; false when there is none.
func (r *Repo) ReadNote(ctx context.Context, notesRef gitmodels.RefName, commit gitmodels.CommitID) (string, bool, error) {
	if err := r.checkID(commit); err != nil {
		return "", false, err
	}
	tip, err := r.Tip(ctx, notesRef)
	if err != nil || tip == "" {
		return "", false, err
	}
	return r.note(ctx, tip, commit)
}

// note looks the commit up in the notes tree of the commit tip: a file named after it,
// below any number of folders of two digits each.
func (r *Repo) note(ctx context.Context, tip, commit gitmodels.CommitID) (string, bool, error) {
	objs := r.objects(ctx)
	defer objs.close()
	return r.noteIn(objs, tip, commit)
}

func (r *Repo) noteIn(objs *objects, tip, commit gitmodels.CommitID) (string, bool, error) {
	t, err := objs.tree(string(tip) + "^{tree}")
	rest := string(commit)
	for err == nil {
		if e, ok, err := t.find(rest); err != nil {
			return "", false, err
		} else if ok && e.is(modeFile) {
			text, err := objs.text(e.id)
			return text, err == nil, err
		}
		e, ok, findErr := t.find(rest[:2])
		if findErr != nil || !ok || !e.is(modeTree) || len(rest) <= 2 {
			return "", false, findErr
		}
		rest = rest[2:]
		t, err = objs.tree(e.id)
	}
	return "", false, err
}

// Notes lists every note of the ref, sorted by commit; none when the ref does
// not exist.
func (r *Repo) Notes(ctx context.Context, notesRef gitmodels.RefName) ([]Note, error) {
	tip, err := r.Tip(ctx, notesRef)
	if err != nil || tip == "" {
		return nil, err
	}
	objs := r.objects(ctx)
	defer objs.close()
	return objs.notes(string(tip)+"^{tree}", r.idLength)
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// text reads a blob, or as much of it as a note may have.
func (o *objects) text(id string) (string, error) {
	data, err := o.head(id, MaxNote)
	return string(data), err
}
