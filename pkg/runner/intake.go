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

	policies sync.Map // what was last read: *policy.Policy by repository id
}

func newIntake(cfg Config) *intake {
	return &intake{cfg: cfg, say: newSayer(cfg.Log), young: map[string]time.Time{}}
}

// imported is what one look into the spool did.
type imported struct {
	Pushes  int                    // spool files taken in
	Left    map[string]string      // what stays in the spool by id, and why
	Touched []gitmodels.Repository // repositories with new commits
}

// errSetAside marks a spool entry, or an update in it, that is no push of ours.
type errSetAside struct{ why string }

func (e *errSetAside) Error() string { return e.why }

// importSpool takes in every spool file, in the order of the pushes. A crash
// anywhere is harmless: a file is removed only after all its updates are
// recorded, and recording is idempotent. A file that cannot be taken in now
// stays, without holding up the others.
func (in *intake) importSpool(ctx context.Context) (imported, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	res := imported{Left: map[string]string{}}
	entries, err := in.cfg.Spool.Entries()
	if err != nil {
		return res, fmt.Errorf("reading the spool: %w", err)
	}
	touched := map[string]bool{}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return res, err
		}
		repo, err := in.importEntry(ctx, e)
		var aside *errSetAside
		if errors.As(err, &aside) {
			err = in.setAside(ctx, repo, e, aside.why)
		} else if err == nil {
			err = in.cfg.Spool.Remove(e)
		}
		if ctx.Err() != nil {
			return res, ctx.Err()
		}
		if err != nil {
			res.Left[e.ID] = fmt.Sprintf("push %s stays in the spool: %v", e.ID, err)
			in.say.warn("spool "+e.ID, "a push stays in the spool", "push", e.ID, "cause", err.Error())
			continue
		}
		in.say.over("spool " + e.ID)
		res.Pushes++
		if repo.ID != "" && !touched[repo.ID] {
			touched[repo.ID] = true
			res.Touched = append(res.Touched, repo)
		}
	}
	return res, nil
}

// importEntry records every update of one push. Updates that are none of ours
// do not keep the others from being recorded.
func (in *intake) importEntry(ctx context.Context, e gitmodels.SpoolEntry) (gitmodels.Repository, error) {
	if e.Err != nil {
		return gitmodels.Repository{}, &errSetAside{"not a push: " + e.Err.Error()}
	}
	p := e.Push
	if p.ID == "" || len(p.Updates) == 0 {
		return gitmodels.Repository{}, &errSetAside{"not a push: it has no id or no update"}
	}
	repo, err := findRepository(ctx, in.cfg.Ledger, p.Repository)
	if isKind(err, gitmodels.NotFound) {
		return gitmodels.Repository{}, &errSetAside{err.Error()}
	}
	if err != nil {
		return gitmodels.Repository{}, err
	}
	git, pol, err := in.open(ctx, repo)
	if err != nil {
		return repo, err
	}
	var refused error
	until := time.Now().Add(in.cfg.Pace.Decide)
	for _, u := range p.Updates {
		err := in.importUpdate(ctx, until, repo, git, pol, p, u)
		var aside *errSetAside
		switch {
		case errors.As(err, &aside):
			refused = errors.Join(refused, aside)
		case err != nil:
			return repo, err
		}
	}
	if refused != nil {
		return repo, &errSetAside{refused.Error()}
	}
	return repo, nil
}

