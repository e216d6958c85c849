package builder

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// job is one build, or one check, with its private folder, which Sweep knows by
// made, there before all else and gone after it:
//
//	made                empty
//	config/config.json  the credentials, DOCKER_CONFIG
//	home/, tmp/         HOME and TMPDIR of the children
//	context/            the unpacked context, for buildah and podman
//	short               a link to the folder short, where that is another
//	classic             what docker's classic builder has made
type job struct {
	name string // of the builder
	o    Options
	b    gitmodels.Build
	dir  string
	// short is where buildah and podman keep what they need while they run: dir, or a
	// folder of its own where that is too long for podman.
	short string
	// storage is where containers keep layers while the job has it: what has
	// its root in it is ours. Empty for docker.
	storage string
	root    string       // where docker keeps images, when that is on this host
	text    atomic.Value // the Dockerfile's []byte, once the context was read
	seen    *transcript
}

func newJob(name string, o Options, b gitmodels.Build) (*job, error) {
	dir, err := os.MkdirTemp(o.Temp, "build-")
	if err != nil {
		return nil, fsError("making a folder for the build", err)
	}
	j := &job{name: name, o: o, b: b, dir: dir, short: dir}
	if err := j.prepare(); err != nil {
		return nil, errors.Join(fsError("preparing the build", err), j.remove())
	}
	return j, nil
}

// maxShort is the longest path of a private folder that podman takes: it wants
// less than 50 bytes for a folder within.
const maxShort = 45

func (j *job) prepare() error {
	if err := os.WriteFile(j.path("made"), nil, 0o600); err != nil {
		return err
	}
	for _, d := range []string{"config", "home", "tmp"} {
		if err := os.Mkdir(j.path(d), 0o700); err != nil {
			return err
		}
	}
	if j.name == "podman" && len(j.dir) > maxShort {
		if err := j.shorten(); err != nil {
			return err
		}
	}
	auth := []byte("{}\n")
	if j.b.AuthFile != "" {
		var err error
		if auth, err = os.ReadFile(j.b.AuthFile); err != nil {
			return err
		}
	}
	return os.WriteFile(j.path("config/config.json"), auth, 0o600)
}

func (j *job) shorten() (err error) {
	parent := os.TempDir()
	if len(parent) > maxShort-len("/build-0123456789") {
		parent = "/tmp"
	}
	if j.short, err = os.MkdirTemp(parent, "build-"); err != nil {
		j.short = j.dir
		return err
	}
	return os.Symlink(j.short, j.path("short"))
}

func (j *job) path(name string) string { return filepath.Join(j.dir, name) }

// remove takes the private folder away, whatever the build did to it.
func (j *job) remove() error {
	entries, err := os.ReadDir(j.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return j.internal("removing the build's folder", err)
	}
	err = nil
	if j.short != j.dir {
		err = j.removeFolder(j.short)
	}
	for _, e := range entries {
		if e.Name() != "made" {
			err = errors.Join(err, j.removeFolder(j.path(e.Name())))
		}
	}
	if err != nil {
		return err
	}
	return j.removeFolder(j.dir)
}

// removeFolder removes what is at dir and what is mounted there.
func (j *job) removeFolder(dir string) error {
	if err := unmountBelow(dir); err != nil {
		return j.internal("unmounting what the build left", err)
	}
	err := os.RemoveAll(dir)
	if err == nil {
		return nil
	}
	// A step's bundle may have taken our rights to its folders.
	walk := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && err == nil { // called before the folder is read
			return os.Chmod(path, 0o700)
		}
		return err
	})
	if err = errors.Join(walk, os.RemoveAll(dir)); err != nil {
		return j.internal("removing the build's folder", err)
	}
	return nil
}

// repository is the image without its tag.
func (j *job) repository() string { return strings.TrimSuffix(j.b.Image, ":"+tag(j.b.Image)) }

// host is the registry of the image.
func (j *job) host() string {
	host, _, _ := strings.Cut(j.b.Image, "/")
	return host
}

// markName is the variable by which Sweep knows what a build started: its value
// is the build's folder.
const markName = "GIT_MODELS_BUILD"

