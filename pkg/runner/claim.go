package runner

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/policy"
)

// claimLoop starts a worker for every ready run, as far as there is room. It
// returns after its workers have.
func (r *Runner) claimLoop(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		for ctx.Err() == nil && r.anyLive(ctx) {
			r.refreshLimits(ctx)
			queue := r.newQueue()
			claim, err := r.cfg.Ledger.Claim(ctx, r.owner, r.cfg.Pace.Lease, r.limits.host, queue.admit)
			if err != nil && ctx.Err() == nil {
				r.say.warn("claim", "no run can be claimed", "cause", err.Error())
			}
			if err != nil {
				break
			}
			r.say.over("claim")
			if claim == nil {
				r.tellTurned(ctx, queue)
				break
			}
			w := r.newWorker(claim)
			all.Go(func() { w.work(ctx) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wakeClaim:
		case <-r.cfg.Clock.After(r.cfg.Pace.Claim):
		}
	}
}

// anyLive spares the look at policy while nothing is live. A ledger that does
// not answer is told of by the claim that follows.
func (r *Runner) anyLive(ctx context.Context) bool {
	live, err := r.cfg.Ledger.Live(ctx)
	return err != nil || live > 0
}

// hostLimits is what limits the queue, as policy was at some moment.
type hostLimits struct {
	host  int // runs at once on this host
	repos map[string]repoLimits
	at    time.Time
}

// repoLimits is what one repository may run at once.
type repoLimits struct {
	name string
	runs int
	more []policy.Limit
}

// refreshLimits reads every repository's policy, unless that was done a moment
// ago. The host's bound is the highest that any repository's policy gives: a
// repository's own file can only narrow what the administrator set, so this is at
// most that. A repository that cannot be read now may run one, whose worker then
// says what is wrong.
func (r *Runner) refreshLimits(ctx context.Context) {
	now := r.cfg.Clock.Now()
	if age := now.Sub(r.limits.at); r.limits.host > 0 && age >= 0 && age < r.cfg.Pace.Claim {
		return
	}
	repos, err := r.cfg.Ledger.Repositories(ctx)
	if err != nil {
		r.limits.host = max(r.limits.host, 1) // the claim that follows tells the cause
		return
	}
	r.limits = hostLimits{host: 1, repos: make(map[string]repoLimits, len(repos)), at: now}
	for _, repo := range repos {
		l := repoLimits{name: repo.Name, runs: 1}
		if _, pol, err := r.intake.open(ctx, repo); err == nil {
			l.runs, l.more = pol.LimitRuns, pol.Limits
		}
		r.limits.repos[repo.ID] = l
		r.limits.host = max(r.limits.host, l.runs)
	}
}

// queue is one look at the queue: it says which runs limits turn away, and why.
type queue struct {
	limits hostLimits
	short  func(runID string) string // the name of a run under way, or empty
	turned map[string]string         // by run id, what it waits for
	order  []string                  // their ids, as the queue has them
}

func (r *Runner) newQueue() *queue {
	return &queue{limits: r.limits, turned: map[string]string{}, short: func(id string) string {
		r.mu.Lock()
		defer r.mu.Unlock()
		if w := r.workers[id]; w != nil {
			return w.short
		}
		return ""
	}}
}

// admit says whether the limits of its repository leave a place for c beside the
// runs that are held.
func (q *queue) admit(c gitmodels.Candidate, held []gitmodels.Candidate) bool {
	l, ok := q.limits.repos[c.RepositoryID]
	if !ok {
		l = repoLimits{name: "the repository", runs: 1}
	}
	all := func(gitmodels.Candidate) bool { return true }
	if q.full(c, held, l.runs, all, l.name, "models.limit.runs") {
		return false
	}
	for _, more := range l.more {
		matches, who, key := all, l.name+" with "+more.Engine, more.Engine
		if more.Engine != "" {
			matches = func(o gitmodels.Candidate) bool { return o.Engine == more.Engine }
		} else {
			matches = func(o gitmodels.Candidate) bool { return o.Ref.Matches(more.Pattern) }
			who, key = l.name+" on "+more.Pattern, more.Pattern
		}
		if matches(c) && q.full(c, held, more.Runs, matches, who, "models.limit."+key+".runs") {
			return false
		}
	}
	return true
}

// full turns c away when as many runs of its repository as may run are held that
// count.
func (q *queue) full(c gitmodels.Candidate, held []gitmodels.Candidate, limit int, counts func(gitmodels.Candidate) bool, who, key string) bool {
	var names []string
	n := 0
	for _, h := range held {
		if h.RepositoryID != c.RepositoryID || !counts(h) {
			continue
		}
		n++
		if name := q.short(h.RunID); name != "" && len(names) < 3 {
			names = append(names, name)
		}
	}
	if n < limit {
		return false
	}
	text := fmt.Sprintf("%s%s may run %d at once (%s)", placeless, who, limit, key)
	switch {
	case len(names) == 1 && n == 1:
		text += ", " + names[0] + " runs"
	case len(names) == n:
		text += ", " + strings.Join(names, " and ") + " run"
	}
	q.turned[c.RunID] = text
	q.order = append(q.order, c.RunID)
	return true
}

// maxTold is how many of the runs that are turned away are told what they wait
// for: the first ones, for each word is a write, and the others wait for them.
const maxTold = 20

// tellTurned lets runs show which place they wait for, and no longer those that
// do not. A run that is turned away goes on by itself.
func (r *Runner) tellTurned(ctx context.Context, q *queue) {
	r.mu.Lock()
	for id := range q.turned {
		delete(r.gaps, id)
	}
	r.mu.Unlock()
	now := map[string]string{}
	for _, id := range q.order[:min(len(q.order), maxTold)] {
		now[id] = q.turned[id]
	}
	for id := range r.turned {
		if _, still := now[id]; !still {
			now[id] = ""
		}
	}
	for id, text := range now {
		if r.turned[id] == text {
			continue
		}
		if err := r.cfg.Ledger.Wait(ctx, id, text); err != nil {
			if ctx.Err() == nil {
				r.say.warn("wait "+id, "a run cannot be told what it waits for", "cause", err.Error())
			}
			continue // at the next look
		}
		r.say.over("wait " + id)
		if r.turned[id] = text; text == "" {
			delete(r.turned, id)
		}
	}
}
