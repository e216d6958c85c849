package policy_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/policy"
)

func TestLimits(t *testing.T) {
	t.Parallel()
	const why = ": ignored: it would let more runs start at once, and it does not stand in protected configuration (system, global, or <home>/config)"
	const want = "want an engine (process, container, sagemaker, slurm, kubernetes) or a pattern below refs/heads/"
	for name, c := range map[string]struct {
		lines    []string
		view     policy.View
		limits   []policy.Limit
		problems []string
	}{
		"an engine and patterns": {lines: []string{
			"global models.limit.refs/heads/models/**.runs=3", "global models.limit.process.runs=2",
			"global models.limit.refs/heads/Release.1/a.b.runs=4", "global models.limit.runs=5",
		}, view: policy.Runner, limits: []policy.Limit{
			{Pattern: "refs/heads/Release.1/a.b", Runs: 4}, {Pattern: "refs/heads/models/**", Runs: 3}, {Engine: "process", Runs: 2},
		}},
		"the last one wins": {lines: []string{"system models.limit.slurm.runs=2", "global models.limit.slurm.runs=9"},
			view: policy.Runner, limits: []policy.Limit{{Engine: "slurm", Runs: 9}}},
		"cleared": {lines: []string{"global models.limit.slurm.runs=2", "home models.limit.slurm.runs="}, view: policy.Runner},
		"a repository lowers and adds": {lines: []string{
			"local models.limit.process.runs=1", "local models.limit.refs/heads/models.runs=7", "global models.limit.process.runs=4",
		}, view: policy.Runner, limits: []policy.Limit{{Pattern: "refs/heads/models", Runs: 7}, {Engine: "process", Runs: 1}}},
		"a repository neither raises nor clears": {lines: []string{
			"global models.limit.process.runs=4", "local models.limit.process.runs=5", "local models.limit.process.runs=",
		}, view: policy.Runner, limits: []policy.Limit{{Engine: "process", Runs: 4}}, problems: []string{
			"models.limit.process.runs=5 (local file:/c)" + why, "models.limit.process.runs= (local file:/c)" + why,
		}},
		"the hook takes all": {lines: []string{"global models.limit.process.runs=4", "local models.limit.process.runs=5"},
			view: policy.Hook, limits: []policy.Limit{{Engine: "process", Runs: 5}}},
		"no number": {lines: []string{"global models.limit.process.runs=0"}, view: policy.Runner,
			problems: []string{"models.limit.process.runs=0 (global file:/c): want a whole number from 1 to 1000"}},
		"no engine": {lines: []string{"global models.limit.Proces.runs=1"}, view: policy.Runner,
			problems: []string{"models.limit.Proces.runs=1 (global file:/c): ignored: " + want + "; did you mean models.limit.process.runs?"}},
		"a branch": {lines: []string{"global models.limit.models/*.runs=1"}, view: policy.Runner,
			problems: []string{"models.limit.models/*.runs=1 (global file:/c): ignored: " + want + "; did you mean models.limit.refs/heads/models/*.runs?"}},
		"no branch": {lines: []string{"global models.limit.refs/tags/*.runs=1"}, view: policy.Runner,
			problems: []string{"models.limit.refs/tags/*.runs=1 (global file:/c): ignored: want a pattern below refs/heads/"}},
		"nothing between": {lines: []string{"global models.limit..runs=1"}, view: policy.Runner,
			problems: []string{"models.limit..runs=1 (global file:/c): ignored: " + want}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, problems := policy.Parse(entries(c.lines...), c.view)
			if diff := cmp.Diff(c.limits, p.Limits); diff != "" && len(c.limits)+len(p.Limits) > 0 {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.problems, texts(problems)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLimitsAreBounded(t *testing.T) {
	t.Parallel()
	var lines []string
	for i := range 300 {
		lines = append(lines, fmt.Sprintf("local models.limit.refs/heads/x%03d.runs=1", i))
	}
	p, problems := policy.Parse(entries(append(lines, "global models.limit.process.runs=2")...), policy.Runner)
	if len(p.Limits) != 100 || p.Limits[99] != (policy.Limit{Engine: "process", Runs: 2}) {
		t.Errorf("%d limits, the last is %v", len(p.Limits), p.Limits[len(p.Limits)-1])
	}
	if len(problems) != 201 || problems[0].Message != "ignored: there are 100 limits already" {
		t.Errorf("%d problems, the first is %v", len(problems), problems[0])
	}
}

// A repository's own file has no say in what the runner starts, but to stop it.
func TestNotify(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lines []string
		want  string
		wrong int
	}{
		{[]string{"global models.notify=/srv/notify"}, "/srv/notify", 0},
		{[]string{"global models.notify=notify"}, "", 1},
		{[]string{"local models.notify=/home/git/mine"}, "", 1},
		{[]string{"global models.notify=/srv/notify", "local models.notify=/home/git/mine"}, "/srv/notify", 1},
		{[]string{"global models.notify=/srv/notify", "local models.notify=/srv//notify"}, "/srv/notify", 0},
		{[]string{"global models.notify=/srv/notify", "local models.notify="}, "", 0},
	} {
		p, problems := policy.Parse(entries(c.lines...), policy.Runner)
		if p.Notify != c.want || len(problems) != c.wrong {
			t.Errorf("%v: %q, %v", c.lines, p.Notify, problems)
		}
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"succeeded", "all", "best", "none"} {
		if p, problems := policy.Parse(entries("local models.tags="+word), policy.Runner); p.Tags != word || len(problems) > 0 {
			t.Errorf("%s: %q, %v", word, p.Tags, problems)
		}
	}
}
