package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/spool"
	"github.com/git-models/git-models/pkg/wire"
)

func (p *program) statusCommand() *urfave.Command {
	return &urfave.Command{
		Name: "status", Category: toLook,
		Usage:     "say where things stand and what to type next",
		UsageText: "[--json]",
		Description: "In a clone: whether HEAD is trained, the line it would go to and how far the two are apart, " +
			"files that count and are not committed, the last outcomes, and the command to type next. It asks nobody: " +
			"what it says of the server is as of the last fetch.\n\n" +
			"On the server: whether a runner answers, what is queued, under way and waiting, and what is still to be published.",
		Flags:  []urfave.Flag{jsonFlag()},
		Action: p.status,
	}
}

// lastRows is how many outcomes a status tells of.
const lastRows = 3

func (p *program) status(c *urfave.Context) error {
	if _, err := words(c, 0, 0, ""); err != nil {
		return err
	}
	s, err := p.site(c.Context)
	if err != nil {
		return err
	}
	if s.repo == nil {
		return p.needRepository("status")
	}
	if s.server {
		st, err := p.serverStatus(c.Context, s)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return p.json(st)
		}
		p.serverText(st)
		return nil
	}
	h := p.past(c.Context, s)
	defer h.Close()
	st, err := h.cloneStatus(c.Context)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return p.json(st)
	}
	p.cloneText(st)
	return nil
}

// cloneStatus is where a clone stands. What is not known is null.
type cloneStatus struct {
	Branch      *gitmodels.RefName  `json:"branch"` // null: HEAD is on none
	Commit      *gitmodels.CommitID `json:"commit"` // null: nothing is committed yet
	Subject     string              `json:"subject"`
	Line        *gitmodels.RefName  `json:"line"`   // the governed ref HEAD goes to
	Tip         *gitmodels.CommitID `json:"tip"`    // of Line at the last fetch
	Ahead       *int                `json:"ahead"`  // commits of HEAD that Line lacks
	Behind      *int                `json:"behind"` // commits of Line that HEAD lacks
	Uncommitted []string            `json:"uncommitted"`
	Run         *gitmodels.Listing  `json:"run"` // of HEAD
	Last        []gitmodels.Listing `json:"last"`
	Next        string              `json:"next"` // a command to type; empty: nothing is left to do
	why         string              // there is no line
}

// cloneStatus looks at the clone alone.
func (h *past) cloneStatus(ctx context.Context) (cloneStatus, error) {
	s := h.site
	st := cloneStatus{Uncommitted: []string{}, Last: []gitmodels.Listing{}}
	if err := h.load(ctx); err != nil {
		return st, err
	}
	branch, err := currentBranch(ctx, s)
	if err != nil {
		return st, err
	}
	st.Branch = gitmodels.Absent(branch)
	head, err := s.repo.Peel(ctx, "HEAD")
	if isKind(err, gitmodels.NotFound) {
		return st, nil
	} else if err != nil {
		return st, err
	}
	st.Commit = &head
	info, err := h.session.Commit(ctx, head)
	if err != nil {
		return st, err
	}
	st.Subject = shown(info.Subject)
	if row, ok, err := h.row(ctx, head); err != nil {
		return st, err
	} else if ok {
		st.Run = &row
	}
	if st.Uncommitted, err = h.uncommitted(ctx, head); err != nil {
		return st, err
	}
	server, err := trackedHeads(ctx, s)
	if err != nil {
		return st, err
	}
	line, err := server.line(s, branch)
	if isKind(err, gitmodels.Invalid) {
		st.why = message(err)
		return st, nil
	} else if err != nil {
		return st, err
	}
	st.Line = &line
	if err := h.apart(ctx, &st, server.tips[line]); err != nil {
		return st, err
	}
	rows, _, err := h.log(ctx, string(line), lastRows)
	if isKind(err, gitmodels.NotFound) {
		err = nil // nothing was pushed there, as far as this clone knows
	}
	for _, row := range rows {
		st.Last = append(st.Last, row.Listing)
	}
	st.next()
	return st, err
}

