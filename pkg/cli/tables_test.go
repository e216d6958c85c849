package cli

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// newProgram answers at noon into out, columns wide.
func newProgram(columns int, colour bool) (*program, *bytes.Buffer) {
	term, out, _ := newTerminal(columns)
	term.colour = colour
	return &program{terminal: term}, out
}

func ptr[T any](v T) *T { return &v }

// hostile is what a pusher may put into a subject, a name or a cause.
const hostile = "a\x1b[2Jb\u202ec\x00\u2066d\re 日本語\u0301 \U0001f680"

// sample are runs as they come, the newest first.
func sample() []gitmodels.Listing {
	run := func(n int, state gitmodels.State, more func(*gitmodels.Listing)) gitmodels.Listing {
		id := gitmodels.CommitID(fmt.Sprintf("%040x", 0xabc0000000+n*7919))
		row := gitmodels.Listing{Commit: id[30:] + id[:30], Repository: "dogs", Refs: []gitmodels.RefName{"refs/heads/models"},
			Decision: gitmodels.DecisionRun, State: &state, Attempt: ptr(1), Created: ptr(noon.Add(-time.Duration(n) * time.Hour)),
			Started: ptr(noon.Add(-time.Duration(n) * time.Hour))}
		row.Short = row.Commit.Short(7)
		row.Run = &row.Short
		if state.Terminal() {
			row.Finished = ptr(row.Started.Add(14*time.Minute + 2*time.Second))
		}
		more(&row)
		return row
	}
	values := func(v ...float64) map[string]gitmodels.Number {
		m := map[string]gitmodels.Number{}
		for i, name := range []string{"val_accuracy", "loss", "train/" + hostile}[:len(v)] {
			m[name] = gitmodels.Number(v[i])
		}
		return m
	}
	return []gitmodels.Listing{
		run(1, gitmodels.Running, func(r *gitmodels.Listing) { r.Subject = "try a longer warm-up" }),
		run(2, gitmodels.Succeeded, func(r *gitmodels.Listing) {
			r.Subject, r.Values, r.Best = "lower the learning rate, as the curve oscillates", values(0.913, 0.241), true
		}),
		run(5, gitmodels.Failed, func(r *gitmodels.Listing) {
			r.Subject, r.Cause = hostile+strings.Repeat(" wide 長い", 60), ptr("exit status 3 after "+hostile)
		}),
		run(29, gitmodels.Succeeded, func(r *gitmodels.Listing) {
			r.Subject, r.Values = "日本語の件名をつけたコミット", values(0.9, math.NaN(), math.Inf(1))
			r.Refs = append(r.Refs, "refs/heads/models/\U0001f680")
		}),
		run(400, gitmodels.Cancelled, func(r *gitmodels.Listing) { r.Subject, r.Cause = "", ptr("cancelled by alice") }),
	}
}

func sampleLog() []logRow {
	rows := sample()
	log := make([]logRow, len(rows))
	for i, row := range rows {
		log[i].Listing = row
		if v, ok := row.Values["val_accuracy"]; ok {
			log[i].Metric, log[i].Value = ptr("val_accuracy"), &v
		}
	}
	log[0].changes = gitmodels.ParamChanges([]string{"warmup=100", "optimizer.lr=0.003"}, []string{"warmup=500", "optimizer.lr=0.003"})
	log[1].changes = gitmodels.ParamChanges([]string{"optimizer.lr=0.01", "seed=7"}, []string{"optimizer.lr=0.003", "dropout=0.1"})
	log[1].Difference = ptr(gitmodels.Number(0.013))
	log[2].changes = gitmodels.ParamChanges([]string{"a.x=1", "b.x=1"}, []string{"a.x=2", "b.x=" + hostile})
	return log
}

