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
	// maxWalked is how many commits of a plain line are counted one by one, which
	// takes no child; beyond that git counts.
	maxWalked = 32
)

// receipt is what the pusher reads: what was accepted, what to mind, and how to
// look. A fact that git does not tell in time is left out.
func (h *handOff) receipt() []*hook.Block {
	ctx, cancel := context.WithTimeout(context.Background(), looking)
	defer cancel()
	var blocks []*hook.Block
	warned := map[gitmodels.CommitID]bool{}
	for i, t := range h.told() {
		if i == maxTold {
			break
		}
		b := h.accepted(ctx, t)
		if !warned[t.New] {
			warned[t.New] = true
			h.source(b, t)
		}
		blocks = append(blocks, b)
	}
	last := &hook.Block{}
	if n := len(h.push.Updates) - maxTold; n > 0 {
		last.Say("and %s more", hook.Plural(n, "ref"))
	}
	h.delivered(last)
	return append(blocks, last)
}

func (h *handOff) short(id gitmodels.CommitID) string { return id.Short(h.site.Policy.Abbrev) }

// accepted are the lines about one ref.
func (h *handOff) accepted(ctx context.Context, t *told) *hook.Block {
	o, err := h.sight.Outlook(ctx, t.Update, t.files, t.receipt)
	if err != nil {
		h.log(err)
		o = hook.Outlook{Update: t.Update, Receipt: t.receipt, Decision: gitmodels.DecisionRun, Attempt: h.short(t.New)}
	}
	t.follow = o.Decision != gitmodels.DecisionSkipped
	return h.words(ctx, t, o)
}

// words are a receipt's lines about one ref.
func (h *handOff) words(ctx context.Context, t *told, o hook.Outlook) *hook.Block {
	b := &hook.Block{}
	short := h.short(o.New)
	b.Say("accepted %s on %s: %s", short, gitmodels.Printable(o.Ref.Short(), 100), h.what(ctx, o))
	if o.Decision == "" {
		b.Say("(without a change to a watched path since the last run it is recorded as skipped)")
	}
	h.last(ctx, b, o)
	if words := hook.ChangeWords(o.Changes); words != "" {
		b.Say("changed %s", words)
	}
	if o.Image != "" {
		b.Say("image: %s", o.Image)
	}
	runs := o.Decision == gitmodels.DecisionRun || o.Decision == ""
	if uri := o.Artifacts(h.site); runs && uri != "" {
		b.Whole("artifacts " + gitmodels.Printable(uri, 300))
	}
	live := runs || o.Receipt != nil && o.Receipt.Own != nil && o.Receipt.Own.State != nil && !o.Receipt.Own.State.Terminal()
	if queue := hook.QueueWords(o.Receipt); runs && queue != "" {
		b.Say("queue: %s", queue)
	}
	if !live {
		b.Whole("rerun  " + gitmodels.ControlRerun.PushCommand(short))
		return b
	}
	if o.Receipt != nil || h.started {
		b.Whole("watch  git models watch " + short)
	}
	b.Whole("stop   " + gitmodels.ControlCancel.PushCommand(short))
	if o.Creates() {
		b.Whole("outcome  " + h.outcomeCommand(short))
	}
	return b
}

// what says what becomes of an update.
func (h *handOff) what(ctx context.Context, o hook.Outlook) string {
	switch o.Decision {
	case gitmodels.DecisionSkipped:
		if h.sight.Steer.Skip {
			return "skipped as asked"
		}
		return "skipped, " + o.Why
	case gitmodels.DecisionAttached:
		return o.Why
	}
	return h.runs(ctx, o.Update)
}

// runs says how many commits an update brought, of which the last one runs. A
// ref that is created brings what no other branch holds, be it nothing.
func (h *handOff) runs(ctx context.Context, u gitmodels.Update) string {
	n, err := h.count(ctx, u)
	switch {
	case err != nil, u.Creates() && n > maxCounted:
		return "its last commit runs"
	case n <= 1:
		return "it runs"
	case h.sight.Steer.Each:
		return hook.Plural(n, "commit") + ", each of them runs, oldest first"
	}
	return hook.Plural(n, "commit") + ", the last one runs"
}

