package prereceive

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gate"
	"github.com/git-models/git-models/pkg/gate/gatetest"
	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/hook"
	"github.com/git-models/git-models/pkg/policy"
)

var update = flag.Bool("update", false, "write the golden files")

// up is an update line; an empty name is the all-zero id.
func up(old, new, ref string) gitmodels.Update {
	id := func(name string) gitmodels.CommitID {
		if name == "" {
			return gitmodels.CommitID(strings.Repeat("0", 40))
		}
		return gatetest.ID(name)
	}
	return gitmodels.Update{Old: id(old), New: id(new), Ref: gitmodels.RefName(ref)}
}

// TestWords holds every refusal to its words, which are reviewed as files.
func TestWords(t *testing.T) {
	t.Parallel()
	const models = "refs/heads/models"
	line := func() *gatetest.History {
		return gatetest.New("a", "b:a", "c:b", "d:c", "x:b", "other").Ref(models, "c").Ref("refs/heads/main", "b")
	}
	entry := func(key, value string) gitmodels.ConfigEntry {
		return gitmodels.ConfigEntry{Scope: "local", Key: key, Value: value}
	}
	cases := []struct {
		name    string
		history *gatetest.History
		config  []gitmodels.ConfigEntry
		push    gate.Push
	}{
		{name: "rewind", history: line(), push: gate.Push{Updates: []gitmodels.Update{up("c", "a", models)}}},
		{name: "amended", history: line().Rewrite("c", "x"), push: gate.Push{Updates: []gitmodels.Update{up("c", "x", models)}}},
		{name: "amended-words-only", history: sameTree(line().Rewrite("c", "x"), "c", "x"), push: gate.Push{Updates: []gitmodels.Update{up("c", "x", models)}}},
		{name: "rebased", history: gatetest.New("a", "n:a").Line("old", "a", 3).Line("new", "n", 3).
			Rewrite("old1", "new1").Rewrite("old2", "new2").Rewrite("old3", "new3").Ref(models, "old3"),
			push: gate.Push{Updates: []gitmodels.Update{up("old3", "new3", models)}}},
		{name: "lacks", history: line(), push: gate.Push{Updates: []gitmodels.Update{up("c", "x", models)}}},
		{name: "far", history: gatetest.New("a").Line("old", "a", 21).Line("new", "a", 30).Ref(models, "old21"),
			push: gate.Push{Updates: []gitmodels.Update{up("old21", "new30", models)}}},
		{name: "very-far", history: farAway(line()), push: gate.Push{Updates: []gitmodels.Update{up("c", "a", models)}}},
		{name: "rewind-long", history: gatetest.New("a").Line("n", "a", 1200).Ref(models, "n1200"),
			push: gate.Push{Updates: []gitmodels.Update{up("n1200", "a", models)}}},
		{name: "unrelated", history: line(), push: gate.Push{Updates: []gitmodels.Update{up("c", "other", models)}}},
		{name: "quoted", history: line(), config: []gitmodels.ConfigEntry{entry("models.refs", "refs/heads/train/**")},
			push: gate.Push{Updates: []gitmodels.Update{up("c", "x", "refs/heads/train/it's")}}},
		{name: "delete", history: line(), push: gate.Push{Updates: []gitmodels.Update{up("c", "", models)}}},
		{name: "tree", history: object(line(), "t", gatetest.Object{Type: "tree"}), push: gate.Push{Updates: []gitmodels.Update{up("", "t", models)}}},
		{name: "tag", history: object(line(), "t", gatetest.Object{Type: "tag", Target: gatetest.ID("d")}), push: gate.Push{Updates: []gitmodels.Update{up("c", "t", models)}}},
		{name: "tag-of-older", history: object(line(), "t", gatetest.Object{Type: "tag", Target: gatetest.ID("a")}), push: gate.Push{Updates: []gitmodels.Update{up("c", "t", models)}}},
		{name: "tag-of-tree", history: object(object(line(), "u", gatetest.Object{Type: "tree"}), "t", gatetest.Object{Type: "tag", Target: gatetest.ID("u")}),
			push: gate.Push{Updates: []gitmodels.Update{up("", "t", models)}}},
		{name: "symbolic", history: line().Alias("refs/heads/alias", "refs/heads/more").Alias("refs/heads/more", models),
			push: gate.Push{Updates: []gitmodels.Update{up("c", "d", "refs/heads/alias")}}},
		{name: "symbolic-itself", history: line().Alias(models, "refs/heads/main"), push: gate.Push{Updates: []gitmodels.Update{up("c", "d", models)}}},
		{name: "own", history: line(), push: gate.Push{Updates: []gitmodels.Update{
			up("a", "b", "refs/notes/models"), up("", "b", "refs/tags/trained/x"), up("", "b", "refs/models/keep")}}},
		{name: "control", history: object(line(), "t", gatetest.Object{Type: "tag", Target: gatetest.ID("c")}), push: gate.Push{Updates: []gitmodels.Update{
			up("", "x", "refs/run/cancel"), up("", "other", "refs/run/plan"), up("", "t", "refs/run/status"),
			up("", "c", "refs/run/reurn"), up("", "c", "refs/run/stop"), up("c", "", "refs/run/cancel/x"), up("c", "", "refs/run/rerun")}}},
		{name: "control-again", history: line(), push: gate.Push{Updates: []gitmodels.Update{up("b", "c", "refs/run/cancel")}}},
		{name: "control-owner", history: line(), config: []gitmodels.ConfigEntry{entry("models.cancel", "owner")},
			push: gate.Push{Updates: []gitmodels.Update{up("", "c", "refs/run/cancel"), up("", "c", "refs/run/rerun"), up("", "c", "refs/run/status")}}},
		{name: "control-team", history: gatetest.New("a", "b:a").Ref("refs/heads/models/x", "a").Ref("refs/heads/models/main", "a"),
			push: gate.Push{Updates: []gitmodels.Update{up("", "b", "refs/run/rerun")}}},
		{name: "control-nothing-yet", history: gatetest.New("a"), push: gate.Push{Updates: []gitmodels.Update{up("", "a", "refs/run/plan")}}},
		{name: "each", history: gatetest.New("a").Line("n", "a", 51).Ref(models, "a"),
			push: gate.Push{Options: []string{"each"}, Updates: []gitmodels.Update{up("a", "n51", models)}}},
		{name: "each-far", history: gatetest.New("a").Line("n", "a", 1200).Ref(models, "a"),
			push: gate.Push{Options: []string{"each"}, Updates: []gitmodels.Update{up("a", "n1200", models)}}},
		{name: "solo", history: line(), push: gate.Push{Updates: []gitmodels.Update{up("", "d", "refs/heads/models/x")}}},
		{name: "solo-not-ahead", history: line(), push: gate.Push{Updates: []gitmodels.Update{up("", "x", "refs/heads/models/x")}}},
		{name: "solo-by-policy", history: gatetest.New("a"), config: []gitmodels.ConfigEntry{entry("models.layout", "solo")},
			push: gate.Push{Updates: []gitmodels.Update{up("", "a", "refs/heads/models/x")}}},
		{name: "team", history: gatetest.New("a", "b:a").Ref("refs/heads/models/x", "a"), push: gate.Push{Updates: []gitmodels.Update{up("", "b", models)}}},
		{name: "team-by-policy", history: gatetest.New("a"), config: []gitmodels.ConfigEntry{entry("models.layout", "team")},
			push: gate.Push{Updates: []gitmodels.Update{up("", "a", models)}}},
		{name: "both", history: gatetest.New("a"), push: gate.Push{Updates: []gitmodels.Update{up("", "a", models), up("", "a", "refs/heads/models/x")}}},
		{name: "below", history: line(), config: []gitmodels.ConfigEntry{entry("models.refs", ""), entry("models.refs", models)},
			push: gate.Push{Updates: []gitmodels.Update{up("", "d", "refs/heads/models/x")}}},
		{name: "odd-name", history: gatetest.New("a"), push: gate.Push{Updates: []gitmodels.Update{up("", "a", "refs/heads/models/$(reboot)\u202e")}}},
		{name: "require", history: line(), config: []gitmodels.ConfigEntry{entry("models.source", "require")}, push: gate.Push{Updates: []gitmodels.Update{up("c", "d", models)}}},
		{name: "button", history: gatetest.New("a", "b:a", "f:a", "m:b,f").Ref(models, "b").Ref("refs/heads/feature", "f"),
			push: gate.Push{Button: "the merge button", Updates: []gitmodels.Update{up("b", "m", models)}}},
		{name: "options", history: line(), push: gate.Push{Updates: []gitmodels.Update{up("c", "d", models)},
			Options: []string{"priority=high", "priority", "models.each=2", "skpi", "prioritee=3", "models.nonsense", "skip=1", "ci.skip"}}},
		{name: "options-against-one-another", history: line(), push: gate.Push{Updates: []gitmodels.Update{up("c", "d", models)},
			Options: []string{"skip", "models.again", "each", "follow", "priority=3", "priority=4"}}},
		{name: "many", history: line(), push: gate.Push{Updates: many()}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, problems := policy.Parse(c.config, policy.Hook)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			v, err := gate.Judge(context.Background(), c.push, hook.Rules(p), c.history)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if status := say(hook.Edges{Stderr: &out}, judgement{blocks: refusals(v.Refusals), refused: len(v.Refusals) > 0}); status != 1 {
				t.Errorf("status %d, want 1", status)
			}
			checkForm(t, out.String())
			golden := filepath.Join("testdata", "words", c.name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), out.String()); d != "" {
				t.Errorf("words (-want +got):\n%s", d)
			}
		})
	}
}

