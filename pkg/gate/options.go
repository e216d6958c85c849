package gate

import (
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Skip is the push option that accepts and records a push without a run.
const Skip = "skip"

// later are the words that are ours but have no meaning yet, with what helps
// meanwhile.
var later = map[string]string{
	"plan":     "to check the commit's files: git models lint",
	"follow":   "to follow a run, on the server: git models logs -f COMMIT",
	"priority": "runs start in the order of their pushes",
	"each":     "a push runs its last commit; push the commits one by one",
	"again":    "to run a commit again, on the server: git models rerun COMMIT",
}

var optionWords = []string{Skip, "plan", "follow", "priority", "each", "again"}

// Skips reports whether the push asks for no run.
func Skips(options []string) bool {
	for _, o := range options {
		if o == Skip || o == "models."+Skip {
			return true
		}
	}
	return false
}

// options judges the words of `git push -o`. A host's own pass; ours, and what
// was probably meant to be ours, are never ignored.
func options(words []string) []Refusal {
	var refusals []Refusal
	for _, o := range words {
		if r, ok := option(o); ok {
			refusals = append(refusals, r)
		}
	}
	return refusals
}

// option judges one word; ok is true when it is refused.
func option(o string) (r Refusal, ok bool) {
	key, _, hasValue := strings.Cut(o, "=")
	word, ours := strings.CutPrefix(key, "models.")
	r.What = "-o " + gitmodels.Printable(o, 40)
	if help, isLater := later[word]; isLater {
		r.Why = "this version has no " + word
		r.More = []string{help}
		return r, true
	}
	if word == Skip {
		r.Why = "skip takes no value"
		r.More = []string{"push again with -o skip"}
		return r, hasValue
	}
	if near := gitmodels.Suggest(strings.ToLower(word), optionWords); near != "" {
		r.Why = "not a word of ours; did you mean " + near + "?"
		r.More = []string{"push again with -o " + near + ", or without it"}
		return r, true
	}
	if ours {
		r.Why = "not a word of ours"
		r.More = []string{"this version knows -o skip"}
	}
	return r, ours
}
