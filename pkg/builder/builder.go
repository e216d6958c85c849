// Package builder makes images and pushes them: the gitmodels.Builder of buildx
// (docker buildx build), docker (docker build), buildah and podman. One small
// type per program makes its argv and reads the digest that was pushed; the rest
// is shared: checking the context, running children, ending them, words.
//
// # What a build sees
//
// The context and nothing else of this host's files: no folder is mounted into
// it. The stream is checked member by member (see ContextLimit) before a builder
// reads it; buildah and podman get it unpacked in a private folder. Children are
// started by argv, in a session of their own, with a new environment: PATH, a HOME
// and TMPDIR that live as long as the build, a DOCKER_CONFIG and REGISTRY_AUTH_FILE
// that hold Build.AuthFile or nothing, the mark by which Sweep knows them, and
// Options.Env. Credentials are for the builder's own pulls and pushes; RUN steps do
// not see them. Secrets are mounted for a RUN step that asks for them; the classic
// docker builder cannot do that.
//
// # Isolation
//
// RUN steps run under the builder's OCI runtime: own mount, pid, ipc and uts
// namespaces, the runtime's usual few capabilities, masked /proc. As root buildah
// and podman are told --isolation oci; as an ordinary user rootless, the same
// within a user namespace, so that root in the build is that user outside. Chroot
// isolation is never used: it shares the host's pid and network namespaces, so a
// step run by root could signal the host's processes. Options.Network is the steps'
// network; the builder's own default reaches the internet, host reaches what
// listens on the host's loopback too.
//
// # What stays
//
// docker keeps the image that it pushed under its name, for an engine on the same
// host, and BuildKit its cache, which docker bounds. buildah and podman keep
// layers in slots below Options.Storage, one build at a time each; a slot is
// emptied before a build when less than Options.MinFree bytes are free beside it.
// They have no inline cache: build.cache registry keeps theirs in the image's
// repository, under a tag of its own for each step. Layers and base images that
// are there already serve every repository of the host, also one that has no
// credentials for them; Build.Refresh looks for newer bases. Equal inputs give
// equal layers while a cache holds them; with BuildKit's inline cache the digest
// may still be another. A build does not begin where less than Options.NeedFree
// bytes are free: for docker in the daemon's folder, when it is on this host. Less
// than that is also what it takes for a failure to be a full disk, whatever a step
// or the builder says.
//
// Of a build that failed no container, mount, temporary file or process stays, and
// of the classic docker builder no image either. One thing is not ours to wait
// for: the steps of BuildKit are the daemon's own, which ends them once the client
// has gone and has no way to say when. On an idle host that is within a second of
// Build's return.
//
// Children have sessions of their own and outlive a program that is killed, and so
// do a build's folder, its credentials and mounts. Sweep ends and removes them.
//
// The driver of buildx is tested by its argv and by logs alone, as Debian has no
// package of it.
//
// The package imports gitmodels, the standard library and x/sys; it must never
// import the runner or another adapter.
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
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Options configure builders. The zero value is usable.
type Options struct {
	// Temp is an absolute path, made when it is not there, where each build has a
	// private folder, removed at its end: os.TempDir(). Contexts are unpacked there
	// for buildah and podman.
	Temp string
	// Storage is an absolute path where buildah and podman keep layers between
	// builds; empty: each build has its own, removed at its end. It may be used by
	// one program at a time.
	Storage string
	// MinFree is how many bytes must be free beside Storage for its layers to stay:
	// 5 GiB.
	MinFree int64
	// NeedFree is how many bytes must be free where a build writes, for it to begin:
	// 2 GiB.
	NeedFree int64
	// Path is the children's PATH: the usual folders of programs.
	Path string
	// Env is what children get of the administrator's variables, such as
	// DOCKER_HOST, XDG_RUNTIME_DIR, CONTAINERS_CONF, BUILDX_BUILDER or
	// BUILDX_CONFIG, or a proxy's.
	Env map[string]string
	// Network is that of RUN steps: empty for the builder's own default, none or
	// host.
	Network string
	// Context bounds the context.
	Context ContextLimit
	// Grace is what children get between SIGTERM and SIGKILL: 10 s.
	Grace time.Duration
}

// ContextLimit bounds a context.
type ContextLimit struct {
	Members int   // files, folders and links: 200,000
	Bytes   int64 // of all files together: 16 GiB
}

// Names are the builders in the order in which Find tries them. Those that need
// no daemon, and no root rights, come first.
var Names = []string{"buildah", "podman", "buildx", "docker"}

