package container

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/git-models/git-models/pkg/gitmodels"
)

var (
	// imageForm: a name with a digest, or the id of an image that is here. The
	// grammar is distribution's: lower case but for the host.
	imageForm = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)+@)?sha256:[0-9a-f]{64}$`)
	// variableForm is what an --env-file takes in every client: podman reads a * at
	// the end as a pattern, and both read a # at the beginning as a comment.
	variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	idForm       = regexp.MustCompile(`^[0-9a-f]{64}$`) // of a container
	deviceForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:._/-]*$`)
)

// maxLine bounds a line of an --env-file in bytes: the clients read them with a
// scanner of 64 KiB.
const maxLine = 60 << 10

// validate refuses jobs that could not be run as asked.
func validate(job gitmodels.Job) error {
	invalid := func(format string, args ...any) error {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "submitting " + job.Name, Message: "engine: " + fmt.Sprintf(format, args...)}
	}
	if job.Name == "" {
		return invalid("the job has no name")
	}
	if !imageForm.MatchString(job.Image) {
		return invalid("the image %q is not of the form host/name@sha256:…", gitmodels.Printable(job.Image, 200))
	}
	if len(job.Command) == 0 || job.Command[0] == "" {
		return invalid("the job has no command")
	}
	for _, word := range job.Command {
		if strings.Contains(word, "\x00") {
			return invalid("the command %q contains a NUL byte", gitmodels.Printable(word, 60))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(job.Env)) {
		value, shown := job.Env[name], gitmodels.Printable(name, 60)
		switch {
		case !variableForm.MatchString(name):
			return invalid("the variable %q cannot be set in a container: only letters, digits and _ . - are allowed in its name", shown)
		case strings.ContainsAny(value, "\n\r\x00") || !utf8.ValidString(value):
			return invalid("the value of %s cannot be set in a container: it has a line break, a NUL byte, or is not UTF-8", shown)
		case len(name)+len(value) > maxLine:
			return invalid("the value of %s is longer than %d bytes", shown, maxLine)
		}
	}
	for _, device := range job.GPUs {
		if !deviceForm.MatchString(device) {
			return invalid("the GPU %q is not an index or a UUID", gitmodels.Printable(device, 60))
		}
	}
	if job.MaxRuntime < 0 || job.MemoryBytes < 0 || job.CPUs < 0 {
		return invalid("a limit is below zero")
	}
	return validatePaths(job, invalid)
}

func validatePaths(job gitmodels.Job, invalid func(string, ...any) error) error {
	for _, p := range append([]string{job.Dir, job.Tree, job.Log}, job.Writable...) {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p || p == "/" || strings.Contains(p, "\x00") {
			return invalid("the path %q is not absolute and clean", gitmodels.Printable(p, 200))
		}
	}
	for _, mounted := range append([]string{job.Dir}, job.Writable...) {
		if strings.ContainsAny(mounted, ",\"\n\r") {
			return invalid("the folder %q cannot be mounted: a comma, a quote or a line break is in its path", gitmodels.Printable(mounted, 200))
		}
	}
	for _, open := range job.Writable {
		if within(job.Dir, open) || within(open, job.Dir) || within(job.Log, open) {
			return invalid("the job could reach the engine's own files: %s and %s", gitmodels.Printable(open, 200), gitmodels.Printable(job.Dir, 200))
		}
		for _, system := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/proc", "/dev", "/sys"} {
			if within(system, open) {
				return invalid("the folder %s would cover the image's %s", gitmodels.Printable(open, 200), system)
			}
		}
	}
	if info, err := os.Stat(job.Dir); err != nil || !info.IsDir() {
		return internal("submitting "+job.Name, errors.Join(err, fmt.Errorf("%s is not a folder", job.Dir)))
	}
	return nil
}

// within reports whether path is folder or lies below it.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// environment is the file for --env-file; validate has seen to its form.
func environment(env map[string]string) []byte {
	var b strings.Builder
	if env["HOME"] == "" {
		b.WriteString("HOME=/tmp\n")
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(&b, "%s=%s\n", name, env[name])
	}
	return []byte(b.String())
}
