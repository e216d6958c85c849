package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/git-models/git-models/pkg/gitmodels"
)

var noBuild gitmodels.Build

// rig is what a test of the contract has.
type rig struct {
	*testing.T
	b    gitmodels.Builder
	o    Options
	host string // of a registry that takes everything
}

// serveRegistry starts a registry; with a user, it wants basic credentials.
func serveRegistry(t *testing.T, user, password string) (host string) {
	t.Helper()
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); user != "" && (u != user || p != password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="tests"`)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// deadHost is an address where nobody listens.
func deadHost(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// authFile writes credentials in docker's form.
func authFile(t *testing.T, host, user, password string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "auth.json")
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	if err := os.WriteFile(p, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, auth), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// entry is a member of a context.
type entry struct {
	h    tar.Header
	body string
}

func file(name, body string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(body)), ModTime: time.Unix(1700000000, 0)}, body}
}

func link(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: time.Unix(1700000000, 0)}, ""}
}

// archive is the stream of the entries.
func archive(t *testing.T, list ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range list {
		h := e.h
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var busybox = sync.OnceValues(func() (string, error) {
	b, err := os.ReadFile("/bin/busybox")
	return string(b), err
})

// base begins every Dockerfile: a shell and its commands, links to one file.
const base = "FROM scratch\nCOPY base /\n"

// context is a context whose Dockerfile is base and more.
func (r *rig) context(more string, with ...entry) io.Reader {
	r.Helper()
	b, err := busybox()
	if err != nil {
		r.Skipf("busybox-static is not installed: %v", err)
	}
	program := file("base/bin/busybox", b)
	program.h.Mode = 0o755
	list := []entry{program, file("src/Dockerfile", base+more)}
	for _, applet := range []string{"sh", "sleep", "cat", "seq", "dd", "ls", "setsid"} {
		list = append(list, link("base/bin/"+applet, "busybox"))
	}
	return bytes.NewReader(archive(r.T, append(list, with...)...))
}

// build is a build that pushes to the rig's registry.
func (r *rig) build(more string, with ...entry) gitmodels.Build {
	return gitmodels.Build{Image: r.host + "/models/dogs:" + shortName(r.T), Context: r.context(more, with...), Dockerfile: "src/Dockerfile", Plain: true, Log: io.Discard}
}

func shortName(t *testing.T) string {
	return strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "#", "-").Replace(t.Name()))
}

// run builds within patience.
func (r *rig) run(b gitmodels.Build) (gitmodels.Image, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return r.b.Build(ctx, b)
}

// must builds and looks the image up in the registry.
func (r *rig) must(b gitmodels.Build) (gitmodels.Image, v1.Image) {
	r.Helper()
	var out bytes.Buffer
	b.Log = io.MultiWriter(b.Log, &out)
	image, err := r.run(b)
	if err != nil {
		r.Fatalf("%v; log:\n%s", words(err), tail(out.String()))
	}
	return image, r.pull(b.Image)
}

func (r *rig) pull(image string) v1.Image {
	r.Helper()
	ref, err := name.ParseReference(image, name.Insecure)
	if err != nil {
		r.Fatal(err)
	}
	got, err := remote.Image(ref, remote.WithAuth(&authn.Basic{Username: "anna", Password: "pass-for-anna"}))
	if err != nil {
		r.Fatal(err)
	}
	return got
}

// fails builds what must fail with the kind and all of the words in its message.
func (r *rig) fails(b gitmodels.Build, kind gitmodels.Kind, want ...string) *gitmodels.Error {
	r.Helper()
	var out bytes.Buffer
	b.Log = io.MultiWriter(b.Log, &out)
	_, err := r.run(b)
	e := (*gitmodels.Error)(nil)
	if !errors.As(err, &e) {
		r.Fatalf("got %v, want a gitmodels.Error; log:\n%s", err, tail(out.String()))
	}
	if e.Kind != kind {
		r.Fatalf("kind %d, want %d: %v; log:\n%s", e.Kind, kind, words(err), tail(out.String()))
	}
	for _, w := range want {
		if !strings.Contains(e.Message, w) {
			r.Errorf("message %q lacks %q; cause: %v; log:\n%s", e.Message, w, e.Err, tail(out.String()))
		}
	}
	if strings.ContainsAny(e.Message, "\n\r\x1b") || len(e.Message) > 1000 {
		r.Errorf("message %q is not one printable line", e.Message)
	}
	return e
}

func words(err error) string {
	e := (*gitmodels.Error)(nil)
	if errors.As(err, &e) {
		return fmt.Sprintf("kind %d, op %q: %v", e.Kind, e.Op, err)
	}
	return fmt.Sprint(err)
}

func tail(s string) string { return s[max(0, len(s)-3000):] }

// lockedBuffer may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// until waits for the condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
