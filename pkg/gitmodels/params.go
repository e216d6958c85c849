package gitmodels

import "strings"

// ParamChange is one parameter that differs between two runs, in the words of
// their overrides. An empty Before means that it is new, unless HadBefore.
type ParamChange struct {
	Key                 string
	Before, After       string
	HadBefore, HasAfter bool
}

// String is the change as people read it: `optimizer.lr 0.01 -> 0.003`,
// `dropout=0.1 is new`, `seed is gone (was 7)`. The words are a pusher's: show
// them through Printable.
func (c ParamChange) String() string {
	switch {
	case !c.HadBefore:
		return c.Key + "=" + c.After + " is new"
	case !c.HasAfter:
		return c.Key + " is gone (was " + c.Before + ")"
	}
	return c.Key + " " + c.Before + " -> " + c.After
}

// ParamChanges compares two lists of Hydra overrides (key=value, each key once),
// in the order of after, then what is gone in the order of before.
func ParamChanges(before, after []string) []ParamChange {
	was := make(map[string]string, len(before))
	for _, o := range before {
		k, v, _ := strings.Cut(o, "=")
		was[k] = v
	}
	is := make(map[string]bool, len(after))
	var changes []ParamChange
	for _, o := range after {
		k, v, _ := strings.Cut(o, "=")
		is[k] = true
		if old, had := was[k]; !had || old != v {
			changes = append(changes, ParamChange{Key: k, Before: old, After: v, HadBefore: had, HasAfter: true})
		}
	}
	for _, o := range before {
		if k, v, _ := strings.Cut(o, "="); !is[k] {
			changes = append(changes, ParamChange{Key: k, Before: v, HadBefore: true})
		}
	}
	return changes
}
