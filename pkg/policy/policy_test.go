package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/policy"
)

// entries reads lines of "scope key=value"; a key without = stands bare.
func entries(lines ...string) []gitmodels.ConfigEntry {
	var out []gitmodels.ConfigEntry
	for _, l := range lines {
		scope, rest, _ := strings.Cut(l, " ")
		key, value, ok := strings.Cut(rest, "=")
		out = append(out, gitmodels.ConfigEntry{Scope: scope, Origin: "file:/c", Key: key, Value: value, Bare: !ok})
	}
	return out
}

func texts(problems []policy.Problem) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.String())
	}
	return out
}

var defaults = policy.Policy{
	Refs: []string{"refs/heads/models", "refs/heads/models/**"}, Layout: "auto", Source: "warn", Validate: "reject",
	Abbrev: 7, NotesRef: "refs/notes/models", Cancel: "anyone", Tags: "succeeded",
	LimitRuns: 1, LimitBuilds: 1, RetryLost: 1, Builder: "auto", TimeoutBuild: policy.DefaultBuildTime,
	KeepImages: policy.DefaultKeep, KeepArtifacts: policy.DefaultKeep, KeepLogs: policy.DefaultKeep,
}

func TestParse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lines []string
		view  policy.View
		want  func(p *policy.Policy)
	}{
		"nothing":             {nil, policy.Runner, func(*policy.Policy) {}},
		"other sections":      {[]string{"local core.bare=true", "local model.refs=x"}, policy.Hook, func(*policy.Policy) {}},
		"values add up":       {[]string{"global models.refs=refs/heads/train", "local models.refs=refs/heads/x/*"}, policy.Runner, func(p *policy.Policy) { p.Refs = []string{"refs/heads/train", "refs/heads/x/*"} }},
		"an empty one clears": {[]string{"global models.refs=refs/heads/a", "local models.refs=", "local models.refs=refs/heads/b"}, policy.Runner, func(p *policy.Policy) { p.Refs = []string{"refs/heads/b"} }},
		"nothing governed":    {[]string{"local models.refs="}, policy.Hook, func(p *policy.Policy) { p.Refs = nil }},
		"the last one wins":   {[]string{"system models.source=off", "global models.source=require"}, policy.Hook, func(p *policy.Policy) { p.Source = "require" }},
		"order of scopes":     {[]string{"command models.source=off", "local models.source=require", "system models.source=warn"}, policy.Hook, func(p *policy.Policy) { p.Source = "off" }},
		"home over global":    {[]string{"home models.layout=team", "global models.layout=solo"}, policy.Runner, func(p *policy.Policy) { p.Layout = "team" }},
		"cleared":             {[]string{"global models.layout=team", "local models.layout="}, policy.Runner, func(p *policy.Policy) {}},
		"everything": {[]string{
			"system models.validate=off", "global models.home=/srv/gm/", "global models.autostart", "global models.engine=process",
			"global models.engines=container", "global models.allowprocess=unsandboxed", "global models.cap.network=yes",
			"global models.store=file:///data/", "global models.store=s3://b/p", "global models.jobenvfile=/etc/secrets",
			"global models.abbrev=full", "global models.notesref=refs/notes/commits", "global models.cancel=owner",
			"global models.limit.runs=4", "global models.timeout.run=1h30m", "global models.timeout.queue=7d", "global models.retry.lost=0",
		}, policy.Runner, func(p *policy.Policy) {
			p.Validate, p.Home, p.Autostart, p.Engine, p.Engines = "off", "/srv/gm", true, "process", []string{"process", "container"}
			p.AllowProcess, p.Network, p.Stores, p.JobEnvFile = "unsandboxed", true, []string{"file:///data", "s3://b/p"}, "/etc/secrets"
			p.Abbrev, p.NotesRef, p.Cancel, p.LimitRuns = 0, "refs/notes/commits", "owner", 4
			p.TimeoutRun, p.TimeoutQueue, p.RetryLost = 90*time.Minute, 7*24*time.Hour, 0
		}},
		"seconds, none": {[]string{"global models.timeout.run=90", "global models.timeout.queue=none"}, policy.Runner, func(p *policy.Policy) { p.TimeoutRun = 90 * time.Second }},
		"the hook takes all": {[]string{"local models.home=/h", "local models.autostart=true", "local models.engine=process", "local models.allowprocess=true"}, policy.Hook, func(p *policy.Policy) {
			p.Home, p.Autostart, p.Engine, p.Engines, p.AllowProcess = "/h", true, "process", []string{"process"}, "true"
		}},
		"the hook's fallback home": {nil, policy.Hook.At("/x"), func(p *policy.Policy) { p.Home = "/x" }},
		"the hook's own home":      {[]string{"local models.home=/h"}, policy.Hook.At("/x"), func(p *policy.Policy) { p.Home = "/h" }},
		"the runner's home":        {[]string{"local models.home=/h", "global models.home=/g", "local models.autostart=true"}, policy.Runner.At("/x"), func(p *policy.Policy) { p.Home = "/x" }},
		"narrowed": {[]string{
			"global models.engine=process", "global models.engines=container", "global models.engines=slurm", "global models.allowprocess=unsandboxed",
			"global models.cap.network=true", "global models.limit.runs=4", "global models.timeout.run=2h", "global models.retry.lost=2",
			"global models.store=file:///data", "global models.jobenvfile=/e",
			"local models.engines=slurm", "worktree models.allowprocess=true", "local models.cap.network=false", "local models.limit.runs=2",
			"local models.timeout.run=1h", "local models.timeout.queue=1d", "local models.retry.lost=0", "local models.store=file:///data/team", "local models.cancel=owner",
			"local models.jobenvfile=",
		}, policy.Runner, func(p *policy.Policy) {
			p.Engine, p.Engines, p.AllowProcess, p.LimitRuns = "slurm", []string{"slurm"}, "true", 2
			p.TimeoutRun, p.TimeoutQueue, p.RetryLost, p.Stores, p.Cancel = time.Hour, 24*time.Hour, 0, []string{"file:///data/team"}, "owner"
		}},
		"images": {[]string{
			"global models.registry=127.0.0.1:5000/models", "global models.registryauth=/etc/auth.json", "global models.builder=podman", "global models.buildsecrets=netrc=/etc/netrc",
			"global models.buildsecrets=pip=/etc/pip.conf", "global models.engineenv=DOCKER_HOST=unix:///run/d.sock", "global models.limit.builds=3", "global models.timeout.build=30m",
			"global models.keep.images=7d", "global models.allow.image=shared/*", "global models.keep.logs=none", "local models.keep.artifacts=1d", "local models.buildsecrets=pip=/etc/pip.conf",
		}, policy.Runner, func(p *policy.Policy) {
			p.Registry, p.RegistryAuth, p.Builder, p.BuildSecrets = "127.0.0.1:5000/models", "/etc/auth.json", "podman", []string{"pip=/etc/pip.conf"}
			p.AllowImages = []string{"shared/*"}
			p.EngineEnv, p.LimitBuilds, p.TimeoutBuild = []string{"DOCKER_HOST=unix:///run/d.sock"}, 3, 30*time.Minute
			p.KeepImages, p.KeepLogs, p.KeepArtifacts = 7*24*time.Hour, 0, 24*time.Hour
		}},
		"GPUs":                                  {[]string{"global models.limit.gpus=4"}, policy.Runner, func(p *policy.Policy) { p.GPUs, p.LimitRuns = []string{"0", "1", "2", "3"}, 4 }},
		"GPUs and runs":                         {[]string{"global models.limit.gpus=4", "global models.limit.runs=1"}, policy.Runner, func(p *policy.Policy) { p.GPUs = []string{"0", "1", "2", "3"} }},
		"GPUs by name":                          {[]string{"global models.limit.gpus=GPU-8a, 2"}, policy.Runner, func(p *policy.Policy) { p.GPUs, p.LimitRuns = []string{"GPU-8a", "2"}, 2 }},
		"some of the GPUs":                      {[]string{"global models.limit.gpus=4", "local models.limit.gpus=3,"}, policy.Runner, func(p *policy.Policy) { p.GPUs, p.LimitRuns = []string{"3"}, 4 }},
		"another default engine of the allowed": {[]string{"global models.engine=process", "global models.engines=container", "local models.engine=container"}, policy.Runner, func(p *policy.Policy) { p.Engine, p.Engines = "container", []string{"process", "container"} }},
		"two engines, no default":               {[]string{"global models.engines=process", "global models.engines=slurm"}, policy.Runner, func(p *policy.Policy) { p.Engines = []string{"process", "slurm"} }},
		"the command line is protected":         {[]string{"command models.allowprocess=true"}, policy.Runner, func(p *policy.Policy) { p.AllowProcess = "true" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, problems := policy.Parse(entries(c.lines...), c.view)
			if len(problems) > 0 {
				t.Error(texts(problems))
			}
			want := defaults
			c.want(&want)
			if diff := cmp.Diff(&want, got, cmpopts.IgnoreUnexported(policy.Policy{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What a repository's own file asks for beyond protected configuration does not
// count for the runner, and is said.
func TestWidening(t *testing.T) {
	t.Parallel()
	const why = ", and it does not stand in protected configuration (system, global, or <home>/config)"
	got, problems := policy.Parse(entries(
		"global models.engine=process", "global models.limit.runs=2", "global models.timeout.run=1h", "global models.cancel=owner", "global models.home=/h",
		"local models.engine=slurm", "local models.engines=container", "local models.allowprocess=true", "worktree models.cap.network=true",
		"local models.limit.runs=3", "local models.timeout.run=none", "local models.retry.lost=5", "local models.cancel=anyone",
		"local models.registry=evil.example", "local models.buildsecrets=x=/home/git/.netrc", "local models.engineenv=DOCKER_HOST=tcp://evil.example", "local models.limit.gpus=1",
		"local models.keep.logs=none", "local models.builder=docker",
		"local models.store=file:///", "local models.store=file:///etc", "local models.allow.store=file:///home/git", "local models.jobenvfile=/home/git/.netrc",
		"unknown models.allowprocess=unsandboxed",
	), policy.Runner)
	want := defaults
	want.Engine, want.Engines, want.LimitRuns, want.TimeoutRun, want.Cancel, want.Home = "process", []string{"process"}, 2, time.Hour, "owner", "/h"
	if diff := cmp.Diff(&want, got, cmpopts.IgnoreUnexported(policy.Policy{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"file:///h/store"}, got.StorePrefixes()); diff != "" {
		t.Error(diff)
	}
	wantProblems := []string{
		"models.engine=slurm (local file:/c): ignored: it would allow another engine" + why,
		"models.engines=container (local file:/c): ignored: it would allow another engine" + why,
		"models.allowProcess=true (local file:/c): ignored: it would give the engine process more than it has" + why,
		"models.allowProcess=unsandboxed (unknown file:/c): ignored: it would give the engine process more than it has" + why,
		"models.cap.network=true (worktree file:/c): ignored: it would let jobs reach the network" + why,
		"models.store=file:/// (local file:/c): want a folder, not the whole file system",
		"models.store=file:///etc (local file:/c): ignored: it would allow results in another place" + why,
		"models.allow.store=file:///home/git (local file:/c): ignored: it would allow results in another place" + why,
		"models.jobEnvFile=/home/git/.netrc (local file:/c): ignored: it would hand another file of the runner to jobs" + why,
		"models.cancel=anyone (local file:/c): ignored: it would let more people cancel runs" + why,
		"models.limit.runs=3 (local file:/c): ignored: it would let more runs start at once" + why,
		"models.retry.lost=5 (local file:/c): ignored: it would have lost jobs tried again more often" + why,
		"models.timeout.run=none (local file:/c): ignored: it would let runs last longer" + why,
		"models.registry=evil.example (local file:/c): ignored: it would have images pushed to another place" + why,
		"models.builder=docker (local file:/c): ignored: it would have images made by another program" + why,
		"models.buildSecrets=x=/home/git/.netrc (local file:/c): ignored: it would hand another file of the runner to builds" + why,
		"models.engineEnv=DOCKER_HOST=tcp://evil.example (local file:/c): ignored: it would change what builders and engines find in their environment" + why,
		"models.limit.gpus=1 (local file:/c): ignored: it would give jobs more GPUs" + why,
		"models.keep.logs=none (local file:/c): ignored: it would keep logs longer" + why,
	}
	if diff := cmp.Diff(wantProblems, texts(problems)); diff != "" {
		t.Error(diff)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"models.source=requrie":                  "want warn, off or require; did you mean require?",
		"models.layout":                          "stands without a value: want auto, solo or team",
		"models.refs=models":                     "want a pattern below refs/heads/; did you mean refs/heads/models?",
		"models.refs=refs/tags/v*":               "want a pattern below refs/heads/",
		"models.refs=refs/heads/**":              "** stands for everything below a name: want refs/heads/* or refs/heads/<name>/**",
		"models.refs=refs/heads/a/**/b":          "** may only stand at the end, as /**",
		"models.refs=refs/heads/a..b":            "not a name that git takes for a ref (git check-ref-format)",
		"models.refs=refs/heads/a b":             "not a name that git takes for a ref (git check-ref-format)",
		"models.refs=refs/heads/a[b]":            "not a name that git takes for a ref (git check-ref-format)",
		"models.refs=refs/heads/a//b":            "not a name that git takes for a ref (git check-ref-format)",
		"models.refs=refs/heads/a.lock":          "not a name that git takes for a ref (git check-ref-format)",
		"models.home=srv":                        "want an absolute path",
		"models.home=~/x":                        "want an absolute path",
		"models.autostart=maybe":                 "want true or false",
		"models.engine=proces":                   "want process, container, sagemaker, slurm or kubernetes; did you mean process?",
		"models.allowprocess=unsandbox":          "want false, true or unsandboxed; did you mean unsandboxed?",
		"models.store=/data":                     "want file:///absolute/path or s3://bucket/prefix",
		"models.store=file://data":               "want file:///absolute/path, with three slashes",
		"models.store=file:///a/../b":            "want a path without empty, . and .. parts",
		"models.store=file:///a%2fb":             "want a path without '%'",
		"models.store=s3://":                     "want s3://bucket/prefix: the bucket is missing",
		"models.abbrev=6":                        "want a whole number from 7 to 40, or full",
		"models.notesref=refs/heads/x":           "want a ref below refs/notes/",
		"models.notesref=commits":                "want a ref below refs/notes/; did you mean refs/notes/commits?",
		"models.limit.runs=0":                    "want a whole number from 1 to 1000",
		"models.timeout.run=0":                   "want a time such as 90s, 45m, 2h, 1h30m or 7d (a bare number is seconds), or none",
		"models.timeout.run=-2h":                 "want a time such as 90s, 45m, 2h, 1h30m or 7d (a bare number is seconds), or none",
		"models.timeout.run=9999999999999999999": "want a time such as 90s, 45m, 2h, 1h30m or 7d (a bare number is seconds), or none",
		"models.timeout.run=99999999d":           "want a time such as 90s, 45m, 2h, 1h30m or 7d (a bare number is seconds), or none",
		"models.engin=process":                   "unknown key, ignored; did you mean models.engine?",
		"models.allow.network=true":              "unknown key, ignored; did you mean models.cap.network?",
		"models.Limit.runs=3":                    "unknown key, ignored; did you mean models.limit.runs?",
		"models.tags=success":                    "want succeeded, all, best or none",
		"models.notify=notify --all":             "want an absolute path",
		"models.registry=https://reg.example":    "want host[:port][/prefix], such as registry.example.com or 127.0.0.1:5000/models",
		"models.builder=buildha":                 "want auto, buildx, docker, buildah or podman; did you mean buildah?",
		"models.buildsecrets=/etc/netrc":         "want ID=/absolute/path of a file, without commas and quotes",
		"models.engineenv=DOCKER_HOST":           "want NAME=value, such as DOCKER_HOST=unix:///run/user/1000/docker.sock",
		"models.allow.image=a:b":                 "want the name of an image in the registry, or name/* for all below it, or *",
		"models.limit.gpus=all":                  "want a number up to 64, or the names of devices with commas between and behind, such as 0,2,",
		"models.limit.gpus=0,0":                  "\"0\" is no device, or named twice: want indices or UUIDs with commas between",
		"models.frobnicate=3":                    "unknown key, ignored",
	} {
		got, problems := policy.Parse(entries("global "+line), policy.Runner)
		if len(problems) != 1 || problems[0].Message != want || problems[0].Origin != "global file:/c" {
			t.Errorf("%s: %v, want %s", line, problems, want)
		}
		if diff := cmp.Diff(&defaults, got, cmpopts.IgnoreUnexported(policy.Policy{})); diff != "" {
			t.Errorf("%s: %s", line, diff)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	p, _ := policy.Parse(entries(
		"system models.refs=refs/heads/a", "global models.refs=refs/heads/b", "global models.ledger=postgres", "global models.aws.role=r",
		"global models.aws.refs/heads/x.role=r2", "global models.frob=1", "local models.autostart=true", "global models.timeout.run=2h",
		"local models.limit.refs/heads/Models/**.runs=3", "local models.limit.process.runs=many",
	), policy.Runner.At("/h"))
	got := map[string]policy.Setting{}
	for _, s := range p.Settings() {
		got[s.Key] = s
	}
	for _, want := range []policy.Setting{
		{Key: "models.refs", Value: "refs/heads/a, refs/heads/b", Origin: "system file:/c, global file:/c"},
		{Key: "models.source", Value: "warn", Origin: "default"},
		{Key: "models.ledger", Value: "postgres", Origin: "global file:/c", Note: "not used by this version"},
		{Key: "models.aws", Value: "r, r2", Origin: "global file:/c", Note: "not used by this version"},
		{Key: "models.frob", Value: "1", Origin: "global file:/c", Note: "unknown key, ignored"},
		{Key: "models.home", Value: "/h", Origin: "the runner", Hooks: true},
		{Key: "models.autostart", Value: "false", Origin: "default", Hooks: true},
		{Key: "models.timeout.run", Value: "2h", Origin: "global file:/c"},
		{Key: "models.store", Value: "file:///h/store", Origin: "default"},
		{Key: "models.allowProcess", Value: "false", Origin: "default"},
		{Key: "models.tags", Value: "succeeded", Origin: "default"},
		{Key: "models.limit.refs/heads/Models/**.runs", Value: "3", Origin: "local file:/c"},
		{Key: "models.limit.process.runs", Value: "none", Origin: "default"},
	} {
		if diff := cmp.Diff(want, got[want.Key]); diff != "" {
			t.Error(diff)
		}
	}
	if _, ok := got["models.cap.cost"]; ok {
		t.Error("a key of a later version is listed although it is not set")
	}
}

func TestRefs(t *testing.T) {
	t.Parallel()
	p, _ := policy.Parse(entries("local models.refs=refs/heads/models", "local models.refs=refs/heads/models/**", "local models.refs=refs/heads/*",
		"local models.refs=refs/heads/best/**", "local models.notesref=refs/notes/commits"), policy.Hook)
	for ref, want := range map[gitmodels.RefName][3]bool{ // governed, own, control
		"refs/heads/models":         {true, false, false},
		"refs/heads/models/a/b":     {true, false, false},
		"refs/heads/main":           {true, false, false},
		"refs/heads/x/y":            {false, false, false},
		"refs/heads/best/models":    {false, true, false},
		"refs/heads/best/models/x":  {false, true, false},
		"refs/heads/best":           {true, false, false},
		"refs/notes/models":         {false, true, false},
		"refs/notes/models-curves":  {false, true, false},
		"refs/notes/models/x":       {false, true, false},
		"refs/notes/commits":        {false, true, false},
		"refs/notes/other":          {false, false, false},
		"refs/models/keep":          {false, true, false},
		"refs/models":               {false, true, false},
		"refs/tags/trained/5a32b0f": {false, true, false},
		"refs/tags/failed/a/b":      {false, true, false},
		"refs/tags/cancelled/x":     {false, true, false},
		"refs/tags/trainedx":        {false, false, false},
		"refs/tags/trained":         {false, true, false},
		"refs/tags/v1":              {false, false, false},
		"refs/run/cancel":           {false, false, true},
		"refs/running":              {false, false, false},
	} {
		if got := [3]bool{p.Governed(ref), p.Own(ref), policy.Control(ref)}; got != want {
			t.Errorf("%s: governed, own, control = %v, want %v", ref, got, want)
		}
	}
	if policy.Own("refs/notes/commits") {
		t.Error("refs/notes/commits is ours without being configured")
	}
}

func TestDefaultHome(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ state, home, want string }{
		{"/s", "/home/a", "/s/git-models"},
		{"", "/home/a", "/home/a/.local/state/git-models"},
		{"relative", "/home/a", "/home/a/.local/state/git-models"},
		{"", "", ""},
		{"", "relative", ""},
	} {
		env := map[string]string{"XDG_STATE_HOME": c.state, "HOME": c.home}
		if got := policy.DefaultHome(func(k string) string { return env[k] }); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
