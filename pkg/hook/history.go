package hook

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gate"
	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
	"github.com/git-models/git-models/pkg/policy"
)

// History is a repository as the gate asks for it.
type History struct {
	*gitrepo.Repo
	types map[gitmodels.CommitID]string // what is known beforehand
}

// NewHistory knows what the new tips of governed refs are after one question to
// git, however many there are.
func NewHistory(ctx context.Context, repo *gitrepo.Repo, updates []gitmodels.Update, p *policy.Policy) (History, error) {
	var tips []gitmodels.CommitID
	for _, u := range updates {
		if p.Governed(u.Ref) && !u.Deletes() {
			tips = append(tips, u.New)
		}
	}
	if len(tips) == 0 {
		return History{Repo: repo}, nil
	}
	types, err := repo.ObjectTypes(ctx, tips)
	return History{repo, types}, err
}

// ObjectType implements gate.History.
func (h History) ObjectType(ctx context.Context, id gitmodels.CommitID) (string, error) {
	if kind, ok := h.types[id]; ok {
		return kind, nil
	}
	return h.Repo.ObjectType(ctx, id)
}

var _ gate.History = History{}

// Origin implements gate.History.
func (h History) Origin(ctx context.Context, id gitmodels.CommitID) (gate.Origin, error) {
	c, err := h.Commit(ctx, id)
	if err != nil {
		return gate.Origin{}, err
	}
	return gate.Origin{Author: fmt.Sprintf("%s <%s> %d", c.Author, c.Email, c.Time.Unix()), Subject: c.Subject}, nil
}

// Tips implements gate.History.
func (h History) Tips(ctx context.Context, prefixes ...string) (map[gitmodels.RefName]gitmodels.CommitID, error) {
	refs, err := h.Refs(ctx, prefixes...)
	if err != nil {
		return nil, err
	}
	tips := make(map[gitmodels.RefName]gitmodels.CommitID, len(refs))
	for _, r := range refs {
		tips[r.Name] = r.ID
	}
	return tips, nil
}

// Rules are the gate's part of the policy.
func Rules(p *policy.Policy) gate.Rules {
	return gate.Rules{
		Governed: p.Governed,
		Own:      p.Own,
		Control:  policy.Control,
		Places:   places(p.Refs),
		Cancel:   p.Cancel,
		Layout:   p.Layout,
		Source:   p.Source,
		Abbrev:   p.Abbrev,
	}
}

// places are the prefixes below which refs lie that the patterns name: a
// pattern up to the part that has a star.
func places(patterns []string) []string {
	var found []string
	for _, p := range patterns {
		if i := strings.IndexByte(p, '*'); i >= 0 {
			p = p[:strings.LastIndexByte(p[:i], '/')]
		}
		if !slices.Contains(found, p) {
			found = append(found, p)
		}
	}
	return found
}
