package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// TestContract runs the contract over every builder that can be started here.
func TestContract(t *testing.T) {
	drivers := []struct {
		name   string
		driver driver
	}{
		{"buildah", containers{"buildah"}}, {"podman", containers{"podman"}}, {"buildx", buildx{}},
		{"docker", docker{}}, {"docker-classic", docker{classic: true}},
	}
	t.Run("over", func(t *testing.T) {
		for _, d := range drivers {
			t.Run(d.name, func(t *testing.T) {
				t.Parallel()
				overContract(t, d.name, d.driver)
			})
		}
	})
	nothingLeftAtAll(t)
}

// overContract runs the contract over one builder.
func overContract(t *testing.T, name string, d driver) {
	program, _, _ := strings.Cut(name, "-")
	if (program == "docker" || program == "buildx") && noDocker != "" {
		t.Skip(noDocker)
	}
	o := testOptions()
	o.Storage = t.TempDir()
	open, err := New(program, o)
	if err != nil {
		t.Fatal(err)
	}
	b := open.(*builder)
	b.driver = d
	if err := b.Check(t.Context()); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { emptyStorage(t, b) })
	host := serveRegistry(t, "", "")
	for _, c := range contract {
		if c.over != nil && !slices.Contains(c.over, name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			if c.slow {
				t.Parallel()
				c.test(&rig{T: t, b: b, o: o, host: host})
				return
			}
			c.test(&rig{T: t, b: b, o: o, host: host})
			nothingLeft(t, b)
		})
	}
}

var contract = []struct {
	name string
	test func(r *rig)
	slow bool     // it waits for others, and so runs beside the other slow ones
	over []string // the builders, where one stands for all
}{
	{name: "cancel", test: testCancel},
	{name: "pushes", test: testPushes},
	{name: "secrets", test: testSecrets},
	{name: "failing step", test: testFailingStep},
	{name: "missing base", test: testMissingBase},
	{name: "base wants credentials", test: testBaseCredentials},
	{name: "missing source", test: testMissingSource},
	{name: "bad instruction", test: testBadInstruction},
	{name: "refresh", test: testRefresh},
	{name: "disk", test: testDisk},
	{name: "sweep", test: testSweep, over: []string{"buildah", "podman", "docker-classic"}},
	{name: "many processes", test: testManyProcesses, over: one},
	{name: "prints much", test: testPrints, over: one},
	{name: "hostile member", test: testHostileMember, over: one},
	{name: "broken stream", test: testBrokenStream, over: one},
	{name: "registry down", test: testRegistryDown, slow: true},
	{name: "wrong credentials", test: testWrongCredentials, slow: true},
}

// one builder of each kind: a program that is given a folder, and a daemon that
// is given a stream.
var one = []string{"buildah", "docker-classic"}

// testPushes builds and pushes to a registry that wants credentials, with all
// that a build may be given, and looks at what a step sees and what was pushed.
// Equal inputs give the same digest. With docker the cache in the registry alone
// gives the same layers, which without it it could not, as files have other times.
func testPushes(r *rig) {
	r.host = serveRegistry(r.T, "anna", "pass-for-anna")
	ofHost := filepath.Join(testDir, "of-the-host")
	if err := os.WriteFile(ofHost, []byte("a file of the host"), 0o644); err != nil {
		r.Fatal(err)
	}
	cache := map[string]string{"docker": "inline", "buildah": "registry"}[r.b.Builder()]
	var out bytes.Buffer
	asked := func() gitmodels.Build {
		b := r.build("ARG WORD=none\nCOPY data /data\nRUN echo \"word $WORD\" > /word; cat /proc/1/environ /proc/self/environ; ls / /root /run /proc/1/root; cat "+
			ofHost+" /proc/1/root"+ofHost+" || echo no such file there\n", file("data/a.txt", "a\n"))
		b.AuthFile = authFile(r.T, r.host, "anna", "pass-for-anna")
		b.Args = map[string]string{"WORD": "two words, a comma"}
		b.Labels = map[string]string{gitmodels.LabelCreated: "2026-11-28T06:00:00Z", "note": `with "quotes" = and $X`}
		b.Cache, b.CacheFrom = cache, []string{r.host + "/models/dogs:nothing-here"}
		b.Log = &out
		return b
	}
	b := asked()
	image, pushed := r.must(b)
	r.sameAs(image, pushed, b)
	if !strings.Contains(out.String(), "no such file there") {
		r.Errorf("the step did not look:\n%s", tail(out.String()))
	}
	for _, secret := range []string{"pass-for-anna", "config.json", "DOCKER_CONFIG", testDir + "/build-", "a file of the host"} {
		if strings.Contains(out.String(), secret) {
			r.Errorf("a step sees %s:\n%s", secret, tail(out.String()))
		}
	}
	out.Reset()
	if r.b.(*builder).driver == (docker{}) {
		// What BuildKit writes of its inline cache may differ: only layers stay equal.
	} else if again, _ := r.must(asked()); image != again {
		r.Errorf("equal inputs gave %s, then %s; log:\n%s", image.Ref(), again.Ref(), tail(out.String()))
	}
	if cache == "inline" {
		forgetLayers(r, b.Image)
		out.Reset()
		b = asked()
		b.CacheFrom = []string{b.Image}
		_, again := r.must(b)
		if diff := cmp.Diff(layersOf(r.T, pushed), layersOf(r.T, again)); diff != "" {
			r.Errorf("layers were made anew: %s; log:\n%s", diff, tail(out.String()))
		}
	}
}