// checkForm holds words to what a terminal can take.
func checkForm(t *testing.T, text string) {
	t.Helper()
	if len(text) > hook.MaxWords {
		t.Errorf("%d bytes, the bound is %d", len(text), hook.MaxWords)
	}
	if !strings.Contains(text, "nothing moved") {
		t.Errorf("it does not say that nothing moved:\n%s", text)
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if !strings.HasPrefix(line, "git-models: ") {
			t.Errorf("a line without our name: %s", line)
		}
		if n := utf8.RuneCountInString(line); n > hook.Columns && !strings.HasPrefix(line, "git-models: hint: ") && !strings.HasPrefix(line, "git-models: on the server: ") && strings.Contains(strings.TrimSpace(line[len("git-models: "):]), " ") {
			t.Errorf("%d columns: %s", n, line)
		}
		if gitmodels.Printable(line, 0) != line {
			t.Errorf("it is not fit for a terminal: %q", line)
		}
	}
}

func many() (updates []gitmodels.Update) {
	for range 200 {
		updates = append(updates, up("", "a", "refs/tags/trained/"+strings.Repeat("long", 10)))
	}
	return updates
}

func object(h *gatetest.History, name string, o gatetest.Object) *gatetest.History {
	h.Objects[gatetest.ID(name)] = o
	return h
}

func sameTree(h *gatetest.History, a, b string) *gatetest.History {
	o := h.Objects[gatetest.ID(b)]
	o.Tree = h.Objects[gatetest.ID(a)].Tree
	h.Objects[gatetest.ID(b)] = o
	return h
}

// farAway is a history too long to be walked while the pusher waits.
func farAway(h *gatetest.History) *gatetest.History {
	h.Far = true
	return h
}
