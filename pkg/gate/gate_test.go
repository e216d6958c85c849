package gate_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gate"
	"github.com/git-models/git-models/pkg/gate/gatetest"
	"github.com/git-models/git-models/pkg/gitmodels"
)

const (
	models = "refs/heads/models"
	zero   = "0000000000000000000000000000000000000000"
)

func rules() gate.Rules {
	own := func(r gitmodels.RefName) bool {
		return r.Matches("refs/notes/models*") || r.Matches("refs/models/**") || r.Matches("refs/heads/best/**")
	}
	return gate.Rules{
		Governed: func(r gitmodels.RefName) bool { return r == models || r.Matches("refs/heads/models/**") },
		Own:      own,
		Control:  func(r gitmodels.RefName) bool { return r == "refs/run" || r.Matches("refs/run/**") },
		Places:   []string{"refs/heads/models"},
		Layout:   "auto", Source: "warn", Abbrev: 7, Cancel: "anyone",
	}
}

// up is an update line; an empty name is the all-zero id.
func up(old, new, ref string) gitmodels.Update {
	id := func(name string) gitmodels.CommitID {
		if name == "" {
			return zero
		}
		return gatetest.ID(name)
	}
	return gitmodels.Update{Old: id(old), New: id(new), Ref: gitmodels.RefName(ref)}
}

func line() *gatetest.History {
	return gatetest.New("a", "b:a", "c:b", "d:c", "x:b", "m:d,x", "other").Ref(models, "c").Ref("refs/heads/main", "b")
}

// refused lists what a verdict refuses and why, briefly.
func refused(v gate.Verdict) (list []string) {
	for _, r := range v.Refusals {
		list = append(list, r.What+": "+r.Why)
	}
	return list
}