// sameAs compares what was pushed with what was asked for and told.
func (r *rig) sameAs(image gitmodels.Image, pushed v1.Image, b gitmodels.Build) {
	r.Helper()
	digest, err := pushed.Digest()
	if err != nil {
		r.Fatal(err)
	}
	if image.Digest != digest.String() || image.Name != r.host+"/models/dogs" {
		r.Errorf("got %s, the registry has %s", image.Ref(), digest)
	}
	config, err := pushed.ConfigFile()
	if err != nil {
		r.Fatal(err)
	}
	for name, value := range b.Labels {
		if config.Config.Labels[name] != value {
			r.Errorf("label %s is %q, want %q", name, config.Config.Labels[name], value)
		}
	}
	files := filesOf(r.T, pushed)
	if got := files["word"]; got != "word two words, a comma\n" {
		r.Errorf("the step made %q", got)
	}
	if got := files["data/a.txt"]; got != "a\n" {
		r.Errorf("the context's file is %q", got)
	}
}

// testFailingStep checks the words for a step that fails, and that what it prints
// does nothing to who reads them and is not taken for a full disk.
func testFailingStep(r *rig) {
	e := r.fails(r.build("\n# a comment\nRUN echo all fine >&2 && \\\n    echo -e 'bad \\033[31mred\\033]0;title\\007 \\xe2\\x80\\xaeevil: No space left on device\\r' >&2 && exit 3\n"), gitmodels.Invalid,
		"ended with status 3", "RUN echo all fine", "(line 5 of src/Dockerfile)", ": bad ", "evil: No space left on device")
	for _, c := range e.Message {
		if c < 0x20 || c == 0x7f || c == '\u202e' {
			r.Errorf("message %q holds %q", e.Message, c)
		}
	}
	r.Log(e.Message)
}

// testRefresh moves the tag of a base image between two builds.
func testRefresh(r *rig) {
	move := func(to string) {
		layer, err := crane.Layer(map[string][]byte{"which": []byte(to)})
		if err != nil {
			r.Fatal(err)
		}
		image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, RootFS: v1.RootFS{Type: "layers"}})
		if err == nil {
			image, err = mutate.AppendLayers(image, layer)
		}
		if err != nil {
			r.Fatal(err)
		}
		if err := crane.Push(image, r.host+"/models/base:1", crane.Insecure); err != nil {
			r.Fatal(err)
		}
	}
	for _, c := range []struct {
		base    string
		refresh bool
	}{{"first", false}, {"second", true}} {
		move(c.base)
		b := r.build("")
		b.Context = bytes.NewReader(archive(r.T, file("src/Dockerfile", "FROM "+r.host+"/models/base:1\nCOPY src /src\n")))
		b.Refresh = c.refresh
		if _, pushed := r.must(b); filesOf(r.T, pushed)["which"] != c.base {
			r.Errorf("want the %s base, got the other", c.base)
		}
	}
}

