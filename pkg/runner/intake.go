package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/policy"
)

// intake brings accepted updates into the ledger: those the hook spooled, and
// those the reconciler finds in the refs.
type intake struct {
	cfg Config

	say *sayer

	mu    sync.Mutex           // one import or reconciliation at a time, so that a hook's entry comes before a guess
	young map[string]time.Time // when a tip without a log was first met, by repository, ref and commit
	left  map[string]time.Time // when a control ref was first met, likewise

	policies sync.Map // what was last read: *policy.Policy by repository id
}

func newIntake(cfg Config) *intake {
	return &intake{cfg: cfg, say: newSayer(cfg.Log), young: map[string]time.Time{}, left: map[string]time.Time{}}
}

// imported is what one look into the spool did.
type imported struct {
	Pushes  int                    // spool files taken in
	Left    map[string]string      // what stays in the spool by id, and why
	Touched []gitmodels.Repository // repositories with new commits
	Told    []string               // runs that an act of the spool changed
}

// errSetAside marks a spool entry, or a part of one, that is no push of ours.
type errSetAside struct{ why string }

func (e *errSetAside) Error() string { return e.why }

func aside(format string, args ...any) error { return &errSetAside{fmt.Sprintf(format, args...)} }

// importSpool takes in every spool file, in the order of the pushes. A crash
// anywhere is harmless: a file is removed only after all that it holds is
// recorded, and recording is idempotent. A file that cannot be taken in now
// stays, without holding up the others.
func (in *intake) importSpool(ctx context.Context) (imported, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	entries, err := in.cfg.Spool.Entries()
	if err != nil {
		return imported{}, fmt.Errorf("reading the spool: %w", err)
	}
	if len(entries) == 0 {
		return imported{}, nil
	}
	im := newImporter(ctx, in)
	defer im.close()
	for _, e := range entries {
		if err := im.add(ctx, e); err != nil {
			return im.res, err
		}
	}
	return im.res, im.flush(ctx)
}

// open opens a registered repository and reads its policy.
func (in *intake) open(ctx context.Context, repo gitmodels.Repository) (Repo, *policy.Policy, error) {
	git, err := in.cfg.Open(repo.Path)
	if err != nil {
		return nil, nil, fmt.Errorf("opening %s: %w", repo.Path, err)
	}
	pol, problems, err := in.cfg.Policy(ctx, git)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the policy of %s: %w", repo.Name, err)
	}
	for _, p := range problems {
		in.say.warn(fmt.Sprint("policy ", repo.ID, p), "a policy key is not in effect", "repository", repo.Name, "problem", fmt.Sprint(p))
	}
	in.policies.Store(repo.ID, pol)
	return git, pol, nil
}

// lastPolicy is the policy of a repository as open read it last, or nil: for
// whoever must not wait for git.
func (in *intake) lastPolicy(repositoryID string) *policy.Policy {
	pol, _ := in.policies.Load(repositoryID)
	p, _ := pol.(*policy.Policy)
	return p
}

// setAside moves a spool file out of the way and tells the administrator.
func (in *intake) setAside(ctx context.Context, repositoryID string, e gitmodels.SpoolEntry, why string) error {
	if err := in.cfg.Spool.SetAside(e, why); err != nil {
		return fmt.Errorf("it cannot be set aside: %w; it should be, for it is no push of ours: %s", err, why)
	}
	in.cfg.Log.Warn("a spool file was set aside", "push", e.ID, "repository", gitmodels.Printable(e.Push.Repository, 200), "cause", why)
	return in.cfg.Ledger.Event(ctx, repositoryID, "set aside", "push "+e.ID+": "+why)
}

// report appends to the history of a repository and tells the operator.
func (in *intake) report(ctx context.Context, repo gitmodels.Repository, kind, line string) error {
	in.cfg.Log.Warn(kind, "repository", repo.Name, "cause", line)
	return in.cfg.Ledger.Event(ctx, repo.ID, kind, line)
}

// logRecord tells the operator what was decided.
func (in *intake) logRecord(repo gitmodels.Repository, rec gitmodels.PushRecord) {
	in.cfg.Log.Info("push recorded", "repository", repo.Name, "ref", rec.Ref.Short(), "commit", string(rec.New),
		"decision", string(rec.Decision), "reason", rec.Reason, "source", string(rec.Source),
		"pusher", gitmodels.Printable(rec.Pusher.Name, 100), "push", rec.ID)
}

// asideOf tells errors that set something aside from the others: why is empty
// for those.
func asideOf(err error) (why string) {
	var a *errSetAside
	if errors.As(err, &a) {
		return a.why
	}
	return ""
}
