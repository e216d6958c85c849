package gitmodels

import (
	"context"
	"errors"
	"time"
)

// Trainer is an engine that runs training. A Job is known to it by Job.Name and
// Job.Dir; every method may be called again after a crash at any point, by
// another process, with an equal Job, of which Submit alone needs Env and
// AuthFile. Methods are safe for concurrent use for different jobs; the runner
// never calls two at once for the same job, but for Cancel beside Status and
// Submit.
type Trainer interface {
	// Engine is its name in configuration, such as "process".
	Engine() string
	// Check says whether the engine could take the job here now. What the server
	// lacks is an Error of Kind Waiting whose Message names it ("engine: bubblewrap
	// is not installed"); the run then waits.
	Check(ctx context.Context, job Job) error
	// Submit starts the job and returns the engine's id for it. It looks first:
	// a second call for the same job, also after a crash in the middle of the
	// first, returns the first id and starts nothing. An Error of Kind Waiting
	// means not now; Invalid, never.
	Submit(ctx context.Context, job Job) (id string, err error)
	// Status looks at the job. A job that was never submitted is JobUnknown
	// without an error. An error says nothing about the job: the caller asks again.
	Status(ctx context.Context, job Job) (JobStatus, error)
	// Cancel asks the job to stop, politely first. It returns at once; only a
	// Status that is no longer JobRunning confirms. Cancelling a job that has
	// ended, or never was, does nothing.
	Cancel(ctx context.Context, job Job) error
}

// Job is what a Trainer runs. All paths are absolute; folders exist.
type Job struct {
	Name        string   // the attempt's name and the stage: 5a32b0f, 5a32b0f-r2, 5a32b0f-eval
	RunID       string   // stamped on what the engine creates
	Commit      CommitID // stamped likewise
	Dir         string   // the engine's own folder for this job; nobody else writes there
	Tree        string   // the export of the commit; the working directory of Command. Of a job in an image: unused, the image has it
	Image       string   // what the engine container runs it in: host[:port]/name@sha256:…; empty elsewhere
	AuthFile    string   // credentials for pulling Image, in the form of docker's config.json; Submit alone reads it; empty: the engine's own
	Plain       bool     // the registry of Image speaks plain HTTP
	GPUs        []string // devices leased to the job, as LeaseGPUs gave them out
	Command     []string // argv; the first word is looked up in the job's PATH. In an image it follows the ENTRYPOINT
	Env         map[string]string
	Writable    []string // folders the job may write: artifacts, metrics, checkpoints
	Log         string   // file that gets stdout and stderr from the first byte
	LogLimit    int64    // bytes; what comes after is dropped, and the log says so
	MaxRuntime  time.Duration
	MemoryBytes int64   // 0: no limit
	CPUs        float64 // 0: no limit
	Network     bool    // policy allows the network
	Unsandboxed bool    // policy allows the engine process without a sandbox
}

// JobState is where a job stands at its engine.
type JobState string

const (
	JobUnknown   JobState = "unknown"   // never submitted
	JobPending   JobState = "pending"   // submitted, not started
	JobRunning   JobState = "running"   //
	JobSucceeded JobState = "succeeded" // status 0
	JobFailed    JobState = "failed"    // any other end; Cause says which
	JobCancelled JobState = "cancelled" // ended because Cancel asked
	JobLost      JobState = "lost"      // the machine restarted under it, or its supervisor vanished; nothing of it runs
)

// JobStatus is what Status saw.
type JobStatus struct {
	State    JobState
	ID       string
	ExitCode int
	Cause    string // in words for JobFailed, JobCancelled and JobLost: "exit status 3", "killed after 2h0m0s (job.max_runtime)", "out of memory (job.memory 512M)"
	Started  time.Time
	Finished time.Time
	Warnings []string // such as a capped log
}

// Store keeps results under prefixes that policy allows.
type Store interface {
	// Put copies the regular files below the folder src, which a hostile job
	// wrote, to the prefix uri and returns them, sorted by path; links and
	// special files are left out and named in warnings, as are files beyond the
	// store's bounds. Repeating it gives the same result. A prefix that holds a
	// finished run of another attempt (see Finish) is never overwritten.
	Put(ctx context.Context, uri, src string) (files []File, warnings []string, err error)
	// Finish writes run.json under the prefix uri, atomically and after
	// everything else: its presence says that the results are complete. Equal
	// content again is no error, other content is one of Kind Invalid.
	Finish(ctx context.Context, uri string, runJSON []byte) error
}

// Publisher puts an outcome into git beside its commit. Publish may be called
// again after a crash at any point and then changes nothing more.
type Publisher interface {
	Publish(ctx context.Context, repo Repository, o Outcome) error
}

// ErrLeaseLost is returned by the Ledger to a worker whose claim is no longer
// its own: it must stop and write nothing more.
var ErrLeaseLost = errors.New("the lease on this run has passed to another worker")

