package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
	"github.com/git-models/git-models/pkg/pipeline"
	"github.com/git-models/git-models/pkg/pipeline/dockerfile"
	"github.com/git-models/git-models/pkg/plan"
	"github.com/git-models/git-models/pkg/policy"
)

func (p *program) planCommand() *urfave.Command {
	return &urfave.Command{
		Name: "plan", Category: toCheck,
		Usage:     "say what a push of a commit would run",
		UsageText: "[--json] [COMMIT]",
		Description: "Says whether a push of the commit would start a run and why, the command, which parameters and " +
			"watched paths differ from the last run of its line, where results would go, and what export-ignore keeps " +
			"from the job. Nothing moves. COMMIT is HEAD unless it is given.\n\n" +
			"In a clone the last run is the one that the notes tell of, and the server's own settings are not known: what " +
			"depends on them is left out. The server itself answers `git push -o plan`.\n\n" +
			"With --json it prints the fields of show, and paths, overrides, changed, command, left_out and request.",
		Flags: []urfave.Flag{
			jsonFlag(),
			&urfave.StringFlag{Name: "account", Hidden: true, Usage: "the `ID` of an AWS account"},
		},
		Action: p.plan,
	}
}

// planned is what plan answers.
type planned struct {
	gitmodels.Listing
	Paths     []string `json:"paths"`     // watched paths that differ from the last run, or all when there is none
	Overrides []string `json:"overrides"` // the parameters
	Changed   []string `json:"changed"`   // what differs in them from the last run, in words
	Command   []string `json:"command"`   // as argv
	LeftOut   []string `json:"left_out"`  // paths that export-ignore keeps from the job
	Request   any      `json:"request"`   // of an engine that is asked for a job by one; null for the others

	made  *plan.Plan
	files []string // every path of the commit
	base  gitmodels.CommitID
}

func (p *program) plan(c *urfave.Context) error {
	got, s, err := p.asked(c, 0, 1, "")
	if err != nil {
		return err
	}
	if c.IsSet("account") {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Message: "refused: --account is for SageMaker, which is not in this version",
			Hint: "git models plan"}
	}
	ctx := c.Context
	revision := "HEAD"
	if len(got) > 0 {
		revision = got[0]
	}
	commit, err := s.repo.Peel(ctx, revision)
	if err != nil {
		return err
	}
	line, exists, err := planLine(ctx, s, revision, commit)
	if err != nil {
		return err
	}
	made, err := plan.Make(ctx, plan.Input{
		Commit: commit, Ref: line, Repository: s.repositoryName(), Policy: s.filesPolicy(), Files: s.repo,
		Dockerfile: dockerfile.Check,
	})
	var faults *plan.Faults
	if errors.As(err, &faults) {
		for _, f := range faults.All {
			p.printf("%s\n", gitmodels.Printable(f.String(), 0))
		}
		return errSilent
	}
	if err != nil {
		return err
	}
	if revision == "HEAD" {
		if err := p.sayUncommitted(ctx, s, commit, append([]string{pipeline.ModelsFile}, made.Files...)); err != nil {
			return err
		}
	}
	rows, err := p.list(ctx, s, s.path(), 0)
	if err != nil {
		return err
	}
	answer, err := planOf(ctx, s, rows, line, exists, commit, made)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return p.json(answer)
	}
	p.planText(answer)
	if s.server {
		if made.Missing != "" {
			p.say("a run would wait for %s", made.Missing)
		}
	} else {
		p.say("what depends on the server (its engine, stores and limits) is planned there:")
		p.hint("git push -o plan " + remoteName + " " + quote(sourceName(revision, commit)+":"+line.Short()))
	}
	return nil
}

// sourceName is a revision as the left side of a refspec.
func sourceName(revision string, commit gitmodels.CommitID) string {
	if revision == "HEAD" {
		return revision
	}
	return commit.Short(12)
}

// filesPolicy is the policy by which a commit's files are judged here: on the
// server its own, in a clone none, for whatever the clone is configured to
// allow, the server may not.
func (s *site) filesPolicy() *policy.Policy {
	if s.server {
		return s.policy
	}
	unknown, _ := policy.Parse(nil, policy.Hook)
	unknown.Abbrev = s.policy.Abbrev
	return unknown
}