func TestJudge(t *testing.T) {
	t.Parallel()
	source := func(word string) func(*gate.Rules) { return func(r *gate.Rules) { r.Source = word } }
	layout := func(word string) func(*gate.Rules) { return func(r *gate.Rules) { r.Layout = word } }
	cases := []struct {
		name    string
		history *gatetest.History
		rules   func(*gate.Rules)
		push    gate.Push
		want    []string // beginnings of what is refused
	}{
		{name: "create", history: gatetest.New("a"), push: gate.Push{Updates: []gitmodels.Update{up("", "a", models)}}},
		{name: "forward", push: gate.Push{Updates: []gitmodels.Update{up("c", "d", models)}}},
		{name: "forward by a merge", push: gate.Push{Updates: []gitmodels.Update{up("c", "m", models)}}},
		{name: "no change", push: gate.Push{Updates: []gitmodels.Update{up("c", "c", models)}}},
		{name: "ungoverned, whatever it does", push: gate.Push{Options: []string{"plan", "skpi"}, Updates: []gitmodels.Update{
			up("b", "other", "refs/heads/main"), up("b", "", "refs/heads/x"), up("", "nothing", "refs/tags/v1"), up("", "a", "refs/heads/modelsx")}}},
		{name: "all reasons at once", push: gate.Push{Options: []string{"skpi"}, Updates: []gitmodels.Update{
			up("c", "x", models), up("", "d", "refs/heads/models/x"), up("", "a", "refs/notes/models"), up("", "other", "refs/run/plan"), up("b", "c", "refs/heads/main")}},
			want: []string{models + ": ", models + "/x: ", "refs/notes/models: these are written by the runner", "refs/run/plan: ", "-o skpi: "}},
		{name: "control refs", push: gate.Push{Options: []string{"follow"}, Updates: []gitmodels.Update{
			up("", "a", "refs/run/plan"), up("", "b", "refs/run/cancel"), up("", "c", "refs/run/rerun"), up("", "c", "refs/run/status")}}},
		{name: "a control ref about what the same push brings", push: gate.Push{Updates: []gitmodels.Update{
			up("", "d", "refs/run/status"), up("", "x", "refs/run/plan"), up("c", "m", models)}}},
		{name: "control refs, by owner alone", rules: func(r *gate.Rules) { r.Cancel = "owner" }, push: gate.Push{Updates: []gitmodels.Update{
			up("", "a", "refs/run/plan"), up("", "b", "refs/run/cancel"), up("", "c", "refs/run/rerun"), up("", "c", "refs/run/status")}},
			want: []string{"refs/run/cancel: by models.cancel=owner", "refs/run/rerun: by models.cancel=owner"}},
		{name: "control refs that nothing is asked by", push: gate.Push{Updates: []gitmodels.Update{
			up("", "b", "refs/run/cancle"), up("", "b", "refs/run/cancel/x"), up("", "b", "refs/run"), up("", "b", "refs/run/Status")}},
			want: []string{"refs/run/cancle: nothing is asked for by this name; did you mean cancel?", "refs/run/cancel/x: nothing", "refs/run: nothing", "refs/run/Status: nothing is asked for by this name; did you mean status?"}},
		{name: "control refs never move or go", push: gate.Push{Updates: []gitmodels.Update{
			up("b", "", "refs/run/cancel"), up("b", "c", "refs/run/rerun"), up("", "", "refs/run/plan")}},
			want: []string{"refs/run/cancel: it is answered", "refs/run/rerun: another push", "refs/run/plan: it is answered"}},
		{name: "control ref of a commit nobody pushed", push: gate.Push{Updates: []gitmodels.Update{up("", "x", "refs/run/rerun"), up("", "d", "refs/run/plan")}},
			want: []string{"refs/run/rerun: ", "refs/run/plan: "}},
		{name: "words are judged beside a control ref", push: gate.Push{Options: []string{"folow"}, Updates: []gitmodels.Update{up("", "c", "refs/run/status")}},
			want: []string{"-o folow: "}},
		{name: "each, as many as may be", history: gatetest.New("a").Line("n", "a", gitmodels.MaxEach).Ref(models, "a"),
			push: gate.Push{Options: []string{"each"}, Updates: []gitmodels.Update{up("a", fmt.Sprint("n", gitmodels.MaxEach), models)}}},
		{name: "each, one too many", history: gatetest.New("a").Line("n", "a", gitmodels.MaxEach+1).Ref(models, "a"),
			push: gate.Push{Options: []string{"each"}, Updates: []gitmodels.Update{up("a", fmt.Sprint("n", gitmodels.MaxEach+1), models)}},
			want: []string{"-o each: the push brings 51 commits, and at most 50 run"}},
		{name: "each, of what no other line has", history: gatetest.New("a").Line("n", "a", 60).Ref(models+"/x", "n40").Ref(models+"/y", "a"),
			push: gate.Push{Options: []string{"each"}, Updates: []gitmodels.Update{up("a", "n60", models+"/y"), up("n40", "n59", models+"/x")}}},
		{name: "each, in a push that is refused anyway", history: gatetest.New("a").Line("n", "a", 60).Ref(models, "a"),
			push: gate.Push{Options: []string{"each", "skpi"}, Updates: []gitmodels.Update{up("a", "n60", models)}}, want: []string{"-o skpi: "}},
		{name: "a tag that is taken for models", push: gate.Push{Updates: []gitmodels.Update{up("", "a", "refs/tags/models")}},
			want: []string{"refs/tags/models: git could not tell it from refs/heads/models"}},
		{name: "a branch that is taken for models", push: gate.Push{Updates: []gitmodels.Update{up("", "a", "refs/heads/refs/heads/models"), up("", "a", "refs/refs/heads/models")}},
			want: []string{"refs/heads/refs/heads/models: git could not tell it", "refs/refs/heads/models: git could not tell it"}},
		{name: "a tag that is taken for a branch of the same push", history: gatetest.New("a"),
			push: gate.Push{Updates: []gitmodels.Update{up("", "a", "refs/tags/models/x"), up("", "a", "refs/heads/models/x")}}, want: []string{"refs/tags/models/x: git could not"}},
		{name: "a tag of a name that no branch has", push: gate.Push{Updates: []gitmodels.Update{up("", "a", "refs/tags/models/v1.2.0"), up("", "a", "refs/heads/heads/models")}}},
		{name: "such a tag goes", history: line().Ref("refs/tags/models", "a"), push: gate.Push{Updates: []gitmodels.Update{up("a", "", "refs/tags/models")}}},
		{name: "delete that creates nothing", push: gate.Push{Updates: []gitmodels.Update{up("", "", models)}}, want: []string{models + ": models is never deleted"}},
		{name: "delete an own ref", push: gate.Push{Updates: []gitmodels.Update{up("a", "", "refs/heads/best/models")}}, want: []string{"refs/heads/best/models: these"}},
		{name: "alias of an own ref", history: line().Alias("refs/notes/mine", "refs/notes/models"),
			push: gate.Push{Updates: []gitmodels.Update{up("a", "b", "refs/notes/mine")}}, want: []string{"refs/notes/mine: it is a symbolic ref"}},
		{name: "alias of an ungoverned ref", history: line().Alias("refs/heads/trunk", "refs/heads/main"),
			push: gate.Push{Updates: []gitmodels.Update{up("b", "c", "refs/heads/trunk")}}},
		{name: "delete through an alias", history: line().Alias("refs/heads/trunk", models),
			push: gate.Push{Updates: []gitmodels.Update{up("c", "", "refs/heads/trunk")}}, want: []string{"refs/heads/trunk: it is a symbolic ref"}},
		{name: "team, more branches", history: gatetest.New("a").Ref("refs/heads/models/x", "a"),
			push: gate.Push{Updates: []gitmodels.Update{up("", "a", "refs/heads/models/y")}}},
		{name: "layout solo", rules: layout("solo"), history: gatetest.New("a"), push: gate.Push{Updates: []gitmodels.Update{up("", "a", models)}}},
		{name: "layout team", rules: layout("team"), history: gatetest.New("a"), push: gate.Push{Updates: []gitmodels.Update{up("", "a", models+"/main")}}},
		{name: "layout does not bind what exists", rules: layout("team"), push: gate.Push{Updates: []gitmodels.Update{up("c", "d", models)}}},
		{name: "unicode name", history: gatetest.New("a"), push: gate.Push{Updates: []gitmodels.Update{up("", "a", models+"/größe-β_1.0")}}},
		{name: "dash", history: gatetest.New("a"), push: gate.Push{Updates: []gitmodels.Update{up("", "a", models+"/-rf")}}, want: []string{models + "/-rf: a name"}},
		{name: "broken UTF-8", history: gatetest.New("a"), push: gate.Push{Updates: []gitmodels.Update{up("", "a", models+"/\xff")}}, want: []string{models + "/\xff: a name"}},
		{name: "source off", rules: source("off"), push: gate.Push{Button: "the button", Updates: []gitmodels.Update{up("c", "d", models)}}},
		{name: "source warn", push: gate.Push{Updates: []gitmodels.Update{up("c", "d", models)}}},
		{name: "source required", rules: source("require"), push: gate.Push{Updates: []gitmodels.Update{up("c", "d", models)}}, want: []string{models + ": "}},
		{name: "source required, published", rules: source("require"), history: line().Ref("refs/heads/topic", "m"),
			push: gate.Push{Updates: []gitmodels.Update{up("c", "d", models)}}},
		{name: "source required, only on another governed ref", rules: source("require"), history: line().Ref("refs/heads/best/x", "d"),
			push: gate.Push{Updates: []gitmodels.Update{up("c", "d", models)}}, want: []string{models + ": "}},
		{name: "source required, pushed along", rules: source("require"),
			push: gate.Push{Updates: []gitmodels.Update{up("c", "d", models), up("b", "m", "refs/heads/main")}}},
		{name: "source required, a tag is no branch", rules: source("require"),
			push: gate.Push{Updates: []gitmodels.Update{up("c", "d", models), up("", "d", "refs/tags/v1")}}, want: []string{models + ": "}},
		{name: "button", push: gate.Push{Button: "the button", Updates: []gitmodels.Update{up("c", "m", models)}}, want: []string{models + ": "}},
		{name: "button with a published tip", history: line().Ref("refs/heads/topic", "d"),
			push: gate.Push{Button: "the button", Updates: []gitmodels.Update{up("c", "d", models)}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := c.history
			if h == nil {
				h = line()
			}
			r := rules()
			if c.rules != nil {
				c.rules(&r)
			}
			v, err := gate.Judge(context.Background(), c.push, r, h)
			if err != nil {
				t.Fatal(err)
			}
			got := refused(v)
			same := slices.EqualFunc(got, c.want, func(g, w string) bool { return strings.HasPrefix(g, w) })
			if !same {
				t.Errorf("refused: %s", cmp.Diff(c.want, got))
			}
		})
	}
}

