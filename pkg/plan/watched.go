package plan

import (
	"context"
	"fmt"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline"
)

// Changes compares two commits.
type Changes interface {
	// ChangedPaths lists every path that differs between two commits, uncapped.
	ChangedPaths(ctx context.Context, from, to gitmodels.CommitID) ([]string, error)
}

// Unwatched answers whether a push has anything to train: the runner decides by
// it, and the receipt says what the runner will decide. When no path that the
// filter of tip's files watches differs between base and tip, which both exist,
// reason says so in words, with base shortened to digits; else it is empty.
//
// A filter that was made to be slow, over many changed paths, can take minutes:
// the end of ctx ends the search with its error.
func Unwatched(ctx context.Context, git Changes, base, tip gitmodels.CommitID, filter pipeline.Filter, digits int) (reason string, err error) {
	if base == tip {
		return "", nil // nothing to compare: the same commit again
	}
	changed, err := git.ChangedPaths(ctx, base, tip)
	if err != nil {
		return "", fmt.Errorf("comparing %s with %s: %w", tip, base, err)
	}
	if _, ok, err := filter.Match(ctx, changed); ok || err != nil {
		return "", err
	}
	return fmt.Sprintf("nothing that trains changed since %s (%s)", base.Short(digits), gitmodels.Printable(filter.String(), 300)), nil
}