// testDisk asks for more space than there is.
func testDisk(r *rig) {
	was := r.b.(*builder)
	o := was.o
	o.NeedFree = 1 << 60
	r.b = &builder{was.name, o, was.driver}
	r.Log(r.fails(r.build(""), gitmodels.Waiting, "builder: disk: ", " free, a build wants 1073741824.0 GiB").Message)
}

func testMissingBase(r *rig) {
	b := r.build("")
	b.Context = bytes.NewReader(archive(r.T, file("src/Dockerfile", "FROM "+r.host+"/models/nothing:1\n")))
	r.Log(r.fails(b, gitmodels.Invalid, "no such image", "/models/nothing:1", "(line 1 of src/Dockerfile)").Message)
}

func testBaseCredentials(r *rig) {
	host := serveRegistry(r.T, "anna", "pass-for-anna")
	b := r.build("")
	b.Context = bytes.NewReader(archive(r.T, file("src/Dockerfile", "FROM "+host+"/models/base:1\n")))
	if strings.HasPrefix(r.b.Builder(), "docker") {
		r.Log(r.fails(b, gitmodels.Forbidden, "credentials", host).Message)
		return
	}
	// The others speak plain HTTP to the image's own registry alone.
	b.Image = host + "/models/dogs:1"
	r.Log(r.fails(b, gitmodels.Forbidden, "credentials", host).Message)
}

func testMissingSource(r *rig) {
	r.Log(r.fails(r.build("COPY nowhere /nowhere\n"), gitmodels.Invalid, "COPY nowhere /nowhere", "(line 3 of src/Dockerfile)").Message)
}

func testBadInstruction(r *rig) {
	r.Log(r.fails(r.build("RUNN true\n"), gitmodels.Invalid, "RUNN").Message)
}

func testRegistryDown(r *rig) {
	b := r.build("")
	b.Image = deadHost(r.T) + "/models/dogs:1"
	r.Log(r.fails(b, gitmodels.Waiting, "does not answer", strings.Split(b.Image, "/")[0]).Message)
}

func testWrongCredentials(r *rig) {
	host := serveRegistry(r.T, "anna", "pass-for-anna")
	b := r.build("")
	b.Image, b.AuthFile = host+"/models/dogs:1", authFile(r.T, host, "anna", "guessed-password")
	var out bytes.Buffer
	b.Log = &out
	e := r.fails(b, gitmodels.Forbidden, host, "credentials")
	if strings.Contains(fmt.Sprint(e, e.Err), "guessed-password") {
		r.Errorf("the error tells the password: %v", e)
	}
	if strings.Contains(out.String(), "Retrying in 20 seconds") {
		r.Errorf("docker tried until it gave up:\n%s", tail(out.String()))
	}
}

// hanging is a build whose step does not end.
type hanging struct {
	mark   string // the last argument of its processes
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when Build has returned err
	err    error
}

// hang starts a build of the step, in which MARK stands for a word of its own,
// and waits until n processes of it run.
func (r *rig) hang(n int, instruction string) *hanging {
	r.Helper()
	h := &hanging{mark: fmt.Sprintf("%d.%d", 40000+hangs.Add(1), os.Getpid()), done: make(chan struct{})}
	b := r.build(strings.ReplaceAll(instruction, "MARK", h.mark))
	ctx, cancel := context.WithCancelCause(context.Background())
	h.cancel = cancel
	out := &lockedBuffer{}
	b.Log = out
	go func() {
		defer close(h.done)
		_, h.err = r.b.Build(ctx, b)
	}()
	r.Cleanup(func() {
		cancel(nil)
		h.wait(r.T)
	})
	until(r.T, "the step runs", func() bool {
		select {
		case <-h.done:
			r.Fatalf("ended early: %v; log:\n%s", words(h.err), tail(out.String()))
		default:
		}
		return len(running(h.mark)) >= n
	})
	return h
}

var hangs atomic.Int64

// wait waits until Build has returned.
func (h *hanging) wait(t *testing.T) error {
	t.Helper()
	until(t, "Build returns", func() bool {
		select {
		case <-h.done:
			return true
		default:
			return false
		}
	})
	return h.err
}