// planLine is the line that a push of the commit would go to, and whether the
// server has it.
func planLine(ctx context.Context, s *site, revision string, commit gitmodels.CommitID) (gitmodels.RefName, bool, error) {
	branch := gitmodels.RefName(branchPrefix + revision)
	local, err := localBranch(ctx, s, branch)
	if err == nil && !local {
		branch, err = currentBranch(ctx, s)
	}
	if err != nil {
		return "", false, err
	}
	server, err := trackedHeads(ctx, s)
	if s.server {
		server, err = ownHeads(ctx, s)
	}
	if err != nil {
		return "", false, err
	}
	if s.server && !s.policy.Governed(branch) {
		holding, err := s.repo.RefsContaining(ctx, commit, strings.TrimSuffix(branchPrefix, "/"))
		if err != nil {
			return "", false, err
		}
		for _, ref := range holding {
			if s.policy.Governed(ref) {
				return ref, true, nil
			}
		}
	}
	line, err := server.line(s, branch)
	if err != nil {
		line = teamMainLine // of a detached HEAD the shared line is the best guess
		if !s.policy.Governed(line) {
			return "", false, err
		}
	}
	return line, server.tips[line] != "", nil
}

// ownHeads are the branches of the server's repository itself.
func ownHeads(ctx context.Context, s *site) (heads, error) {
	h := heads{tips: map[gitmodels.RefName]gitmodels.CommitID{}}
	refs, err := s.repo.Refs(ctx, strings.TrimSuffix(branchPrefix, "/"))
	if err != nil {
		return h, err
	}
	for _, r := range refs {
		h.tips[r.Name] = r.ID
	}
	h.main, _, err = s.repo.SymbolicTarget(ctx, "HEAD")
	return h, err
}

// planOf puts the answer together.
func planOf(ctx context.Context, s *site, rows []gitmodels.Listing, line gitmodels.RefName, exists bool,
	commit gitmodels.CommitID, made *plan.Plan) (*planned, error) {
	info, err := s.repo.Commit(ctx, commit)
	if err != nil {
		return nil, err
	}
	short := commit.Short(s.policy.Abbrev)
	a := &planned{made: made, Overrides: made.Overrides, Command: made.Command}
	own, last := lastRun(rows, line, commit)
	a.Listing = gitmodels.Listing{Commit: commit, Short: short, Repository: s.repositoryName(), Decision: gitmodels.DecisionRun}
	if own != nil {
		a.Listing = *own
	} else {
		a.Engine = gitmodels.Absent(made.Engine)
		a.Artifacts, a.Metrics = under(made.Artifacts, short), under(made.Metrics, short)
	}
	a.Listing.Refs = []gitmodels.RefName{line}
	a.Listing.Subject, a.Listing.Command, a.Listing.Overrides = gitmodels.Printable(info.Subject, 200), nil, nil
	for _, w := range made.Warnings {
		a.Warnings = append(a.Warnings, w.String())
	}
	reason := ""
	switch {
	case own != nil && own.State != nil:
		a.Decision = gitmodels.DecisionAttached
		reason = "it has a run, which is " + string(*own.State) + "; to run it again: git models rerun " + short
	case !exists:
		reason = "the push creates " + line.Short()
	case last == nil:
		reason = "no run of " + line.Short() + " is known to compare with"
	default:
		kind, err := s.repo.ObjectType(ctx, last.Commit)
		if err != nil {
			return nil, err
		}
		if kind != "commit" {
			reason = "the last run of " + line.Short() + ", " + last.Short + ", is not here to compare with"
			break
		}
		a.base = last.Commit
	}
	if err := a.compare(ctx, s, line); err != nil {
		return nil, err
	}
	if a.base != "" {
		skip, err := plan.Unwatched(ctx, s.repo, a.base, commit, made.Filter, s.policy.Abbrev)
		switch {
		case err != nil:
			return nil, err
		case skip != "":
			a.Decision, reason = gitmodels.DecisionSkipped, skip+"; to run it anyway: push with -o again"
		default:
			reason = "watched paths changed since " + last.Short
		}
	}
	a.Reason = &reason
	a.LeftOut, err = unexported(ctx, s.repo, commit, a.files)
	return a, err
}

// lastRun finds the commit's own row and the run that a path filter compares
// with: the last one of the line that succeeded or is under way. rows are the
// newest first.
func lastRun(rows []gitmodels.Listing, line gitmodels.RefName, commit gitmodels.CommitID) (own, last *gitmodels.Listing) {
	for i := range rows {
		row := &rows[i]
		if row.Commit == commit {
			own = row
			continue
		}
		counts := row.State != nil && (*row.State == gitmodels.Succeeded || !row.State.Terminal())
		for _, ref := range row.Refs {
			if last == nil && counts && ref == line {
				last = row
			}
		}
	}
	return own, last
}

