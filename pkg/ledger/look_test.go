package ledger

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

func TestFind(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	a1, a2, a3 := commit("abcdef1234"), commit("abcdef12"), commit("abcdef99")
	skipped := commit("beef")
	b.push(a1) // abcdef1
	b.push(a2) // abcdef12
	b.push(a3) // abcdef9
	p := b.newPush("skipped", models, skipped)
	p.Skip = "no change"
	b.record(p)
	b.register("/srv/git/cats.git", "cats", gitmodels.Tip{Ref: models, Commit: commit("abcdef777")})
	for _, c := range []struct {
		prefix string
		want   gitmodels.CommitID
	}{
		{"abcdef1", a1}, // a short name, though two commits begin with it
		{"abcdef12", a2},
		{"abcdef123", a1},
		{"ABCDEF9", a3},
		{"abcdef99000", a3},
		{string(a2), a2},
		{"beef", skipped},
	} {
		if got, err := b.Find(t.Context(), b.repo.ID, c.prefix); err != nil || got != c.want {
			t.Errorf("%s is %s, %v; want %s", c.prefix, got, err, c.want)
		}
	}
	for _, c := range []struct {
		prefix string
		kind   gitmodels.Kind
		words  string
	}{
		{"abcdef", gitmodels.Invalid, "abcdef is ambiguous: abcdef120, abcdef123, abcdef990"},
		{"abcd", gitmodels.Invalid, "ambiguous"},
		{"abc", gitmodels.Invalid, "at least 4"},
		{"", gitmodels.Invalid, "at least 4"},
		{"HEAD", gitmodels.Invalid, "HEAD"},
		{"abcdefg", gitmodels.Invalid, "abcdefg"},
		{"abcdef%", gitmodels.Invalid, "abcdef%"},
		{"abcdef7", gitmodels.NotFound, "abcdef7"}, // of another repository
		{string(a1) + "0", gitmodels.NotFound, string(a1)},
		{"\x1b[31m", gitmodels.Invalid, `\x1b`},
	} {
		_, err := b.Find(t.Context(), b.repo.ID, c.prefix)
		wantKind(t, err, c.kind, c.words)
	}
}

func TestFindWithFullNames(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	x := gitmodels.CommitID(strings.Repeat("ab", 32))
	p := b.newPush("p", models, x)
	p.Abbrev = 0
	b.record(p)
	for _, prefix := range []string{"abab", string(x)} {
		if got, err := b.Find(t.Context(), b.repo.ID, prefix); err != nil || got != x {
			t.Errorf("%s: %s, %v", prefix, got, err)
		}
	}
}

