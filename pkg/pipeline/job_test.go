package pipeline_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/git-models/git-models/pkg/pipeline"
)

func TestJob(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		yaml string
		want pipeline.Job
	}{
		"empty": {"", pipeline.Job{}},
		"a job file of SageMaker": {`
job: {name: dog-classifier, instance_type: ml.g5.xlarge, volume_size: 50, max_runtime: 86400}
aws: {region: us-east-1, ecr_repository: sim/dog-classifier, image_tag: latest, s3_bucket: my-models, s3_prefix: dogs, spot_enabled: true}
tags: {cost-center: 1234, ratio: 0.50, shared: yes, empty: }
`, pipeline.Job{MaxRuntime: 24 * time.Hour}},
		"limits":           {"job: {max_runtime: 3_600, memory: 4Gi, cpus: 2, gpus: 0}", pipeline.Job{MaxRuntime: time.Hour, MemoryBytes: 4 << 30, CPUs: 2}},
		"sexagesimal time": {"job: {max_runtime: 1:00:00}", pipeline.Job{MaxRuntime: time.Hour}},
		"decimal memory":   {"job: {memory: 512M, cpus: 0.5, gpus: 2}", pipeline.Job{MemoryBytes: 512e6, CPUs: 0.5, GPUs: 2}},
		"half a gigabyte":  {"job: {memory: '0.5G'}", pipeline.Job{MemoryBytes: 500e6}},
		"environment":      {"env: {A: x, B_2: 5, C: '', D: \"a\\nb\", LR: 0.5}", pipeline.Job{Env: map[string]string{"A": "x", "B_2": "5", "C": "", "D": "a\nb", "LR": "0.5"}}},
		"empty sections":   {"job:\naws:\ntags:\nenv:\n", pipeline.Job{}},
	} {
		got, faults, warnings := pipeline.ParseJob("job.yaml", []byte(c.yaml))
		if len(faults)+len(warnings) > 0 {
			t.Errorf("%s: %v %v", name, lines(faults), lines(warnings))
		}
		if diff := cmp.Diff(&c.want, got, cmpopts.IgnoreTypes(pipeline.Field{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestJobFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		yaml     string
		faults   []string
		warnings []string
	}{
		"slips": {"jbo: {}\njob: {max_runtme: 1, gpu: 1}\naws: {regoin: x}\ntag: {}\n", []string{
			`j.yaml:1:1: unknown key "jbo"; did you mean job?`,
			`j.yaml:2:7: unknown key "job.max_runtme"; did you mean job.max_runtime?`,
			`j.yaml:2:22: unknown key "job.gpu"; did you mean job.gpus?`,
			`j.yaml:3:7: unknown key "aws.regoin"; did you mean aws.region?`,
			`j.yaml:4:1: unknown key "tag"; did you mean tags?`}, nil},
		"other keys": {"raw: 1\nowner: me\njob: {priority: 3}\naws: {vpc: x}\n", nil, []string{
			`j.yaml:1:1: unknown key "raw" is not read`,
			`j.yaml:2:1: unknown key "owner" is not read`,
			`j.yaml:3:7: unknown key "job.priority" is not read`,
			`j.yaml:4:7: unknown key "aws.vpc" is not read`}},
		"run times": {"job: {max_runtime: '3600'}", []string{`j.yaml:1:20: job.max_runtime must be a whole number of seconds, and this is "3600"; write 3600`}, nil},
		"a float":   {"job: {max_runtime: 3600.0}", []string{`j.yaml:1:20: job.max_runtime must be a whole number of seconds, and this is "3600.0"; write 3600`}, nil},
		"a truth":   {"job: {max_runtime: true, gpus: yes}", []string{`j.yaml:1:20: job.max_runtime must be a whole number of seconds, and this is "true"`, `j.yaml:1:32: job.gpus must be a whole number of GPUs, and this is "yes"`}, nil},
		"too long":  {"job: {max_runtime: 0}", []string{`j.yaml:1:20: job.max_runtime 0 is not from 1 to 315360000`}, nil},
		"huge":      {"job: {max_runtime: " + strings.Repeat("9", 60) + "}", []string{`j.yaml:1:20: job.max_runtime 9999999999999999999999999999999999999999… is not from 1 to 315360000`}, nil},
		"memory":    {"job: {memory: 4096}", []string{`j.yaml:1:15: job.memory "4096" has no unit; write 4096M for megabytes`}, nil},
		"memory 2":  {"job: {memory: 4 GB}", []string{`j.yaml:1:15: job.memory "4 GB" is not a size; write a size such as 512M, 4G or 4Gi`}, nil},
		"memory 3":  {"job: {memory: 1K}", []string{`j.yaml:1:15: job.memory "1K" is not from 1M to 1024Ti; write a size such as 512M, 4G or 4Gi`}, nil},
		"memory 4":  {"job: {memory: [1G]}", []string{`j.yaml:1:15: job.memory must be a size, and this is a list; write a size such as 512M, 4G or 4Gi`}, nil},
		"memory 5":  {"job: {memory: -1G}", []string{`j.yaml:1:15: job.memory "-1G" is not a size; write a size such as 512M, 4G or 4Gi`}, nil},
		"memory 6":  {"job: {memory: infG}", []string{`j.yaml:1:15: job.memory "infG" is not a size; write a size such as 512M, 4G or 4Gi`}, nil},
		"cpus":      {"job: {cpus: two}", []string{`j.yaml:1:13: job.cpus must be a number, and this is "two"; write a number such as 2 or 0.5`}, nil},
		"cpus 2":    {"job: {cpus: .nan}", []string{`j.yaml:1:13: job.cpus nan is not from 0.01 to 4096`}, nil},
		"gpus":      {"job: {gpus: -1}", []string{`j.yaml:1:13: job.gpus -1 is not from 0 to 1024`}, nil},
		"env": {"env: {PATH: x, LD_PRELOAD: y, GIT_DIR: z, GIT_MODELS_RUN: a, METRICS_DIR: b, 'a b': c, A: ~, B: on, C: \"\\0\"}", []string{
			"j.yaml:1:7: env PATH is set by git-models or changes how programs start; choose another name",
			"j.yaml:1:16: env LD_PRELOAD is set by git-models or changes how programs start; choose another name",
			"j.yaml:1:31: env GIT_DIR is set by git-models or changes how programs start; choose another name",
			"j.yaml:1:43: env GIT_MODELS_RUN is set by git-models or changes how programs start; choose another name",
			"j.yaml:1:62: env METRICS_DIR is set by git-models or changes how programs start; choose another name",
			`j.yaml:1:78: env "a b" is no name of a variable; write letters, digits and _, not beginning with a digit`,
			"j.yaml:1:91: env.A is empty; write ''",
			`j.yaml:1:97: env.B must be text, and YAML reads "on" as a yes/no value; write 'on'`,
			"j.yaml:1:104: env.C holds a NUL"}, nil},
		"env as a list": {"env: [A=b]", []string{"j.yaml:1:6: env must be a mapping, and this is a list"}, nil},
		"large env":     {"env: {A: " + strings.Repeat("x", 33<<10) + "}", []string{"j.yaml:1:10: env.A has 33792 bytes; at most 32768 are allowed"}, nil},
		"duplicate":     {"job: {gpus: 1, gpus: 2}", []string{`j.yaml:1:16: key "gpus" is already there in line 1; keep one of the two`}, nil},
		"text":          {"hello", []string{"j.yaml:1:1: the file must be a mapping, and this is a single value; write key: value"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, faults, warnings := pipeline.ParseJob("j.yaml", []byte(c.yaml))
			if diff := cmp.Diff(c.faults, lines(faults)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.warnings, lines(warnings)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzJob(f *testing.F) {
	for _, seed := range []string{
		"", "job: {max_runtime: 3600, memory: 4Gi, cpus: 0.5, gpus: 1}\nenv: {A: b}\naws: {regoin: x}\n", "job: {memory: 1:59}", "env: {A: 1e-3}",
		"job: {max_runtime: 0b1}", "tags: {a: &a [*a]}", "job: {cpus: .inf}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		job, faults, _ := pipeline.ParseJob("j.yaml", data)
		if len(faults) > 0 {
			return
		}
		if job.MaxRuntime < 0 || job.MemoryBytes < 0 || !(job.CPUs >= 0 && job.CPUs <= 4096) || job.GPUs < 0 {
			t.Fatalf("limits %+v", job)
		}
		for name, value := range job.Env {
			if pipeline.ReservedEnv(name) || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
				t.Fatalf("variable %q=%q passed", name, value)
			}
		}
	})
}
