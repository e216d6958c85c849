package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/git-models/git-models/pkg/gate"
	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/hook"
)

// heads are the branches of the server, as a clone knows them.
type heads struct {
	tips     map[gitmodels.RefName]gitmodels.CommitID // by the name on the server
	symbolic map[gitmodels.RefName]gitmodels.RefName  // branches that are symbolic refs there
	main     gitmodels.RefName                        // the server's default branch; empty when that is not known
}

const (
	branchPrefix   = "refs/heads/"
	trackingPrefix = "refs/remotes/" + remoteName + "/"
	soloLine       = gitmodels.RefName(branchPrefix + "models")
	teamMainLine   = gitmodels.RefName(branchPrefix + "models/main")
	teamFolder     = branchPrefix + "models/"
)

// askHeads asks the server. What a clone tracks may be stale, or little, as in a
// clone of a single branch.
func (p *program) askHeads(ctx context.Context, s *site) (heads, error) {
	h := heads{tips: map[gitmodels.RefName]gitmodels.CommitID{}, symbolic: map[gitmodels.RefName]gitmodels.RefName{}}
	out, err := p.gitSays(ctx, "ls-remote", "--quiet", "--symref", "--heads", remoteName)
	if err != nil {
		return h, err
	}
	for line := range strings.Lines(out) {
		value, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		ref, refErr := gitmodels.ParseRefName(name)
		target, isSymbolic := strings.CutPrefix(value, "ref: ")
		if ok && refErr == nil && isSymbolic {
			h.symbolic[ref] = gitmodels.RefName(target)
			continue
		}
		id, idErr := gitmodels.ParseCommitID(value)
		if !ok || refErr != nil || idErr != nil {
			return h, &gitmodels.Error{Op: "git ls-remote", Err: fmt.Errorf("unexpected answer %s", gitmodels.Printable(line, 200))}
		}
		h.tips[ref] = id
	}
	return h, h.findMain(ctx, s)
}

// trackedHeads are the branches as of the last fetch, without the server.
func trackedHeads(ctx context.Context, s *site) (heads, error) {
	h := heads{tips: map[gitmodels.RefName]gitmodels.CommitID{}}
	refs, err := s.repo.Refs(ctx, strings.TrimSuffix(trackingPrefix, "/"))
	if err != nil {
		return h, err
	}
	for _, r := range refs {
		if name, ok := serverName(r.Name); ok {
			h.tips[name] = r.ID
		}
	}
	return h, h.findMain(ctx, s)
}

// serverName is the branch that a tracking ref stands for.
func serverName(ref gitmodels.RefName) (gitmodels.RefName, bool) {
	branch, ok := strings.CutPrefix(string(ref), trackingPrefix)
	return gitmodels.RefName(branchPrefix + branch), ok && branch != "HEAD"
}

// findMain takes the server's default branch from git clone's record of it, else
// the usual name that is there.
func (h *heads) findMain(ctx context.Context, s *site) error {
	target, ok, err := s.repo.SymbolicTarget(ctx, trackingPrefix+"HEAD")
	if err != nil {
		return err
	}
	if name, tracked := serverName(target); ok && tracked {
		h.main = name
		return nil
	}
	for _, usual := range []gitmodels.RefName{branchPrefix + "main", branchPrefix + "master"} {
		if h.tips[usual] != "" {
			h.main = usual
			return nil
		}
	}
	return nil
}

// team reports whether the trained lines are models/NAME: as the server has it,
// else as this clone's models.layout says.
func (h heads) team(layout string) bool {
	if _, solo := h.tips[soloLine]; solo {
		return false
	}
	for ref := range h.tips {
		if strings.HasPrefix(string(ref), teamFolder) {
			return true
		}
	}
	return layout == "team"
}

// line is the governed ref that the work of a branch goes to: a governed branch
// to itself, in team layout every other to its models/NAME and the default
// branch to models/main, in solo layout all to models. An empty branch is a
// detached HEAD, which has a place in solo layout alone.
func (h heads) line(s *site, branch gitmodels.RefName) (gitmodels.RefName, error) {
	ref := soloLine
	name, isBranch := strings.CutPrefix(string(branch), branchPrefix)
	switch {
	case s.policy.Governed(branch):
		return branch, nil
	case !h.team(s.policy.Layout):
	case isBranch && (branch == h.main || h.main == "" && (name == "main" || name == "master")):
		ref = teamMainLine
	case isBranch:
		ref = gitmodels.RefName(teamFolder + name)
	default:
		return "", &gitmodels.Error{Kind: gitmodels.Invalid,
			Message: "this repository uses team branches, and HEAD is on no branch: name the line",
			Hint:    "git models push models/NAME"}
	}
	if !s.policy.Governed(ref) {
		return "", &gitmodels.Error{Kind: gitmodels.Invalid,
			Message: shown(ref.Short()) + " is no trained line by this clone's models.refs: name the line",
			Hint:    "git models push HEAD:LINE"}
	}
	return ref, nil
}

// currentBranch is the branch that is checked out; empty when HEAD is detached.
func currentBranch(ctx context.Context, s *site) (gitmodels.RefName, error) {
	branch, _, err := s.repo.SymbolicTarget(ctx, "HEAD")
	return branch, err
}

// pushCommand is what a person types to push source to a line.
func pushCommand(source string, line gitmodels.RefName) string {
	return "git push " + remoteName + " " + quote(source+":"+line.Short())
}

// cloneHistory is a clone as the gate asks for the server's repository: the
// clone's objects, the server's branches.
type cloneHistory struct {
	hook.History
	heads
}

// Tips implements gate.History.
func (h cloneHistory) Tips(_ context.Context, prefixes ...string) (map[gitmodels.RefName]gitmodels.CommitID, error) {
	found := map[gitmodels.RefName]gitmodels.CommitID{}
	for ref, id := range h.tips {
		for _, prefix := range prefixes {
			if string(ref) == prefix || strings.HasPrefix(string(ref), strings.TrimSuffix(prefix, "/")+"/") {
				found[ref] = id
			}
		}
	}
	return found, nil
}

// RefsContaining implements gate.History, as of the last fetch.
func (h cloneHistory) RefsContaining(ctx context.Context, id gitmodels.CommitID, prefixes ...string) ([]gitmodels.RefName, error) {
	tracking, err := h.History.RefsContaining(ctx, id, strings.TrimSuffix(trackingPrefix, "/"))
	if err != nil {
		return nil, err
	}
	var names []gitmodels.RefName
	for _, t := range tracking {
		name, ok := serverName(t)
		for _, prefix := range prefixes {
			if ok && strings.HasPrefix(string(name), prefix) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// SymbolicTarget implements gate.History.
func (h cloneHistory) SymbolicTarget(_ context.Context, ref gitmodels.RefName) (gitmodels.RefName, bool, error) {
	if ref == "HEAD" {
		return h.main, h.main != "", nil
	}
	target, ok := h.symbolic[ref]
	return target, ok, nil
}

var _ gate.History = cloneHistory{}