// asJSON is a value as the commands print it.
func asJSON(t *testing.T, v any) string {
	t.Helper()
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestListAndShow(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	if rows, err := b.List(ctx, b.repo.ID, 0); err != nil || rows == nil || len(rows) != 0 {
		t.Errorf("an empty list: %#v, %v; want one that is [] in JSON", rows, err)
	}
	x, y, z := commit("aa"), commit("bb"), commit("cc")
	b.push(x)
	b.pass(time.Second)
	skip := b.newPush("skip", models, y)
	skip.Skip = "no change"
	b.record(skip)
	b.pass(time.Second)
	b.record(b.newPush("side", "refs/heads/models/side", x))
	b.record(b.newPush("again", models, x))
	b.pass(time.Second)

	c := b.claim("w")
	b.must(b.BeginStage(ctx, c, gitmodels.StageTrain, gitmodels.Submitted, "/runs/train.log"))
	_, err := b.Intend(ctx, c, gitmodels.StageTrain, "aa00000", "process")
	b.must(err)
	b.must(b.Confirm(ctx, c, gitmodels.StageTrain, "4711"))
	b.must(b.EndStage(ctx, c, gitmodels.StageTrain, gitmodels.StageDone, nil, ""))
	o := outcome(c, gitmodels.Succeeded)
	o.Values = append(o.Values, gitmodels.Metric{Name: "odd", Final: gitmodels.Number(math.Inf(-1))})
	b.must(b.Finish(ctx, c, o))

	const start = 1_800_000_000_000
	at := func(seconds int) string {
		return time.UnixMilli(start).Add(time.Duration(seconds) * time.Second).UTC().Format(time.RFC3339)
	}
	rows, err := b.List(ctx, b.repo.ID, 0)
	b.must(err)
	want := `[
  {
    "run": "aa00000",
    "commit": "` + string(x) + `",
    "short": "aa00000",
    "repository": "dogs",
    "refs": [
      "refs/heads/models",
      "refs/heads/models/side"
    ],
    "decision": "attached",
    "reason": "run aa00000 of this commit is queued",
    "state": "succeeded",
    "cause": "exit status 0",
    "waiting": null,
    "attempt": 1,
    "engine": "process",
    "job": "4711",
    "image": null,
    "digest": null,
    "build_key": null,
    "built": null,
    "artifacts": "file:///store/a",
    "metrics": "file:///store/m",
    "values": {
      "loss": 0.25,
      "odd": "-Infinity"
    },
    "created": "` + at(0) + `",
    "started": "` + at(3) + `",
    "finished": "` + at(3) + `"
  },
  {
    "run": null,
    "commit": "` + string(y) + `",
    "short": "bb00000",
    "repository": "dogs",
    "refs": [
      "refs/heads/models"
    ],
    "decision": "skipped",
    "reason": "no change",
    "state": null,
    "cause": null,
    "waiting": null,
    "attempt": null,
    "engine": null,
    "job": null,
    "image": null,
    "digest": null,
    "build_key": null,
    "built": null,
    "artifacts": null,
    "metrics": null,
    "values": null,
    "created": "` + at(1) + `",
    "started": null,
    "finished": null
  }
]`
	if diff := cmp.Diff(want, asJSON(t, rows)); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}

	row := b.show(x)
	if row.RunID != c.Run.ID || rows[0].RunID != c.Run.ID || rows[1].RunID != "" {
		t.Errorf("ids %q, %q and %q, want %q twice and none", row.RunID, rows[0].RunID, rows[1].RunID, c.Run.ID)
	}
	if diff := cmp.Diff(rows[0], withoutDetails(row)); diff != "" {
		t.Errorf("the row of show differs from that of ls:\n%s", diff)
	}
	type details struct {
		Subject, Name, Log           string
		Command, Overrides, Warnings []string
		Pushes                       []gitmodels.PushView
		Stages                       []gitmodels.StageView
	}
	begun := time.UnixMilli(start).Add(3 * time.Second).UTC()
	wantDetails := details{
		Subject: "train longer", Name: "aa00000", Log: "file:///store/log",
		Command: []string{"train"}, Overrides: []string{"lr=0.1"}, Warnings: []string{"the log was capped"},
		Pushes: []gitmodels.PushView{
			{Ref: models, Pusher: "ann", Decision: gitmodels.DecisionRun, Source: gitmodels.SourceHook, At: begun.Add(-3 * time.Second)},
			{Ref: "refs/heads/models/side", Pusher: "ann", Decision: gitmodels.DecisionAttached,
				Reason: "run aa00000 of this commit is queued", Source: gitmodels.SourceHook, At: begun.Add(-time.Second)},
			{Ref: models, Pusher: "ann", Decision: gitmodels.DecisionAttached,
				Reason: "run aa00000 of this commit is queued", Source: gitmodels.SourceHook, At: begun.Add(-time.Second)},
		},
		Stages: []gitmodels.StageView{
			{Name: gitmodels.StageTrain, State: gitmodels.StageDone, Tries: 1, Log: "/runs/train.log", Started: &begun, Finished: &begun},
			{Name: gitmodels.StagePublish, State: gitmodels.StageRunning, Started: &begun},
		},
	}
	if diff := cmp.Diff(wantDetails, details{row.Subject, row.Name, row.Log, row.Command, row.Overrides, row.Warnings, row.Pushes, row.Stages}); diff != "" {
		t.Errorf("details (-want +got):\n%s", diff)
	}

	// A rerun is news; the values are those of the attempt at hand.
	b.push(z)
	b.finish(b.claim("w"), gitmodels.Failed)
	_, err = b.Rerun(ctx, b.repo.ID, x, "bob", 7)
	b.must(err)
	rows, err = b.List(ctx, "", 2)
	b.must(err)
	if len(rows) != 2 || rows[0].Commit != x || rows[1].Commit != z || rows[0].Decision != gitmodels.DecisionRun ||
		rows[0].Values != nil || rows[0].Artifacts != nil || *rows[0].State != gitmodels.Queued || rows[0].Finished != nil || rows[0].Cause != nil {
		t.Errorf("the two newest: %s", asJSON(t, rows))
	}
	if row := b.show(x); row.Log != "" || row.Name != "aa00000-r2" || len(row.Stages) != 0 || len(row.Attempts) != 2 {
		t.Errorf("a queued rerun: %s", asJSON(t, row))
	}
	_, err = b.Show(ctx, b.repo.ID, commit("dead"))
	wantKind(t, err, gitmodels.NotFound)
	other := b.register("/srv/git/cats.git", "cats", gitmodels.Tip{Ref: models, Commit: x})
	for repo, want := range map[string]int{"": 4, b.repo.ID: 3, other.ID: 1, "nowhere": 0} {
		if rows, err := b.List(ctx, repo, 0); err != nil || len(rows) != want {
			t.Errorf("%d rows of %q, %v; want %d", len(rows), repo, err, want)
		}
	}
}

