package registry

import (
	"fmt"
	"net/http"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// TestContract runs the promises of gitmodels.Registry over every registry that
// can be started here.
func TestContract(t *testing.T) {
	for _, r := range []struct {
		name  string
		start func(*testing.T) http.Handler
	}{{"crane", crane}, {"docker-registry", distribution}} {
		t.Run(r.name, func(t *testing.T) {
			f := newFront(t, r.start(t))
			for _, c := range []struct {
				name string
				test func(*testing.T, *front)
			}{
				{"absent", testAbsent}, {"tag", testTag}, {"latest", testLatest}, {"index", testIndex},
				{"credentials", testCredentials}, {"down and back", testDown}, {"deleted", testDeleted},
				{"concurrent tags", testConcurrent}, {"no image", testNoImage},
			} {
				t.Run(c.name, func(t *testing.T) { c.test(t, f) })
			}
		})
	}
}

func testAbsent(t *testing.T, f *front) {
	c := client(t, Options{})
	_, err := c.Image(t.Context(), f.host+"/never/pushed", "latest")
	wantError(t, err, gitmodels.NotFound, f.host+"/never/pushed:latest is not there")
	there := f.push(t, "absent", "one", image(t, commit()))
	_, err = c.Image(t.Context(), there.Name, "two")
	wantError(t, err, gitmodels.NotFound, "absent:two is not there")
	other, err := image(t, commit()).Digest()
	must(t, err)
	_, err = c.Image(t.Context(), there.Name, other.String())
	wantError(t, err, gitmodels.NotFound, other.String())
	err = c.Tag(t.Context(), gitmodels.Image{Name: there.Name, Digest: other.String()}, "three")
	wantError(t, err, gitmodels.NotFound, other.String())
	if _, err = c.Image(t.Context(), there.Name, "three"); gitmodels.KindOf(err) != gitmodels.NotFound {
		t.Errorf("a tag of nothing was made: %v", err)
	}
}

func testTag(t *testing.T, f *front) {
	c, id := client(t, Options{}), commit()
	img := image(t, id)
	there := f.push(t, "team/tagged", "4f2c1aa", img)
	f.count("", "")
	for range 2 { // the second finds it done
		must(t, c.Tag(t.Context(), there, "12e4567"))
	}
	if n := f.count("PUT", ""); n != 1 {
		t.Errorf("%d PUT, want 1", n)
	}
	size := int64(0)
	layers, err := img.Layers()
	must(t, err)
	for _, l := range layers {
		n, err := l.Size()
		must(t, err)
		size += n
	}
	want := gitmodels.ImageInfo{Image: there, Created: created,
		Labels: map[string]string{gitmodels.LabelRevision: id, gitmodels.LabelSource: "dogs"}}
	want.Size = size
	for _, tag := range []string{"4f2c1aa", "12e4567", there.Digest} {
		got, err := c.Image(t.Context(), there.Name, tag)
		must(t, err)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got)\n%s", tag, d)
		}
	}
	if n := f.count("PUT", "") + f.count("POST", ""); n != 0 {
		t.Errorf("looking wrote %d times", n)
	}
}

func testLatest(t *testing.T, f *front) {
	c := client(t, Options{})
	for _, tag := range []string{"first", "second", "third"} {
		i := f.push(t, "moving", tag, image(t, commit()))
		must(t, c.Tag(t.Context(), i, "latest"))
		got, err := c.Image(t.Context(), i.Name, "latest")
		must(t, err)
		if got.Digest != i.Digest {
			t.Errorf("latest is %s, want %s", got.Digest, i.Digest)
		}
	}
}

