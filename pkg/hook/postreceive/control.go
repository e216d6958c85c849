package postreceive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/hook"
	"github.com/git-models/git-models/pkg/publish"
	"github.com/git-models/git-models/pkg/spool"
	"github.com/git-models/git-models/pkg/wire"
)

const (
	// acting bounds one request to the runner.
	acting = 5 * time.Second
	// confirming bounds the wait for an engine to say that a run has ended.
	confirming = 10 * time.Second
	// confirmPace is how often it is asked.
	confirmPace = 100 * time.Millisecond
	// removing bounds the removal of the control refs.
	removing = 10 * time.Second
)

// request is what a control ref asks for, and what came of it.
type request struct {
	gitmodels.Update
	control gitmodels.Control
	row     gitmodels.Listing // what the runner said
	err     error
	kept    bool // no runner answered: it is in the spool
	noted   bool // no runner answered: the note did
}

// requests are the control refs among the updates.
func requests(updates []gitmodels.Update) []*request {
	var asked []*request
	for _, u := range updates {
		if c, ok := gitmodels.ControlOf(u.Ref); ok && !u.Deletes() {
			asked = append(asked, &request{Update: u, control: c})
		}
	}
	return asked
}

// act passes on what is asked for, and removes the control refs whatever came of
// it. What no runner hears is made durable instead. known is false when the
// repository's policy could not be read: then nothing is asked for.
func (h *handOff) act(known bool) {
	if len(h.asked) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), removing)
	defer cancel()
	defer func() {
		for _, r := range h.asked {
			if err := h.site.Repo.DeleteRef(ctx, r.Ref, r.New); err != nil {
				// The runner's reconciler sweeps what stays.
				h.log(fmt.Errorf("removing %s: %w", r.Ref, err))
			}
		}
	}()
	if !known {
		return
	}
	var acts []gitmodels.Act
	for _, r := range h.asked {
		op := wire.Cancel
		switch r.control {
		case gitmodels.ControlCancel:
		case gitmodels.ControlRerun:
			op = wire.Rerun
		default:
			continue
		}
		if h.site.Policy.Cancel == "owner" {
			// Where the gate did not stand.
			r.err = &gitmodels.Error{Kind: gitmodels.Forbidden, Message: "by models.cancel=owner this is done on the server alone"}
			continue
		}
		r.row, r.err = h.ask(op, r.New, acting)
		if wire.IsNoRunner(r.err) {
			h.heard = r.err
			r.kept = true
			acts = append(acts, gitmodels.Act{Control: r.control, Commit: r.New})
		}
	}
	if len(acts) == 0 {
		return
	}
	push := h.push
	push.ID, push.Updates, push.Acts = spool.NewID(time.Now()), nil, acts
	err := errors.New("no state directory is known: models.home is not set, and the account has no HOME")
	if h.home != "" {
		err = spool.Write(h.home, push)
	}
	if err == nil {
		return
	}
	h.log(fmt.Errorf("writing the spool: %w", err))
	for _, r := range h.asked {
		if r.kept {
			r.kept, r.err = false, &gitmodels.Error{Message: "no runner is answering, and it could not be recorded: push again later"}
		}
	}
}

// ask asks the runner about one commit, in the pusher's name.
func (h *handOff) ask(op wire.Op, id gitmodels.CommitID, limit time.Duration) (row gitmodels.Listing, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	req := wire.Request{Op: op, Repository: h.site.Repo.Dir(), Commit: string(id)}
	if op != wire.Show {
		req.By = h.push.Pusher.Name
	}
	err = wire.Call(ctx, h.home, req, func(r wire.Response) error {
		if len(r.Rows) > 0 {
			row = r.Rows[0]
		}
		return nil
	})
	if err == nil && row.Commit != id {
		err = errors.New("the runner's answer is not about " + h.short(id))
	}
	return row, err
}

// answer says what came of each request.
func (h *handOff) answer() {
	for _, r := range h.asked {
		b := &hook.Block{}
		switch r.control {
		case gitmodels.ControlCancel:
			h.cancelled(b, r)
		case gitmodels.ControlRerun:
			h.rerun(b, r)
		case gitmodels.ControlStatus:
			h.status(b, r)
		default: // the gate has told the plan
			continue
		}
		tell(h.edges, b)
	}
}

// cancelled waits for the engine to confirm, and says whether it did.
func (h *handOff) cancelled(b *hook.Block, r *request) {
	short := h.short(r.New)
	if h.refused(b, r) {
		return
	}
	for until := time.Now().Add(confirming); ; time.Sleep(confirmPace) {
		state := r.row.State
		switch {
		case state != nil && *state == gitmodels.Cancelled:
			b.Say("cancelled %s", short)
			b.Whole("rerun  " + gitmodels.ControlRerun.PushCommand(short))
			return
		case state != nil && state.Terminal():
			b.Say("%s ended before it could be cancelled: %s", short, hook.StateWords(r.row))
			h.goOn(b, r.row, short)
			return
		case time.Now().After(until):
			b.Say("cancelling %s: its engine has not confirmed yet", short)
			b.Whole("status  " + gitmodels.ControlStatus.PushCommand(short))
			return
		}
		// A runner that does not answer now may do so next time.
		if row, err := h.ask(wire.Show, r.New, acting); err == nil {
			r.row = row
		}
	}
}

