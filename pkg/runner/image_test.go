package runner_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/google/go-cmp/cmp"
)

// pictures is a registry and the builder that pushes to it, on a script.
type pictures struct {
	mu     sync.Mutex
	tags   map[string]gitmodels.ImageInfo // by name:tag
	builds []gitmodels.Build
	files  []map[string]string // of each build's context
	tagged []string
	bases  map[string]string // digests by reference
	left   int               // files with credentials that were not removed

	build func(ctx context.Context, b gitmodels.Build) error // nil: it works
	look  func(tag string) error
	tag   func(tag string) error
}

func (p *pictures) Builder() string             { return "scripted" }
func (p *pictures) Check(context.Context) error { return nil }

func (p *pictures) Build(ctx context.Context, b gitmodels.Build) (gitmodels.Image, error) {
	files := map[string]string{}
	for in := tar.NewReader(b.Context); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return gitmodels.Image{}, err
		}
		data, err := io.ReadAll(in)
		if err != nil {
			return gitmodels.Image{}, err
		}
		if h.Typeflag == tar.TypeReg {
			files[h.Name] = string(data)
		}
	}
	p.mu.Lock()
	p.builds, p.files = append(p.builds, b), append(p.files, files)
	n := len(p.builds)
	p.mu.Unlock()
	fmt.Fprintln(b.Log, "step 1/1 FROM scratch")
	if p.build != nil {
		if err := p.build(ctx, b); err != nil {
			return gitmodels.Image{}, err
		}
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(b.Image, "reg.example:5000/"), ":")
	image := gitmodels.Image{Name: "reg.example:5000/" + name, Digest: fmt.Sprintf("sha256:%064x", n), Size: 100}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tags[b.Image] = gitmodels.ImageInfo{Image: image, Labels: maps.Clone(b.Labels)}
	return image, nil
}

func (p *pictures) Image(_ context.Context, name, tag string) (gitmodels.ImageInfo, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.look != nil {
		if err := p.look(tag); err != nil {
			return gitmodels.ImageInfo{}, err
		}
	}
	info, ok := p.tags[name+":"+tag]
	for _, other := range p.tags {
		if other.Digest == tag {
			info, ok = other, true
		}
	}
	if !ok {
		return info, &gitmodels.Error{Kind: gitmodels.NotFound, Message: "there is no tag " + tag}
	}
	return info, nil
}

func (p *pictures) Tag(_ context.Context, i gitmodels.Image, tag string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tag != nil {
		if err := p.tag(tag); err != nil {
			return err
		}
	}
	for _, info := range p.tags {
		if info.Digest == i.Digest {
			p.tags[i.Name+":"+tag] = info
			p.tagged = append(p.tagged, tag)
			return nil
		}
	}
	return &gitmodels.Error{Kind: gitmodels.NotFound, Message: "there is no image " + i.Digest}
}

func (p *pictures) Digest(_ context.Context, reference string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d, ok := p.bases[reference]; ok {
		return d, nil
	}
	return "", &gitmodels.Error{Kind: gitmodels.NotFound, Message: "there is no " + reference}
}

func (p *pictures) SpeaksPlain(string) bool { return false }

func (p *pictures) AuthFile(context.Context, ...string) (string, func() error, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left++
	return "/run/auth.json", func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.left--
		return nil
	}, nil
}

// picturedSite has a repository whose commits train in an image.
func picturedSite(t *testing.T) (*site, *pictures) {
	t.Helper()
	s := newSite(t)
	p := &pictures{tags: map[string]gitmodels.ImageInfo{}}
	s.configure("[models]\n\tengine = container\n\tregistry = reg.example:5000\n")
	s.cfg.Trainers = map[string]gitmodels.Trainer{"container": s.trainer}
	s.cfg.Registry = func(string) gitmodels.Registry { return p }
	s.cfg.Builder = func(context.Context, string) (gitmodels.Builder, error) { return p, nil }
	s.file(s.work, "src/Dockerfile", "FROM scratch\nCOPY . /\n")
	s.file(s.work, "src/.dockerignore", "secret\nDockerfile\n")
	s.file(s.work, "src/secret", "s\n")
	s.file(s.work, "deploy/train-config.yaml", "lr: 1\n")
	s.commit(s.work, "an image")
	return s, p
}

