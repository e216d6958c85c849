// Package registry looks at images and tags them where they are kept: the
// gitmodels.Registry over the HTTP API of the OCI distribution specification, by
// go-containerregistry. It moves no layer.
//
// A registry is a stranger. Each call and each request has a time limit, each
// answer a limit of bytes and of redirects; what a registry says of a digest is
// computed again; its words are shown in one printable line with the credentials
// struck out, and no error carries a URL, which may be signed. What may pass (no
// connection, 429, 5xx) is tried again a few times with a short pause.
//
// Plain HTTP is spoken to registries on the loopback interface, as docker does,
// and to those named in Options.Plain; never by a redirect or a fallback to
// others.
//
// Credentials are looked for, for each image, in Options.Credentials, then in the
// docker configuration of the runner's account, then in podman's. Without any the
// registry is asked as nobody. See keychain.go.
//
// The package imports gitmodels, the standard library and go-containerregistry;
// it must never import the runner or another adapter, and the hooks never link it.
package registry

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Options configure a Client. The zero value of each field is usable, but without
// Dir there is no AuthFile.
type Options struct {
	// Credentials is a file in the form of docker's config.json, or empty. Nobody
	// but the runner's account and root may own it, nobody else read it.
	Credentials string
	// Dir is the folder of this runner alone in which AuthFile puts its files; an
	// absolute path. It is made, mode 0700, when it is not there.
	Dir string
	// Plain are the host[:port] that speak plain HTTP, beside those on the loopback
	// interface.
	Plain []string
	// Timeout bounds one call with all its requests: 2 minutes.
	Timeout time.Duration
	// RequestTimeout bounds one request with its answer: 20 seconds.
	RequestTimeout time.Duration
	// Getenv reads the environment in which configuration and credential helpers
	// are looked for: os.Getenv.
	Getenv func(string) string
	// Transport carries the requests: one like http.DefaultTransport.
	Transport http.RoundTripper
}

// Client is a gitmodels.Registry. It may be used by many goroutines at once.
type Client struct {
	o     Options
	keys  *keychain
	pause func(ctx context.Context, d time.Duration) error // between tries
}

var _ gitmodels.Registry = (*Client)(nil)

// New makes a client. It looks at nothing yet.
func New(o Options) *Client {
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Minute
	}
	if o.RequestTimeout == 0 {
		o.RequestTimeout = 20 * time.Second
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxResponseHeaderBytes = 64 << 10
		t.MaxIdleConnsPerHost = 4
		o.Transport = t
	}
	return &Client{o: o, keys: newKeychain(o), pause: pause}
}

// pause waits, or returns the error of a context that ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// SpeaksPlain implements gitmodels.Registry.
func (c *Client) SpeaksPlain(image string) bool {
	host, _, _ := strings.Cut(image, "/")
	return c.plain(host)
}

func (c *Client) plain(host string) bool {
	return slices.Contains(c.o.Plain, host) || loopback(host)
}

// loopback reports whether host[:port] is on the loopback interface by its name.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	} else if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Image implements gitmodels.Registry. Of an index, such as builders make that add
// attestations, Digest is the index's; labels, size and time are those of its
// image for this machine's platform, else of its first image.
func (c *Client) Image(ctx context.Context, image, tagOrDigest string) (info gitmodels.ImageInfo, err error) {
	s, err := c.open(ctx, image)
	if err != nil {
		return gitmodels.ImageInfo{}, err
	}
	defer s.close()
	ref, err := s.ref(tagOrDigest)
	if err != nil {
		return gitmodels.ImageInfo{}, err
	}
	s.doing("looking at", ref)
	info, err = s.look(ref)
	if err != nil {
		return gitmodels.ImageInfo{}, s.explain(err)
	}
	info.Name = image
	return info, nil
}

// Digest implements gitmodels.Registry. A reference without a host is of the
// registry that builders take then.
func (c *Client) Digest(ctx context.Context, reference string) (string, error) {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return "", &gitmodels.Error{Kind: gitmodels.Invalid, Op: "reading a base image's name",
			Message: fmt.Sprintf("%s is not the name of an image", gitmodels.Printable(reference, 200)), Err: err}
	}
	info, err := c.Image(ctx, ref.Context().Name(), ref.Identifier())
	return info.Digest, err
}