// TestRewritten holds the line between a rewritten commit, whose hint drops the
// old one, and somebody else's work, whose hint keeps it.
func TestRewritten(t *testing.T) {
	t.Parallel()
	origin := func(author, subject string, paths ...string) gatetest.Object {
		return gatetest.Object{Parents: []gitmodels.CommitID{gatetest.ID("a")}, Origin: gate.Origin{Author: author, Subject: subject}, Paths: paths, Tree: subject}
	}
	cases := []struct {
		name     string
		old, new gatetest.Object
		amended  bool
	}{
		{"same author, time and subject", origin("A 1", "s", "f"), origin("A 1", "s", "g"), true},
		{"another subject, same paths and more", origin("A 1", "s", "f"), origin("A 1", "t", "f", "g"), true},
		{"another subject, other paths", origin("A 1", "s", "f"), origin("A 1", "t", "g"), false},
		{"another author", origin("A 1", "s", "f"), origin("B 1", "s", "f"), false},
		{"another time", origin("A 1", "s", "f"), origin("A 2", "s", "f"), false},
		{"nothing changed, another subject", origin("A 1", "s"), origin("A 1", "t", "f"), false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := gatetest.New("a").Ref(models, "old")
			h.Objects[gatetest.ID("old")], h.Objects[gatetest.ID("new")] = c.old, c.new
			v, err := gate.Judge(context.Background(), gate.Push{Updates: []gitmodels.Update{up("old", "new", models)}}, rules(), h)
			if err != nil || len(v.Refusals) != 1 {
				t.Fatal(v, err)
			}
			amended := strings.Contains(v.Refusals[0].Hints[0].Command, "reset --soft")
			if amended != c.amended {
				t.Errorf("amended %v, want %v: %+v", amended, c.amended, v.Refusals[0])
			}
		})
	}
	// One of two is rewritten, the other is somebody's work: keep it.
	h := gatetest.New("a", "o1:a", "o2:o1", "n1:a").Rewrite("o1", "n1").Ref(models, "o2")
	v, err := gate.Judge(context.Background(), gate.Push{Updates: []gitmodels.Update{up("o2", "n1", models)}}, rules(), h)
	if err != nil || strings.Contains(v.Refusals[0].Hints[0].Command, "reset") {
		t.Error(v, err)
	}
	// A merge on the ref's side is never taken for rewritten.
	h = gatetest.New("a", "s:a", "o:a,s", "n:a").Rewrite("o", "n").Ref(models, "o")
	v, err = gate.Judge(context.Background(), gate.Push{Updates: []gitmodels.Update{up("o", "n", models)}}, rules(), h)
	if err != nil || strings.Contains(v.Refusals[0].Hints[0].Command, "reset") {
		t.Error(v, err)
	}
}