// params commits a change of nothing but the parameters.
func (s *site) params(text string) gitmodels.CommitID {
	s.t.Helper()
	s.file(s.work, "deploy/train-config.yaml", text)
	return s.commit(s.work, "parameters")
}

// An image is built once for what goes into it; a push that changes only the
// parameters trains in the same one, found by its key.
func TestImageBuiltAndReused(t *testing.T) {
	t.Parallel()
	s, p := picturedSite(t)
	first := s.push(models)
	s.untilIdle()
	row := s.show(first)
	if *row.State != gitmodels.Succeeded || row.Image == nil || *row.Image != "reg.example:5000/dogs" || *row.Digest != fmt.Sprintf("sha256:%064x", 1) || !*row.Built {
		t.Fatalf("%s: %s, image %v %v built %v", *row.State, *row.Cause, row.Image, row.Digest, row.Built)
	}
	b := p.builds[0]
	if b.Image != "reg.example:5000/dogs:"+row.Short || b.Dockerfile != "Dockerfile" || b.Labels[gitmodels.LabelRevision] != string(first) ||
		b.Labels[gitmodels.LabelBuildKey] != *row.BuildKey || b.AuthFile != "/run/auth.json" || len(b.Args) != 0 {
		t.Errorf("build %+v", b)
	}
	want := map[string]string{"Dockerfile": "FROM scratch\nCOPY . /\n", "train.py": "print('hello')\n", ".dockerignore": "secret\nDockerfile\n"}
	if diff := cmp.Diff(want, p.files[0]); diff != "" {
		t.Errorf("context (-want +got):\n%s", diff)
	}
	if want := []string{row.Short, "key-" + (*row.BuildKey)[:40], "latest"}; !slices.Equal(p.tagged, want) {
		t.Errorf("tags %q, want %q", p.tagged, want)
	}
	if !strings.Contains(s.stored(row, "build.log"), "step 1/1 FROM scratch") {
		t.Error("the log lacks what the builder said")
	}

	second := s.params("lr: 2\n")
	s.push(models)
	s.untilIdle()
	again := s.show(second)
	if len(p.builds) != 1 || *again.Built || *again.Digest != *row.Digest || *again.BuildKey != *row.BuildKey {
		t.Errorf("%d builds; built %t", len(p.builds), *again.Built)
	}
	if log := s.stored(again, "build.log"); !strings.Contains(log, "image: reused from "+row.Short+", no build") || !strings.Contains(log, "latest: latest was "+row.Short+", an ancestor") {
		t.Errorf("log:\n%s", log)
	}
	if _, ok := p.tags["reg.example:5000/dogs:"+again.Short]; !ok {
		t.Error("the image has no tag of the second run")
	}

	s.change("other")
	third := s.push(models)
	s.untilIdle()
	if row := s.show(third); len(p.builds) != 2 || !*row.Built || *row.BuildKey == *again.BuildKey {
		t.Errorf("a change of the context: %d builds", len(p.builds))
	}
	if p.left != 0 {
		t.Errorf("%d files with credentials stay", p.left)
	}
}

// What goes into the build makes its key: the arguments, the Dockerfile wherever
// it lies, and the commit only where the Dockerfile asks for it.
func TestImageKey(t *testing.T) {
	t.Parallel()
	s, p := picturedSite(t)
	s.file(s.work, ".models.yaml", "train:\n  command: [x]\nbuild:\n  dockerfile: docker/Dockerfile\n  args: {A: b}\n")
	s.file(s.work, "docker/Dockerfile", "FROM scratch\nARG A\nARG GIT_COMMIT\n")
	s.commit(s.work, "a Dockerfile elsewhere")
	first := s.push(models)
	s.untilIdle()
	if row := s.show(first); *row.State != gitmodels.Succeeded {
		t.Fatalf("%s", *row.Cause)
	}
	if got := p.files[0][p.builds[0].Dockerfile]; got != "FROM scratch\nARG A\nARG GIT_COMMIT\n" {
		t.Errorf("the builder finds %q", got)
	}
	if diff := cmp.Diff(map[string]string{"A": "b", "GIT_COMMIT": string(first)}, p.builds[0].Args); diff != "" {
		t.Error(diff)
	}
	second := s.params("lr: 3\n")
	s.push(models)
	s.untilIdle()
	if row := s.show(second); len(p.builds) != 2 || !*row.Built {
		t.Error("an image that knows its commit was taken for another one")
	}
	s.file(s.work, "docker/Dockerfile", "FROM scratch\nARG A\n")
	s.commit(s.work, "no commit")
	s.push(models)
	s.params("lr: 4\n")
	last := s.push(models)
	s.untilIdle()
	if row := s.show(last); len(p.builds) != 3 || *row.Built {
		t.Errorf("%d builds", len(p.builds))
	}
}