// apart counts what HEAD and the line do not share.
func (h *past) apart(ctx context.Context, st *cloneStatus, tip gitmodels.CommitID) error {
	if tip == "" {
		return nil
	}
	st.Tip = &tip
	ahead, err := h.session.Count(ctx, tip, *st.Commit)
	if err != nil {
		return err
	}
	behind, err := h.session.Count(ctx, *st.Commit, tip)
	st.Ahead, st.Behind = &ahead, &behind
	return err
}

// next decides what to type.
func (st *cloneStatus) next() {
	source := "HEAD"
	if st.Branch != nil {
		source = st.Branch.Short()
	}
	push := pushCommand(source, *st.Line)
	switch {
	case st.Behind != nil && *st.Behind > 0 && *st.Ahead > 0:
		st.Next = "git fetch " + remoteName + " && git merge " + quote(remoteName+"/"+st.Line.Short())
	case st.Behind != nil && *st.Behind > 0:
		st.Next = "git merge --ff-only " + quote(remoteName+"/"+st.Line.Short())
	case st.Tip == nil || *st.Ahead > 0:
		st.Next = push
	case st.Run == nil:
		st.Next = "git models watch " + st.Commit.Short(7)
	case *st.Run.State == gitmodels.Failed, *st.Run.State == gitmodels.Cancelled:
		st.Next = gitmodels.ControlRerun.PushCommand(st.Run.Short)
	}
}

