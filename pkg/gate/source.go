package gate

import (
	"context"
	"fmt"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const branches = "refs/heads/"

// source refuses a tip that lives on no branch but the governed ones, when
// policy requires that it does, or when a merge button made it: such a commit is
// on no one's machine, and the branch it came from lacks it.
func (j *judge) source(ctx context.Context, u gitmodels.Update) error {
	button := j.push.Button != "" && j.rules.Source != "off"
	if j.rules.Source != "require" && !button {
		return nil
	}
	published, err := Published(ctx, u.New, j.rules, j.History)
	if err != nil {
		return err
	}
	if !published {
		if published, err = j.pushedAlong(ctx, u.New); err != nil {
			return err
		}
	}
	if published {
		return nil
	}
	if button {
		return j.button(ctx, u)
	}
	r := Refusal{
		Why: j.short(u.New) + " is on no source branch, which models.source requires",
	}
	command, err := SourceCommand(ctx, u, j.History)
	if err != nil {
		return err
	}
	r.Hints = []Hint{{Command: command}}
	j.refuse(u, r)
	return nil
}

// Published reports whether the server has tip on a branch that is not
// governed: its source branch.
func Published(ctx context.Context, tip gitmodels.CommitID, rules Rules, history History) (bool, error) {
	refs, err := history.RefsContaining(ctx, tip, branches)
	if err != nil {
		return false, err
	}
	for _, r := range refs {
		if isSource(r, rules) {
			return true, nil
		}
	}
	return false, nil
}

// isSource reports whether r is a branch that people work on.
func isSource(r gitmodels.RefName, rules Rules) bool {
	return strings.HasPrefix(string(r), branches) && !rules.Governed(r) && !rules.Own(r)
}

// SourceCommand is what publishes the tip of a governed ref on its source
// branch. For a shared line that is ahead of the server's default branch it is
// that branch; otherwise only the pusher knows the name, and HEAD is the branch
// that he is on.
func SourceCommand(ctx context.Context, u gitmodels.Update, history History) (string, error) {
	const current = "git push origin HEAD"
	if u.Ref != soloRef && u.Ref != teamMain {
		return current, nil
	}
	main, ok, err := history.SymbolicTarget(ctx, "HEAD")
	if err != nil {
		return "", err
	}
	name, plain := branch(main)
	if !ok || !plain {
		return current, nil
	}
	tips, err := history.Tips(ctx, string(main))
	if err != nil {
		return "", err
	}
	at, exists := tips[main]
	if !exists {
		return current, nil
	}
	ahead, err := history.IsAncestor(ctx, at, u.New)
	if err != nil || !ahead {
		return current, err
	}
	return "git push origin " + Quote(name), nil
}

// pushedAlong reports whether the same push publishes tip.
func (j *judge) pushedAlong(ctx context.Context, tip gitmodels.CommitID) (bool, error) {
	for _, u := range j.push.Updates {
		if u.Deletes() || !isSource(u.Ref, j.rules) {
			continue
		}
		if kind, err := j.ObjectType(ctx, u.New); err != nil {
			return false, err
		} else if kind != "commit" {
			continue
		}
		if holds, err := j.IsAncestor(ctx, tip, u.New); err != nil || holds {
			return holds, err
		}
	}
	return false, nil
}

// button refuses a merge made on the server. What was merged is its second
// parent, and the branch that has it is where the merge belongs.
func (j *judge) button(ctx context.Context, u gitmodels.Update) error {
	r := Refusal{
		Why:  fmt.Sprintf("%s was made by %s and is on no source branch", j.short(u.New), j.push.Button),
		More: []string{"merge on your machine, and push the tip of your branch"},
	}
	from, err := j.mergedFrom(ctx, u)
	if err != nil {
		return err
	}
	if b, ok := branch(from); ok && isPlain(u.Ref) {
		fetch, tip := tracking(u.Ref)
		merge := ""
		if !u.Creates() {
			merge = " && git merge " + tip
		}
		r.Hints = []Hint{{Command: fetch + " && git switch " + Quote(b) + merge + " && git push origin " + Quote(b) + " " + Quote(b+":"+string(u.Ref))}}
	}
	j.refuse(u, r)
	return nil
}

// mergedFrom is the branch whose work a merge brought in, or the default branch.
func (j *judge) mergedFrom(ctx context.Context, u gitmodels.Update) (gitmodels.RefName, error) {
	parents, err := j.Parents(ctx, u.New)
	if err != nil {
		return "", err
	}
	if len(parents) == 2 {
		refs, err := j.RefsContaining(ctx, parents[1], branches)
		if err != nil {
			return "", err
		}
		for _, r := range refs {
			if isSource(r, j.rules) {
				return r, nil
			}
		}
	}
	main, _, err := j.SymbolicTarget(ctx, "HEAD")
	return main, err
}
