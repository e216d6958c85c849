package plan

import (
	"errors"
	"fmt"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/hydra"
	"github.com/git-models/git-models/pkg/pipeline"
	"github.com/git-models/git-models/pkg/pipeline/document"
	"github.com/git-models/git-models/pkg/policy"
)

// faultsOf takes the faults out of an error; any other error is one fault of the
// file as a whole.
func faultsOf(err error) []Fault {
	var faults *Faults
	if errors.As(err, &faults) {
		return faults.All
	}
	return []Fault{{Message: err.Error()}}
}

// results decides where artifacts and metrics go: where the file says, under a
// store that policy allows, else under the default store.
func (m *maker) results(models *pipeline.Models) {
	stores := m.in.Policy.StorePrefixes()
	if len(stores) == 0 {
		m.missing("store: none is configured (models.store)")
	} else {
		prefix := stores[0] + "/" + m.in.Repository
		m.plan.Artifacts, m.plan.Metrics = prefix+"/artifacts", prefix+"/metrics"
	}
	m.result("results.artifacts", models.Artifacts, &m.plan.Artifacts)
	m.result("results.metrics", models.Metrics, &m.plan.Metrics)
	if a, b := m.plan.Artifacts, m.plan.Metrics; a != "" && b != "" {
		at, problem := models.Metrics, ""
		if !at.Set {
			at = models.Artifacts
		}
		switch {
		case a == b:
			problem = "results.artifacts and results.metrics are the same place"
		case strings.HasPrefix(b, a+"/"):
			problem = "results.metrics " + document.Quote(b) + " lies inside results.artifacts " + document.Quote(a)
		case strings.HasPrefix(a, b+"/"):
			problem = "results.artifacts " + document.Quote(a) + " lies inside results.metrics " + document.Quote(b)
		}
		if problem != "" {
			m.fault(at.Fault(problem, "give each a place of its own"))
		}
	}
	for _, uri := range []string{m.plan.Artifacts, m.plan.Metrics} {
		if scheme, _, ok := strings.Cut(uri, "://"); ok && scheme != "file" {
			m.missing("store: %s:// is not in this version (models.store)", scheme)
		}
	}
}

// result checks one place for results against the stores, path by path.
func (m *maker) result(key string, f pipeline.Field, to *string) {
	if !f.Set {
		return
	}
	p := m.in.Policy
	uri := strings.TrimRight(f.Value, "/")
	_, rest, ok := strings.Cut(uri, "://")
	if !ok {
		suggestion := ""
		if stores := p.StorePrefixes(); len(stores) > 0 {
			suggestion = "allowed here: " + strings.Join(stores, ", ")
		}
		m.fault(f.Fault(key+" "+document.Quote(f.Value)+" is no URI", suggestion))
		return
	}
	if err := policy.CheckURIPath(rest); err != nil {
		m.fault(f.Fault(key+" "+document.Quote(f.Value)+" is not allowed", err.Error()))
		return
	}
	if stores := p.StorePrefixes(); len(stores) > 0 && !p.StoreAllows(uri) {
		m.fault(f.Fault(key+" "+document.Quote(f.Value)+" lies outside the stores of this server", "allowed here: "+strings.Join(stores, ", ")))
		return
	}
	*to = uri
}

// limits takes what the job asks for and what policy grants.
func (m *maker) limits(models *pipeline.Models, job *pipeline.Job) {
	plan, p := m.plan, m.in.Policy
	plan.MemoryBytes, plan.CPUs, plan.GPUs = job.MemoryBytes, job.CPUs, job.GPUs
	plan.MaxRuntime = job.MaxRuntime
	if plan.MaxRuntime == 0 {
		plan.MaxRuntime = policy.DefaultRuntime
	}
	if p.TimeoutRun > 0 && plan.MaxRuntime > p.TimeoutRun {
		if job.MaxRuntime > 0 {
			m.plan.Warnings = append(m.plan.Warnings, Fault{File: models.Job.Value, Line: job.RuntimeAt.Line, Column: job.RuntimeAt.Column,
				Message: fmt.Sprintf("job.max_runtime %s is more than this server's models.timeout.run: the run is stopped after %s", job.MaxRuntime, p.TimeoutRun)})
		}
		plan.MaxRuntime = p.TimeoutRun
	}
	switch n := len(p.GPUs); {
	case plan.GPUs == 0:
	case plan.Engine == "process":
		m.missing("gpu: %d asked (job.gpus), and engine process has none to give in this version", plan.GPUs)
	case plan.Engine == "container" && n == 0:
		m.missing("gpu: %d asked (job.gpus), none is configured (models.limit.gpus)", plan.GPUs)
	case plan.Engine == "container" && plan.GPUs > n:
		m.fault(Fault{File: models.Job.Value, Line: job.GPUsAt.Line, Column: job.GPUsAt.Column,
			Message:    fmt.Sprintf("job.gpus %d is more than this server gives", plan.GPUs),
			Suggestion: fmt.Sprintf("at most %d (models.limit.gpus), which the administrator can raise", n)})
	}
}

const (
	// maxArgument is MAX_ARG_STRLEN of the kernel, 32 pages with the NUL.
	maxArgument = 128<<10 - 1
	// maxArguments bounds an argv in all, below the kernel's third of the stack.
	maxArguments = 1 << 20
)

// command puts the argv together: the command, the parameters, the name.
func (m *maker) command(models *pipeline.Models, engine string, overrides []hydra.Override) {
	command := models.Command
	switch {
	case len(command) > 0:
	case engine == "sagemaker":
		command = []string{"python", "your_training_script.py"}
	case engine != "":
		m.fault(Fault{File: pipeline.ModelsFile, Line: 1, Column: 1,
			Message:    "train.command is not given, and engine " + engine + " needs it",
			Suggestion: "write train: {command: [python3, src/train.py]}"})
		return
	}
	argv := append([]string{}, command...)
	for _, o := range overrides {
		if len(o.Text) > maxArgument {
			m.fault(Fault{File: models.Params.Value, Line: o.Line, Column: o.Column,
				Message: fmt.Sprintf("the value of %s has %d bytes; at most %d fit into an argument", gitmodels.Printable(o.Key, 60), len(o.Text), maxArgument)})
		}
		if o.Key == "experiment_name" {
			m.plan.Warnings = append(m.plan.Warnings, Fault{File: models.Params.Value, Line: o.Line, Column: o.Column,
				Message: "experiment_name is set to the run's name; the value here does not count"})
		}
		m.plan.Overrides = append(m.plan.Overrides, o.Text)
		argv = append(argv, o.Text)
	}
	name, err := hydra.Assign("experiment_name", m.name())
	if err != nil {
		m.fault(Fault{Message: err.Error()})
		return
	}
	argv = append(argv, name)
	total := 0
	for _, a := range argv {
		total += len(a) + 1
	}
	if total > maxArguments {
		m.fault(Fault{File: models.Params.Value, Message: fmt.Sprintf("command and parameters have %d bytes; at most %d fit into a command line", total, maxArguments)})
	}
	if len(command) > 0 {
		m.plan.Command = argv
	}
}

// name is the attempt's name, or what the first attempt's would be.
func (m *maker) name() string {
	if m.in.AttemptName != "" {
		return m.in.AttemptName
	}
	return m.in.Commit.Short(m.in.Policy.Abbrev)
}
