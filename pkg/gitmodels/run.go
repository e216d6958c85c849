package gitmodels

import (
	"fmt"
	"time"
)

// State is where a run stands.
//
//	queued → building → submitted → running → evaluating → succeeded | failed
//	   ↑         │          │          │           │
//	   └─────────┴──────────┴──────────┴───────────┘ released: to wait, or to try again
//
// From every state of the upper line but the last:
//
//	→ queued      the job was lost: the next attempt, which resumes
//	→ failed      the commit's fault, or tried too often
//	→ cancelling  somebody asks for a cancel → cancelled, or as the job ended first
//
// And from succeeded, failed and cancelled → queued by a rerun: the next attempt,
// which begins anew.
//
// A worker holds a run by a lease, which is no state: when a worker dies, the
// run stays in the state it was in, and the next worker goes on from there.
type State string

const (
	Queued     State = "queued"     // entered on import, release, retry or rerun; left when a stage begins
	Building   State = "building"   // entered with the build stage: the engine's input is made from the commit
	Submitted  State = "submitted"  // entered with the intent to submit; left when the engine reports the job running
	Running    State = "running"    // the engine reports the job running; left when it reports its end
	Evaluating State = "evaluating" // the evaluation runs, then results are collected
	Cancelling State = "cancelling" // a cancel is asked; left only when the engine confirms, or there is nothing to stop
	Succeeded  State = "succeeded"  // terminal: training ended with status 0 and the results are stored
	Failed     State = "failed"     // terminal: the cause says why
	Cancelled  State = "cancelled"  // terminal: the cause says by whom
)

// Terminal reports whether nothing more happens in s without a rerun.
func (s State) Terminal() bool { return s == Succeeded || s == Failed || s == Cancelled }

// StageName is a step of the fixed list that every run walks.
type StageName string

const (
	StageBuild    StageName = "build"    // the engine's input: for process, the export of the commit
	StageTrain    StageName = "train"    // the job
	StageEvaluate StageName = "evaluate" // evaluate.command, if there is one
	StageCollect  StageName = "collect"  // artifacts and metrics to the store, run.json last
	StagePublish  StageName = "publish"  // the outcome into git, by the outbox
)

// Stages is the order in which a run walks them.
var Stages = []StageName{StageBuild, StageTrain, StageEvaluate, StageCollect, StagePublish}

// Repository is a registered repository.
type Repository struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"` // unique on this host: dogs for /srv/git/dogs.git
	Path         string    `json:"path"` // absolute path of the git directory
	RegisteredAt time.Time `json:"registered"`
}

// Run is one commit of one repository to be trained: there is exactly one per
// commit, whatever refs and pushes name it. Attempts are its tries.
type Run struct {
	ID              string
	RepositoryID    string
	Commit          CommitID
	Short           string  // fixed-length name, unique in the repository
	Ref             RefName // the ref whose push created it
	State           State
	Waiting         string // while queued or submitted: what it waits for, or empty
	Cause           string // terminal: why, in words; never empty
	Attempt         int    // number of the current attempt, from 1
	Priority        int    // MinPriority to MaxPriority
	CancelRequested bool
	CancelBy        string
	CreatedAt       time.Time
	StartedAt       time.Time // zero until the first stage began
	FinishedAt      time.Time // zero until terminal
}

// Attempt is one numbered try of a run.
type Attempt struct {
	RunID      string
	N          int
	Name       string // the engine's job name and experiment_name: <short>, <short>-r2, …
	Cause      string // why it was made: push, rerun, lost
	Actor      string // who asked for it: the pusher, or the runner
	Resumes    bool   // an automatic retry that goes on from the checkpoints: it keeps the name it continues
	State      State
	EndCause   string
	Engine     string // empty until submitted
	Job        string // the engine's own id, empty until confirmed
	CreatedAt  time.Time
	FinishedAt time.Time
}

// AttemptName is the name of the n-th attempt of the run short.
func AttemptName(short string, n int) string {
	if n <= 1 {
		return short
	}
	return fmt.Sprintf("%s-r%d", short, n)
}

// Stage is the record of one stage of one attempt.
type Stage struct {
	Name       StageName
	State      StageState
	Tries      int
	Output     []byte // JSON; what the stage produced and later ones need
	Error      string
	LogPath    string // absolute, or empty
	StartedAt  time.Time
	FinishedAt time.Time
}

// StageState is where a stage stands.
type StageState string

const (
	StageRunning StageState = "running"
	StageDone    StageState = "done"
	StageSkipped StageState = "skipped" // nothing to do, such as no evaluate.command
	StageFailed  StageState = "failed"
)