// uncommitted are the paths that differ from the commit and would start a run.
func (h *past) uncommitted(ctx context.Context, head gitmodels.CommitID) ([]string, error) {
	paths := []string{}
	if h.site.worktree == "" {
		return paths, nil
	}
	out, err := h.p.gitSays(ctx, "status", "--porcelain", "-z", "--untracked-files=all")
	if err != nil {
		return nil, err
	}
	own, err := h.parameters(ctx, head)
	if err != nil {
		return nil, err
	}
	fields := strings.Split(out, "\x00")
	for i := 0; i < len(fields); i++ {
		if len(fields[i]) < 4 {
			continue
		}
		state, path := fields[i][:2], fields[i][3:]
		if strings.ContainsAny(state, "RC") {
			i++ // the name it had
		}
		_, watched, err := own.filter.Match(ctx, []string{path})
		if err != nil {
			return nil, err
		}
		if watched || !own.known {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths, nil
}

func (p *program) cloneText(st cloneStatus) {
	if st.Commit == nil {
		p.printf("nothing is committed yet\n")
		return
	}
	on := "no branch"
	if st.Branch != nil {
		on = shown(st.Branch.Short())
	}
	p.field("HEAD", clip(st.Commit.Short(7)+" on "+on+": "+st.Subject, p.columns-fieldWidth))
	p.field("trained", p.trained(st))
	if st.Line != nil {
		p.field("line", shown(st.Line.Short())+p.distance(st))
	} else {
		p.prose("line", st.why)
	}
	for i, path := range st.Uncommitted {
		if i == maxUncommitted && len(st.Uncommitted) > maxUncommitted+1 {
			p.field("", "… "+count(len(st.Uncommitted)-i, "more file"))
			break
		}
		name := ""
		if i == 0 {
			name = "uncommitted"
		}
		p.printf("%-*s%s\n", fieldWidth, name, clip(shown(path), p.columns-fieldWidth))
	}
	if len(st.Last) > 0 {
		p.printf("\n")
		p.lsTable(st.Last, false, "")
	}
	p.printf("\n")
	if st.Next != "" {
		p.field("next", st.Next)
	} else if st.Line != nil {
		p.field("next", "nothing: HEAD is trained")
	}
}

// maxUncommitted is how many paths a status lists.
const maxUncommitted = 10

// trained says how HEAD stands.
func (p *program) trained(st cloneStatus) string {
	switch {
	case st.Run != nil:
		word, state := stateOf(*st.Run)
		result := clip(resultOf(*st.Run, ""), p.columns-fieldWidth-width(word)-24)
		return strings.TrimSpace(p.paint(word, state) + "  " + result + "  " + p.ago(whenOf(*st.Run)))
	case st.Ahead != nil && *st.Ahead == 0:
		return "pushed; no outcome has been fetched yet"
	}
	return "no"
}

// distance says how far HEAD and the line are apart.
func (p *program) distance(st cloneStatus) string {
	switch {
	case st.Tip == nil:
		return ", which does not exist yet"
	case *st.Ahead == 0 && *st.Behind == 0:
		return ", which is at HEAD"
	case *st.Behind == 0:
		return ", " + count(*st.Ahead, "commit") + " behind HEAD"
	case *st.Ahead == 0:
		return ", " + count(*st.Behind, "commit") + " ahead of HEAD"
	}
	return fmt.Sprintf(", which lacks %s of HEAD and has %d that HEAD lacks", count(*st.Ahead, "commit"), *st.Behind)
}

// serverStatus is where a server stands with one repository. What the caller may
// not know is null.
type serverStatus struct {
	Runner  *runnerStatus       `json:"runner"` // null: none answers
	Home    string              `json:"home"`
	Queued  int                 `json:"queued"`
	Live    []gitmodels.Listing `json:"live"` // queued ones too, the newest first
	Waiting map[string]int      `json:"waiting"`
	Spool   *int                `json:"spool"`  // pushes that are not taken up yet, of every repository
	Outbox  *int                `json:"outbox"` // outcomes that are not published yet, of every repository
	Last    []gitmodels.Listing `json:"last"`
}

type runnerStatus struct {
	Version string `json:"version"`
	PID     int    `json:"pid"`
}

func (p *program) serverStatus(ctx context.Context, s *site) (serverStatus, error) {
	st := serverStatus{Home: s.home, Live: []gitmodels.Listing{}, Waiting: map[string]int{}, Last: []gitmodels.Listing{}}
	err := wire.Call(ctx, s.home, wire.Request{Op: wire.Ping}, func(r wire.Response) error {
		st.Runner = &runnerStatus{r.Version, r.PID}
		return nil
	})
	if err != nil && !wire.IsNoRunner(err) {
		return st, err
	}
	rows, err := p.list(ctx, s, s.path(), recentRows)
	if err != nil {
		return st, err
	}
	for _, row := range rows {
		switch {
		case row.State == nil:
		case row.State.Terminal():
			if len(st.Last) < lastRows {
				st.Last = append(st.Last, row)
			}
		default:
			st.Live = append(st.Live, row)
			if *row.State == gitmodels.Queued {
				st.Queued++
			}
			if row.Waiting != nil {
				st.Waiting[*row.Waiting]++
			}
		}
	}
	if !owns(s.home) {
		return st, nil
	}
	entries, err := spool.Entries(s.home)
	if err != nil {
		return st, err
	}
	n := len(entries)
	st.Spool = &n
	cfg, done, err := p.wire(ctx, s.home)
	if err != nil {
		return st, err
	}
	pending, err := cfg.Ledger.PendingOutbox(ctx)
	if closeErr := done(); err == nil {
		err = closeErr
	}
	st.Outbox = &pending
	return st, err
}

func (p *program) serverText(st serverStatus) {
	switch {
	case st.Runner != nil:
		p.field("runner", fmt.Sprintf("answers: %s, process %d", shown(st.Runner.Version), st.Runner.PID))
	default:
		p.field("runner", "none answers; nothing is lost, pushes wait for one")
	}
	p.field("state", shown(st.Home))
	p.field("queue", fmt.Sprintf("%d queued, %d under way", st.Queued, len(st.Live)-st.Queued))
	for why, n := range sortedCounts(st.Waiting) {
		p.prose("waiting", fmt.Sprintf("%d: %s", n, shown(why)))
	}
	if st.Spool != nil && *st.Spool > 0 {
		p.field("spool", fmt.Sprintf("%d not taken up yet", *st.Spool))
	}
	if st.Outbox != nil {
		p.field("outbox", count(*st.Outbox, "outcome")+" to publish")
	}
	rows := slices.Concat(st.Live[:min(len(st.Live), tableRows)], st.Last)
	if len(rows) > 0 {
		p.printf("\n")
		p.lsTable(rows, false, "")
	}
	if st.Runner == nil {
		p.printf("\n")
		p.field("next", p.again("runner"))
	}
}

// sortedCounts gives the most frequent first.
func sortedCounts(counts map[string]int) func(yield func(string, int) bool) {
	names := make([]string, 0, len(counts))
	for name := range counts {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := counts[b] - counts[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return func(yield func(string, int) bool) {
		for _, name := range names {
			if !yield(name, counts[name]) {
				return
			}
		}
	}
}
