package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// How long a write waits for others who hold the lock or move the same ref.
const (
	writeTries   = 40
	firstBackoff = 5 * time.Millisecond
	maxBackoff   = 400 * time.Millisecond
)

// retry calls try until it needs no further one. The error of the last try is
// returned.
func retry(ctx context.Context, op string, try func() (again bool, err error)) error {
	backoff := firstBackoff
	for n := 1; ; n++ {
		again, err := try()
		if !again {
			return err
		}
		if n == writeTries {
			return &gitmodels.Error{Op: op, Err: fmt.Errorf("given up after %d tries: %w", n, err)}
		}
		select {
		case <-ctx.Done():
			return &gitmodels.Error{Op: op, Err: errors.Join(context.Cause(ctx), err)}
		case <-time.After(backoff/2 + rand.N(backoff)):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// errMoved says that the ref moved between our look and our write, or that
// somebody else holds its lock.
var errMoved = errors.New("the ref is locked, or moved meanwhile")

// fastImport adds one commit on top of from (none when empty) and moves ref to
// it, in one child: git fast-import knows the layout of notes trees, and moves
// the ref in a transaction that holds only if the tip is still an ancestor of
// the new commit. errMoved is returned when it is not, or the lock was taken.
func (r *Repo) fastImport(ctx context.Context, ref gitmodels.RefName, from gitmodels.CommitID, message, body string) error {
	var s strings.Builder
	fmt.Fprintf(&s, "commit %s\ncommitter %s <%s> now\n", ref, identName, identEmail)
	fmt.Fprintf(&s, "data %d\n%s\n", len(message), message)
	if from != "" {
		fmt.Fprintf(&s, "from %s\n", from)
	}
	s.WriteString(body)
	s.WriteString("\ndone\n")
	c := r.call("fast-import", "--quiet", "--done", "--date-format=now")
	c.stdin = strings.NewReader(s.String())
	res, err := run(ctx, c)
	if err != nil || res.code == 0 {
		return err
	}
	for _, words := range []string{"Not updating", "cannot lock ref", "Unable to create", "could not lock"} {
		if strings.Contains(res.stderr, words) {
			failure := res.failure()
			failure.Err = fmt.Errorf("%w: %w", errMoved, failure.Err)
			return failure
		}
	}
	return res.failure()
}

// Keep makes commit reachable from the chain ref, so that gc never prunes it:
// a new commit with the empty tree whose parents are the chain's tip and
// commit. Nothing is written when commit is reachable from it already.
func (r *Repo) Keep(ctx context.Context, ref gitmodels.RefName, commit gitmodels.CommitID) error {
	if err := r.checkWritable("keep commit"); err != nil {
		return err
	}
	if err := r.requireCommit(ctx, commit); err != nil {
		return err
	}
	return retry(ctx, "keep "+string(commit), func() (bool, error) {
		tip, err := r.Tip(ctx, ref)
		if err != nil {
			return false, err
		}
		if tip != "" {
			kept, err := r.IsAncestor(ctx, commit, tip)
			if err != nil || kept {
				return false, err
			}
		}
		err = r.fastImport(ctx, ref, tip, "keep "+string(commit), "merge "+string(commit)+"\n")
		return errors.Is(err, errMoved), err
	})
}

// requireCommit makes sure that the repository has the commit.
func (r *Repo) requireCommit(ctx context.Context, commit gitmodels.CommitID) error {
	kind, err := r.ObjectType(ctx, commit)
	switch {
	case err != nil:
		return err
	case kind == "":
		return &gitmodels.Error{Kind: gitmodels.NotFound, Op: "look up commit",
			Message: fmt.Sprintf("the repository has no commit %s", commit)}
	case kind != "commit":
		return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "look up commit",
			Message: fmt.Sprintf("%s is a %s, want a commit", commit, kind)}
	}
	return nil
}

// WriteCommitGraph brings the commit-graph up to date with the refs, as a layer
// on top of what is there: milliseconds after a push, and the reason why
// ancestry is answered in milliseconds.
func (r *Repo) WriteCommitGraph(ctx context.Context) error {
	if err := r.checkWritable("write commit-graph"); err != nil {
		return err
	}
	return retry(ctx, "write commit-graph", func() (bool, error) {
		res, err := run(ctx, r.call("commit-graph", "write", "--reachable", "--split", "--no-progress"))
		if err != nil || res.code == 0 {
			return false, err
		}
		return strings.Contains(res.stderr, "Unable to create"), res.failure()
	})
}
