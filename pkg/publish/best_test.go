package publish

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const bestModels = gitmodels.RefName("refs/heads/best/models")

// id is a commit of the letter.
func id(letter string) gitmodels.CommitID { return gitmodels.CommitID(strings.Repeat(letter, 40)) }

// ran is an attempt of the commit id(letter) that ended at the minute with these
// values, by the rule "val max" unless there is another.
func ran(letter string, attempt, minute int, state gitmodels.State, values ...any) gitmodels.Outcome {
	o := finished()
	o.Commit, o.Run, o.Attempt, o.State = id(letter), strings.Repeat(letter, 7), attempt, state
	o.Name = gitmodels.AttemptName(o.Run, attempt)
	o.Finished = o.Finished.Add(time.Duration(minute) * time.Minute)
	o.Best = &gitmodels.Best{Metric: "val", Mode: "max"}
	o.Values = nil
	for i := 0; i < len(values); i += 2 {
		o.Values = append(o.Values, gitmodels.Metric{Name: values[i].(string), Final: gitmodels.Number(values[i+1].(float64))})
	}
	return o
}

// by is o under another rule; without a metric it has none.
func by(o gitmodels.Outcome, metric, mode string) gitmodels.Outcome {
	o.Best = nil
	if metric != "" {
		o.Best = &gitmodels.Best{Metric: metric, Mode: mode}
	}
	return o
}

func on(o gitmodels.Outcome, ref gitmodels.RefName) gitmodels.Outcome { o.Ref = ref; return o }

func TestBest(t *testing.T) {
	t.Parallel()
	const ok, failed, cancelled = gitmodels.Succeeded, gitmodels.Failed, gitmodels.Cancelled
	for name, c := range map[string]struct {
		runs []gitmodels.Outcome
		want string // the letter of the best commit after each, . for none
	}{
		"the first, a better, a worse, an equal": {[]gitmodels.Outcome{
			ran("a", 1, 1, ok, "val", .5), ran("b", 1, 2, ok, "val", .7), ran("c", 1, 3, ok, "val", .6), ran("d", 1, 4, ok, "val", .7)}, "abbb"},
		"less is better": {[]gitmodels.Outcome{
			by(ran("a", 1, 1, ok, "loss", .5), "loss", "min"), by(ran("b", 1, 2, ok, "loss", .7), "loss", "min"), by(ran("c", 1, 3, ok, "loss", .4), "loss", "min")}, "aac"},
		"failed and cancelled runs never compete": {[]gitmodels.Outcome{
			ran("a", 1, 1, failed, "val", .9), ran("b", 1, 2, ok, "val", .5), ran("c", 1, 3, cancelled, "val", .8)}, ".bb"},
		"no number is no rank": {[]gitmodels.Outcome{
			ran("a", 1, 1, ok), ran("b", 1, 2, ok, "val", nan()), ran("c", 1, 3, ok, "val", -9.), ran("d", 1, 4, ok, "val", inf())}, "..cc"},
		"no rule moves nothing": {[]gitmodels.Outcome{
			by(ran("a", 1, 1, ok, "val", .5), "", ""), by(ran("b", 1, 2, ok, "val", .9), "", "")}, ".."},
		"runs from before the rule compete": {[]gitmodels.Outcome{
			by(ran("a", 1, 1, ok, "val", .9), "", ""), ran("b", 1, 2, ok, "val", .5), by(ran("c", 1, 3, ok, "val", .95), "", ""), ran("d", 1, 4, ok, "val", .1)}, ".aac"},
		"the best is run again and stays": {[]gitmodels.Outcome{
			ran("a", 1, 1, ok, "val", .5), ran("b", 1, 2, ok, "val", .9), ran("b", 2, 3, ok, "val", .6)}, "abb"},
		"the best is run again and gets worse": {[]gitmodels.Outcome{
			ran("a", 1, 1, ok, "val", .5), ran("b", 1, 2, ok, "val", .9), ran("b", 2, 3, ok, "val", .4), ran("b", 3, 4, ok, "val", .8)}, "abab"},
		"the best is run again and fails": {[]gitmodels.Outcome{
			ran("a", 1, 1, ok, "val", .5), ran("b", 1, 2, ok, "val", .9), ran("b", 2, 3, failed)}, "aba"},
		"the only one is run again and fails": {[]gitmodels.Outcome{
			ran("a", 1, 1, ok, "val", .5), ran("a", 2, 2, failed), ran("b", 1, 3, ok, "val", .1)}, "a.b"},
		"the rule changes": {[]gitmodels.Outcome{
			ran("a", 1, 1, ok, "val", .9, "f1", .1), ran("b", 1, 2, ok, "val", .8, "f1", .5),
			by(ran("c", 1, 3, ok, "f1", .2), "f1", "max"), ran("d", 1, 4, ok, "val", .1)}, "aaba"},
		"a rule that nothing meets": {[]gitmodels.Outcome{
			ran("a", 1, 1, ok, "val", .9), by(ran("b", 1, 2, ok, "val", .95), "vall", "max"), ran("c", 1, 3, ok, "val", .1)}, "aab"},
		"an old outcome with an old rule comes late": {[]gitmodels.Outcome{
			ran("a", 1, 5, ok, "val", .5, "f1", .1), by(ran("b", 1, 2, ok, "val", .4, "f1", .9), "f1", "max"), by(ran("c", 1, 3, ok, "val", .6), "f1", "max")}, "aac"},
		"an old attempt comes late": {[]gitmodels.Outcome{
			ran("a", 1, 1, ok, "val", .5), ran("b", 2, 5, ok, "val", .4), ran("b", 1, 3, ok, "val", .9)}, "aaa"},
		"another branch": {[]gitmodels.Outcome{
			on(ran("a", 1, 1, ok, "val", .9), "refs/heads/models2"), ran("b", 1, 2, ok, "val", .5), on(ran("c", 1, 3, ok, "val", .7), "refs/heads/models2")}, ".bb"},
		"no branch at all": {[]gitmodels.Outcome{on(ran("a", 1, 1, ok, "val", .9), "refs/tags/v1")}, "."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, restarts := range []bool{false, true} {
				r := newRefs()
				r.tips["refs/heads/models2"] = "tip"
				p := publisher(r)
				got := ""
				for _, o := range c.runs {
					if restarts {
						p = publisher(r)
					}
					publishTwice(t, p, r, o)
					got += letter(r.tips[bestModels])
				}
				if got != c.want {
					t.Errorf("restarts %v: best after each run: %s, want %s", restarts, got, c.want)
				}
			}
		})
	}
}