// driver is one program that builds.
type driver interface {
	// check says whether it could build now.
	check(ctx context.Context, j *job) error
	// build builds and pushes, and returns the digest that the registry was given.
	// j has been checked.
	build(ctx context.Context, j *job) (digest string, err error)
}

type builder struct {
	name string
	o    Options
	driver
}

// New returns the builder of that name without looking whether it is usable.
func New(name string, o Options) (gitmodels.Builder, error) {
	drivers := map[string]driver{"buildah": containers{"buildah"}, "podman": containers{"podman"}, "buildx": buildx{}, "docker": docker{}}
	d, ok := drivers[name]
	if !ok {
		return nil, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "choosing a builder",
			Message: fmt.Sprintf("models.builder %q is none of auto, %s", gitmodels.Printable(name, 40), strings.Join(Names, ", "))}
	}
	if !slices.Contains([]string{"", "none", "host"}, o.Network) {
		return nil, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "choosing a builder",
			Message: fmt.Sprintf("the network %q of builds is neither none nor host", gitmodels.Printable(o.Network, 40))}
	}
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	return &builder{name, o, d}, nil
}

// complete fills in what is not set and makes the folders. Their paths are without
// links then, as the kernel tells mounts.
func (o Options) complete() (Options, error) {
	o.Temp = cmp.Or(o.Temp, os.TempDir())
	o.Path = cmp.Or(o.Path, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	o.MinFree = cmp.Or(o.MinFree, 5<<30)
	o.NeedFree = cmp.Or(o.NeedFree, 2<<30)
	o.Context.Members = cmp.Or(o.Context.Members, 200_000)
	o.Context.Bytes = cmp.Or(o.Context.Bytes, 16<<30)
	o.Grace = cmp.Or(o.Grace, 10*time.Second)
	for _, dir := range []*string{&o.Temp, &o.Storage} {
		if *dir == "" {
			continue
		}
		err := os.MkdirAll(*dir, 0o700)
		if err == nil {
			*dir, err = filepath.EvalSymlinks(*dir)
		}
		if err != nil {
			return o, fsError("making a folder for builds", err)
		}
	}
	return o, nil
}

// Find returns the first builder of names that is usable here; without names, or
// with auto for one, of Names. When none is, the Error is of Kind Waiting and says
// why of each.
func Find(ctx context.Context, o Options, names ...string) (gitmodels.Builder, error) {
	if len(names) == 0 || slices.Contains(names, "auto") {
		names = Names
	}
	var why []string
	for _, name := range names {
		b, err := New(name, o)
		if err != nil {
			return nil, err
		}
		if err = b.Check(ctx); err == nil {
			return b, nil
		}
		var e *gitmodels.Error
		if ctx.Err() != nil || !errors.As(err, &e) || e.Kind != gitmodels.Waiting {
			return nil, err
		}
		why = append(why, strings.TrimPrefix(e.Message, "builder: "))
	}
	return nil, waiting("choosing a builder", nil, "%s", strings.Join(why, "; "))
}

// Builder implements gitmodels.Builder.
func (b *builder) Builder() string { return b.name }

// checkTime is how long a program may take to say that it works.
const checkTime = 30 * time.Second

// Check implements gitmodels.Builder.
func (b *builder) Check(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	j, err := newJob(b.name, b.o, gitmodels.Build{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.remove()) }()
	return b.check(ctx, j)
}

// Build implements gitmodels.Builder.
func (b *builder) Build(ctx context.Context, what gitmodels.Build) (image gitmodels.Image, err error) {
	if err := validate(what); err != nil {
		return image, err
	}
	j, err := newJob(b.name, b.o, what)
	if err != nil {
		return image, err
	}
	defer func() { err = joinLater(err, j.remove()) }()
	digest, err := b.build(ctx, j)
	if ctx.Err() != nil {
		return image, j.ended(ctx, err)
	}
	if err != nil {
		return image, err
	}
	if !digestForm.MatchString(digest) {
		return image, j.internal("reading the digest of what was pushed", fmt.Errorf("%q is no digest", gitmodels.Printable(digest, 100)))
	}
	return gitmodels.Image{Name: j.repository(), Digest: digest}, nil
}

// joinLater keeps err the first to be read when cleaning up failed too.
func joinLater(err, later error) error {
	if err == nil || later == nil {
		return errors.Join(err, later)
	}
	return fmt.Errorf("%w (and: %w)", err, later)
}

func waiting(op string, err error, format string, args ...any) error {
	return &gitmodels.Error{Kind: gitmodels.Waiting, Op: op, Message: "builder: " + fmt.Sprintf(format, args...), Err: err}
}

func invalid(format string, args ...any) error {
	return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "building an image", Message: "build: " + fmt.Sprintf(format, args...)}
}
