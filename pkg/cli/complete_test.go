package cli

import (
	"slices"
	"strings"
	"testing"
)

func TestComplete(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.train(t)
	run := short(git(t, s.clone, "rev-parse", "HEAD"))
	git(t, s.clone, "fetch", "-q", "origin", "+refs/notes/models*:refs/notes/models*", "+refs/heads/*:refs/remotes/origin/*")
	git(t, s.clone, "branch", "topic")
	git(t, s.clone, "branch", "a$(x)")
	for line, want := range map[string]string{
		"show ":                       run,
		"view --json ":                run,
		"show " + run[:3]:             run,
		"show x":                      "",
		"show " + run + " ":           "",
		"compare " + run + " ":        run,
		"cancel ":                     run,
		"download ":                   run,
		"branch ":                     "",
		"branch name ":                run,
		"push ":                       "main models topic",
		"push -o ":                    "plan skip follow priority= each again",
		"push -o f":                   "follow",
		"push --push-option=sk":       "--push-option=skip",
		"push --d":                    "--dry-run",
		"plan t":                      "topic",
		"ls --sort ":                  "loss val_accuracy took created",
		"ls --sort=val":               "--sort=val_accuracy",
		"logs --stage ":               "build train evaluate",
		"logs --stage build ":         run,
		"new --layout ":               "auto solo team",
		"new ":                        "",
		"--color ":                    "auto always never",
		"completion ":                 "bash zsh fish",
		"cance":                       "cancel",
		"help cance":                  "cancel",
		"man":                         "",
		"--re":                        "--repo",
		"show -- -":                   "",
		"nonsense ":                   "",
		"show --nonsense ":            "",
		"--repo " + s.repo + " show ": run,
		"--repo /nowhere show ":       "",
	} {
		// Ours, then what a shell would take for more words is never among them.
		words := strings.Split(line, " ")
		got := runIn(t, s.clone, append(words, completionFlag)...)
		have := strings.Fields(got.out)
		if got.code != 0 || got.err != "" || !slices.Equal(have, strings.Fields(want)) {
			t.Errorf("%q is completed by %v, want %s (%d %s)", line, have, want, got.code, got.err)
		}
	}
}
