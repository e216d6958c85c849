package policy

import (
	"path"
	"slices"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// View is whose eyes read the configuration.
type View struct {
	runner bool
	home   string
}

var (
	// Hook takes every scope as it stands.
	Hook = View{}
	// Runner lets unprotected scopes narrow only.
	Runner = View{runner: true}
)

// At says which state directory the reader uses: the runner its own, whatever
// models.home says; a hook this one when models.home is not set.
func (v View) At(home string) View { v.home = home; return v }

// Policy is the effective configuration of one repository.
type Policy struct {
	Refs     []string // governed refs: patterns as RefName.Matches reads them
	Layout   string   // auto, solo, team
	Source   string   // off, warn, require
	Validate string   // reject, warn, off

	Home      string // absolute path of the state directory; empty: the caller's DefaultHome
	Autostart bool   // post-receive may start a runner

	Engine       string   // the default engine; empty: none
	Engines      []string // every allowed engine, Engine among them
	AllowProcess string   // engine process: "" (no), "true" (in its sandbox), "unsandboxed"
	Network      bool     // a job may reach the network

	Stores     []string // URI prefixes that results may lie under, the first is the default; see StorePrefixes
	JobEnvFile string   // absolute path of a file with the jobs' secrets; empty: none

	Registry     string   // host[:port][/prefix] that images are pushed to; empty: none
	RegistryAuth string   // absolute path of a file in the form of docker's config.json; empty: the account's own
	Builder      string   // auto, or the one that makes images: buildx, docker, buildah, podman
	AllowImages  []string // names of images that commits may have beside their repository's own: as they are, or name/*
	// BuildSecrets are files for RUN --mount=type=secret, each ID=/absolute/path.
	BuildSecrets []string
	// EngineEnv is what builders and container engines find in their environment,
	// each NAME=value, beside PATH and HOME.
	EngineEnv []string
	GPUs      []string // devices that jobs may have; empty: none

	Abbrev   int               // digits of a short name, 7 to 40; 0: the full id
	NotesRef gitmodels.RefName // where outcomes are noted
	Cancel   string            // who may cancel: anyone, owner
	Tags     string            // which outcomes become tags: succeeded, all, best, none
	Notify   string            // absolute path of a program that gets each outcome as JSON on its input; empty: none

	LimitRuns    int           // runs at once, at least 1
	TimeoutRun   time.Duration // longest run; 0: what the job file says, else DefaultRuntime
	TimeoutQueue time.Duration // longest wait for a start; 0: no limit
	TimeoutBuild time.Duration // longest build of an image; 0: no limit
	Limits       []Limit       // further bounds on runs at once, by engine or by ref pattern
	LimitBuilds  int           // images built at once, at least 1
	RetryLost    int           // how often a lost job is tried again

	// How long what runs that did not succeed left behind stays on this host; 0:
	// for ever. What a run that succeeded names stays.
	KeepImages, KeepArtifacts, KeepLogs time.Duration

	allowStores []string
	settings    []Setting
}

// Limit bounds how many runs may be under way at once in this repository:
// models.limit.<engine>.runs those of an engine, models.limit.<ref pattern>.runs
// those of the refs that it matches.
type Limit struct {
	Engine  string // empty: Pattern
	Pattern string // as RefName.Matches reads it; empty: Engine
	Runs    int    // at least 1
}

// DefaultRuntime bounds a run where neither the job file nor models.timeout.run
// does.
const DefaultRuntime = 24 * time.Hour

// DefaultBuildTime bounds the build of an image where models.timeout.build does
// not.
const DefaultBuildTime = 2 * time.Hour

// DefaultKeep is how long the remains of a run that did not succeed stay.
const DefaultKeep = 30 * 24 * time.Hour

// Engines that this program knows, the ones of this version first.
var knownEngines = []string{"process", "container", "sagemaker", "slurm", "kubernetes"}

// KnownEngines lists every engine name that configuration may use.
func KnownEngines() []string { return slices.Clone(knownEngines) }

// EngineIncluded reports whether this version can run jobs with the engine.
func EngineIncluded(name string) bool { return name == "process" || name == "container" }

// EngineAllowed reports whether a commit may ask for the engine.
func (p *Policy) EngineAllowed(name string) bool { return slices.Contains(p.Engines, name) }

// StorePrefixes are the URI prefixes under which results may lie, without a
// slash at the end; the first is the default. It is empty only when no store is
// configured and Home is unknown.
func (p *Policy) StorePrefixes() []string {
	stores := slices.Clone(p.Stores)
	if len(stores) == 0 && p.Home != "" {
		stores = []string{defaultStore(p.Home)}
	}
	return append(stores, p.allowStores...)
}

func defaultStore(home string) string { return gitmodels.FileURI(path.Clean(home) + "/store") }

// Governed reports whether pushes to ref are ours to judge. Our own refs and
// control refs never are.
func (p *Policy) Governed(ref gitmodels.RefName) bool {
	if p.Own(ref) || Control(ref) {
		return false
	}
	return slices.ContainsFunc(p.Refs, func(pattern string) bool { return ref.Matches(pattern) })
}

// Own reports whether the runner alone writes ref: the package's Own and the
// configured notes ref. Whoever sets models.notesRef to refs/notes/commits gives
// that ref to the runner: a pushed note there could forge an outcome.
func (p *Policy) Own(ref gitmodels.RefName) bool {
	return Own(ref) || p.NotesRef != "" && ref == p.NotesRef
}

// ownRefs are written by the runner alone, in every repository.
var ownRefs = []string{
	"refs/notes/models*",
	"refs/notes/models*/**",
	"refs/models",
	"refs/models/**",
	// The tags' own names too: git stores refs as paths, so a tag called trained
	// would be in the way of every trained/…. A branch called best may be
	// somebody's: it is left to be theirs.
	"refs/tags/trained", "refs/tags/trained/**",
	"refs/tags/failed", "refs/tags/failed/**",
	"refs/tags/cancelled", "refs/tags/cancelled/**",
	"refs/heads/best/**",
}

// Own reports whether ref is one that the runner writes in every repository.
// Policy.Own adds the configured notes ref.
func Own(ref gitmodels.RefName) bool {
	return slices.ContainsFunc(ownRefs, func(pattern string) bool { return ref.Matches(pattern) })
}

// Control reports whether ref is a control ref, refs/run/….
func Control(ref gitmodels.RefName) bool {
	return ref == "refs/run" || strings.HasPrefix(string(ref), "refs/run/")
}

// DefaultHome is the state directory when models.home is not set: below
// $XDG_STATE_HOME, which counts only when absolute, else below
// $HOME/.local/state. It is empty when neither is usable.
func DefaultHome(getenv func(string) string) string {
	if state := getenv("XDG_STATE_HOME"); path.IsAbs(state) {
		return path.Join(state, "git-models")
	}
	if home := getenv("HOME"); path.IsAbs(home) {
		return path.Join(home, ".local/state/git-models")
	}
	return ""
}
