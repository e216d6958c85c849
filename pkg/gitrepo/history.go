package gitrepo

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// checkID refuses what is not a full object id of this repository; the all-zero
// id names nothing.
func (r *Repo) checkID(id gitmodels.CommitID) error {
	parsed, err := gitmodels.ParseCommitID(string(id))
	switch {
	case err != nil:
	case len(parsed) != r.idLength:
		err = fmt.Errorf("object id %s has %d digits, this repository's have %d", parsed, len(parsed), r.idLength)
	case parsed.IsZero():
		err = fmt.Errorf("object id %s names no object", parsed)
	}
	if err != nil {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Message: err.Error(), Op: "check object id"}
	}
	return nil
}

func (r *Repo) checkIDs(ids ...gitmodels.CommitID) error {
	for _, id := range ids {
		if err := r.checkID(id); err != nil {
			return err
		}
	}
	return nil
}

// ObjectType is what the object id is: "commit", "tag", "tree" or "blob"; empty
// when the repository does not have it. An object that is there but cannot be
// read is an error.
func (r *Repo) ObjectType(ctx context.Context, id gitmodels.CommitID) (string, error) {
	types, err := r.ObjectTypes(ctx, []gitmodels.CommitID{id})
	return types[id], err
}

// ObjectTypes is ObjectType for many ids, with one question to git. The answer
// holds every one of them.
func (r *Repo) ObjectTypes(ctx context.Context, ids []gitmodels.CommitID) (map[gitmodels.CommitID]string, error) {
	var list strings.Builder
	for _, id := range ids {
		if err := r.checkID(id); err != nil {
			return nil, err
		}
		list.WriteString(string(id) + "\n")
	}
	c := r.call("cat-file", "--batch-check=%(objecttype)")
	c.stdin = strings.NewReader(list.String())
	res, err := run(ctx, c)
	if err != nil {
		return nil, err
	}
	if res.code != 0 || complains(res.stderr) {
		return nil, res.failure()
	}
	answers := strings.Split(strings.TrimSuffix(string(res.out), "\n"), "\n")
	if len(answers) != len(ids) {
		return nil, res.unexpected()
	}
	types := make(map[gitmodels.CommitID]string, len(ids))
	for i, id := range ids {
		switch answers[i] {
		case "commit", "tag", "tree", "blob":
			types[id] = answers[i]
		case string(id) + " missing":
			types[id] = ""
		default:
			return nil, res.unexpected()
		}
	}
	return types, nil
}

// Peel resolves rev, whatever git understands by it, to a commit. It is for
// words that a person typed: Kind NotFound when nothing is named so, Invalid
// when it is ambiguous or no revision at all. As in git, a branch or tag comes
// before an abbreviated id of the same letters. A name that begins with refs/
// is that ref and no other.
func (r *Repo) Peel(ctx context.Context, rev string) (gitmodels.CommitID, error) {
	shown := gitmodels.Printable(rev, 80)
	if rev == "" || rev[0] == '-' || strings.ContainsFunc(rev, func(c rune) bool { return c < 0x20 || c == 0x7f }) {
		return "", &gitmodels.Error{Kind: gitmodels.Invalid, Op: "resolve revision", Message: fmt.Sprintf("%q is no revision", shown)}
	}
	notFound := &gitmodels.Error{Kind: gitmodels.NotFound, Op: "resolve revision",
		Message: fmt.Sprintf("%s names no commit of this repository", shown)}
	if strings.HasPrefix(rev, "refs/") {
		end := strings.IndexAny(rev+"^", "^~:")
		if at := strings.Index(rev, "@{"); at >= 0 && at < end {
			end = at
		}
		id, err := r.Tip(ctx, gitmodels.RefName(rev[:end]))
		if err != nil {
			return "", err
		}
		if id == "" {
			return "", notFound
		}
		if !strings.HasPrefix(rev[end:], "@{") { // the reflog goes by the name
			rev = string(id) + rev[end:]
		}
	}
	res, err := run(ctx, r.call("rev-parse", "--verify", rev+"^{commit}"))
	if err != nil {
		return "", err
	}
	if res.code == 0 {
		id, err := gitmodels.ParseCommitID(strings.TrimSuffix(string(res.out), "\n"))
		if err != nil {
			return "", res.unexpected()
		}
		return id, nil
	}
	failure := res.failure()
	switch {
	case strings.Contains(res.stderr, "is ambiguous"):
		failure.Kind, failure.Message = gitmodels.Invalid, fmt.Sprintf("%s is ambiguous: several objects begin so", shown)
	case strings.Contains(res.stderr, "Needed a single revision") && !unreadable(res.stderr):
		notFound.Err = failure.Err
		return "", notFound
	}
	return "", failure
}

// unreadable tells git's words for an object that is broken from those for one
// that is not there.
func unreadable(stderr string) bool {
	for _, word := range []string{"unable to unpack", "corrupt", "inflate:", "Permission denied", "unable to parse", "hash mismatch", "Input/output error"} {
		if strings.Contains(stderr, word) {
			return true
		}
	}
	return false
}

