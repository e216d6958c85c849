package gitmodels

import (
	"context"
	"io"
	"time"
)

// Labels that every image of ours carries. The first three are of the OCI image
// specification, pre-defined annotation keys.
const (
	LabelRevision = "org.opencontainers.image.revision" // the full commit id
	LabelSource   = "org.opencontainers.image.source"   // the repository's name on this host
	LabelCreated  = "org.opencontainers.image.created"  // the commit's time, RFC 3339, so that equal inputs stay equal
	LabelBuildKey = "git-models.build-key"              // what went into the build
)

// Builder makes images. One that was found usable may be used by many builds at
// once.
type Builder interface {
	// Builder is its name in models.builder: buildx, docker, buildah or podman.
	Builder() string
	// Check says whether it could build here now. What the server lacks is an
	// Error of Kind Waiting whose Message names it ("builder: docker does not
	// answer on unix:///run/docker.sock").
	Check(ctx context.Context) error
	// Build makes the image from b.Context, pushes it as b.Image and returns it
	// with the digest that the registry knows. Nothing is left behind, neither of
	// a build that failed nor of one whose ctx ended: then everything that it
	// started is gone when Build returns. What the commit is to blame for, such as
	// a step that failed or a base image that does not exist, is an Error of Kind
	// Invalid whose Message is one line for the pusher; a builder or registry that
	// does not answer, and a full disk, are of Kind Waiting; credentials that do
	// not suffice are of Kind Forbidden.
	Build(ctx context.Context, b Build) (Image, error)
}

// Build is what a Builder makes an image from.
type Build struct {
	Image      string            // where it is pushed: host[:port]/name:tag
	Context    io.Reader         // a tar stream; its root is the root of the context
	Dockerfile string            // slash-separated path within the context
	Shown      string            // what the Dockerfile is called in words; empty: as Dockerfile says
	Args       map[string]string // build arguments; they may be read by whoever has the image
	Labels     map[string]string
	Platform   string            // such as linux/amd64; empty: the builder's own
	CacheFrom  []string          // images whose layers may be used again; one that is not there is no error
	Cache      string            // inline, registry or none, see models.yaml build.cache
	Refresh    bool              // look for newer base images; else the builder may use those that it has
	Secrets    map[string]string // absolute paths of files by their id, mounted by RUN --mount=type=secret
	AuthFile   string            // credentials in the form of docker's config.json, mode 0600; empty: none
	Plain      bool              // the registry speaks plain HTTP
	Log        io.Writer         // gets all that the build prints, from the first byte
}

// Image is an image in a registry.
type Image struct {
	Name   string // host[:port]/name, without tag and digest
	Digest string // of its manifest or index: sha256:<64 hex digits>
	Size   int64  // bytes of its compressed layers, for one platform; 0: not known
}

// Ref names the image by its digest, which never means another one.
func (i Image) Ref() string { return i.Name + "@" + i.Digest }

// ImageInfo is what a registry tells of an image.
type ImageInfo struct {
	Image
	Labels  map[string]string
	Created time.Time
}

// Registry looks at and tags images where they are kept; it moves no layer.
// Names are host[:port]/name. What is not there is an Error of Kind NotFound; a
// registry that does not answer, or is overloaded, of Kind Waiting; credentials
// that do not suffice of Kind Forbidden, with where they were looked for.
type Registry interface {
	// Image is the image that tag, or a digest, of name stands for.
	Image(ctx context.Context, name, tagOrDigest string) (ImageInfo, error)
	// Tag gives an image of the registry one more tag by one PUT of its manifest.
	// A tag that is there and means the same digest is no error; where the registry
	// keeps a tag from moving, the Error is of Kind Invalid.
	Tag(ctx context.Context, i Image, tag string) error
	// Digest is what an image stands for now that a Dockerfile names, as it is
	// written there.
	Digest(ctx context.Context, reference string) (string, error)
	// SpeaksPlain reports whether plain HTTP is spoken to the registry of an image.
	SpeaksPlain(name string) bool
	// AuthFile writes the credentials that builders need for the registries of the
	// names, which may be written as in a Dockerfile, into a new file, in the form of docker's config.json and mode 0600;
	// remove takes it away. Without credentials the path is empty.
	AuthFile(ctx context.Context, names ...string) (path string, remove func() error, err error)
}
