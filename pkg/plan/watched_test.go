package plan_test

import (
	"context"
	"errors"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline"
	"github.com/git-models/git-models/pkg/plan"
)

// changes answers with the paths, or the error.
type changes struct {
	paths []string
	err   error
}

func (c changes) ChangedPaths(context.Context, gitmodels.CommitID, gitmodels.CommitID) ([]string, error) {
	return c.paths, c.err
}

func TestUnwatched(t *testing.T) {
	t.Parallel()
	const base = gitmodels.CommitID("4f2c1aa0c1d2e3f4a5b6c7d8e9f00112233445566")
	const nothing = "nothing that trains changed since 4f2c1aa (on.paths [src/**])"
	broken := errors.New("disk full")
	filter, errs := pipeline.NewFilter([]string{"src/**"}, false)
	if errs != nil {
		t.Fatal(errs)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	for name, c := range map[string]struct {
		ctx     context.Context
		base    gitmodels.CommitID
		changes changes
		reason  string
		err     error
	}{
		"nothing changed":    {t.Context(), base, changes{}, nothing, nil},
		"nothing of it":      {t.Context(), base, changes{paths: []string{"README.md", "docs/src/a"}}, nothing, nil},
		"one that trains":    {t.Context(), base, changes{paths: []string{"README.md", "src/train.py"}}, "", nil},
		"the same commit":    {t.Context(), commit, changes{err: broken}, "", nil},
		"no answer from git": {t.Context(), base, changes{err: broken}, "", broken},
		"out of time":        {ended, base, changes{paths: []string{"README.md"}}, "", context.Canceled},
	} {
		reason, err := plan.Unwatched(c.ctx, c.changes, c.base, commit, filter, 7)
		if reason != c.reason || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v; want %q, %v", name, reason, err, c.reason, c.err)
		}
	}
}
