package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/publish"
)

func (p *program) branchCommands() []*urfave.Command {
	return []*urfave.Command{
		{
			Name: "branch", Category: toAct,
			Usage:     "begin a branch at a trained commit",
			UsageText: "NAME SHA",
			Description: "Makes the branch NAME at a commit that was trained, and says how to go on from there and how to " +
				"push it in this repository's layout. It neither checks anything out nor pushes. Works in a clone that has " +
				"the commit.",
			Action: p.branch,
		},
		{
			Name: "restore", Category: toAct,
			Usage:     "bring a commit's files back, on top of the line",
			UsageText: "SHA",
			Description: "Makes the files of this work tree what they were in that commit, as a change that is staged on " +
				"the branch you are on: files that it did not have are deleted. The history stays as it is, for a trained " +
				"line is never rewound. It says how to commit, push, and undo it.\n\n" +
				"Refused while the work tree has changes that are not committed, or a file that git does not know lies " +
				"where one would be brought back.",
			Action: p.restore,
		},
	}
}

func (p *program) branch(c *urfave.Context) error {
	got, err := words(c, 2, 2, "NAME or SHA")
	if err != nil {
		return err
	}
	s, err := p.clone(c.Context, "branch")
	if err != nil {
		return err
	}
	name := got[0]
	if err := branchName(s, name, got[1]); err != nil {
		return err
	}
	ref := gitmodels.RefName(branchPrefix + name)
	if there, err := localBranch(c.Context, s, ref); err != nil {
		return err
	} else if there {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Message: "refused: there is a branch " + shown(name) + " already",
			Hint: "git switch " + quote(name)}
	}
	commit, err := p.commitInClone(c.Context, s, got[1])
	if err != nil {
		return err
	}
	server, err := trackedHeads(c.Context, s)
	if err != nil {
		return err
	}
	line, err := server.line(s, ref)
	if err != nil {
		return err
	}
	if err := p.gitRun(c.Context, "branch", "--no-track", "--", name, string(commit)); err != nil {
		return err
	}
	short := commit.Short(s.policy.Abbrev)
	result, err := noteHeadline(c.Context, s, commit)
	if err != nil {
		return err
	}
	p.printf("%s is at %s  %s\n", shown(name), short, result)
	p.say("to go on from there, and to push what you commit:")
	p.hint("git switch " + quote(name))
	push, err := pushHint(c.Context, s, server, name, line, commit)
	if err != nil {
		return err
	}
	p.hint(push)
	return nil
}

// branchName refuses a name that is no branch to work on.
func branchName(s *site, name, sha string) error {
	ref, err := gitmodels.ParseRefName(branchPrefix + name)
	odd := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && !strings.ContainsRune("._-+@=,%#/", r)
	}
	refuse := func(message, better string) error {
		e := &gitmodels.Error{Kind: gitmodels.Invalid, Message: "refused: " + message}
		if better != "" {
			e.Hint = "git models branch " + quote(better) + " " + quote(sha)
		}
		return e
	}
	switch {
	case err != nil:
		return refuse(err.Error(), "")
	case name == "HEAD", strings.HasPrefix(name, "refs/"):
		return refuse("a branch called "+shown(name)+" is easily misread", "")
	case strings.HasPrefix(name, "-"), strings.Contains(name, "/-"), strings.ContainsFunc(name, odd):
		clean := strings.Map(func(r rune) rune {
			if odd(r) {
				return '-'
			}
			return r
		}, name)
		return refuse("the name "+shown(name)+" is easily misread: letters, digits and . _ - + @ = , % # / are allowed, no part begins with -",
			strings.TrimLeft(strings.ReplaceAll(clean, "/-", "/"), "-/"))
	case s.policy.Own(ref):
		return refuse("branches such as "+shown(name)+" are written by the runner", "from-"+filepath.Base(name))
	case s.policy.Governed(ref):
		better := filepath.Base(name)
		if better == name {
			better = "from-" + name
		}
		return refuse(shown(name)+" is a trained line: make a branch to work on, and push it there", better)
	}
	return nil
}

// noteHeadline says in a few words how the run of a commit ended, as far as its
// note tells.
func noteHeadline(ctx context.Context, s *site, commit gitmodels.CommitID) (string, error) {
	text, ok, err := s.repo.ReadNote(ctx, s.policy.NotesRef, commit)
	if err != nil {
		return "", err
	}
	if parsed, ours := publish.ParseNote(text, commit); ok && ours {
		row := parsed.Listing(s.repositoryName())
		word, _ := stateOf(row)
		return strings.TrimRight(word+"  "+resultOf(row, ""), " "), nil
	}
	return "(no note tells of a run of it)", nil
}

// pushHint is what brings source, which is now at commit, to a line: where the
// line has gone on since, its work is taken in first without its files, for a
// line is never rewound.
func pushHint(ctx context.Context, s *site, server heads, source string, line gitmodels.RefName, commit gitmodels.CommitID) (string, error) {
	push := pushCommand(source, line)
	tip := server.tips[line]
	if tip == "" {
		return push, nil
	}
	forward, err := s.repo.IsAncestor(ctx, tip, commit)
	if err != nil || forward {
		return push, err
	}
	return "git fetch " + remoteName + " && git merge -s ours " + quote(remoteName+"/"+line.Short()) + " && " + push, nil
}