// IsAncestor reports whether ancestor is descendant or reachable from it. Only
// git's clean "no" is a no; whatever else goes wrong is an error. Where a walk of
// a few steps answers, no child runs.
func (r *Repo) IsAncestor(ctx context.Context, ancestor, descendant gitmodels.CommitID) (bool, error) {
	if err := r.checkIDs(ancestor, descendant); err != nil {
		return false, err
	}
	if yes, err := r.isAncestor(ancestor, descendant); err == nil && ctx.Err() == nil {
		return yes, nil
	}
	res, err := run(ctx, r.call("merge-base", "--is-ancestor", string(ancestor), string(descendant)))
	switch {
	case err != nil:
		return false, err
	case res.code == 0:
		return true, nil
	case res.code == 1 && !complains(res.stderr):
		return false, nil
	}
	return false, res.failure()
}

// MergeBase is a best common ancestor of a and b; false when they share none.
func (r *Repo) MergeBase(ctx context.Context, a, b gitmodels.CommitID) (gitmodels.CommitID, bool, error) {
	if err := r.checkIDs(a, b); err != nil {
		return "", false, err
	}
	res, err := run(ctx, r.call("merge-base", string(a), string(b)))
	switch {
	case err != nil:
		return "", false, err
	case complains(res.stderr) || res.code > 1:
		return "", false, res.failure()
	case res.code == 1:
		return "", false, nil
	}
	id, err := gitmodels.ParseCommitID(strings.TrimSuffix(string(res.out), "\n"))
	if err != nil {
		return "", false, res.unexpected()
	}
	return id, true, nil
}

// Count is the number of commits reachable from include and not from exclude; a
// zero exclude excludes nothing.
func (r *Repo) Count(ctx context.Context, exclude, include gitmodels.CommitID) (int, error) {
	if err := r.checkID(include); err != nil {
		return 0, err
	}
	var hidden []gitmodels.CommitID
	args := []string{"rev-list", "--count", string(include)}
	if !exclude.IsZero() {
		if err := r.checkID(exclude); err != nil {
			return 0, err
		}
		hidden = append(hidden, exclude)
		args = append(args, "^"+string(exclude))
	}
	if n, err := r.count(include, hidden, math.MaxInt); err == nil && ctx.Err() == nil {
		return n, nil
	}
	out, err := r.ask(ctx, append(args, "--")...)
	if err != nil {
		return 0, err
	}
	return number(out)
}

// CountNew is the number of commits that ref brought when it was created at id:
// those that no other branch holds. Counting ends at most, which git reaches
// without walking on only where there is no other branch.
func (r *Repo) CountNew(ctx context.Context, ref gitmodels.RefName, id gitmodels.CommitID, most int) (int, error) {
	if err := r.checkID(id); err != nil {
		return 0, err
	}
	if branches, err := r.refsUnder([]string{"refs/heads/"}); err == nil {
		delete(branches, string(ref))
		if n, err := r.count(id, slices.Collect(maps.Values(branches)), most); err == nil && ctx.Err() == nil {
			return n, nil
		}
	}
	args := []string{"rev-list", "--count", "--max-count=" + strconv.Itoa(most), string(id), "--not"}
	if name, ok := strings.CutPrefix(string(ref), "refs/heads/"); ok {
		args = append(args, "--exclude="+name) // --branches wants it without refs/heads/
	}
	out, err := r.ask(ctx, append(args, "--branches", "--")...)
	if err != nil {
		return 0, err
	}
	return number(out)
}

// number reads what rev-list --count prints.
func number(out []byte) (int, error) {
	n, err := strconv.Atoi(strings.TrimSuffix(string(out), "\n"))
	if err != nil {
		return 0, &gitmodels.Error{Op: "git rev-list --count", Err: err}
	}
	return n, nil
}

// ChangedPaths lists the paths whose file differs between from and to, in git's
// order; a renamed file is both its names. A zero from compares with nothing:
// every path of to. There is no cap on their number.
func (r *Repo) ChangedPaths(ctx context.Context, from, to gitmodels.CommitID) ([]string, error) {
	if err := r.checkID(to); err != nil {
		return nil, err
	}
	base := string(from)
	if from.IsZero() {
		base = emptyTree(r.idLength)
	} else if err := r.checkID(from); err != nil {
		return nil, err
	}
	out, err := r.ask(ctx, "diff-tree", "-r", "-z", "--name-only", "--no-renames", "--no-ext-diff",
		"--no-textconv", "--ignore-submodules=none", base, string(to), "--")
	if err != nil {
		return nil, err
	}
	var paths []string
	for p := range bytes.SplitSeq(out, []byte{0}) {
		if len(p) > 0 {
			paths = append(paths, string(p))
		}
	}
	return paths, nil
}

// emptyTree is the id of the tree without entries, which git knows without
// having it.
func emptyTree(idLength int) string {
	if idLength == 64 {
		return "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"
	}
	return "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
}
