package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline/dockerfile"
	"github.com/git-models/git-models/pkg/plan"
)

// built is what the build stage keeps: all that later stages need of the
// commit's files and of the policy of that moment. What policy takes back in the
// meantime is checked again before a job is submitted.
type built struct {
	Engine      string            `json:"engine"`
	Command     []string          `json:"command"`
	Overrides   []string          `json:"overrides,omitempty"`
	Evaluate    []string          `json:"evaluate,omitempty"`
	Artifacts   string            `json:"artifacts"` // URI of this attempt
	Metrics     string            `json:"metrics"`   // URI of this attempt
	MaxRuntime  time.Duration     `json:"max_runtime"`
	MemoryBytes int64             `json:"memory_bytes,omitempty"`
	CPUs        float64           `json:"cpus,omitempty"`
	GPUs        int               `json:"gpus,omitempty"`
	Env         map[string]string `json:"env,omitempty"`
	Best        *gitmodels.Best   `json:"best,omitempty"`
	Image       *pictured         `json:"image,omitempty"`
	Warnings    []string          `json:"warnings,omitempty"`
}

// build makes the engine's input from the commit: the plan, and the export of
// its files. A gap of the server is found before the stage begins.
func (w *worker) build(ctx context.Context) error {
	kind, p, err := w.plan(ctx)
	var faults *plan.Faults
	if err != nil && !errors.As(err, &faults) {
		return err
	}
	if p != nil {
		if err := w.mayRun(p.Engine, p.Missing); err != nil {
			return err
		}
	}
	if err := makeFolder(w.dirs.attempt()); err != nil {
		return err
	}
	if err := w.begin(ctx, gitmodels.StageBuild, gitmodels.Building); err != nil {
		return err
	}
	log, err := createLog(w.dirs.log(gitmodels.StageBuild))
	if err != nil {
		return err
	}
	out, err := w.buildInto(ctx, &capped{out: log, left: buildLogLimit}, kind, p, faults)
	if closeErr := log.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return w.endStage(ctx, gitmodels.StageBuild, gitmodels.StageDone, out, "")
}

// plan asks what the commit would run here, through one child. kind is what the
// object is; of anything but a commit there is no plan. Faults of its files are
// the error.
func (w *worker) plan(ctx context.Context) (kind string, p *plan.Plan, err error) {
	session := w.git.Session(ctx)
	defer session.Close()
	c := w.claim
	kind, err = session.ObjectType(ctx, c.Run.Commit)
	if err != nil {
		return "", nil, fmt.Errorf("looking for commit %s: %w", c.Run.Commit, err)
	}
	if kind != "commit" {
		return kind, nil, nil
	}
	p, err = plan.Make(ctx, plan.Input{Commit: c.Run.Commit, Ref: c.Run.Ref, Repository: c.Repository.Name,
		Policy: w.pol, Files: session, AttemptName: c.Attempt.Name, Dockerfile: dockerfile.Check})
	if err != nil {
		return kind, nil, fmt.Errorf("reading the files of the commit: %w", err)
	}
	return kind, p, nil
}

