package gitrepo

import (
	"context"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Session answers many questions about objects through one git child, which
// starts with the first. Its methods say the same as those of Repo; those it
// does not have of its own are Repo's. It is not for concurrent use.
type Session struct {
	*Repo
	objs *objects
}

// Session begins one. The child dies with ctx or Close.
func (r *Repo) Session(ctx context.Context) *Session {
	return &Session{Repo: r, objs: r.objects(ctx)}
}

// Close ends the child.
func (s *Session) Close() { s.objs.close() }

// Files is Repo.Files.
func (s *Session) Files(_ context.Context, commit gitmodels.CommitID, paths []string) (map[string]gitmodels.TreeFile, error) {
	return s.files(s.objs, commit, paths)
}

// Commit is Repo.Commit.
func (s *Session) Commit(_ context.Context, id gitmodels.CommitID) (gitmodels.CommitInfo, error) {
	return s.commit(s.objs, id)
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

// Note is the note of commit in the notes tree of the commit tip, see
// Repo.ReadNote; false when there is none.
func (s *Session) Note(_ context.Context, tip, commit gitmodels.CommitID) (string, bool, error) {
	return s.noteIn(s.objs, tip, commit)
}