// A run that was interrupted between its push and the record finds its image; one
// that is somebody else's, or was made of something else, is not taken.
func TestImageAdopted(t *testing.T) {
	t.Parallel()
	s, p := picturedSite(t)
	fails := 1
	p.tag = func(tag string) error {
		if fails--; fails >= 0 {
			return errors.New("the connection broke")
		}
		return nil
	}
	first := s.push(models)
	s.untilIdle()
	row := s.show(first)
	if *row.State != gitmodels.Succeeded || len(p.builds) != 1 || !*row.Built {
		t.Errorf("%s after %d builds", *row.State, len(p.builds))
	}
	for name, info := range p.tags {
		info.Labels = map[string]string{gitmodels.LabelRevision: string(first), gitmodels.LabelBuildKey: "another"}
		p.tags[name] = info
	}
	second := s.params("lr: 2\n")
	s.push(models)
	s.untilIdle()
	if row := s.show(second); len(p.builds) != 2 || !*row.Built {
		t.Errorf("%d builds", len(p.builds))
	}
}

// How a build can end otherwise, in words; nothing of it touches other runs.
func TestImageFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		build     func(ctx context.Context, b gitmodels.Build) error
		configure string
		dockerish map[string]string
		state     gitmodels.State
		cause     string
	}{
		"the commit's": {build: func(context.Context, gitmodels.Build) error {
			return &gitmodels.Error{Kind: gitmodels.Invalid, Message: "build: step 2/2 RUN false ended with status 1"}
		}, state: gitmodels.Failed, cause: "build: step 2/2 RUN false ended with status 1"},
		"time": {build: func(ctx context.Context, _ gitmodels.Build) error { <-ctx.Done(); return ctx.Err() },
			configure: "[models \"timeout\"]\n\tbuild = 1s\n", state: gitmodels.Failed, cause: "the build was ended after 1s (models.timeout.build)"},
		"a name": {dockerish: map[string]string{"deploy/sagemaker-job-config.yaml": "aws: {ecr_repository: '-dogs'}\n"},
			state: gitmodels.Failed, cause: "-dogs is no name of an image"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := picturedSite(t)
			s.configure("[models]\n\tengine = container\n\tregistry = reg.example:5000\n" + c.configure)
			for path, text := range c.dockerish {
				s.file(s.work, path, text)
			}
			s.commit(s.work, "more")
			p.build = c.build
			id := s.push(models)
			s.untilIdle()
			row := s.show(id)
			if *row.State != c.state || !strings.Contains(*row.Cause, c.cause) {
				t.Errorf("%s: %s", *row.State, *row.Cause)
			}
			if p.left != 0 {
				t.Errorf("%d files with credentials stay", p.left)
			}
		})
	}
}

// A registry that is away, or none at all, is waited for.
func TestImageWaits(t *testing.T) {
	t.Parallel()
	s, p := picturedSite(t)
	var mu sync.Mutex
	away := true
	p.look = func(string) error {
		mu.Lock()
		defer mu.Unlock()
		if away {
			return &gitmodels.Error{Kind: gitmodels.Waiting, Message: "registry: reg.example:5000 does not answer"}
		}
		return nil
	}
	id := s.push(models)
	v := s.serve()
	s.await("the push to be recorded", func() bool { return s.state(id) != "" })
	s.await("the run to wait", func() bool {
		row := s.show(id)
		return row.Waiting != nil && strings.Contains(*row.Waiting, "registry: reg.example:5000 does not answer")
	})
	mu.Lock()
	away = false
	mu.Unlock()
	s.await("the run to end", func() bool { return s.show(id).State.Terminal() })
	v.end()
	if row := s.show(id); *row.State != gitmodels.Succeeded {
		t.Errorf("%s: %s", *row.State, *row.Cause)
	}
}

