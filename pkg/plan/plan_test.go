package plan_test

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline"
	"github.com/git-models/git-models/pkg/pipeline/dockerfile"
	"github.com/git-models/git-models/pkg/plan"
	"github.com/git-models/git-models/pkg/policy"
)

const commit = gitmodels.CommitID("5a32b0f0c1d2e3f4a5b6c7d8e9f00112233445566")

// tree answers like a commit's tree; paths it does not hold are absent.
type tree struct {
	files map[string]gitmodels.TreeFile
	err   error
	looks int
	lists int
}

func (t *tree) Files(_ context.Context, c gitmodels.CommitID, paths []string) (map[string]gitmodels.TreeFile, error) {
	t.looks++
	if c != commit {
		return nil, errors.New("another commit was asked for")
	}
	out := map[string]gitmodels.TreeFile{}
	for _, p := range paths {
		if problem, _ := pipeline.CheckPath(p); problem != "" {
			return nil, errors.New("path " + p + " " + problem)
		}
		f, ok := t.files[p]
		if !ok {
			f = gitmodels.TreeFile{Kind: gitmodels.KindAbsent}
		}
		f.Path = p
		out[p] = f
	}
	return out, t.err
}

func (t *tree) List(_ context.Context, c gitmodels.CommitID, folder string, limit int) ([]gitmodels.TreeEntry, error) {
	t.lists++
	if c != commit {
		return nil, errors.New("another commit was asked for")
	}
	var entries []gitmodels.TreeEntry
	for _, path := range slices.Sorted(maps.Keys(t.files)) {
		rest, ok := strings.CutPrefix(path, folder+"/")
		if name, _, below := strings.Cut(rest, "/"); ok && !below && len(entries) < limit {
			entries = append(entries, gitmodels.TreeEntry{Name: name, Kind: t.files[path].Kind})
		}
	}
	return entries, t.err
}

// files makes a tree of regular files, path and content in turn.
func files(pairs ...string) *tree {
	t := &tree{files: map[string]gitmodels.TreeFile{}}
	for i := 0; i < len(pairs); i += 2 {
		t.files[pairs[i]] = gitmodels.TreeFile{Kind: gitmodels.KindFile, Size: int64(len(pairs[i+1])), Data: []byte(pairs[i+1])}
		for dir := path.Dir(pairs[i]); dir != "."; dir = path.Dir(dir) {
			t.files[dir] = gitmodels.TreeFile{Kind: gitmodels.KindFolder}
		}
	}
	return t
}

func (t *tree) with(path string, f gitmodels.TreeFile) *tree {
	t.files[path] = f
	return t
}

// rules parses lines of protected configuration.
func rules(t *testing.T, lines ...string) *policy.Policy {
	t.Helper()
	entries := []gitmodels.ConfigEntry{{Scope: "global", Key: "models.home", Value: "/srv/gm"}}
	for _, l := range lines {
		key, value, _ := strings.Cut(l, "=")
		entries = append(entries, gitmodels.ConfigEntry{Scope: "global", Key: key, Value: value})
	}
	p, problems := policy.Parse(entries, policy.Runner)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return p
}

var process = []string{"models.engine=process", "models.allowprocess=true"}

func makePlan(t *testing.T, tr *tree, config ...string) (*plan.Plan, error) {
	t.Helper()
	return plan.Make(t.Context(), plan.Input{Commit: commit, Ref: "refs/heads/models", Repository: "dogs",
		Policy: rules(t, config...), Files: tr, AttemptName: "5a32b0f", Dockerfile: dockerfile.Check})
}

