package hook

import (
	"context"
	"fmt"

	"github.com/git-models/git-models/pkg/gate"
	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
	"github.com/git-models/git-models/pkg/policy"
)

// History is a repository as the gate asks for it.
type History struct{ *gitrepo.Repo }

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
		Layout:   p.Layout,
		Source:   p.Source,
		Abbrev:   p.Abbrev,
	}
}
