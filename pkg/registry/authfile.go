package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// authPrefix begins the names of the folders in Options.Dir.
const authPrefix = "auth-"

// AuthFile implements gitmodels.Registry. The file is called config.json and alone
// in a new folder, so that docker can be given the folder as DOCKER_CONFIG and
// buildah the file. It holds the entries for the registries of the names and
// nothing else, of helpers what they answered. Credentials of one registry that
// differ between names stand under the longer keys that podman and buildah know.
func (c *Client) AuthFile(ctx context.Context, names ...string) (path string, remove func() error, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.o.Timeout, errSlow)
	defer cancel()
	auths := map[string]authn.AuthConfig{}
	for _, image := range names {
		ref, err := name.ParseReference(image)
		if err != nil {
			return "", nil, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "reading an image's name",
				Message: fmt.Sprintf("%s is not the name of an image", gitmodels.Printable(image, 200)), Err: err}
		}
		repo := ref.Context()
		found, err := c.keys.find(ctx, repo)
		if err != nil {
			return "", nil, err
		}
		if !found.empty() {
			add(auths, repo, found)
		}
	}
	if len(auths) == 0 {
		return "", func() error { return nil }, nil
	}
	path, err = c.writeAuths(auths)
	if err != nil {
		return "", nil, &gitmodels.Error{Op: "writing credentials for a builder", Err: err}
	}
	return path, func() error { return c.remove(filepath.Dir(path)) }, nil
}

// add puts what was found for an image under its host, or, when another image of
// that host has other credentials, under the image's own name.
func add(auths map[string]authn.AuthConfig, repo name.Repository, found credential) {
	key := dockerKey(repo.RegistryStr())
	if there, ok := auths[key]; ok && there != found.config {
		key = repo.Name()
	}
	auths[key] = found.config
}

// writeAuths writes them into a new folder. What it could not finish it removes.
func (c *Client) writeAuths(auths map[string]authn.AuthConfig) (path string, err error) {
	if !filepath.IsAbs(c.o.Dir) {
		return "", fmt.Errorf("the folder for it, %q, is not an absolute path", c.o.Dir)
	}
	content, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		return "", errors.New("the credentials have no form in JSON") // its error may quote them
	}
	if err := os.MkdirAll(c.o.Dir, 0o700); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(c.o.Dir, authPrefix) // mode 0700
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "config.json")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = f.Write(content)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return "", errors.Join(err, c.remove(dir))
	}
	return path, nil
}

// remove takes away one of our folders, with what a builder put there, and makes
// sure that it is gone.
func (c *Client) remove(dir string) error {
	err := os.RemoveAll(dir)
	if _, gone := os.Lstat(dir); err == nil && !errors.Is(gone, fs.ErrNotExist) {
		err = fmt.Errorf("%s is still there: %w", dir, errors.Join(gone, fs.ErrExist))
	}
	if err != nil {
		return &gitmodels.Error{Op: "removing credentials that a builder had", Err: err}
	}
	return nil
}

// Sweep removes the files of AuthFile that a process which was killed left behind.
// It must not be called while another process uses Options.Dir, nor while a file
// of this one is in use.
func (c *Client) Sweep() error {
	entries, err := os.ReadDir(c.o.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &gitmodels.Error{Op: "looking for credentials left behind", Err: err}
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), authPrefix) {
			err = errors.Join(err, c.remove(filepath.Join(c.o.Dir, e.Name())))
		}
	}
	return err
}
