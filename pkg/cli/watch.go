package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/wire"
)

func (p *program) watchCommand() *urfave.Command {
	return &urfave.Command{
		Name: "watch", Category: toLook,
		Usage:     "follow a run until it ends",
		UsageText: "SHA",
		Description: "Shows how a run stands until it ends, and then its outcome. On a terminal a few lines are " +
			"rewritten in place, with the end of the log; elsewhere a line comes only when something changes. ^C " +
			"leaves the run alone.\n\nIn a clone it is `git push -o follow origin <commit>:refs/run/status`, by your " +
			"own right to push, and shows the log as the server sends it.\n\n" +
			"Exit status 0: it succeeded. 1: it failed, was cancelled, or goes on unwatched.",
		Action: p.watch,
	}
}

// watch follows a run: on the server by asking the runner, in a clone by a push.
func (p *program) watch(c *urfave.Context) error {
	got, s, err := p.asked(c, 1, 1, "the commit")
	if err != nil {
		return err
	}
	switch {
	case s.server:
		err = s.named(c.Context, got[0], func(commit string) error { return p.watchServer(c.Context, s, commit) })
	default:
		err = p.watchClone(c.Context, s, got[0])
	}
	if c.Context.Err() != nil && err != nil {
		p.say("no longer watching; the run goes on")
		p.hint("git models watch " + quote(got[0]))
		return errSilent
	}
	return err
}

// watchClone lets the server show the log in a push.
func (p *program) watchClone(ctx context.Context, s *site, word string) error {
	commit, err := p.commitInClone(ctx, s, word)
	if err != nil {
		return err
	}
	if err := needOrigin(s); err != nil {
		return err
	}
	end := &endReader{out: p.out, refused: p.err, commit: commit}
	answer := &answerWriter{out: end}
	cmd := p.person(ctx, "-c", "color.remote=never", "push", "--no-verify", "--push-option="+gitmodels.WordFollow,
		remoteName, string(commit)+":"+string(gitmodels.ControlStatus.Ref()))
	cmd.Stderr = answer
	err = ended(ctx, cmd, cmd.Run())
	answer.close()
	switch {
	case err != nil:
		answer.out = p.err
		answer.release()
		return err
	case end.state != gitmodels.Succeeded:
		return errSilent // the server has said how it stands
	}
	return nil
}

// endReader passes on what the server says and notices how the run ended. A job
// cannot say it: the server puts a space before a line of the log that looks like
// its own.
type endReader struct {
	out, refused io.Writer // where words go, and those of a gate that refuses
	commit       gitmodels.CommitID
	state        gitmodels.State // the last one that was told
}

var standing = pattern(`^git-models: ([0-9a-f]{4,64}) ([a-z]+)`)

// Write takes whole lines.
func (r *endReader) Write(b []byte) (int, error) {
	if m := standing().FindSubmatch(b); m != nil && strings.HasPrefix(string(r.commit), string(m[1])) {
		r.state = gitmodels.State(m[2])
	}
	if r.state == "" && bytes.HasPrefix(b, []byte("git-models: refused ")) {
		r.out = r.refused // nothing but the refusal comes
	}
	return r.out.Write(b)
}

const (
	// watchPace is how often a run is looked at.
	watchPace = 500 * time.Millisecond
	// watchPatience is how often in a row asking may fail, as while a runner is
	// replaced by the next.
	watchPatience = 20
	// tailLines is how many lines of the log a live view shows.
	tailLines = 6
)