// compare fills in what differs from the base, or everything when there is none.
func (a *planned) compare(ctx context.Context, s *site, line gitmodels.RefName) error {
	files, err := s.repo.ChangedPaths(ctx, "", a.Commit)
	if err != nil {
		return err
	}
	a.files = files
	changed := files
	if a.base != "" {
		if changed, err = s.repo.ChangedPaths(ctx, a.base, a.Commit); err != nil {
			return err
		}
	}
	a.Paths, a.Changed = []string{}, []string{}
	for _, one := range changed {
		_, watched, err := a.made.Filter.Match(ctx, []string{one})
		if err != nil {
			return err
		}
		if watched {
			a.Paths = append(a.Paths, one)
		}
	}
	if a.Overrides == nil {
		a.Overrides = []string{}
	}
	if a.base == "" {
		return nil
	}
	before, err := plan.Make(ctx, plan.Input{Commit: a.base, Ref: line, Repository: s.repositoryName(), Policy: s.filesPolicy(), Files: s.repo})
	var faults *plan.Faults
	if errors.As(err, &faults) {
		return nil // it has no parameters to compare with
	}
	if err != nil {
		return err
	}
	for _, change := range gitmodels.ParamChanges(before.Overrides, a.Overrides) {
		a.Changed = append(a.Changed, change.String())
	}
	return nil
}

// under is a place for results of one run; nil when the prefix is not known.
func under(prefix, name string) *string {
	if prefix == "" {
		return nil
	}
	uri := prefix + "/" + name
	return &uri
}

// maxAttributes bounds how many .gitattributes are looked into.
const maxAttributes = 1000

// unexported lists the paths of a commit that its job does not get. Only git can
// tell, so the commit is exported as the runner does it; but not when no
// attribute asks for it.
func unexported(ctx context.Context, repo *gitrepo.Repo, commit gitmodels.CommitID, files []string) (left []string, err error) {
	left = []string{}
	var attributes []string
	for _, f := range files {
		if path.Base(f) == ".gitattributes" && len(attributes) < maxAttributes {
			attributes = append(attributes, f)
		}
	}
	if len(attributes) == 0 {
		return left, nil
	}
	contents, err := repo.Files(ctx, commit, attributes)
	if err != nil {
		return nil, err
	}
	asked := false
	for _, f := range contents {
		asked = asked || f.Kind != gitmodels.KindFile || bytes.Contains(f.Data, []byte("export-ignore"))
	}
	if !asked {
		return left, nil
	}
	dir, err := os.MkdirTemp("", "git-models-plan-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	tree := filepath.Join(dir, "tree")
	if _, err := repo.Export(ctx, commit, tree); err != nil {
		return nil, err
	}
	for _, f := range files {
		switch _, err := os.Lstat(filepath.Join(tree, f)); {
		case errors.Is(err, fs.ErrNotExist):
			left = append(left, f)
		case err != nil:
			return nil, err
		}
	}
	return left, nil
}

// planText is the answer for people.
func (p *program) planText(a *planned) {
	state := gitmodels.State("")
	if a.Decision == gitmodels.DecisionRun {
		state = gitmodels.Succeeded
	}
	p.printf("%s on %s: %s\n\n", p.bold(shown(a.Short)), shown(a.Refs[0].Short()), p.paint(string(a.Decision), state))
	p.field("subject", clip(shown(a.Listing.Subject), p.columns-fieldWidth))
	p.prose("reason", text(a.Reason))
	p.field("command", commandText(a.Command))
	p.field("evaluate", commandText(a.made.Evaluate))
	p.several("changed", a.Changed)
	p.several("paths", a.Paths)
	p.field("engine", text(a.Engine))
	p.field("time limit", fmt.Sprint(a.made.MaxRuntime))
	if i := a.made.Image; i != nil {
		p.prose("image", shown(i.Name)+", from "+shown(i.Dockerfile)+" with "+shown(i.Context))
	}
	p.field("artifacts", text(a.Artifacts))
	p.field("metrics", text(a.Metrics))
	p.prose("read", shown(strings.Join(a.made.Files, ", ")))
	p.several("left out", a.LeftOut)
	for _, w := range a.Warnings {
		p.prose("warning", shown(w))
	}
}

// maxSeveral is how many of a field's values people get to see.
const maxSeveral = 12

// several is a field with a value a line.
func (p *program) several(name string, values []string) {
	for i, v := range values {
		if i == maxSeveral {
			p.field("", fmt.Sprintf("and %d more", len(values)-i))
			return
		}
		p.field(name, shown(v))
		name = ""
	}
}
