package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// maxBody bounds one answer, in bytes after decompression. The distribution
	// specification asks registries to take manifests of at least 4 MiB; most refuse
	// larger ones.
	maxBody = 4 << 20
	// maxRedirects bounds the redirects of one request.
	maxRedirects = 5
	// maxTries bounds how often one request is sent.
	maxTries = 4
	// firstPause is about the time between the first two tries; each one after is
	// three times as long.
	firstPause = 200 * time.Millisecond
	// maxPause is the longest Retry-After that a call waits for.
	maxPause = 10 * time.Second
)

var (
	errSlow      = errors.New("no answer in time")
	errBig       = fmt.Errorf("an answer of more than %d MiB", maxBody>>20)
	errRedirects = fmt.Errorf("more than %d redirects", maxRedirects)
	errDowngrade = errors.New("a redirect to plain HTTP")
	errPlain     = errors.New("plain HTTP is not spoken to it")
)

// guard carries the requests of one call within bounds and tries again what may
// pass.
type guard struct {
	base    http.RoundTripper
	plain   bool // the registry speaks plain HTTP, and so may what it redirects to
	timeout time.Duration
	pause   func(ctx context.Context, d time.Duration) error

	mu      sync.Mutex
	fault   error    // why the last request got no answer; without its URL
	secrets []string // what was sent as Authorization
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	g.note(req.Header.Get("Authorization"))
	switch {
	case redirects(req) > maxRedirects:
		return nil, g.failed(errRedirects)
	case req.URL.Scheme == "http" && !g.plain && req.Response != nil:
		return nil, g.failed(errDowngrade)
	case req.URL.Scheme == "http" && !g.plain: // go-containerregistry falls back to it for private addresses
		return nil, errPlain
	}
	wait := firstPause
	for try := 1; ; try++ {
		resp, err := g.once(req)
		asked, again := passing(req, resp, err)
		if !again || try == maxTries {
			return resp, g.failed(err)
		}
		if resp != nil {
			if err := resp.Body.Close(); err != nil {
				return nil, g.failed(err)
			}
		}
		if asked == 0 {
			asked = wait/2 + rand.N(wait)
		}
		if err := g.pause(req.Context(), asked); err != nil {
			return nil, g.failed(err)
		}
		wait *= 3
		if req, err = rewind(req); err != nil {
			return nil, g.failed(err)
		}
	}
}

// once sends the request, with a limit on time and bytes up to the end of its
// answer's body.
func (g *guard) once(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeoutCause(req.Context(), g.timeout, errSlow)
	resp, err := g.base.RoundTrip(req.WithContext(ctx))
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		cancel()
		return nil, err
	}
	resp.Body = &bounded{ReadCloser: resp.Body, left: maxBody, ctx: ctx, cancel: cancel}
	return resp, nil
}

// failed notes why a request got no answer.
func (g *guard) failed(err error) error {
	if err != nil {
		g.mu.Lock()
		g.fault = err
		g.mu.Unlock()
	}
	return err
}

// note keeps what is sent as Authorization, so that it can be struck out.
func (g *guard) note(authorization string) {
	if _, secret, ok := strings.Cut(authorization, " "); ok {
		g.mu.Lock()
		g.secrets = append(g.secrets, secret)
		g.mu.Unlock()
	}
}

// redirects counts those that led to this request.
func redirects(req *http.Request) int {
	n := 0
	for ; req.Response != nil && req.Response.Request != nil && n <= maxRedirects; n++ {
		req = req.Response.Request
	}
	return n
}

// passing reports whether the request may be sent again and what went wrong may
// pass, and how long the registry asks to wait for that; 0: it does not say.
func passing(req *http.Request, resp *http.Response, err error) (wait time.Duration, again bool) {
	switch {
	case req.Method != http.MethodGet && req.Method != http.MethodHead && req.Method != http.MethodPut,
		req.Body != nil && req.GetBody == nil,
		req.Context().Err() != nil:
		return 0, false
	case err != nil:
		return 0, mayPass(err)
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		wait = retryAfter(resp.Header.Get("Retry-After"), time.Now())
		return wait, wait <= maxPause
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return 0, true
	}
	return 0, false
}

// mayPass reports whether a request that got no answer may get one in a moment: a
// registry that was slow once has had its time.
func mayPass(err error) bool {
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	return !errors.Is(err, errSlow) && !errors.Is(err, http.ErrSchemeMismatch) &&
		!errors.As(err, &certificate) && !errors.As(err, &authority) && !errors.As(err, &record)
}

// retryAfter reads the header of that name (RFC 9110, 10.2.3): seconds or a date.
// What it does not understand is 0.
func retryAfter(header string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// rewind makes the request once more.
func rewind(req *http.Request) (*http.Request, error) {
	again := req.Clone(req.Context())
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		again.Body = body
	}
	return again, nil
}

// bounded is a body that ends with errBig when it is too long and with errSlow
// when it takes too long.
type bounded struct {
	io.ReadCloser
	left   int64 // bytes
	ctx    context.Context
	cancel context.CancelFunc
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errBig
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	switch {
	case b.left < 0:
		return n - 1, errBig
	case err != nil && err != io.EOF && b.ctx.Err() != nil:
		err = context.Cause(b.ctx)
	}
	return n, err
}

func (b *bounded) Close() error {
	b.cancel()
	return b.ReadCloser.Close()
}
