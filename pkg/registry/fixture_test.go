package registry

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// front is a registry on a free port of the loopback interface: a small proxy that
// records the requests, may ask for a password and may be down, before the real
// thing.
type front struct {
	*httptest.Server
	host string

	mu      sync.Mutex
	behind  http.Handler
	guarded string // basic or bearer: asks for user and password
	down    bool   // drops connections
	seen    []string
}

const (
	user     = "runner"
	password = `s3cr3t/ä "quoted"&%`
)

func newFront(t *testing.T, behind http.Handler) *front {
	f := &front{behind: behind}
	f.Server = httptest.NewUnstartedServer(f)
	f.Server.Config.ErrorLog = log.New(io.Discard, "", 0) // of HTTPS tried first
	f.Server.Start()
	t.Cleanup(f.Server.Close)
	f.host = strings.TrimPrefix(f.URL, "http://")
	return f
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.seen = append(f.seen, r.Method+" "+r.URL.Path)
	behind, guarded, down := f.behind, f.guarded, f.down
	f.mu.Unlock()
	_, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	u, p, _ := r.BasicAuth()
	known := u == user && p == password
	switch {
	case down:
		panic(http.ErrAbortHandler)
	case r.URL.Path == "/token" && !known:
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, http.StatusUnauthorized)
		return
	case r.URL.Path == "/token":
		fmt.Fprint(w, `{"token":"the-token"}`)
		return
	case guarded == "basic" && !known, guarded == "bearer" && given != "the-token":
		challenge := `Basic realm="here"`
		if guarded == "bearer" {
			challenge = fmt.Sprintf(`Bearer realm="%s/token",service="here"`, f.URL)
		}
		w.Header().Set("WWW-Authenticate", challenge)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		return
	}
	behind.ServeHTTP(w, r)
}

// set changes the front under its lock.
func (f *front) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// count counts the recorded requests of a method whose path contains part, and
// forgets all.
func (f *front) count(method, part string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, s := range f.seen {
		if strings.HasPrefix(s, method+" ") && strings.Contains(s, part) {
			n++
		}
	}
	f.seen = nil
	return n
}

// crane is go-containerregistry's own registry, in this process.
func crane(*testing.T) http.Handler {
	return registry.New(registry.Logger(log.New(io.Discard, "", 0)))
}

// distribution is Debian's docker-registry on a unix socket.
func distribution(t *testing.T) http.Handler {
	h, _ := startDistribution(t, "docker-registry", "serve")
	return h
}

// startDistribution starts argv with the path of a configuration appended, whose
// storage is DIR/data. stop ends the process.
func startDistribution(t *testing.T, argv ...string) (h http.Handler, stop func()) {
	t.Helper()
	if _, err := exec.LookPath("docker-registry"); err != nil {
		t.Skip("docker-registry is not installed (Debian's package docker-registry, see scripts/services)")
	}
	dir, err := os.MkdirTemp("", "registry") // a socket's path is at most 107 bytes
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	socket, config := filepath.Join(dir, "s"), filepath.Join(dir, "config.yml")
	must(t, os.Mkdir(filepath.Join(dir, "data"), 0o700))
	must(t, os.WriteFile(config, fmt.Appendf(nil, `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %[1]s/data}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
http: {net: unix, addr: %[1]s/s, secret: for-this-test}
`, dir), 0o600))
	out := &strings.Builder{}
	cmd := exec.Command(argv[0], append(slices.Clone(argv[1:]), config)...)
	cmd.Dir, cmd.Env = dir, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }() // its status is that of a signal
	stop = func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	}
	t.Cleanup(stop)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		if c, err := dial(t.Context(), "", ""); err == nil {
			c.Close()
			break
		}
		select {
		case <-ended:
			t.Fatalf("docker-registry ended: %s", out)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("docker-registry did not listen within a minute")
		}
	}
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	return &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "behind"})
			r.Out.Host = r.In.Host // it builds the addresses of uploads from it
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}, stop
}

// client is one without pauses between tries and without configuration of the
// account that runs the tests.
func client(t *testing.T, o Options) *Client {
	if o.Getenv == nil {
		o.Getenv = env()
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Minute
	}
	if o.RequestTimeout == 0 {
		o.RequestTimeout = 2 * time.Minute
	}
	c := New(o)
	c.pause = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	t.Cleanup(c.o.Transport.(*http.Transport).CloseIdleConnections)
	return c
}

// env is an environment of key, value pairs.
func env(pairs ...string) func(string) string {
	return func(key string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == key {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// credentials writes a protected file with user and password for host.
func credentials(t *testing.T, host string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials.json")
	b, err := json.Marshal(map[string]any{"auths": map[string]authn.AuthConfig{host: {Username: user, Password: password}}})
	must(t, err)
	must(t, os.WriteFile(path, b, 0o600))
	return path
}

// image makes one of a random layer with the labels of a commit.
func image(t *testing.T, commit string) v1.Image {
	t.Helper()
	img, err := random.Image(1000, 2)
	must(t, err)
	config, err := img.ConfigFile()
	must(t, err)
	config = config.DeepCopy()
	config.Config.Labels = map[string]string{gitmodels.LabelRevision: commit, gitmodels.LabelSource: "dogs"}
	config.Created = v1.Time{Time: created}
	img, err = mutate.ConfigFile(img, config)
	must(t, err)
	return img
}

var created = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// commit is a new commit id.
func commit() string {
	b := make([]byte, 20)
	rand.Read(b)
	return fmt.Sprintf("%x", b)
}

// push puts an image or an index under a tag and returns what it is called.
func (f *front) push(t *testing.T, path, tag string, what remote.Taggable) gitmodels.Image {
	t.Helper()
	ref, err := name.NewTag(f.host+"/"+path+":"+tag, name.Insecure)
	must(t, err)
	must(t, remote.Push(ref, what, remote.WithContext(t.Context())))
	d, err := remote.Get(ref, remote.WithContext(t.Context()))
	must(t, err)
	return gitmodels.Image{Name: f.host + "/" + path, Digest: d.Digest.String()}
}

// wantError checks kind and words of an error, and that it keeps the secrets.
func wantError(t *testing.T, err error, kind gitmodels.Kind, words ...string) {
	t.Helper()
	var e *gitmodels.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want a gitmodels.Error", err, err)
	}
	if e.Kind != kind {
		t.Errorf("kind %d, want %d: %v", e.Kind, kind, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q lacks %q", err, w)
		}
	}
	wantSilent(t, fmt.Sprintf("%v %+v %s %v", err, e, e.Op, errors.Unwrap(err)))
}

// wantSilent checks that no form of the password or the token is in what was said.
func wantSilent(t *testing.T, said string) {
	t.Helper()
	for _, secret := range []string{password, "s3cr3t", "the-token", basic} {
		if strings.Contains(said, secret) {
			t.Errorf("%q shows a secret", said)
		}
	}
}

// basic is user and password as they are sent.
var basic = base64.StdEncoding.EncodeToString([]byte(user + ":" + password))

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
