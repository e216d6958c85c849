package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/git-models/git-models/pkg/builder"
	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
	"github.com/git-models/git-models/pkg/policy"
	"github.com/git-models/git-models/pkg/registry"
	"github.com/git-models/git-models/pkg/runner"
	"github.com/git-models/git-models/pkg/trainer/container"
)

// engineVariables are what programs that build and run images get of the runner's
// environment, beside PATH and HOME.
var engineVariables = []string{"DOCKER_HOST", "XDG_RUNTIME_DIR", "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "BUILDX_BUILDER", "BUILDX_CONFIG",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}

// images makes what builds images, keeps them and runs jobs in them, for one state
// directory.
type images struct {
	home, path, self string
	env              map[string]string
	getenv           func(string) string
}

// newImages reads models.engineEnv, which holds for the host as a whole: what
// stands in protected configuration, over the environment of this process.
func (p *program) newImages(ctx context.Context, home, self string) (*images, error) {
	i := &images{home: home, path: p.getenv("PATH"), self: self, env: map[string]string{}, getenv: p.getenv}
	for _, name := range engineVariables {
		if value := p.getenv(name); value != "" {
			i.env[name] = value
		}
	}
	entries, err := gitrepo.GlobalConfig(ctx, homeConfig(home))
	if err != nil {
		return nil, err
	}
	pol, _ := policy.Parse(entries, policy.Runner.At(home)) // its problems are told with each repository
	for _, entry := range pol.EngineEnv {
		name, value, _ := strings.Cut(entry, "=")
		i.env[name] = value
	}
	return i, nil
}

// registry reaches registries with the credentials in the file, or with those of
// this account. Only this account may write below the state directory.
func (i *images) registry(credentials string) *registry.Client {
	return registry.New(registry.Options{Credentials: credentials, Dir: filepath.Join(i.home, "auth"), Getenv: i.getenv})
}

func (i *images) buildOptions() builder.Options {
	return builder.Options{Temp: filepath.Join(i.home, "builds"), Storage: filepath.Join(i.home, "builder"), Path: i.path, Env: i.env}
}

// builder finds the one that models.builder names.
func (i *images) builder(ctx context.Context, name string) (gitmodels.Builder, error) {
	return builder.Find(ctx, i.buildOptions(), name)
}

// engine is the engine container.
func (i *images) engine() *container.Engine {
	var env []string
	for name, value := range i.env {
		env = append(env, name+"="+value)
	}
	return container.New(container.Options{Keeper: []string{i.self, "keep"}, Owner: i.home, Host: i.env["DOCKER_HOST"], Env: env})
}

// wire gives them to a runner.
func (i *images) wire(cfg *runner.Config) {
	cfg.Registry = func(credentials string) gitmodels.Registry { return i.registry(credentials) }
	cfg.Builder = i.builder
	engine := i.engine()
	cfg.Trainers[engine.Engine()] = engine
	cfg.Recover = func() error { return errors.Join(builder.Sweep(i.buildOptions()), i.registry("").Sweep()) }
	cfg.Sweep = func(ctx context.Context, keepRun, keepImage func(string) bool) ([]string, error) {
		return sweep(ctx, engine, keepRun, keepImage)
	}
}

// sweep removes what the engine has left on this host. Containers that run although
// their run has ended are only named.
func sweep(ctx context.Context, engine *container.Engine, keepRun, keepImage func(string) bool) (lines []string, err error) {
	n, running, err := engine.Sweep(ctx, keepRun)
	if n > 0 {
		lines = append(lines, fmt.Sprintf("%d containers removed", n))
	}
	for _, name := range running {
		if _, run, _ := strings.Cut(name, " of run "); !keepRun(run) {
			lines = append(lines, "container "+name+" still runs, and its run has ended")
		}
	}
	removed, imagesErr := engine.SweepImages(ctx, func(i container.LocalImage) bool {
		pushed := false
		for _, name := range i.Names {
			if _, digest, ok := strings.Cut(name, "@"); ok {
				if pushed = true; keepImage(digest) {
					return true
				}
			}
		}
		return !pushed
	})
	for _, name := range removed {
		lines = append(lines, "image "+name+" removed")
	}
	return lines, errors.Join(err, imagesErr)
}
