package plan

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/hydra"
	"github.com/git-models/git-models/pkg/pipeline"
	"github.com/git-models/git-models/pkg/pipeline/document"
	"github.com/git-models/git-models/pkg/policy"
)

// Make reads the commit's pipeline files and says what it would run under the
// policy. A *Faults error lists everything that the pusher has to mend; any
// other error means that the files could not be read. What the server lacks is
// no error: see Plan.Missing.
func Make(ctx context.Context, in Input) (*Plan, error) {
	m := &maker{in: in, plan: &Plan{Env: map[string]string{}}}
	if err := m.make(ctx); err != nil {
		return nil, &gitmodels.Error{Kind: gitmodels.KindOf(err), Op: "read the pipeline files of " + string(in.Commit), Err: err}
	}
	if len(m.faults) > 0 {
		return nil, &Faults{All: document.Sort(m.faults)}
	}
	m.plan.Warnings = document.Sort(m.plan.Warnings)
	slices.Sort(m.plan.Files)
	return m.plan, nil
}

// maker is one Make under way.
type maker struct {
	in     Input
	plan   *Plan
	files  map[string]gitmodels.TreeFile
	faults []Fault
}

func (m *maker) fault(f Fault) { m.faults = append(m.faults, f) }

// missing keeps the first thing that the server lacks.
func (m *maker) missing(format string, args ...any) {
	if m.plan.Missing == "" {
		m.plan.Missing = fmt.Sprintf(format, args...)
	}
}

func (m *maker) make(ctx context.Context) error {
	// The usual paths in one look; a second one only for paths that are named.
	first := append([]string{pipeline.ModelsFile, pipeline.DefaultJob, pipeline.DefaultParams, pipeline.DefaultContext, pipeline.DefaultDockerfile}, pipeline.MisspeltModelsFiles...)
	if err := m.read(ctx, first); err != nil {
		return err
	}
	models, ok := m.models()
	if !ok {
		return nil // what the file names cannot be known
	}
	var more []string
	for _, f := range []pipeline.Field{models.Job, models.Params, models.Build.Dockerfile, models.Build.Context} {
		if _, known := m.files[f.Value]; f.Set && !known && !slices.Contains(more, f.Value) {
			more = append(more, f.Value)
		}
	}
	if err := m.read(ctx, more); err != nil {
		return err
	}
	m.plan.Filter = models.Filter
	m.plan.Evaluate = models.Evaluate
	m.plan.Best = models.Best
	engine := m.engine(models)
	job := m.job(models, engine)
	if err := m.image(ctx, models, job, engine); err != nil {
		return err
	}
	overrides := m.params(models)
	m.results(models)
	m.limits(models, job)
	m.command(models, engine, overrides)
	return nil
}

// read looks up paths and keeps the answers.
func (m *maker) read(ctx context.Context, paths []string) error {
	if len(paths) == 0 {
		return nil
	}
	files, err := m.in.Files.Files(ctx, m.in.Commit, paths)
	if err != nil {
		return err
	}
	if m.files == nil {
		m.files = map[string]gitmodels.TreeFile{}
	}
	for _, p := range paths {
		f, ok := files[p]
		if !ok {
			return fmt.Errorf("no answer about path %s", gitmodels.Printable(p, 200))
		}
		m.files[p] = f
	}
	return nil
}

// content returns the bytes of a file. One that is not set may be absent; where
// it is absent or at fault, ok is false. say makes a fault about it.
func (m *maker) content(path string, mayLack bool, say func(problem, suggestion string)) (data []byte, ok bool) {
	f := m.files[path]
	switch f.Kind {
	case gitmodels.KindFile:
		m.plan.Files = append(m.plan.Files, path)
		return f.Data, true
	case gitmodels.KindAbsent:
		if !mayLack {
			say("is not in the commit", "add the file, or mend the path")
		}
	case gitmodels.KindFolder:
		say("is a folder", "name a file")
	case gitmodels.KindLink:
		say(linkProblem(f), "put a regular file there")
	case gitmodels.KindSubmodule:
		say("lies in a submodule", "put a regular file there")
	case gitmodels.KindTooLarge:
		say(fmt.Sprintf("has %d bytes; at most %d are read", f.Size, gitmodels.MaxPipelineFile), "")
	default:
		say("is no regular file", "")
	}
	return nil, false
}

