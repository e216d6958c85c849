package gitmodels

import "time"

// Push is what post-receive hands to the runner: one accepted push, as the
// spool file holds it. It is a hint: the runner acts on an update only if the
// repository is registered, the ref governed, and the tip or the reflog shows
// the commit.
type Push struct {
	ID         string    `json:"id"`             // time-ordered, unique
	Repository string    `json:"repository"`     // absolute path of the git directory
	Updates    []Update  `json:"updates"`        // governed refs only, in the order of the push
	Acts       []Act     `json:"acts,omitempty"` // what control refs asked while no runner answered
	Options    []string  `json:"options,omitempty"`
	Pusher     Pusher    `json:"pusher"`
	Protocol   string    `json:"protocol,omitempty"` // ssh, http, path, or empty when unknown
	At         time.Time `json:"at"`
}

// Act is one request of a control ref about a commit: cancel or rerun.
type Act struct {
	Control Control  `json:"control"`
	Commit  CommitID `json:"commit"`
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

// Receipt is what the runner knows of one accepted update at the moment of the
// ring, before it takes the push up: for the words to the pusher alone.
type Receipt struct {
	Ref        RefName       `json:"ref"`
	Commit     CommitID      `json:"commit"`
	Repository string        `json:"repository"`     // its name on this host
	Base       CommitID      `json:"base,omitempty"` // what a path filter compares with; empty: the update runs
	Own        *Listing      `json:"own,omitempty"`  // the commit's own run, if it has one already
	Last       *Listing      `json:"last,omitempty"` // the run last pushed to this ref before, with its overrides
	Ahead      int           `json:"ahead"`          // live runs that start before this one or run now
	Usual      time.Duration `json:"usual"`          // median of the last runs here that succeeded; 0 when there is none
	Store      string        `json:"store"`          // the default store's URI prefix for this repository
}

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
