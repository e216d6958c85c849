package cli

import (
	"context"
	"os"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/policy"
)

// examineImages looks whether images could be built, pushed and run here now, where
// the engine container is allowed.
func (p *program) examineImages(ctx context.Context, s *site, pol *policy.Policy) ([]finding, error) {
	if !pol.EngineAllowed("container") {
		return nil, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, &gitmodels.Error{Op: "find this program", Err: err}
	}
	i, err := p.newImages(ctx, s.home, self)
	if err != nil {
		return nil, err
	}
	const waits = "pushes are accepted, and their runs wait"
	var found []finding
	engine := i.engine()
	if err := engine.Check(ctx, gitmodels.Job{}); err != nil {
		found = append(found, finding{Level: problem, What: shown(message(err)), Why: waits,
			Mend: "git config --global models.engineEnv DOCKER_HOST=unix:///run/user/UID/docker.sock    # where it listens elsewhere"})
	} else {
		for name, version := range engine.Versions(ctx) {
			found = append(found, finding{Level: fine, What: "containers run in " + shown(name+" "+version)})
		}
	}
	if b, err := i.builder(ctx, pol.Builder); err != nil {
		found = append(found, finding{Level: problem, What: shown(message(err)), Why: waits})
	} else {
		found = append(found, finding{Level: fine, What: "images are built by " + b.Builder()})
	}
	return append(found, examineRegistry(ctx, i, pol, s.repositoryName())), nil
}

// examineRegistry asks for the repository's newest image with the credentials that
// the runner would use. That there is none yet is an answer.
func examineRegistry(ctx context.Context, i *images, pol *policy.Policy, repository string) finding {
	const waits = "pushes are accepted, and their runs wait"
	if pol.Registry == "" {
		return finding{Level: problem, What: "registry: none is configured", Why: waits, Mend: "git config --global models.registry HOST[:PORT][/PREFIX]"}
	}
	name, err := gitmodels.ImageName(pol.Registry, repository)
	if err != nil {
		return finding{Level: warning, What: shown(message(err)), Why: "its commits name their image, or are refused"}
	}
	if _, err := i.registry(pol.RegistryAuth).Image(ctx, name, "latest"); err != nil && gitmodels.KindOf(err) != gitmodels.NotFound {
		return finding{Level: problem, What: shown(message(err)), Why: waits}
	}
	return finding{Level: fine, What: "registry " + shown(pol.Registry) + " answers for " + shown(name)}
}
