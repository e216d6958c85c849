package publish

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const commit = gitmodels.CommitID("5a32b0f1c2d3e4f5061728394a5b6c7d8e9f0a1b")

// finished returns an outcome as the runner would hand it over.
func finished() gitmodels.Outcome {
	end := time.Date(2027, 3, 3, 12, 14, 2, 0, time.UTC)
	return gitmodels.Outcome{
		State: gitmodels.Succeeded, Cause: "training ended with status 0",
		Run: "5a32b0f", Attempt: 1, Name: "5a32b0f", Commit: commit, Ref: "refs/heads/models",
		Engine: "sagemaker", Job: "5a32b0f",
		Artifacts: "s3://my-models/artifacts/5a32b0f", Metrics: "s3://my-models/metrics/5a32b0f",
		Values:  []gitmodels.Metric{{Name: "loss", Final: 0.241}, {Name: "val_accuracy", Final: 0.91300000001}},
		Started: end.Add(-842 * time.Second), Finished: end,
	}
}

func TestNote(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		change   func(*gitmodels.Outcome)
		previous []Previous
		want     string
	}{
		{name: "succeeded", change: func(*gitmodels.Outcome) {}, want: `succeeded  val_accuracy=0.913 loss=0.241  14m02s

State: succeeded
Run: 5a32b0f
Attempt: 1
Commit: 5a32b0f1c2d3e4f5061728394a5b6c7d8e9f0a1b
Ref: refs/heads/models
Engine: sagemaker 5a32b0f
Cause: training ended with status 0
Artifacts: s3://my-models/artifacts/5a32b0f
Metrics: s3://my-models/metrics/5a32b0f
Metric: val_accuracy=0.91300000001
Metric: loss=0.241
Finished: 2027-03-03T12:14:02Z
Duration: 842
`},
		{name: "failed", previous: []Previous{{1, gitmodels.Cancelled, "by alice"}}, change: func(o *gitmodels.Outcome) {
			o.State, o.Cause, o.Attempt, o.Job, o.Name = gitmodels.Failed, "exit status 3", 2, "5a32b0f-r2", "5a32b0f-r2"
			o.Values, o.Artifacts, o.Metrics = nil, "", ""
			o.Log = "file:///srv/models/store/dogs/artifacts/5a32b0f-r2/train.log"
		}, want: `failed  exit status 3  14m02s

State: failed
Run: 5a32b0f
Attempt: 2
Commit: 5a32b0f1c2d3e4f5061728394a5b6c7d8e9f0a1b
Ref: refs/heads/models
Engine: sagemaker 5a32b0f-r2
Cause: exit status 3
Log: file:///srv/models/store/dogs/artifacts/5a32b0f-r2/train.log
Previous: attempt 1 cancelled: by alice
Finished: 2027-03-03T12:14:02Z
Duration: 842
Again: git push origin 5a32b0f:refs/run/rerun
`},
		{name: "cancelled before it began", change: func(o *gitmodels.Outcome) {
			*o = gitmodels.Outcome{State: gitmodels.Cancelled, Cause: "by alice", Run: "5a32b0f", Attempt: 1, Name: "5a32b0f",
				Commit: commit, Finished: o.Finished}
		}, want: `cancelled  by alice

State: cancelled
Run: 5a32b0f
Attempt: 1
Commit: 5a32b0f1c2d3e4f5061728394a5b6c7d8e9f0a1b
Cause: by alice
Finished: 2027-03-03T12:14:02Z
Again: git push origin 5a32b0f:refs/run/rerun
`},
		{name: "ranked by its own metric, and resumed", change: func(o *gitmodels.Outcome) {
			o.Best = &gitmodels.Best{Metric: "loss  of it ", Mode: "min"}
			o.Values[0].Name = "loss  of it "
			o.Attempt = 2
			o.Cause, o.Artifacts, o.Metrics = "", "", ""
		}, want: `succeeded  loss  of it\x20=0.241 val_accuracy=0.913  14m02s

State: succeeded
Run: 5a32b0f
Attempt: 2
Name: 5a32b0f
Commit: 5a32b0f1c2d3e4f5061728394a5b6c7d8e9f0a1b
Ref: refs/heads/models
Engine: sagemaker 5a32b0f
Best: loss  of it  min
Metric: loss  of it\x20=0.241
Metric: val_accuracy=0.91300000001
Finished: 2027-03-03T12:14:02Z
Duration: 842
`},
		{name: "values beyond numbers, names that forge", change: func(o *gitmodels.Outcome) {
			o.Cause = ""
			o.Artifacts, o.Metrics = "", ""
			o.Values = []gitmodels.Metric{
				{Name: "a=b", Final: gitmodels.Number(math.NaN())},
				{Name: "x\nState: failed\n\nState", Final: gitmodels.Number(math.Inf(-1))},
				{Name: " \\ \u202e\U000e0041\xff ", Final: 1e300},
			}
		}, want: `succeeded  \x20\\ \u202e\U000e0041\xff\x20=1e+300 a=b=NaN  14m02s

State: succeeded
Run: 5a32b0f
Attempt: 1
Commit: 5a32b0f1c2d3e4f5061728394a5b6c7d8e9f0a1b
Ref: refs/heads/models
Engine: sagemaker 5a32b0f
Metric: \x20\\ \u202e\U000e0041\xff\x20=1e+300
Metric: a=b=NaN
Metric: x\x0aState: failed\x0a\x0aState=-Infinity
Finished: 2027-03-03T12:14:02Z
Duration: 842
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := finished()
			tt.change(&o)
			got := Note(o, tt.previous)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("note (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(trailersByHand(got), trailersByGit(t, got)); diff != "" {
				t.Errorf("git reads other trailers (-ours +git's):\n%s", diff)
			}
		})
	}
}

// trailersByHand are the lines of the last paragraph.
func trailersByHand(note string) string {
	return note[strings.LastIndex(note, "\n\n")+2:]
}

// trailersByGit is what git's own parser makes of a note.
func trailersByGit(t *testing.T, note string) string {
	t.Helper()
	cmd := exec.Command("git", "interpret-trailers", "--parse")
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir, "GIT_CONFIG_NOSYSTEM=1"}
	cmd.Stdin = strings.NewReader(note)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git interpret-trailers: %v\n%s", err, out)
	}
	return string(out)
}

func TestNoteIsBounded(t *testing.T) {
	t.Parallel()
	o := finished()
	o.Cause = strings.Repeat("\x00", 1<<20)
	o.Values = nil
	for i := range 5000 {
		o.Values = append(o.Values, gitmodels.Metric{Name: fmt.Sprintf("m%04d%s", i, strings.Repeat("é", 500)), Final: 1})
	}
	previous := make([]Previous, 500)
	for i := range previous {
		previous[i] = Previous{i + 1, gitmodels.Failed, o.Cause}
	}
	note := Note(o, previous)
	if len(note) > 32<<10 {
		t.Errorf("a note of %d bytes", len(note))
	}
	if !utf8.ValidString(note) {
		t.Error("cut in the middle of a character")
	}
	if n := utf8.RuneCountInString(note[:strings.IndexByte(note, '\n')]); n > maxHeadline {
		t.Errorf("headline of %d columns", n)
	}
	p, ok := ParseNote(note, commit)
	if !ok || len(p.Values) != maxMetrics || p.MoreMetrics != 5000-maxMetrics {
		t.Errorf("ok %v, %d values, %d more", ok, len(p.Values), p.MoreMetrics)
	}
	if !strings.HasPrefix(p.Values[0].Name, "m0000") {
		t.Errorf("the first metric is %q", p.Values[0].Name)
	}
	if got := p.Previous[len(p.Previous)-1]; len(p.Previous) != maxPrevious || got.N != 500 {
		t.Errorf("%d previous attempts, the last is %d", len(p.Previous), got.N)
	}
	if diff := cmp.Diff(trailersByHand(note), trailersByGit(t, note)); diff != "" {
		t.Errorf("git reads other trailers (-ours +git's):\n%s", diff)
	}
}

func TestParseNoteRoundTrip(t *testing.T) {
	t.Parallel()
	o := finished()
	o.Values = []gitmodels.Metric{{Name: "val", Final: gitmodels.Number(math.Inf(1))}, {Name: "a = b\n", Final: -0.25}}
	p, ok := ParseNote(Note(o, []Previous{{1, gitmodels.Failed, "exit status 1"}}), commit)
	if !ok {
		t.Fatal("not recognised")
	}
	want := Parsed{Outcome: o, Previous: []Previous{{1, gitmodels.Failed, "exit status 1"}}}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseNoteTrustsNothing(t *testing.T) {
	t.Parallel()
	good := Note(finished(), nil)
	tests := map[string]struct {
		text string
		ok   bool
	}{
		"empty":                {"", false},
		"words":                {"reviewed, looks fine", false},
		"another commit":       {strings.ReplaceAll(good, string(commit), strings.Repeat("a", 40)), false},
		"a state that is none": {strings.ReplaceAll(good, "State: succeeded", "State: great"), false},
		"not an end":           {strings.ReplaceAll(good, "State: succeeded", "State: running"), false},
		"attempt zero":         {strings.ReplaceAll(good, "Attempt: 1", "Attempt: 0"), false},
		"attempt negative":     {strings.ReplaceAll(good, "Attempt: 1", "Attempt: -1"), false},
		"attempt immense":      {strings.ReplaceAll(good, "Attempt: 1", "Attempt: 99999999999999999999"), false},
		"the first state wins": {good + "State: failed\n", true},
		"unknown keys":         {good + "Image: dogs@sha256:00\n", true},
		"carriage returns":     {strings.ReplaceAll(good, "\n", "\r\n"), true},
		"unreadable values":    {good + "Metric: x\nMetric: =1\nMetric: y=fast\nFinished: yesterday\n", true},
		"beside other words":   {"reviewed by me\n\n" + good + "\nand again\n", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, ok := ParseNote(tt.text, commit)
			if ok != tt.ok {
				t.Fatalf("ok = %v, want %v", ok, tt.ok)
			}
			if ok && (p.State != gitmodels.Succeeded || len(p.Values) != 2) {
				t.Errorf("state %s, %d values", p.State, len(p.Values))
			}
		})
	}
	if _, ok := ParseNote(strings.ReplaceAll(good, string(commit), ""), ""); ok {
		t.Error("a note of no commit is recognised")
	}
}

func TestLess(t *testing.T) {
	t.Parallel()
	want := []string{"eval/test_accuracy", "val_accuracy", "val_loss", "eval/recall/cats", "val/recall/cats/old",
		"accuracy", "loss", "grad/layer0"}
	for i := range want {
		for j := range want {
			if Less(want[i], want[j]) != (i < j) {
				t.Errorf("Less(%s, %s) = %v", want[i], want[j], i >= j)
			}
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for in, want := range map[time.Duration]string{
		0: "0s", 1400 * time.Millisecond: "1s", 59*time.Second + 600*time.Millisecond: "1m00s",
		842 * time.Second: "14m02s", 3*time.Hour + 5*time.Minute + time.Second: "3h05m",
		52 * time.Hour: "2d04h",
	} {
		if got := Duration(in); got != want {
			t.Errorf("Duration(%v) = %q, want %q", in, got, want)
		}
	}
}

func FuzzNoteRoundTrip(f *testing.F) {
	f.Add("loss", 0.5, "exit status 3", "5a32b0f")
	f.Add("x\nState: failed", math.NaN(), "a\r\n\r\nState: succeeded", " \\x20 ")
	f.Add("---\u202e\xff\\", math.Inf(1), "…\\u00", "\x00")
	f.Fuzz(func(t *testing.T, name string, value float64, cause, job string) {
		o := finished()
		o.State, o.Cause, o.Job = gitmodels.Failed, cause, job
		o.Values = []gitmodels.Metric{{Name: name, Final: gitmodels.Number(value)}}
		note := Note(o, []Previous{{1, gitmodels.Cancelled, cause}})
		if n := strings.Count(note, "\n"); strings.Count(note, "\n\n") != 1 || n > 20 {
			t.Fatalf("%d lines:\n%s", n, note)
		}
		p, ok := ParseNote(note, commit)
		if !ok || p.State != gitmodels.Failed || p.Attempt != 1 {
			t.Fatalf("ok %v, state %s, attempt %d:\n%s", ok, p.State, p.Attempt, note)
		}
		if len(escape(cause, 1<<30)) <= maxValue && p.Cause != cause {
			t.Errorf("cause %q, want %q", p.Cause, cause)
		}
		if len(p.Previous) != 1 || p.Previous[0].State != gitmodels.Cancelled {
			t.Errorf("previous %+v", p.Previous)
		}
		if name == "" {
			return
		}
		if len(p.Values) != 1 {
			t.Fatalf("%d values:\n%s", len(p.Values), note)
		}
		if got := p.Values[0]; len(escape(name, 1<<30)) <= maxName && got.Name != name || got.Final.String() != gitmodels.Number(value).String() {
			t.Errorf("metric %q=%s, want %q=%v", got.Name, got.Final, name, value)
		}
	})
}

func FuzzParseNote(f *testing.F) {
	f.Add(Note(finished(), []Previous{{1, gitmodels.Failed, "x"}}))
	f.Add("State: failed\nState: failed\nAttempt: 1\nCommit: " + string(commit) + "\n\n\nCause: \\x4\\")
	f.Fuzz(func(t *testing.T, text string) {
		foreign, p, ok := split(text, commit)
		if len(p.Values) > maxMetrics || len(p.Previous) > maxPrevious {
			t.Fatalf("%d values, %d previous", len(p.Values), len(p.Previous))
		}
		if !ok {
			return
		}
		// What is left of a note is never taken for ours again.
		if _, again := ParseNote(foreign, commit); again {
			t.Errorf("still ours:\n%s", foreign)
		}
	})
}
