package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Problem is a value that does not count as it stands. It never stops a push:
// the default, or the value before it, is in effect.
type Problem struct {
	Key     string // as documented: models.allowProcess
	Value   string
	Origin  string // scope and place
	Message string // what is allowed, or why it is ignored
}

func (p Problem) String() string {
	return fmt.Sprintf("%s=%s (%s): %s", gitmodels.Printable(p.Key, 80), gitmodels.Printable(p.Value, 80),
		gitmodels.Printable(p.Origin, 120), p.Message)
}

// Setting is one key as it is in effect.
type Setting struct {
	Key    string // as documented: models.allowProcess
	Value  string // the values of a many-valued key joined by ", "
	Origin string // scope and place, several joined by ", "; "default" when it is not set
	Note   string // not empty: why the value is not in effect, or not yet
	Hooks  bool   // the hooks alone read it: the Hook view has what is in effect
}

// Settings lists every key of this version and every further one that is set,
// sorted by key.
func (p *Policy) Settings() []Setting { return slices.Clone(p.settings) }

// scopeRank is the order in which scopes speak; the last one wins. It is git's,
// with <home>/config after the global file.
var scopeRank = map[string]int{"system": 0, "global": 1, "home": 2, "local": 3, "worktree": 4, "command": 5}

func rank(e gitmodels.ConfigEntry) int {
	if n, ok := scopeRank[e.Scope]; ok {
		return n
	}
	return scopeRank["local"] // a scope that a later git adds is not trusted
}

// Parse reads the entries of every scope, in git's order within a scope. Keys
// outside models.* are passed over. It always returns a usable policy.
func Parse(entries []gitmodels.ConfigEntry, view View) (*Policy, []Problem) {
	p := &Policy{}
	r := &reader{policy: p, view: view, keys: keysOf(p), limits: limitKeys(p, entries)}
	for _, name := range slices.Sorted(maps.Keys(r.limits)) {
		r.keys = append(r.keys, r.limits[name])
	}
	byKey := map[string][]gitmodels.ConfigEntry{}
	var unknown []gitmodels.ConfigEntry
	for _, e := range entries {
		if !strings.HasPrefix(e.Key, "models.") {
			continue
		}
		if k := r.find(e.Key); k != nil {
			byKey[k.name] = append(byKey[k.name], e)
		} else {
			unknown = append(unknown, e)
		}
	}
	for _, k := range r.keys {
		slices.SortStableFunc(byKey[k.name], func(a, b gitmodels.ConfigEntry) int { return rank(a) - rank(b) })
		k.clear()
	}
	// Trusted values of every key come first, so that what narrows is measured
	// against all of them.
	for _, k := range r.keys {
		r.trusted(k, byKey[k.name])
	}
	p.joinEngines()
	r.joinGPUs()
	if view.runner && view.home != "" {
		p.Home = view.home
	}
	for _, k := range r.keys {
		r.untrusted(k, byKey[k.name])
	}
	r.settleEngines()
	if p.Home == "" {
		p.Home = view.home
	}
	for _, k := range r.keys {
		r.setting(k, byKey[k.name])
	}
	r.unknown(unknown)
	slices.SortStableFunc(p.settings, func(a, b Setting) int { return strings.Compare(a.Key, b.Key) })
	return p, r.problems
}

// reader is one Parse under way.
type reader struct {
	policy   *Policy
	view     View
	keys     []*key
	limits   map[string]*key // those of keys that are limits, by name
	problems []Problem
}

func (r *reader) find(gitKey string) *key {
	if _, ok := limitTarget(gitKey); ok {
		return r.limits[gitKey] // git prints it as it is named
	}
	for _, k := range r.keys {
		if k.matches(gitKey) {
			return k
		}
	}
	return nil
}

func (r *reader) problem(k string, e gitmodels.ConfigEntry, format string, args ...any) {
	r.problems = append(r.problems, Problem{Key: k, Value: e.Value, Origin: origin(e), Message: fmt.Sprintf(format, args...)})
}

func origin(e gitmodels.ConfigEntry) string {
	switch {
	case e.Origin == "":
		return e.Scope
	case e.Scope == "":
		return e.Origin
	}
	return e.Scope + " " + e.Origin
}

// free reports whether every scope counts alike for the key.
func (r *reader) free(k *key) bool { return !k.guarded || !k.many && !r.view.runner }

// trusted takes the values that count as they stand: all of them for a key that
// widens nothing, else those of protected scopes.
func (r *reader) trusted(k *key, entries []gitmodels.ConfigEntry) {
	for _, e := range entries {
		if r.free(k) || e.Protected() {
			r.take(k, e)
		}
	}
}

