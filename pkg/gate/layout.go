package gate

import (
	"context"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// The names of the two layouts. Git stores refs as paths, so models and
// models/x cannot exist beside one another: a repository has one or the other.
const (
	soloRef   gitmodels.RefName = "refs/heads/models"
	teamMain  gitmodels.RefName = "refs/heads/models/main"
	teamBelow                   = "refs/heads/models/"
)

// clash refuses a new governed ref that cannot exist beside those that do, or
// beside another new one of the same push. Deletes never free a name: those of
// governed refs are refused, and git would apply them one by one.
func (j *judge) clash(ctx context.Context, u gitmodels.Update) (bool, error) {
	switch {
	case u.Ref == soloRef && j.rules.Layout == "team":
		return true, j.wrongLayout(ctx, u, "by models.layout this repository uses team branches", teamMain)
	case strings.HasPrefix(string(u.Ref), teamBelow) && j.rules.Layout == "solo":
		return true, j.wrongLayout(ctx, u, "by models.layout this repository runs from one branch, models", soloRef)
	}
	other, existing, err := j.inTheWay(ctx, u.Ref)
	if err != nil || other == "" {
		return false, err
	}
	switch {
	case existing && other == soloRef:
		return true, j.wrongLayout(ctx, u, "this repository runs from one branch, models", soloRef)
	case existing && u.Ref == soloRef:
		return true, j.wrongLayout(ctx, u, "this repository uses team branches", teamMain)
	}
	r := Refusal{
		Why:  "it clashes with " + gitmodels.Printable(string(other), 200),
		More: []string{"git stores refs as paths: one cannot exist below the other"},
	}
	if !existing {
		r.More = append(r.More, "push one of the two: solo work runs from models, a team's from models/NAME")
		keep := u.Ref
		if strings.HasPrefix(string(other), teamBelow) {
			keep = other
		}
		if r.Hints, err = j.pushTo(ctx, u.New, keep, ""); err != nil {
			return false, err
		}
	}
	j.refuse(u, r)
	return true, nil
}

// wrongLayout refuses a name of the other layout and says what to type here.
func (j *judge) wrongLayout(ctx context.Context, u gitmodels.Update, layout string, instead gitmodels.RefName) error {
	r := Refusal{
		Why: layout,
		More: []string{
			"models and models/x cannot exist beside one another: git stores refs as paths",
			"the usual push here: git push origin main:" + instead.Short(),
		},
	}
	var err error
	if r.Hints, err = j.pushTo(ctx, u.New, instead, "to push this commit there:"); err != nil {
		return err
	}
	j.refuse(u, r)
	return nil
}

// inTheWay finds a ref whose path excludes that of ref: one that exists, or
// another create of this push.
func (j *judge) inTheWay(ctx context.Context, ref gitmodels.RefName) (other gitmodels.RefName, existing bool, err error) {
	tips, err := j.Tips(ctx, append(above(ref), string(ref))...)
	if err != nil {
		return "", false, err
	}
	var found []gitmodels.RefName
	for have := range tips {
		if excludes(have, ref) {
			found = append(found, have)
		}
	}
	if len(found) > 0 {
		return slices.Min(found), true, nil
	}
	for _, u := range j.push.Updates {
		if !u.Deletes() && excludes(u.Ref, ref) {
			return u.Ref, false, nil
		}
	}
	return "", false, nil
}

// beside looks at a new ref that is not governed: all that matters is whether
// it is in the way of a governed one, for then git would apply half of a push.
func (j *judge) beside(ctx context.Context, u gitmodels.Update) error {
	if !u.Creates() || u.Deletes() {
		return nil
	}
	near := j.rules.Governed(u.Ref + "/x")
	for _, a := range above(u.Ref) {
		near = near || j.rules.Governed(gitmodels.RefName(a))
	}
	if !near {
		return nil
	}
	other, _, err := j.inTheWay(ctx, u.Ref)
	if err != nil || other == "" || !j.rules.Governed(other) {
		return err
	}
	j.refuse(u, Refusal{
		Why:  "it clashes with " + gitmodels.Printable(string(other), 200),
		More: []string{"git stores refs as paths: one cannot exist below the other"},
	})
	return nil
}

// excludes reports whether one name is a folder on the other's path.
func excludes(a, b gitmodels.RefName) bool {
	return strings.HasPrefix(string(a), string(b)+"/") || strings.HasPrefix(string(b), string(a)+"/")
}

// above lists the names on the path of ref that could be refs themselves:
// refs/heads/a for refs/heads/a/b.
func above(ref gitmodels.RefName) []string {
	parts := strings.Split(string(ref), "/")
	var names []string
	for i := 3; i < len(parts); i++ {
		names = append(names, strings.Join(parts[:i], "/"))
	}
	return names
}

// oddName refuses a new name that could not be put into a command, a path or a
// job's name as it is.
func (j *judge) oddName(u gitmodels.Update) bool {
	odd := strings.IndexFunc(string(u.Ref), oddCharacter) >= 0 || strings.Contains(string(u.Ref), "/-")
	if !odd {
		return false
	}
	j.refuse(u, Refusal{
		Why:   "a name that is easily misread",
		More:  []string{"letters, digits and . _ - + @ = , % # / are allowed, no part begins with -"},
		Hints: []Hint{{Command: push(hintID(u.New), cleanName(u.Ref))}},
	})
	return true
}
