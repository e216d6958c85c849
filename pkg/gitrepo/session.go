package gitrepo

import (
	"context"
	"strings"
	"sync"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Session answers many questions about objects: the first few from the
// repository's files, the rest through one git child. Its
// methods say the same as those of Repo; those it does not have of its own are
// Repo's. They are safe for concurrent use, and wait for one another. A context
// that ends during a question ends the child; the next question starts another.
type Session struct {
	*Repo
	mu   sync.Mutex
	objs *objects
}

// Session begins one. The child starts with the first question that needs it, and
// dies with ctx or Close.
func (r *Repo) Session(ctx context.Context) *Session {
	return &Session{Repo: r, objs: r.objects(ctx)}
}

// Close ends the child. A session may be used again afterwards: a question
// starts another child.
func (s *Session) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objs.close()
}

// question runs one with the child, which does not outlive ctx while it works
// on it.
func question[T any](ctx context.Context, s *Session, ask func(*objects) (T, error)) (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.objs.within(ctx)()
	return ask(s.objs)
}

// Files is Repo.Files.
func (s *Session) Files(ctx context.Context, commit gitmodels.CommitID, paths []string) (map[string]gitmodels.TreeFile, error) {
	return question(ctx, s, func(o *objects) (map[string]gitmodels.TreeFile, error) { return s.files(o, commit, paths) })
}

// List is Repo.List.
func (s *Session) List(ctx context.Context, commit gitmodels.CommitID, folder string, limit int) ([]gitmodels.TreeEntry, error) {
	return question(ctx, s, func(o *objects) ([]gitmodels.TreeEntry, error) { return s.list(o, commit, folder, limit) })
}

// Commit is Repo.Commit.
func (s *Session) Commit(ctx context.Context, id gitmodels.CommitID) (gitmodels.CommitInfo, error) {
	return question(ctx, s, func(o *objects) (gitmodels.CommitInfo, error) { return s.commit(o, id) })
}

// Parents is Repo.Parents.
func (s *Session) Parents(ctx context.Context, id gitmodels.CommitID) ([]gitmodels.CommitID, error) {
	info, err := s.Commit(ctx, id)
	return info.Parents, err
}

// Tree is Repo.Tree.
func (s *Session) Tree(ctx context.Context, id gitmodels.CommitID) (string, error) {
	info, err := s.Commit(ctx, id)
	return info.Tree, err
}

// ObjectType is Repo.ObjectType.
func (s *Session) ObjectType(ctx context.Context, id gitmodels.CommitID) (string, error) {
	if err := s.checkID(id); err != nil {
		return "", err
	}
	return question(ctx, s, func(o *objects) (string, error) { return o.kindOf(string(id)) })
}

// ObjectTypes is Repo.ObjectTypes.
func (s *Session) ObjectTypes(ctx context.Context, ids []gitmodels.CommitID) (map[gitmodels.CommitID]string, error) {
	types := make(map[gitmodels.CommitID]string, len(ids))
	for _, id := range ids {
		kind, err := s.ObjectType(ctx, id)
		if err != nil {
			return nil, err
		}
		types[id] = kind
	}
	return types, nil
}

// Peel is Repo.Peel; the child answers when rev is a whole object id.
func (s *Session) Peel(ctx context.Context, rev string) (gitmodels.CommitID, error) {
	id := gitmodels.CommitID(strings.TrimSuffix(rev, "^{commit}"))
	if s.checkID(id) == nil {
		obj, err := question(ctx, s, func(o *objects) (object, error) { return o.get(string(id)+"^{commit}", maxCommit) })
		if err == nil && obj.kind == "commit" {
			return gitmodels.CommitID(obj.id), nil
		}
	}
	return s.Repo.Peel(ctx, rev)
}

// ChangedPaths is Repo.ChangedPaths. The trees are compared here, equal ones
// unread, as long as few differ and they are as git makes them; of anything
// else git's own diff-tree is asked.
func (s *Session) ChangedPaths(ctx context.Context, from, to gitmodels.CommitID) ([]string, error) {
	if err := s.checkID(to); err != nil {
		return nil, err
	}
	if !from.IsZero() {
		if err := s.checkID(from); err != nil {
			return nil, err
		}
	}
	paths, err := question(ctx, s, func(o *objects) ([]string, error) { return o.changed(from, to) })
	if err != nil && ctx.Err() == nil {
		return s.Repo.ChangedPaths(ctx, from, to)
	}
	return paths, err
}

// ReadNote is Repo.ReadNote.
func (s *Session) ReadNote(ctx context.Context, notesRef gitmodels.RefName, commit gitmodels.CommitID) (string, bool, error) {
	tip, err := s.Tip(ctx, notesRef)
	if err != nil || tip == "" {
		return "", false, err
	}
	return s.Note(ctx, tip, commit)
}

// Note is the note of commit in the notes tree of the commit tip, see
// Repo.ReadNote; false when there is none.
func (s *Session) Note(ctx context.Context, tip, commit gitmodels.CommitID) (text string, ok bool, err error) {
	if err := s.checkIDs(tip, commit); err != nil {
		return "", false, err
	}
	text, err = question(ctx, s, func(o *objects) (string, error) {
		text, found, err := s.noteIn(o, tip, commit)
		ok = found
		return text, err
	})
	return text, ok, err
}