// count is how many commits an update brought. A short line without merges is
// walked, which asks no other child.
func (h *handOff) count(ctx context.Context, u gitmodels.Update) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, counting)
	defer cancel()
	if u.Creates() {
		return h.site.Repo.CountNew(ctx, u.Ref, u.New, maxCounted+1)
	}
	at := u.New
	for n := range maxWalked {
		if at == u.Old {
			return n, nil
		}
		parents, err := h.session.Parents(ctx, at)
		if err != nil {
			return 0, err
		}
		if len(parents) != 1 {
			break
		}
		at = parents[0]
	}
	return h.site.Repo.Count(ctx, u.Old, u.New)
}

// last tells how the push before this one ended: by the runner, or by its note.
func (h *handOff) last(ctx context.Context, b *hook.Block, o hook.Outlook) {
	last, err := h.sight.LastRun(ctx, o)
	if err != nil || last == nil {
		return
	}
	row := *last
	words := hook.StateWords(row)
	if row.State != nil && *row.State == gitmodels.Succeeded && h.isBest(ctx, o.Ref, row.Commit) {
		words += " (best)"
	}
	b.Say("last push: %s %s", h.short(row.Commit), words)
	if row.State != nil && (*row.State == gitmodels.Failed || *row.State == gitmodels.Cancelled) {
		b.Whole("rerun  " + gitmodels.ControlRerun.PushCommand(h.short(row.Commit)))
	}
}

// isBest reports whether the branch of the best run of ref is at commit.
func (h *handOff) isBest(ctx context.Context, ref gitmodels.RefName, commit gitmodels.CommitID) bool {
	at, err := h.site.Repo.Tip(ctx, "refs/heads/best/"+gitmodels.RefName(ref.Short()))
	return err == nil && at == commit
}

// published is whether a tip lives on a source branch, as found while the push
// was being recorded.
type published struct {
	yes bool
	err error
}

// source warns of a tip that lives on governed refs alone.
func (h *handOff) source(b *hook.Block, t *told) {
	if t.published == nil {
		return
	}
	if p := <-t.published; p.err != nil || p.yes {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), looking)
	defer cancel()
	facts := hook.NewHistory(h.session)
	command, err := gate.SourceCommand(ctx, t.Update, facts)
	if err != nil {
		return
	}
	b.Say("warning: %s is on no branch but %s: work that goes on from %s will lack it",
		h.short(t.New), h.holders(ctx, t.Update), h.elsewhere(ctx, facts))
	b.Hint(command)
}

// holders names the branches that hold the new tip: the one that was pushed
// stands for all of them.
func (h *handOff) holders(ctx context.Context, u gitmodels.Update) string {
	name := gitmodels.Printable(u.Ref.Short(), 100)
	if refs, err := h.site.Repo.RefsContaining(ctx, u.New, "refs/heads/"); err == nil && len(refs) > 1 {
		return name + " and " + hook.Plural(len(refs)-1, "other")
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
		b.Whole("on the server: " + h.runnerCommand())
	case gitmodels.KindOf(h.heard) != gitmodels.Internal:
		b.Say("accepted and recorded; the runner says: %s", gitmodels.Printable(h.heard.Error(), 300)).Say("Nothing is lost.")
	default:
		b.Say("accepted and recorded; the runner was too busy to answer.").Say("Nothing is lost.")
		h.log(h.heard)
	}
}

// runnerCommand is what the admin types where no runner is at work.
func (h *handOff) runnerCommand() string {
	return "git models --home " + gate.Quote(h.home) + " runner"
}

// outcomeCommand fetches a run's outcome and shows it, with plain git.
func (h *handOff) outcomeCommand(short string) string {
	ref := string(h.site.Policy.NotesRef)
	name := strings.TrimPrefix(ref, "refs/notes/")
	fetch := "+" + ref + "*:" + ref + "*"
	if gate.Quote(ref) == ref {
		fetch = `"` + fetch + `"`
	} else {
		fetch = gate.Quote(fetch)
	}
	return fmt.Sprintf("git fetch origin %s && git log --notes=%s -1 %s", fetch, gate.Quote(name), short)
}
