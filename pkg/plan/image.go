package plan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline"
)

// image judges what the commit's image is built from. An engine that builds none
// needs no Dockerfile, and what is wrong with one that is there is a warning:
// people keep it for other uses. But a path that .models.yaml names must be there
// with every engine.
func (m *maker) image(ctx context.Context, models *pipeline.Models, job *pipeline.Job, engine string) error {
	builder := engine // that has an image built; empty: none
	if engine == "process" {
		builder = ""
	}
	context, dockerfile := m.buildContext(models, builder), m.dockerfile(models, builder)
	if !context || !dockerfile {
		return nil
	}
	if builder != "" {
		m.built(models, job)
	}
	if m.in.Dockerfile == nil {
		return nil
	}
	b := models.Build
	faults, warnings, err := m.in.Dockerfile(ctx, pipeline.Image{
		Dockerfile: b.Dockerfile.Value, Data: m.files[b.Dockerfile.Value].Data, Context: b.Context.Value,
		Args: b.Args, ArgsAt: b.ArgsAt, Tree: tree{m.in},
	})
	if err != nil {
		return err
	}
	m.plan.Warnings = append(m.plan.Warnings, warnings...)
	if builder == "" {
		m.plan.Warnings = append(m.plan.Warnings, faults...)
	} else {
		m.faults = append(m.faults, faults...)
	}
	return nil
}

// built says what the image is built from, and what it is called: as the commit
// says, else as its job file does, else as the repository.
func (m *maker) built(models *pipeline.Models, job *pipeline.Job) {
	b := models.Build
	name, file := b.Image, pipeline.ModelsFile
	switch {
	case name.Set:
	case job.Repository.Value != "":
		name, file = job.Repository, models.Job.Value
	default:
		name.Value = m.in.Repository
	}
	registry := m.in.Policy.Registry
	if registry == "" {
		m.missing("registry: none is configured (models.registry)")
		registry = "localhost" // so that the name is judged all the same
	}
	full, err := gitmodels.ImageName(registry, name.Value)
	var bad *gitmodels.Error
	switch {
	case errors.As(err, &bad) && bad.Kind == gitmodels.Waiting:
		m.missing("registry: %s", bad.Message)
	case errors.As(err, &bad):
		f := name.Fault(bad.Message, bad.Hint)
		f.File = file
		m.fault(f)
	}
	if p := m.in.Policy; bad == nil && !p.ImageAllowed(name.Value, m.in.Repository) {
		suggestion := "want " + strings.ToLower(m.in.Repository) + ", or a name below it"
		if len(p.AllowImages) > 0 {
			suggestion += ", or one of " + strings.Join(p.AllowImages, ", ")
		}
		f := name.Fault("the image "+gitmodels.Printable(name.Value, 100)+" is not this repository's", suggestion+" (the administrator can allow others: models.allow.image)")
		f.File = file
		m.fault(f)
	}
	m.plan.Image = &Image{Name: full, Context: b.Context.Value, Dockerfile: b.Dockerfile.Value, Args: b.Args,
		Cache: b.Cache, Always: b.Always, Refresh: b.Refresh}
}

// Feeds reports whether what stands at path goes into the image.
func (i *Image) Feeds(path string) bool {
	if path == i.Dockerfile || path == i.Dockerfile+".dockerignore" || i.Context == "." || strings.HasPrefix(path, i.Context+"/") {
		return true
	}
	folder, ok := strings.CutSuffix(path, ".gitattributes") // of a folder above it
	return ok && strings.HasPrefix(i.Context+"/", folder)
}

// commitArgs are the arguments that every build is offered and that are not the
// same for another commit.
var commitArgs = []string{"GIT_COMMIT", "GIT_SHORT_SHA"}

// CommitArgs are those arguments that a Dockerfile asks for. A build that asks for
// none is the same for every commit of equal content.
func CommitArgs(dockerfile []byte) (names []string) {
	for _, name := range commitArgs {
		if bytes.Contains(dockerfile, []byte(name)) {
			names = append(names, name)
		}
	}
	return names
}

// lacking is the fault of what the image needs and nobody named.
func (m *maker) lacking(f pipeline.Field, builder, kind, key string) {
	m.fault(f.Fault(gitmodels.Printable(f.Value, 200)+" is not in the commit, and engine "+builder+" builds its image from it",
		"add the "+kind+", or name another as "+key))
}

// buildContext reports whether the folder of the context is there.
func (m *maker) buildContext(models *pipeline.Models, builder string) bool {
	const key = "build.context"
	f := models.Build.Context
	say := m.namedFault(key, f)
	switch got := m.files[f.Value]; {
	case got.Kind == gitmodels.KindFolder:
		return true
	case builder == "" && !f.Set:
	case got.Kind == gitmodels.KindAbsent && builder != "":
		m.lacking(f, builder, "folder", key)
	case got.Kind == gitmodels.KindAbsent:
		say("is not in the commit", "add the folder, or mend the path")
	case got.Kind == gitmodels.KindLink:
		say(linkProblem(got), "name a folder")
	case got.Kind == gitmodels.KindSubmodule:
		say("is a submodule, which git archive leaves empty", "name a folder")
	default:
		say("is a file", "name a folder")
	}
	return false
}

// dockerfile reports whether it was read.
func (m *maker) dockerfile(models *pipeline.Models, builder string) bool {
	const key = "build.dockerfile"
	f := models.Build.Dockerfile
	got := m.files[f.Value]
	switch {
	case got.Kind == gitmodels.KindFile:
		if builder != "" {
			m.plan.Files = append(m.plan.Files, f.Value)
		}
		return true
	case got.Kind == gitmodels.KindAbsent && builder != "":
		m.lacking(f, builder, "file", key)
		return false
	}
	before := len(m.faults)
	m.content(f.Value, !f.Set, m.namedFault(key, f))
	if builder == "" && (!f.Set || got.Kind == gitmodels.KindTooLarge) {
		m.plan.Warnings = append(m.plan.Warnings, m.faults[before:]...)
		m.faults = m.faults[:before]
	}
	return false
}

// tree is the commit as a Dockerfile is judged by it.
type tree struct{ in Input }

// File implements pipeline.Tree.
func (t tree) File(ctx context.Context, path string) (gitmodels.TreeFile, error) {
	files, err := t.in.Files.Files(ctx, t.in.Commit, []string{path})
	if err != nil {
		return gitmodels.TreeFile{}, err
	}
	f, ok := files[path]
	if !ok {
		return f, fmt.Errorf("no answer about path %s", gitmodels.Printable(path, 200))
	}
	return f, nil
}

// List implements pipeline.Tree.
func (t tree) List(ctx context.Context, folder string, limit int) ([]gitmodels.TreeEntry, error) {
	return t.in.Files.List(ctx, t.in.Commit, folder, limit)
}