// buildInto does the work of the build stage and tells its log.
func (w *worker) buildInto(ctx context.Context, log io.Writer, kind string, p *plan.Plan, faults *plan.Faults) (*built, error) {
	if kind != "commit" {
		fmt.Fprintf(log, "commit %s is gone from the repository\n", w.claim.Run.Commit)
		return nil, &verdict{State: gitmodels.Failed, Cause: fmt.Sprintf("commit %s is gone from the repository", w.claim.Run.Commit)}
	}
	if faults != nil {
		fmt.Fprintln(log, faults.Error())
		return nil, &verdict{State: gitmodels.Failed, Cause: firstLine(faults.Error())}
	}
	if err := w.prepareFolders(); err != nil {
		return nil, err
	}
	var warnings []string
	for _, f := range p.Warnings {
		warnings = append(warnings, f.String())
	}
	var made *pictured
	if p.Image != nil {
		var more []string
		var err error
		if made, more, err = w.image(ctx, log, *p.Image); err != nil {
			return nil, err
		}
		warnings = append(warnings, more...)
		if err := makeFolder(w.dirs.tree()); err != nil { // the image has the files
			return nil, err
		}
	} else {
		report, err := w.git.Export(ctx, w.claim.Run.Commit, w.dirs.tree())
		if isKind(err, gitmodels.Invalid) {
			fmt.Fprintln(log, messageOf(err))
			return nil, &verdict{State: gitmodels.Failed, Cause: messageOf(err)}
		}
		if err != nil {
			return nil, fmt.Errorf("exporting the commit: %w", err)
		}
		warnings = append(warnings, report.Warnings...)
		fmt.Fprintf(log, "exported %d files, %d bytes, of commit %s\n", report.Files, report.Bytes, w.claim.Run.Commit)
	}
	for _, line := range warnings {
		fmt.Fprintf(log, "warning: %s\n", line)
	}
	return &built{
		Engine: p.Engine, Command: p.Command, Overrides: p.Overrides, Evaluate: p.Evaluate,
		Artifacts: p.Artifacts + "/" + w.claim.Attempt.Name, Metrics: p.Metrics + "/" + w.claim.Attempt.Name,
		MaxRuntime: p.MaxRuntime, MemoryBytes: p.MemoryBytes, CPUs: p.CPUs, GPUs: p.GPUs, Env: p.Env, Best: p.Best, Image: made, Warnings: warnings,
	}, nil
}

// mayRun checks that the server can and may run the engine now.
func (w *worker) mayRun(engine, missing string) error {
	switch {
	case missing != "":
		return waitingFor("%s", missing)
	case w.r.cfg.Trainers[engine] == nil:
		return waitingFor("engine: %s is not part of this runner", gitmodels.Printable(engine, 40))
	case !w.pol.EngineAllowed(engine):
		return waitingFor("engine: %s is not allowed here (models.engines)", gitmodels.Printable(engine, 40))
	case engine == "process" && w.pol.AllowProcess == "":
		return waitingFor("engine: process is not allowed here (models.allowProcess)")
	}
	return nil
}

// prepareFolders makes the folders of the attempt. An export that a dead worker
// left is taken away, so that this one's report is whole. An attempt that
// resumes goes on with the checkpoints and the results of the one before; any
// other begins without.
func (w *worker) prepareFolders() error {
	if err := removeAll(w.dirs.tree()); err != nil {
		return err
	}
	if w.claim.Attempt.Resumes {
		before := w.dirs
		before.n--
		for from, to := range map[string]string{before.artifacts(): w.dirs.artifacts(), before.metrics(): w.dirs.metrics()} {
			if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
				continue // moved before, or unreadable: making it tells
			}
			if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("taking over results: %w", err)
			}
		}
	} else if err := removeAll(w.dirs.checkpoints()); err != nil {
		return err
	}
	for _, dir := range []string{w.dirs.artifacts(), w.dirs.metrics(), w.dirs.checkpoints(),
		w.dirs.engine(gitmodels.StageTrain), w.dirs.engine(gitmodels.StageEvaluate)} {
		if err := makeFolder(dir); err != nil {
			return err
		}
	}
	return nil
}

// makeFolder makes a private folder and those above it.
func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	return nil
}

// createLog opens a log of the runner's own, from its beginning.
func createLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a log: %w", err)
	}
	return f, nil
}

// outOfSpace reports whether the disk, a quota or a read-only mount stands in
// the way: a gap of the server.
func outOfSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS)
}

// firstLine is the first line of a text, saying if there are more.
func firstLine(text string) string {
	line, rest, more := strings.Cut(strings.TrimSpace(text), "\n")
	if more {
		line += fmt.Sprintf(" (and %d more)", strings.Count(rest, "\n")+1)
	}
	return line
}
