package cli

import (
	"context"
	"errors"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gate"
	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/hook"
	"github.com/git-models/git-models/pkg/pipeline/dockerfile"
	"github.com/git-models/git-models/pkg/plan"
)

func (p *program) pushCommand() *urfave.Command {
	return &urfave.Command{
		Name: "push", Category: toAct,
		Usage:     "push a commit to train it, judged before it leaves",
		UsageText: "[-o WORD]… [--dry-run] [REF]",
		Description: "Asks the server how its lines stand, fetches what is missing, judges the push by the server's own " +
			"rules, checks the commit's files as lint does, and pushes. What would be refused is refused here, with the " +
			"same words and commands, also where git itself would only say \"non-fast-forward\" or \"fetch first\".\n\n" +
			"Without REF it pushes HEAD to the line of its branch: models, or where the server uses team branches " +
			"models/BRANCH, and models/main from the default branch. REF is a line (models/fast), a branch (topic), or both " +
			"(topic:models/fast). It never forces.\n\n" +
			"WORD is a push option: plan, skip, follow, priority=N, each, again, or one of your host's. With -o plan nothing " +
			"moves, so git reports a refusal.",
		Flags: []urfave.Flag{
			&urfave.StringSliceFlag{Name: "push-option", Aliases: []string{"o"}, Usage: "a `WORD` for the server, as of git push -o; may be repeated"},
			&urfave.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "judge and say what would be pushed, and push nothing"},
		},
		Action: p.push,
	}
}

// outgoing is what a push brings where.
type outgoing struct {
	source string // the left side of a refspec
	commit gitmodels.CommitID
	line   gitmodels.RefName
}

func (p *program) push(c *urfave.Context) error {
	got, err := words(c, 0, 1, "")
	if err != nil {
		return err
	}
	s, err := p.clone(c.Context, "push")
	if err != nil {
		return err
	}
	if err := needOrigin(s); err != nil {
		return err
	}
	word := ""
	if len(got) > 0 {
		word = got[0]
	}
	server, err := p.askHeads(c.Context, s)
	if err != nil {
		return err
	}
	out, err := p.outgoing(c.Context, s, server, word)
	if err != nil {
		return err
	}
	old := server.tips[out.line]
	if old == out.commit {
		p.say("%s is %s already: nothing to push", shown(out.line.Short()), out.commit.Short(s.policy.Abbrev))
		p.hint("git models rerun " + out.commit.Short(s.policy.Abbrev))
		return nil
	}
	if err := p.fetchTip(c.Context, s, out.line, old); err != nil {
		return err
	}
	update := gitmodels.Update{Old: old, New: out.commit, Ref: out.line}
	if update.Old == "" {
		update.Old = gitmodels.CommitID(strings.Repeat("0", s.repo.IDLength()))
	}
	options := c.StringSlice("push-option")
	if err := p.judge(c.Context, s, server, update, options); err != nil {
		return err
	}
	if err := p.checkFiles(c.Context, s, out); err != nil {
		return err
	}
	args := []string{"push"}
	for _, o := range options {
		args = append(args, "-o", o)
	}
	args = append(args, remoteName, out.source+":"+string(out.line))
	if c.Bool("dry-run") {
		p.printf("would run: git %s\n", commandText(args))
		return nil
	}
	p.say("git %s", commandText(args))
	return p.gitRun(c.Context, args...)
}

// clone is the site of a command that works in a clone alone.
func (p *program) clone(ctx context.Context, command string) (*site, error) {
	s, err := p.site(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case s.repo == nil:
		e := p.needRepository(command).(*gitmodels.Error)
		e.Hint = "git models --repo /path/to/clone " + command
		return nil, e
	case s.server:
		return nil, &gitmodels.Error{Kind: gitmodels.Invalid,
			Message: "refused: pushes are received here; " + command + " works in a clone", Hint: "git clone " + quote(s.path())}
	}
	return s, nil
}

// outgoing makes out what a push of word brings where.
func (p *program) outgoing(ctx context.Context, s *site, server heads, word string) (out outgoing, err error) {
	if source, line, ok := strings.Cut(word, ":"); ok {
		return p.outgoingPair(ctx, s, source, line)
	}
	named := gitmodels.RefName(word)
	if !strings.HasPrefix(word, "refs/") {
		named = gitmodels.RefName(branchPrefix + word)
	}
	local, err := localBranch(ctx, s, named)
	switch {
	case err != nil:
		return out, err
	case word == "":
		out.source = "HEAD"
		named, err = currentBranch(ctx, s)
	case local:
		out.source = string(named)
	case s.policy.Governed(named):
		out.source = "HEAD"
	default:
		named = "" // a revision, which is on no branch
	}
	if err != nil {
		return out, err
	}
	revision := out.source
	if revision == "" {
		revision = word
	}
	if out.commit, err = s.repo.Peel(ctx, revision); err != nil {
		return out, err
	}
	if out.source == "" {
		out.source = string(out.commit)
	}
	out.line, err = server.line(s, named)
	return out, err
}