// A cancel ends a build that is under way.
func TestImageCancelled(t *testing.T) {
	t.Parallel()
	s, p := picturedSite(t)
	begun := make(chan struct{})
	p.build = func(ctx context.Context, _ gitmodels.Build) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}
	id := s.push(models)
	v := s.serve()
	select {
	case <-begun:
	case <-time.After(patience):
		t.Fatal("no build")
	}
	if _, err := s.ledger.Cancel(t.Context(), s.show(id).RunID, "ada"); err != nil {
		t.Fatal(err)
	}
	s.await("the run to end", func() bool { return s.show(id).State.Terminal() })
	v.end()
	if row := s.show(id); *row.State != gitmodels.Cancelled {
		t.Errorf("%s: %s", *row.State, *row.Cause)
	}
}

// The tag latest stays where it is ahead, and where the registry keeps it.
func TestImageLatest(t *testing.T) {
	t.Parallel()
	s, p := picturedSite(t)
	first := s.push(models)
	s.change("second")
	s.push(models)
	s.untilIdle()
	newest := p.tags["reg.example:5000/dogs:latest"].Digest
	if _, err := s.ledger.Rerun(t.Context(), s.repo.ID, first, "ada", 7); err != nil {
		t.Fatal(err)
	}
	s.untilIdle()
	row := s.show(first)
	if got := p.tags["reg.example:5000/dogs:latest"].Digest; got != newest || *row.Attempt != 2 {
		t.Errorf("latest moved back to %s", got)
	}
	p.tag = func(tag string) error {
		if tag == "latest" {
			return &gitmodels.Error{Kind: gitmodels.Invalid, Message: "tag latest is immutable"}
		}
		return nil
	}
	s.change("third")
	third := s.push(models)
	s.untilIdle()
	if row := s.show(third); *row.State != gitmodels.Succeeded || !strings.Contains(s.stored(row, "build.log"), "latest: tag latest is immutable") {
		t.Errorf("%s", *row.State)
	}
}

// With build.refresh an image is built anew when a base image has moved, and for
// that alone.
func TestImageRefresh(t *testing.T) {
	t.Parallel()
	s, p := picturedSite(t)
	p.bases = map[string]string{"reg.example:5000/base:3": "sha256:aa"}
	s.file(s.work, "src/Dockerfile", "ARG V=3\nFROM reg.example:5000/base:$V AS a\nFROM a\nCOPY --from=a /x /y\n")
	s.file(s.work, ".models.yaml", "train: {command: [x]}\nbuild: {refresh: true}\n")
	s.commit(s.work, "a base")
	s.push(models)
	s.untilIdle()
	s.params("lr: 2\n")
	s.push(models)
	s.untilIdle()
	if len(p.builds) != 1 || !p.builds[0].Refresh {
		t.Fatalf("%d builds", len(p.builds))
	}
	p.bases["reg.example:5000/base:3"] = "sha256:bb"
	s.params("lr: 3\n")
	third := s.push(models)
	s.untilIdle()
	if row := s.show(third); len(p.builds) != 2 || !*row.Built {
		t.Errorf("%d builds", len(p.builds))
	}
	delete(p.bases, "reg.example:5000/base:3")
	s.params("lr: 4\n")
	last := s.push(models)
	s.untilIdle()
	if row := s.show(last); *row.State != gitmodels.Failed || *row.Cause != "src/Dockerfile: the base image reg.example:5000/base:3 is not there" {
		t.Errorf("%s: %s", *row.State, *row.Cause)
	}
}

