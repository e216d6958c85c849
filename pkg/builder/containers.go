package builder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// containers is buildah or podman, which are the same library.
type containers struct{ program string }

func (c containers) check(ctx context.Context, j *job) (err error) {
	if _, err := j.find(c.program); err != nil {
		return err
	}
	s, err := j.takeSlot()
	if err != nil {
		return err
	}
	defer func() { err = joinLater(err, s.leave(j)) }()
	// info opens the storage, which is what an unprepared user lacks.
	if _, err := j.ask(ctx, c.argv(j, "info")...); err != nil {
		return waiting("asking "+c.program, err, "%s does not work here: %s", c.program, lastWords(err))
	}
	return nil
}

// lastWords is the last line of an error, for people.
func lastWords(err error) string {
	s := strings.TrimSpace(err.Error())
	return gitmodels.Printable(s[strings.LastIndexByte(s, '\n')+1:], 200)
}

// argv is the program with its storage, then words.
func (c containers) argv(j *job, words ...string) []string {
	argv := []string{c.program, "--root", j.storage + "/store", "--runroot", j.short + "/run"}
	if c.program == "podman" {
		argv = append(argv, "--tmpdir", j.short+"/lib")
	}
	return append(argv, words...)
}

// build unpacks the context, builds, pushes, and leaves the slot with layers and
// nothing else.
func (c containers) build(ctx context.Context, j *job) (digest string, err error) {
	if _, err := j.find(c.program); err != nil {
		return "", err
	}
	if err := diskFree(j.o.Temp, j.o.NeedFree); err != nil {
		return "", err
	}
	dir, err := j.unpack(ctx)
	if err != nil {
		return "", err
	}
	s, err := j.takeSlot()
	if err != nil {
		return "", err
	}
	defer func() { err = joinLater(err, s.leave(j)) }()
	if err := c.shrink(ctx, j); err != nil {
		return "", err
	}
	defer func() { err = joinLater(err, c.tidy(j, s)) }()
	if err := diskFree(j.storage, j.o.NeedFree); err != nil {
		return "", err
	}
	env, err := j.registries()
	if err != nil {
		return "", err
	}
	built := j.path("image")
	if err := j.building(ctx, ocibuild, call{argv: c.buildArgv(j, dir, built), env: env}); err != nil {
		return "", err
	}
	image, err := os.ReadFile(built)
	if err != nil {
		return "", j.internal("reading the image's id", err)
	}
	return c.push(ctx, j, env, strings.TrimSpace(string(image)))
}

func (c containers) buildArgv(j *job, dir, built string) []string {
	isolation := "oci"
	if os.Getuid() != 0 {
		isolation = "rootless"
	}
	verb := "build"
	if c.program == "buildah" {
		verb = "bud"
	}
	argv := c.argv(j, verb, "--isolation", isolation, "--layers", "--force-rm", "--iidfile", built, "-f", dir+"/"+j.b.Dockerfile)
	argv = slices.Concat(argv, j.options(), j.secrets())
	if j.b.Refresh {
		argv = append(argv, "--pull-always")
	}
	if j.b.Cache == "registry" {
		argv = append(argv, "--cache-to", j.repository(), "--cache-from", j.repository())
	}
	return append(argv, dir)
}

func (c containers) push(ctx context.Context, j *job, env []string, image string) (string, error) {
	file := j.path("digest")
	argv := c.argv(j, "push", "--digestfile", file)
	if j.b.Plain {
		argv = append(argv, "--tls-verify=false")
	}
	t := j.printing(ocipush)
	if err := j.run(ctx, call{argv: append(argv, image, "docker://"+j.b.Image), env: env, out: t}); err != nil {
		return "", j.pushFault(err)
	}
	if err := j.logFault(t); err != nil {
		return "", err
	}
	digest, err := os.ReadFile(file)
	if err != nil {
		return "", j.internal("reading the digest of what was pushed", err)
	}
	return strings.TrimSpace(string(digest)), nil
}

// registriesConf is the file of containers-registries.conf(5).
const registriesConf = "/etc/containers/registries.conf"

// registries lets the program speak plain HTTP to the registry of the image and
// to no other: a flag of the build would do so for all.
func (j *job) registries() (env []string, err error) {
	if !j.b.Plain {
		return nil, nil
	}
	from := registriesConf
	if own := j.o.Env["CONTAINERS_REGISTRIES_CONF"]; own != "" {
		from = own
	}
	text, err := os.ReadFile(from)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, j.internal("reading "+from, err)
	}
	if !strings.Contains(string(text), `"`+j.host()+`"`) {
		text = append(text, "\n[[registry]]\nlocation = \""+j.host()+"\"\ninsecure = true\n"...)
	}
	if err := os.WriteFile(j.path("registries.conf"), text, 0o600); err != nil {
		return nil, fsError("writing the build's registries.conf", err)
	}
	return []string{"CONTAINERS_REGISTRIES_CONF=" + j.path("registries.conf")}, nil
}

// shrink empties a slot that others need the space of.
func (c containers) shrink(ctx context.Context, j *job) error {
	free, err := freeBytes(j.storage)
	if err != nil {
		return fsError("looking at the free space", err)
	}
	if _, err := os.Stat(j.storage + "/store"); free >= j.o.MinFree || err != nil {
		return nil // enough, or a new slot
	}
	if _, err := j.ask(ctx, c.argv(j, "rmi", "--all", "--force")...); err != nil {
		return j.internal("emptying "+j.storage, err)
	}
	return nil
}

// tidy removes the containers that a build left, and of a slot that goes away
// the images too, which as an ordinary user only the program can.
func (c containers) tidy(j *job, s *slot) error {
	ctx, cancel := context.WithTimeout(context.Background(), tidyTime)
	defer cancel()
	err := j.forget(ctx)
	if err == nil && c.program == "buildah" {
		_, err = j.ask(ctx, c.argv(j, "rm", "--all")...)
	} else if err == nil {
		err = c.removeExternal(ctx, j)
	}
	if err == nil && !s.kept {
		_, err = j.ask(ctx, c.argv(j, "rmi", "--all", "--force")...)
	}
	return j.left(err)
}

// forget removes what the OCI runtime remembers of a step that was killed. Its
// state names the step's bundle, which was in our temporary folder.
func (j *job) forget(ctx context.Context) error {
	dir := "/run"
	if os.Getuid() != 0 {
		dir = cmp.Or(j.o.Env["XDG_RUNTIME_DIR"], fmt.Sprintf("/run/user/%d", os.Getuid()))
	}
	for _, runtime := range []string{"runc/buildah-*/state.json", "crun/buildah-*/status"} {
		states, err := filepath.Glob(filepath.Join(dir, runtime))
		if err != nil {
			return err
		}
		for _, state := range states {
			text, err := os.ReadFile(state)
			if err != nil || !strings.Contains(string(text), j.path("tmp")+"/") {
				continue // gone, or another's
			}
			program, _, _ := strings.Cut(runtime, "/")
			if _, err := j.ask(ctx, program, "delete", "--force", filepath.Base(filepath.Dir(state))); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeExternal removes podman's working containers, which it calls external.
func (c containers) removeExternal(ctx context.Context, j *job) error {
	ids, err := j.ask(ctx, c.argv(j, "ps", "--all", "--external", "--quiet", "--no-trunc")...)
	if err != nil || ids == "" {
		return err
	}
	_, err = j.ask(ctx, c.argv(j, append([]string{"rm", "--force"}, strings.Fields(ids)...)...)...)
	return err
}