// Claim is a run held by a worker under a lease. Every write of the worker is
// checked against Owner and Epoch.
type Claim struct {
	Repository Repository
	Run        Run
	Attempt    Attempt
	Stages     []Stage // of this attempt, in the order of Stages, those begun so far
	Owner      string
	Epoch      int64
}

// Stage returns the record of the named stage, if it has begun.
func (c *Claim) Stage(name StageName) (Stage, bool) {
	for _, s := range c.Stages {
		if s.Name == name {
			return s, true
		}
	}
	return Stage{}, false
}

// Submission is the exactly-once guard of a job: intended before the engine is
// asked, confirmed after.
type Submission struct {
	Name      string // the job's
	Engine    string
	ID        string // the engine's, empty until confirmed
	Confirmed bool
}

// Tip is the last commit of a ref that the ledger has a record of.
type Tip struct {
	Ref    RefName
	Commit CommitID
}

// OutboxItem is an outcome on its way.
type OutboxItem struct {
	ID         string
	Kind       OutboxKind
	Repository Repository
	RunID      string
	Attempt    int
	Outcome    Outcome
	Tries      int
}

// ImageUse is a run that names an image.
type ImageUse struct {
	RepositoryID string
	State        State
	Finished     time.Time // zero: it has not ended
}

// OutboxKind is where an outcome goes.
type OutboxKind string

const (
	OutboxGit    OutboxKind = "git"    // notes, tags, branches: the Publisher
	OutboxNotify OutboxKind = "notify" // models.notify
)

// Candidate is a run as the queue's limits see it.
type Candidate struct {
	RunID        string
	RepositoryID string
	Ref          RefName
	Engine       string // as its commit's files say; empty when that is not known
	Priority     int
}

// NewPush is an accepted update on its way into the ledger.
type NewPush struct {
	PushRecord        // its Reason is kept when the decision is run: why, where that is not plain
	Abbrev     int    // digits of the short name, 0 for the full id; lengthened on a clash
	Skip       string // not empty: record it as skipped, for this reason, unless the commit has a run
	Again      bool   // a run of the commit that has ended makes another attempt instead of being attached to
	Priority   int    // of a new run or attempt; a queued run that is attached to is raised to it
	Engine     string // the engine that the commit's files name; empty when that is not known
}

// PushRecorder records pushes.
type PushRecorder interface {
	// RecordPush records one accepted update and decides: run (a run, or with
	// Again another attempt, is created in the same transaction), attached (the
	// commit has a run that is live, succeeded, failed or cancelled) or skipped. It
	// is idempotent on ID and Ref. A hook's entry for an update that the reconciler
	// recorded first, or that was seen at registration, completes that record
	// instead of adding one; it outranks seen, so the commit runs then.
	RecordPush(ctx context.Context, p NewPush) (PushRecord, error)
	// Base is the commit of the last run on ref that succeeded or is active:
	// what a path filter compares with. ok is false when there is none.
	Base(ctx context.Context, repositoryID string, ref RefName) (base CommitID, ok bool, err error)
}

