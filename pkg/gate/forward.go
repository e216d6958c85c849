package gate

import (
	"context"
	"fmt"
	"slices"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// farLine is how many own commits on either side make two lines rather than
// one line and a stray: then the other way out is shown first.
const farLine = 20

// notForward refuses an update that would take commits off a governed ref, and
// tells the causes apart by what helps.
func (j *judge) notForward(ctx context.Context, u gitmodels.Update) error {
	if j.explained() {
		j.refuse(u, Refusal{Why: fmt.Sprintf("%s is not a descendant of %s", j.short(u.New), j.short(u.Old))})
		return nil
	}
	rel, err := j.Relate(ctx, u.Old, u.New)
	if err != nil {
		return err
	}
	switch rel.Kind {
	case gitmodels.Rewind:
		j.rewind(u, rel)
		return nil
	case gitmodels.Far:
		j.far(u)
		return nil
	}
	replaced, err := j.rewritten(ctx, rel.Base, u)
	if err != nil {
		return err
	}
	switch {
	case replaced > 0:
		return j.amended(ctx, u, replaced)
	case rel.Kind == gitmodels.Unrelated:
		j.unrelated(u)
	default:
		j.diverged(u, rel)
	}
	return nil
}

// rewind refuses an older commit of the same line and offers its files on top.
func (j *judge) rewind(u gitmodels.Update, rel gitmodels.Relation) {
	r := Refusal{
		Why: fmt.Sprintf("%s already holds %s and %s; it is never rewound",
			name(u.Ref), j.short(u.New), related(rel.Lacks, "newer commit")),
	}
	if isPlain(u.Ref) {
		command := j.restore(u)
		if b, ok := branch(u.Ref); ok {
			command += " && git pull --ff-only origin " + Quote(b)
		}
		r.Hints = []Hint{{For: "to run the same files again, on top:", Command: command}}
	}
	j.refuse(u, r)
}

// far refuses a commit that leaves the line so far back that finding out whether
// it is on it would keep the pusher waiting. What helps is the same either way.
func (j *judge) far(u gitmodels.Update) {
	r := Refusal{
		Why:  fmt.Sprintf("%s is not a descendant of %s", j.short(u.New), j.short(u.Old)),
		More: []string{name(u.Ref) + " has thousands of commits that yours lacks"},
	}
	if isPlain(u.Ref) {
		fetch, tip := tracking(u.Ref)
		r.Hints = []Hint{
			{For: "to run these files, on top of it:", Command: j.restore(u)},
			{For: "or, to take that work in:", Command: fetch + " && git merge " + tip},
		}
	}
	j.refuse(u, r)
}

// restore is the command that pushes the files of a pushed commit as a new one on
// top of the ref.
func (j *judge) restore(u gitmodels.Update) string {
	fetch, tip := tracking(u.Ref)
	return fmt.Sprintf(`%s && git push origin "$(git commit-tree -p %s -m 'Restore %s' '%s^{tree}')":%s`,
		fetch, tip, j.short(u.New), hintID(u.New), Quote(string(u.Ref)))
}

// amended refuses rewritten commits and offers their files as a commit on top.
func (j *judge) amended(ctx context.Context, u gitmodels.Update, replaced int) error {
	r := Refusal{
		Why: fmt.Sprintf("%s amends %s, which %s already holds", j.short(u.New), j.short(u.Old), name(u.Ref)),
	}
	if replaced > 1 {
		r.Why = fmt.Sprintf("%s rewrites %d commits that %s already holds", j.short(u.New), replaced, name(u.Ref))
	}
	before, err := j.Tree(ctx, u.Old)
	if err != nil {
		return err
	}
	after, err := j.Tree(ctx, u.New)
	if err != nil {
		return err
	}
	if isPlain(u.Ref) {
		fetch, tip := tracking(u.Ref)
		commit := "git commit -C ORIG_HEAD"
		if before == after {
			commit = "git commit --allow-empty -C ORIG_HEAD"
		}
		r.Hints = []Hint{{
			For:     "to put your files on top of it:",
			Command: fetch + " && git reset --soft " + tip + " && " + commit,
		}}
	}
	j.refuse(u, r)
	return nil
}

// unrelated refuses a line that shares nothing with what the ref holds.
func (j *judge) unrelated(u gitmodels.Update) {
	r := Refusal{
		Why: fmt.Sprintf("%s shares no history with %s", j.short(u.New), name(u.Ref)),
	}
	if isPlain(u.Ref) {
		fetch, tip := tracking(u.Ref)
		r.Hints = []Hint{{
			For:     "to go on with your files, on top of it:",
			Command: fetch + " && git merge -s ours --allow-unrelated-histories " + tip,
		}}
	}
	j.refuse(u, r)
}

// diverged refuses a line that lacks commits of the ref: work to take in, or
// another line on purpose. Which it is only the pusher knows, so both ways are
// shown, the likelier first.
func (j *judge) diverged(u gitmodels.Update, rel gitmodels.Relation) {
	r := Refusal{
		Why:  fmt.Sprintf("%s is not a descendant of %s", j.short(u.New), j.short(u.Old)),
		More: []string{fmt.Sprintf("%s has %s that yours lacks", name(u.Ref), related(rel.Lacks, "commit"))},
	}
	if isPlain(u.Ref) {
		fetch, tip := tracking(u.Ref)
		r.Hints = []Hint{
			{For: "to take that work in:", Command: fetch + " && git merge " + tip},
			{For: "or, for another line on purpose, to keep only your files:", Command: fetch + " && git merge -s ours " + tip},
		}
		if rel.Lacks > farLine && rel.Has > farLine {
			r.More = append(r.More, fmt.Sprintf("the lines parted at %s, %s ago", j.short(rel.Base), related(rel.Has, "commit")))
			r.Hints[0], r.Hints[1] = r.Hints[1], r.Hints[0]
			r.Hints[0].For = "for another line on purpose, to keep only your files:"
			r.Hints[1].For = "or, to take that work in:"
		}
	}
	j.refuse(u, r)
}

// related counts things of a Relation: 3 commits, over 1000 commits.
func related(n int, thing string) string {
	if n >= gitmodels.MaxRelated {
		return fmt.Sprintf("over %d %ss", gitmodels.MaxRelated-1, thing)
	}
	return plural(n, thing)
}

// Bounds of the look at rewritten commits: an amended tip or a rebased handful
// is recognised, anything larger is a divergence.
const (
	maxReplaced = 8
	maxRewrites = 64
)

// rewritten reports how many commits of the ref the push replaces by rewritten
// ones: all that it lacks, or none. Taking someone else's commit for a rewritten
// one would cost that work, so a commit counts as rewritten only when author and
// author's time agree, which amending and rebasing keep, and either the subject
// agrees or the new one touches every path of the old.
func (j *judge) rewritten(ctx context.Context, base gitmodels.CommitID, u gitmodels.Update) (int, error) {
	lost, ok, err := j.line(ctx, base, u.Old, maxReplaced)
	if err != nil || !ok {
		return 0, err
	}
	won, ok, err := j.line(ctx, base, u.New, maxRewrites)
	if err != nil || !ok {
		return 0, err
	}
	for _, l := range lost {
		i := -1
		for k, w := range won {
			same, err := j.sameWork(ctx, l, w)
			if err != nil {
				return 0, err
			}
			if same {
				i = k
				break
			}
		}
		if i < 0 {
			return 0, nil
		}
		won = slices.Delete(won, i, i+1)
	}
	return len(lost), nil
}

// lineCommit is a commit of a line without merges.
type lineCommit struct {
	id, parent gitmodels.CommitID // no parent: a root
	origin     Origin
}

// line lists the commits from tip down to base, base excluded; ok is false when
// there are more than limit, or one is a merge.
func (j *judge) line(ctx context.Context, base, tip gitmodels.CommitID, limit int) (commits []lineCommit, ok bool, err error) {
	for id := tip; id != base; {
		if len(commits) == limit {
			return nil, false, nil
		}
		parents, err := j.Parents(ctx, id)
		if err != nil || len(parents) > 1 {
			return nil, false, err
		}
		origin, err := j.Origin(ctx, id)
		if err != nil {
			return nil, false, err
		}
		c := lineCommit{id: id, origin: origin}
		if len(parents) == 1 {
			c.parent = parents[0]
		}
		commits = append(commits, c)
		if c.parent == "" {
			break
		}
		id = c.parent
	}
	return commits, len(commits) > 0, nil
}

// sameWork reports whether b is a again, rewritten.
func (j *judge) sameWork(ctx context.Context, a, b lineCommit) (bool, error) {
	if a.origin.Author != b.origin.Author {
		return false, nil
	}
	if a.origin.Subject == b.origin.Subject {
		return true, nil
	}
	if a.parent == "" || b.parent == "" {
		return a.parent == b.parent, nil
	}
	before, err := j.ChangedPaths(ctx, a.parent, a.id)
	if err != nil {
		return false, err
	}
	after, err := j.ChangedPaths(ctx, b.parent, b.id)
	if err != nil {
		return false, err
	}
	for _, p := range before {
		if !slices.Contains(after, p) {
			return false, nil
		}
	}
	return len(before) > 0, nil
}

// plural counts things: 1 commit, 2 commits.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// name is a ref in words.
func name(r gitmodels.RefName) string { return gitmodels.Printable(r.Short(), 60) }