// gone checks that nothing of the step runs after Build returned.
func (r *rig) gone(h *hanging) {
	r.Helper()
	if r.b.(*builder).driver == (docker{}) {
		// Steps of BuildKit are the daemon's own; it ends them once the client has gone.
		until(r.T, "the step is gone", func() bool { return len(running(h.mark)) == 0 })
	}
	if left := running(h.mark); len(left) > 0 {
		r.Errorf("processes %v still run", left)
	}
}

// testCancel ends a build while a step sleeps in the foreground, another process
// behind it that does not heed SIGTERM, and one in a session of its own.
func testCancel(r *rig) {
	h := r.hang(3, "RUN (trap '' TERM; sleep MARK) & setsid sleep MARK & sleep MARK\n")
	h.cancel(context.DeadlineExceeded)
	e := (*gitmodels.Error)(nil)
	if err := h.wait(r.T); !errors.As(err, &e) || e.Kind != gitmodels.Invalid || !strings.Contains(e.Message, "over its time limit in step") || !strings.Contains(e.Message, h.mark) {
		r.Errorf("got %v", words(err))
	}
	r.gone(h)
}

// testManyProcesses cancels a step that has started a hundred processes, each in
// a session of its own.
func testManyProcesses(r *rig) {
	h := r.hang(100, "RUN for i in $(seq 100); do setsid sleep MARK & done; sleep MARK\n")
	cause := &gitmodels.Error{Kind: gitmodels.Invalid, Op: "test", Message: "cancelled by anna"}
	h.cancel(cause)
	if err := h.wait(r.T); !errors.Is(err, error(cause)) {
		r.Errorf("got %v, want the cause", words(err))
	}
	r.gone(h)
}

// counter counts and keeps nothing.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

// testPrints has a step print more than any buffer holds, on one line.
func testPrints(r *rig) {
	// A word of its own, as docker would take the step from its cache.
	b := r.build(fmt.Sprintf("RUN dd if=/dev/zero bs=1048576 count=8 2>/dev/null; echo %d\n", hangs.Add(1)))
	c := &counter{}
	b.Log = c
	if _, err := r.run(b); err != nil {
		r.Fatal(words(err))
	}
	if c.n < 8<<20 {
		r.Errorf("the log got %d bytes, want at least 8 MiB", c.n)
	}
}

func testHostileMember(r *rig) {
	r.fails(r.build("", link("src/link", "../../etc/passwd")), gitmodels.Invalid, "src/link", "leads out of the context")
}

func testBrokenStream(r *rig) {
	b := r.build("")
	whole, err := io.ReadAll(b.Context)
	if err != nil {
		r.Fatal(err)
	}
	b.Context = bytes.NewReader(whole[:len(whole)/2])
	r.fails(b, gitmodels.Internal)
	b.Context = strings.NewReader(strings.Repeat("no tar ", 1000))
	r.fails(b, gitmodels.Invalid, "no tar stream")
}

func testSecrets(r *rig) {
	const secret = "s3cret-of-the-build"
	p := filepath.Join(r.TempDir(), "token")
	if err := os.WriteFile(p, []byte(secret), 0o600); err != nil {
		r.Fatal(err)
	}
	b := r.build("RUN --mount=type=secret,id=token cat /run/secrets/token | { read -r x; echo \"${#x} characters\"; }\n")
	b.Secrets = map[string]string{"token": p}
	if r.b.(*builder).driver == (docker{classic: true}) {
		r.fails(b, gitmodels.Waiting, "classic builder", "buildah")
		return
	}
	var out bytes.Buffer
	b.Log = &out
	_, pushed := r.must(b)
	if !strings.Contains(out.String(), fmt.Sprintf("%d characters", len(secret))) {
		r.Errorf("the step did not see the secret:\n%s", tail(out.String()))
	}
	raw, err := pushed.RawConfigFile()
	if err != nil {
		r.Fatal(err)
	}
	if strings.Contains(string(raw)+out.String()+fmt.Sprint(filesOf(r.T, pushed)), secret) {
		r.Error("the secret is in the image or the log")
	}
}