// Ledger remembers repositories, pushes, runs and what is still to be
// published. Every method is one transaction. Times come from the clock the
// ledger was opened with.
type Ledger interface {
	// Register adds a repository, or brings one back that was unregistered, and
	// records those of tips that the ledger has no record of as seen: they never
	// run by themselves. The name is made unique on this host. A repository that
	// is served already is found by its path and left as it is: what its tips
	// hold and the ledger lacks was pushed, and is the reconciler's.
	Register(ctx context.Context, path, name string, tips []Tip) (repo Repository, added bool, err error)
	// Unregister forgets that the repository is served; its history stays and
	// comes back with Register.
	Unregister(ctx context.Context, path string) error
	// Repositories lists the registered ones, by name.
	Repositories(ctx context.Context) ([]Repository, error)

	// PushRecorder's methods are a transaction each; Batch runs fn in one, for
	// many pushes at once. fn must use the recorder that it is given and no other
	// method of the ledger, which would wait for it for ever, and be quick: nobody
	// else writes meanwhile. Its error takes everything back.
	PushRecorder
	Batch(ctx context.Context, fn func(PushRecorder) error) error
	// Known lists every (ref, commit) of the repository that has a record, in the
	// order of their first ones.
	Known(ctx context.Context, repositoryID string) ([]Tip, error)
	// Claim leases the next ready run to owner, or returns nil. A run is ready
	// when it is live, nobody holds an unexpired lease on it and its time to wait
	// is over. The queue is fair: the repository with the fewest runs under way
	// comes first, of several the one that has waited longest since it was last
	// given a place; within it higher priority, then the order of the pushes. At
	// most maxRuns runs hold a lease at once on this ledger. admit, when not nil,
	// says whether limits leave a place for the candidate beside those that are
	// held; one that it turns away keeps its place in the queue and holds up nobody
	// else, and what it waits for may be set with Wait.
	// Cancelled-while-queued runs are claimed too: the worker ends them. Those
	// with nothing submitted come first, and beyond maxRuns and admit: ending them
	// takes moments, and nobody should wait for that until another run has ended.
	Claim(ctx context.Context, owner string, lease time.Duration, maxRuns int, admit func(c Candidate, held []Candidate) bool) (*Claim, error)
	// Wait sets what a queued run waits for, without a lease and without moving it
	// in the queue; an empty text clears it. A run that is not queued is left alone.
	Wait(ctx context.Context, runID, waiting string) error
	// Rescue frees every lease of the owners that alive does not report: their
	// process is gone, as its lock shows.
	Rescue(ctx context.Context, alive func(owner string) bool) (freed int, err error)
	// Heartbeat extends the lease and reports whether a cancel was asked, and by whom.
	Heartbeat(ctx context.Context, c *Claim, lease time.Duration) (cancelBy string, cancel bool, err error)
	// BeginStage records that a stage begins (or is tried again: Tries counts)
	// and sets the run's state. Like the four below it refreshes c; a run whose
	// cancel is asked stays cancelling, whatever the state given.
	BeginStage(ctx context.Context, c *Claim, stage StageName, state State, logPath string) error
	// SetState changes the run's state within a stage, such as submitted to
	// running, or what a submitted run waits for.
	SetState(ctx context.Context, c *Claim, state State, waiting string) error
	// EndStage records how a stage ended. output is JSON or nil.
	EndStage(ctx context.Context, c *Claim, stage StageName, state StageState, output []byte, cause string) error
	// Intend commits the intent to submit, before the engine is asked. A second
	// call returns what the first recorded.
	Intend(ctx context.Context, c *Claim, stage StageName, jobName, engine string) (Submission, error)
	// Confirm commits the engine's id for an intended submission.
	Confirm(ctx context.Context, c *Claim, stage StageName, engineID string) error
	// Release gives the claim back: the run is queued again until the given time
	// with what it waits for (or, after a failed try, why it is tried again).
	Release(ctx context.Context, c *Claim, waiting string, until time.Time) error
	// Retry ends the current attempt as failed with endCause and queues the next
	// one, which resumes: it keeps the attempt's name and its checkpoints.
	Retry(ctx context.Context, c *Claim, endCause, cause string) error
	// Finish ends the attempt and the run with the outcome, and puts the outcome
	// into the outbox, in one transaction.
	Finish(ctx context.Context, c *Claim, o Outcome) error

	// Cancel asks that a live run end. On a terminal run it is an Error of Kind Invalid.
	Cancel(ctx context.Context, runID, by string) (Run, error)
	// Rerun queues the next attempt of a terminal run with a new name, or makes
	// the first run of a commit that was only skipped or seen. A live run is an
	// Error of Kind Invalid.
	Rerun(ctx context.Context, repositoryID string, commit CommitID, by string, abbrev int) (Run, error)

	// Find resolves an unambiguous prefix of a commit id, or a short name, among
	// the commits with a record; Kind NotFound or Invalid (ambiguous) otherwise.
	Find(ctx context.Context, repositoryID, prefix string) (CommitID, error)
	// List returns a row per commit with a record, newest first; an empty
	// repositoryID means all. limit 0 means no limit.
	List(ctx context.Context, repositoryID string, limit int) ([]Listing, error)
	// Show returns the row of one commit with its details.
	Show(ctx context.Context, repositoryID string, commit CommitID) (Listing, error)
	// Receipt is what there is to say about an update that was just accepted and
	// may not be recorded yet. Store and Repository are left to the caller.
	Receipt(ctx context.Context, repositoryID string, u Update) (Receipt, error)
	// Live counts the runs that are not terminal.
	Live(ctx context.Context) (int, error)
	// LiveRuns lists their ids.
	LiveRuns(ctx context.Context) ([]string, error)
	// ImageUses are the runs that train, or trained, in the image of that digest:
	// one for each attempt that came so far.
	ImageUses(ctx context.Context, digest string) ([]ImageUse, error)

	// NextOutbox returns an item of one of the kinds that is due, or nil; without
	// kinds, of any: a note never waits behind a notification.
	NextOutbox(ctx context.Context, kinds ...OutboxKind) (*OutboxItem, error)
	// DoneOutbox removes an item after it was delivered. A next kind that is not
	// empty puts the same outcome on its way there, in the same transaction.
	DoneOutbox(ctx context.Context, id string, next OutboxKind) error
	// RetryOutbox keeps an item for another try at the given time.
	RetryOutbox(ctx context.Context, id, cause string, at time.Time) error
	// PendingOutbox counts the items.
	PendingOutbox(ctx context.Context) (int, error)
	// Event appends to the history of a repository: a vanished ref, a spool file
	// set aside. It is for the admin.
	Event(ctx context.Context, repositoryID, kind, text string) error

	Close() error
}