// withoutDetails is a row as ls has it.
func withoutDetails(l gitmodels.Listing) gitmodels.Listing {
	l.Subject, l.Name, l.Log, l.Command, l.Overrides, l.Warnings = "", "", "", nil, nil, nil
	l.Pushes, l.Attempts, l.Stages = nil, nil, nil
	return l
}

func TestTenThousandRuns(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	b.fill(10_000, 100)
	rows, err := b.List(ctx, b.repo.ID, 0)
	if err != nil || len(rows) != 10_000 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if len(rows[0].Refs) != 1 || len(rows[1].Refs) != 2 || len(rows[2].Refs) != 2 { // of 9999, 9998 and 9997
		t.Errorf("refs of the newest: %v, %v, %v", rows[0].Refs, rows[1].Refs, rows[2].Refs)
	}
	top, err := b.List(ctx, "", 20)
	b.must(err)
	if diff := cmp.Diff(rows[:20], top); diff != "" {
		t.Errorf("the newest twenty:\n%s", diff)
	}
	if n, err := b.Live(ctx); n != 100 || err != nil {
		t.Errorf("%d live, %v", n, err)
	}
	b.pass(time.Hour)
	for i := 99; i >= 0; i-- {
		c := b.claimOf("w", 100)
		if c == nil || c.Run.Commit != rows[i].Commit {
			t.Fatalf("claim %d: %+v, want %s", 99-i, c, rows[i].Commit)
		}
	}
	if c := b.claimOf("w", 100); c != nil {
		t.Errorf("claimed a run that has ended: %+v", c)
	}
	for _, r := range []gitmodels.Listing{rows[0], rows[5000], rows[9999]} {
		if got, err := b.Find(ctx, b.repo.ID, string(r.Commit[:8])); err != nil || got != r.Commit {
			t.Errorf("finding %s: %s, %v", r.Commit[:8], got, err)
		}
	}
	if base, ok, err := b.Base(ctx, b.repo.ID, models); base != rows[0].Commit || !ok || err != nil {
		t.Errorf("base %s, %v, %v; want %s", base, ok, err, rows[0].Commit)
	}
	b.must(b.Check(ctx))
}

