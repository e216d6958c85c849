package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// maxLimits bounds the limits of one repository: each is looked at for every run
// that wants to start.
const maxLimits = 100

// limitTarget is what the key of a limit speaks of: process for
// models.limit.process.runs, refs/heads/models/** for
// models.limit.refs/heads/models/**.runs. The part between keeps its case, and
// may hold dots and slashes.
func limitTarget(gitKey string) (target string, ok bool) {
	rest, ok := strings.CutPrefix(gitKey, "models.limit.")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, ".runs")
}

func limitName(target string) string { return "models.limit." + target + ".runs" }

// parseLimitTarget wants an engine or a pattern of governed refs.
func parseLimitTarget(s string) (Limit, error) {
	if slices.Contains(knownEngines, s) {
		return Limit{Engine: s}, nil
	}
	if strings.HasPrefix(s, "refs/") {
		if err := parseRefPattern(s); err != nil {
			return Limit{}, err
		}
		return Limit{Pattern: s}, nil
	}
	want := "want an engine (" + strings.Join(knownEngines, ", ") + ") or a pattern below refs/heads/"
	if near := gitmodels.Suggest(strings.ToLower(s), knownEngines); near != "" {
		return Limit{}, fmt.Errorf("%s; did you mean %s?", want, limitName(near))
	}
	if s != "" && parseRefPattern("refs/heads/"+s) == nil {
		return Limit{}, fmt.Errorf("%s; did you mean %s?", want, limitName("refs/heads/"+s))
	}
	return Limit{}, errors.New(want)
}

// limitKeys makes a key for every limit that the entries name and that makes
// sense, by name. Those of protected entries come first into what is allowed in
// number: a repository's own file cannot crowd them out.
func limitKeys(p *Policy, entries []gitmodels.ConfigEntry) map[string]*key {
	keys := map[string]*key{}
	for _, protected := range []bool{true, false} {
		for _, e := range entries {
			target, ok := limitTarget(e.Key)
			if !ok || e.Protected() != protected || len(keys) >= maxLimits || keys[e.Key] != nil {
				continue
			}
			if l, err := parseLimitTarget(target); err == nil {
				keys[e.Key] = limitKey(p, e.Key, l)
			}
		}
	}
	return keys
}

// limitKey is one limit. A repository's own file may add one, or lower it.
func limitKey(p *Policy, name string, target Limit) *key {
	const low, high = 1, 1000
	find := func() int {
		return slices.IndexFunc(p.Limits, func(l Limit) bool { return l.Engine == target.Engine && l.Pattern == target.Pattern })
	}
	return &key{
		name: name, guarded: true,
		check: func(v string) error { _, err := parseCount(v, low, high); return err },
		set: func(v string) {
			l := target
			l.Runs, _ = parseCount(v, low, high)
			if i := find(); i >= 0 {
				p.Limits[i] = l
			} else {
				p.Limits = append(p.Limits, l)
			}
			slices.SortFunc(p.Limits, func(a, b Limit) int {
				return cmp.Or(strings.Compare(a.Engine, b.Engine), strings.Compare(a.Pattern, b.Pattern))
			})
		},
		clear: func() {
			if i := find(); i >= 0 {
				p.Limits = slices.Delete(p.Limits, i, i+1)
			}
		},
		narrows: func(v string) bool {
			i := find()
			if i < 0 {
				return true
			}
			n, err := parseCount(v, low, high)
			return err == nil && n <= p.Limits[i].Runs
		},
		widens: "it would let more runs start at once",
		show: func() string {
			if i := find(); i >= 0 {
				return strconv.Itoa(p.Limits[i].Runs)
			}
			return "none"
		},
	}
}