// rerun says which attempt is queued.
func (h *handOff) rerun(b *hook.Block, r *request) {
	if h.refused(b, r) {
		return
	}
	short, words := h.short(r.New), "it runs again"
	if r.row.Attempt != nil {
		words = fmt.Sprintf("attempt %d", *r.row.Attempt)
	}
	if r.row.State != nil {
		words += " is " + string(*r.row.State)
	}
	b.Say("rerun of %s: %s", short, words)
	h.goOn(b, r.row, short)
}

// status says how the run of a commit stands: by the runner, or by its note.
func (h *handOff) status(b *hook.Block, r *request) {
	short := h.short(r.New)
	r.row, r.err = h.ask(wire.Show, r.New, acting)
	from := ""
	if wire.IsNoRunner(r.err) {
		ctx, cancel := context.WithTimeout(context.Background(), looking)
		defer cancel()
		note, ok, err := h.session.ReadNote(ctx, h.site.Policy.NotesRef, r.New)
		parsed, ours := publish.ParseNote(note, r.New)
		if !ok || !ours || err != nil {
			b.Say("%s has no outcome yet, and no runner is answering.", short).Say("Nothing is lost.")
			b.Whole("on the server: " + h.runnerCommand())
			return
		}
		r.row = parsed.Listing(h.site.Name())
		r.err, r.noted, from = nil, true, " (by its note; no runner is answering)"
	}
	if h.refused(b, r) {
		return
	}
	words := hook.StateWords(r.row)
	if took := took(r.row, time.Now()); took > 0 {
		words += ", " + hook.About(took)
	}
	if r.row.Attempt != nil && *r.row.Attempt > 1 {
		words += fmt.Sprintf(", attempt %d", *r.row.Attempt)
	}
	if r.row.Ahead != nil && *r.row.Ahead > 0 {
		words += fmt.Sprintf(", %d before it", *r.row.Ahead)
	}
	b.Say("%s %s%s", short, words, from)
	if r.row.Artifacts != nil && *r.row.Artifacts != "" {
		b.Whole("artifacts " + gitmodels.Printable(*r.row.Artifacts, 300))
	}
	h.goOn(b, r.row, short)
}

// took is how long a run took, or has been running; 0 before it began.
func took(row gitmodels.Listing, now time.Time) time.Duration {
	if row.Started == nil || row.Started.IsZero() {
		return 0
	}
	if row.Finished != nil && !row.Finished.IsZero() {
		now = *row.Finished
	}
	return now.Sub(*row.Started)
}

// goOn is the last line of an answer: what to type next.
func (h *handOff) goOn(b *hook.Block, row gitmodels.Listing, short string) {
	switch {
	case row.State == nil, *row.State == gitmodels.Failed, *row.State == gitmodels.Cancelled:
		b.Whole("rerun  " + gitmodels.ControlRerun.PushCommand(short))
	case *row.State == gitmodels.Succeeded:
		b.Whole("outcome  " + h.outcomeCommand(short))
	default:
		b.Whole("watch  git push -o " + gitmodels.WordFollow + " origin " + short + ":" + string(gitmodels.ControlStatus.Ref()))
		b.Whole("stop   " + gitmodels.ControlCancel.PushCommand(short))
	}
}

// refused says what stood in the way of a request, if anything did.
func (h *handOff) refused(b *hook.Block, r *request) bool {
	what := fmt.Sprintf("%s of %s", r.control, h.short(r.New))
	switch {
	case r.kept:
		b.Say("%s is recorded; no runner is answering.", what).Say("Nothing is lost.")
		if h.started {
			b.Say("one was started")
		} else {
			b.Whole("on the server: " + h.runnerCommand())
		}
		return true
	case r.err == nil:
		return false
	}
	var e *gitmodels.Error
	if !errors.As(r.err, &e) || e.Message == "" {
		h.log(fmt.Errorf("%s: %w", what, r.err))
		b.Say("%s: the runner did not answer in time; push again", what)
		return true
	}
	b.Say("%s: %s", what, gitmodels.Printable(e.Message, 300))
	if e.Hint != "" {
		b.Whole("on the server: " + gitmodels.Printable(e.Hint, 300))
	}
	if r.control != gitmodels.ControlStatus {
		b.Whole("status  " + gitmodels.ControlStatus.PushCommand(h.short(r.New)))
	}
	return true
}