// failing lets n questions pass and then fails every other.
type failing struct {
	gate.History
	n int
}

var errBroken = errors.New("broken")

func (f *failing) ask() error {
	if f.n--; f.n < 0 {
		return errBroken
	}
	return nil
}

func (f *failing) ObjectType(ctx context.Context, id gitmodels.CommitID) (string, error) {
	if err := f.ask(); err != nil {
		return "", err
	}
	return f.History.ObjectType(ctx, id)
}

func (f *failing) Peel(ctx context.Context, rev string) (gitmodels.CommitID, error) {
	if err := f.ask(); err != nil {
		return "", err
	}
	return f.History.Peel(ctx, rev)
}

func (f *failing) IsAncestor(ctx context.Context, a, d gitmodels.CommitID) (bool, error) {
	if err := f.ask(); err != nil {
		return true, err // a value beside an error must not count
	}
	return f.History.IsAncestor(ctx, a, d)
}

func (f *failing) MergeBase(ctx context.Context, a, b gitmodels.CommitID) (gitmodels.CommitID, bool, error) {
	if err := f.ask(); err != nil {
		return "", false, err
	}
	return f.History.MergeBase(ctx, a, b)
}

func (f *failing) Relate(ctx context.Context, tip, commit gitmodels.CommitID) (gitmodels.Relation, error) {
	if err := f.ask(); err != nil {
		return gitmodels.Relation{Kind: gitmodels.Rewind}, err
	}
	return f.History.Relate(ctx, tip, commit)
}

func (f *failing) Parents(ctx context.Context, id gitmodels.CommitID) ([]gitmodels.CommitID, error) {
	if err := f.ask(); err != nil {
		return nil, err
	}
	return f.History.Parents(ctx, id)
}

func (f *failing) Tree(ctx context.Context, id gitmodels.CommitID) (string, error) {
	if err := f.ask(); err != nil {
		return "", err
	}
	return f.History.Tree(ctx, id)
}

