package hook

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/publish"
)

// ended is a terminal state as a verb.
func ended(s gitmodels.State) string {
	if s == gitmodels.Cancelled {
		return "was cancelled"
	}
	return string(s)
}

// now is any state as a verb.
func now(s gitmodels.State) string {
	if s.Terminal() {
		return ended(s)
	}
	return "is " + string(s)
}

// Plural counts things: 1 commit, 2 commits.
func Plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// About is a duration as a guess: 40s, 14m, 3h05m.
func About(d time.Duration) string {
	switch {
	case d < time.Minute:
		return publish.Duration(max(d, time.Second))
	case d < 59*time.Minute+30*time.Second:
		return fmt.Sprintf("%dm", int(d.Round(time.Minute)/time.Minute))
	}
	return publish.Duration(d)
}

const (
	// maxChanges is how many changed parameters are told one by one.
	maxChanges = 6
	// maxChange bounds the words of one, in characters.
	maxChange = 120
)

// ChangeWords are the changed parameters in a line, or empty when none did.
func ChangeWords(changes []gitmodels.ParamChange) string {
	var words []string
	for i, c := range changes {
		if i == maxChanges {
			words = append(words, fmt.Sprintf("and %d more", len(changes)-i))
			break
		}
		words = append(words, gitmodels.Printable(c.String(), maxChange))
	}
	return strings.Join(words, ", ")
}

// QueueWords say how long it may take: what is before it, and how long such runs
// usually are. Empty when nothing is known.
func QueueWords(r *gitmodels.Receipt) string {
	if r == nil || r.Ahead == 0 && r.Usual == 0 {
		return ""
	}
	before := "none"
	if r.Ahead > 0 {
		before = fmt.Sprint(r.Ahead)
	}
	words := before + " before it"
	if r.Usual > 0 {
		words += "; such runs take about " + About(r.Usual)
	}
	return words
}

// maxValues is how many metrics stand beside an outcome.
const maxValues = 3

// ValueWords are final values, those that people look at first.
func ValueWords(values map[string]gitmodels.Number) string {
	names := slices.SortedFunc(maps.Keys(values), func(a, b string) int {
		if publish.Less(a, b) {
			return -1
		}
		return 1
	})
	var words []string
	for i, name := range names {
		if i == maxValues {
			break
		}
		words = append(words, gitmodels.Printable(name, 40)+"="+publish.Brief(values[name]))
	}
	return strings.Join(words, " ")
}

// StateWords are how the run of a row stands, in a few words: succeeded
// val_accuracy=0.913; failed: exit status 3; queued, waiting: engine.
func StateWords(row gitmodels.Listing) string {
	if row.State == nil {
		words := string(row.Decision)
		if row.Reason != nil && *row.Reason != "" {
			words += ": " + gitmodels.Printable(*row.Reason, 300)
		}
		return words
	}
	words := string(*row.State)
	switch {
	case *row.State == gitmodels.Succeeded:
		if values := ValueWords(row.Values); values != "" {
			words += " " + values
		}
	case row.State.Terminal() && row.Cause != nil && *row.Cause != "":
		words += ": " + gitmodels.Printable(*row.Cause, 300)
	case row.Waiting != nil && *row.Waiting != "":
		words += ", waiting: " + gitmodels.Printable(*row.Waiting, 300)
	}
	return words
}

// Match puts each receipt to the update it is about.
func Match(to []*gitmodels.Receipt, updates []gitmodels.Update, receipts []gitmodels.Receipt) {
	for i := range receipts {
		for k, u := range updates {
			if receipts[i].Ref == u.Ref && receipts[i].Commit == u.New {
				to[k] = &receipts[i]
			}
		}
	}
}
