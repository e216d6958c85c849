package gitmodels

import (
	"context"
	"time"
)

// Labels that every image of ours carries: pre-defined annotation keys of the OCI
// image specification.
const (
	LabelRevision = "org.opencontainers.image.revision" // the full commit id
	LabelSource   = "org.opencontainers.image.source"   // the repository's name on this host
)

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
	// AuthFile writes the credentials that builders need for the registries of the
	// names into a new file, in the form of docker's config.json and mode 0600;
	// remove takes it away. Without credentials the path is empty.
	AuthFile(ctx context.Context, names ...string) (path string, remove func() error, err error)
}
