package registry

import (
	"bytes"
	"fmt"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// look reads what ref stands for. The digest is computed from the bytes that came.
func (s *session) look(ref name.Reference) (gitmodels.ImageInfo, error) {
	top, err := s.puller.Get(s.ctx, ref)
	if err != nil {
		return gitmodels.ImageInfo{}, err
	}
	info := gitmodels.ImageInfo{Image: gitmodels.Image{Digest: top.Digest.String()}}
	of := top
	if top.MediaType.IsIndex() {
		index, err := v1.ParseIndexManifest(bytes.NewReader(top.Manifest))
		if err != nil {
			return gitmodels.ImageInfo{}, fmt.Errorf("its index: %w", err)
		}
		child, ok := choose(index.Manifests, runtime.GOARCH)
		if !ok {
			return info, nil // nothing in it can run, so there is nothing to tell
		}
		if of, err = s.puller.Get(s.ctx, s.repo.Digest(child.String())); err != nil {
			return gitmodels.ImageInfo{}, err
		}
	}
	return info, s.read(of, &info)
}

// choose picks the image of an index that runs on this architecture, else its
// first image. What builders attest is listed beside images with the platform
// unknown/unknown.
func choose(of []v1.Descriptor, arch string) (digest v1.Hash, ok bool) {
	for _, d := range of {
		if !d.MediaType.IsImage() || d.Platform != nil && d.Platform.OS == "unknown" {
			continue
		}
		if d.Platform != nil && d.Platform.OS == "linux" && d.Platform.Architecture == arch {
			return d.Digest, true
		}
		if !ok {
			digest, ok = d.Digest, true
		}
	}
	return digest, ok
}

// read adds what the manifest and the configuration of one image say. An artifact
// that is no image has no labels.
func (s *session) read(of *remote.Descriptor, info *gitmodels.ImageInfo) error {
	manifest, err := v1.ParseManifest(bytes.NewReader(of.Manifest))
	if err != nil {
		return fmt.Errorf("its manifest: %w", err)
	}
	for _, l := range manifest.Layers {
		if l.Size < 0 || info.Size+l.Size < 0 {
			return fmt.Errorf("its manifest: a layer of %d bytes", l.Size)
		}
		info.Size += l.Size
	}
	if !manifest.Config.MediaType.IsConfig() {
		return nil
	}
	image, err := of.Image()
	if err != nil {
		return err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return fmt.Errorf("its configuration: %w", err)
	}
	info.Labels, info.Created = config.Config.Labels, config.Created.Time
	return nil
}
