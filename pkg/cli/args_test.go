package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

func TestArrange(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"ls":                         "ls --",
		"list":                       "ls --",
		"logs 5a32b0f -f":            "logs --follow -- 5a32b0f",
		"logs -f --stage train 5a32": "logs --follow --stage=train -- 5a32",
		"logs 5a32 --stage=train":    "logs --stage=train -- 5a32",
		"ls -an3":                    "ls --all --number=3 --",
		"ls -n 3 -a":                 "ls --number=3 --all --",
		"ls --json=false":            "ls --json=false --",
		"ls --repo dogs.git --json":  "--repo=dogs.git ls --json --",
		"--repo dogs.git ls":         "--repo=dogs.git ls --",
		"show --colour never 5a32":   "--color=never show -- 5a32",
		"overrides -":                "overrides -- -",
		"lint -- -x":                 "lint -- -x",
		"--version":                  "version --",
		"show -- --json":             "show -- --json",
		"plan --json --account 1 X":  "plan --json --account=1 -- X",
		"schema --json --of 1 X":     "schema -- --json --of 1 X",
		"":                           "",
	}
	for in, want := range tests {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			term, _, _ := newTerminal(80)
			app := (&program{terminal: term}).app()
			line, err := arrange(app, strings.Fields(in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimSpace("git-models "+want), strings.Join(line.argv(app), " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestArrangeRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"lst":               "unknown command lst; did you mean ls?",
		"stauts":            "unknown command stauts; did you mean status?",
		"frobnicate":        "unknown command frobnicate",
		"\x1b[31m":          `unknown command \x1b[31m`,
		"ls --jsno":         "unknown option --jsno; did you mean --json?",
		"ls -x":             "unknown option -x",
		"ls -ax":            "unknown option -x",
		"ls --all=maybe":    "option --all takes no value",
		"ls --repo":         "option --repo needs a value",
		"ls --repo=":        "option --repo needs a value",
		"--json ls":         "unknown option --json",
		"runner --detatchd": "unknown option --detatchd", // a hidden one is not suggested
	}
	for in, want := range tests {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			term, _, _ := newTerminal(80)
			_, err := arrange((&program{terminal: term}).app(), strings.Fields(in))
			var e *gitmodels.Error
			if !errors.As(err, &e) || e.Message != want {
				t.Fatalf("error %v, want %s", err, want)
			}
			if exitOf(err) != exitUsage {
				t.Errorf("exit status %d", exitOf(err))
			}
		})
	}
}
