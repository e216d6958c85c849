package gitrepo

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Tip is what the ref of exactly this name points to, empty when there is none.
func (r *Repo) Tip(ctx context.Context, ref gitmodels.RefName) (gitmodels.CommitID, error) {
	return r.tip(ctx, ref)
}

// UpdateRef moves ref from old to id, in one step that fails with errMoved's
// words when it is elsewhere by now. A zero old makes the ref.
func (r *Repo) UpdateRef(ctx context.Context, ref gitmodels.RefName, id, old gitmodels.CommitID) error {
	if old == "" {
		old = gitmodels.CommitID(strings.Repeat("0", r.idLength))
	}
	return r.updateRef(ctx, ref, string(id), string(old))
}

// DeleteRef removes ref if it is at old; one that is gone is no error.
func (r *Repo) DeleteRef(ctx context.Context, ref gitmodels.RefName, old gitmodels.CommitID) error {
	return r.updateRef(ctx, ref, "-d", string(old))
}

func (r *Repo) updateRef(ctx context.Context, ref gitmodels.RefName, what, old string) error {
	if err := r.checkWritable("move ref"); err != nil {
		return err
	}
	if err := checkRef(ref); err != nil {
		return err
	}
	args := []string{"update-ref", "--no-deref", string(ref), what, old}
	if what == "-d" {
		args = []string{"update-ref", "--no-deref", "-d", string(ref), old}
	}
	_, err := r.ask(ctx, args...)
	return err
}

// WriteTag makes an annotated tag of target below refs/tags/. A tag never moves:
// one of that name that exists is left as it is.
func (r *Repo) WriteTag(ctx context.Context, tag gitmodels.RefName, target gitmodels.CommitID, message string) error {
	if err := r.checkWritable("write tag"); err != nil {
		return err
	}
	name, ok := strings.CutPrefix(string(tag), "refs/tags/")
	if !ok {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "write tag", Message: fmt.Sprintf("%q is no tag", gitmodels.Printable(string(tag), 200))}
	}
	if at, err := r.tip(ctx, tag); err != nil || at != "" {
		return err
	}
	c := r.call("tag", "-a", "--cleanup=verbatim", "-F", "-", name, string(target))
	c.stdin = strings.NewReader(message)
	res, err := run(ctx, c)
	if err != nil || res.code == 0 {
		return err
	}
	return res.failure()
}

// Commits lists the commits that include reaches and none of exclude does,
// oldest first, parents before their children; at most limit, the newest.
func (r *Repo) Commits(ctx context.Context, include gitmodels.CommitID, exclude []gitmodels.CommitID, limit int) ([]gitmodels.CommitID, error) {
	if err := r.checkIDs(append([]gitmodels.CommitID{include}, exclude...)...); err != nil {
		return nil, err
	}
	args := []string{"rev-list", "--topo-order", "--reverse", "--max-count=" + strconv.Itoa(limit), string(include)}
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
