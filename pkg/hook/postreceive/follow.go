package postreceive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/hook"
	"github.com/git-models/git-models/pkg/wire"
)

const (
	// patience is how long a reader may take nothing of what was written.
	patience = 6 * time.Second
	// beating is after how much silence a line says that all is well: only what
	// is written shows whether anybody is there.
	beating = 30 * time.Second
	// checking is how often the reader is looked after.
	checking = 500 * time.Millisecond
	// coming is how long a runner that was started may take to answer.
	coming = 15 * time.Second
	// maxFollowed bounds what is shown of a log, in bytes.
	maxFollowed = 16 << 20
)

// follow shows the log of a run until it ends, when the push asks for it and
// there is a run. The run is the runner's: whatever becomes of the reader, or of
// this process, it goes on.
func (h *handOff) follow() {
	if !h.sight.Steer.Follow {
		return
	}
	id, ok := h.followed()
	if !ok {
		return
	}
	out := readerOf(h.edges.Stderr, patience)
	say := func(b *hook.Block) { io.WriteString(out, hook.Print([]*hook.Block{b}, &hook.Block{})) }
	short := h.short(id)
	again := "watch  git push -o " + gitmodels.WordFollow + " origin " + short + ":" + string(gitmodels.ControlStatus.Ref())
	if wire.IsNoRunner(h.heard) && !h.started {
		say((&hook.Block{}).Say("there is nothing to follow while no runner is answering").Whole(again))
		return
	}
	f := follower{out: out, checking: checking, beating: beating, max: maxFollowed, beat: func() string {
		row, err := h.ask(wire.Show, id, ringing)
		if err != nil {
			return short + " goes on"
		}
		return h.standing(row)
	}}
	err := f.run(context.Background(), func(ctx context.Context, emit func([]byte) error) error {
		if err := h.logs(ctx, id, emit); err != nil {
			return err
		}
		return h.outcome(ctx, id)
	})
	if errors.Is(err, errGone) {
		return
	}
	row, showErr := h.ask(wire.Show, id, acting)
	b := &hook.Block{}
	switch {
	case showErr == nil && row.State != nil && row.State.Terminal():
		b.Say("%s", h.standing(row))
		h.goOn(b, row, short)
	case err != nil:
		var e *gitmodels.Error
		why := "the runner is gone"
		if errors.As(err, &e) && e.Message != "" {
			why = gitmodels.Printable(e.Message, 300)
		}
		b.Say("the log ends here: %s.", why).Say("The run goes on.").Whole(again)
	default:
		b.Say("the log ends here").Whole(again)
	}
	say(b)
}

// followed is the commit whose run is shown: the first that was pushed and runs,
// or else the first that a control ref asks about. Of one whose note has told its
// end there is nothing more to show.
func (h *handOff) followed() (gitmodels.CommitID, bool) {
	for _, t := range h.tips {
		if t.follow {
			return t.New, true
		}
	}
	for _, r := range h.asked {
		if r.err == nil && !r.kept && !r.noted && (r.control == gitmodels.ControlStatus || r.control == gitmodels.ControlRerun) && r.row.Run != nil {
			return r.New, true
		}
	}
	return "", false
}

// standing is how a run stands, in a line.
func (h *handOff) standing(row gitmodels.Listing) string {
	words := h.short(row.Commit) + " " + hook.StateWords(row)
	if d := took(row, time.Now()); d > 0 {
		words += ", " + hook.About(d)
	}
	if row.Ahead != nil && *row.Ahead > 0 {
		words += fmt.Sprintf(", %d before it", *row.Ahead)
	}
	return words
}

// logs streams the log of a run from the runner, waiting for one that was
// started a moment ago.
func (h *handOff) logs(ctx context.Context, id gitmodels.CommitID, emit func([]byte) error) error {
	req := wire.Request{Op: wire.Logs, Repository: h.site.Repo.Dir(), Commit: string(id), Follow: true}
	for until := time.Now().Add(coming); ; {
		err := wire.Call(ctx, h.home, req, func(r wire.Response) error {
			if len(r.Text) == 0 {
				return nil
			}
			return emit(r.Text)
		})
		if !wire.IsNoRunner(err) || !h.started || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(confirmPace):
		}
	}
}

