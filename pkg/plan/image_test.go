package plan_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/plan"
)

// What an engine that builds an image refuses, the engine process only says.
func TestImage(t *testing.T) {
	t.Parallel()
	const models = "train: {command: [x]}\n"
	container := []string{"models.engine=container", "models.registry=reg.example:5000", "models.limit.gpus=2", "models.allow.image=shared/*"}
	large := gitmodels.TreeFile{Kind: gitmodels.KindTooLarge, Size: 10 << 20}
	for name, c := range map[string]struct {
		tree    *tree
		builds  []string // faults with the engine container
		process []string // warnings with the engine process
	}{
		"fine": {files(".models.yaml", models, "src/Dockerfile", "FROM a\nCOPY x /x\n", "src/x", ""), nil, nil},
		"none": {files(".models.yaml", models, "src/x", ""), []string{
			".models.yaml:1:1: src/Dockerfile is not in the commit, and engine container builds its image from it; add the file, or name another as build.dockerfile"}, nil},
		"no such source": {files(".models.yaml", models, "src/Dockerfile", "FROM a\nCOPY requirments.txt /x\n", "src/requirements.txt", ""), []string{
			`src/Dockerfile:2:6: COPY source "requirments.txt" is not in the context src at this commit; did you mean requirements.txt?`}, []string{
			`src/Dockerfile:2:6: COPY source "requirments.txt" is not in the context src at this commit; did you mean requirements.txt?`}},
		"left out": {files(".models.yaml", models, "src/Dockerfile", "FROM a\nCOPY x /x\n", "src/x", "", "src/.dockerignore", "x"), []string{
			`src/Dockerfile:2:6: COPY source "x" is left out of the context by src/.dockerignore:1 "x"; remove that pattern, or write !x behind it`}, []string{
			`src/Dockerfile:2:6: COPY source "x" is left out of the context by src/.dockerignore:1 "x"; remove that pattern, or write !x behind it`}},
		"10 MB": {files(".models.yaml", models, "src/x", "").with("src/Dockerfile", large), []string{
			"src/Dockerfile: the file has 10485760 bytes; at most 1048576 are read"}, []string{
			"src/Dockerfile: the file has 10485760 bytes; at most 1048576 are read"}},
		"10 MB, named": {files(".models.yaml", "build: {dockerfile: src/D}\n"+models, "src/x", "").with("src/D", large), []string{
			`.models.yaml:1:21: build.dockerfile "src/D" has 10485760 bytes; at most 1048576 are read`}, []string{
			`.models.yaml:1:21: build.dockerfile "src/D" has 10485760 bytes; at most 1048576 are read`}},
		"a link": {files(".models.yaml", models, "src/x", "").with("src/Dockerfile", gitmodels.TreeFile{Kind: gitmodels.KindLink}), []string{
			"src/Dockerfile: the file is a symbolic link; put a regular file there"}, []string{
			"src/Dockerfile: the file is a symbolic link; put a regular file there"}},
		"elsewhere": {files(".models.yaml", "build: {dockerfile: docker/D, context: app}\n"+models, "docker/D", "FROM a\nCOPY x /x\n", "app/x", ""), nil, nil},
		"elsewhere, by default from src": {files(".models.yaml", "build: {dockerfile: docker/D}\n"+models, "docker/D", "FROM a\n"), []string{
			".models.yaml:1:1: src is not in the commit, and engine container builds its image from it; add the folder, or name another as build.context"}, nil},
		"more GPUs than there are": {files(".models.yaml", models, "src/Dockerfile", "FROM a\n", "deploy/sagemaker-job-config.yaml", "job:\n  gpus: 3\n"), []string{
			"deploy/sagemaker-job-config.yaml:2:9: job.gpus 3 is more than this server gives; at most 2 (models.limit.gpus), which the administrator can raise"}, nil},
		"another's name": {files(".models.yaml", "build: {image: python}\n"+models, "src/Dockerfile", "FROM a\n"), []string{
			".models.yaml:1:16: the image python is not this repository's; want dogs, or a name below it, or one of shared/* (the administrator can allow others: models.allow.image)"}, nil},
		"an allowed name": {files(".models.yaml", "build: {image: shared/dogs}\n"+models, "docker/D", "", "src/Dockerfile", "FROM a\n"), nil, nil},
		"a name that is none": {files(".models.yaml", models, "src/Dockerfile", "FROM a\n", "deploy/sagemaker-job-config.yaml", "aws: {ecr_repository: -dogs}\n"), []string{
			"deploy/sagemaker-job-config.yaml:1:23: -dogs is no name of an image: - stands at an edge, want it between letters or digits; build.image: dogs"}, nil},
		"an argument that nobody takes": {files(".models.yaml", "build: {args: {PYTHN: 3}}\n"+models, "src/Dockerfile", "ARG PYTHON=3\nFROM a\n"), nil, []string{
			".models.yaml:1:16: build.args.PYTHN is not declared by src/Dockerfile; did you mean PYTHON?"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made, err := makePlan(t, c.tree, process...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.process, lines(made.Warnings)); diff != "" {
				t.Errorf("process: %s", diff)
			}
			made, err = makePlan(t, c.tree, container...)
			var faults *plan.Faults
			switch {
			case errors.As(err, &faults):
				if diff := cmp.Diff(c.builds, lines(faults.All)); diff != "" {
					t.Errorf("container: %s", diff)
				}
			case err != nil:
				t.Fatal(err)
			case c.builds != nil:
				t.Error("container: no faults")
			case !strings.Contains(strings.Join(made.Files, " "), "D"):
				t.Errorf("container: the Dockerfile is not among %v", made.Files)
			}
		})
	}
}

// A push without a Dockerfile asks for nothing more, and one whose Dockerfile
// takes nothing from the context lists nothing.
func TestImageLooks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tree         *tree
		looks, lists int
	}{
		"none":    {files("src/x", ""), 1, 0},
		"no COPY": {files("src/Dockerfile", "FROM a\nRUN x\n"), 1, 0},
		"a COPY":  {files("src/Dockerfile", "FROM a\nCOPY x y Dockerfile /x/\n", "src/x", "", "src/y", ""), 3, 1},
	} {
		c.tree.files[".models.yaml"] = files("m", "train: {command: [x]}\n").files["m"]
		if _, err := makePlan(t, c.tree, process...); err != nil {
			t.Fatal(err)
		}
		if c.tree.looks != c.looks || c.tree.lists != c.lists {
			t.Errorf("%s: %d looks, %d lists", name, c.tree.looks, c.tree.lists)
		}
	}
}

func lines(faults []plan.Fault) (out []string) {
	for _, f := range faults {
		out = append(out, f.String())
	}
	return out
}