func (p *program) restore(c *urfave.Context) error {
	got, err := words(c, 1, 1, "the commit")
	if err != nil {
		return err
	}
	ctx := c.Context
	s, err := p.clone(ctx, "restore")
	if err != nil {
		return err
	}
	if s.worktree == "" {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Message: "refused: this is not in the work tree of a clone"}
	}
	commit, err := p.commitInClone(ctx, s, got[0])
	if err != nil {
		return err
	}
	head, err := s.repo.Peel(ctx, "HEAD")
	if err != nil {
		return err
	}
	if err := p.needClean(ctx); err != nil {
		return err
	}
	short := commit.Short(s.policy.Abbrev)
	changed, err := s.repo.ChangedPaths(ctx, head, commit)
	if err != nil {
		return err
	}
	if len(changed) == 0 {
		p.say("the files of %s are those of HEAD already", short)
		p.hint("git models rerun " + short)
		return nil
	}
	if err := p.nothingInTheWay(ctx, s, head, commit); err != nil {
		return err
	}
	branch, err := currentBranch(ctx, s)
	if err != nil {
		return err
	}
	push, err := restoredPush(ctx, s, branch, head)
	if err != nil {
		return err
	}
	if err := p.gitRun(ctx, "restore", "--source="+string(commit), "--staged", "--worktree", "--", ":/"); err != nil {
		return err
	}
	on := "the detached HEAD"
	if branch != "" {
		on = shown(branch.Short())
	}
	p.printf("staged on %s: %s as in %s\n", on, count(len(changed), "file"), short)
	p.say("to make it a commit on top, and to train it:")
	p.hint("git commit -m 'Restore " + short + "'")
	p.hint(push)
	p.say("to undo it:")
	p.hint("git restore --source=HEAD --staged --worktree :/")
	return nil
}

// restoredPush is the push of what is committed next on branch, above head.
func restoredPush(ctx context.Context, s *site, branch gitmodels.RefName, head gitmodels.CommitID) (string, error) {
	server, err := trackedHeads(ctx, s)
	if err != nil {
		return "", err
	}
	line, err := server.line(s, branch)
	if err != nil {
		return "git models push HEAD:models/NAME", nil // no line follows from where HEAD is
	}
	return pushHint(ctx, s, server, "HEAD", line, head)
}

// needClean refuses to touch files while any holds what no commit has.
func (p *program) needClean(ctx context.Context) error {
	out, err := p.gitSays(ctx, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=no")
	if err != nil || out == "" {
		return err
	}
	var names []string
	for entry := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		if len(entry) > 3 {
			names = append(names, entry[3:])
		}
	}
	return &gitmodels.Error{Kind: gitmodels.Invalid,
		Message: "refused: not committed yet: " + someOf(names) + "; nothing was touched", Hint: "git stash"}
}

// someOf names the first few of many.
func someOf(names []string) string {
	const most = 5
	words := make([]string, 0, most)
	for _, n := range names[:min(len(names), most)] {
		words = append(words, gitmodels.Printable(n, 80))
	}
	text := strings.Join(words, ", ")
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return text
}

// nothingInTheWay refuses when a file that git does not know lies where one of
// the commit's would come: git restore would overwrite it.
func (p *program) nothingInTheWay(ctx context.Context, s *site, head, commit gitmodels.CommitID) error {
	list := func(filter string) ([]string, error) {
		out, err := p.gitSays(ctx, "diff-tree", "-r", "-z", "--name-only", "--no-renames", "--diff-filter="+filter, string(head), string(commit))
		return slices.DeleteFunc(strings.Split(out, "\x00"), func(s string) bool { return s == "" }), err
	}
	added, err := list("A")
	if err != nil {
		return err
	}
	deleted, err := list("D")
	if err != nil {
		return err
	}
	going := map[string]bool{}
	for _, path := range deleted {
		going[path] = true
	}
	var inTheWay []string
	for _, path := range added {
		found, err := stranger(s.worktree, path, going)
		if err != nil {
			return err
		}
		if found != "" && !slices.Contains(inTheWay, found) {
			inTheWay = append(inTheWay, found)
		}
	}
	if len(inTheWay) == 0 {
		return nil
	}
	return &gitmodels.Error{Kind: gitmodels.Invalid,
		Message: "refused: git does not know what lies where a file would be brought back: " + someOf(inTheWay) + "; nothing was touched",
		Hint:    "mv " + quote(inTheWay[0]) + " " + quote(inTheWay[0]+".mine")}
}

// stranger is what lies at path, or on its way, and is not among the files that
// go; empty when nothing does.
func stranger(worktree, path string, going map[string]bool) (string, error) {
	parts := strings.Split(path, "/")
	for i := range parts {
		at := strings.Join(parts[:i+1], "/")
		info, err := os.Lstat(filepath.Join(worktree, at))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", nil
		case err != nil:
			return "", err
		case info.IsDir() && i < len(parts)-1:
			continue
		case info.IsDir():
			return strangerBelow(worktree, at, going)
		case !going[at]:
			return at, nil
		default:
			return "", nil // a file that goes
		}
	}
	return "", nil
}

// strangerBelow is the first file below a folder that is not among those that go.
func strangerBelow(worktree, folder string, going map[string]bool) (found string, err error) {
	err = filepath.WalkDir(filepath.Join(worktree, folder), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(worktree, path)
		if err == nil && !going[rel] {
			found = rel
			err = fs.SkipAll
		}
		return err
	})
	return found, err
}
