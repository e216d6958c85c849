package pipeline

// Filter says which changed paths start a run: GitHub's filter semantics.
type Filter struct {
	patterns []pattern
	ignore   bool
}

type pattern struct{ text string }

// Match returns the first of the changed paths that starts a run.
func (f Filter) Match(changed []string) (path string, ok bool) { panic("being written") }