// index makes one of images for platforms, with an attestation before them.
func index(t *testing.T, of map[string]v1.Image) v1.ImageIndex {
	t.Helper()
	i := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image(t, commit()),
		Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}})
	for _, arch := range []string{"riscv64", runtime.GOARCH} {
		if img := of[arch]; img != nil {
			i = mutate.AppendManifests(i, mutate.IndexAddendum{Add: img,
				Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
		}
	}
	return i
}

func testIndex(t *testing.T, f *front) {
	c, ours, others := client(t, Options{}), commit(), commit()
	for _, k := range []struct {
		tag  string
		of   map[string]v1.Image
		want string
	}{
		{"both", map[string]v1.Image{"riscv64": image(t, others), runtime.GOARCH: image(t, ours)}, ours},
		{"other", map[string]v1.Image{"riscv64": image(t, others)}, others},
		{"none", nil, ""},
	} {
		all := index(t, k.of)
		digest, err := all.Digest()
		must(t, err)
		i := f.push(t, "indexed", k.tag, all)
		must(t, c.Tag(t.Context(), i, "latest"))
		got, err := c.Image(t.Context(), i.Name, "latest")
		must(t, err)
		if got.Digest != digest.String() || got.Labels[gitmodels.LabelRevision] != k.want || (got.Size > 0) != (k.want != "") {
			t.Errorf("%s: %+v, want the digest %s and the revision %q", k.tag, got, digest, k.want)
		}
	}
}

func testCredentials(t *testing.T, f *front) {
	i := f.push(t, "guarded", "one", image(t, commit()))
	t.Cleanup(func() { f.set(func() { f.guarded = "" }) })
	for _, how := range []string{"basic", "bearer"} {
		f.set(func() { f.guarded = how })
		none := client(t, Options{})
		_, err := none.Image(t.Context(), i.Name, "one")
		wantError(t, err, gitmodels.Forbidden, f.host, "without credentials: there is no file of them")
		wrong := client(t, Options{Credentials: credentials(t, "other.example.com")})
		wantError(t, wrong.Tag(t.Context(), i, "two"), gitmodels.Forbidden, "none for it in "+wrong.o.Credentials)
		right := client(t, Options{Credentials: credentials(t, f.host)})
		must(t, right.Tag(t.Context(), i, "by-"+how))
		got, err := right.Image(t.Context(), i.Name, "by-"+how)
		must(t, err)
		if got.Digest != i.Digest {
			t.Errorf("%s, want %s", got.Digest, i.Digest)
		}
	}
}

func testDown(t *testing.T, f *front) {
	c := client(t, Options{})
	i := f.push(t, "down", "one", image(t, commit()))
	f.set(func() { f.down = true })
	_, err := c.Image(t.Context(), i.Name, "one")
	wantError(t, err, gitmodels.Waiting, "registry: "+f.host+" does not answer: EOF")
	wantError(t, c.Tag(t.Context(), i, "two"), gitmodels.Waiting, "does not answer")
	f.set(func() { f.down = false })
	must(t, c.Tag(t.Context(), i, "two"))
}

func testDeleted(t *testing.T, f *front) {
	c := client(t, Options{})
	i := f.push(t, "deleted", "one", image(t, commit()))
	ref, err := name.NewDigest(i.Ref(), name.Insecure)
	must(t, err)
	must(t, remote.Delete(ref, remote.WithContext(t.Context())))
	_, err = c.Image(t.Context(), i.Name, i.Digest)
	wantError(t, err, gitmodels.NotFound, i.Digest+" is not there")
	wantError(t, c.Tag(t.Context(), i, "two"), gitmodels.NotFound, i.Digest+" is not there")
}

// testConcurrent moves one tag from many sides. docker-registry answers 500 to one
// who reads it in the moment in which another writes it: that is Waiting, and the
// caller comes again.
func testConcurrent(t *testing.T, f *front) {
	c := client(t, Options{})
	c.pause = pause
	var images []gitmodels.Image
	for _, tag := range []string{"a", "b", "c", "d"} {
		images = append(images, f.push(t, "crowd", tag, image(t, commit())))
	}
	var all sync.WaitGroup
	for n := range 24 {
		all.Go(func() {
			err := c.Tag(t.Context(), images[n%len(images)], "latest")
			for gitmodels.KindOf(err) == gitmodels.Waiting && t.Context().Err() == nil {
				err = c.Tag(t.Context(), images[n%len(images)], "latest")
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	got, err := c.Image(t.Context(), images[0].Name, "latest")
	must(t, err)
	if !slices.ContainsFunc(images, func(i gitmodels.Image) bool { return i.Digest == got.Digest }) {
		t.Errorf("latest is %s, none of ours", got.Digest)
	}
}

// testNoImage looks at an artifact: it has a digest and no labels.
func testNoImage(t *testing.T, f *front) {
	artifact := mutate.ConfigMediaType(image(t, commit()), "application/vnd.example.chart+json")
	want, err := partial.Descriptor(artifact)
	must(t, err)
	i := f.push(t, "artifact", "one", artifact)
	got, err := client(t, Options{}).Image(t.Context(), i.Name, "one")
	must(t, err)
	if got.Digest != want.Digest.String() || got.Labels != nil {
		t.Errorf("%+v", got)
	}
}

// TestFullDisk tags where nothing more can be written: the run waits.
func TestFullDisk(t *testing.T) {
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip("unshare is not installed")
	}
	if out, err := exec.Command("unshare", "--mount", "true").CombinedOutput(); err != nil {
		t.Skipf("no mounts of our own here: %s", out)
	}
	const small = `mount -t tmpfs -o size=64k tmpfs "$(dirname "$1")/data" && exec docker-registry serve "$1"`
	h, _ := startDistribution(t, "unshare", "--mount", "sh", "-c", small, "sh")
	f, c := newFront(t, h), client(t, Options{})
	i := f.push(t, "full", "one", image(t, commit()))
	var err error
	for n := 0; err == nil && n < 200; n++ {
		err = c.Tag(t.Context(), i, "more-"+commit())
	}
	wantError(t, err, gitmodels.Waiting, "registry: "+f.host+" does not answer: 500")
	got, err := c.Image(t.Context(), i.Name, "one")
	must(t, err)
	if got.Digest != i.Digest {
		t.Errorf("%s, want %s", got.Digest, i.Digest)
	}
}

// TestStopped asks a docker-registry whose process is gone.
func TestStopped(t *testing.T) {
	h, stop := startDistribution(t, "docker-registry", "serve")
	f, c := newFront(t, h), client(t, Options{})
	i := f.push(t, "stopped", "one", image(t, commit()))
	stop()
	_, err := c.Image(t.Context(), i.Name, "one")
	wantError(t, err, gitmodels.Waiting, "registry: "+f.host+" does not answer: 502")
	nobody := unheard(t)
	_, err = c.Image(t.Context(), nobody+"/stopped", "one")
	wantError(t, err, gitmodels.Waiting, "registry: "+nobody+" does not answer", "connection refused")
}

// unheard is a port that nobody listens on and nobody else can take meanwhile.
func unheard(t *testing.T) (host string) {
	t.Helper()
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { must(t, syscall.Close(s)) })
	must(t, syscall.Bind(s, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	at, err := syscall.Getsockname(s)
	must(t, err)
	return fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
}
