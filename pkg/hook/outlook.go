package hook

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline"
	"github.com/git-models/git-models/pkg/plan"
	"github.com/git-models/git-models/pkg/publish"
)

// Objects is what an outlook asks of the repository: a session, as a rule.
type Objects interface {
	plan.Files
	plan.Changes
	// ReadNote returns the note of a commit; false: it has none.
	ReadNote(ctx context.Context, ref gitmodels.RefName, commit gitmodels.CommitID) (string, bool, error)
}

// Sight is what outlooks are made from.
type Sight struct {
	Site    Site
	Objects Objects
	Steer   gitmodels.Steering
	// Dockerfile judges the commit's Dockerfile, see plan.Input. The gate's alone:
	// what it let pass need not be judged again for the receipt.
	Dockerfile pipeline.JudgeDockerfile
}

// Files is what a commit's files say: a plan, or faults.
type Files struct {
	Plan   *plan.Plan
	Faults []plan.Fault
}

// Outlook is what becomes of an update, as far as it is known.
type Outlook struct {
	gitmodels.Update
	Files
	Receipt  *gitmodels.Receipt // what the runner told; nil when none answered
	Decision gitmodels.Decision // empty: it cannot be known without a runner, for nothing changed since the tip before
	Why      string             // words; may be empty when it runs
	Attempt  string             // name of the attempt, when it runs
	Base     gitmodels.CommitID // what changed paths were compared with; empty when they did not matter
	Paths    []string           // those that changed since Base
	Compared gitmodels.CommitID // what parameters were compared with; empty: nothing
	Changes  []gitmodels.ParamChange
	Image    string // words about the image that it trains in; empty: it takes none, or nothing is known
}

// Read reads the files of the commit at the tip of an update, as the runner will.
func (s Sight) Read(ctx context.Context, commit gitmodels.CommitID, ref gitmodels.RefName, name, attempt string) (Files, error) {
	made, err := plan.Make(ctx, plan.Input{Commit: commit, Ref: ref, Repository: name, Policy: s.Site.Policy, Files: s.Objects, AttemptName: attempt, Dockerfile: s.Dockerfile})
	var faults *plan.Faults
	if errors.As(err, &faults) {
		return Files{Faults: faults.All}, nil
	}
	if err != nil {
		return Files{}, fmt.Errorf("reading the files of %s: %w", commit, err)
	}
	return Files{Plan: made}, nil
}

// Outlook says what becomes of u, whose files were read before. It decides as
// the runner will; what happens meanwhile it cannot know.
func (s Sight) Outlook(ctx context.Context, u gitmodels.Update, files Files, receipt *gitmodels.Receipt) (Outlook, error) {
	o := Outlook{Update: u, Files: files, Receipt: receipt, Attempt: s.short(u.New)}
	if receipt == nil {
		receipt = &gitmodels.Receipt{}
		if !u.Creates() {
			receipt.Base = u.Old
		}
	}
	if err := s.decide(ctx, &o, receipt); err != nil {
		return o, err
	}
	if err := s.compare(ctx, &o, receipt); err != nil {
		return o, err
	}
	return o, s.image(ctx, &o)
}

// image says whether the image of the ref's last run serves this one too: when
// nothing that goes into it has changed since.
func (s Sight) image(ctx context.Context, o *Outlook) error {
	if o.Plan == nil || o.Plan.Image == nil || o.Decision == gitmodels.DecisionSkipped || o.Decision == gitmodels.DecisionAttached {
		return nil
	}
	last, err := s.LastRun(ctx, *o)
	if err != nil || last == nil || last.Digest == nil {
		return err
	}
	made := o.Plan.Image
	if made.Always || made.Refresh {
		o.Image = "built if its base has moved (build.refresh)"
		if made.Always {
			o.Image = "built, as build.always asks"
		}
		return nil
	}
	files, err := s.Objects.Files(ctx, o.New, []string{made.Dockerfile})
	if err != nil {
		return err
	}
	if names := plan.CommitArgs(files[made.Dockerfile].Data); len(names) > 0 {
		o.Image = "built: " + names[0] + " goes into it"
		return nil
	}
	before, err := s.Read(ctx, last.Commit, o.Ref, s.Site.Name(), "")
	if err != nil || before.Plan == nil || before.Plan.Image == nil {
		return err
	}
	paths := o.Paths
	if o.Base != last.Commit {
		if paths, err = s.Objects.ChangedPaths(ctx, last.Commit, o.New); err != nil {
			return err
		}
	}
	fed := slices.IndexFunc(paths, made.Feeds)
	switch {
	case fed >= 0:
		o.Image = "built: " + Shown(paths[fed]) + " changed since " + s.short(last.Commit)
	case !reflect.DeepEqual(made, before.Plan.Image):
		o.Image = "built: what .models.yaml says of it changed since " + s.short(last.Commit)
	case last.ImageFrom != "":
		o.Image = "reused from " + s.short(last.ImageFrom) + ", no build"
	default:
		o.Image = "reused from " + s.short(last.Commit) + ", no build"
	}
	return nil
}

