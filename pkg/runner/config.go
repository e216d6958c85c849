package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/policy"
)

// Config is what a Runner and a Service are made of. Home, Version, Ledger,
// Spool, Open and Policy are needed by both; the rest by a Runner alone.
type Config struct {
	Home    string // absolute path of the state directory; it exists
	Version string // of this program, for ping and run.json
	Ledger  gitmodels.Ledger
	Spool   Spool
	// Open opens the repository whose git directory is path.
	Open func(path string) (Repo, error)
	// Policy reads what the administrator decided for repo, as the runner sees
	// it: keys that widen power count from protected configuration alone. It is
	// asked again for every decision, so a change takes effect without a restart.
	Policy func(ctx context.Context, repo Repo) (*policy.Policy, []policy.Problem, error)

	Trainers map[string]gitmodels.Trainer // by Trainer.Engine
	// Registry reaches registries with the credentials in a file in the form of
	// docker's config.json, or, without one, with those of the runner's account.
	Registry func(credentials string) gitmodels.Registry
	// Builder is the one called name, or for auto the first that could build here.
	// That there is none is an Error of Kind Waiting.
	Builder func(ctx context.Context, name string) (gitmodels.Builder, error)
	// Recover takes away what a runner that was killed left of builds: called once,
	// before anything is built, by the one runner of this home. Nil: there is nothing.
	Recover func() error
	// Sweep removes what engines left on this host: the containers that do not run,
	// of runs that keepRun does not want, and the images of ours whose digest
	// keepImage does not want. It says what it removed. Nil: there is nothing.
	Sweep     func(ctx context.Context, keepRun, keepImage func(string) bool) (removed []string, err error)
	Store     gitmodels.Store
	Publisher gitmodels.Publisher
	// Notify gives an outcome to the program of models.notify, an absolute path,
	// and waits for its end. An error is a try that failed.
	Notify func(ctx context.Context, program string, o gitmodels.Outcome) error
	// Metrics reads the metric files below a folder that a hostile job wrote.
	Metrics func(dir string) (values []gitmodels.Metric, warnings []string, err error)
	// Versions names what ran a job besides ourselves, such as git and the
	// sandbox, for run.json. It may be nil.
	Versions func(ctx context.Context) map[string]string

	Log   *slog.Logger // nil: nothing is logged
	Clock Clock        // nil: the system's
	Pace  Pace         // zero fields: the defaults
}

// Repo is what the runner needs of a repository. Its methods are safe for
// concurrent use.
type Repo interface {
	// Dir is the absolute path of the git directory.
	Dir() string
	// ObjectType is commit, tag, tree or blob, or empty when there is no such object.
	ObjectType(ctx context.Context, id gitmodels.CommitID) (string, error)
	IsAncestor(ctx context.Context, ancestor, descendant gitmodels.CommitID) (bool, error)
	// Refs lists refs below the prefixes; none means all.
	Refs(ctx context.Context, prefixes ...string) ([]gitmodels.Ref, error)
	// Tip is what the ref of exactly this name points to, empty when there is none.
	Tip(ctx context.Context, ref gitmodels.RefName) (gitmodels.CommitID, error)
	// SymbolicTarget is what a symbolic ref names; false for any other.
	SymbolicTarget(ctx context.Context, ref gitmodels.RefName) (gitmodels.RefName, bool, error)
	// Commits lists the commits that are reachable from include and from none of
	// exclude, oldest first; of more than limit the newest.
	Commits(ctx context.Context, include gitmodels.CommitID, exclude []gitmodels.CommitID, limit int) ([]gitmodels.CommitID, error)
	// DeleteRef removes ref if it is at old; one that is gone is no error.
	DeleteRef(ctx context.Context, ref gitmodels.RefName, old gitmodels.CommitID) error
	// Reflog lists what happened to ref, oldest first; none when it keeps no log.
	Reflog(ctx context.Context, ref gitmodels.RefName) ([]gitmodels.ReflogEntry, error)
	Commit(ctx context.Context, id gitmodels.CommitID) (gitmodels.CommitInfo, error)
	// Session begins one: it ends with ctx or Close.
	Session(ctx context.Context) Session
	// Export writes the commit's files to dir, which must not exist: it appears
	// complete or not at all. What was left out or altered is a warning; what
	// can never be exported is an Error of Kind Invalid.
	Export(ctx context.Context, commit gitmodels.CommitID, dir string) (gitmodels.ExportReport, error)
	// Context writes what an image is built from to out, a tar stream, see
	// gitrepo.Repo.Context; Sum of the report is equal for equal content.
	Context(ctx context.Context, commit gitmodels.CommitID, folder string, keep func(path string) bool, out io.Writer) (gitmodels.ExportReport, error)
	// WriteCommitGraph brings the commit-graph up to date, which keeps the
	// hooks' ancestor check fast.
	WriteCommitGraph(ctx context.Context) error
}

