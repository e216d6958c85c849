package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/install"
	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/ledger"
	"github.com/git-models/git-models/pkg/policy"
	"github.com/git-models/git-models/pkg/spool"
	"github.com/git-models/git-models/pkg/wire"
)

const (
	// manyTags is from how many tags of ours on a push begins to feel them: git
	// tells every pushing client of each.
	manyTags = 500
	// pingTime is how long a runner may take to answer.
	pingTime = time.Second
)

// Levels of a finding.
const (
	fine    = "ok"
	warning = "warning" // it works, but costs something or may surprise
	problem = "problem" // pushes fail, or runs wait
)

// finding is one thing that was looked at.
type finding struct {
	Level string `json:"level"`
	What  string `json:"what"`
	Why   string `json:"why,omitempty"`  // why it matters
	Mend  string `json:"mend,omitempty"` // a command to paste
}

func (p *program) doctorCommand() *urfave.Command {
	return &urfave.Command{
		Name: "doctor", Category: toServe,
		Usage:     "say what makes pushes fail or wait, and how to mend it",
		UsageText: "[--json] [REPO…]",
		Description: "Looks at served repositories and their state directory: hooks and settings as install wrote them, " +
			"the engine (for containers also builder and registry, which are asked for real), the runner, the commit-graph " +
			"that keeps pushes quick, how many tags of ours there are, and " +
			"what was left behind. Each finding says why it matters and what to type. It changes nothing.\n\n" +
			"Exit status 1 when pushes fail or runs would wait.",
		Flags:  []urfave.Flag{jsonFlag()},
		Action: p.doctor,
	}
}

func (p *program) doctor(c *urfave.Context) error {
	repos := c.Args().Slice()
	if len(repos) == 0 {
		repos = []string{""}
	}
	all := map[string][]finding{}
	bad := false
	for _, name := range repos {
		s, err := p.siteOf(c.Context, words0(name))
		if err != nil {
			return err
		}
		if err := p.onServer(c.Context, s, "doctor", ""); err != nil {
			return err
		}
		found, err := p.examine(c.Context, s)
		if err != nil {
			return err
		}
		all[s.path()] = found
		for _, f := range found {
			bad = bad || f.Level == problem
		}
		if !c.Bool("json") {
			p.printFindings(s.path(), found)
		}
	}
	if c.Bool("json") {
		if err := p.json(all); err != nil {
			return err
		}
	}
	if bad {
		return errSilent
	}
	return nil
}

// words0 is a list of the word, if there is one.
func words0(word string) []string {
	if word == "" {
		return nil
	}
	return []string{word}
}

func (p *program) printFindings(path string, found []finding) {
	p.printf("%s\n", p.bold(shown(path)))
	states := map[string]gitmodels.State{fine: gitmodels.Succeeded, warning: gitmodels.Running, problem: gitmodels.Failed}
	for _, f := range found {
		p.printf("  %s%s %s\n", p.paint(f.Level, states[f.Level]), strings.Repeat(" ", len(problem)-len(f.Level)), f.What)
		if f.Why != "" {
			p.printf("%s\n", wrap(f.Why, 10, p.columns))
		}
		if f.Mend != "" {
			p.printf("          %s\n", f.Mend)
		}
	}
}

// examine looks at one served repository.
func (p *program) examine(ctx context.Context, s *site) ([]finding, error) {
	entries, err := s.repo.Config(ctx, homeConfig(s.home))
	if err != nil {
		return nil, err
	}
	pol, problems := policy.Parse(entries, policy.Runner.At(s.home))
	found := []finding{p.examineInstalled(ctx, s), examineEngine(pol), p.examineRunner(ctx, s)}
	images, err := p.examineImages(ctx, s, pol)
	if err != nil {
		return nil, err
	}
	found = append(found, images...)
	for _, pr := range problems {
		found = append(found, finding{Level: warning, What: shown(pr.String())})
	}
	found = append(found, examineGraph(s))
	refs, err := s.repo.Refs(ctx, "refs/run", "refs/tags/trained", "refs/tags/failed", "refs/tags/cancelled")
	if err != nil {
		return nil, err
	}
	found = append(found, examineRefs(s, refs)...)
	left, err := examineSpool(s.home)
	return append(found, left...), err
}

