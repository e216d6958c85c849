package registry

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/logs"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const (
	ociImage = "application/vnd.oci.image.manifest.v1+json"
	ociIndex = "application/vnd.oci.image.index.v1+json"
)

// answers is a registry of one's own words, by "METHOD PATH-SUFFIX", the first
// that fits; what none fits is answered with 200 and nothing.
type answers []struct {
	to     string
	answer http.HandlerFunc
}

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, x := range a {
		method, suffix, _ := strings.Cut(x.to, " ")
		if (method == "*" || r.Method == method) && strings.HasSuffix(r.URL.Path, suffix) {
			x.answer(w, r)
			return
		}
	}
}

// say answers with a status, headers as key, value pairs, and a body.
func say(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// hang answers nothing until the client is gone.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// flood answers without an end.
func flood(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", ociImage)
	for p := bytes.Repeat([]byte(" "), 1<<16); ; {
		if _, err := w.Write(p); err != nil {
			return
		}
	}
}

// bomb answers a little that unfolds to 64 MiB.
func bomb(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", ociImage)
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	z.Write(make([]byte, 64<<20))
	z.Close()
}

// codes is the body of an error in the registries' form.
func codes(code, message string) string {
	b, err := json.Marshal(map[string]any{"errors": []any{map[string]any{"code": code, "message": message, "detail": map[string]int{"any": 1}}}})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestOddAnswers(t *testing.T) {
	zeros := "sha256:" + strings.Repeat("0", 64)
	manifest := func(config string, layer int) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":%q},
			"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":%d,"digest":%q}]}`, ociImage, config, layer, zeros)
	}
	bearer := answers{{"GET /token", hang}, {"GET /v2/", say(401, "", "WWW-Authenticate", `Bearer realm="http://HOST/token"`)}}
	for _, c := range []struct {
		name    string
		answers answers
		digest  string // asked for; empty: the tag
		kind    gitmodels.Kind
		words   string
	}{
		{"hangs", answers{{"* ", hang}}, "", gitmodels.Waiting, "does not answer: no answer in time"},
		{"manifest hangs", answers{{"GET /v2/", say(200, "")}, {"* ", hang}}, "", gitmodels.Waiting, "does not answer: no answer in time"},
		{"token service hangs", bearer, "", gitmodels.Waiting, "does not answer: no answer in time"},
		{"500", answers{{"* ", say(500, codes("UNKNOWN", "no space\x1b[2J left"))}}, "", gitmodels.Waiting, `does not answer: 500 Internal Server Error, UNKNOWN: no space\x1b[2J left`},
		{"503 in HTML", answers{{"* ", say(503, "<html>"+strings.Repeat("x", 9000))}}, "", gitmodels.Waiting, "does not answer: 503 Service Unavailable"},
		{"asks to come back much later", answers{{"* ", say(429, "", "Retry-After", "3600")}}, "", gitmodels.Waiting, "does not answer: 429 Too Many Requests"},
		{"no registry", answers{{"* ", say(404, "no such page")}}, "", gitmodels.Waiting, "answers oddly: 404 Not Found"},
		{"endless manifest", answers{{"GET /v2/", say(200, "")}, {"* ", flood}}, "", gitmodels.Waiting, "answers oddly: an answer of more than 4 MiB"},
		{"endless greeting", answers{{"* ", flood}}, "", gitmodels.Waiting, "answers oddly: an answer of more than 4 MiB"},
		{"endless error", answers{{"GET /v2/", say(200, "")}, {"* ", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404); flood(w, r) }}}, "", gitmodels.Waiting, "answers oddly"},
		{"unfolds", answers{{"GET /v2/", say(200, "")}, {"* ", bomb}}, "", gitmodels.Waiting, "answers oddly: an answer of more than 4 MiB"},
		{"redirects without end", answers{{"GET /v2/", say(200, "")}, {"* ", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path+"x", http.StatusTemporaryRedirect)
		}}}, "", gitmodels.Waiting, "answers oddly: more than 5 redirects"},
		{"other content than the digest", answers{{"GET /v2/", say(200, "")}, {"* ", say(200, manifest(zeros, 1), "Content-Type", ociImage)}}, zeros, gitmodels.Waiting, "does not match requested digest"},
		{"other configuration than its digest", answers{{"GET /v2/", say(200, "")}, {"GET " + zeros, say(200, "{}")},
			{"* ", say(200, manifest(zeros, 1), "Content-Type", ociImage)}}, "", gitmodels.Waiting, "answers oddly: its configuration: error verifying sha256 checksum"},
		{"garbage for a manifest", answers{{"GET /v2/", say(200, "")}, {"* ", say(200, "\x00\x01garbage", "Content-Type", ociImage)}}, "", gitmodels.Waiting, "answers oddly: its manifest"},
		{"garbage for an index", answers{{"GET /v2/", say(200, "")}, {"* ", say(200, "[[[[", "Content-Type", ociIndex)}}, "", gitmodels.Waiting, "answers oddly: its index"},
		{"a layer of less than nothing", answers{{"GET /v2/", say(200, "")}, {"* ", say(200, manifest(zeros, -5), "Content-Type", ociImage)}}, "", gitmodels.Waiting, "a layer of -5 bytes"},
		{"garbage for a token", append(answers{{"GET /token", say(200, "{{")}}, bearer[1:]...), "", gitmodels.Waiting, "answers oddly"},
		{"a token under another name", append(answers{{"GET /token", say(200, `{"secret":"the-token"}`)}}, bearer[1:]...), "", gitmodels.Waiting, "no token in its token service's answer"},
		{"no token service", append(answers{{"GET /token", say(404, "")}}, bearer[1:]...), "", gitmodels.Waiting, "answers oddly: 404"},
		{"a token service of another kind", answers{{"GET /v2/", say(401, "", "WWW-Authenticate", `Bearer realm="file:///etc/passwd"`)}}, "", gitmodels.Waiting, "answers oddly: invalid realm"},
		{"forbids", answers{{"GET /v2/", say(200, "")}, {"* ", say(403, codes("DENIED", "requested access is denied"))}}, "", gitmodels.Forbidden, "403 Forbidden, DENIED: requested access is denied"},
		{"echoes what it was given", answers{{"GET /v2/", say(401, "", "WWW-Authenticate", "Basic")}, {"* ", func(w http.ResponseWriter, r *http.Request) {
			u, p, _ := r.BasicAuth()
			say(403, codes("DENIED", u+" with "+p+" and "+r.Header.Get("Authorization")))(w, r)
		}}}, "", gitmodels.Forbidden, "DENIED: runner with *** and Basic ***"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var f *httptest.Server
			var asked atomic.Int64
			f = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				c.answers.ServeHTTP(&withHost{w, strings.TrimPrefix(f.URL, "http://")}, r)
			}))
			f.Config.ErrorLog = log.New(io.Discard, "", 0)
			t.Cleanup(f.Close)
			host := strings.TrimPrefix(f.URL, "http://")
			o := Options{Credentials: credentials(t, host)}
			if strings.Contains(c.name, "hangs") {
				o.RequestTimeout = 200 * time.Millisecond
			}
			what := c.digest
			if what == "" {
				what = "latest"
			}
			_, err := client(t, o).Image(t.Context(), host+"/odd", what)
			wantError(t, err, c.kind, host, c.words)
			if n := asked.Load(); n > 12 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// withHost writes the server's own host into what it challenges with.
type withHost struct {
	http.ResponseWriter
	host string
}

func (w *withHost) WriteHeader(status int) {
	h := w.Header()
	if c := h.Get("WWW-Authenticate"); c != "" {
		h.Set("WWW-Authenticate", strings.ReplaceAll(c, "HOST", w.host))
	}
	w.ResponseWriter.WriteHeader(status)
}

// TestTriesAgain counts the tries and the pauses between them.
func TestTriesAgain(t *testing.T) {
	f := newFront(t, crane(t))
	i := f.push(t, "again", "one", image(t, commit()))
	real := f.behind
	for _, c := range []struct {
		name   string
		method string
		status int
		header []string
		bad    int // bad answers before the registry's own
		pauses []time.Duration
		fails  bool
	}{
		{"429 with a time", "GET", 429, []string{"Retry-After", "7"}, 2, []time.Duration{7 * time.Second, 7 * time.Second}, false},
		{"502", "GET", 502, nil, 3, []time.Duration{0, 0, 0}, false},
		{"500 at the PUT", "PUT", 500, nil, 1, []time.Duration{0}, false},
		{"500 too often", "PUT", 500, nil, 9, []time.Duration{0, 0, 0}, true},
		{"a time beyond ours", "PUT", 429, []string{"Retry-After", "60"}, 1, nil, true},
		{"400", "PUT", 400, nil, 1, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var left atomic.Int64
			left.Store(int64(c.bad))
			f.set(func() {
				f.behind = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == c.method && strings.Contains(r.URL.Path, "/manifests/") && left.Add(-1) >= 0 {
						say(c.status, "", c.header...)(w, r)
						return
					}
					real.ServeHTTP(w, r)
				})
			})
			var pauses []time.Duration
			cl := client(t, Options{})
			cl.pause = func(_ context.Context, d time.Duration) error {
				pauses = append(pauses, d)
				return nil
			}
			err := cl.Tag(t.Context(), i, strings.ReplaceAll(c.name, " ", "-"))
			if (err != nil) != c.fails {
				t.Errorf("error %v", err)
			}
			if len(pauses) != len(c.pauses) {
				t.Fatalf("pauses %v, want %d", pauses, len(c.pauses))
			}
			low := firstPause / 2
			for n, d := range pauses {
				if want := c.pauses[n]; want != 0 && d != want || want == 0 && (d < low || d > 3*low) {
					t.Errorf("pause %d is %s, want %s or within %s and %s", n+1, d, want, low, 3*low)
				}
				low *= 3
			}
		})
	}
}

func TestTagRefused(t *testing.T) {
	f := newFront(t, crane(t))
	one, two := f.push(t, "fixed", "one", image(t, commit())), f.push(t, "fixed", "two", image(t, commit()))
	real := f.behind
	for _, c := range []struct {
		name  string
		there bool
		say   http.HandlerFunc
		kind  gitmodels.Kind
		words string
	}{
		{"a code", true, say(400, codes("TAG_INVALID", "the tag is there")), gitmodels.Invalid, "does not move the tag one of " + one.Name + ": 400 Bad Request, TAG_INVALID: the tag is there"},
		{"a status", true, say(412, codes("PRECONDITION", "configured so")), gitmodels.Invalid, "does not move the tag one"},
		{"a conflict", true, say(409, ""), gitmodels.Invalid, "does not move the tag one"},
		{"words", true, say(403, codes("DENIED", "tag is Immutable")), gitmodels.Invalid, "DENIED: tag is Immutable"},
		{"words about a tag that came meanwhile", false, say(400, codes("OTHER", "cannot be overwritten")), gitmodels.Invalid, "does not move the tag new"},
		{"a status about a tag that is not there", false, say(412, codes("PRECONDITION", "no signature")), gitmodels.Waiting, "answers oddly: 412"},
		{"read-only", true, say(405, codes("UNSUPPORTED", "the registry is read-only")), gitmodels.Waiting, "answers oddly: 405 Method Not Allowed, UNSUPPORTED: the registry is read-only"},
		{"no right to push", true, say(403, codes("DENIED", "push is denied")), gitmodels.Forbidden, "refuses " + one.Name},
		{"layers that are gone", true, say(400, codes("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")), gitmodels.NotFound, "blob unknown"},
		{"a server that failed", true, say(500, codes("UNKNOWN", "immutable disk")), gitmodels.Waiting, "does not answer: 500"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.set(func() {
				f.behind = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == "PUT" {
						c.say(w, r)
						return
					}
					real.ServeHTTP(w, r)
				})
			})
			tag := "new"
			if c.there {
				tag = "one"
			}
			wantError(t, client(t, Options{}).Tag(t.Context(), two, tag), c.kind, f.host, c.words)
		})
	}
}

// TestRedirect has manifests and configurations on another host, which must not
// learn who asks.
func TestRedirect(t *testing.T) {
	for _, how := range []string{"basic", "bearer"} {
		t.Run(how, func(t *testing.T) {
			f := newFront(t, crane(t))
			real := f.behind
			i := f.push(t, "moved", "one", image(t, commit()))
			var seen, told atomic.Int64
			other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen.Add(1)
				if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
					told.Add(1)
				}
				real.ServeHTTP(w, r)
			}))
			t.Cleanup(other.Close)
			f.set(func() {
				f.guarded = how
				f.behind = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/v2/" {
						return
					}
					http.Redirect(w, r, other.URL+r.URL.Path+"?signature=abc", http.StatusTemporaryRedirect)
				})
			})
			c := client(t, Options{Credentials: credentials(t, f.host)})
			got, err := c.Image(t.Context(), i.Name, "one")
			must(t, err)
			if got.Digest != i.Digest || seen.Load() < 2 || told.Load() != 0 {
				t.Errorf("%s, %d requests, %d with credentials", got.Digest, seen.Load(), told.Load())
			}
			other.Close()
			_, err = c.Image(t.Context(), i.Name, "one")
			wantError(t, err, gitmodels.Waiting, "does not answer")
			if strings.Contains(err.Error(), "signature") {
				t.Errorf("%v shows a signed address", err)
			}
		})
	}
}

// elsewhere is a transport that reaches a test's server whatever the host.
func elsewhere(s *httptest.Server, roots *tls.Config) *http.Transport {
	return &http.Transport{TLSClientConfig: roots, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.Listener.Addr().String())
	}}
}

// TestTLS asks registries that are not on the loopback interface by their name.
func TestTLS(t *testing.T) {
	const host = "example.com:5000" // the name in httptest's certificate
	f := newFront(t, crane(t))
	i := f.push(t, "safe", "one", image(t, commit()))
	behind := http.HandlerFunc(f.ServeHTTP)
	safe := httptest.NewUnstartedServer(behind)
	safe.Config.ErrorLog = log.New(io.Discard, "", 0)
	safe.StartTLS()
	t.Cleanup(safe.Close)
	roots := safe.Client().Transport.(*http.Transport).TLSClientConfig

	c := client(t, Options{Transport: elsewhere(safe, roots)})
	got, err := c.Image(t.Context(), host+"/safe", "one")
	must(t, err)
	if got.Digest != i.Digest || got.Name != host+"/safe" {
		t.Errorf("%+v", got)
	}
	c = client(t, Options{Transport: elsewhere(safe, nil)})
	_, err = c.Image(t.Context(), host+"/safe", "one")
	wantError(t, err, gitmodels.Waiting, host+" does not answer", "certificate signed by unknown authority")

	f.count("", "")
	for _, private := range []string{host, "10.1.2.3:5000", "192.168.7.7", "registry.localhost:5000"} {
		c = client(t, Options{Transport: elsewhere(f.Server, nil), Credentials: credentials(t, private)})
		_, err = c.Image(t.Context(), private+"/safe", "one")
		wantError(t, err, gitmodels.Waiting, private+" does not answer: ")
	}
	if n := f.count("", ""); n != 0 {
		t.Errorf("plain HTTP was spoken %d times", n)
	}
	c = client(t, Options{Transport: elsewhere(f.Server, nil), Plain: []string{host}})
	_, err = c.Image(t.Context(), host+"/safe", "one")
	must(t, err)

	// A safe registry cannot lead to plain HTTP.
	down := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			http.Redirect(w, r, "http://other.example"+r.URL.Path, http.StatusFound)
		}
	}))
	down.StartTLS()
	t.Cleanup(down.Close)
	c = client(t, Options{Transport: elsewhere(down, roots)})
	_, err = c.Image(t.Context(), host+"/safe", "one")
	wantError(t, err, gitmodels.Waiting, "answers oddly: a redirect to plain HTTP")
}

// TestCancel ends a call of a caller who has gone, in the middle of a request.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := newFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { cancel(); hang(w, r) }))
	_, err := client(t, Options{}).Image(ctx, f.host+"/slow", "one")
	if !errors.Is(err, context.Canceled) || gitmodels.KindOf(err) != gitmodels.Internal {
		t.Errorf("error %v", err)
	}
	slow := newFront(t, http.HandlerFunc(hang))
	_, err = client(t, Options{Timeout: 100 * time.Millisecond}).Image(t.Context(), slow.host+"/slow", "one")
	wantError(t, err, gitmodels.Waiting, "does not answer: no answer in time, 100ms")
}

// TestNothingLogged runs calls that succeed and fail with every log open.
func TestNothingLogged(t *testing.T) {
	var said bytes.Buffer
	for _, l := range []*log.Logger{logs.Warn, logs.Progress, log.Default()} {
		before := l.Writer()
		l.SetOutput(&said)
		t.Cleanup(func() { l.SetOutput(before) })
	}
	f := newFront(t, crane(t))
	i := f.push(t, "logged", "one", image(t, commit()))
	for _, how := range []string{"basic", "bearer"} {
		f.set(func() { f.guarded = how })
		c := client(t, Options{Credentials: credentials(t, f.host), Dir: t.TempDir()})
		must(t, c.Tag(t.Context(), i, how))
		_, err := c.Image(t.Context(), i.Name, "absent")
		wantError(t, err, gitmodels.NotFound)
		_, remove, err := c.AuthFile(t.Context(), i.Name)
		must(t, err)
		must(t, remove())
	}
	wantSilent(t, said.String())
}

func TestBadNames(t *testing.T) {
	c := client(t, Options{})
	for _, name := range []string{"", "dogs", "library/dogs", "host.example/Dogs", "host.example/dogs:tag", "https://host.example/dogs", "host.example/a/../b"} {
		_, err := c.Image(t.Context(), name, "latest")
		wantError(t, err, gitmodels.Invalid, "image ")
	}
	for _, reference := range []string{"", "host.example/Dogs", "https://host.example/dogs"} {
		_, _, err := c.AuthFile(t.Context(), reference)
		wantError(t, err, gitmodels.Invalid, "is not the name of an image")
	}
	for _, tag := range []string{"", "a/b", "-x", "sha256:123", strings.Repeat("x", 129)} {
		_, err := c.Image(t.Context(), "host.example/dogs", tag)
		wantError(t, err, gitmodels.Invalid, "tag ")
	}
	err := c.Tag(t.Context(), gitmodels.Image{Name: "host.example/dogs", Digest: "latest"}, "x")
	wantError(t, err, gitmodels.Invalid, "digest latest")
}

// TestBounded sends answers at the bound and one byte beyond.
func TestBounded(t *testing.T) {
	for _, size := range []int{0, 1, 4 << 20, 4<<20 + 1} {
		f := newFront(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, size)) }))
		g := &guard{base: http.DefaultTransport, plain: true, timeout: 2 * time.Minute}
		req, err := http.NewRequestWithContext(t.Context(), "GET", f.URL, nil)
		must(t, err)
		resp, err := g.RoundTrip(req)
		must(t, err)
		b, err := io.ReadAll(resp.Body)
		must(t, resp.Body.Close())
		if len(b) != min(size, 4<<20) || (err != nil) != (size > 4<<20) || err != nil && !errors.Is(err, errBig) {
			t.Errorf("%d bytes: %d came, %v", size, len(b), err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	got := map[string]time.Duration{}
	for _, h := range []string{"", "5", "0", "-1", "soon", "99999999999999999999", now.Add(90 * time.Second).Format(http.TimeFormat), now.Add(-time.Hour).Format(http.TimeFormat)} {
		got[h] = retryAfter(h, now)
	}
	want := map[string]time.Duration{"": 0, "5": 5 * time.Second, "0": 0, "-1": 0, "soon": 0, "99999999999999999999": 0,
		"Mon, 06 May 2024 07:09:39 GMT": 90 * time.Second, "Mon, 06 May 2024 06:08:09 GMT": 0}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
