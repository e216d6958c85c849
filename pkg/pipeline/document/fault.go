package document

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Fault is one thing that is wrong in a commit's file, in words for whoever
// wrote it.
type Fault struct {
	File       string // path in the repository
	Line       int    // from 1; 0: the file as a whole
	Column     int    // from 1; 0: the line as a whole
	Message    string // what is wrong, with key and value
	Suggestion string // a phrase that mends it, such as `did you mean train?`; or empty
}

// String is file:line:column: message; suggestion.
func (f Fault) String() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(gitmodels.Printable(f.File, 200) + ":")
	}
	if f.Line > 0 {
		fmt.Fprintf(&b, "%d:", f.Line)
		if f.Column > 0 {
			fmt.Fprintf(&b, "%d:", f.Column)
		}
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	b.WriteString(f.Message)
	if f.Suggestion != "" {
		b.WriteString("; " + f.Suggestion)
	}
	return b.String()
}

// Faults is the error of files that are at fault: all of what was found, sorted
// by place.
type Faults struct {
	All []Fault
}

func (f *Faults) Error() string {
	lines := make([]string, len(f.All))
	for i, fault := range f.All {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// Sort orders faults by file and place, and drops repetitions.
func Sort(faults []Fault) []Fault {
	slices.SortStableFunc(faults, func(a, b Fault) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column), strings.Compare(a.Message, b.Message))
	})
	return slices.Compact(faults)
}

// Quote shows a stranger's value in a message: in quotes, on one line, cut.
func Quote(s string) string { return `"` + gitmodels.Printable(s, 60) + `"` }
