package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Why a ref was not written; for errors.Is.
var (
	// ErrMoved: the ref is not where the caller saw it last. Look again, decide
	// again.
	ErrMoved = errors.New("the ref moved meanwhile")
	// ErrClash: another ref stands in the way, because a name cannot be a ref and
	// a folder of refs at once.
	ErrClash = errors.New("another ref is in the way")
)

// UpdateRef moves ref from old to id in one step; a zero old makes the ref. When
// it is elsewhere by now, nothing happens but an error that is ErrMoved; ErrClash
// when the name is taken as a folder, or lies below a ref. A ref that is symbolic
// is refused: what it stands for is never moved. Locks are waited for, hooks do
// not run.
func (r *Repo) UpdateRef(ctx context.Context, ref gitmodels.RefName, id, old gitmodels.CommitID) error {
	if err := r.checkID(id); err != nil {
		return err
	}
	if old.IsZero() {
		old = gitmodels.CommitID(strings.Repeat("0", r.idLength))
	} else if err := r.checkID(old); err != nil {
		return err
	}
	return r.moveRef(ctx, "move ref", ref, old, "update-ref", "--no-deref", string(ref), string(id), string(old))
}

// DeleteRef removes ref if it is at old, see UpdateRef; one that is gone is no
// error.
func (r *Repo) DeleteRef(ctx context.Context, ref gitmodels.RefName, old gitmodels.CommitID) error {
	if err := r.checkID(old); err != nil {
		return err
	}
	err := r.moveRef(ctx, "delete ref", ref, old, "update-ref", "--no-deref", "-d", string(ref), string(old))
	if errors.Is(err, ErrMoved) {
		if at, tipErr := r.Tip(ctx, ref); tipErr == nil && at == "" {
			return nil
		}
	}
	return err
}

// WriteTag makes an annotated tag of target below refs/tags/, by git-models. A
// tag never moves: one of that name that exists is left as it is. See UpdateRef
// for ErrClash.
func (r *Repo) WriteTag(ctx context.Context, tag gitmodels.RefName, target gitmodels.CommitID, message string) error {
	if err := r.checkID(target); err != nil {
		return err
	}
	name, ok := strings.CutPrefix(string(tag), "refs/tags/")
	if !ok || strings.HasPrefix(name, "-") || strings.TrimSpace(message) == "" {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "write tag",
			Message: fmt.Sprintf("%q with a message of %d bytes makes no annotated tag", gitmodels.Printable(string(tag), 200), len(message))}
	}
	if at, err := r.Tip(ctx, tag); err != nil || at != "" {
		return err
	}
	c := r.call("tag", "-a", "--cleanup=verbatim", "-F", "-", "--", name, string(target))
	err := r.writeRef(ctx, "write tag", tag, "", c, message)
	if errors.Is(err, ErrMoved) {
		return nil // another was quicker
	}
	return err
}

// moveRef runs one update-ref.
func (r *Repo) moveRef(ctx context.Context, op string, ref gitmodels.RefName, old gitmodels.CommitID, args ...string) error {
	target, symbolic, err := r.SymbolicTarget(ctx, ref)
	if err == nil && symbolic {
		err = &gitmodels.Error{Kind: gitmodels.Invalid, Op: op, Message: fmt.Sprintf("%s is a symbolic ref to %s",
			gitmodels.Printable(string(ref), 200), gitmodels.Printable(string(target), 200))}
	}
	if err != nil {
		return err
	}
	return r.writeRef(ctx, op, ref, old, r.call(args...), "")
}

// writeRef runs a child that moves ref from old, again while another holds a
// lock, and says why it failed.
func (r *Repo) writeRef(ctx context.Context, op string, ref gitmodels.RefName, old gitmodels.CommitID, c call, stdin string) error {
	if err := r.checkWritable(op); err != nil {
		return err
	}
	return retry(ctx, op+" "+gitmodels.Printable(string(ref), 200), func() (bool, error) {
		c.stdin = strings.NewReader(stdin)
		res, err := run(ctx, c)
		if err != nil || res.code == 0 {
			return false, err
		}
		failure := res.failure()
		switch {
		case strings.Contains(res.stderr, "Unable to create"):
			return true, failure
		case strings.Contains(res.stderr, "; cannot create '"), strings.Contains(res.stderr, "non-empty directory"):
			failure.Err = fmt.Errorf("%w: %w", ErrClash, failure.Err)
			return false, failure
		}
		at, err := r.Tip(ctx, ref)
		if err == nil && at != old && !(at == "" && old.IsZero()) {
			failure.Err = fmt.Errorf("%w: %w", ErrMoved, failure.Err)
		}
		return false, failure
	})
}

// Commits lists the commits that include reaches and none of exclude does,
// oldest first, parents before their children; at most limit, the newest.
func (r *Repo) Commits(ctx context.Context, include gitmodels.CommitID, exclude []gitmodels.CommitID, limit int) ([]gitmodels.CommitID, error) {
	if err := r.checkIDs(append([]gitmodels.CommitID{include}, exclude...)...); err != nil {
		return nil, err
	}
	args := []string{"rev-list", "--topo-order", "--reverse", "--max-count=" + strconv.Itoa(max(limit, 0)), string(include)}
	for _, id := range exclude {
		args = append(args, "^"+string(id))
	}
	out, err := r.ask(ctx, append(args, "--")...)
	if err != nil {
		return nil, err
	}
	var ids []gitmodels.CommitID
	for line := range strings.Lines(string(out)) {
		id, err := gitmodels.ParseCommitID(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, &gitmodels.Error{Op: "git rev-list", Err: err}
		}
		ids = append(ids, id)
	}
	return ids, nil
}
