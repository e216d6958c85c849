package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// maxConfig bounds a file of credentials, in bytes.
const maxConfig = 1 << 20

// keychain finds credentials. It reads the files and asks the helpers anew for
// each call, so that what an administrator mends counts at once.
//
// In each file the entries are those of docker's config.json: credHelpers for the
// host, else credsStore, else auths, whose keys may also be, as podman writes
// them, host/path for the images below it; the longest that fits wins.
type keychain struct {
	protected string
	getenv    func(string) string
}

func newKeychain(o Options) *keychain { return &keychain{protected: o.Credentials, getenv: o.Getenv} }

// credential is what was found for an image, and where.
type credential struct {
	config authn.AuthConfig
	key    string   // the entry's: a host or host/path
	from   string   // the file, and its helper
	looked []string // files without an entry
}

func (c credential) empty() bool { return c.config == authn.AuthConfig{} }

// whence says where the credentials are from, for a registry's refusal.
func (c credential) whence() string {
	switch {
	case !c.empty():
		return "with the credentials of " + c.from
	case len(c.looked) == 0:
		return "without credentials: there is no file of them"
	}
	return "without credentials: none for it in " + strings.Join(c.looked, ", ")
}

// configFile is docker's config.json, as far as it is read.
type configFile struct {
	Auths       map[string]json.RawMessage `json:"auths"`
	CredHelpers map[string]string          `json:"credHelpers"`
	CredsStore  string                     `json:"credsStore"`
}

// find looks through the files for the image's registry; an empty credential is
// nobody's. A file that cannot be believed or read is an Error of Kind Waiting.
func (k *keychain) find(ctx context.Context, repo name.Repository) (credential, error) {
	var looked []string
	for _, path := range k.files() {
		config, err := readConfig(path, path == k.protected)
		if errors.Is(err, fs.ErrNotExist) && path != k.protected {
			continue
		}
		if err != nil {
			return credential{}, &gitmodels.Error{Kind: gitmodels.Waiting, Op: "looking for credentials",
				Message: "registry: credentials " + gitmodels.Printable(err.Error(), maxWords)}
		}
		found, err := k.search(ctx, path, config, repo)
		if err != nil || !found.empty() {
			return found, err
		}
		looked = append(looked, path)
	}
	return credential{looked: looked}, nil
}

// files are those to look at, in order. Only the first must be there.
func (k *keychain) files() []string {
	var files []string
	if k.protected != "" {
		files = append(files, k.protected)
	}
	if dir := k.getenv("DOCKER_CONFIG"); dir != "" {
		files = append(files, filepath.Join(dir, "config.json"))
	} else if home := k.getenv("HOME"); home != "" {
		files = append(files, filepath.Join(home, ".docker", "config.json"))
	}
	if dir := k.getenv("XDG_RUNTIME_DIR"); dir != "" {
		files = append(files, filepath.Join(dir, "containers", "auth.json"))
	}
	return files
}

// readConfig reads a file, a regular one within bounds. One that policy names must
// be protected from everybody but root and the runner's account. Errors never show
// what stands in it.
func readConfig(path string, protected bool) (c configFile, err error) {
	if !filepath.IsAbs(path) {
		return c, fmt.Errorf("%s is not an absolute path", path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return c, err
	}
	defer f.Close() // it was only read
	info, err := f.Stat()
	if err != nil {
		return c, err
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	switch {
	case !info.Mode().IsRegular():
		return c, fmt.Errorf("%s is not a regular file", path)
	case protected && info.Mode().Perm()&0o077 != 0:
		return c, fmt.Errorf("%s has mode %04o, others may use it: chmod 600 %s", path, info.Mode().Perm(), path)
	case protected && owner != 0 && owner != os.Geteuid():
		return c, fmt.Errorf("%s belongs to uid %d, not to the runner's %d or root", path, owner, os.Geteuid())
	case info.Size() > maxConfig:
		return c, fmt.Errorf("%s has %d bytes, at most %d are read", path, info.Size(), maxConfig)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxConfig))
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("%s is not in the form of docker's config.json", path)
	}
	return c, nil
}

// search looks into one file.
func (k *keychain) search(ctx context.Context, path string, c configFile, repo name.Repository) (credential, error) {
	host := repo.RegistryStr()
	for key, helper := range c.CredHelpers {
		if registryOf(key) == host {
			return k.ask(ctx, path, helper, host)
		}
	}
	if c.CredsStore != "" {
		if found, err := k.ask(ctx, path, c.CredsStore, host); err != nil || !found.empty() {
			return found, err
		}
	}
	key, entry := longest(c.Auths, repo)
	if key == "" {
		return credential{}, nil
	}
	found := credential{key: place(key), from: path}
	if err := json.Unmarshal(entry, &found.config); err != nil {
		return credential{}, &gitmodels.Error{Kind: gitmodels.Waiting, Op: "looking for credentials",
			Message: fmt.Sprintf("registry: credentials %s: the entry of %s is not in docker's form", path, gitmodels.Printable(key, 80))}
	}
	return found, nil
}

// longest is the entry whose key fits the image best, if any does.
func longest(auths map[string]json.RawMessage, repo name.Repository) (key string, entry json.RawMessage) {
	image, best := repo.Name()+"/", ""
	for k, e := range auths {
		p := place(k)
		// Of two forms of one place the first in order wins, so that it is always the same.
		if strings.HasPrefix(image, p+"/") && (len(p) > len(best) || p == best && k < key) {
			key, entry, best = k, e, p
		}
	}
	return key, entry
}

// place is the host or host/path that a key of docker's config.json stands for:
// without a scheme and without the version that old clients wrote behind it.
func place(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	key = strings.TrimSuffix(key, "/")
	host, path, _ := strings.Cut(key, "/")
	if r, err := name.NewRegistry(host); err == nil {
		host = r.RegistryStr() // it has an alias for one of them
	}
	if path == "" || path == "v1" || path == "v2" {
		return host
	}
	return host + "/" + path
}

// registryOf is the host of a key.
func registryOf(key string) string {
	host, _, _ := strings.Cut(place(key), "/")
	return host
}

// dockerKey is the key under which docker looks for the credentials of a host.
func dockerKey(host string) string {
	if host == name.DefaultRegistry {
		return authn.DefaultAuthKey
	}
	return host
}