func linkProblem(f gitmodels.TreeFile) string {
	if f.Link == "" || f.Link == f.Path {
		return "is a symbolic link"
	}
	return "lies behind the symbolic link " + gitmodels.Printable(f.Link, 80)
}

// models reads .models.yaml, or its defaults.
func (m *maker) models() (*pipeline.Models, bool) {
	data, there := m.content(pipeline.ModelsFile, true, func(problem, suggestion string) {
		m.fault(Fault{File: pipeline.ModelsFile, Message: "the file " + problem, Suggestion: suggestion})
	})
	for _, name := range pipeline.MisspeltModelsFiles {
		switch m.files[name].Kind {
		case gitmodels.KindFile, gitmodels.KindLink, gitmodels.KindTooLarge:
			f := Fault{File: name, Message: "the file is not read", Suggestion: "did you mean " + pipeline.ModelsFile + "?"}
			if there {
				m.plan.Warnings = append(m.plan.Warnings, Fault{File: name, Message: "the file is not read; " + pipeline.ModelsFile + " is"})
			} else {
				m.fault(f)
			}
		}
	}
	models, faults := pipeline.ParseModels(data)
	m.faults = append(m.faults, faults...)
	return models, len(m.faults) == len(faults) && !models.Unsure
}

// namedFault makes faults about a path at the place that names it, or about the
// file itself when it is the usual one.
func (m *maker) namedFault(key string, f pipeline.Field) func(problem, suggestion string) {
	return func(problem, suggestion string) {
		if f.Set {
			m.fault(f.Fault(key+" "+document.Quote(f.Value)+" "+problem, suggestion))
			return
		}
		m.fault(Fault{File: f.Value, Message: "the file " + problem, Suggestion: suggestion})
	}
}

// engine decides which engine runs the commit, or what stands in the way. It
// returns "" when that is not known.
func (m *maker) engine(models *pipeline.Models) string {
	p, named := m.in.Policy, models.Engine
	name := named.Value
	if !named.Set {
		name = p.Engine
	}
	allowed := strings.Join(p.Engines, ", ")
	switch {
	case named.Set && !slices.Contains(policy.KnownEngines(), name):
		candidates := p.Engines
		if len(candidates) == 0 {
			candidates = policy.KnownEngines()
		}
		suggestion := "allowed here: " + strings.Join(candidates, ", ")
		if near := gitmodels.Suggest(name, candidates); near != "" {
			suggestion = "did you mean " + near + "?"
		}
		m.fault(named.Fault("train.engine "+document.Quote(name)+" is no engine", suggestion))
		return ""
	case len(p.Engines) == 0:
		m.missing("engine: none is configured (models.engine)")
	case name == "":
		m.fault(named.Fault("train.engine is not given, and this server has no default", "write train: {engine: "+p.Engines[0]+"}; allowed here: "+allowed))
		return ""
	case !p.EngineAllowed(name):
		m.fault(named.Fault("train.engine "+document.Quote(name)+" is not allowed here", "allowed here: "+allowed))
		return ""
	case !policy.EngineIncluded(name):
		m.missing("engine: %s is not in this version", name)
	case name == "process" && p.AllowProcess == "":
		m.missing("engine: process is not allowed here (models.allowProcess)")
	}
	m.plan.Engine = name
	return name
}

// job reads the job file. It must exist for SageMaker alone, or when it is named.
func (m *maker) job(models *pipeline.Models, engine string) *pipeline.Job {
	say := m.namedFault("train.job", models.Job)
	data, ok := m.content(models.Job.Value, !models.Job.Set && engine != "sagemaker", say)
	if !ok {
		return &pipeline.Job{}
	}
	job, faults, warnings := pipeline.ParseJob(models.Job.Value, data)
	m.faults = append(m.faults, faults...)
	m.plan.Warnings = append(m.plan.Warnings, warnings...)
	maps.Copy(m.plan.Env, job.Env)
	return job
}

// params reads the parameters and turns them into overrides.
func (m *maker) params(models *pipeline.Models) []hydra.Override {
	data, ok := m.content(models.Params.Value, !models.Params.Set, m.namedFault("train.params", models.Params))
	if !ok {
		return nil
	}
	overrides, err := hydra.Overrides(data)
	if err != nil {
		for _, f := range faultsOf(err) {
			f.File = models.Params.Value
			m.fault(f)
		}
	}
	return overrides
}