func TestMake(t *testing.T) {
	t.Parallel()
	tr := files(
		".models.yaml", "train: {command: [python3, src/train.py]}\nevaluate: {command: [python3, src/eval.py]}\nresults: {best: {metric: loss, mode: min}}\n",
		"deploy/train-config.yaml", "lr: 1e-3\nmodel: {name: resnet50}\n",
		"deploy/sagemaker-job-config.yaml", "job: {max_runtime: 3600, memory: 512M, cpus: 2, owner: me}\nenv: {A: b}\n",
	)
	got, err := makePlan(t, tr, process...)
	if err != nil {
		t.Fatal(err)
	}
	want := &plan.Plan{
		Engine:      "process",
		Command:     []string{"python3", "src/train.py", "lr=1e-3", "model.name=resnet50", "experiment_name=5a32b0f"},
		Overrides:   []string{"lr=1e-3", "model.name=resnet50"},
		Evaluate:    []string{"python3", "src/eval.py"},
		Artifacts:   "file:///srv/gm/store/dogs/artifacts",
		Metrics:     "file:///srv/gm/store/dogs/metrics",
		MaxRuntime:  time.Hour,
		MemoryBytes: 512e6,
		CPUs:        2,
		Env:         map[string]string{"A": "b"},
		Best:        &gitmodels.Best{Metric: "loss", Mode: "min"},
		Files:       []string{".models.yaml", "deploy/sagemaker-job-config.yaml", "deploy/train-config.yaml"},
		Warnings:    []plan.Fault{{File: "deploy/sagemaker-job-config.yaml", Line: 1, Column: 49, Message: `unknown key "job.owner" is not read`}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreTypes(pipeline.Filter{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("on.paths [src/**, deploy/**, .models.yaml]", got.Filter.String()); diff != "" {
		t.Error(diff)
	}
	if tr.looks != 1 {
		t.Errorf("%d looks at the tree, want 1", tr.looks)
	}
}

func TestNamedFiles(t *testing.T) {
	t.Parallel()
	tr := files(
		".models.yaml", "build: {context: app, dockerfile: app/D}\ntrain: {command: [x], job: c/job.yaml, params: c/p.yaml}\n",
		"c/job.yaml", "", "c/p.yaml", "a: 1", "app/D", "FROM scratch",
		"deploy/train-config.yaml", "not: [read",
	).with("app", gitmodels.TreeFile{Kind: gitmodels.KindFolder})
	got, err := makePlan(t, tr, process...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"x", "a=1", "experiment_name=5a32b0f"}, got.Command); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{".models.yaml", "c/job.yaml", "c/p.yaml"}, got.Files); diff != "" {
		t.Error(diff)
	}
	if tr.looks != 2 || got.MaxRuntime != policy.DefaultRuntime {
		t.Errorf("%d looks, %v", tr.looks, got.MaxRuntime)
	}
}

// What the server lacks makes a run wait; the files are judged all the same.
func TestMissing(t *testing.T) {
	t.Parallel()
	const command = "train: {command: [x]}\n"
	for name, c := range map[string]struct {
		models string
		config []string
		want   string
	}{
		"nothing configured":      {command, nil, "engine: none is configured (models.engine)"},
		"no command, no engine":   {"", nil, "engine: none is configured (models.engine)"},
		"named, none configured":  {"train: {engine: process, command: [x]}", nil, "engine: none is configured (models.engine)"},
		"process not allowed":     {command, []string{"models.engine=process"}, "engine: process is not allowed here (models.allowProcess)"},
		"a later engine":          {command, []string{"models.engine=slurm"}, "engine: slurm is not in this version"},
		"a later engine named":    {"train: {engine: container, command: [x]}", append(process, "models.engines=container"), "registry: none is configured (models.registry)"},
		"sagemaker":               {"", []string{"models.engine=sagemaker"}, "engine: sagemaker is not in this version"},
		"a later store":           {command, append(process, "models.store=s3://bucket/p"), "store: s3:// is not in this version (models.store)"},
		"GPUs of containers":      {"train: {command: [x], job: gpu.yaml}", []string{"models.engine=container", "models.registry=reg.example"}, "gpu: 2 asked (job.gpus), none is configured (models.limit.gpus)"},
		"GPUs":                    {"train: {command: [x], job: gpu.yaml}", process, "gpu: 2 asked (job.gpus), and engine process has none to give in this version"},
		"nothing":                 {command, process, ""},
		"unsandboxed":             {command, []string{"models.engine=process", "models.allowprocess=unsandboxed"}, ""},
		"the only allowed engine": {command, []string{"models.engines=process", "models.allowprocess=true"}, ""},
	} {
		tr := files("src/Dockerfile", "FROM scratch\n", ".models.yaml", c.models, "gpu.yaml", "job: {gpus: 2}", "deploy/sagemaker-job-config.yaml", "")
		got, err := makePlan(t, tr, c.config...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Missing != c.want {
			t.Errorf("%s: missing %q, want %q", name, got.Missing, c.want)
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	const ok = "train: {command: [x]}\n"
	big := strings.Repeat("x", 132_000)
	link := gitmodels.TreeFile{Kind: gitmodels.KindLink, Link: "conf"}
	for name, c := range map[string]struct {
		tree   *tree
		config []string
		want   []string
	}{
		"no command": {files(), process, []string{
			".models.yaml:1:1: train.command is not given, and engine process needs it; write train: {command: [python3, src/train.py]}"}},
		"misspelt": {files(".models.yml", ok, "models.yaml", ok), process, []string{
			".models.yml: the file is not read; did you mean .models.yaml?",
			"models.yaml: the file is not read; did you mean .models.yaml?"}},
		"every file at once": {files(".models.yaml", ok+"build: {cache: x, contxt: y}\n", "deploy/train-config.yaml", "a: \"b\\nc\"\n0: x\n",
			"deploy/sagemaker-job-config.yaml", "job: {memory: 4096}\n"), process, []string{
			`.models.yaml:2:16: build.cache "x" is none of inline, registry, none`,
			`.models.yaml:2:19: unknown key "build.contxt"; did you mean build.context?`,
			`deploy/sagemaker-job-config.yaml:1:15: job.memory "4096" has no unit; write 4096M for megabytes`,
			`deploy/train-config.yaml:1:4: value "b\x0ac" holds a newline, which an override cannot carry`,
			"deploy/train-config.yaml:2:1: key '0' cannot be named at the top of Hydra's command line; use a name of letters, digits, _ and -"}},
		"unsure": {files(".models.yaml", "trian: {params: a}\n", "deploy/train-config.yaml", "["), process, []string{
			`.models.yaml:1:1: unknown key "trian"; did you mean train?`}},
		"named, not there": {files(".models.yaml", "train: {command: [x], params: c/p.yaml, job: j}\nbuild: {context: a, dockerfile: a/D}\n"), process, []string{
			`.models.yaml:1:31: train.params "c/p.yaml" is not in the commit; add the file, or mend the path`,
			`.models.yaml:1:46: train.job "j" is not in the commit; add the file, or mend the path`,
			`.models.yaml:2:18: build.context "a" is not in the commit; add the folder, or mend the path`,
			`.models.yaml:2:33: build.dockerfile "a/D" is not in the commit; add the file, or mend the path`}},
		"links": {files(".models.yaml", "train: {command: [x], params: conf/p.yaml}\nbuild: {context: conf}\n").
			with("conf/p.yaml", link).with("conf", link).with("deploy/sagemaker-job-config.yaml", gitmodels.TreeFile{Kind: gitmodels.KindLink, Link: "deploy/sagemaker-job-config.yaml"}), process, []string{
			`.models.yaml:1:31: train.params "conf/p.yaml" lies behind the symbolic link conf; put a regular file there`,
			`.models.yaml:2:18: build.context "conf" is a symbolic link; name a folder`,
			"deploy/sagemaker-job-config.yaml: the file is a symbolic link; put a regular file there"}},
		"the pipeline file is a link": {files().with(".models.yaml", gitmodels.TreeFile{Kind: gitmodels.KindLink}), process, []string{
			".models.yaml: the file is a symbolic link; put a regular file there"}},
		"other kinds": {files(".models.yaml", "train: {command: [x], params: p, job: j}\nbuild: {context: f}\n", "f", "").
			with("p", gitmodels.TreeFile{Kind: gitmodels.KindFolder}).with("j", gitmodels.TreeFile{Kind: gitmodels.KindSubmodule}), process, []string{
			`.models.yaml:1:31: train.params "p" is a folder; name a file`,
			`.models.yaml:1:39: train.job "j" lies in a submodule; put a regular file there`,
			`.models.yaml:2:18: build.context "f" is a file; name a folder`}},
		"too large": {files(".models.yaml", ok).with("deploy/train-config.yaml", gitmodels.TreeFile{Kind: gitmodels.KindTooLarge, Size: 2 << 20}), process, []string{
			"deploy/train-config.yaml: the file has 2097152 bytes; at most 1048576 are read"}},
		"an unknown engine": {files(".models.yaml", "train: {engine: proces, command: [x]}\n"), process, []string{
			`.models.yaml:1:17: train.engine "proces" is no engine; did you mean process?`}},
		"an unknown engine, none configured": {files(".models.yaml", "train: {engine: abc, command: [x]}\n"), nil, []string{
			`.models.yaml:1:17: train.engine "abc" is no engine; allowed here: process, container, sagemaker, slurm, kubernetes`}},
		"an engine that is not allowed": {files(".models.yaml", "train: {engine: slurm, command: [x]}\n"), append(process, "models.engines=container"), []string{
			`.models.yaml:1:17: train.engine "slurm" is not allowed here; allowed here: process, container`}},
		"no default engine": {files(".models.yaml", ok), []string{"models.engines=process", "models.engines=slurm"}, []string{
			".models.yaml:1:1: train.engine is not given, and this server has no default; write train: {engine: process}; allowed here: process, slurm"}},
		"sagemaker without its files": {files(), []string{"models.engine=sagemaker"}, []string{
			".models.yaml:1:1: src is not in the commit, and engine sagemaker builds its image from it; add the folder, or name another as build.context",
			".models.yaml:1:1: src/Dockerfile is not in the commit, and engine sagemaker builds its image from it; add the file, or name another as build.dockerfile",
			"deploy/sagemaker-job-config.yaml: the file is not in the commit; add the file, or mend the path"}},
		"results elsewhere": {files(".models.yaml", ok+"results:\n  artifacts: file:///srv/gm/store-evil\n  metrics: file:///srv/gm/store/../x\n"), process, []string{
			`.models.yaml:3:14: results.artifacts "file:///srv/gm/store-evil" lies outside the stores of this server; allowed here: file:///srv/gm/store`,
			`.models.yaml:4:12: results.metrics "file:///srv/gm/store/../x" is not allowed; want a path without empty, . and .. parts`}},
		"results in disguise": {files(".models.yaml", ok+"results: {artifacts: 'file:///srv/gm/store/%2e%2e/x', metrics: 'file://srv/gm/store/x'}\n"), process, []string{
			`.models.yaml:2:22: results.artifacts "file:///srv/gm/store/%2e%2e/x" is not allowed; want a path without '%'`,
			`.models.yaml:2:64: results.metrics "file://srv/gm/store/x" lies outside the stores of this server; allowed here: file:///srv/gm/store`}},
		"results without a scheme": {files(".models.yaml", ok+"results: {artifacts: /srv/gm/store/a}\n"), process, []string{
			`.models.yaml:2:22: results.artifacts "/srv/gm/store/a" is no URI; allowed here: file:///srv/gm/store`}},
		"results in one place": {files(".models.yaml", ok+"results: {artifacts: 'file:///srv/gm/store/a', metrics: 'file:///srv/gm/store/a/'}\n"), process, []string{
			".models.yaml:2:57: results.artifacts and results.metrics are the same place; give each a place of its own"}},
		"metrics inside artifacts": {files(".models.yaml", ok+"results: {artifacts: 'file:///srv/gm/store/a', metrics: 'file:///srv/gm/store/a/m'}\n"), process, []string{
			`.models.yaml:2:57: results.metrics "file:///srv/gm/store/a/m" lies inside results.artifacts "file:///srv/gm/store/a"; give each a place of its own`}},
		"artifacts inside the store's metrics": {files(".models.yaml", ok+"results: {artifacts: 'file:///srv/gm/store/dogs/metrics/x'}\n"), process, []string{
			`.models.yaml:2:22: results.artifacts "file:///srv/gm/store/dogs/metrics/x" lies inside results.metrics "file:///srv/gm/store/dogs/metrics"; give each a place of its own`}},
		"a long argument": {files(".models.yaml", ok, "deploy/train-config.yaml", "a: 1\nb: "+big), process, []string{
			"deploy/train-config.yaml:2:4: the value of b has 132002 bytes; at most 131071 fit into an argument"}},
		"many arguments": {files(".models.yaml", ok, "deploy/train-config.yaml", manyArguments()), process, []string{
			"deploy/train-config.yaml: command and parameters have 1075912 bytes; at most 1048576 fit into a command line"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := makePlan(t, c.tree, c.config...)
			var faults *plan.Faults
			if !errors.As(err, &faults) {
				t.Fatalf("error %v, want faults", err)
			}
			if diff := cmp.Diff(c.want, strings.Split(faults.Error(), "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// manyArguments makes parameters that an alias repeats: few bytes in the file,
// more than a megabyte in the command line.
func manyArguments() string {
	var b strings.Builder
	b.WriteString("a: &a " + strings.Repeat("x", 10_000) + "\n")
	for i := range 106 {
		b.WriteString("b" + strings.Repeat("b", i) + ": *a\n")
	}
	return b.String()
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	tr := files(".models.yaml", "train: {command: [x]}\n", "models.yaml", "a: catalogue\n",
		"deploy/sagemaker-job-config.yaml", "job: {max_runtime: 7200}\n", "deploy/train-config.yaml", "experiment_name: mine\n")
	got, err := makePlan(t, tr, append(process, "models.timeout.run=1h")...)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, w := range got.Warnings {
		lines = append(lines, w.String())
	}
	want := []string{
		"deploy/sagemaker-job-config.yaml:1:20: job.max_runtime 2h0m0s is more than this server's models.timeout.run: the run is stopped after 1h0m0s",
		"deploy/train-config.yaml:1:18: experiment_name is set to the run's name; the value here does not count",
		"models.yaml: the file is not read; .models.yaml is",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	if got.MaxRuntime != time.Hour {
		t.Error(got.MaxRuntime)
	}
	if !slices.Equal(got.Command, []string{"x", "experiment_name=mine", "experiment_name=5a32b0f"}) {
		t.Error(got.Command)
	}
}

func TestName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ attempt, abbrev, want string }{
		{"1e12345", "7", "experiment_name='1e12345'"},
		{"5a32b0f-r2", "7", "experiment_name=5a32b0f-r2"},
		{"", "9", "experiment_name=5a32b0f0c"},
	} {
		got, err := plan.Make(t.Context(), plan.Input{Commit: commit, Repository: "dogs", AttemptName: c.attempt,
			Policy: rules(t, append(process, "models.abbrev="+c.abbrev)...), Files: files(".models.yaml", "train: {command: [x]}")})
		if err != nil {
			t.Fatal(err)
		}
		if last := got.Command[len(got.Command)-1]; last != c.want {
			t.Errorf("%s, want %s", last, c.want)
		}
	}
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	tr := files()
	tr.err = errors.New("the disk is gone")
	_, err := makePlan(t, tr, process...)
	var faults *plan.Faults
	if err == nil || errors.As(err, &faults) || gitmodels.KindOf(err) != gitmodels.Internal || !errors.Is(err, tr.err) {
		t.Fatalf("error %v", err)
	}
}

func TestResultsUnderStore(t *testing.T) {
	t.Parallel()
	tr := files(".models.yaml", "train: {command: [x]}\nresults: {artifacts: 'file:///data/x/', metrics: 'file:///srv/gm/store/m'}\n")
	got, err := makePlan(t, tr, append(process, "models.allow.store=file:///data")...)
	if err != nil {
		t.Fatal(err)
	}
	if got.Artifacts != "file:///data/x" || got.Metrics != "file:///srv/gm/store/m" {
		t.Error(got.Artifacts, got.Metrics)
	}
}
