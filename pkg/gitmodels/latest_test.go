package gitmodels_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// TestForwardLatest decides over this history: a is the parent of b and x; other
// was never pushed here.
func TestForwardLatest(t *testing.T) {
	t.Parallel()
	id := func(c string) gitmodels.CommitID { return gitmodels.CommitID(strings.Repeat(c, 40)) }
	a, b, x, other, lost := id("a"), id("b"), id("c"), id("d"), id("e")
	pushed := map[gitmodels.CommitID]time.Time{a: time.Unix(10, 0), b: time.Unix(20, 0), x: time.Unix(30, 0), lost: time.Unix(20, 0)}
	broken := errors.New("git: broken")
	ancestor := func(p, of gitmodels.CommitID) (bool, error) {
		for _, c := range []gitmodels.CommitID{p, of} {
			if c == other || c == lost {
				return false, &gitmodels.Error{Kind: gitmodels.NotFound, Message: "no such commit"}
			}
			if c == id("f") {
				return false, broken
			}
		}
		return p == a && of != a, nil
	}
	accepted := func(c gitmodels.CommitID) (time.Time, bool) { at, ok := pushed[c]; return at, ok }
	label := func(c gitmodels.CommitID) map[string]string {
		return map[string]string{gitmodels.LabelRevision: string(c)}
	}
	for _, c := range []struct {
		name    string
		current map[string]string
		ours    gitmodels.CommitID
		move    bool
		why     string
	}{
		{"forward", label(a), b, true, "latest was aaaaaaa, an ancestor"},
		{"back", label(b), a, false, "latest is bbbbbbb already, a descendant"},
		{"the same", label(b), b, true, "latest was an image of the same commit"},
		{"another line, later", label(b), x, true, "latest was bbbbbbb, pushed before on another line"},
		{"another line, before", label(x), b, false, "latest is ccccccc, pushed later on another line"},
		{"another line, at once", label(lost), b, false, "latest is eeeeeee, pushed later on another line"},
		{"a commit that is gone", label(lost), x, true, "latest was eeeeeee, pushed before on another line"},
		{"of elsewhere", label(other), b, true, "latest was ddddddd, which was never pushed here"},
		{"never pushed, ours", label(b), other, false, "latest is bbbbbbb, pushed later on another line"},
		{"no labels", nil, b, true, "latest was an image without a commit of ours"},
		{"a label that is no commit", map[string]string{gitmodels.LabelRevision: "main; rm -rf"}, b, true, "latest was an image without a commit of ours"},
	} {
		move, why, err := gitmodels.ForwardLatest(gitmodels.ImageInfo{Labels: c.current}, c.ours, ancestor, accepted)
		if err != nil || move != c.move || why != c.why {
			t.Errorf("%s: %v %q %v, want %v %q", c.name, move, why, err, c.move, c.why)
		}
	}
	for _, theirs := range []gitmodels.CommitID{id("f")} {
		if move, _, err := gitmodels.ForwardLatest(gitmodels.ImageInfo{Labels: label(theirs)}, b, ancestor, accepted); move || !errors.Is(err, broken) {
			t.Errorf("moved over git's failure: %v %v", move, err)
		}
	}
}
