package gate

import (
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Skip is the push option that accepts and records a push without a run.
const Skip = "skip"

// later are the words that are ours but have no meaning yet, with what helps
// meanwhile: words, or a command on the server.
var later = map[string]struct{ help, server string }{
	"plan":     {server: "git models lint COMMIT"},
	"follow":   {server: "git models logs -f COMMIT"},
	"priority": {help: "runs start in the order of their pushes"},
	"each":     {help: "a push runs its last commit: push the others first, one by one"},
	"again":    {server: "git models rerun COMMIT"},
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
	if instead, isLater := later[word]; isLater {
		r.Why = "this version has no " + word
		r.Server = instead.server
		if instead.help != "" {
			r.More = []string{instead.help}
		}
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