// Session answers many questions about objects through one child. A context that
// ends during a question ends that child; the next question starts another.
type Session interface {
	// ObjectType is that of Repo.
	ObjectType(ctx context.Context, id gitmodels.CommitID) (string, error)
	// Files looks paths up in a commit's tree, see gitmodels.TreeFile.
	Files(ctx context.Context, commit gitmodels.CommitID, paths []string) (map[string]gitmodels.TreeFile, error)
	// List is what a folder of a commit holds, at most limit entries, see
	// gitmodels.TreeEntry.
	List(ctx context.Context, commit gitmodels.CommitID, folder string, limit int) ([]gitmodels.TreeEntry, error)
	// ChangedPaths lists every path that differs between two commits, uncapped.
	ChangedPaths(ctx context.Context, from, to gitmodels.CommitID) ([]string, error)
	Close()
}

// Spool is the folder in which post-receive leaves pushes.
type Spool interface {
	// Entries lists what is there, by id and so by time. A file that cannot be
	// read as a push has Err and no Push.
	Entries() ([]gitmodels.SpoolEntry, error)
	// Remove deletes an imported entry; one that is gone is no error.
	Remove(e gitmodels.SpoolEntry) error
	// SetAside moves an entry out of the way and writes why beside it.
	SetAside(e gitmodels.SpoolEntry, why string) error
}

// Clock is the time as the runner sees it.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Pace is how often the runner looks. A ring, a released run and a finished job
// wake it earlier.
type Pace struct {
	Spool     time.Duration // between two looks into the spool without a ring; 1 s
	Claim     time.Duration // between two looks for a ready run; 1 s
	Reconcile time.Duration // between two comparisons of refs and ledger; 1 min
	Status    time.Duration // the longest between two looks at a job, which begin closer; 500 ms
	Decide    time.Duration // the longest that the path filters of one push may take; 10 s
	Settle    time.Duration // the youngest tip the reconciler takes up while running; 5 s
	Lease     time.Duration // of a claim; its heartbeat is a third; 60 s
	Backoff   time.Duration // after the first failed try, doubled each time; 2 s
	Waiting   time.Duration // the shortest wait for a gap of the server; 5 s, growing to a minute
}

// withDefaults fills the zero fields.
func (p Pace) withDefaults() Pace {
	fill := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	fill(&p.Spool, time.Second)
	fill(&p.Claim, time.Second)
	fill(&p.Reconcile, time.Minute)
	fill(&p.Status, 500*time.Millisecond)
	fill(&p.Decide, 10*time.Second)
	fill(&p.Settle, 5*time.Second)
	fill(&p.Lease, time.Minute)
	fill(&p.Backoff, 2*time.Second)
	fill(&p.Waiting, 5*time.Second)
	return p
}

// prepare checks what both a Service and a Runner need and fills the rest.
func (c Config) prepare() (Config, error) {
	switch {
	case !filepath.IsAbs(c.Home):
		return c, fmt.Errorf("runner: home %q is not an absolute path", c.Home)
	case c.Ledger == nil || c.Spool == nil || c.Open == nil || c.Policy == nil:
		return c, errors.New("runner: Ledger, Spool, Open and Policy are needed")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = systemClock{}
	}
	c.Pace = c.Pace.withDefaults()
	return c, nil
}

// prepareRunner checks what a Runner needs besides.
func (c Config) prepareRunner() (Config, error) {
	if c.Store == nil || c.Publisher == nil || c.Notify == nil || c.Metrics == nil {
		return c, errors.New("runner: Store, Publisher, Notify and Metrics are needed")
	}
	return c.prepare()
}