// Every table fits, aligns and says nothing foreign to the terminal, at every
// width, in colour and without.
func TestTables(t *testing.T) {
	t.Parallel()
	curve := func(from, to float64) []gitmodels.Point {
		var points []gitmodels.Point
		for i := range 40 {
			points = append(points, gitmodels.Point{Step: gitmodels.Number(i), Value: gitmodels.Number(from + (to-from)*math.Sqrt(float64(i)/39))})
		}
		points[7].Value = gitmodels.Number(math.NaN())
		return points
	}
	rows, log := sample(), sampleLog()
	shows := details{Listing: rows[2], before: rows[3], changes: log[2].changes, curves: []gitmodels.Metric{
		{Name: "loss", Final: 0.241, Points: curve(0.9, 0.241)}, {Name: hostile, Final: 1, Points: curve(1, 1)}}}
	shows.Overrides, shows.Priority, shows.Ahead = []string{"a.x=2", "b.x=" + hostile, "seed=7"}, 5, ptr(3)
	shows.Image, shows.Digest, shows.BuildKey, shows.Built = ptr("registry/dogs"), ptr("sha256:0123"), ptr("k"), ptr(false)
	compared := comparison{A: rows[3], B: rows[1], Parameters: paramViews(log[1].changes), changes: log[1].changes,
		Files: &changedFiles{Count: 30, Paths: []string{"src/train.py", "odd/" + hostile}},
		Values: []valuePair{{Name: "val_accuracy", A: ptr(gitmodels.Number(0.9)), B: ptr(gitmodels.Number(0.913)), Difference: ptr(gitmodels.Number(0.013))},
			{Name: "loss", A: ptr(gitmodels.Number(0.2)), B: ptr(gitmodels.Number(0.241)), Difference: ptr(gitmodels.Number(0.041))},
			{Name: hostile, B: ptr(gitmodels.Number(math.Inf(1)))}},
		Curves: []curvePair{{Name: "loss", A: curve(0.9, 0.2), B: curve(0.7, 0.241)}, {Name: "only in B", B: curve(0, 1)}}}
	line, tip, head := gitmodels.RefName("refs/heads/models"), rows[1].Commit, rows[0].Commit
	stands := cloneStatus{Branch: ptr(gitmodels.RefName("refs/heads/main")), Commit: &head, Subject: shown(hostile), Line: &line, Tip: &tip,
		Ahead: ptr(2), Behind: ptr(0), Uncommitted: []string{"src/train.py", hostile}, Last: rows[1:4]}
	stands.next()
	tests := map[string]func(p *program){
		"ls":      func(p *program) { p.lsTable(rows, false, "loss") },
		"ls-all":  func(p *program) { p.lsTable(rows, true, "") },
		"log":     func(p *program) { p.logTable(log) },
		"show":    func(p *program) { p.showText(shows) },
		"compare": func(p *program) { p.compareText(compared) },
		"status":  func(p *program) { p.cloneText(stands) },
		"server": func(p *program) {
			p.serverText(serverStatus{Home: "/srv/git-models", Queued: 0, Live: rows[:1], Waiting: map[string]int{"gpu": 2, hostile: 3}, Spool: ptr(1), Outbox: ptr(2), Last: rows[1:4]})
		},
		"unnamed": func(p *program) { mixed := sampleLog(); mixed[3].Metric = ptr("f1"); p.logTable(mixed) },
	}
	colours := regexp.MustCompile("\x1b\\[[0-9]*m")
	for name, print := range tests {
		for _, columns := range []int{80, 120} {
			t.Run(fmt.Sprintf("%s-%d", name, columns), func(t *testing.T) {
				t.Parallel()
				p, out := newProgram(columns, false)
				print(p)
				text := out.String()
				golden(t, fmt.Sprintf("tables/%s-%d.txt", name, columns), text)
				noControls(t, name, text)
				for line := range strings.Lines(text) {
					// What is to be pasted keeps to one line.
					if w := width(strings.TrimSuffix(line, "\n")); w > columns && !strings.HasPrefix(line, "again") {
						t.Errorf("%d columns of %d: %s", w, columns, line)
					}
				}
				p, out = newProgram(columns, true)
				print(p)
				coloured := out.String()
				if coloured == text {
					t.Error("no colour")
				}
				if diff := cmp.Diff(text, colours.ReplaceAllString(coloured, "")); diff != "" {
					t.Errorf("colour changes more than colours (-without +with):\n%s", diff)
				}
				golden(t, fmt.Sprintf("tables/%s-%d-colour.txt", name, columns), strings.ReplaceAll(coloured, "\x1b", "^["))
			})
		}
	}
}

