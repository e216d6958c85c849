package cli

import (
	"context"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/runner"
	"github.com/git-models/git-models/pkg/wire"
)

func (p *program) actCommands() []*urfave.Command {
	return append([]*urfave.Command{
		p.pushCommand(),
		{
			Name: "cancel", Category: toAct,
			Usage:     "ask a run to end",
			UsageText: "SHA",
			Description: "Asks a run that is queued or under way to end. Its engine is asked politely first; the run " +
				"is cancelled once the engine confirms, and its note says by whom. A run that has ended is left as it " +
				"is.\n\n" + byPush("cancel"),
			Action: func(c *urfave.Context) error {
				return p.act(c, gitmodels.ControlCancel, wire.Cancel, (*runner.Service).Cancel)
			},
		},
		{
			Name: "rerun", Category: toAct,
			Usage:     "run a commit again",
			UsageText: "SHA",
			Description: "Queues another attempt of a run that has ended, or the first of a commit that was skipped. " +
				"The attempt gets a name of its own: 5a32b0f-r2 after 5a32b0f.\n\n" + byPush("rerun"),
			Action: func(c *urfave.Context) error {
				return p.act(c, gitmodels.ControlRerun, wire.Rerun, (*runner.Service).Rerun)
			},
		},
	}, append(p.branchCommands(), p.downloadCommand())...)
}

// byPush says how a clone asks for word.
func byPush(word string) string {
	return "On the server it asks the runner. In a clone it is `git push origin <commit>:refs/run/" + word + "`, by your own " +
		"right to push, and prints what the server answers."
}

// act asks for something to be done to the run of one commit: in a clone the
// server, there the runner, or, when none answers, the ledger on behalf of its
// owner.
func (p *program) act(c *urfave.Context, control gitmodels.Control, op wire.Op,
	direct func(svc *runner.Service, ctx context.Context, repository, commit, by string) (gitmodels.Listing, error)) error {
	got, s, err := p.asked(c, 1, 1, "the commit")
	if err != nil {
		return err
	}
	switch {
	case !s.server:
		commit, err := p.commitInClone(c.Context, s, got[0])
		if err != nil {
			return err
		}
		return p.control(c.Context, s, control, commit)
	}
	var row gitmodels.Listing
	alone := false
	err = s.named(c.Context, got[0], func(commit string) error {
		rows, err := askRunner(c.Context, s.home, wire.Request{Op: op, Repository: s.path(), Commit: commit})
		switch {
		case err == nil:
			row = rows[0]
			return nil
		case !wire.IsNoRunner(err):
			return err
		case !owns(s.home):
			return notOurs(s.home)
		}
		alone = true
		return p.withService(c.Context, s.home, func(svc *runner.Service) (err error) {
			row, err = direct(svc, c.Context, s.path(), commit, caller())
			return err
		})
	})
	if err != nil {
		return err
	}
	name := shown(row.Short)
	if row.Name != "" {
		name = shown(row.Name)
	}
	word, state := stateOf(row)
	p.printf("%s %s\n", name, p.paint(word, state))
	if alone {
		p.sayAlone()
	}
	return nil
}