// TestQueriesUseIndexes asks SQLite for its plans: what is asked at every poll
// and for every list must not walk the tables, and needs no sorting.
func TestQueriesUseIndexes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.fill(500, 50)
	const index, pk = "INDEX ", "sqlite_autoindex_"
	for name, q := range map[string]struct {
		query string
		args  int
		plan  []string // steps that must be there, in this order
	}{
		"endable":     {endableQuery, 1, []string{"r USING " + index + "runs_cancels", "s USING COVERING INDEX " + pk + "submissions_1"}},
		"begun":       {begunQuery, 2, []string{"runs USING " + index + "runs_begun"}},
		"heads":       {headsQuery, 1, []string{"SCAN repo", "r USING " + index + pk + "runs_1", "runs USING " + index + "runs_queue"}},
		"ready":       {readyQuery, 3, []string{"runs USING " + index + "runs_queue (repository_id=?)"}},
		"held":        {heldQuery, 1, []string{"runs USING " + index + "runs_leases"}},
		"free":        {freeQuery, 1, []string{"runs USING " + index + "runs_leases"}},
		"under way":   {underWayQuery, 1, []string{"runs USING " + index + "runs_begun", "runs USING " + index + "runs_leases"}},
		"lines":       {linesQuery, 1, []string{"SCAN repo", "runs USING COVERING INDEX runs_queue (repository_id=?)", "runs USING COVERING INDEX runs_queue (repository_id=?)"}},
		"higher":      {higherQuery, 3, []string{"runs USING COVERING INDEX runs_queue (repository_id=? AND priority>?)"}},
		"earlier":     {earlierQuery, 4, []string{"runs USING COVERING INDEX runs_queue (repository_id=? AND priority=? AND place<?)"}},
		"last":        {lastQuery, 4, []string{"pushes USING INDEX pushes_runs (repository_id=? AND ref=?)"}},
		"usual":       {usualOfRef, 3, []string{"runs USING INDEX runs_usual_ref (repository_id=? AND ref=?)"}},
		"usual, all":  {usualOfAll, 2, []string{"runs USING INDEX runs_usual (repository_id=?)"}},
		"told":        {toldQuery, 3, []string{"a USING INDEX " + pk + "attempts_1", "s USING INDEX " + pk + "stages_1"}},
		"live":        {liveQuery, 0, []string{"runs USING COVERING INDEX runs_queue"}},
		"list one":    {listQuery(true), 2, []string{"p USING INDEX pushes_order", "q USING COVERING INDEX pushes_commit"}},
		"list all":    {listQuery(false), 1, []string{"p USING INDEX " + pk + "pushes_1", "q USING COVERING INDEX pushes_commit"}},
		"all of one":  {everyRecordOf, 1, []string{"pushes USING INDEX pushes_order"}},
		"all":         {everyRecord + " ORDER BY seq", 0, []string{"pushes USING INDEX " + pk + "pushes_1"}},
		"runs of one": {everyRunOf, 1, []string{"SCAN r", "a USING INDEX " + pk + "attempts_1"}},
		"runs":        {everyRun, 0, []string{"SCAN r", "a USING INDEX " + pk + "attempts_1"}},
		"show":        {showQuery, 2, []string{"p USING INDEX pushes_commit"}},
		"records":     {recordsQuery, 2, []string{"pushes USING INDEX pushes_commit"}},
		"refs":        {refsQuery, 2, []string{"pushes USING INDEX pushes_commit"}},
		"prior":       {priorQuery, 7, []string{"pushes USING INDEX " + pk + "pushes_2", "pushes USING INDEX pushes_update"}},
		"known":       {knownQuery, 1, []string{"pushes USING COVERING INDEX pushes_update"}},
		"update":      {updateQuery, 3, []string{"pushes USING INDEX pushes_update"}},
		"base":        {baseQuery, 6, []string{"p USING INDEX pushes_runs (repository_id=? AND ref=?)"}},
		"find":        {findQuery, 3, []string{"pushes USING COVERING INDEX pushes_"}},
		"outbox":      {nextOutboxQuery, 2, []string{"o USING INDEX outbox_due (kind=? AND not_before<?)", "e USING COVERING INDEX " + pk + "outbox_2"}},
	} {
		args := make([]any, q.args)
		for i := range args {
			args[i] = 1
		}
		b.must(b.read(t.Context(), "explaining", func(tx *txn) error {
			rows, err := tx.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+q.query, args...)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			lines, err := scanAll(rows, func(s scanner) (line string, err error) {
				var id, parent, unused int
				err = s.Scan(&id, &parent, &unused, &line)
				return line, err
			})
			plan := strings.Join(lines, "\n")
			rest := plan
			for _, want := range q.plan {
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Errorf("%s: no %q in the plan\n%s", name, want, plan)
				}
				rest = after
			}
			if strings.Contains(plan, "AUTOMATIC") || strings.Contains(plan, "ORDER BY") {
				t.Errorf("%s sorts or builds an index:\n%s", name, plan)
			}
			return err
		}))
	}
}