// outcome waits for the end of a run whose log is complete: its results are
// still being collected. A run that waits for its place again has another log.
func (h *handOff) outcome(ctx context.Context, id gitmodels.CommitID) error {
	for {
		row, err := h.ask(wire.Show, id, acting)
		if err != nil || row.State == nil || row.State.Terminal() || *row.State == gitmodels.Queued {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(confirmPace):
		}
	}
}

// follower shows what a source gives to a reader, for as long as there is one.
type follower struct {
	out      reader
	checking time.Duration
	beating  time.Duration
	max      int64         // bytes that are shown
	beat     func() string // what to say after a long silence
}

// run shows what source emits until it ends, and returns its error; errGone when
// the reader is gone. It never waits for a source that does not end.
func (f follower) run(ctx context.Context, source func(ctx context.Context, emit func([]byte) error) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pieces, ended := make(chan []byte), make(chan error, 1)
	go func() {
		ended <- source(ctx, func(text []byte) error {
			select {
			case pieces <- bytes.Clone(text):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	tick := time.NewTicker(f.checking)
	defer tick.Stop()
	var log logText
	var shown int64
	spoke := time.Now()
	show := func(text string) error {
		if text == "" || shown > f.max {
			return nil
		}
		if shown += int64(len(text)); shown > f.max {
			text = "git-models: the log is longer than is shown in a push; the run goes on\n"
		}
		spoke = time.Now()
		_, err := io.WriteString(f.out, text)
		return err
	}
	for {
		var err error
		select {
		case text := <-pieces:
			err = show(log.lines(text))
		case end := <-ended:
			if err := show(log.rest()); err != nil {
				return err
			}
			return end
		case <-tick.C:
			if err = f.out.Check(); err == nil && time.Since(spoke) >= f.beating {
				spoke = time.Now()
				_, err = io.WriteString(f.out, hook.Print([]*hook.Block{(&hook.Block{}).Say("%s", f.beat())}, &hook.Block{}))
			}
		}
		if err != nil {
			return err
		}
	}
}

const (
	// maxLogLine bounds a line that is shown, in characters.
	maxLogLine = 4000
	// maxHeld bounds what is kept of a line that does not end, in bytes.
	maxHeld = 64 << 10
)

// logText makes lines of a job's output that are harmless on a terminal and
// cannot be taken for ours.
type logText struct{ held []byte }

// lines takes a piece and returns the lines that it completes.
func (l *logText) lines(piece []byte) string {
	var out strings.Builder
	for {
		head, tail, ended := bytes.Cut(piece, []byte("\n"))
		if l.held = append(l.held, head...); !ended && len(l.held) < maxHeld {
			return out.String()
		}
		out.WriteString(logLine(l.held))
		l.held = l.held[:0]
		if piece = tail; !ended {
			return out.String()
		}
	}
}

// rest is a last line that did not end.
func (l *logText) rest() string {
	if len(l.held) == 0 {
		return ""
	}
	defer func() { l.held = nil }()
	return logLine(l.held)
}

// logLine is one line as it is shown. Of a progress bar, which goes back to the
// beginning of its line, the last state remains; colours go.
func logLine(line []byte) string {
	line = bytes.TrimRight(line, "\r")
	if i := bytes.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	text := strings.ReplaceAll(withoutColours(string(line)), "\t", "    ")
	if strings.HasPrefix(text, "git-models:") {
		text = " " + text
	}
	return gitmodels.Printable(text, maxLogLine) + "\n"
}

// withoutColours takes the sequences out by which terminals are told of colours
// (ECMA-48, SGR). All others are shown escaped.
func withoutColours(s string) string {
	var out strings.Builder
	for {
		i := strings.Index(s, "\x1b[")
		if i < 0 {
			out.WriteString(s)
			return out.String()
		}
		n := i + 2
		for n < len(s) && (s[n] >= '0' && s[n] <= '9' || s[n] == ';') {
			n++
		}
		if n == len(s) || s[n] != 'm' {
			out.WriteString(s[:n])
			s = s[n:]
			continue
		}
		out.WriteString(s[:i])
		s = s[n+1:]
	}
}
