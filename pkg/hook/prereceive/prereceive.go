// Package prereceive is the gate as git runs it: the lines and the environment
// of pre-receive in, words to the pusher and an exit status out.
//
// It fails closed: whatever goes wrong refuses the push. It writes nothing but
// the operator's log, for the objects that it sees may never become part of the
// repository. It must not reach SQL, net/http, a command-line library or a
// cloud's SDK.
package prereceive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gate"
	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
	"github.com/git-models/git-models/pkg/hook"
	"github.com/git-models/git-models/pkg/pipeline/dockerfile"
	"github.com/git-models/git-models/pkg/policy"
)

const (
	// deadline bounds the whole judgement: git has none for hooks, and the
	// pusher waits.
	deadline = 60 * time.Second
	// grace is for children to die of the deadline and for the log.
	grace = 5 * time.Second
)

// Run judges the push and returns the exit status: 0 lets it pass.
func Run(e hook.Edges) int { return run(e, deadline, judge) }

// judgement is what became of a push: words, and whether they refuse it. A plan
// that was asked for instead of a push refuses it, too, with nothing wrong.
type judgement struct {
	blocks  []*hook.Block
	refused bool
	planned bool
}

// judging is the part of a hook that may go wrong in any way.
type judging func(ctx context.Context, e hook.Edges, input []byte, home *string) (judgement, error)

func run(e hook.Edges, limit time.Duration, judge judging) int {
	var home string
	input, err := hook.ReadInput(e.Stdin)
	if err != nil {
		return broken(e, home, err)
	}
	if status, err := e.Chain("pre-receive", input); err != nil {
		return broken(e, home, err)
	} else if status != 0 {
		return status
	}
	if e.Wiki() {
		return 0
	}

	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	type answer struct {
		judgement
		home string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			if p := recover(); p != nil {
				a.err = fmt.Errorf("panic: %v; %s", p, debug.Stack())
			}
			answers <- a
		}()
		a.judgement, a.err = judge(ctx, e, input, &a.home)
	}()
	select {
	case a := <-answers:
		if a.err != nil && ctx.Err() != nil {
			a.err = fmt.Errorf("no judgement within %s: %w", limit, a.err)
		}
		if a.err != nil {
			return broken(e, a.home, a.err)
		}
		return say(e, a.judgement)
	case <-time.After(limit + grace):
		return broken(e, policy.DefaultHome(e.Getenv), fmt.Errorf("no judgement within %s", limit))
	}
}

// broken refuses a push that could not be judged: one line for the pusher, the
// cause for the operator, under the same id.
func broken(e hook.Edges, home string, cause error) int {
	if home == "" {
		home = policy.DefaultHome(e.Getenv)
	}
	id := hook.NewFaultID()
	where := " (id " + id + ")"
	if err := hook.Log(home, "pre-receive", id, e.Dir, cause); err != nil {
		where = ", and its log as well"
	}
	fmt.Fprintf(e.Stderr, "git-models: refused, nothing moved: the gate failed%s\n", where)
	return 1
}

// say prints a judgement. A push that passes without a warning passes in
// silence: its refs may still lose a race.
func say(e hook.Edges, j judgement) int {
	if len(j.blocks) == 0 && !j.refused && !j.planned {
		return 0
	}
	tail := &hook.Block{}
	status := 0
	switch {
	case j.refused:
		tail.Say("nothing moved: a push is taken as a whole or not at all")
		status = 1
	case j.planned:
		tail.Whole(planOnly)
		status = 1
	}
	if _, err := io.WriteString(e.Stderr, hook.Print(j.blocks, tail)); err != nil {
		return 1
	}
	return status
}

// judge answers for the whole push. home is set as soon as it is known, for the
// log of what goes wrong later.
func judge(ctx context.Context, e hook.Edges, input []byte, home *string) (judgement, error) {
	repo, err := hook.Locate(e, gitrepo.WithQuarantine(e.Env))
	if err != nil {
		return judgement{}, err
	}
	updates, linesErr := hook.ParseLines(input, repo.IDLength())
	session := repo.Session(ctx)
	defer session.Close()
	history := hook.NewHistory(session)
	// What a governed push needs begins while a child reads the policy. What goes
	// wrong with it is an error when the answer is asked for.
	history.Begin(ctx, updates)
	site, err := hook.Read(ctx, e, repo)
	if err != nil {
		return judgement{}, err
	}
	*home = site.Policy.Home
	if linesErr != nil {
		return judgement{}, linesErr
	}
	if len(updates) == 0 {
		return judgement{}, errors.New("git named no update")
	}
	push := gate.Push{Updates: updates, Button: button(e)}
	options, optionsErr := e.PushOptions()
	push.Options = options
	verdict, err := gate.Judge(ctx, push, hook.Rules(site.Policy), history)
	if err != nil {
		return judgement{}, err
	}
	if len(verdict.Governed) == 0 && len(verdict.Asked) == 0 && len(verdict.Refusals) == 0 {
		return judgement{}, nil
	}
	if len(verdict.Governed) > 0 || len(verdict.Asked) > 0 {
		if err := ready(e, site); err != nil {
			return judgement{}, err
		}
		if optionsErr != nil {
			verdict.Refusals = append(verdict.Refusals, gate.Refusal{What: "the push options", Why: optionsErr.Error()})
		}
	}
	if len(verdict.Refusals) > 0 {
		return judgement{blocks: refusals(verdict.Refusals), refused: true}, nil
	}
	return consider(ctx, hook.Sight{Site: site, Objects: session, Steer: gitmodels.Steer(options), Dockerfile: dockerfile.Check}, verdict)
}

// ready says why governed refs cannot be judged here at all.
func ready(e hook.Edges, site hook.Site) error {
	if ns := e.Getenv("GIT_NAMESPACE"); ns != "" {
		return fmt.Errorf("GIT_NAMESPACE is %s: governed refs are not served in namespaces", hook.Shown(ns))
	}
	for _, problem := range site.Problems {
		switch strings.ToLower(problem.Key) {
		case "models.refs", "models.layout", "models.source", "models.validate", "models.home", "models.notesref":
			return fmt.Errorf("the configuration cannot be followed: %s", problem)
		}
	}
	return nil
}

// button is what merged on the server, by the variables that Gitea, Forgejo and
// GitLab document.
func button(e hook.Edges) string {
	set := func(key string) bool { v := e.Getenv(key); return v != "" && v != "0" }
	switch {
	case set("GITEA_PR_ID"), set("GITEA_PR_INDEX"), strings.HasPrefix(e.Getenv("GITEA_PUSH_TRIGGER"), "pr-merge"):
		return "the merge button"
	case e.Getenv("GL_PROTOCOL") == "web":
		return "GitLab's web interface"
	}
	return ""
}

// refusals puts the gate's reasons into words.
func refusals(reasons []gate.Refusal) []*hook.Block {
	var blocks []*hook.Block
	for _, r := range reasons {
		b := (&hook.Block{}).Say("refused %s: %s", hook.Shown(r.What), r.Why)
		for _, more := range r.More {
			b.Say("%s", more)
		}
		for _, h := range r.Hints {
			if h.For != "" {
				b.Say("%s", h.For)
			}
			b.Hint(h.Command)
		}
		if r.Server != "" {
			b.Whole("on the server: " + r.Server)
		}
		blocks = append(blocks, b)
	}
	return blocks
}