func (f *failing) Origin(ctx context.Context, id gitmodels.CommitID) (gate.Origin, error) {
	if err := f.ask(); err != nil {
		return gate.Origin{}, err
	}
	return f.History.Origin(ctx, id)
}

func (f *failing) ChangedPaths(ctx context.Context, a, b gitmodels.CommitID) ([]string, error) {
	if err := f.ask(); err != nil {
		return nil, err
	}
	return f.History.ChangedPaths(ctx, a, b)
}

func (f *failing) SymbolicTarget(ctx context.Context, r gitmodels.RefName) (gitmodels.RefName, bool, error) {
	if err := f.ask(); err != nil {
		return "", false, err
	}
	return f.History.SymbolicTarget(ctx, r)
}

func (f *failing) Tips(ctx context.Context, p ...string) (map[gitmodels.RefName]gitmodels.CommitID, error) {
	if err := f.ask(); err != nil {
		return nil, err
	}
	return f.History.Tips(ctx, p...)
}

func (f *failing) RefsContaining(ctx context.Context, id gitmodels.CommitID, p ...string) ([]gitmodels.RefName, error) {
	if err := f.ask(); err != nil {
		return nil, err
	}
	return f.History.RefsContaining(ctx, id, p...)
}

// TestEveryQuestionMayFail lets each question of each push fail in turn: Judge
// must give up, never answer.
func TestEveryQuestionMayFail(t *testing.T) {
	t.Parallel()
	tag := gatetest.Object{Type: "tag", Target: gatetest.ID("d")}
	h := func() *gatetest.History {
		h := line().Rewrite("c", "x").Alias("refs/heads/alias", models)
		h.Objects[gatetest.ID("t")] = tag
		return h
	}
	required := rules()
	required.Source = "require"
	pushes := map[string]gate.Push{
		"forward":   {Updates: []gitmodels.Update{up("c", "d", models)}},
		"create":    {Updates: []gitmodels.Update{up("", "d", "refs/heads/models/x")}},
		"rewind":    {Updates: []gitmodels.Update{up("c", "a", models)}},
		"amended":   {Updates: []gitmodels.Update{up("c", "x", models)}},
		"unrelated": {Updates: []gitmodels.Update{up("c", "other", models)}},
		"tag":       {Updates: []gitmodels.Update{up("c", "t", models)}},
		"alias":     {Updates: []gitmodels.Update{up("c", "x", "refs/heads/alias")}},
		"button":    {Button: "the button", Updates: []gitmodels.Update{up("c", "m", models), up("b", "c", "refs/heads/main")}},
	}
	for name, push := range pushes {
		for n := 0; ; n++ {
			f := &failing{History: h(), n: n}
			v, err := gate.Judge(context.Background(), push, required, f)
			if f.n >= 0 {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if n < 2 {
					t.Errorf("%s: only %d questions", name, n)
				}
				break
			}
			if !errors.Is(err, errBroken) || len(v.Refusals) != 0 || len(v.Governed) != 0 {
				t.Errorf("%s: with question %d broken: %+v, %v", name, n+1, v, err)
			}
		}
	}
}

// A symbolic ref in a circle is no answer either.
func TestCircle(t *testing.T) {
	t.Parallel()
	h := line().Alias("refs/heads/a", "refs/heads/b").Alias("refs/heads/b", "refs/heads/a")
	if _, err := gate.Judge(context.Background(), gate.Push{Updates: []gitmodels.Update{up("a", "b", "refs/heads/a")}}, rules(), h); err == nil {
		t.Error("no error")
	}
}

// TestRandomGraphs holds the gate to its one law on graphs nobody thought of: an
// update of a governed ref passes exactly when the new commit reaches the old.
func TestRandomGraphs(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var commits []string
		for i := range 12 {
			parents := map[string]bool{}
			for range min(i, rnd.IntN(4)) {
				parents[fmt.Sprintf("n%d", rnd.IntN(i))] = true
			}
			var names []string
			for p := range parents {
				names = append(names, p)
			}
			slices.Sort(names)
			commits = append(commits, fmt.Sprintf("n%d:%s", i, strings.Join(names, ",")))
		}
		h := gatetest.New(commits...)
		old, new := fmt.Sprintf("n%d", rnd.IntN(12)), fmt.Sprintf("n%d", rnd.IntN(12))
		h.Ref(models, old)
		v, err := gate.Judge(context.Background(), gate.Push{Updates: []gitmodels.Update{up(old, new, models)}}, rules(), h)
		if err != nil {
			t.Fatal(err)
		}
		forward, err := h.IsAncestor(context.Background(), gatetest.ID(old), gatetest.ID(new))
		if err != nil {
			t.Fatal(err)
		}
		if passes := len(v.Refusals) == 0; passes != forward {
			t.Errorf("seed %d: %s → %s in %v: passes %v, forward %v", seed, old, new, commits, passes, forward)
		}
		if !forward && len(v.Refusals) == 1 && len(v.Refusals[0].Hints) == 0 {
			t.Errorf("seed %d: no way out", seed)
		}
	}
}