// Tag implements gitmodels.Registry.
func (c *Client) Tag(ctx context.Context, i gitmodels.Image, tag string) error {
	s, err := c.open(ctx, i.Name)
	if err != nil {
		return err
	}
	defer s.close()
	if err := gitmodels.CheckDigest(i.Digest); err != nil {
		return err
	}
	if err := gitmodels.CheckTag(tag); err != nil {
		return err
	}
	dest := s.repo.Tag(tag)
	s.doing("looking at", dest)
	there := true
	switch d, err := s.puller.Get(s.ctx, dest); {
	case err == nil && d.Digest.String() == i.Digest:
		return nil
	case err != nil:
		if err = s.explain(err); gitmodels.KindOf(err) != gitmodels.NotFound {
			return err
		}
		there = false
	}
	source := s.repo.Digest(i.Digest)
	s.doing("looking at", source)
	manifest, err := s.puller.Get(s.ctx, source)
	if err != nil {
		return s.explain(err)
	}
	s.doing("tagging", dest)
	if err := remote.Tag(dest, manifest, s.options...); err != nil {
		return s.explainTag(err, dest, there)
	}
	return nil
}

// session is one call: its bounds, its credentials and what it is doing.
type session struct {
	ctx     context.Context
	close   context.CancelFunc
	caller  context.Context
	limit   time.Duration
	repo    name.Repository
	found   credential
	guard   *guard
	options []remote.Option
	puller  *remote.Puller
	op      string // for the operator
	what    string // the image, as name:tag or name@digest
}

// open checks the name and looks for credentials.
func (c *Client) open(ctx context.Context, image string) (*session, error) {
	host, _, err := gitmodels.SplitImageName(image)
	if err != nil {
		return nil, err
	}
	plain := c.plain(host)
	var how []name.Option
	if plain {
		how = append(how, name.Insecure)
	}
	repo, err := name.NewRepository(image, how...)
	if err != nil {
		return nil, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "reading an image's name", Err: err}
	}
	s := &session{caller: ctx, limit: c.o.Timeout, repo: repo}
	s.ctx, s.close = context.WithTimeoutCause(ctx, c.o.Timeout, errSlow)
	if s.found, err = c.keys.find(s.ctx, repo); err != nil {
		s.close()
		return nil, err
	}
	s.guard = &guard{base: c.o.Transport, plain: plain, timeout: c.o.RequestTimeout, pause: c.pause}
	s.options = []remote.Option{
		remote.WithContext(s.ctx),
		remote.WithTransport(s.guard),
		remote.WithAuth(s.found.authenticator()),
		remote.WithUserAgent("git-models/" + gitmodels.Version),
		// The guard tries again; nobody else does.
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
		remote.WithRetryPredicate(func(error) bool { return false }),
		remote.WithRetryStatusCodes(),
	}
	if s.puller, err = remote.NewPuller(s.options...); err != nil {
		s.close()
		return nil, &gitmodels.Error{Op: "preparing to ask a registry", Err: err}
	}
	return s, nil
}

// doing notes for errors what is about to be done.
func (s *session) doing(verb string, ref name.Reference) {
	s.what = ref.Name()
	s.op = verb + " " + s.what
}

// ref is the tag or digest of the session's image.
func (s *session) ref(tagOrDigest string) (name.Reference, error) {
	if gitmodels.CheckDigest(tagOrDigest) == nil {
		return s.repo.Digest(tagOrDigest), nil
	}
	if err := gitmodels.CheckTag(tagOrDigest); err != nil {
		return nil, err
	}
	return s.repo.Tag(tagOrDigest), nil
}

// authenticator is nobody's when nothing was found.
func (c credential) authenticator() authn.Authenticator {
	if c.empty() {
		return authn.Anonymous
	}
	return authn.FromConfig(c.config)
}
