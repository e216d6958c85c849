package gitmodels

import (
	"fmt"
	"time"
)

// ForwardLatest decides whether the tag latest may move from the image current to
// that of the commit ours, and why, in words. It only moves forward: along a
// history to the descendant; between commits of which neither is an ancestor of
// the other to the one whose push was accepted later, and it stays when both were
// at once. An image that bears no commit of this repository is moved over, which
// the words say, as is one of the same commit.
//
// isAncestor may answer with an Error of Kind NotFound for a commit that is not in
// the repository; any other error of it is returned. accepted is when a commit was
// pushed, if it was.
func ForwardLatest(current ImageInfo, ours CommitID, isAncestor func(ancestor, of CommitID) (bool, error),
	accepted func(CommitID) (at time.Time, ok bool)) (move bool, why string, err error) {
	theirs, err := ParseCommitID(current.Labels[LabelRevision])
	switch {
	case err != nil: // anybody's image: the label is whatever they wrote
		return true, "latest was an image without a commit of ours", nil
	case theirs == ours:
		return true, "latest was an image of the same commit", nil
	}
	name := theirs.Short(7)
	for _, step := range []struct {
		ancestor, of CommitID
		move         bool
		why          string
	}{
		{theirs, ours, true, "latest was " + name + ", an ancestor"},
		{ours, theirs, false, "latest is " + name + " already, a descendant"},
	} {
		yes, err := isAncestor(step.ancestor, step.of)
		if err != nil && KindOf(err) != NotFound {
			return false, "", fmt.Errorf("comparing with the commit of latest: %w", err)
		}
		if err == nil && yes {
			return step.move, step.why, nil
		}
	}
	then, known := accepted(theirs)
	now, _ := accepted(ours)
	switch {
	case !known:
		return true, "latest was " + name + ", which was never pushed here", nil
	case now.After(then):
		return true, "latest was " + name + ", pushed before on another line", nil
	}
	return false, "latest is " + name + ", pushed later on another line", nil
}