func (s Sight) short(id gitmodels.CommitID) string { return id.Short(s.Site.Policy.Abbrev) }

// decide follows the runner's rules in their order: what was asked, a run that
// the commit has already, a new ref, the filter.
func (s Sight) decide(ctx context.Context, o *Outlook, receipt *gitmodels.Receipt) error {
	o.Decision = gitmodels.DecisionRun
	if own := receipt.Own; own != nil && own.Run != nil && own.State != nil {
		if own.Attempt != nil {
			o.Attempt = gitmodels.AttemptName(*own.Run, *own.Attempt)
		}
		if s.Steer.Again && own.State.Terminal() && own.Attempt != nil {
			o.Attempt, o.Why = gitmodels.AttemptName(*own.Run, *own.Attempt+1), "again; it "+ended(*own.State)+" before"
			return nil
		}
		o.Decision, o.Why = gitmodels.DecisionAttached, "it has a run already, which "+now(*own.State)
		return nil
	}
	switch {
	case s.Steer.Skip:
		o.Decision, o.Why = gitmodels.DecisionSkipped, "as asked"
		return nil
	case s.Steer.Again:
		o.Why = "as asked, whatever changed"
		return nil
	case o.Creates():
		o.Why = "a new ref always runs"
		return nil
	case receipt.Base == "":
		o.Why = "nothing ran on this ref yet"
		return nil
	case o.Plan == nil || receipt.Base == o.New:
		return nil
	}
	seen := &seen{Objects: s.Objects}
	why, err := plan.Unwatched(ctx, seen, receipt.Base, o.New, o.Plan.Filter, s.Site.Policy.Abbrev)
	if err != nil {
		return err
	}
	o.Base, o.Paths = receipt.Base, seen.paths
	switch {
	case why == "":
	case o.Receipt == nil:
		o.Decision = ""
	default:
		o.Decision, o.Why = gitmodels.DecisionSkipped, why
	}
	return nil
}

// seen keeps the changed paths that were asked for.
type seen struct {
	Objects
	paths []string
}

func (s *seen) ChangedPaths(ctx context.Context, from, to gitmodels.CommitID) (paths []string, err error) {
	s.paths, err = s.Objects.ChangedPaths(ctx, from, to)
	return s.paths, err
}

// compare finds what changed in the parameters: against the run that was last
// pushed to the ref, or else what the ref held before.
func (s Sight) compare(ctx context.Context, o *Outlook, receipt *gitmodels.Receipt) error {
	if o.Plan == nil {
		return nil
	}
	with, before := o.Old, []string(nil)
	if receipt.Last != nil {
		with, before = receipt.Last.Commit, receipt.Last.Overrides
	}
	if with.IsZero() || with == o.New {
		return nil
	}
	if before == nil {
		// A run that did not come to its command, or one whose parameters are none:
		// the files say which.
		old, err := s.Read(ctx, with, o.Ref, s.Site.Name(), "")
		if err != nil {
			return err
		}
		if old.Plan == nil {
			return nil
		}
		before = old.Plan.Overrides
	}
	o.Compared, o.Changes = with, gitmodels.ParamChanges(before, o.Plan.Overrides)
	return nil
}

// LastRun is what was run on the ref before, by the runner's word or, without a
// runner, by the note of the old tip; nil when neither tells.
func (s Sight) LastRun(ctx context.Context, o Outlook) (*gitmodels.Listing, error) {
	if o.Receipt != nil {
		return o.Receipt.Last, nil
	}
	if o.Creates() || o.Old == o.New {
		return nil, nil
	}
	note, ok, err := s.Objects.ReadNote(ctx, s.Site.Policy.NotesRef, o.Old)
	if err != nil || !ok {
		return nil, err
	}
	parsed, ours := publish.ParseNote(note, o.Old)
	if !ours {
		return nil, nil
	}
	row := parsed.Listing(s.Site.Name())
	return &row, nil
}

// Artifacts is where the artifacts of the attempt go, or empty.
func (o Outlook) Artifacts(site Site) string { return o.place(site, "artifacts") }

// Metrics is where its metrics go, or empty.
func (o Outlook) Metrics(site Site) string { return o.place(site, "metrics") }

// place is the folder of one kind of results. The runner's default store counts
// where the commit's files name none.
func (o Outlook) place(site Site, kind string) string {
	if o.Plan == nil {
		return ""
	}
	named := o.Plan.Artifacts
	if kind == "metrics" {
		named = o.Plan.Metrics
	}
	if stores := site.Policy.StorePrefixes(); o.Receipt != nil && o.Receipt.Store != "" &&
		(named == "" || len(stores) > 0 && named == stores[0]+"/"+site.Name()+"/"+kind) {
		named = o.Receipt.Store + "/" + kind
	}
	if named == "" {
		return ""
	}
	return named + "/" + o.Attempt
}
