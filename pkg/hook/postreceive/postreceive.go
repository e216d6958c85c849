// Package postreceive is the hand-off as git runs it: the refs that moved become
// one durable file in the spool, the runner hears of it, and the pusher gets a
// receipt of a few lines.
//
// It must stay light and quick: no YAML, no SQL, no net/http, no command-line
// library, no cloud's SDK. What it cannot do, the reconciler makes good: refs
// are the truth.
package postreceive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/hook"
	"github.com/git-models/git-models/pkg/policy"
	"github.com/git-models/git-models/pkg/spool"
	"github.com/git-models/git-models/pkg/wire"
)

const (
	// ringing bounds the knock at the runner's door; the spool is what counts.
	ringing = 200 * time.Millisecond
	// looking bounds what the receipt may ask of git.
	looking = 3 * time.Second
	// telling bounds the receipt: a pipe that nobody reads would hold this
	// process, and git's, for good.
	telling = 5 * time.Second
)

// Run hands the push over and returns the exit status, which git ignores: 0 when
// the push is recorded, or there was nothing to record.
func Run(e hook.Edges) (status int) {
	input, err := hook.ReadInput(e.Stdin)
	if err != nil {
		return failed(e, "", err)
	}
	h := &handOff{edges: e}
	err = h.record(input)
	Release()
	if err == nil && len(h.push.Updates) > 0 {
		h.ring()
	}
	if chained, chainErr := e.Chain("post-receive", input); chainErr != nil {
		tell(e, (&hook.Block{}).Say("the hook that was here before did not run: %s", hook.Shown(chainErr.Error())))
		status = 1
	} else {
		status = chained
	}
	if err != nil {
		return failed(e, h.home, err)
	}
	if len(h.push.Updates) == 0 {
		return status
	}
	h.start()
	tell(e, h.receipt())
	return status
}

// handOff is one push on its way to the runner.
type handOff struct {
	edges   hook.Edges
	site    hook.Site
	home    string
	push    gitmodels.Push
	heard   error // what became of the ring; nil: the runner knows
	started bool  // a runner was started for it
}

// record makes the push durable. Nothing is recorded for a push without a
// governed ref, and for a wiki.
func (h *handOff) record(input []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v; %s", p, debug.Stack())
		}
	}()
	if len(input) == 0 || h.edges.Wiki() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if h.site, err = hook.Open(ctx, h.edges); err != nil {
		return err
	}
	h.home = h.site.Policy.Home
	updates, err := hook.ParseLines(input, h.site.Repo.IDLength())
	if err != nil {
		return err
	}
	updates = slices.DeleteFunc(updates, func(u gitmodels.Update) bool {
		return u.Deletes() || !h.site.Policy.Governed(u.Ref)
	})
	if len(updates) == 0 {
		return nil
	}
	// The gate refused what cannot be read; where it did not stand, words are
	// not worth losing a push.
	options, _ := h.edges.PushOptions()
	now := time.Now()
	push := gitmodels.Push{
		ID:         spool.NewID(now),
		Repository: h.site.Repo.Dir(),
		Updates:    updates,
		Options:    options,
		Pusher:     pusher(h.edges),
		Protocol:   protocol(h.edges),
		At:         now.UTC(),
	}
	if h.home == "" {
		return errors.New("no state directory is known: models.home is not set, and the account has no HOME")
	}
	if err := spool.Write(h.home, push); err != nil {
		return fmt.Errorf("writing the spool: %w", err)
	}
	h.push = push
	return nil
}

// ring knocks at the runner's door.
func (h *handOff) ring() {
	ctx, cancel := context.WithTimeout(context.Background(), ringing)
	defer cancel()
	h.heard = wire.Call(ctx, h.home, wire.Request{Op: wire.Ring, Repository: h.push.Repository}, nil)
}

// start runs a runner where the admin wants that and none answers.
func (h *handOff) start() {
	if h.heard == nil || !wire.IsNoRunner(h.heard) || !h.site.Policy.Autostart || !ownsHome(h.home) {
		return
	}
	if err := autostart(h.edges, h.home); err != nil {
		h.log(fmt.Errorf("starting a runner: %w", err))
		return
	}
	h.started = true
}

func (h *handOff) log(cause error) {
	// The push is recorded; a log that cannot be written changes nothing for
	// anybody, and there is no other place to say so.
	_ = hook.Log(h.home, "post-receive", hook.NewFaultID(), h.push.Repository, cause)
}

// failed says honestly that the push is accepted but not recorded.
func failed(e hook.Edges, home string, cause error) int {
	if home == "" {
		home = policy.DefaultHome(e.Getenv)
	}
	id := hook.NewFaultID()
	b := (&hook.Block{}).
		Say("accepted, but it could not be recorded.").
		Say("Nothing is lost: the refs have moved, and the runner finds it there.")
	if err := hook.Log(home, "post-receive", id, e.Dir, cause); err == nil {
		b.Say("the admin finds the cause in hooks.log: %s", id)
	} else {
		b.Say("the cause could not be logged either; please tell the admin")
	}
	tell(e, b)
	return 1
}

// tell prints, but never waits for a reader for long.
func tell(e hook.Edges, blocks ...*hook.Block) {
	text := hook.Print(blocks, &hook.Block{})
	done := make(chan struct{})
	go func() {
		// Nobody may be there to read it any more: then there is nobody to tell.
		_, _ = io.WriteString(e.Stderr, text)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(telling):
	}
}
