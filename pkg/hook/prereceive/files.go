package prereceive

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/hook"
	"github.com/git-models/git-models/pkg/plan"
)

// files asks what each new tip would run here. Its faults refuse the push, or
// only warn, by models.validate; either way the pusher hears of them while
// looking.
func files(ctx context.Context, site hook.Site, governed []gitmodels.Update) (judgement, error) {
	var j judgement
	if site.Policy.Validate == "off" {
		return j, nil
	}
	seen := map[gitmodels.CommitID]bool{}
	for _, u := range governed {
		if seen[u.New] {
			continue
		}
		seen[u.New] = true
		made, err := plan.Make(ctx, plan.Input{
			Commit:     u.New,
			Ref:        u.Ref,
			Repository: strings.TrimSuffix(filepath.Base(site.Repo.Dir()), ".git"),
			Policy:     site.Policy,
			Files:      site.Repo,
		})
		var faults *plan.Faults
		switch {
		case errors.As(err, &faults):
			reject := site.Policy.Validate != "warn"
			j.refused = j.refused || reject
			word := "warning: "
			if reject {
				word = "refused "
			}
			for _, f := range faults.All {
				j.blocks = append(j.blocks, fault(word, u, f))
			}
			if reject {
				j.blocks = append(j.blocks, (&hook.Block{}).Say("mend it, commit and push again; git models lint says the same before a push"))
			} else {
				j.blocks = append(j.blocks, (&hook.Block{}).Say("the push passes by models.validate = warn; the run will fail"))
			}
		case err != nil:
			return judgement{}, fmt.Errorf("reading the files of %s: %w", u.New, err)
		default:
			for _, f := range made.Warnings {
				j.blocks = append(j.blocks, fault("warning: ", u, f))
			}
		}
	}
	return j, nil
}

// fault is one line per fault, as compilers print it, so that editors find the
// place.
func fault(word string, u gitmodels.Update, f plan.Fault) *hook.Block {
	return (&hook.Block{}).Whole(word + hook.Shown(string(u.Ref)) + ": " + gitmodels.Printable(f.String(), 400))
}