// Secrets come by their files, and are waited for when others may read them; the
// cache is what is newest, and what this ref had last.
func TestImageSecretsAndCache(t *testing.T) {
	t.Parallel()
	s, p := picturedSite(t)
	secret := filepath.Join(t.TempDir(), "netrc")
	if err := os.WriteFile(secret, []byte("hunter2"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.configure("[models]\n\tengine = container\n\tregistry = reg.example:5000\n\tbuildSecrets = netrc=" + secret + "\n")
	first := s.push(models)
	v := s.serve()
	s.await("the run to wait", func() bool {
		row, err := s.ledger.Show(t.Context(), s.repo.ID, first)
		return err == nil && row.Waiting != nil && strings.Contains(*row.Waiting, "models.buildSecrets: "+secret+" has mode 0644")
	})
	if err := os.Chmod(secret, 0o600); err != nil {
		t.Fatal(err)
	}
	s.await("the run to end", func() bool { return s.show(first).State.Terminal() })
	v.end()
	s.change("second")
	second := s.push(models)
	s.untilIdle()
	if row := s.show(second); *row.State != gitmodels.Succeeded || len(p.builds) != 2 {
		t.Fatalf("%s: %s", *row.State, *row.Cause)
	}
	if got := p.builds[0].Secrets; len(got) != 1 || got["netrc"] != secret {
		t.Errorf("secrets %v", got)
	}
	want := []string{"reg.example:5000/dogs:latest", "reg.example:5000/dogs@" + *s.show(first).Digest}
	if diff := cmp.Diff([][]string{nil, want}, [][]string{p.builds[0].CacheFrom, p.builds[1].CacheFrom}); diff != "" {
		t.Error(diff)
	}
}

// Images are kept while a run names them that is live, succeeded, or ended a short
// while ago; so are those that no run of this ledger names.
func TestImagesSwept(t *testing.T) {
	t.Parallel()
	s, p := picturedSite(t)
	s.configure("[models]\n\tengine = container\n\tregistry = reg.example:5000\n[models \"keep\"]\n\timages = 1s\n")
	good := s.push(models)
	s.untilIdle()
	s.trainer.end = func(string) gitmodels.JobStatus {
		return gitmodels.JobStatus{State: gitmodels.JobFailed, Cause: "exit status 3"}
	}
	s.change("worse")
	bad := s.push(models)
	s.untilIdle()
	if s.show(bad).Digest == nil {
		t.Fatalf("%s: %s", *s.show(bad).State, *s.show(bad).Cause)
	}
	goodImage, badImage := *s.show(good).Digest, *s.show(bad).Digest
	unknown := "sha256:" + strings.Repeat("e", 64)
	asked := make(chan string, 1)
	s.cfg.Sweep = func(_ context.Context, keepRun, keepImage func(string) bool) ([]string, error) {
		asked <- fmt.Sprint(keepRun(s.show(bad).RunID), keepImage(goodImage), keepImage(badImage), keepImage(unknown))
		return []string{"image x"}, nil
	}
	look := func() string {
		t.Helper()
		if err := os.Remove(filepath.Join(s.home, "runs", ".swept")); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		v := s.serve()
		defer v.end()
		select {
		case words := <-asked:
			return words
		case <-time.After(patience):
			t.Fatal("nobody swept")
		}
		return ""
	}
	s.await("the failed run's image to be of no more use", func() bool { return look() == "false true false true" })
	p.build = func(ctx context.Context, _ gitmodels.Build) error { return nil }
	s.trainer.hold = func(string) bool { return true }
	if _, err := s.ledger.Rerun(t.Context(), s.repo.ID, bad, "ada", 7); err != nil {
		t.Fatal(err)
	}
	v := s.serve()
	s.awaitState(bad, gitmodels.Running)
	select { // this runner may sweep too
	case <-asked:
	default:
	}
	v.end()
	if got := look(); got != "true true true true" {
		t.Errorf("with the run live again: %s", got)
	}
}

// stored is a log of a run as the store keeps it.
func (s *site) stored(row gitmodels.Listing, log string) string {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.home, "store", "dogs", "metrics", row.Name+".logs", log))
	if err != nil {
		s.t.Error(err)
	}
	return string(data)
}
