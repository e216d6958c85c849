package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
	"github.com/git-models/git-models/pkg/hydra"
	"github.com/git-models/git-models/pkg/pipeline/dockerfile"
	"github.com/git-models/git-models/pkg/pipeline/document"
	"github.com/git-models/git-models/pkg/plan"
)

func (p *program) checkCommands() []*urfave.Command {
	return []*urfave.Command{
		p.planCommand(),
		{
			Name: "lint", Category: toCheck,
			Usage:     "say what a push of a commit would be told about its files",
			UsageText: "[COMMIT]",
			Description: "Judges .models.yaml and the files it names as the server does at the push: every fault on a " +
				"line of its own, as file:line:column, and exit status 1. Without a fault it prints the command that " +
				"would run. COMMIT is HEAD unless it is given; files that are not committed do not count.\n\n" +
				"In a clone the server's own settings are not known, so what depends on its engine is judged there.",
			Action: p.lint,
		},
		{
			Name: "overrides", Category: toCheck,
			Usage:     "print the parameters of a YAML file as Hydra overrides",
			UsageText: "[--json] FILE",
			Description: "Prints what a run gets on its command line for the parameters in FILE, one override a line. " +
				"FILE is a file of this folder, or - for the standard input.",
			Flags:  []urfave.Flag{jsonFlag()},
			Action: p.overrides,
		},
	}
}

func (p *program) lint(c *urfave.Context) error {
	got, s, err := p.asked(c, 0, 1, "")
	if err != nil {
		return err
	}
	revision := "HEAD"
	if len(got) > 0 {
		revision = got[0]
	}
	commit, err := s.repo.Peel(c.Context, revision)
	if err != nil {
		return err
	}
	made, err := plan.Make(c.Context, plan.Input{
		Commit: commit, Ref: "refs/heads/models", Repository: s.repositoryName(), Policy: s.policy, Files: s.repo,
		Dockerfile: dockerfile.Check,
	})
	files := []string{".models.yaml"}
	if made != nil {
		files = append(files, made.Files...)
	}
	if revision == "HEAD" {
		if err := p.sayUncommitted(c.Context, s, commit, files); err != nil {
			return err
		}
	}
	if !s.server {
		p.say("what depends on the server (its engine and limits) is judged at the push")
	}
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
	warnings := made.Warnings
	if s.policy.Tags != "none" {
		versions, err := plan.VersionWarnings(c.Context, s.repo, commit)
		if err != nil {
			return err
		}
		warnings = append(warnings, versions...)
	}
	for _, w := range warnings {
		p.say("warning: %s", w)
	}
	if made.Missing != "" && s.server {
		p.say("a run would wait for %s", made.Missing)
	}
	p.printf("ok: %s (%s)\n", commandText(made.Command), count(len(made.Overrides), "override"))
	return nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// sayUncommitted names files that differ from the commit: whoever mends a fault
// and lints again wants to know why it is still there.
func (p *program) sayUncommitted(ctx context.Context, s *site, commit gitmodels.CommitID, paths []string) error {
	if s.worktree == "" {
		return nil
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	committed, err := s.repo.Files(ctx, commit, paths)
	if err != nil {
		return err
	}
	for _, path := range paths {
		data, err := os.ReadFile(filepath.Join(s.worktree, filepath.FromSlash(path)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		there := committed[path].Kind == gitmodels.KindFile
		if (err == nil) != there || there && !bytes.Equal(data, committed[path].Data) {
			p.say("%s in this folder is not what is committed; the commit is judged", path)
		}
	}
	return nil
}

// overrides prints what hydra makes of a file.
func (p *program) overrides(c *urfave.Context) error {
	got, err := words(c, 1, 1, "the file")
	if err != nil {
		return err
	}
	name := got[0]
	var in io.Reader = p.edges.Stdin
	if name != "-" {
		f, err := os.Open(p.absolute(name))
		if err != nil {
			return &gitmodels.Error{Message: "cannot read " + shown(name), Err: errors.Unwrap(err)}
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, gitmodels.MaxPipelineFile+1))
	if err != nil {
		return &gitmodels.Error{Message: "cannot read " + shown(name), Err: err}
	}
	if len(data) > gitmodels.MaxPipelineFile {
		return &gitmodels.Error{Kind: gitmodels.Invalid,
			Message: fmt.Sprintf("%s is larger than %d bytes", shown(name), gitmodels.MaxPipelineFile)}
	}
	overrides, err := hydra.Overrides(data)
	var faults *document.Faults
	if errors.As(err, &faults) {
		for _, f := range faults.All {
			f.File = strings.TrimPrefix(name, "./")
			p.printf("%s\n", gitmodels.Printable(f.String(), 0))
		}
		return errSilent
	}
	if err != nil {
		return err
	}
	texts := make([]string, len(overrides))
	for i, o := range overrides {
		texts[i] = o.Text
	}
	if c.Bool("json") {
		return p.json(texts)
	}
	for _, t := range texts {
		p.printf("%s\n", t)
	}
	return nil
}

var _ plan.Files = (*gitrepo.Repo)(nil)