// untrusted takes, of a key that widens power, the values of a repository's own
// file. A single value counts if it narrows. A list replaces the one before it,
// by those of its values that lie within.
func (r *reader) untrusted(k *key, entries []gitmodels.ConfigEntry) {
	if r.free(k) {
		return
	}
	var list []gitmodels.ConfigEntry
	for _, e := range entries {
		switch {
		case e.Protected() || r.view.runner && k.hookOnly: // a key of the hooks: the setting says so
		case k.many && e.Value == "" && !e.Bare:
			list = nil
		case !r.valid(k, e):
		case r.view.runner && !k.narrows(valueOf(e)):
			r.problem(k.name, e, "ignored: %s, and it does not stand in protected configuration (system, global, or <home>/config)", k.widens)
		case k.many:
			list = append(list, e)
		default:
			r.take(k, e)
		}
	}
	if len(list) == 0 {
		return
	}
	k.empty()
	k.from = nil
	for _, e := range list {
		r.take(k, e)
	}
}

// valueOf is the value that the key's functions see: git reads a key that
// stands without a value as true.
func valueOf(e gitmodels.ConfigEntry) string {
	if e.Bare {
		return "true"
	}
	return e.Value
}

// valid checks a value and reports it; an empty one, which clears, passes.
func (r *reader) valid(k *key, e gitmodels.ConfigEntry) bool {
	v := valueOf(e)
	if v == "" {
		return true
	}
	if err := k.check(v); err != nil {
		if e.Bare {
			r.problem(k.name, e, "stands without a value: %s", err)
		} else {
			r.problem(k.name, e, "%s", err)
		}
		return false
	}
	return true
}

// take gives one value to the policy.
func (r *reader) take(k *key, e gitmodels.ConfigEntry) {
	if !r.valid(k, e) {
		return
	}
	v := valueOf(e)
	switch {
	case v == "" && k.many:
		k.empty()
		k.from = nil
	case v == "":
		k.clear()
		k.from = nil
	case k.many:
		if k.from == nil {
			k.empty() // the first value takes the place of the default
		}
		k.set(v)
		k.from = append(k.from, e)
	default:
		k.set(v)
		k.from = []gitmodels.ConfigEntry{e}
	}
	k.local = !e.Protected()
}

// setting records how the key came out.
func (r *reader) setting(k *key, entries []gitmodels.ConfigEntry) {
	if k.later && len(entries) == 0 {
		return
	}
	s := Setting{Key: k.name, Value: k.show(), Origin: "default"}
	var from []string
	for _, e := range k.from {
		if o := origin(e); !slices.Contains(from, o) {
			from = append(from, o)
		}
	}
	if len(from) > 0 {
		s.Origin = strings.Join(from, ", ")
	}
	switch {
	case k.later:
		s.Note = "not used by this version"
	case k.hookOnly && r.view.runner && r.view.home != "" && k.name == "models.home":
		s.Origin = "the runner"
	}
	s.Hooks = k.hookOnly
	r.policy.settings = append(r.policy.settings, s)
}

// unknown reports keys of our section that nobody reads.
func (r *reader) unknown(entries []gitmodels.ConfigEntry) {
	var names []string
	for _, k := range r.keys {
		names = append(names, k.name)
	}
	for _, e := range entries {
		msg := "unknown key, ignored"
		if target, ok := limitTarget(e.Key); ok {
			msg = fmt.Sprintf("ignored: there are %d limits already", maxLimits)
			if _, err := parseLimitTarget(target); err != nil {
				msg = "ignored: " + err.Error()
			}
		} else if near := suggestKey(e.Key, names); near != "" {
			msg += "; did you mean " + near + "?"
		}
		r.problem(e.Key, e, "%s", msg)
		r.policy.settings = append(r.policy.settings, Setting{Key: e.Key, Value: e.Value, Origin: origin(e), Note: msg})
	}
}

// movedKeys are names that people try for keys that are called otherwise.
var movedKeys = map[string]string{
	"models.allow.network": "models.cap.network",
	"models.network":       "models.cap.network",
	"models.stores":        "models.store",
	"models.ref":           "models.refs",
	"models.timeout":       "models.timeout.run",
	"models.limit":         "models.limit.runs",
	"models.allow.process": "models.allowProcess",
}

func suggestKey(gitKey string, names []string) string {
	lower := strings.ToLower(gitKey)
	if name, ok := movedKeys[lower]; ok {
		return name
	}
	folded := make([]string, len(names))
	for i, n := range names {
		folded[i] = strings.ToLower(n)
	}
	if i := slices.Index(folded, lower); i >= 0 {
		return names[i] // a subsection in other letters: git tells them apart
	}
	if near := gitmodels.Suggest(lower, folded); near != "" {
		return names[slices.Index(folded, near)]
	}
	return ""
}