func nan() float64 { return inf() - inf() }
func inf() float64 { v := 1e308; return v * 10 }

func letter(c gitmodels.CommitID) string {
	if c == "" {
		return "."
	}
	return string(c[:1])
}

// publishTwice publishes o, and again, which must write nothing.
func publishTwice(t *testing.T, p *Publisher, r *refs, o gitmodels.Outcome) {
	t.Helper()
	for i := range 2 {
		r.writes = 0
		if err := p.Publish(t.Context(), dogs, o); err != nil {
			t.Fatal(err)
		}
		if i > 0 && r.writes > 0 {
			t.Errorf("a repetition of %s wrote %d times", o.Name, r.writes)
		}
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	const ok, failed, cancelled = gitmodels.Succeeded, gitmodels.Failed, gitmodels.Cancelled
	runs := []gitmodels.Outcome{
		ran("a", 1, 1, ok, "val", .5), ran("b", 1, 2, failed), ran("b", 2, 3, ok, "val", .9), ran("c", 1, 4, cancelled),
		ran("d", 1, 5, ok, "val", .7), ran("b", 3, 6, ok, "val", .1), by(ran("e", 1, 7, ok), "", ""),
	}
	for tags, want := range map[string]string{
		"":          "trained/aaaaaaa trained/bbbbbbb-r2 trained/bbbbbbb-r3 trained/ddddddd trained/eeeeeee",
		"succeeded": "trained/aaaaaaa trained/bbbbbbb-r2 trained/bbbbbbb-r3 trained/ddddddd trained/eeeeeee",
		"all":       "cancelled/ccccccc failed/bbbbbbb trained/aaaaaaa trained/bbbbbbb-r2 trained/bbbbbbb-r3 trained/ddddddd trained/eeeeeee",
		"best":      "trained/aaaaaaa trained/bbbbbbb-r2 trained/ddddddd", // d, when b got worse
		"none":      "",
	} {
		r := newRefs()
		p := tagging(r, tags)
		for _, o := range runs {
			publishTwice(t, p, r, o)
		}
		var names []string
		for _, tag := range slices.Sorted(maps.Keys(r.tags)) {
			names = append(names, strings.TrimPrefix(string(tag), "refs/tags/"))
		}
		if diff := cmp.Diff(want, strings.Join(names, " ")); diff != "" {
			t.Errorf("models.tags=%s: %s", tags, diff)
		}
		for tag, message := range r.tags {
			got, parsed := ParseNote(message, r.tips[tag])
			if !parsed || string(tag) != string(tagFolders[got.State])+got.Name {
				t.Errorf("%s at %s says\n%s", tag, r.tips[tag], message)
			}
		}
	}
}

// After a layout move the best branch of a branch that is gone makes room, and
// a branch of somebody else's does not.
func TestBestAfterALayoutMove(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name             string
		old, branch      gitmodels.RefName
		stranger, refuse gitmodels.RefName
		want             string
	}{
		{name: "to team", old: "refs/heads/models", branch: "refs/heads/models/main"},
		{name: "to solo", old: "refs/heads/models/main", branch: "refs/heads/models"},
		{name: "a branch best", old: "refs/heads/x", branch: "refs/heads/models", stranger: "refs/heads/best",
			want: "publish bbbbbbb of dogs: rank it: the branch best leaves no room for best/models"},
	} {
		r := newRefs()
		r.tips = map[gitmodels.RefName]gitmodels.CommitID{c.old: "tip"}
		p := publisher(r)
		publishTwice(t, p, r, on(ran("a", 1, 1, gitmodels.Succeeded, "val", .9), c.old))
		delete(r.tips, c.old)
		r.tips[c.branch] = "tip"
		if c.stranger != "" {
			delete(r.tips, "refs/heads/best/x")
			r.tips[c.stranger] = "tip"
		}
		o := on(ran("b", 1, 2, gitmodels.Succeeded, "val", .1), c.branch)
		err := p.Publish(t.Context(), dogs, o)
		if c.want != "" {
			if err == nil || err.Error() != c.want || r.notes[DefaultNotesRef][o.Commit] == "" {
				t.Errorf("%s: %v, want %s", c.name, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		// A late outcome of the branch that is gone changes nothing.
		publishTwice(t, p, r, on(ran("c", 1, 3, gitmodels.Succeeded, "val", .95), c.old))
		want := map[gitmodels.RefName]gitmodels.CommitID{
			c.branch: "tip", bestFolder + gitmodels.RefName(c.branch.Short()): id("b"),
			"refs/tags/trained/aaaaaaa": id("a"), "refs/tags/trained/bbbbbbb": id("b"), "refs/tags/trained/ccccccc": id("c"),
		}
		if diff := cmp.Diff(want, r.tips); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// Ranking reads all notes once in a process, and again only when it must.
func TestRankingIsCheap(t *testing.T) {
	t.Parallel()
	r := newRefs()
	p := publisher(r)
	for i := range 50 {
		if err := p.Publish(t.Context(), dogs, ran(fmt.Sprintf("%x", i%16), i/16+1, i, gitmodels.Succeeded, "val", float64(i))); err != nil {
			t.Fatal(err)
		}
	}
	if r.lists > 1 {
		t.Errorf("all notes were listed %d times", r.lists)
	}
	if r.tips[bestModels] != id("1") {
		t.Errorf("best is %s", r.tips[bestModels])
	}
}

// Two processes that rank at once end with the better of their runs.
func TestBestBesideAnotherProcess(t *testing.T) {
	t.Parallel()
	for _, values := range [][2]float64{{.5, .7}, {.7, .5}} {
		for at := 1; at < 25; at++ {
			r := newRefs()
			steps := 0
			r.before = func(r *refs, _ string) {
				if steps++; steps == at {
					r.before = nil
					if err := publisher(r).Publish(context.Background(), dogs, ran("b", 1, 2, gitmodels.Succeeded, "val", values[1])); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := publisher(r).Publish(t.Context(), dogs, ran("a", 1, 1, gitmodels.Succeeded, "val", values[0])); err != nil {
				t.Fatal(err)
			}
			want := id("a")
			if values[1] > values[0] {
				want = id("b")
			}
			if r.before == nil && r.tips[bestModels] != want {
				t.Errorf("%v, the other at step %d: best is %s", values, at, r.tips[bestModels])
			}
		}
	}
}