func TestBetter(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"loss": -1, "val_loss": -1, "train/logloss": -1, "val_accuracy": 1, "eval/acc/cats": 1, "mAP50": 1,
		"metrics/mAP50-95(B)": 1, "rmse": -1, "epoch": 0, "width": 0, "": 0, "glossary": 0} {
		if got := better(name, nil); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	if got := better("loss", &gitmodels.Best{Metric: "loss", Mode: "max"}); got != 1 {
		t.Errorf("results.best does not win: %d", got)
	}
	if got := better("loss", &gitmodels.Best{Metric: "acc", Mode: "max"}); got != -1 {
		t.Errorf("results.best of another metric: %d", got)
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"val_accuracy": "1 3 0 2 4", "-val_accuracy": "3 1 0 2 4", "loss": "1 0 2 3 4", "took": "0 1 2 3 4", "-took": "1 2 3 4 0",
		"created": "0 1 2 3 4", "-created": "4 3 2 1 0", "nothing": "0 1 2 3 4",
	} {
		rows := sample()
		names := map[gitmodels.CommitID]int{}
		for i, row := range rows {
			names[row.Commit] = i
		}
		p, _ := newProgram(80, false)
		order(rows, key, false, p.tookOf)
		var got []string
		for _, row := range rows {
			got = append(got, fmt.Sprint(names[row.Commit]))
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
}

func TestSince(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	for word, want := range map[string]time.Time{
		"2h": noon.Add(-2 * time.Hour), "90 minutes ago": noon.Add(-90 * time.Minute), "3d": noon.Add(-3 * day), "2.weeks.ago": noon.Add(-14 * day),
		"1 month": noon.AddDate(0, -1, 0), "today": noon.Add(-12 * time.Hour), "Yesterday": noon.Add(-36 * time.Hour),
		"2027-01-31": time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC), "2027-01-31 10:30": time.Date(2027, 1, 31, 10, 30, 0, 0, time.UTC),
		"2027-01-31T10:30:00+01:00": time.Date(2027, 1, 31, 9, 30, 0, 0, time.UTC), "30s": noon.Add(-30 * time.Second), "1year": noon.AddDate(-1, 0, 0),
	} {
		if got, err := since(word, noon); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v, want %v", word, got, err, want)
		}
	}
	for _, word := range []string{"", "soon", "-3d", "3", "d", "99999999d", "2027-13-01", "3d\x1b[2J"} {
		if got, err := since(word, noon); err == nil || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: %v, %v", word, got, err)
		}
	}
}

func TestSpark(t *testing.T) {
	t.Parallel()
	series := func(values ...float64) (points []gitmodels.Point) {
		for i, v := range values {
			points = append(points, gitmodels.Point{Step: gitmodels.Number(i), Value: gitmodels.Number(v)})
		}
		return points
	}
	nan, inf := math.NaN(), math.Inf(1)
	for want, points := range map[string][]gitmodels.Point{
		"": nil, "▅": series(3), "▁█": series(1, 2), "▁▅█": series(0, 0.5, 1), "▅▅▅": series(2, 2, 2), "·": series(nan), "▁·█·": series(0, nan, 1, inf),
		"▁█▅": series(-math.MaxFloat64, math.MaxFloat64, 0),
	} {
		if got := spark(points, 10, spanOf(points)); got != want {
			t.Errorf("%v: %s, want %s", points, got, want)
		}
	}
	if got := spark(series(0, 0, 1, 1, 2, 2), 3, span{0, 4}); got != "▁▃▅" {
		t.Errorf("in the range of another: %s", got)
	}
}

func FuzzSpark(f *testing.F) {
	f.Add(1.0, math.MaxFloat64, math.NaN(), 3)
	f.Fuzz(func(t *testing.T, a, b, c float64, columns int) {
		points := []gitmodels.Point{{Value: gitmodels.Number(a)}, {Value: gitmodels.Number(b)}, {Value: gitmodels.Number(c)}}
		if got := spark(points, columns, spanOf(points)); width(got) > max(0, columns) {
			t.Errorf("%d columns of %d", width(got), columns)
		}
	})
}
