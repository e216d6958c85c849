package gate

import (
	"context"
	"fmt"
	"slices"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// History is what the gate asks of the repository: the objects of the push
// included, replace refs ignored. An error is never an answer: Judge gives up
// with it, and the caller refuses the push.
type History interface {
	// ObjectType is git's word for the object: commit, tag, tree or blob; empty
	// when it is missing.
	ObjectType(ctx context.Context, id gitmodels.CommitID) (string, error)
	// Peel follows tags from rev to a commit; an Error of Kind NotFound when they
	// end elsewhere.
	Peel(ctx context.Context, rev string) (gitmodels.CommitID, error)
	IsAncestor(ctx context.Context, ancestor, descendant gitmodels.CommitID) (bool, error)
	MergeBase(ctx context.Context, a, b gitmodels.CommitID) (base gitmodels.CommitID, ok bool, err error)
	// Relate says how commit, which is no descendant of tip, stands to it. It
	// answers soon or says that it is far.
	Relate(ctx context.Context, tip, commit gitmodels.CommitID) (gitmodels.Relation, error)
	// Commits lists what include reaches and none of exclude does, oldest first; at
	// most limit, the newest.
	Commits(ctx context.Context, include gitmodels.CommitID, exclude []gitmodels.CommitID, limit int) ([]gitmodels.CommitID, error)
	Parents(ctx context.Context, id gitmodels.CommitID) ([]gitmodels.CommitID, error)
	Tree(ctx context.Context, id gitmodels.CommitID) (string, error)
	// Origin says who first wrote a commit, and when. Amending and rebasing keep it.
	Origin(ctx context.Context, id gitmodels.CommitID) (Origin, error)
	ChangedPaths(ctx context.Context, from, to gitmodels.CommitID) ([]string, error)
	// SymbolicTarget is one step of a symbolic ref, dangling ones included.
	SymbolicTarget(ctx context.Context, ref gitmodels.RefName) (target gitmodels.RefName, ok bool, err error)
	// Tips lists the refs that are named by prefixes or lie below them.
	Tips(ctx context.Context, prefixes ...string) (map[gitmodels.RefName]gitmodels.CommitID, error)
	RefsContaining(ctx context.Context, id gitmodels.CommitID, prefixes ...string) ([]gitmodels.RefName, error)
}

// Origin is what a rewritten commit keeps of the one it replaces.
type Origin struct {
	Author  string // name, address and time of the author, as one comparable string
	Subject string
}

// Rules are the admin's decisions.
type Rules struct {
	Governed func(gitmodels.RefName) bool // models.refs
	Own      func(gitmodels.RefName) bool // refs that the runner alone writes
	Control  func(gitmodels.RefName) bool // refs/run/**
	Places   []string                     // where governed refs lie: prefixes as History.Tips reads them
	Cancel   string                       // models.cancel: anyone, owner
	Layout   string                       // models.layout: auto, solo, team
	Source   string                       // models.source: off, warn, require
	Abbrev   int                          // models.abbrev: digits of a commit's short name, 0 for all
}

// Push is what is asked for.
type Push struct {
	Updates []gitmodels.Update
	Options []string
	Button  string // what merged it on the server, such as "the merge button"; empty for a plain push
}

// Verdict is the answer: the push may pass when nothing is refused.
type Verdict struct {
	Refusals []Refusal
	Governed []gitmodels.Update // the updates of governed refs, in the order of the push
	Asked    []Asked            // the control refs that may pass, likewise
}

// Refusal is one reason why the push is refused as a whole.
type Refusal struct {
	What  string   // a ref or an option, as the pusher wrote it
	Why   string   // a few words; lower case, no full stop
	More  []string // sentences that explain, one a line
	Hints []Hint
	// Server is a command for somebody with an account on the server, where
	// nothing that a pusher can type helps; or empty.
	Server string
}

// Hint is a way out.
type Hint struct {
	For     string // what it is good for, to be printed before the command; may be empty
	Command string // to paste into a POSIX shell in the pusher's clone
}

// Judge looks at every update and option and returns all reasons at once. An
// error means that no judgement was possible.
func Judge(ctx context.Context, push Push, rules Rules, history History) (Verdict, error) {
	j := &judge{push: push, rules: rules, History: history}
	for _, u := range push.Updates {
		if rules.Governed(u.Ref) {
			j.verdict.Governed = append(j.verdict.Governed, u)
		}
	}
	for _, u := range push.Updates {
		if err := j.update(ctx, u); err != nil {
			return Verdict{}, fmt.Errorf("judging %s: %w", gitmodels.Printable(string(u.Ref), 200), err)
		}
	}
	if len(j.verdict.Governed) > 0 || slices.ContainsFunc(push.Updates, func(u gitmodels.Update) bool { return rules.Control(u.Ref) }) {
		j.verdict.Refusals = append(j.verdict.Refusals, options(push.Options)...)
	}
	// Counting is for a push that would pass: of one that does not, the tips may be
	// no commits at all.
	if len(j.verdict.Refusals) == 0 && gitmodels.Steer(push.Options).Each && len(j.verdict.Governed) > 0 {
		if err := j.each(ctx); err != nil {
			return Verdict{}, fmt.Errorf("counting the commits of the push: %w", err)
		}
	}
	return j.verdict, nil
}

// judge carries one push through the questions.
type judge struct {
	History
	push    Push
	rules   Rules
	verdict Verdict

	branches *paths // those of the repository, once they are known
	pushed   *paths // what the push creates or updates
}

// enough is how many refusals are explained with everything that helps. More
// than these are not printed, and each takes git a while to find out.
const enough = 20

func (j *judge) explained() bool { return len(j.verdict.Refusals) >= enough }

// refuse notes a reason for u.
func (j *judge) refuse(u gitmodels.Update, r Refusal) {
	r.What = string(u.Ref)
	j.verdict.Refusals = append(j.verdict.Refusals, r)
}

// short is the name of a commit in words.
func (j *judge) short(id gitmodels.CommitID) string { return id.Short(j.rules.Abbrev) }

// update asks every question about one update, in the order in which an answer
// makes the later ones pointless.
func (j *judge) update(ctx context.Context, u gitmodels.Update) error {
	switch {
	case j.rules.Own(u.Ref):
		j.own(u)
		return nil
	case j.rules.Control(u.Ref):
		return j.control(ctx, u)
	}
	if done, err := j.symbolic(ctx, u); done || err != nil {
		return err
	}
	if !j.rules.Governed(u.Ref) {
		return j.beside(ctx, u)
	}
	if u.Deletes() {
		j.deleted(u)
		return nil
	}
	if done, err := j.notCommit(ctx, u); done || err != nil {
		return err
	}
	if !u.Creates() {
		forward, err := j.IsAncestor(ctx, u.Old, u.New)
		if err != nil {
			return err
		}
		if !forward {
			return j.notForward(ctx, u)
		}
		return j.source(ctx, u)
	}
	if j.oddName(u) {
		return nil
	}
	if done, err := j.clash(ctx, u); done || err != nil {
		return err
	}
	return j.source(ctx, u)
}

// own refuses the refs that would let a pusher forge an outcome.
func (j *judge) own(u gitmodels.Update) {
	r := Refusal{Why: "these are written by the runner"}
	if !u.Creates() && !u.Deletes() && isPlain(u.Ref) {
		ref := Quote("+" + string(u.Ref) + ":" + string(u.Ref))
		r.Hints = []Hint{{For: "to have what the runner wrote:", Command: "git fetch origin " + ref}}
	}
	j.refuse(u, r)
}

// deleted refuses to lose a line of trained commits.
func (j *judge) deleted(u gitmodels.Update) {
	r := Refusal{
		Why: name(u.Ref) + " is never deleted: it is the record of what ran",
	}
	for _, other := range j.push.Updates {
		if other.Ref == u.Ref && !other.Deletes() {
			r.More = append(r.More, "deleting and creating it anew is a rewind in two steps")
			break
		}
	}
	if b, ok := branch(u.Ref); ok {
		r.Hints = []Hint{{
			For:     "to begin another line on top of it:",
			Command: "git fetch origin && git merge -s ours --allow-unrelated-histories " + Quote("origin/"+b),
		}}
	}
	j.refuse(u, r)
}

// notCommit refuses a tip that cannot be trained because it is no commit.
func (j *judge) notCommit(ctx context.Context, u gitmodels.Update) (bool, error) {
	kind, err := j.ObjectType(ctx, u.New)
	if err != nil || kind == "commit" {
		return false, err
	}
	if kind == "" {
		return false, fmt.Errorf("object %s is missing", u.New)
	}
	r := Refusal{Why: fmt.Sprintf("%s is a %s, not a commit", j.short(u.New), kind)}
	if kind == "tag" {
		r.Why = j.short(u.New) + " is an annotated tag, not a commit"
		commit, err := j.Peel(ctx, string(u.New))
		switch {
		case gitmodels.KindOf(err) == gitmodels.NotFound:
			r.Why = j.short(u.New) + " is a tag that names no commit"
		case err != nil:
			return false, err
		default:
			forward := u.Creates()
			if !forward {
				if forward, err = j.IsAncestor(ctx, u.Old, commit); err != nil {
					return false, err
				}
			}
			if forward {
				r.Hints = []Hint{{For: "to push the commit that it names:", Command: push(hintID(u.New)+"^{commit}", u.Ref)}}
			} else {
				r.More = append(r.More, "the commit that it names is "+j.short(commit)+", which is not ahead of "+name(u.Ref))
			}
		}
	}
	j.refuse(u, r)
	return true, nil
}

// maxChain bounds how many symbolic refs may lead to one another; git follows
// five.
const maxChain = 10

// symbolic refuses an update that would move another ref than the one it names,
// when either is ours to guard.
func (j *judge) symbolic(ctx context.Context, u gitmodels.Update) (bool, error) {
	guarded := func(r gitmodels.RefName) bool { return j.rules.Governed(r) || j.rules.Own(r) || j.rules.Control(r) }
	chain := []gitmodels.RefName{u.Ref}
	for {
		at := chain[len(chain)-1]
		target, ok, err := j.SymbolicTarget(ctx, at)
		if err != nil {
			return false, err
		}
		if !ok {
			break
		}
		chain = append(chain, target)
		if len(chain) > maxChain || slices.Contains(chain[:len(chain)-1], target) {
			return false, fmt.Errorf("symbolic ref %s leads in a circle or too far", gitmodels.Printable(string(u.Ref), 200))
		}
	}
	if len(chain) == 1 || !slices.ContainsFunc(chain, guarded) {
		return false, nil
	}
	last := chain[len(chain)-1]
	r := Refusal{
		Why: "it is a symbolic ref to " + gitmodels.Printable(string(last), 200) + ", which is pushed by its own name",
	}
	if j.rules.Governed(u.Ref) {
		r.Why = "it is a symbolic ref to " + gitmodels.Printable(string(last), 200) + ", and commits are trained from a real one"
		if isPlain(u.Ref) {
			r.Server = "git symbolic-ref --delete " + Quote(string(u.Ref))
		}
	}
	if j.rules.Governed(last) && !u.Deletes() {
		hint, err := j.pushTo(ctx, u.New, last, "")
		if err != nil {
			return false, err
		}
		r.Hints = hint
	}
	j.refuse(u, r)
	return true, nil
}

// pushTo is the command that brings commit to the governed ref target, if it
// is a commit.
func (j *judge) pushTo(ctx context.Context, id gitmodels.CommitID, target gitmodels.RefName, why string) ([]Hint, error) {
	if j.explained() {
		return nil, nil
	}
	kind, err := j.ObjectType(ctx, id)
	if err != nil || kind != "commit" || !isPlain(target) {
		return nil, err
	}
	tips, err := j.Tips(ctx, string(target))
	if err != nil {
		return nil, err
	}
	tip, exists := tips[target]
	if !exists {
		return []Hint{{For: why, Command: push(hintID(id), target)}}, nil
	}
	forward, err := j.IsAncestor(ctx, tip, id)
	if err != nil {
		return nil, err
	}
	if forward {
		return []Hint{{For: why, Command: push(hintID(id), target)}}, nil
	}
	strategy := ""
	if _, related, err := j.MergeBase(ctx, tip, id); err != nil {
		return nil, err
	} else if !related {
		strategy = "-s ours --allow-unrelated-histories "
	}
	fetch, line := tracking(target)
	return []Hint{{For: why, Command: fetch + " && git merge " + strategy + line + " && " + push("HEAD", target)}}, nil
}
