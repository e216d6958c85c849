package install

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
)

// notesRefspec fetches every notes ref of ours. The pattern matters: an exact
// name fails until the first note exists, and refs/notes/* with pruning would
// delete a user's own notes.
const notesRefspec = "+refs/notes/models*:refs/notes/models*"

// InstallClone makes the clone at worktree fetch the outcomes with everything
// else, and `git log` show them. A second time it changes nothing and says so.
// Best branches are ordinary branches, and tags arrive with the commits: they
// need no setting. Pruning does: see planPrune.
func InstallClone(ctx context.Context, worktree string, out io.Writer) error {
	gitDir, _, _, err := gitrepo.Discover(ctx, worktree)
	if err != nil {
		return err
	}
	repo, err := gitrepo.Open(gitDir)
	if err != nil {
		return err
	}
	entries, err := repo.Config(ctx, "")
	if err != nil {
		return err
	}
	remote, err := chooseRemote(entries)
	if err != nil {
		return err
	}
	notes := "refs/notes/models"
	for _, e := range entries {
		if e.Key == "models.notesref" && e.Value != "" {
			notes = e.Value
		}
	}
	wanted := []setting{
		{key: "remote." + remote + ".fetch", value: notesRefspec, add: true},
		{key: "notes.displayRef", value: quietGlob(notes), add: true},
	}
	fmt.Fprintln(out, shown(gitDir))
	changed := false
	for _, w := range wanted {
		now, err := repo.ConfigGet(ctx, w.key)
		if err != nil {
			return err
		}
		if slices.Contains(now, w.value) {
			continue
		}
		if err := repo.ConfigAdd(ctx, w.key, w.value); err != nil {
			return err
		}
		changed = true
		fmt.Fprintf(out, "  added %s=%s\n", shown(w.key), shown(w.value))
	}
	prune, note := planPrune(entries, remote)
	if prune {
		if err := repo.ConfigSet(ctx, "remote."+remote+".prune", "true"); err != nil {
			return err
		}
		changed = true
		fmt.Fprintf(out, "  set remote.%s.prune=true: a branch that is gone from the server goes here too\n", shown(remote))
	}
	if !changed {
		fmt.Fprintln(out, "  unchanged")
	}
	if note != "" {
		fmt.Fprintln(out, "  note: "+note)
	}
	fmt.Fprintf(out, "  git fetch %s brings the outcomes, git log shows them\n", quote(remote))
	return nil
}

// planPrune decides whether a fetch from the remote is to prune, or says why it
// stays as it is. When a server's layout moves, models gives way to models/main
// and best/models to best/models/main. A clone that still has origin/models has
// no room for origin/models/main, and every fetch fails (cannot lock ref) until
// the old one is pruned; with the setting git does that before it fetches.
//
// Pruning deletes whatever a refspec could have brought and the server lacks.
// Our refspec can only reach refs/notes/models*. Where another one writes
// outside of refs/remotes/, or pruned tags are asked for, it would take what only
// this clone has: there the setting is left to the user.
func planPrune(entries []gitmodels.ConfigEntry, remote string) (set bool, note string) {
	last := map[string]string{}
	why := ""
	for _, e := range entries {
		value := e.Value
		if e.Bare {
			value = "true"
		}
		last[e.Key] = value
		if _, to, _ := strings.Cut(strings.TrimPrefix(value, "+"), ":"); e.Key == gitKey("remote."+remote+".fetch") &&
			to != "" && value != notesRefspec && !strings.HasPrefix(to, "refs/remotes/") {
			why = "the refspec " + shown(value)
		}
	}
	look := func(key string) (value string, ok bool) {
		if value, ok = last[gitKey("remote."+remote+"."+key)]; !ok {
			value, ok = last["fetch."+strings.ToLower(key)]
		}
		return value, ok
	}
	if tags, ok := look("pruneTags"); ok && sameValue(tags, "true") {
		why = "pruneTags"
	}
	by := "git fetch --prune " + quote(remote) + " '+refs/heads/*:refs/remotes/" + remote + "/*'"
	switch prune, ok := look("prune"); {
	case ok && sameValue(prune, "true"):
		return false, ""
	case ok:
		return false, "pruning is off here; if a fetch fails after the server's layout moved: " + by
	case why != "":
		return false, "with " + why + " a pruning fetch would delete what only this clone has, so it stays off; if a fetch fails after the server's layout moved: " + by
	}
	return true, ""
}

// quietGlob is a pattern that matches ref and nothing else. git log warns of a
// notes ref that does not exist yet, but not of a pattern that matches none
// (git-config(1), notes.displayRef).
func quietGlob(ref string) string {
	last := len(ref) - 1
	return ref[:last] + "[" + ref[last:] + "]"
}

// chooseRemote is origin, or the only remote there is.
func chooseRemote(entries []gitmodels.ConfigEntry) (string, error) {
	var remotes []string
	for _, e := range entries {
		rest, isRemote := strings.CutPrefix(e.Key, "remote.")
		name, isURL := strings.CutSuffix(rest, ".url")
		if isRemote && isURL && !slices.Contains(remotes, name) {
			remotes = append(remotes, name)
		}
	}
	switch {
	case slices.Contains(remotes, "origin"):
		return "origin", nil
	case len(remotes) == 1:
		return remotes[0], nil
	case len(remotes) == 0:
		return "", &gitmodels.Error{Kind: gitmodels.Invalid, Op: "install in a clone",
			Message: "this repository has no remote, so there is nothing to fetch from", Hint: "git remote add origin URL"}
	}
	return "", &gitmodels.Error{Kind: gitmodels.Invalid, Op: "install in a clone",
		Message: fmt.Sprintf("none of the remotes %s is called origin", shown(strings.Join(remotes, ", "))),
		Hint:    "git remote rename " + quote(remotes[0]) + " origin"}
}
