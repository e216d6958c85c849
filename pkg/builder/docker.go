package builder

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// docker is `docker build` and `docker push`: with BuildKit where the client
// brings it, else with the classic builder.
type docker struct {
	classic bool // never BuildKit
}

// buildx is `docker buildx build --push`.
type buildx struct{}

// dockerAnswers asks client and daemon for their versions.
func (j *job) dockerAnswers(ctx context.Context) (client, server string, err error) {
	if _, err := j.find("docker"); err != nil {
		return "", "", err
	}
	answer, err := j.ask(ctx, "docker", "version", "--format", "{{.Client.Version}} {{.Server.Version}}")
	if err != nil {
		host := j.o.Env["DOCKER_HOST"]
		if host == "" {
			host = "unix:///var/run/docker.sock"
		}
		return "", "", waiting("asking docker for its version", err, "docker does not answer on %s", gitmodels.Printable(host, 100))
	}
	client, server, _ = strings.Cut(answer, " ")
	return client, server, nil
}

func (docker) check(ctx context.Context, j *job) error {
	_, _, err := j.dockerAnswers(ctx)
	return err
}

func (buildx) check(ctx context.Context, j *job) error {
	if _, err := j.find("docker"); err != nil {
		return waiting("looking for docker", err, "buildx is not installed: there is no docker")
	}
	if !j.hasBuildx(ctx) {
		return waiting("asking for buildx", ctx.Err(), "buildx is not installed")
	}
	if _, err := j.ask(ctx, "docker", "buildx", "inspect"); err != nil {
		return waiting("asking buildx for its builder", err, "buildx has no builder that answers")
	}
	return nil
}

// hasBuildx reports whether the client has the plug-in. Without it some clients
// take "buildx" for a word they do not know and end well.
func (j *job) hasBuildx(ctx context.Context) bool {
	answer, err := j.ask(ctx, "docker", "buildx", "version")
	return err == nil && strings.Contains(answer, "buildx")
}

// hasBuildKit reports whether `docker build` can use BuildKit: clients before 23
// bring it with them, later ones have it in buildx.
func (j *job) hasBuildKit(ctx context.Context, client, server string) bool {
	if major(server) < 19 {
		return false
	}
	return major(client) >= 19 && major(client) < 23 || j.hasBuildx(ctx)
}

func major(version string) int {
	first, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(first)
	if err != nil {
		return 0 // not a version we know
	}
	return n
}

func (d docker) build(ctx context.Context, j *job) (digest string, err error) {
	client, server, err := j.dockerAnswers(ctx)
	if err != nil {
		return "", err
	}
	if err := j.dockerRoom(ctx); err != nil {
		return "", err
	}
	before := j.imageNow(ctx)
	if !d.classic && j.hasBuildKit(ctx, client, server) {
		err = j.dockerBuildKit(ctx)
	} else {
		err = j.dockerClassic(ctx)
	}
	if err != nil {
		return "", err
	}
	if before != "" && before != j.imageNow(ctx) {
		// The name has moved on. Docker refuses while the image has another name or
		// a container uses it, and then it may stay.
		if _, err := j.ask(ctx, "docker", "rmi", before); ctx.Err() != nil {
			return "", err
		}
	}
	digest, err = j.dockerPush(ctx)
	if err != nil {
		return "", joinLater(err, j.dockerForget())
	}
	return digest, nil
}

// dockerRoom refuses where the daemon has too little space to build. A daemon that
// is not on this host looks after its own.
func (j *job) dockerRoom(ctx context.Context) error {
	host := j.o.Env["DOCKER_HOST"]
	if host != "" && !strings.HasPrefix(host, "unix://") || j.name == "buildx" && j.o.Env["BUILDX_BUILDER"] != "" {
		return nil
	}
	root, err := j.ask(ctx, "docker", "info", "--format", "{{.DockerRootDir}}")
	if err != nil {
		return waiting("asking docker where it keeps images", err, "docker does not answer: %s", lastWords(err))
	}
	if !filepath.IsAbs(root) {
		return nil // it did not say
	}
	j.root = root
	return diskFree(root, j.o.NeedFree)
}

// imageNow is the id of the local image with the build's name; empty when there
// is none.
func (j *job) imageNow(ctx context.Context) string {
	id, err := j.ask(ctx, "docker", "inspect", "--type", "image", "--format", "{{.Id}}", j.b.Image)
	if err != nil {
		return ""
	}
	return id
}

// dockerOptions are the flags that all of docker's builders have in common.
func (j *job) dockerOptions() []string {
	flags := append([]string{"-f", j.b.Dockerfile}, j.options()...)
	if j.b.Refresh {
		flags = append(flags, "--pull")
	}
	return flags
}

func (j *job) dockerBuildKit(ctx context.Context) error {
	// The daemon ends the build once the client has gone, which has nothing to
	// clean up; some do not end by a first SIGTERM.
	j.o.Grace = min(j.o.Grace, time.Second)
	argv := slices.Concat([]string{"docker", "build", "--progress", "plain", "-t", j.b.Image}, j.dockerOptions(), j.secrets())
	if j.b.Cache == "inline" || j.b.Cache == "registry" { // this way knows no other than inline
		argv = append(argv, "--build-arg", "BUILDKIT_INLINE_CACHE=1")
		for _, image := range j.b.CacheFrom {
			argv = append(argv, "--cache-from", image)
		}
	}
	return j.building(ctx, buildkit, call{argv: append(argv, "-"), env: []string{"DOCKER_BUILDKIT=1"}, stdin: j.stream})
}

func (buildx) build(ctx context.Context, j *job) (digest string, err error) {
	if err := j.dockerRoom(ctx); err != nil {
		return "", err
	}
	metadata := j.path("metadata.json")
	if err := j.building(ctx, buildkit, call{argv: j.buildxArgv(metadata), stdin: j.stream}); err != nil {
		return "", err
	}
	b, err := os.ReadFile(metadata)
	if err != nil {
		return "", j.internal("reading what buildx pushed", err)
	}
	return metadataDigest(b)
}

// buildxArgv builds and pushes. Attestations are off: they hold the time of the
// build, and equal inputs shall stay equal.
func (j *job) buildxArgv(metadata string) []string {
	insecure := ""
	if j.b.Plain {
		insecure = ",registry.insecure=true"
	}
	argv := slices.Concat([]string{"docker", "buildx", "build", "--progress", "plain", "--provenance=false", "--sbom=false",
		"--output", "type=image,name=" + j.b.Image + ",push=true" + insecure, "--metadata-file", metadata}, j.dockerOptions(), j.secrets())
	switch j.b.Cache {
	case "inline":
		argv = append(argv, "--cache-to", "type=inline")
	case "registry":
		cache := "type=registry,ref=" + j.repository() + ":buildcache" + insecure
		argv = append(argv, "--cache-to", cache+",mode=max", "--cache-from", cache)
	}
	if j.b.Cache == "inline" || j.b.Cache == "registry" {
		for _, image := range j.b.CacheFrom {
			argv = append(argv, "--cache-from", "type=registry,ref="+image+insecure)
		}
	}
	return append(argv, "-")
}

// metadataDigest reads the file that buildx writes by --metadata-file.
func metadataDigest(b []byte) (string, error) {
	var m struct {
		Digest string `json:"containerimage.digest"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return "", &gitmodels.Error{Kind: gitmodels.Internal, Op: "reading what buildx pushed", Err: err}
	}
	return m.Digest, nil
}
