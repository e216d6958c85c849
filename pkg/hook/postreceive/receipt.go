package postreceive

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gate"
	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/hook"
	"github.com/git-models/git-models/pkg/wire"
)

// maxTold is for how many refs of one push the receipt speaks in detail.
const maxTold = 5

const (
	// maxCounted is how many commits of a created ref are counted: beyond that
	// the number tells a pusher nothing.
	maxCounted = 1000
	// counting bounds the count, so that time is left for the rest.
	counting = time.Second
)

// receipt is what the pusher reads: what was accepted, what to mind, and how to
// look. A fact that git does not tell in time is left out.
func (h *handOff) receipt() *hook.Block {
	ctx, cancel := context.WithTimeout(context.Background(), looking)
	defer cancel()
	b := &hook.Block{}
	warned := map[gitmodels.CommitID]bool{}
	for i, u := range h.push.Updates {
		if i == maxTold {
			b.Say("and %d more refs", len(h.push.Updates)-maxTold)
			break
		}
		h.accepted(ctx, b, u)
		if !warned[u.New] {
			warned[u.New] = true
			h.source(ctx, b, u)
		}
	}
	h.delivered(b)
	h.look(b)
	return b
}

func (h *handOff) short(id gitmodels.CommitID) string { return id.Short(h.site.Policy.Abbrev) }

// accepted is the line about one ref.
func (h *handOff) accepted(ctx context.Context, b *hook.Block, u gitmodels.Update) {
	what := "skipped as asked"
	if !gitmodels.Steer(h.push.Options).Skip {
		what = h.runs(ctx, u)
	}
	b.Say("accepted %s on %s: %s", h.short(u.New), gitmodels.Printable(u.Ref.Short(), 100), what)
	if !u.Creates() && !gitmodels.Steer(h.push.Options).Skip {
		b.Say("(without a change to a watched path it is recorded as skipped)")
	}
}

// runs says how many commits an update brought, of which the last one runs. A
// ref that is created brings what no other branch holds, be it nothing.
func (h *handOff) runs(ctx context.Context, u gitmodels.Update) string {
	ctx, cancel := context.WithTimeout(ctx, counting)
	defer cancel()
	var n int
	var err error
	if u.Creates() {
		n, err = h.site.Repo.CountNew(ctx, u.Ref, u.New, maxCounted+1)
	} else {
		n, err = h.site.Repo.Count(ctx, u.Old, u.New)
	}
	switch {
	case err != nil, u.Creates() && n > maxCounted:
		return "its last commit runs"
	case n <= 1:
		return "it runs"
	}
	return plural(n, "commit") + ", the last one runs"
}

// source warns of a tip that lives on governed refs alone.
func (h *handOff) source(ctx context.Context, b *hook.Block, u gitmodels.Update) {
	p := h.site.Policy
	if p.Source == "off" {
		return
	}
	facts := hook.History{Repo: h.site.Repo}
	published, err := gate.Published(ctx, u.New, hook.Rules(p), facts)
	if err != nil || published {
		return
	}
	command, err := gate.SourceCommand(ctx, u, facts)
	if err != nil {
		return
	}
	b.Say("warning: %s is on no branch but %s: work that goes on from %s will lack it",
		h.short(u.New), h.holders(ctx, u), h.elsewhere(ctx, facts))
	b.Hint(command)
}

// holders names the branches that hold the new tip: the one that was pushed
// stands for all of them.
func (h *handOff) holders(ctx context.Context, u gitmodels.Update) string {
	name := gitmodels.Printable(u.Ref.Short(), 100)
	if refs, err := h.site.Repo.RefsContaining(ctx, u.New, "refs/heads/"); err == nil && len(refs) > 1 {
		return name + " and " + plural(len(refs)-1, "other")
	}
	return name
}

// elsewhere is the branch that people begin from: the server's default branch,
// if it is there and is not itself one of those that train.
func (h *handOff) elsewhere(ctx context.Context, facts hook.History) string {
	const other = "another branch"
	main, ok, err := facts.SymbolicTarget(ctx, "HEAD")
	if err != nil || !ok || h.site.Policy.Governed(main) {
		return other
	}
	tips, err := facts.Tips(ctx, string(main))
	if _, exists := tips[main]; err != nil || !exists {
		return other
	}
	return gitmodels.Printable(main.Short(), 100)
}

// delivered says whether anybody is at work.
func (h *handOff) delivered(b *hook.Block) {
	switch {
	case h.heard == nil:
	case h.started:
		b.Say("no runner was answering; one was started")
	case wire.IsNoRunner(h.heard):
		b.Say("accepted and recorded; no runner is answering.").Say("Nothing is lost.")
		b.Whole("on the server: git models --home " + gate.Quote(h.home) + " runner")
	default:
		b.Say("accepted and recorded; the runner was too busy to answer.").Say("Nothing is lost.")
		h.log(h.heard)
	}
}

// look says how to see the outcome, with plain git and on the server.
func (h *handOff) look(b *hook.Block) {
	short := h.short(h.push.Updates[0].New)
	if gitmodels.Steer(h.push.Options).Skip {
		b.Whole("to run it, on the server: git models rerun " + short)
		return
	}
	ref := string(h.site.Policy.NotesRef)
	name := strings.TrimPrefix(ref, "refs/notes/")
	fetch := "+" + ref + "*:" + ref + "*"
	if gate.Quote(ref) == ref {
		fetch = `"` + fetch + `"`
	} else {
		fetch = gate.Quote(fetch)
	}
	b.Whole("outcome  git fetch origin " + fetch + " && git log --notes=" + gate.Quote(name) + " -1 " + short)
	b.Whole("on the server  git models show " + short)
}

// plural counts things: 1 commit, 2 commits.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
