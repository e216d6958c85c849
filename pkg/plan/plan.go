package plan

import (
	"context"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline"
	"github.com/git-models/git-models/pkg/pipeline/document"
	"github.com/git-models/git-models/pkg/policy"
)

// Fault is one thing that is wrong in the commit's files.
type Fault = document.Fault

// Faults is the error of a commit whose files are at fault: all of them at once,
// sorted by file and place.
type Faults = document.Faults

// Files looks into a commit's tree, without following links.
type Files interface {
	// Files looks up paths. Every path asked for is a key of the answer.
	Files(ctx context.Context, commit gitmodels.CommitID, paths []string) (map[string]gitmodels.TreeFile, error)
	// List is what a folder of the commit holds, in the order of its tree and at
	// most limit entries.
	List(ctx context.Context, commit gitmodels.CommitID, folder string, limit int) ([]gitmodels.TreeEntry, error)
}

// Input is what a plan is made from.
type Input struct {
	Commit      gitmodels.CommitID
	Ref         gitmodels.RefName
	Repository  string // its name on this host, such as dogs
	Policy      *policy.Policy
	Files       Files
	AttemptName string // experiment_name; empty: the commit's short name by policy
	// Dockerfile judges the commit's Dockerfile: Check of pkg/pipeline/dockerfile.
	// It is handed in because its parser costs every program that links it 2 MB
	// and some milliseconds of start-up. Without it nothing is said about what
	// the file holds: for who asks after the gate has judged.
	Dockerfile pipeline.JudgeDockerfile
}

// Plan is what a commit would run here.
type Plan struct {
	Engine      string            // empty when Missing says that there is none
	Missing     string            // what the server lacks, such as "engine: none is configured (models.engine)"; the run then waits
	Command     []string          // full argv: command, overrides, experiment_name=<attempt>
	Overrides   []string          // the parameters of the commit alone
	Evaluate    []string          // argv of the evaluation; empty: none
	Filter      pipeline.Filter   // which changed paths start a run
	Artifacts   string            // URI prefix, without /<attempt>
	Metrics     string            // URI prefix, without /<attempt>
	MaxRuntime  time.Duration     // never 0
	MemoryBytes int64             // 0: no limit
	CPUs        float64           // 0: no limit
	GPUs        int               // 0: none
	Env         map[string]string // of the job file; never one of our own names
	Files       []string          // pipeline files that were there and read, sorted
	Best        *gitmodels.Best   // results.best; nil: none
	Image       *Image            // what the engine runs the job in; nil: it takes no image
	Warnings    []Fault           // what is accepted, but probably not meant
}

// Image is what an image is built from. Paths are those of the commit.
type Image struct {
	Name       string            // host[:port]/name: build.image, else what the job file or the repository is called, in models.registry
	Context    string            // folder, `.` for the whole tree
	Dockerfile string            // may lie outside of the context
	Args       map[string]string // build arguments
	Cache      string            // inline, registry or none
	Always     bool              // build even if there is an image of the same inputs
	Refresh    bool              // look for newer base images
}