// watchServer looks at the run of the commit that word names until it ends.
func (p *program) watchServer(ctx context.Context, s *site, word string) error {
	v := &view{p: p, live: p.live()}
	defer v.clear()
	tick := time.NewTicker(watchPace)
	defer tick.Stop()
	var tail *tail
	failures, alone := 0, false
	for {
		row, err := p.show(ctx, s, word)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case isKind(err, gitmodels.Waiting):
			v.show(message(err), nil)
		case err != nil:
			if failures++; failures > watchPatience || v.last == "" {
				return err
			}
		case row.State == nil:
			return &gitmodels.Error{Kind: gitmodels.Invalid, Message: shown(row.Short) + " has not run (" + p.standing(row) + ")",
				Hint: "git models rerun " + shown(row.Short)}
		case row.State.Terminal():
			v.clear()
			return p.outcome(row)
		default:
			failures, word = 0, string(row.Commit)
			if !alone && wire.IsNoRunner(wire.Call(ctx, s.home, wire.Request{Op: wire.Ping}, nil)) {
				alone = true
				p.say("no runner is answering; this goes on when one does")
			}
			if v.live && tail.over() {
				tail = follow(ctx, s, row.Commit)
			}
			v.show(p.standing(row), tail.lines())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// live reports whether the answer goes to a terminal on which lines can be
// rewritten.
func (p *program) live() bool { return p.edges.Columns > 0 && !p.dumb() }

// standing is how a run stands, on one line without its elapsed time.
func (p *program) standing(row gitmodels.Listing) string {
	word, _ := stateOf(row)
	words := []string{word}
	for _, st := range slices.Backward(row.Stages) {
		if st.State == gitmodels.StageRunning {
			words = append(words, shown(string(st.Name)))
			break
		}
	}
	if row.Attempt != nil && *row.Attempt > 1 {
		words = append(words, fmt.Sprintf("attempt %d", *row.Attempt))
	}
	if row.Ahead != nil {
		words = append(words, fmt.Sprintf("%d before it", *row.Ahead))
	}
	switch {
	case row.State == nil && row.Reason != nil:
		words = append(words, text(row.Reason))
	case row.Waiting != nil:
		words = append(words, "waiting: "+text(row.Waiting))
	}
	return shown(row.Short) + "  " + strings.Join(words, ", ")
}

// outcome prints how a run ended; only success is none of the error errSilent.
func (p *program) outcome(row gitmodels.Listing) error {
	word, state := stateOf(row)
	line := p.bold(shown(row.Short)) + "  " + p.paint(word, state)
	took := p.took(row)
	if result := resultOf(row, ""); result != "" {
		line += "  " + clip(result, p.columns-width(row.Short)-width(word)-width(took)-6)
	}
	p.printf("%s\n", strings.TrimRight(line+"  "+took, " "))
	p.field("artifacts", text(row.Artifacts))
	if state != gitmodels.Succeeded {
		p.field("log", "git models logs "+shown(row.Short))
		p.field("again", gitmodels.ControlRerun.PushCommand(shown(row.Short)))
		return errSilent
	}
	return nil
}

// view is what a watched run looks like: on a terminal a few lines that are
// rewritten in place, elsewhere a line for every change.
type view struct {
	p     *program
	live  bool
	last  string    // what was said of the run
	since time.Time // when that began to be so
	drawn []string  // lines that stand on the terminal
}

// show tells how the run stands, and the end of its log.
func (v *view) show(standing string, tail []string) {
	changed := standing != v.last
	if changed {
		v.last, v.since = standing, v.p.now()
	}
	if !v.live {
		if changed {
			v.p.printf("%s\n", standing)
		}
		return
	}
	columns, rows := v.p.size()
	lines := []string{standing + "  " + v.elapsed()}
	for _, line := range tail[max(0, len(tail)-max(0, rows-4)):] {
		lines = append(lines, "  "+line)
	}
	lines = append(lines, "^C leaves the run alone")
	for i := range lines {
		lines[i] = clip(lines[i], columns-1)
	}
	if slices.Equal(lines, v.drawn) {
		return
	}
	var b strings.Builder
	b.WriteString(up(v.height(columns)))
	for i, line := range lines {
		switch i {
		case 0:
			line = v.p.bold(line)
		case len(lines) - 1:
			line = v.p.sgr(line, "2")
		}
		b.WriteString(line + clearLine + "\n")
	}
	v.p.printf("%s", b.String()+clearBelow)
	v.drawn = lines
}

// What terminals are told (ECMA-48). A screen that is cleared from its first line
// goes into the history of some, so lines are cleared one by one.
const (
	clearLine  = "\x1b[K"
	clearBelow = "\x1b[J"
)

// up goes to the beginning of the line n lines above.
func up(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\r", n)
}

// elapsed is how long the run has stood so.
func (v *view) elapsed() string {
	return "for " + (v.p.now().Sub(v.since)).Round(time.Second).String()
}

// clear takes the lines off the terminal.
func (v *view) clear() {
	columns, _ := v.p.size()
	if n := v.height(columns); n > 0 {
		v.p.printf("%s", up(n)+strings.Repeat(clearLine+"\n", n)+up(n))
	}
	v.drawn = nil
}

// height is how many lines of the terminal the drawn ones take. One that became
// narrower since has broken long lines.
func (v *view) height(columns int) int {
	n := 0
	for _, line := range v.drawn {
		n += max(1, (width(line)+columns-1)/columns)
	}
	return n
}

// tail keeps the last lines of a log that is written.
type tail struct {
	mu    sync.Mutex
	kept  []string
	part  []byte
	ended bool
}

// follow begins to read the log of a run from the runner.
func follow(ctx context.Context, s *site, commit gitmodels.CommitID) *tail {
	t := &tail{}
	go func() {
		err := wire.Call(ctx, s.home, wire.Request{Op: wire.Logs, Repository: s.path(), Commit: string(commit), Follow: true},
			func(r wire.Response) error { t.add(r.Text); return nil })
		t.end(err)
	}()
	return t
}

// maxPart bounds a line that does not end, in bytes.
const maxPart = 8 << 10

func (t *tail) add(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(b) > 0 {
		i := slices.IndexFunc(b, func(c byte) bool { return c == '\n' || c == '\r' })
		if i < 0 {
			t.part = append(t.part, b[:min(len(b), maxPart-min(maxPart, len(t.part)))]...)
			return
		}
		t.part = append(t.part, b[:min(i, maxPart-min(maxPart, len(t.part)))]...)
		if line := strings.TrimSpace(string(t.part)); line != "" {
			t.keep(line)
		}
		t.part, b = t.part[:0], b[i+1:]
	}
}

// keep adds a line: what is a control character is shown, never obeyed.
func (t *tail) keep(line string) {
	t.kept = append(t.kept, gitmodels.Printable(strings.ReplaceAll(line, "\t", "  "), 500))
	t.kept = t.kept[max(0, len(t.kept)-tailLines):]
}

// end says why nothing more comes, unless the run has ended or nobody serves.
func (t *tail) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	if err != nil && !wire.IsNoRunner(err) && !errors.Is(err, context.Canceled) {
		t.keep("(" + message(err) + ")")
	}
}

// over reports whether nothing more comes; so it is where nothing was begun.
func (t *tail) over() bool {
	if t == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended
}

// lines are the last ones.
func (t *tail) lines() []string {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.kept)
}
