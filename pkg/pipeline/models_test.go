package pipeline_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline"
)

func lines(faults []pipeline.Fault) []string {
	var out []string
	for _, f := range faults {
		out = append(out, f.String())
	}
	return out
}

var noFilter = cmpopts.IgnoreTypes(pipeline.Filter{})

func TestModelsDefaults(t *testing.T) {
	t.Parallel()
	want := &pipeline.Models{
		Build: pipeline.Build{
			Context:    pipeline.Field{Value: "src"},
			Dockerfile: pipeline.Field{Value: "src/Dockerfile"},
			Cache:      "inline",
		},
		Job:    pipeline.Field{Value: "deploy/sagemaker-job-config.yaml"},
		Params: pipeline.Field{Value: "deploy/train-config.yaml"},
	}
	for _, yaml := range []string{"", "# nothing\n", "on:\nbuild:\ntrain:\nevaluate:\nresults:\n", "results:\n  best:\n", "{}"} {
		got, faults := pipeline.ParseModels([]byte(yaml))
		if len(faults) > 0 {
			t.Errorf("%q: %v", yaml, lines(faults))
		}
		if diff := cmp.Diff(want, got, noFilter); diff != "" {
			t.Errorf("%q: %s", yaml, diff)
		}
		if diff := cmp.Diff("on.paths [src/**, deploy/**, .models.yaml]", got.Filter.String()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestModelsFull(t *testing.T) {
	t.Parallel()
	got, faults := pipeline.ParseModels([]byte(`
on:
  paths: ['src/**', '!src/docs/**']
build:
  context: app
  dockerfile: app/Dockerfile.train
  image: team/dog-classifier
  args: {PYTHON: '3.12', LEVEL: 3}
  cache: registry
  always: true
  refresh: yes
train:
  engine: process
  command: [python3, train.py, --epochs, 5, --lr, 0.5, '']
  job: conf/job.yaml
  params: conf/params.yaml
evaluate:
  command: [python3, eval.py]
results:
  artifacts: file:///srv/a
  metrics: file:///srv/m
  best: {metric: eval/f1 (macro), mode: max}
`))
	if len(faults) > 0 {
		t.Fatal(lines(faults))
	}
	want := &pipeline.Models{
		Build: pipeline.Build{
			Context:    pipeline.Field{Value: "app", Set: true, Line: 5, Column: 12},
			Dockerfile: pipeline.Field{Value: "app/Dockerfile.train", Set: true, Line: 6, Column: 15},
			Image:      pipeline.Field{Value: "team/dog-classifier", Set: true, Line: 7, Column: 10},
			ArgsAt: map[string]pipeline.Field{
				"PYTHON": {Value: "PYTHON", Set: true, Line: 8, Column: 10},
				"LEVEL":  {Value: "LEVEL", Set: true, Line: 8, Column: 26},
			},
			Args:  map[string]string{"PYTHON": "3.12", "LEVEL": "3"},
			Cache: "registry", Always: true, Refresh: true,
		},
		Engine:    pipeline.Field{Value: "process", Set: true, Line: 13, Column: 11},
		Command:   []string{"python3", "train.py", "--epochs", "5", "--lr", "0.5", ""},
		Job:       pipeline.Field{Value: "conf/job.yaml", Set: true, Line: 15, Column: 8},
		Params:    pipeline.Field{Value: "conf/params.yaml", Set: true, Line: 16, Column: 11},
		Evaluate:  []string{"python3", "eval.py"},
		Artifacts: pipeline.Field{Value: "file:///srv/a", Set: true, Line: 20, Column: 14},
		Metrics:   pipeline.Field{Value: "file:///srv/m", Set: true, Line: 21, Column: 12},
		Best:      &gitmodels.Best{Metric: "eval/f1 (macro)", Mode: "max"},
	}
	if diff := cmp.Diff(want, got, noFilter); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("on.paths [src/**, !src/docs/**]", got.Filter.String()); diff != "" {
		t.Error(diff)
	}
}

// The default filter watches what the file names, and means the names as they
// are.
func TestModelsDefaultFilter(t *testing.T) {
	t.Parallel()
	m, faults := pipeline.ParseModels([]byte("build: {context: app, dockerfile: 'docker/a*b'}\ntrain: {job: src/job.yaml, params: conf/p+.yaml}\n"))
	if len(faults) > 0 {
		t.Fatal(lines(faults))
	}
	for _, p := range []string{"src/x", "deploy/x/y", ".models.yaml", "app/z", "docker/a*b", "conf/p+.yaml"} {
		if !starts(t, m.Filter, p) {
			t.Errorf("%s is not watched by %s", p, m.Filter)
		}
	}
	for _, p := range []string{"README.md", "docker/axb", "conf/pp.yaml", "app", "x/src/y"} {
		if starts(t, m.Filter, p) {
			t.Errorf("%s is watched by %s", p, m.Filter)
		}
	}
}

func TestModelsFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		yaml string
		want []string
	}{
		"all at once": {"trian:\n  engine: x\ntrain:\n  comand: [a]\n  params: ../x\nbuild:\n  always: maybe\n", []string{
			`.models.yaml:1:1: unknown key "trian"; did you mean train?`,
			`.models.yaml:4:3: unknown key "train.comand"; did you mean train.command?`,
			`.models.yaml:5:11: train.params "../x" leaves the repository with ..`,
			`.models.yaml:7:11: build.always must be true or false, and this is "maybe"`}},
		"a key of another section": {"command: [x]\ntrain: {paths: [a]}\n", []string{`.models.yaml:1:1: unknown key "command"; did you mean train.command?`, `.models.yaml:2:9: unknown key "train.paths"; did you mean on.paths?`}},
		"a strange key":            {"frobnicate: 1\non: {zzzzzz: 1}\n", []string{`.models.yaml:1:1: unknown key "frobnicate"; known are on, build, train, evaluate, results`, `.models.yaml:2:6: unknown key "on.zzzzzz"; known in on are paths, paths-ignore`}},
		"a hostile key":            {"\"a\\e[31m\": 1\n", []string{`.models.yaml:1:1: unknown key "a\x1b[31m"; known are on, build, train, evaluate, results`}},
		"twice, quoted":            {"on: {paths: [a]}\n'on': {paths: [b]}\n", []string{`.models.yaml:2:1: key "on" is already there in line 1; keep one of the two`}},
		"not a mapping":            {"- train\n", []string{".models.yaml:1:1: the file must be a mapping, and this is a list; write key: value"}},
		"a section that is a list": {"train: [a]\n", []string{".models.yaml:1:8: train must be a mapping, and this is a list"}},
		"broken":                   {"train: {engine: [}\n", []string{".models.yaml:1: not valid YAML: did not find expected node content"}},
		"best, a word":             {"results: {best: loss}\n", []string{`.models.yaml:1:17: results.best must be a mapping, and this is "loss"; write {metric: val_accuracy, mode: max}`}},
		"best without a mode":      {"results: {best: {metric: loss}}\n", []string{".models.yaml:1:17: results.best.mode is not given; write {metric: val_accuracy, mode: max}, or mode: min where less is better"}},
		"best without a metric":    {"results: {best: {mode: min}}\n", []string{".models.yaml:1:17: results.best.metric is not given; write {metric: val_accuracy, mode: max}, or mode: min where less is better"}},
		"best, nothing in it":      {"results: {best: {}}\n", []string{".models.yaml:1:17: results.best.metric is not given; write {metric: val_accuracy, mode: max}, or mode: min where less is better"}},
		"best, another mode":       {"results: {best: {metric: loss, mode: mim}}\n", []string{`.models.yaml:1:38: results.best.mode "mim" is none of max, min; did you mean min?`}},
		"best, another key":        {"results: {best: {metrics: loss, mode: min}}\n", []string{`.models.yaml:1:18: unknown key "results.best.metrics"; did you mean results.best.metric?`}},
		"best, a key twice":        {"results:\n  best:\n    metric: a\n    mode: max\n    metric: b\n", []string{`.models.yaml:5:5: key "metric" is already there in line 3; keep one of the two`}},
		"best, an empty metric":    {"results: {best: {metric: '', mode: min}}\n", []string{".models.yaml:1:26: results.best.metric is empty"}},
		"best, a long metric":      {"results: {best: {metric: " + strings.Repeat("a", 201) + ", mode: min}}\n", []string{".models.yaml:1:26: results.best.metric has 201 bytes; at most 200 are allowed"}},
		"best, an unseen metric":   {"results: {best: {metric: \"a\\u202eb\", mode: min}}\n", []string{`.models.yaml:1:26: results.best.metric "a\u202eb" holds a character that cannot be seen; metrics have their names in print, such as val_accuracy`}},
		"best, a list as metric":   {"results: {best: {metric: [a], mode: min}}\n", []string{".models.yaml:1:26: results.best.metric must be text, and this is a list"}},
		"a command as text":        {"train: {command: python3 train.py --x=$HOME}\n", []string{`.models.yaml:1:18: train.command is a list of words, since no shell takes "python3 train.py --x=$HOME" apart; write [python3, train.py, '--x=$HOME']`}},
		"an empty command":         {"train: {command: []}\nevaluate: {command: ~}\n", []string{".models.yaml:1:18: train.command is empty; write [python3, train.py]", ".models.yaml:2:21: evaluate.command must be a list, and this is a single value; write [python3, train.py]"}},
		"words that YAML changes": {"train: {command: [x, yes, 1.10, 0x1F, ~, [y], \"a\\nb\"]}\n", []string{
			`.models.yaml:1:22: word 2 of train.command must be text, and YAML reads "yes" as a yes/no value; write 'yes'`,
			`.models.yaml:1:27: word 3 of train.command must be text, and YAML reads "1.10" as a number; write '1.10'`,
			`.models.yaml:1:33: word 4 of train.command must be text, and YAML reads "0x1F" as a whole number; write '0x1F'`,
			`.models.yaml:1:39: word 5 of train.command is empty`,
			`.models.yaml:1:42: word 6 of train.command must be text, and this is a list`,
			`.models.yaml:1:47: word 7 of train.command "a\x0ab" holds a control character`}},
		"paths that mean two places": {"build: {context: ./src, dockerfile: /etc/x}\ntrain: {job: 'a\\b', params: a/.git/x}\n", []string{
			`.models.yaml:1:18: build.context "./src" holds an empty part or a .; write src`,
			`.models.yaml:1:37: build.dockerfile "/etc/x" is absolute; write it from the root of the repository, without the first /`,
			`.models.yaml:2:14: train.job "a\b" holds a \; write a/b`,
			`.models.yaml:2:29: train.params "a/.git/x" goes through .git, which no commit holds`}},
		"more paths": {"train: {job: 'a//b', params: ''}\nbuild: {context: ., dockerfile: \"a\\tb\"}\n", []string{
			`.models.yaml:1:14: train.job "a//b" holds an empty part or a .; write a/b`,
			`.models.yaml:1:30: train.params "" is empty`,
			`.models.yaml:2:18: build.context "." holds an empty part or a .; name a folder below the root`,
			`.models.yaml:2:33: build.dockerfile "a\x09b" holds a control character`}},
		"both filters":      {"on: {paths: [a], paths-ignore: [b]}\n", []string{`.models.yaml:1:18: on.paths and on.paths-ignore cannot both be there; write exclusions into on.paths, as '!docs/**'`}},
		"exclusions alone":  {"on: {paths: ['!docs/**']}\n", []string{`.models.yaml:1:13: on.paths has only patterns with !, which take out what an earlier one brought in; put a pattern without ! before it, such as '**'`}},
		"patterns":          {"on: {paths: [src/, 'a[', 1, yes]}\n", []string{`.models.yaml:1:14: on.paths pattern "src/": it matches no path: only files count; for all files of a folder write src/**`, `.models.yaml:1:20: on.paths pattern "a[": [ has no ] after it; for the character itself write \[`, `.models.yaml:1:29: pattern 4 of on.paths must be text, and YAML reads "yes" as a yes/no value; write 'yes'`}},
		"patterns as text":  {"on: {paths: src/**}\n", []string{`.models.yaml:1:13: on.paths must be a list, and this is a single value; write ['src/**']`}},
		"no patterns":       {"on: {paths: []}\n", []string{".models.yaml:1:13: on.paths is empty; remove it, or name paths"}},
		"a bad image":       {"build: {image: 'Team/Dog:1'}\n", []string{`.models.yaml:1:16: build.image "Team/Dog:1" is no name of an image; write small letters, digits and - _ . between them, such as team/dog-classifier`}},
		"a bad cache":       {"build: {cache: inlin}\n", []string{`.models.yaml:1:16: build.cache "inlin" is none of inline, registry, none; did you mean inline?`}},
		"bad arguments":     {"build: {args: {1X: a, OK: ~, B: yes}}\n", []string{`.models.yaml:1:16: build.args "1X" is no name of an argument; write letters, digits and _`, ".models.yaml:1:27: build.args.OK is empty", `.models.yaml:1:33: build.args.B must be text, and YAML reads "yes" as a yes/no value; write 'yes'`}},
		"a quoted truth":    {"build: {always: 'true'}\n", []string{`.models.yaml:1:17: build.always must be true or false, and this is "true"; write true without quotes`}},
		"too many patterns": {"on: {paths: [" + strings.Repeat("a,", 201) + "]}\n", []string{".models.yaml:1:13: on.paths has 201 patterns; at most 200 are allowed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, faults := pipeline.ParseModels([]byte(c.yaml))
			if diff := cmp.Diff(c.want, lines(faults)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A file at fault says whether what it means for training is still clear.
func TestModelsUnsure(t *testing.T) {
	t.Parallel()
	for yaml, want := range map[string]bool{
		"build: {cache: x}":        false,
		"results: {best: 1}":       false,
		"train: {engin: process}":  true,
		"trian: {}":                true,
		"train: [":                 true,
		"train: {params: ../x}":    true,
		"train: {engine: process}": false,
	} {
		if m, _ := pipeline.ParseModels([]byte(yaml)); m.Unsure != want {
			t.Errorf("%s: unsure %v", yaml, m.Unsure)
		}
	}
}

func FuzzModels(f *testing.F) {
	for _, seed := range []string{
		"", "on: {paths: ['src/**', '!a']}\ntrain: {command: [a, 1], engine: process, job: a/b}\nbuild: {args: {A: b}, image: a/b}\n",
		"on: {paths-ignore: ['[a-z]+']}", "train: {command: x y}", "results: {best: {metric: [a], mode: *b}}", "results: {artifacts: file:///a/../b}", "a: &a [*a]", "{<<: [{on: 1}]}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, faults := pipeline.ParseModels(data)
		if m == nil {
			t.Fatal("nothing returned")
		}
		for _, fault := range faults {
			if fault.File != ".models.yaml" || fault.Message == "" || fault.Line < 0 {
				t.Fatalf("fault %+v", fault)
			}
		}
		for _, p := range []string{m.Job.Value, m.Params.Value, m.Build.Context.Value, m.Build.Dockerfile.Value} {
			if problem, _ := pipeline.CheckPath(p); problem != "" {
				t.Fatalf("path %q passed: %s", p, problem)
			}
		}
		for _, w := range append(m.Command, m.Evaluate...) {
			if len(faults) == 0 && strings.ContainsAny(w, "\x00\n") {
				t.Fatalf("word %q passed", w)
			}
		}
	})
}
