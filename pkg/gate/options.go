package gate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// options judges the words of `git push -o`. A host's own pass; ours, and what
// was probably meant to be ours, are never ignored.
func options(words []string) []Refusal {
	var refusals []Refusal
	for _, o := range words {
		if r, ok := option(o); ok {
			refusals = append(refusals, r)
		}
	}
	return append(refusals, contradictions(words)...)
}

// option judges one word; ok is true when it is refused.
func option(o string) (r Refusal, ok bool) {
	key, value, hasValue := strings.Cut(o, "=")
	word, ours := strings.CutPrefix(key, "models.")
	r.What = "-o " + gitmodels.Printable(o, 40)
	switch {
	case word == gitmodels.WordPriority:
		if _, err := gitmodels.ParsePriority(value); err == nil {
			return r, false
		} else if value != "" {
			r.Why = err.Error()
		} else {
			r.Why = "priority takes a number"
		}
		r.More = []string{fmt.Sprintf("push again with -o priority=N, N from %d to %d; a higher one starts before a lower one",
			gitmodels.MinPriority, gitmodels.MaxPriority)}
		return r, true
	case slices.Contains(gitmodels.SteeringWords, word):
		r.Why = word + " takes no value"
		r.More = []string{"push again with -o " + word}
		return r, hasValue
	}
	if near := gitmodels.Suggest(strings.ToLower(word), gitmodels.SteeringWords); near != "" {
		r.Why = "not a word of ours; did you mean " + near + "?"
		if near == gitmodels.WordPriority {
			near += "=N"
		}
		r.More = []string{"push again with -o " + near + ", or without it"}
		return r, true
	}
	if ours {
		r.Why = "not a word of ours"
		r.More = []string{"ours are " + strings.Join(gitmodels.SteeringWords, ", ")}
	}
	return r, ours
}

// contradictions refuses words that cannot all be followed: skip starts no run,
// so there is none to show, to choose or to put in order.
func contradictions(words []string) []Refusal {
	var refusals []Refusal
	s := gitmodels.Steer(words)
	for _, with := range []struct {
		asked bool
		word  string
		why   string
	}{
		{s.Again, gitmodels.WordAgain, "again asks for a run"},
		{s.Each, gitmodels.WordEach, "each asks for a run of every commit"},
		{s.Follow, gitmodels.WordFollow, "there is no run to follow"},
		{s.Priority != 0, gitmodels.WordPriority, "there is no run to put in order"},
	} {
		if s.Skip && with.asked {
			refusals = append(refusals, Refusal{
				What: "-o skip with -o " + with.word,
				Why:  "skip starts no run, and " + with.why,
				More: []string{"push again with one of the two"},
			})
		}
	}
	var priorities []string
	for _, o := range words {
		word, value, _ := strings.Cut(strings.TrimPrefix(o, "models."), "=")
		if n, err := gitmodels.ParsePriority(value); word == gitmodels.WordPriority && err == nil && !slices.Contains(priorities, fmt.Sprint(n)) {
			priorities = append(priorities, fmt.Sprint(n))
		}
	}
	if len(priorities) > 1 {
		refusals = append(refusals, Refusal{
			What: "-o priority",
			Why:  "it is asked for with " + strings.Join(priorities, " and "),
			More: []string{"push again with one of them"},
		})
	}
	return refusals
}

// maxEachCounted bounds how far the commits of a push that asks for too many
// runs are counted.
const maxEachCounted = 1000

// each refuses a push that asks for a run of every commit and brings more than
// one push may start.
func (j *judge) each(ctx context.Context) error {
	tips, err := j.governedTips(ctx)
	if err != nil {
		return err
	}
	found := map[gitmodels.CommitID]bool{}
	var ids []gitmodels.CommitID // of the last update
	for _, u := range j.verdict.Governed {
		if ids, err = j.Commits(ctx, u.New, tips, maxEachCounted); err != nil {
			return err
		}
		for _, id := range ids {
			found[id] = true
		}
	}
	n := len(found)
	if n <= gitmodels.MaxEach {
		return nil
	}
	count := plural(n, "commit")
	if n >= maxEachCounted {
		count = fmt.Sprintf("%d commits or more", maxEachCounted)
	}
	r := Refusal{
		What: "-o each",
		Why:  fmt.Sprintf("the push brings %s, and at most %d run at once by each", count, gitmodels.MaxEach),
		More: []string{fmt.Sprintf("push fewer at a time, the oldest %d first, or without -o each: then the last one runs", gitmodels.MaxEach)},
	}
	// Parents come before their children, so what the last of the oldest reaches is
	// among them, whatever the graph.
	if u := j.verdict.Governed[0]; len(j.verdict.Governed) == 1 && n < maxEachCounted && isPlain(u.Ref) {
		r.Hints = []Hint{{For: fmt.Sprintf("to run the oldest %d of them:", gitmodels.MaxEach),
			Command: "git push -o each origin " + Quote(hintID(ids[gitmodels.MaxEach-1])+":"+string(u.Ref))}}
	}
	j.verdict.Refusals = append(j.verdict.Refusals, r)
	return nil
}

// governedTips are where the governed refs of the repository are.
func (j *judge) governedTips(ctx context.Context) ([]gitmodels.CommitID, error) {
	tips, err := j.Tips(ctx, j.rules.Places...)
	if err != nil {
		return nil, err
	}
	var ids []gitmodels.CommitID
	for ref, id := range tips {
		if j.rules.Governed(ref) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}
