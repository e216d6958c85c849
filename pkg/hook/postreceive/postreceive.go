// Package postreceive is the hand-off as git runs it: the refs that moved become
// one durable file in the spool, the runner hears of it, and the pusher gets a
// receipt of a few lines. What control refs ask for is passed on and answered,
// and a pusher who asks for it sees the log until the run ends.
//
// It must stay light and quick: no SQL, no net/http, no command-line library, no
// cloud's SDK. What it cannot do, the reconciler makes good: refs are the truth.
package postreceive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/git-models/git-models/pkg/gate"
	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
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
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	h := &handOff{edges: e}
	err = h.record(ctx, input)
	defer h.close()
	if err == nil && len(h.push.Updates) > 0 {
		h.ring()
	}
	h.act(err == nil)
	Release()
	if chained, chainErr := e.Chain("post-receive", input); chainErr != nil {
		tell(e, (&hook.Block{}).Say("the hook that was here before did not run: %s", hook.Shown(chainErr.Error())))
		status = 1
	} else {
		status = chained
	}
	if err != nil {
		return failed(e, h.home, err)
	}
	if len(h.push.Updates) == 0 && len(h.asked) == 0 {
		return status
	}
	h.start()
	if len(h.push.Updates) > 0 {
		tell(e, h.receipt()...)
	}
	h.answer()
	h.follow()
	return status
}

// handOff is one push on its way to the runner.
type handOff struct {
	edges   hook.Edges
	site    hook.Site
	home    string
	session *gitrepo.Session // one git child for the whole hook
	sight   hook.Sight
	push    gitmodels.Push
	asked   []*request // what control refs ask for
	tips    []*told    // what the receipt tells of, the first maxTold updates
	read    chan struct{}
	heard   error // what became of the ring, or of what was asked; nil: the runner knows
	started bool  // a runner was started for it
}

// close ends the session, once nobody reads through it any more.
func (h *handOff) close() {
	if h.read != nil {
		<-h.read
	}
	if h.session != nil {
		h.session.Close()
	}
}

// told is an update that the receipt tells of.
type told struct {
	gitmodels.Update
	files     hook.Files
	receipt   *gitmodels.Receipt
	published chan published // nil: nobody wants to know
	follow    bool           // there is a run to follow
}

// record makes the push durable. Nothing is recorded for a push without a
// governed ref, and for a wiki.
func (h *handOff) record(ctx context.Context, input []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v; %s", p, debug.Stack())
		}
	}()
	if len(input) == 0 || h.edges.Wiki() {
		return nil
	}
	repo, err := hook.Locate(h.edges)
	if err != nil {
		return err
	}
	h.site.Repo = repo
	updates, err := hook.ParseLines(input, repo.IDLength())
	if err != nil {
		return err
	}
	h.asked = requests(updates)
	h.session = repo.Session(ctx)
	reading, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if h.site, err = hook.Read(reading, h.edges, repo); err != nil {
		h.site.Repo = repo
		return err
	}
	h.home = h.site.Policy.Home
	// The gate refused what cannot be read; where it did not stand, words are
	// not worth losing a push.
	options, _ := h.edges.PushOptions()
	now := time.Now()
	h.push = gitmodels.Push{
		ID:         spool.NewID(now),
		Repository: repo.Dir(),
		Options:    options,
		Pusher:     pusher(h.edges),
		Protocol:   protocol(h.edges),
		At:         now.UTC(),
	}
	h.sight = hook.Sight{Site: h.site, Objects: h.session, Steer: gitmodels.Steer(options)}
	var governed []gitmodels.Update
	for _, u := range updates {
		if !u.Deletes() && h.site.Policy.Governed(u.Ref) {
			governed = append(governed, u)
		}
	}
	if len(governed) == 0 {
		return nil
	}
	if h.home == "" {
		return errors.New("no state directory is known: models.home is not set, and the account has no HOME")
	}
	push := h.push
	push.Updates = governed
	h.look(ctx, governed)
	if err := spool.Write(h.home, push); err != nil {
		return fmt.Errorf("writing the spool: %w", err)
	}
	h.push = push
	return nil
}

// look begins to find out what the receipt will tell, while the push is made
// durable.
func (h *handOff) look(ctx context.Context, governed []gitmodels.Update) {
	looked := map[gitmodels.CommitID]bool{}
	for i, u := range governed {
		if i == maxTold {
			break
		}
		t := &told{Update: u}
		if h.site.Policy.Source != "off" && !looked[u.New] {
			t.published = make(chan published, 1)
		}
		looked[u.New] = true
		h.tips = append(h.tips, t)
	}
	h.read = make(chan struct{})
	go func() {
		defer close(h.read)
		ctx, cancel := context.WithTimeout(ctx, looking)
		defer cancel()
		for _, t := range h.tips {
			var err error
			if t.files, err = h.sight.Read(ctx, t.New, t.Ref, h.site.Name(), ""); err != nil {
				h.log(err)
			}
		}
	}()
	go func() {
		ctx, cancel := context.WithTimeout(ctx, looking)
		defer cancel()
		for _, t := range h.tips {
			if t.published != nil {
				var p published
				p.yes, p.err = gate.Published(ctx, t.New, hook.Rules(h.site.Policy), hook.NewHistory(h.session))
				t.published <- p
			}
		}
	}()
}

// told waits until the files are read.
func (h *handOff) told() []*told {
	<-h.read
	return h.tips
}

// ring knocks at the runner's door, and hears at once what it knows.
func (h *handOff) ring() {
	ctx, cancel := context.WithTimeout(context.Background(), ringing)
	defer cancel()
	updates := make([]gitmodels.Update, len(h.tips))
	for i, t := range h.tips {
		updates[i] = t.Update
	}
	receipts := make([]*gitmodels.Receipt, len(updates))
	h.heard = wire.Call(ctx, h.home, wire.Request{Op: wire.Ring, Repository: h.push.Repository, Updates: updates}, func(r wire.Response) error {
		hook.Match(receipts, updates, r.Receipts)
		return nil
	})
	for i, t := range h.tips {
		t.receipt = receipts[i]
	}
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