// importUpdate records one update of a push, if the repository bears it out.
func (in *intake) importUpdate(ctx context.Context, until time.Time, repo gitmodels.Repository, git Repo, pol *policy.Policy,
	p gitmodels.Push, u gitmodels.Update) error {
	name := gitmodels.Printable(string(u.Ref), 200)
	switch {
	case pol.Own(u.Ref):
		return &errSetAside{fmt.Sprintf("%s is written by the runner alone", name)}
	case !pol.Governed(u.Ref):
		return &errSetAside{fmt.Sprintf("%s is not a governed ref of %s", name, repo.Name)}
	case u.Deletes():
		return &errSetAside{fmt.Sprintf("a deletion of %s, which the gate never lets pass", name)}
	}
	for _, id := range []gitmodels.CommitID{u.Old, u.New} {
		if _, err := gitmodels.ParseCommitID(string(id)); err != nil {
			return &errSetAside{fmt.Sprintf("%s: %v", name, err)}
		}
	}
	was, err := wasTip(ctx, git, u.Ref, u.New)
	if err != nil {
		return err
	}
	if !was {
		return &errSetAside{fmt.Sprintf("%s was never at %s: neither the ref nor its log shows it", name, u.New)}
	}
	skip, reason := "as asked by -o skip", ""
	if !asked(p.Options, "skip") {
		if skip, reason, err = in.decide(ctx, until, repo, git, pol, u); err != nil {
			return err
		}
	}
	rec, err := in.cfg.Ledger.RecordPush(ctx, gitmodels.NewPush{
		PushRecord: gitmodels.PushRecord{ID: p.ID, RepositoryID: repo.ID, Update: u, Pusher: p.Pusher,
			Options: p.Options, Protocol: p.Protocol, Source: gitmodels.SourceHook, Reason: reason, At: p.At},
		Abbrev: pol.Abbrev, Skip: skip,
	})
	if err != nil {
		return err
	}
	in.logRecord(repo, rec)
	return nil
}

// asked reports whether a push option names word, alone or as models.<word>.
func asked(options []string, word string) bool {
	for _, o := range options {
		if o == word || o == "models."+word {
			return true
		}
	}
	return false
}

// wasTip reports whether ref is at commit or its log shows that it was. Only a
// ref that keeps no log is believed by ancestry.
func wasTip(ctx context.Context, git Repo, ref gitmodels.RefName, commit gitmodels.CommitID) (bool, error) {
	tip, err := tipOf(ctx, git, ref)
	if err != nil {
		return false, err
	}
	if tip == commit || tip == "" { // a ref that is gone has no log either
		return tip == commit, nil
	}
	entries, err := git.Reflog(ctx, ref)
	if err != nil {
		return false, fmt.Errorf("reading the log of %s: %w", ref, err)
	}
	for i, e := range entries {
		if e.New == commit && confirmed(entries, i, tip) {
			return true, nil
		}
	}
	if len(entries) > 0 {
		return false, nil
	}
	if kind, err := git.ObjectType(ctx, commit); err != nil || kind != "commit" {
		return false, err
	}
	return git.IsAncestor(ctx, commit, tip)
}

// tipOf is the commit ref points to, or empty when there is no such ref or it
// is a symbolic one.
func tipOf(ctx context.Context, git Repo, ref gitmodels.RefName) (gitmodels.CommitID, error) {
	refs, err := git.Refs(ctx, string(ref))
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", ref, err)
	}
	for _, r := range refs {
		if r.Name == ref && r.Symref == "" {
			return r.ID, nil
		}
	}
	return "", nil
}

// confirmed reports whether line i of a reflog is an update that happened: git
// writes the log before it commits the ref, so a last line counts only once the
// ref agrees, and any other once the next line starts from it.
func confirmed(entries []gitmodels.ReflogEntry, i int, tip gitmodels.CommitID) bool {
	if i == len(entries)-1 {
		return entries[i].New == tip
	}
	return entries[i+1].Old == entries[i].New
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
func (in *intake) setAside(ctx context.Context, repo gitmodels.Repository, e gitmodels.SpoolEntry, why string) error {
	if err := in.cfg.Spool.SetAside(e, why); err != nil {
		return fmt.Errorf("it cannot be set aside: %w; it should be, for it is no push of ours: %s", err, why)
	}
	in.cfg.Log.Warn("a spool file was set aside", "push", e.ID, "repository", gitmodels.Printable(e.Push.Repository, 200), "cause", why)
	return in.cfg.Ledger.Event(ctx, repo.ID, "set aside", "push "+e.ID+": "+why)
}

// logRecord tells the operator what was decided.
func (in *intake) logRecord(repo gitmodels.Repository, rec gitmodels.PushRecord) {
	in.cfg.Log.Info("push recorded", "repository", repo.Name, "ref", rec.Ref.Short(), "commit", string(rec.New),
		"decision", string(rec.Decision), "reason", rec.Reason, "source", string(rec.Source),
		"pusher", gitmodels.Printable(rec.Pusher.Name, 100), "push", rec.ID)
}
