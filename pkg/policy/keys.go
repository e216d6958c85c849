package policy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// key is one key of the configuration and how it acts on a policy.
type key struct {
	name     string // as documented
	many     bool   // values add up, an empty one clears
	guarded  bool   // it widens power: unprotected scopes can only narrow
	hookOnly bool   // guarded, and no runner reads it from a repository
	later    bool   // of a later version: recognised, not used
	family   bool   // name is a prefix of keys

	check   func(value string) error // what is allowed, in words
	set     func(value string)       // a value that passed check
	clear   func()                   // back to the default
	empty   func()                   // many: to an empty list
	narrows func(value string) bool  // guarded: value asks for no more than is in effect
	widens  string                   // guarded: what a wider value would do
	show    func() string

	from  []gitmodels.ConfigEntry // the entries in effect
	local bool                    // one of them is not protected
}

// matches compares with a key as git prints it: section and last part in lower
// case, the part between as it was written.
func (k *key) matches(gitKey string) bool {
	if k.family {
		return strings.HasPrefix(gitKey, k.name+".")
	}
	i := strings.LastIndexByte(k.name, '.')
	return gitKey == k.name[:i]+strings.ToLower(k.name[i:])
}

// keysOf lists every key, bound to p.
func keysOf(p *Policy) []*key {
	keys := []*key{
		refsKey(p),
		wordKey("models.layout", &p.Layout, "auto", "solo", "team"),
		wordKey("models.source", &p.Source, "warn", "off", "require"),
		wordKey("models.validate", &p.Validate, "reject", "warn", "off"),
		homeKey(p),
		autostartKey(p),
		engineKey(p),
		enginesKey(p),
		processKey(p),
		networkKey(p),
		storesKey("models.store", &p.Stores, p),
		storesKey("models.allow.store", &p.allowStores, p),
		pathKey("models.jobEnvFile", &p.JobEnvFile, "it would hand another file of the runner to jobs"),
		abbrevKey(p),
		notesKey(p),
		cancelKey(p),
		wordKey("models.tags", &p.Tags, "succeeded", "all", "best", "none"),
		pathKey("models.notify", &p.Notify, "it would have another program started by the runner"),
		countKey("models.limit.runs", &p.LimitRuns, 1, 1, 1000, "it would let more runs start at once"),
		countKey("models.retry.lost", &p.RetryLost, 1, 0, 10, "it would have lost jobs tried again more often"),
		timeKey("models.timeout.run", &p.TimeoutRun, 0, "it would let runs last longer"),
		timeKey("models.timeout.queue", &p.TimeoutQueue, 0, "it would let runs wait longer"),
	}
	keys = append(keys, imageKeys(p)...)
	for _, name := range laterKeys {
		keys = append(keys, laterKey(name))
	}
	return keys
}

// laterKeys belong to later versions; a name that ends in a dot is a family.
var laterKeys = []string{
	"models.ledger",
	"models.allow.role", "models.allow.region",
	"models.aws.",
	"models.cap.engine", "models.cap.instance", "models.cap.count", "models.cap.runtime", "models.cap.cost",
	"models.tracker.mlflow", "models.tracker.wandb",
}

func laterKey(name string) *key {
	var values []string
	k := &key{many: true, later: true}
	k.name, k.family = strings.CutSuffix(name, ".")
	k.check = func(string) error { return nil }
	k.set = func(v string) { values = append(values, v) }
	k.clear = func() { values = nil }
	k.empty = k.clear
	k.show = func() string { return strings.Join(values, ", ") }
	return k
}

// wordKey is a key of a few words, the first of which is the default.
func wordKey(name string, field *string, words ...string) *key {
	return &key{
		name:  name,
		check: func(v string) error { return oneOf(v, words...) },
		set:   func(v string) { *field = v },
		clear: func() { *field = words[0] },
		show:  func() string { return *field },
	}
}

func refsKey(p *Policy) *key {
	return &key{
		name: "models.refs", many: true,
		check: parseRefPattern,
		set:   func(v string) { p.Refs = appendNew(p.Refs, v) },
		clear: func() { p.Refs = []string{"refs/heads/models", "refs/heads/models/**"} },
		empty: func() { p.Refs = nil },
		show:  func() string { return strings.Join(p.Refs, ", ") },
	}
}

func homeKey(p *Policy) *key {
	return &key{
		name: "models.home", guarded: true, hookOnly: true,
		check:   func(v string) error { _, err := parsePath(v); return err },
		set:     func(v string) { p.Home, _ = parsePath(v) },
		clear:   func() { p.Home = "" },
		narrows: func(string) bool { return false },
		show:    func() string { return p.Home },
	}
}

func autostartKey(p *Policy) *key {
	k := boolKey("models.autostart", &p.Autostart)
	k.hookOnly = true
	return k
}

func networkKey(p *Policy) *key {
	k := boolKey("models.cap.network", &p.Network)
	k.widens = "it would let jobs reach the network"
	return k
}

func boolKey(name string, field *bool) *key {
	return &key{
		name: name, guarded: true,
		check:   func(v string) error { _, err := parseBool(v); return err },
		set:     func(v string) { *field, _ = parseBool(v) },
		clear:   func() { *field = false },
		narrows: func(v string) bool { on, err := parseBool(v); return err != nil || !on || *field },
		show:    func() string { return strconv.FormatBool(*field) },
	}
}

func engineKey(p *Policy) *key {
	return &key{
		name: "models.engine", guarded: true,
		check:   func(v string) error { return oneOf(v, knownEngines...) },
		set:     func(v string) { p.Engine = v },
		clear:   func() { p.Engine = "" },
		narrows: p.EngineAllowed,
		widens:  "it would allow another engine",
		show:    func() string { return p.Engine },
	}
}

