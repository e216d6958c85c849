package install

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
	"github.com/git-models/git-models/pkg/policy"
)

// setting is one value of the repository's own configuration.
type setting struct {
	key, value string
	add        bool // beside the values that are there, not in their place
}

// settings are what a served repository needs of git.
func (s *session) settings(p *policy.Policy, autostart bool) []setting {
	list := []setting{
		// Without it `git push -o` dies on the client (git-config(1)).
		{key: "receive.advertisePushOptions", value: "true"},
		// The reflog proves what was once a tip; a bare repository keeps none by
		// default, and `true` would leave out refs below other prefixes.
		{key: "core.logAllRefUpdates", value: "always"},
		// The runner's own chain ref. Hidden from pushes alone: what is fetched
		// in a mirror then still holds every trained commit.
		{key: "receive.hideRefs", value: "refs/models", add: true},
		{key: "models.home", value: s.Home},
	}
	for _, pattern := range p.Refs {
		// git matches these with wildmatch(3), where * crosses slashes.
		list = append(list,
			setting{key: "gc." + pattern + ".reflogExpire", value: "never"},
			setting{key: "gc." + pattern + ".reflogExpireUnreachable", value: "never"})
	}
	if s.Layout != "" {
		list = append(list, setting{key: "models.layout", value: s.Layout})
	}
	if autostart {
		list = append(list, setting{key: "models.autostart", value: "true"})
	}
	return list
}

// planSettings makes the steps, and enters into rec what was there before.
func planSettings(repo *gitrepo.Repo, own ownConfig, wanted []setting, rec *record) []step {
	var steps []step
	for _, w := range wanted {
		now := own.values(w.key)
		if w.add && slices.Contains(now, w.value) || !w.add && len(now) == 1 && sameValue(now[0], w.value) {
			continue
		}
		rec.remember(w, now)
		steps = append(steps, step{says: "set " + w.key + "=" + shown(w.value), do: func(ctx context.Context) error {
			if w.add {
				return repo.ConfigAdd(ctx, w.key, w.value)
			}
			return repo.ConfigSet(ctx, w.key, w.value)
		}})
	}
	return steps
}

// planRestore undoes what rec remembers, newest first, and leaves alone what
// somebody has changed since.
func planRestore(repo *gitrepo.Repo, own ownConfig, rec *record) (steps []step, notes []string) {
	for _, c := range slices.Backward(rec.Settings) {
		now := own.values(c.Key)
		switch {
		case c.Add && slices.Contains(now, c.Value):
			steps = append(steps, step{says: "took out " + c.Key + "=" + shown(c.Value), do: func(ctx context.Context) error {
				return repo.ConfigUnset(ctx, c.Key, c.Value)
			}})
		case c.Add: // gone already
		case slices.Equal(now, []string{c.Value}):
			says := "took out " + c.Key
			if len(c.Before) > 0 {
				says = "set " + c.Key + " back to " + shown(strings.Join(c.Before, ", "))
			}
			steps = append(steps, step{says: says, do: func(ctx context.Context) error {
				return replaceValues(ctx, repo, c.Key, c.Before)
			}})
		case len(now) > 0 && !slices.Equal(now, c.Before):
			notes = append(notes, fmt.Sprintf("note: %s was changed since it was installed and stays %s", c.Key, shown(strings.Join(now, ", "))))
		}
	}
	return steps, notes
}

// replaceValues leaves values as the only ones of key.
func replaceValues(ctx context.Context, repo *gitrepo.Repo, key string, values []string) error {
	if len(values) == 1 {
		return repo.ConfigSet(ctx, key, values[0])
	}
	if err := repo.ConfigUnset(ctx, key); err != nil {
		return err
	}
	for _, v := range values {
		if err := repo.ConfigAdd(ctx, key, v); err != nil {
			return err
		}
	}
	return nil
}

// ownConfig is what stands in the repository's own file.
type ownConfig []gitmodels.ConfigEntry

// values are those of key, in order.
func (o ownConfig) values(key string) []string {
	var list []string
	for _, e := range o {
		if e.Key == gitKey(key) {
			if e.Bare {
				list = append(list, "true")
			} else {
				list = append(list, e.Value)
			}
		}
	}
	return list
}

// gitKey is key as git prints it: section and last part in lower case.
func gitKey(key string) string {
	first, last := strings.Index(key, "."), strings.LastIndex(key, ".")
	return strings.ToLower(key[:first]) + key[first:last] + strings.ToLower(key[last:])
}

// sameValue compares values; git has several words for yes.
func sameValue(a, b string) bool {
	if b == "true" {
		return slices.Contains([]string{"true", "yes", "on", "1"}, strings.ToLower(a))
	}
	return a == b
}