// TestOptions holds every word to what it may say, and to what it may stand
// beside.
func TestOptions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		options string   // separated by spaces
		want    []string // beginnings of what is refused
	}{
		{"plan skip follow=x", []string{"-o follow=x: follow takes no value"}},
		{"plan follow each again priority=3", nil},
		{"models.plan models.follow models.each models.again models.priority=-100", nil},
		{"skip", nil},
		{"priority=100 priority=100", nil},
		{"priority", []string{"-o priority: priority takes a number"}},
		{"priority=", []string{"-o priority=: priority takes a number"}},
		{"priority=101", []string{"-o priority=101: priority is 101, want"}},
		{"models.priority=high", []string{"-o models.priority=high: priority is high, want"}},
		{"priority=1 priority=2", []string{"-o priority: it is asked for with 1 and 2"}},
		{"skip=1", []string{"-o skip=1: skip takes no value"}},
		{"skip again", []string{"-o skip with -o again: "}},
		{"models.skip each follow priority=1", []string{"-o skip with -o each: ", "-o skip with -o follow: ", "-o skip with -o priority: "}},
		{"plan skip again", []string{"-o skip with -o again: "}},
		{"skpi Plan PRIORITY=3 foll", []string{"-o skpi: not a word of ours; did you mean skip?", "-o Plan: not a word of ours; did you mean plan?",
			"-o PRIORITY=3: not a word of ours; did you mean priority?", "-o foll: not a word of ours; did you mean follow?"}},
		{"models.nonsense models.", []string{"-o models.nonsense: not a word of ours", "-o models.: not a word of ours"}},
		{"ci.skip merge_request.create topic=each repo.private=true notify=ALL hashtag", nil},
	} {
		v, err := gate.Judge(context.Background(), gate.Push{Options: strings.Fields(c.options),
			Updates: []gitmodels.Update{up("c", "d", models)}}, rules(), line())
		if err != nil {
			t.Fatal(err)
		}
		got := refused(v)
		if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
			t.Errorf("%s: %s", c.options, cmp.Diff(c.want, got))
		}
	}
}

// FuzzOptions: a word of ours is followed or refused, never passed over.
func FuzzOptions(f *testing.F) {
	for _, o := range []string{"skip", "models.skip", "plan", "priority=3", "skpi", "ci.skip", "models.", "=", "", "merge_request.title=x"} {
		f.Add(o)
	}
	h := gatetest.New("a")
	f.Fuzz(func(t *testing.T, o string) {
		v, err := gate.Judge(context.Background(), gate.Push{Options: []string{o}, Updates: []gitmodels.Update{up("", "a", models)}}, rules(), h)
		if err != nil {
			t.Fatal(err)
		}
		passes, steers := len(v.Refusals) == 0, gitmodels.Steer([]string{o}) != gitmodels.Steering{}
		word, value, _ := strings.Cut(strings.TrimPrefix(o, "models."), "=")
		n, err := gitmodels.ParsePriority(value)
		none := word == gitmodels.WordPriority && err == nil && n == 0 // as if it were not asked
		switch {
		case steers && !passes:
			t.Errorf("%q is refused", o)
		case (strings.HasPrefix(o, "models.") || slices.Contains(gitmodels.SteeringWords, word)) && passes && !steers && !none:
			t.Errorf("%q passes", o)
		}
	})
}

// FuzzQuote asks a real shell.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a", "it's", "$(x)", "a b", "`x`", "\\", "\"", "a;b", "-n", "*", "~", "a\nb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsRune(s, 0) {
			t.Skip()
		}
		out, err := exec.Command("sh", "-c", "printf %s. "+gate.Quote(s)).Output()
		if err != nil || string(out) != s+"." {
			t.Errorf("%q becomes %q (%v)", s, out, err)
		}
	})
}
