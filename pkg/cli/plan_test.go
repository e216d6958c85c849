package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// planJSON is what scripts read of plan --json.
type planJSON struct {
	Decision  string
	Reason    string
	State     *string
	Run       *string
	Refs      []string
	Engine    *string
	Artifacts *string
	Paths     []string
	Overrides []string
	Changed   []string
	Command   []string
	LeftOut   []string `json:"left_out"`
}

func planned1(t *testing.T, dir string, args ...string) planJSON {
	t.Helper()
	text := runIn(t, dir, append([]string{"plan", "--json"}, args...)...).ok(t)
	var raw map[string]any
	var v planJSON
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if request, there := raw["request"]; !there || request != nil {
		t.Errorf("request is %v", request)
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPlan(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	first := git(t, s.clone, "rev-parse", "HEAD")
	train := func() {
		s.train(t)
		git(t, s.clone, "fetch", "-q", "origin", "+refs/notes/models*:refs/notes/models*", "+refs/heads/*:refs/remotes/origin/*")
	}

	// Before anything was pushed: everything is new.
	command := []string{"sh", "src/train.sh", "optimizer.lr=0.01", "experiment_name=" + short(first)}
	want := planJSON{Decision: "run", Reason: "the push creates models", Refs: []string{"refs/heads/models"},
		Paths: []string{".models.yaml", "deploy/train-config.yaml", "src/train.sh"}, Overrides: []string{"optimizer.lr=0.01"},
		Changed: []string{}, Command: command, LeftOut: []string{}}
	if diff := cmp.Diff(want, planned1(t, s.clone)); diff != "" {
		t.Errorf("in a clone (-want +got):\n%s", diff)
	}
	train()

	// Where it ran, it is attached, here and there.
	for _, dir := range []string{s.clone, s.repo} {
		got := planned1(t, dir, first[:8])
		if got.Decision != "attached" || got.State == nil || *got.State != "succeeded" || got.Run == nil || got.Artifacts == nil ||
			!strings.HasSuffix(got.Reason, "git models rerun "+short(first)) {
			t.Errorf("in %s: %+v", dir, got)
		}
	}

	// Nothing that trains changed; then a parameter did, and a file is kept from the job.
	s.commit(t, "words", map[string]string{"README.md": "words\n"})
	reason := "nothing that trains changed since " + short(first) + " (on.paths [src/**, deploy/**, .models.yaml]); to run it anyway: push with -o again"
	if got := planned1(t, s.clone); got.Decision != "skipped" || got.Reason != reason || len(got.Paths) != 0 {
		t.Errorf("words alone: %+v", got)
	}
	head := s.commit(t, "slower\x1b[31m", map[string]string{"deploy/train-config.yaml": "optimizer: {lr: 0.003}\nseed: 7\n",
		".gitattributes": "*.md export-ignore\n", "src/.gitattributes": "secret export-ignore\n", "src/secret/x": "1"})
	got := planned1(t, s.clone)
	want = planJSON{Decision: "run", Reason: "watched paths changed since " + short(first), Refs: want.Refs,
		Paths: []string{"deploy/train-config.yaml", "src/.gitattributes", "src/secret/x"}, Overrides: []string{"optimizer.lr=0.003", "seed=7"},
		Changed: []string{"optimizer.lr 0.01 -> 0.003", "seed=7 is new"},
		Command: []string{"sh", "src/train.sh", "optimizer.lr=0.003", "seed=7", "experiment_name=" + short(head)},
		LeftOut: []string{"README.md", "src/secret/x"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	git(t, s.clone, "push", "-q", "origin", "HEAD:refs/heads/topic")
	got = planned1(t, s.repo, "topic")
	if got.Decision != "run" || got.Engine == nil || *got.Engine != "process" || got.Artifacts == nil ||
		!strings.HasSuffix(*got.Artifacts, "/store/dogs/artifacts/"+short(head)) {
		t.Errorf("on the server: %+v", got)
	}

	// For people.
	shown := runIn(t, s.clone, "plan")
	noControls(t, "plan", shown.ok(t))
	for _, line := range []string{short(head) + " on models: run\n", "\nchanged     optimizer.lr 0.01 -> 0.003\n            seed=7 is new\n",
		"\nleft out    README.md\n", "\nsubject     slower\\x1b[31m\n", "\nread        .models.yaml, deploy/train-config.yaml\n"} {
		if !strings.Contains(shown.out, line) {
			t.Errorf("no %q in\n%s", line, shown.out)
		}
	}
	if !strings.Contains(shown.err, "hint: git push -o plan origin HEAD:models\n") {
		t.Errorf("in a clone it says:\n%s", shown.err)
	}

	// Faults are said as lint says them.
	s.commit(t, "a mistake", map[string]string{".models.yaml": "train:\n  comand: [sh]\n"})
	fault := runIn(t, s.clone, "plan", "--json")
	if fault.code != 1 || !strings.HasPrefix(fault.out, ".models.yaml:2:3: ") {
		t.Errorf("a fault: %+v", fault)
	}
	runIn(t, s.clone, "plan", "--account", "123").want(t, 1, "",
		"git-models: error: refused: --account is for SageMaker, which is not in this version\ngit-models: hint: git models plan\n")
}
