package gate

import (
	"context"
	"fmt"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Asked is a control ref that may pass, and what it asks for.
type Asked struct {
	gitmodels.Update
	Control gitmodels.Control
	// Holder is a governed ref whose history has the commit: the one whose tip it
	// is, if there is one.
	Holder gitmodels.RefName
}

// control judges a push to a control ref: what it asks for must be known, may
// be done, and be about a commit that is, or becomes with this push, part of
// what a governed ref holds.
func (j *judge) control(ctx context.Context, u gitmodels.Update) error {
	what, known := gitmodels.ControlOf(u.Ref)
	switch {
	case !known:
		j.unknownControl(u)
		return nil
	case u.Deletes():
		j.refuse(u, Refusal{Why: "it is answered in the push that makes it, and removed by the server"})
		return nil
	case !u.Creates():
		j.refuse(u, Refusal{
			Why:  "another push to it is being answered",
			More: []string{"push again in a moment; what is left behind is removed within two minutes"},
		})
		return nil
	case j.rules.Cancel == "owner" && (what == gitmodels.ControlCancel || what == gitmodels.ControlRerun):
		j.refuse(u, Refusal{
			Why:    "by models.cancel=owner this is done on the server alone",
			Server: "git models " + string(what) + " " + j.short(u.New),
		})
		return nil
	}
	if done, err := j.controlNoCommit(ctx, u, what); done || err != nil {
		return err
	}
	holder, err := j.holder(ctx, u.New)
	if err != nil {
		return err
	}
	if holder == "" {
		return j.notHeld(ctx, u, what)
	}
	j.verdict.Asked = append(j.verdict.Asked, Asked{u, what, holder})
	return nil
}

// unknownControl refuses a name below refs/run/ that asks for nothing.
func (j *judge) unknownControl(u gitmodels.Update) {
	var names []string
	for _, c := range gitmodels.Controls {
		names = append(names, string(c))
	}
	r := Refusal{Why: "nothing is asked for by this name"}
	name := strings.TrimPrefix(strings.TrimPrefix(string(u.Ref), "refs/run"), "/")
	if near := gitmodels.Suggest(strings.ToLower(name), names); near != "" {
		r.Why += "; did you mean " + near + "?"
		if !u.Deletes() {
			r.Hints = []Hint{{Command: gitmodels.Control(near).PushCommand(hintID(u.New))}}
		}
	} else {
		r.More = []string{"refs/run/ has " + strings.Join(names, ", ")}
	}
	j.refuse(u, r)
}

// controlNoCommit refuses to be asked about anything but a commit.
func (j *judge) controlNoCommit(ctx context.Context, u gitmodels.Update, what gitmodels.Control) (bool, error) {
	kind, err := j.ObjectType(ctx, u.New)
	if err != nil || kind == "commit" {
		return false, err
	}
	if kind == "" {
		return false, fmt.Errorf("object %s is missing", u.New)
	}
	r := Refusal{Why: fmt.Sprintf("%s is a %s, and %s is about a commit", j.short(u.New), kind, what)}
	if kind == "tag" {
		_, err := j.Peel(ctx, string(u.New))
		switch {
		case gitmodels.KindOf(err) == gitmodels.NotFound:
		case err != nil:
			return false, err
		default:
			r.Hints = []Hint{{For: "for the commit that it names:", Command: push(hintID(u.New)+"^{commit}", u.Ref)}}
		}
	}
	j.refuse(u, r)
	return true, nil
}

// holder is a governed ref that has the commit, before or after this push;
// empty when there is none.
func (j *judge) holder(ctx context.Context, id gitmodels.CommitID) (gitmodels.RefName, error) {
	for _, u := range j.verdict.Governed {
		if u.New == id {
			return u.Ref, nil
		}
	}
	refs, err := j.RefsContaining(ctx, id, j.rules.Places...)
	if err != nil {
		return "", err
	}
	var holder gitmodels.RefName
	var several bool
	for _, ref := range refs {
		if j.rules.Governed(ref) {
			several = holder != ""
			if holder == "" {
				holder = ref
			}
		}
	}
	if several {
		tips, err := j.Tips(ctx, j.rules.Places...)
		if err != nil {
			return "", err
		}
		for _, ref := range refs {
			if tips[ref] == id && j.rules.Governed(ref) {
				return ref, nil
			}
		}
	}
	if holder != "" {
		return holder, nil
	}
	for _, u := range j.verdict.Governed {
		if u.Deletes() {
			continue
		}
		if kind, err := j.ObjectType(ctx, u.New); err != nil {
			return "", err
		} else if kind != "commit" {
			continue
		}
		if holds, err := j.IsAncestor(ctx, id, u.New); err != nil {
			return "", err
		} else if holds {
			return u.Ref, nil
		}
	}
	return "", nil
}

// notHeld refuses to be asked about a commit that was never pushed to be
// trained, and says which push that would be.
func (j *judge) notHeld(ctx context.Context, u gitmodels.Update, what gitmodels.Control) error {
	r := Refusal{Why: j.short(u.New) + " is on no governed ref, so it has no run"}
	ref, err := j.usual(ctx)
	if err != nil {
		return err
	}
	if ref == "" {
		j.refuse(u, r)
		return nil
	}
	if what == gitmodels.ControlPlan {
		r.Why = j.short(u.New) + " is on no governed ref"
		r.Hints = []Hint{{For: "to see what a push of it would run:", Command: "git push -o plan origin " + Quote(hintID(u.New)+":"+string(ref))}}
	} else if r.Hints, err = j.pushTo(ctx, u.New, ref, "to run it:"); err != nil {
		return err
	}
	j.refuse(u, r)
	return nil
}

// usual is the governed ref of the usual push here: the only one, or the shared
// one; empty where only the pusher knows.
func (j *judge) usual(ctx context.Context) (gitmodels.RefName, error) {
	tips, err := j.Tips(ctx, j.rules.Places...)
	if err != nil {
		return "", err
	}
	var refs []gitmodels.RefName
	for ref := range tips {
		if j.rules.Governed(ref) {
			refs = append(refs, ref)
		}
	}
	_, team := tips[teamMain]
	switch {
	case len(refs) == 1 && isPlain(refs[0]):
		return refs[0], nil
	case team, len(refs) == 0 && j.rules.Layout == "team" && j.rules.Governed(teamMain):
		return teamMain, nil
	case len(refs) == 0 && j.rules.Governed(soloRef):
		return soloRef, nil
	}
	return "", nil
}
