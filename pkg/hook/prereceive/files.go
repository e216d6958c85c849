package prereceive

import (
	"context"

	"github.com/git-models/git-models/pkg/gate"
	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/hook"
	"github.com/git-models/git-models/pkg/plan"
)

// tip is a commit whose files were read.
type tip struct {
	gitmodels.Update
	hook.Files
}

// consider asks what each new tip would run here. Its faults refuse the push, or
// only warn, by models.validate; either way the pusher hears of them while
// looking. A plan that was asked for is told when nothing refuses.
func consider(ctx context.Context, sight hook.Sight, verdict gate.Verdict) (judgement, error) {
	j := judgement{planned: sight.Steer.Plan}
	var planned []tip
	validate := sight.Site.Policy.Validate
	seen := map[gitmodels.CommitID]hook.Files{}
	read := func(u gitmodels.Update) (t tip, known bool, err error) {
		files, known := seen[u.New]
		if !known {
			if files, err = sight.Read(ctx, u.New, u.Ref, sight.Site.Name(), ""); err != nil {
				return t, false, err
			}
			seen[u.New] = files
		}
		return tip{u, files}, known, nil
	}
	for _, u := range verdict.Governed {
		if validate == "off" && !j.planned {
			break
		}
		t, known, err := read(u)
		if err != nil {
			return judgement{}, err
		}
		if j.planned {
			planned = append(planned, t)
		}
		if !known {
			j.validate(t, validate)
		}
	}
	if j.refused {
		return j, nil
	}
	for _, a := range verdict.Asked {
		switch {
		case a.Control == gitmodels.ControlPlan:
			// As if the commit were at the tip of its ref, where it changes nothing.
			t, _, err := read(gitmodels.Update{Old: a.New, New: a.New, Ref: a.Holder})
			if err != nil {
				return judgement{}, err
			}
			planned = append(planned, t)
		case j.planned:
			j.blocks = append(j.blocks, (&hook.Block{}).Say("%s of %s would be asked for", a.Control, a.New.Short(sight.Site.Policy.Abbrev)))
		}
	}
	if len(planned) == 0 {
		return j, nil
	}
	plans, err := plans(ctx, sight, planned, verdict.Asked)
	j.blocks = append(j.blocks, plans...)
	return j, err
}

// validate says what is wrong with the files of a tip.
func (j *judgement) validate(t tip, validate string) {
	if t.Plan != nil {
		for _, f := range t.Plan.Warnings {
			j.blocks = append(j.blocks, fault("warning: ", t.Update, f))
		}
		return
	}
	reject := validate == "reject"
	j.refused = j.refused || reject
	word := "warning: "
	if reject {
		word = "refused "
	}
	for _, f := range t.Faults {
		j.blocks = append(j.blocks, fault(word, t.Update, f))
	}
	if reject {
		j.blocks = append(j.blocks, (&hook.Block{}).Say("mend it, commit and push again; git models lint says the same before a push"))
	} else {
		j.blocks = append(j.blocks, (&hook.Block{}).Say("the push passes by models.validate = %s; the run will fail", validate))
	}
}

// fault is one line per fault, as compilers print it, so that editors find the
// place.
func fault(word string, u gitmodels.Update, f plan.Fault) *hook.Block {
	return (&hook.Block{}).Whole(word + hook.Shown(string(u.Ref)) + ": " + gitmodels.Printable(f.String(), 400))
}
