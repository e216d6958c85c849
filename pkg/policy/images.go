package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// imageKeys are about images: what makes them, where they are kept, and what runs
// jobs in them.
func imageKeys(p *Policy) []*key {
	return []*key{
		fixedKey("models.registry", &p.Registry, "", checkRegistry, "it would have images pushed to another place"),
		pathKey("models.registryAuth", &p.RegistryAuth, "it would have other credentials used"),
		fixedKey("models.builder", &p.Builder, builders[0], checkBuilder, "it would have images made by another program"),
		listKey("models.allow.image", &p.AllowImages, checkImages, "it would allow another name for images"),
		listKey("models.buildSecrets", &p.BuildSecrets, checkSecret, "it would hand another file of the runner to builds"),
		listKey("models.engineEnv", &p.EngineEnv, checkVariable, "it would change what builders and engines find in their environment"),
		gpusKey(p),
		countKey("models.limit.builds", &p.LimitBuilds, 1, 1, 100, "it would let more images be built at once"),
		timeKey("models.timeout.build", &p.TimeoutBuild, DefaultBuildTime, "it would let builds last longer"),
		timeKey("models.keep.images", &p.KeepImages, DefaultKeep, "it would keep images longer"),
		timeKey("models.keep.artifacts", &p.KeepArtifacts, DefaultKeep, "it would keep files longer"),
		timeKey("models.keep.logs", &p.KeepLogs, DefaultKeep, "it would keep logs longer"),
	}
}

// fixedKey is a word that a repository's own file cannot change, only repeat.
func fixedKey(name string, field *string, standard string, check func(string) error, widens string) *key {
	return &key{
		name: name, guarded: true,
		check:   check,
		set:     func(v string) { *field = v },
		clear:   func() { *field = standard },
		narrows: func(v string) bool { return v == *field },
		widens:  widens,
		show:    func() string { return *field },
	}
}

// listKey is a list of which a repository's own file can only leave out.
func listKey(name string, field *[]string, check func(string) error, widens string) *key {
	return &key{
		name: name, many: true, guarded: true,
		check:   check,
		set:     func(v string) { *field = appendNew(*field, v) },
		clear:   func() { *field = nil },
		empty:   func() { *field = nil },
		narrows: func(v string) bool { return slices.Contains(*field, v) },
		widens:  widens,
		show:    func() string { return strings.Join(*field, ", ") },
	}
}

// builders are what models.builder may name; the first is the default.
var builders = []string{"auto", "buildx", "docker", "buildah", "podman"}

func checkBuilder(s string) error { return oneOf(s, builders...) }

// checkRegistry checks host[:port][/prefix].
func checkRegistry(s string) error {
	if _, err := gitmodels.ImageName(s, "image"); err != nil {
		return errors.New("want host[:port][/prefix], such as registry.example.com or 127.0.0.1:5000/models")
	}
	return nil
}

var (
	secretForm   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*=/[^,"\x00-\x1f\x7f]*$`)
	variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=[^\x00-\x1f\x7f]*$`)
	deviceForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:._/-]*$`)
)

func checkSecret(s string) error {
	if !secretForm.MatchString(s) {
		return errors.New("want ID=/absolute/path of a file, without commas and quotes")
	}
	return nil
}

func checkVariable(s string) error {
	if !variableForm.MatchString(s) {
		return errors.New("want NAME=value, such as DOCKER_HOST=unix:///run/user/1000/docker.sock")
	}
	return nil
}

// checkImages checks the name of an image in the registry, or name/*.
func checkImages(s string) error {
	if name := strings.TrimSuffix(s, "/*"); s != "*" && !gitmodels.ImagePath(name) {
		return errors.New("want the name of an image in the registry, or name/* for all below it, or *")
	}
	return nil
}

// ImageAllowed reports whether a commit of the repository may call its image so:
// as the repository, as something below it, or as the administrator allows. Without
// that, who can push here could push over the image of another repository, or over
// one that others build on.
func (p *Policy) ImageAllowed(name, repository string) bool {
	name, repository = strings.ToLower(name), strings.ToLower(repository)
	if name == repository || strings.HasPrefix(name, repository+"/") {
		return true
	}
	return slices.ContainsFunc(p.AllowImages, func(allowed string) bool {
		prefix, all := strings.CutSuffix(allowed, "*")
		return allowed == name || all && strings.HasPrefix(name, prefix)
	})
}

// maxGPUs bounds the devices of one host.
const maxGPUs = 64

// parseGPUs reads how many devices there are, or their names.
func parseGPUs(s string) (devices []string, err error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 && n <= maxGPUs {
		for i := range n {
			devices = append(devices, strconv.Itoa(i))
		}
		return devices, nil
	}
	if !strings.Contains(s, ",") {
		return nil, fmt.Errorf("want a number up to %d, or the names of devices with commas between and behind, such as 0,2,", maxGPUs)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(s, ","), ",") {
		name = strings.TrimSpace(name)
		if !deviceForm.MatchString(name) || slices.Contains(devices, name) || len(devices) == maxGPUs {
			return nil, fmt.Errorf("%s is no device, or named twice: want indices or UUIDs with commas between", strconv.Quote(gitmodels.Printable(name, 60)))
		}
		devices = append(devices, name)
	}
	return devices, nil
}

// gpusKey is models.limit.gpus. A repository's own file can only leave devices out.
func gpusKey(p *Policy) *key {
	return &key{
		name: "models.limit.gpus", guarded: true,
		check: func(v string) error { _, err := parseGPUs(v); return err },
		set:   func(v string) { p.GPUs, _ = parseGPUs(v) },
		clear: func() { p.GPUs = nil },
		narrows: func(v string) bool {
			asked, err := parseGPUs(v)
			return err == nil && !slices.ContainsFunc(asked, func(d string) bool { return !slices.Contains(p.GPUs, d) })
		},
		widens: "it would give jobs more GPUs",
		show: func() string {
			if len(p.GPUs) == 0 {
				return "0"
			}
			return strings.Join(p.GPUs, ",")
		},
	}
}

// joinGPUs lets as many runs start as there are GPUs, where the number of runs is
// not set: each of them then waits for its own.
func (r *reader) joinGPUs() {
	p := r.policy
	for _, k := range r.keys {
		if k.name == "models.limit.runs" && k.from == nil {
			p.LimitRuns = max(p.LimitRuns, len(p.GPUs))
		}
	}
}
