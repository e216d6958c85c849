package postreceive

import (
	"context"
	"fmt"
	"strings"

	"github.com/git-models/git-models/pkg/gate"
	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/hook"
	"github.com/git-models/git-models/pkg/wire"
)

// maxTold is for how many refs of one push the receipt speaks in detail.
const maxTold = 5

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
	what := "its last commit runs"
	switch n, err := h.site.Repo.Count(ctx, u.Old, u.New); {
	case gate.Skips(h.push.Options):
		what = "skipped as asked"
	case err == nil && n == 1:
		what = "it runs"
	case err == nil:
		what = plural(n, "commit") + ", the last one runs"
	}
	b.Say("accepted %s on %s: %s", h.short(u.New), gitmodels.Printable(u.Ref.Short(), 100), what)
	if !u.Creates() && !gate.Skips(h.push.Options) {
		b.Say("(without a change to a watched path it is recorded as skipped)")
	}
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
	command, err := gate.SourceCommand(ctx, u.New, facts)
	if err != nil {
		return
	}
	b.Say("warning: %s is on no source branch: who goes on from there lacks it", h.short(u.New))
	b.Hint(command)
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
	if gate.Skips(h.push.Options) {
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
