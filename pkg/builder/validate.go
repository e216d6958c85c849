package builder

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// The forms of names that reach an argv. References are those of the OCI
// distribution specification with a host in front.
var (
	imageForm    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$`)
	digestForm   = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	nameForm     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	secretForm   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	platformForm = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?$`)
)

// validate refuses what could not be built as asked, or could mean something
// else in an argv.
func validate(b gitmodels.Build) error {
	show := func(s string) string { return gitmodels.Printable(s, 200) }
	if !imageForm.MatchString(b.Image) || strings.Contains(b.Image, "@") || tag(b.Image) == "" {
		return invalid("the image %q is not of the form host/name:tag", show(b.Image))
	}
	for _, image := range b.CacheFrom {
		if !imageForm.MatchString(image) {
			return invalid("the cache image %q is not of the form host/name:tag", show(image))
		}
	}
	if !fs.ValidPath(b.Dockerfile) || b.Dockerfile == "." || strings.HasPrefix(b.Dockerfile, "-") || strings.Contains(b.Dockerfile, "\x00") {
		return invalid("the Dockerfile %q is not a path within the context", show(b.Dockerfile))
	}
	for name, value := range b.Args {
		if !nameForm.MatchString(name) || strings.Contains(value, "\x00") {
			return invalid("the argument %q cannot be given: want letters, digits and _, and no NUL byte in its value", show(name))
		}
	}
	for name, value := range b.Labels {
		if name == "" || strings.ContainsAny(name, "=\x00\n") || strings.Contains(value, "\x00") {
			return invalid("the label %q cannot be given", show(name))
		}
	}
	if b.Platform != "" && !platformForm.MatchString(b.Platform) {
		return invalid("the platform %q is not of the form os/architecture", show(b.Platform))
	}
	switch b.Cache {
	case "", "inline", "registry", "none":
	default:
		return invalid("the cache %q is none of inline, registry, none", show(b.Cache))
	}
	for id, file := range b.Secrets {
		if !secretForm.MatchString(id) {
			return invalid("the secret's id %q cannot be given", show(id))
		}
		// --secret takes a line of comma-separated values.
		if !filepath.IsAbs(file) || strings.ContainsAny(file, ",\"\n\x00") {
			return invalid("the file of the secret %s must be an absolute path without commas and quotes", id)
		}
	}
	if b.AuthFile != "" && !filepath.IsAbs(b.AuthFile) {
		return invalid("the credentials' file %q is not an absolute path", show(b.AuthFile))
	}
	return nil
}

// tag is the tag of an image reference; empty when it has none.
func tag(image string) string {
	colon := strings.LastIndexByte(image, ':')
	if colon < strings.LastIndexByte(image, '/') {
		return ""
	}
	return image[colon+1:]
}
