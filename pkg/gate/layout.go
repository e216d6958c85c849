package gate

import (
	"context"
	"iter"
	"maps"
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

// manyUpdates is the size of a push from which the branches of the repository
// are listed once for all of it.
const manyUpdates = 8

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
	have, err := j.existing(ctx, ref)
	if err != nil {
		return "", false, err
	}
	if other = have.clash(ref); other != "" {
		return other, true, nil
	}
	return j.updated().clash(ref), false, nil
}

// existing are the refs of the repository that have to do with the name ref: all
// branches, asked for once, when the push is a large one.
func (j *judge) existing(ctx context.Context, ref gitmodels.RefName) (*paths, error) {
	if j.branches != nil {
		return j.branches, nil
	}
	prefixes := append(above(ref), string(ref))
	many := len(j.push.Updates) > manyUpdates && strings.HasPrefix(string(ref), branches)
	if many {
		prefixes = []string{strings.TrimSuffix(branches, "/")}
	}
	tips, err := j.Tips(ctx, prefixes...)
	if err != nil {
		return nil, err
	}
	have := pathsOf(maps.Keys(tips))
	if many {
		j.branches = have
	}
	return have, nil
}

// updated are the refs that the push creates or moves.
func (j *judge) updated() *paths {
	if j.pushed == nil {
		j.pushed = pathsOf(func(yield func(gitmodels.RefName) bool) {
			for _, u := range j.push.Updates {
				if !u.Deletes() && !yield(u.Ref) {
					return
				}
			}
		})
	}
	return j.pushed
}

// paths are refs as the files and folders that git stores them in.
type paths struct {
	refs  map[gitmodels.RefName]bool
	below map[gitmodels.RefName]gitmodels.RefName // the first ref below a folder
}

func pathsOf(refs iter.Seq[gitmodels.RefName]) *paths {
	p := &paths{map[gitmodels.RefName]bool{}, map[gitmodels.RefName]gitmodels.RefName{}}
	for ref := range refs {
		p.refs[ref] = true
		for _, folder := range above(ref) {
			if first, ok := p.below[gitmodels.RefName(folder)]; !ok || ref < first {
				p.below[gitmodels.RefName(folder)] = ref
			}
		}
	}
	return p
}

// clash is the first of the refs that cannot exist beside ref: one that is a
// folder on the other's path; or empty.
func (p *paths) clash(ref gitmodels.RefName) gitmodels.RefName {
	for _, folder := range above(ref) {
		if p.refs[gitmodels.RefName(folder)] {
			return gitmodels.RefName(folder)
		}
	}
	return p.below[ref]
}

// beside looks at a new ref that is not governed: all that matters is whether
// it is in the way of a governed one, for then git would apply half of a push, or
// could be taken for one.
func (j *judge) beside(ctx context.Context, u gitmodels.Update) error {
	if !u.Creates() || u.Deletes() {
		return nil
	}
	if done, err := j.shadows(ctx, u); done || err != nil {
		return err
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

// shadows refuses a new ref whose name makes git's short name of a governed
// branch ambiguous. With a tag called models, or a branch called
// refs/heads/models, everybody else's push to models would end in git's "matches
// more than one" (gitrevisions(7) and remote.c list the places where git looks).
func (j *judge) shadows(ctx context.Context, u gitmodels.Update) (bool, error) {
	for _, place := range []string{"refs/", "refs/tags/", branches} {
		rest, ok := strings.CutPrefix(string(u.Ref), place)
		if !ok {
			continue
		}
		for _, taken := range []gitmodels.RefName{gitmodels.RefName(rest), gitmodels.RefName(branches + rest)} {
			if taken == u.Ref || !j.rules.Governed(taken) {
				continue
			}
			have, err := j.existing(ctx, taken)
			if err != nil {
				return false, err
			}
			if have.refs[taken] || j.updated().refs[taken] {
				j.refuse(u, Refusal{
					Why:  "git could not tell it from " + gitmodels.Printable(string(taken), 200),
					More: []string{"pushes to " + name(taken) + " would be refused as ambiguous: take another name"},
				})
				return true, nil
			}
		}
	}
	return false, nil
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