// environment is the children's, new from the ground up.
func (j *job) environment(more []string) []string {
	env := map[string]string{
		"PATH": j.o.Path, "HOME": j.path("home"), "TMPDIR": j.path("tmp"), "LANG": "C.UTF-8",
		"DOCKER_CONFIG": j.path("config"), "REGISTRY_AUTH_FILE": j.path("config/config.json"),
		"DOCKER_CLI_HINTS": "false", "DOCKER_BUILDKIT": "0",
	}
	maps.Copy(env, j.o.Env)
	env[markName] = j.dir
	for _, v := range more {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// find is the path of a program in Options.Path.
func (j *job) find(program string) (string, error) {
	for _, dir := range filepath.SplitList(j.o.Path) {
		p := filepath.Join(dir, program)
		if info, err := os.Stat(p); filepath.IsAbs(p) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", waiting("looking for "+program, nil, "%s is not installed", program)
}

// options are the flags that all builders have in common.
func (j *job) options() (flags []string) {
	for _, name := range slices.Sorted(maps.Keys(j.b.Args)) {
		flags = append(flags, "--build-arg", name+"="+j.b.Args[name])
	}
	for _, name := range slices.Sorted(maps.Keys(j.b.Labels)) {
		flags = append(flags, "--label", name+"="+j.b.Labels[name])
	}
	if j.b.Platform != "" {
		flags = append(flags, "--platform", j.b.Platform)
	}
	if j.o.Network != "" {
		flags = append(flags, "--network", j.o.Network)
	}
	return flags
}

// secrets are the flags that give the build its secrets.
func (j *job) secrets() (flags []string) {
	for _, id := range slices.Sorted(maps.Keys(j.b.Secrets)) {
		flags = append(flags, "--secret", "id="+id+",src="+j.b.Secrets[id])
	}
	return flags
}

// stream writes the checked context as a tar stream.
func (j *job) stream(ctx context.Context, w io.Writer) error {
	return j.readContext(ctx, tarSink{tar.NewWriter(w)})
}

// readContext gives the checked context to to, and keeps the Dockerfile's text. A
// child may end, and a fault be put in words, while its input is still read.
func (j *job) readContext(ctx context.Context, to sink) error {
	text, err := readContext(ctx, j.b, j.o.Context, to)
	j.text.Store(text)
	return err
}

func (j *job) dockerfileText() []byte {
	text, _ := j.text.Load().([]byte)
	return text
}

// unpack writes the checked context into the private folder.
func (j *job) unpack(ctx context.Context) (dir string, err error) {
	dir = j.path("context")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fsError("unpacking the context", err)
	}
	to, err := newFolderSink(dir)
	if err != nil {
		return "", fsError("unpacking the context", err)
	}
	err = j.readContext(ctx, to)
	return dir, fsError("unpacking the context", errors.Join(err, to.root.Close()))
}

// ended is the error of a build whose ctx ended; err is what the build said then.
// What could not be ended must be known.
func (j *job) ended(ctx context.Context, err error) error {
	e := j.endedBy(context.Cause(ctx))
	if left := (*gitmodels.Error)(nil); errors.As(err, &left) && left.Op == opLeft {
		return joinLater(e, left)
	}
	return e
}

func (j *job) endedBy(cause error) error {
	if own := (*gitmodels.Error)(nil); errors.As(cause, &own) {
		return cause
	}
	where := "before its first step"
	if s := j.seen.lastStep(); s.text != "" {
		where = "in " + j.stepWords(s)
	}
	if errors.Is(cause, context.DeadlineExceeded) {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "building an image", Message: "build: over its time limit " + where, Err: cause}
	}
	return &gitmodels.Error{Kind: gitmodels.Internal, Op: "building an image", Message: "build: ended " + where, Err: cause}
}

func (j *job) internal(op string, err error) error {
	return &gitmodels.Error{Kind: gitmodels.Internal, Op: j.name + ": " + op, Err: err}
}

// fsError is what a failure of this host's file system means; errors that have
// words already stay as they are.
func fsError(op string, err error) error {
	own := (*gitmodels.Error)(nil)
	switch {
	case err == nil || errors.As(err, &own) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case isFull(err):
		return waiting(op, err, "disk: the disk is full")
	}
	return &gitmodels.Error{Kind: gitmodels.Internal, Op: op, Err: fmt.Errorf("building an image: %w", err)}
}