func enginesKey(p *Policy) *key {
	k := engineKey(p)
	k.name, k.many = "models.engines", true
	k.set = func(v string) { p.Engines = appendNew(p.Engines, v) }
	k.clear = func() { p.Engines = nil }
	k.empty = k.clear
	k.show = func() string { return strings.Join(p.Engines, ", ") }
	return k
}

// processRank orders the values of models.allowProcess by power.
func processRank(v string) int {
	if v == "unsandboxed" {
		return 2
	}
	if on, err := parseBool(v); err == nil && on {
		return 1
	}
	return 0
}

func processKey(p *Policy) *key {
	return &key{
		name: "models.allowProcess", guarded: true,
		check: func(v string) error {
			if _, err := parseBool(v); err == nil {
				return nil
			}
			return oneOf(v, "false", "true", "unsandboxed")
		},
		set:     func(v string) { p.AllowProcess = []string{"", "true", "unsandboxed"}[processRank(v)] },
		clear:   func() { p.AllowProcess = "" },
		narrows: func(v string) bool { return processRank(v) <= processRank(p.AllowProcess) },
		widens:  "it would give the engine process more than it has",
		show: func() string {
			if p.AllowProcess == "" {
				return "false"
			}
			return p.AllowProcess
		},
	}
}

func storesKey(name string, field *[]string, p *Policy) *key {
	return &key{
		name: name, many: true, guarded: true,
		check: func(v string) error { _, err := parseStore(v); return err },
		set: func(v string) {
			store, _ := parseStore(v)
			*field = appendNew(*field, store)
		},
		clear: func() { *field = nil },
		empty: func() { *field = nil },
		narrows: func(v string) bool {
			store, err := parseStore(v)
			return err == nil && p.StoreAllows(store)
		},
		widens: "it would allow results in another place",
		show: func() string {
			if name == "models.store" && len(*field) == 0 && p.Home != "" {
				return defaultStore(p.Home)
			}
			return strings.Join(*field, ", ")
		},
	}
}

// pathKey is a file that the runner opens or starts: a repository's own file can
// only take it away.
func pathKey(name string, field *string, widens string) *key {
	return &key{
		name: name, guarded: true,
		check:   func(v string) error { _, err := parsePath(v); return err },
		set:     func(v string) { *field, _ = parsePath(v) },
		clear:   func() { *field = "" },
		narrows: func(v string) bool { clean, err := parsePath(v); return v == "" || err == nil && clean == *field },
		widens:  widens,
		show:    func() string { return *field },
	}
}

func abbrevKey(p *Policy) *key {
	return &key{
		name:  "models.abbrev",
		check: func(v string) error { _, err := parseAbbrev(v); return err },
		set:   func(v string) { p.Abbrev, _ = parseAbbrev(v) },
		clear: func() { p.Abbrev = 7 },
		show: func() string {
			if p.Abbrev == 0 {
				return "full"
			}
			return strconv.Itoa(p.Abbrev)
		},
	}
}

func notesKey(p *Policy) *key {
	return &key{
		name:  "models.notesRef",
		check: func(v string) error { _, err := parseNotesRef(v); return err },
		set:   func(v string) { p.NotesRef, _ = parseNotesRef(v) },
		clear: func() { p.NotesRef = "refs/notes/models" },
		show:  func() string { return string(p.NotesRef) },
	}
}

func cancelKey(p *Policy) *key {
	k := wordKey("models.cancel", &p.Cancel, "anyone", "owner")
	k.guarded = true
	k.narrows = func(v string) bool { return v == "owner" || v == p.Cancel }
	k.widens = "it would let more people cancel runs"
	return k
}

func countKey(name string, field *int, standard, low, high int, widens string) *key {
	return &key{
		name: name, guarded: true,
		check:   func(v string) error { _, err := parseCount(v, low, high); return err },
		set:     func(v string) { *field, _ = parseCount(v, low, high) },
		clear:   func() { *field = standard },
		narrows: func(v string) bool { n, err := parseCount(v, low, high); return err == nil && n <= *field },
		widens:  widens,
		show:    func() string { return strconv.Itoa(*field) },
	}
}

// timeKey is a time; none is no limit, and standard what counts where it is not set.
func timeKey(name string, field *time.Duration, standard time.Duration, widens string) *key {
	return &key{
		name: name, guarded: true,
		check: func(v string) error { _, err := parseDuration(v); return err },
		set:   func(v string) { *field, _ = parseDuration(v) },
		clear: func() { *field = standard },
		narrows: func(v string) bool {
			d, err := parseDuration(v)
			return err == nil && (d == *field || d > 0 && (*field == 0 || d < *field))
		},
		widens: widens,
		show:   func() string { return formatDuration(*field) },
	}
}

func appendNew(list []string, v string) []string {
	if slices.Contains(list, v) {
		return list
	}
	return append(list, v)
}

// joinEngines makes the default engine an allowed one.
func (p *Policy) joinEngines() {
	if p.Engine != "" && !p.EngineAllowed(p.Engine) {
		p.Engines = append([]string{p.Engine}, p.Engines...)
	}
}

// settleEngines brings default and allowed engines together after a
// repository's own file spoke. A list there that leaves the default engine out
// leaves its place to the only engine of the list; a default engine there stands
// beside the list.
func (r *reader) settleEngines() {
	p := r.policy
	engine, engines := r.find("models.engine"), r.find("models.engines")
	if engines.local && !engine.local && !p.EngineAllowed(p.Engine) {
		p.Engine = ""
	}
	if p.Engine == "" && len(p.Engines) == 1 {
		p.Engine = p.Engines[0]
		engine.from = engines.from
	}
	p.joinEngines()
}