// examineInstalled asks install what it would change.
func (p *program) examineInstalled(ctx context.Context, s *site) finding {
	var said bytes.Buffer
	mend := p.again("install " + quote(s.path()))
	err := install.Install(ctx, install.Options{
		Home: s.home, DryRun: true,
		Ledger: func(ctx context.Context, home string) (install.Ledger, error) { return ledger.Open(ctx, home) },
	}, []string{s.path()}, &said)
	switch {
	case err != nil:
		return finding{Level: problem, What: "not installed as it should be: " + shown(message(err)), Mend: mend}
	}
	var left []string
	for line := range strings.Lines(said.String()) {
		if step, ok := strings.CutPrefix(strings.TrimSpace(line), "would: "); ok {
			left = append(left, step)
		}
	}
	if len(left) == 0 {
		return finding{Level: fine, What: "hooks, programs and settings"}
	}
	return finding{Level: problem, What: "not as install leaves it; still to do: " + shown(strings.Join(left, ", ")),
		Why: "a push might be refused, pass unjudged, or be found only a minute later", Mend: mend}
}

func examineEngine(pol *policy.Policy) finding {
	if pol.Engine != "" {
		return finding{Level: fine, What: "engine " + shown(pol.Engine)}
	}
	return finding{Level: problem, What: "engine: none is configured", Why: "pushes are accepted, and their runs wait",
		Mend: "git config --global models.engine process && git config --global models.allowProcess true"}
}

func (p *program) examineRunner(ctx context.Context, s *site) finding {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	start := time.Now()
	version := ""
	err := wire.Call(ctx, s.home, wire.Request{Op: wire.Ping}, func(r wire.Response) error {
		version = r.Version
		return nil
	})
	switch {
	case err == nil && version != gitmodels.Version:
		return finding{Level: warning, What: fmt.Sprintf("the runner is version %s, this program %s", shown(version), gitmodels.Version),
			Why: "a runner that was started before an upgrade goes on as the old one; stopping it leaves jobs alone"}
	case err == nil:
		return finding{Level: fine, What: fmt.Sprintf("the runner answered in %d ms", max(1, time.Since(start).Milliseconds()))}
	case s.policy.Autostart:
		return finding{Level: fine, What: "no runner is answering; the next push starts one"}
	case !wire.IsNoRunner(err):
		return finding{Level: problem, What: "the runner does not answer: " + shown(err.Error()), Why: "pushes are recorded, and wait"}
	}
	return finding{Level: problem, What: "no runner is answering", Why: "pushes are recorded, and wait", Mend: p.again("runner")}
}

// examineGraph looks whether there is a commit-graph at all: without one the
// gate walks the whole history for an old or unrelated commit.
func examineGraph(s *site) finding {
	info := filepath.Join(s.path(), "objects", "info")
	for _, name := range []string{"commit-graph", "commit-graphs/commit-graph-chain"} {
		if _, err := os.Stat(filepath.Join(info, filepath.FromSlash(name))); err == nil {
			return finding{Level: fine, What: "commit-graph"}
		}
	}
	return finding{Level: warning, What: "there is no commit-graph", Why: "on a long history each push takes longer; the runner writes one after a push",
		Mend: "git --git-dir=" + quote(s.path()) + " commit-graph write --reachable"}
}

// examineRefs counts our tags, and finds what control pushes left behind.
func examineRefs(s *site, refs []gitmodels.Ref) []finding {
	tags := 0
	var found []finding
	for _, r := range refs {
		if strings.HasPrefix(string(r.Name), "refs/tags/") {
			tags++
			continue
		}
		found = append(found, finding{Level: warning, What: "left behind by a push: " + shown(string(r.Name)),
			Why: "the same request is no news to git while it is there; the runner removes it within a minute or two"})
	}
	switch {
	case tags > manyTags:
		found = append(found, finding{Level: warning, What: fmt.Sprintf("%d tags of outcomes", tags),
			Why:  "git tells every pushing client of each tag, so pushes grow slower with them; notes cost nothing. Tags that are there stay until you delete them",
			Mend: "git --git-dir=" + quote(s.path()) + " config models.tags best"})
	default:
		found = append(found, finding{Level: fine, What: fmt.Sprintf("%d tags of outcomes", tags)})
	}
	return found
}

// examineSpool looks for pushes that nobody took up, and for what was set aside.
func examineSpool(home string) ([]finding, error) {
	entries, err := spool.Entries(home)
	if err != nil {
		return nil, err
	}
	var found []finding
	if n := len(entries); n > 0 {
		found = append(found, finding{Level: warning, What: count(n, "push") + " not taken up yet", Why: "a runner takes them up when one serves"})
	}
	aside, err := filepath.Glob(filepath.Join(home, "spool", "bad", "*.why"))
	if err != nil {
		return found, err
	}
	if n := len(aside); n > 0 {
		found = append(found, finding{Level: warning, What: count(n, "file") + " set aside as no push of ours",
			Why: "the file beside each says why", Mend: "cat " + quote(filepath.Join(home, "spool", "bad")) + "/*.why"})
	}
	return found, nil
}
