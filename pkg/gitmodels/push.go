package gitmodels

import "time"

// Push is what post-receive hands to the runner: one accepted push, as the
// spool file holds it. It is a hint: the runner acts on an update only if the
// repository is registered, the ref governed, and the tip or the reflog shows
// the commit.
type Push struct {
	ID         string    `json:"id"`         // time-ordered, unique
	Repository string    `json:"repository"` // absolute path of the git directory
	Updates    []Update  `json:"updates"`    // governed refs only, in the order of the push
	Options    []string  `json:"options,omitempty"`
	Pusher     Pusher    `json:"pusher"`
	Protocol   string    `json:"protocol,omitempty"` // ssh, http, path, or empty when unknown
	At         time.Time `json:"at"`
}

// Pusher is who pushed, as far as the transport tells.
type Pusher struct {
	Name string `json:"name"`          // never empty: the account's name at worst
	Via  string `json:"via,omitempty"` // the variable it came from, such as GL_USER
}

// Decision is what became of one accepted update.
type Decision string

const (
	DecisionRun      Decision = "run"      // it started a run
	DecisionSkipped  Decision = "skipped"  // nothing to do; the reason says why
	DecisionAttached Decision = "attached" // the commit has a run already
)

// Source is how an update came to the ledger.
type Source string

const (
	SourceHook      Source = "hook"      // a spool file
	SourceReconcile Source = "reconcile" // found in the refs or the reflog
	SourceSeen      Source = "seen"      // was there when the repository was registered: never runs by itself
	SourceManual    Source = "manual"    // rerun
)

// PushRecord is one accepted update with the decision on it, as the ledger
// keeps it.
type PushRecord struct {
	ID           string // push id; one push of several refs has several records
	RepositoryID string
	Update
	Pusher   Pusher
	Options  []string
	Protocol string
	Source   Source
	Decision Decision
	Reason   string // words; never empty for skipped and attached
	RunID    string // empty for a skipped commit that never ran
	At       time.Time
}
