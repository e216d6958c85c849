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

// History is a repository as the gate asks for it: what a session's one child
// can tell, that child tells.
type History struct {
	*gitrepo.Session
	begun map[pair]*answer
}

// pair is an ancestor and a descendant, answer whether they are that.
type pair struct{ ancestor, descendant gitmodels.CommitID }

type answer struct {
	done chan struct{}
	yes  bool
	err  error
}

var _ gate.History = History{}

// NewHistory answers through session.
func NewHistory(session *gitrepo.Session) History {
	return History{session, map[pair]*answer{}}
}

// maxBegun bounds how many ancestor checks are begun before anybody asks.
const maxBegun = 4

// Likely reports whether an update is probably ours to judge or to answer, by
// the usual names: the policy, which tells, comes from a child, and what is begun
// beside it costs no time. A wrong guess costs a little work.
func Likely(u gitmodels.Update) bool {
	return !u.Deletes() && (strings.HasPrefix(string(u.Ref), "refs/heads/models") || policy.Control(u.Ref))
}

// Begin starts on what the gate will ask of updates that are likely governed.
func (h History) Begin(ctx context.Context, updates []gitmodels.Update) {
	for _, u := range updates {
		if u.Creates() || len(h.begun) == maxBegun || !Likely(u) {
			continue
		}
		a := &answer{done: make(chan struct{})}
		h.begun[pair{u.Old, u.New}] = a
		go func() {
			defer close(a.done)
			a.yes, a.err = h.Session.IsAncestor(ctx, u.Old, u.New)
		}()
	}
}

// IsAncestor implements gate.History.
func (h History) IsAncestor(ctx context.Context, ancestor, descendant gitmodels.CommitID) (bool, error) {
	if a, ok := h.begun[pair{ancestor, descendant}]; ok {
		<-a.done // it ends with the context, as every child does
		return a.yes, a.err
	}
	return h.Session.IsAncestor(ctx, ancestor, descendant)
}

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