// outgoingPair is SOURCE:LINE.
func (p *program) outgoingPair(ctx context.Context, s *site, source, line string) (out outgoing, err error) {
	switch {
	case strings.HasPrefix(source, "+"):
		return out, &gitmodels.Error{Kind: gitmodels.Invalid, Message: "refused: a trained line is never forced",
			Hint: "git models push " + quote(source[1:]+":"+line)}
	case source == "":
		return out, &gitmodels.Error{Kind: gitmodels.Invalid,
			Message: "refused: a trained line is never deleted: it is the record of what ran"}
	}
	if !strings.HasPrefix(line, "refs/") {
		line = branchPrefix + line
	}
	if out.line, err = gitmodels.ParseRefName(line); err != nil {
		return out, &gitmodels.Error{Kind: gitmodels.Invalid, Message: err.Error()}
	}
	if !s.policy.Governed(out.line) {
		return out, &gitmodels.Error{Kind: gitmodels.Invalid,
			Message: shown(out.line.Short()) + " is no trained line: a push there trains nothing",
			Hint:    "git push " + remoteName + " " + quote(source+":"+string(out.line))}
	}
	out.source = source
	branch := gitmodels.RefName(branchPrefix + source)
	if source != "HEAD" {
		local, err := localBranch(ctx, s, branch)
		if err != nil {
			return out, err
		}
		if local {
			out.source = string(branch)
		}
	}
	if out.commit, err = s.repo.Peel(ctx, out.source); err != nil {
		return out, err
	}
	if out.source == source && source != "HEAD" {
		out.source = string(out.commit)
	}
	return out, nil
}

// localBranch reports whether the clone has a branch of that full name.
func localBranch(ctx context.Context, s *site, name gitmodels.RefName) (bool, error) {
	if _, err := gitmodels.ParseRefName(string(name)); err != nil || !strings.HasPrefix(string(name), branchPrefix) {
		return false, nil // a revision such as HEAD~2
	}
	tip, err := s.repo.Tip(ctx, name)
	return tip != "", err
}

// fetchTip gets what the server's line holds, when the clone lacks it.
func (p *program) fetchTip(ctx context.Context, s *site, line gitmodels.RefName, tip gitmodels.CommitID) error {
	if tip == "" {
		return nil
	}
	kind, err := s.repo.ObjectType(ctx, tip)
	if err != nil || kind != "" {
		return err
	}
	fetchErr := p.gitRun(ctx, "fetch", "--quiet", remoteName, string(line))
	// A tracking ref in the way of another layout's fails the fetch, after the
	// objects have come.
	kind, err = s.repo.ObjectType(ctx, tip)
	switch {
	case err != nil:
		return err
	case kind != "":
		return nil
	case fetchErr != nil:
		return fetchErr
	}
	return &gitmodels.Error{Message: shown(line.Short()) + " moved on the server in the meantime", Hint: "git models push"}
}

// judge asks the server's gate, and says its refusals.
func (p *program) judge(ctx context.Context, s *site, server heads, update gitmodels.Update, options []string) error {
	session := s.repo.Session(ctx)
	defer session.Close()
	history := hook.NewHistory(session)
	verdict, err := gate.Judge(ctx, gate.Push{Updates: []gitmodels.Update{update}, Options: options},
		hook.Rules(s.policy), cloneHistory{history, server})
	if err != nil || len(verdict.Refusals) == 0 {
		return err
	}
	for _, r := range verdict.Refusals {
		p.say("refused %s: %s", shown(r.What), r.Why)
		for _, more := range r.More {
			p.say("%s", more)
		}
		for _, h := range r.Hints {
			if h.For != "" {
				p.say("%s", h.For)
			}
			p.hint(h.Command)
		}
		if r.Server != "" {
			p.say("on the server: %s", r.Server)
		}
	}
	p.say("nothing moved: the push was not made")
	return errSilent
}

// checkFiles is lint on the way to a push. What depends on the server is judged
// there, so that nothing is refused here that it would take.
func (p *program) checkFiles(ctx context.Context, s *site, out outgoing) error {
	if s.policy.Validate == "off" {
		return nil
	}
	made, err := plan.Make(ctx, plan.Input{
		Commit: out.commit, Ref: out.line, Repository: s.repositoryName(), Policy: s.filesPolicy(), Files: s.repo,
		Dockerfile: dockerfile.Check,
	})
	var faults *plan.Faults
	switch {
	case errors.As(err, &faults):
		word := "refused"
		if s.policy.Validate == "warn" {
			word = "warning:"
		}
		for _, f := range faults.All {
			p.say("%s %s: %s", word, shown(string(out.line)), f)
		}
		if word != "refused" {
			return nil
		}
		p.say("nothing moved: mend it, commit and push again")
		return errSilent
	case err != nil:
		return err
	}
	for _, w := range made.Warnings {
		p.say("warning: %s", w)
	}
	if out.source == "HEAD" {
		return p.sayUncommitted(ctx, s, out.commit, append([]string{".models.yaml"}, made.Files...))
	}
	return nil
}
