package cli

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/policy"
)

// homeConfig is the file of protected policy in a state directory.
func homeConfig(home string) string { return filepath.Join(home, "config") }

// setting is one key of `config --json`.
type setting struct {
	Key    string  `json:"key"`
	Value  *string `json:"value"`
	Origin string  `json:"origin"`
	Note   *string `json:"note"`
}

func (p *program) configCommand() *urfave.Command {
	return &urfave.Command{
		Name: "config", Category: toServe,
		Usage:     "show the settings in effect and where each comes from",
		UsageText: "[--json] [REPO]",
		Description: "Lists every setting as it is in effect for a repository: its value, and the file and scope " +
			"it comes from. Settings that widen what a push may do count only where pushers cannot write: in git's " +
			"system and global configuration, and in the file config of the state directory. In the repository's own " +
			"file they can only narrow; what is ignored for that reason, or misspelled, is named.",
		Flags:  []urfave.Flag{jsonFlag()},
		Action: p.config,
	}
}

func (p *program) config(c *urfave.Context) error {
	got, err := words(c, 0, 1, "")
	if err != nil {
		return err
	}
	s, err := p.siteOf(c.Context, got)
	if err != nil {
		return err
	}
	if s.repo == nil {
		return p.needRepository("config")
	}
	entries, err := s.repo.Config(c.Context, homeConfig(s.home))
	if err != nil {
		return err
	}
	if !s.server {
		p.say("these are the settings of this clone; the server has its own")
	}
	pol, problems := policy.Parse(entries, policy.Runner.At(s.home))
	settings := pol.Settings()
	hooks, _ := policy.Parse(entries, policy.Hook.At(s.home))
	for _, h := range hooks.Settings() {
		i := slices.IndexFunc(settings, func(s policy.Setting) bool { return s.Key == h.Key })
		if h.Hooks && i >= 0 {
			settings[i] = h
		}
	}
	if err := p.printSettings(settings, c.Bool("json")); err != nil {
		return err
	}
	for _, problem := range problems {
		p.say("warning: %s", problem)
	}
	return nil
}

// siteOf is the site that the first of args names, or the one around.
func (p *program) siteOf(ctx context.Context, args []string) (*site, error) {
	if len(args) == 0 {
		return p.site(ctx)
	}
	return p.siteAt(ctx, args[0])
}

func (p *program) printSettings(settings []policy.Setting, asJSON bool) error {
	if asJSON {
		list := make([]setting, len(settings))
		for i, s := range settings {
			list[i] = setting{Key: s.Key, Value: gitmodels.Absent(s.Value), Origin: s.Origin, Note: gitmodels.Absent(s.Note)}
		}
		return p.json(list)
	}
	tb := table{head: []string{"KEY", "VALUE", "FROM"}, flex: 2}
	var notes []string
	for _, s := range settings {
		value, from := shown(s.Value), gitmodels.Printable(p.shortOrigin(s.Origin), 0)
		if value == "" {
			value = "-"
		}
		if s.Note != "" {
			notes = append(notes, shown(s.Key)+": "+gitmodels.Printable(s.Note, 0))
		}
		tb.rows = append(tb.rows, []cell{plain(shown(s.Key)), plain(clip(value, p.columns/2-4)), plain(from)})
	}
	p.table(tb)
	if len(notes) > 0 {
		p.printf("\n%s\n", strings.Join(notes, "\n"))
	}
	return nil
}

// shortOrigin tells the files of a setting as people do: without git's file:,
// and with ~ for the home directory.
func (p *program) shortOrigin(origin string) string {
	if home := p.getenv("HOME"); filepath.IsAbs(home) {
		origin = strings.ReplaceAll(origin, "file:"+filepath.Clean(home)+"/", "~/")
	}
	return strings.ReplaceAll(origin, "file:", "")
}
