package runner

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline"
	"github.com/git-models/git-models/pkg/pipeline/dockerfile"
	"github.com/git-models/git-models/pkg/plan"
)

// pictured is the image that a run trains in.
type pictured struct {
	Name   string `json:"name"` // host[:port]/name
	Digest string `json:"digest"`
	Key    string `json:"key"`
	Built  bool   `json:"built"`
	gitmodels.ImageStory
}

func (p pictured) ref() gitmodels.Image { return gitmodels.Image{Name: p.Name, Digest: p.Digest} }

// imager makes the image of a run, or finds it.
type imager struct {
	w        *worker
	log      io.Writer
	want     plan.Image
	registry gitmodels.Registry
	name     string // host[:port]/name
	commit   gitmodels.CommitInfo

	keep       func(path string) bool // of the context; false: .dockerignore leaves it out
	warnings   []string               // about files of the context
	bases      map[string]string      // digests of the base images, where build.refresh asks for newer ones
	dockerfile []byte
	within     string // path of the Dockerfile in the context that the builder gets
	apart      bool   // the Dockerfile lies outside of the context and is added to it
	args       map[string]string
	key        string // what goes into the build: 64 hex digits
}

const (
	// keyTag and the beginning of the build key are the tag by which an image is
	// found again, by every runner that uses the registry.
	keyTag    = "key-"
	keyDigits = 40
	latest    = "latest"
	// apartName is what a Dockerfile from outside is called in the context.
	apartName = ".git-models.Dockerfile"
	// buildLogLimit bounds the log of the build stage, in bytes.
	buildLogLimit = 64 << 20
	platform      = "linux/" + runtime.GOARCH
)

// image makes sure that the image of the commit is in the registry. Its tag is
// the run's name, whatever it was built for.
func (w *worker) image(ctx context.Context, log io.Writer, want plan.Image) (made *pictured, warnings []string, err error) {
	began := w.r.cfg.Clock.Now()
	m := &imager{w: w, log: log, want: want}
	if err = m.prepare(ctx); err == nil {
		made, err = m.reuse(ctx)
	}
	if err == nil && made == nil {
		made, err = m.build(ctx)
	}
	if err == nil {
		err = m.tag(ctx, made.ref())
	}
	if isKind(err, gitmodels.Forbidden) && strings.HasPrefix(messageOf(err), "registry: ") {
		// The credentials for models.registry are the server's: no pusher can mend them.
		err = waitingFor("%s", messageOf(err))
	}
	if err != nil {
		return nil, nil, err
	}
	made.ImageSeconds = w.r.cfg.Clock.Now().Sub(began).Round(time.Millisecond).Seconds()
	return made, m.warnings, nil
}

// prepare learns all that goes into the build, and its key.
func (m *imager) prepare(ctx context.Context) (err error) {
	c, pol := m.w.claim, m.w.pol
	m.name = m.want.Name
	m.registry = m.w.r.cfg.Registry(pol.RegistryAuth)
	if m.commit, err = m.w.git.Commit(ctx, c.Run.Commit); err != nil {
		return err
	}
	if err := m.files(ctx); err != nil {
		return err
	}
	report, err := m.w.git.Context(ctx, c.Run.Commit, m.want.Context, m.keep, io.Discard)
	if err != nil {
		return err
	}
	m.warnings = report.Warnings
	fmt.Fprintf(m.log, "context %s: %d files, %d bytes\n", m.want.Context, report.Files, report.Bytes)
	m.args = map[string]string{}
	for _, name := range plan.CommitArgs(m.dockerfile) {
		m.args[name] = map[string]string{"GIT_COMMIT": string(c.Run.Commit), "GIT_SHORT_SHA": c.Run.Short}[name]
	}
	maps.Copy(m.args, m.want.Args)
	if m.want.Refresh {
		if err := m.resolve(ctx); err != nil {
			return err
		}
	}
	m.key, err = m.buildKey(report.Sum)
	return err
}

// host is the registry's.
func (m *imager) host() string {
	host, _, _ := strings.Cut(m.name, "/")
	return host
}

// resolve asks for what the base images stand for now.
func (m *imager) resolve(ctx context.Context) error {
	bases, err := m.baseImages(ctx)
	if err != nil {
		return err
	}
	m.bases = map[string]string{}
	for _, base := range bases {
		switch m.bases[base], err = m.registry.Digest(ctx, base); {
		case isKind(err, gitmodels.NotFound):
			return &verdict{State: gitmodels.Failed, Cause: fmt.Sprintf("%s: the base image %s is not there", m.want.Dockerfile, gitmodels.Printable(base, 200))}
		case isKind(err, gitmodels.Waiting) && !strings.HasPrefix(base, m.host()+"/"):
			return errors.New(messageOf(err)) // nobody here may be able to mend it: tried a few times
		case err != nil:
			return err
		}
		fmt.Fprintf(m.log, "base %s is %s\n", base, m.bases[base])
	}
	return nil
}

// baseImages lists the images that the Dockerfile begins from, as it writes them.
func (m *imager) baseImages(ctx context.Context) ([]string, error) {
	return dockerfile.Bases(ctx, pipeline.Image{Dockerfile: m.want.Dockerfile, Data: m.dockerfile, Context: m.want.Context, Args: m.args})
}

// buildKey tells builds apart: equal keys make images that do the same. sum is the
// context's.
func (m *imager) buildKey(sum string) (string, error) {
	text := sha256.Sum256(m.dockerfile)
	data, err := json.Marshal(struct {
		Version, Context, Path, Dockerfile, Platform string
		Args                                         map[string]string
		Bases                                        map[string]string `json:",omitempty"`
	}{"1", sum, m.within, hex.EncodeToString(text[:]), platform, m.args, m.bases})
	if err != nil {
		return "", fmt.Errorf("making the build key: %w", err)
	}
	key := sha256.Sum256(data)
	return hex.EncodeToString(key[:]), nil
}

// files reads the Dockerfile and what leaves files out of the context: the file
// beside the Dockerfile that bears its name, else the context's own.
func (m *imager) files(ctx context.Context) error {
	session := m.w.git.Session(ctx)
	defer session.Close()
	own, general := m.want.Dockerfile+".dockerignore", path.Join(m.want.Context, ".dockerignore")
	found, err := session.Files(ctx, m.w.claim.Run.Commit, []string{m.want.Dockerfile, own, general})
	if err != nil {
		return fmt.Errorf("reading the Dockerfile: %w", err)
	}
	if found[m.want.Dockerfile].Kind != gitmodels.KindFile {
		return &verdict{State: gitmodels.Failed, Cause: fmt.Sprintf("%s is %s", m.want.Dockerfile, found[m.want.Dockerfile].Kind)}
	}
	m.dockerfile = found[m.want.Dockerfile].Data
	ignore := found[own]
	if ignore.Kind == gitmodels.KindAbsent {
		ignore = found[general]
	}
	left := func(string) bool { return true }
	if ignore.Kind == gitmodels.KindFile {
		if left, err = dockerfile.Keep(ignore.Data); err != nil {
			return &verdict{State: gitmodels.Failed, Cause: fmt.Sprintf("%s: %v", ignore.Path, err)}
		}
	}
	within, ok := strings.CutPrefix(m.want.Dockerfile, m.want.Context+"/")
	if m.want.Context == "." {
		within, ok = m.want.Dockerfile, true
	}
	if m.within, m.apart = within, !ok; !ok {
		m.within = apartName
	}
	// Builders get the Dockerfile whatever is left out.
	m.keep = func(path string) bool { return path == m.within && !m.apart || left(path) }
	return nil
}

// reuse is an image of the same key that is in the registry: one that this run
// pushed before it was interrupted, or one of any other.
func (m *imager) reuse(ctx context.Context) (*pictured, error) {
	own := m.w.claim.Attempt.Name
	tags := []string{keyTag + m.key[:keyDigits], own}
	if m.want.Always {
		tags = tags[1:] // nobody but this attempt has pushed as that
	}
	for _, tag := range tags {
		info, err := m.registry.Image(ctx, m.name, tag)
		switch {
		case isKind(err, gitmodels.NotFound):
			continue
		case err != nil:
			return nil, err
		case info.Labels[gitmodels.LabelBuildKey] != m.key:
			continue
		}
		from, err := gitmodels.ParseCommitID(info.Labels[gitmodels.LabelRevision])
		if err != nil {
			continue // not one of ours
		}
		made := &pictured{Name: m.name, Digest: info.Digest, Key: m.key, ImageStory: gitmodels.ImageStory{ImageSize: info.Size}}
		if c := m.w.claim; from == c.Run.Commit && (c.Attempt.N == 1 || tag == own) {
			made.Built = true // by this attempt, before it was interrupted
			fmt.Fprintln(m.log, "image: pushed before the run was interrupted, no build")
			return made, nil
		}
		made.ImageFrom = from
		fmt.Fprintf(m.log, "image: reused from %s, no build\n", from.Short(m.w.pol.Abbrev))
		return made, nil
	}
	return nil, nil
}

// build makes the image and pushes it.
func (m *imager) build(ctx context.Context) (*pictured, error) {
	w := m.w
	builder, err := w.r.cfg.Builder(ctx, w.pol.Builder)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() {
		select {
		case <-w.asked:
			end(errors.New("cancelled"))
		case <-ctx.Done():
		}
	}()
	done, err := w.r.builds.enter(ctx, w.pol.LimitBuilds)
	if w.cancelled() {
		return nil, w.cancelledVerdict()
	}
	if err != nil {
		return nil, err
	}
	defer done()
	late := fmt.Errorf("the build was ended after %s (models.timeout.build)", w.pol.TimeoutBuild)
	if w.pol.TimeoutBuild > 0 {
		var stop func()
		ctx, stop = context.WithTimeoutCause(ctx, w.pol.TimeoutBuild, late)
		defer stop()
	}
	image, err := m.push(ctx, builder)
	switch {
	case err == nil:
		made := &pictured{Name: m.name, Digest: image.Digest, Key: m.key, Built: true}
		info, err := m.registry.Image(ctx, m.name, image.Digest)
		if err != nil {
			return nil, fmt.Errorf("looking at the image that was pushed: %w", err)
		}
		made.ImageSize = info.Size
		return made, nil
	case w.cancelled():
		return nil, w.cancelledVerdict()
	case errors.Is(context.Cause(ctx), late):
		return nil, &verdict{State: gitmodels.Failed, Cause: late.Error()}
	case isKind(err, gitmodels.Invalid):
		fmt.Fprintln(m.log, messageOf(err))
		return nil, &verdict{State: gitmodels.Failed, Cause: messageOf(err)}
	}
	return nil, err
}

// push has the builder make and push the image, while the context is written for
// it.
func (m *imager) push(ctx context.Context, builder gitmodels.Builder) (gitmodels.Image, error) {
	c := m.w.claim
	secrets, err := m.secrets()
	if err != nil {
		return gitmodels.Image{}, err
	}
	cache, err := m.cache(ctx)
	if err != nil {
		return gitmodels.Image{}, err
	}
	bases, err := m.baseImages(ctx)
	if err != nil {
		return gitmodels.Image{}, err
	}
	auth, remove, err := m.registry.AuthFile(ctx, append(bases, m.name)...)
	if err != nil {
		return gitmodels.Image{}, err
	}
	defer m.w.forget(remove)
	// The tag is the attempt's own: a registry may keep tags where they are.
	target := m.name + ":" + c.Attempt.Name
	fmt.Fprintf(m.log, "building %s with %s\n", target, builder.Builder())
	out, in := io.Pipe()
	var wrote error
	var writing sync.WaitGroup
	writing.Go(func() {
		wrote = m.context(ctx, in)
		in.CloseWithError(wrote)
	})
	image, err := builder.Build(ctx, gitmodels.Build{
		Image: target, Context: out, Dockerfile: m.within, Shown: m.want.Dockerfile, Args: m.args, Platform: platform,
		Labels: map[string]string{gitmodels.LabelRevision: string(c.Run.Commit), gitmodels.LabelSource: c.Repository.Name,
			gitmodels.LabelCreated: m.commit.Time.UTC().Format(time.RFC3339), gitmodels.LabelBuildKey: m.key},
		CacheFrom: cache, Cache: m.want.Cache, Refresh: m.want.Refresh, Secrets: secrets, AuthFile: auth, Plain: m.registry.SpeaksPlain(m.name), Log: m.log,
	})
	out.CloseWithError(errBuilt)
	writing.Wait()
	if wrote != nil && !errors.Is(wrote, errBuilt) {
		return image, wrote // the builder saw nothing but a stream that ended
	}
	return image, err
}

// secrets are the files of models.buildSecrets by their ids.
func (m *imager) secrets() (map[string]string, error) {
	files := map[string]string{}
	for _, entry := range m.w.pol.BuildSecrets {
		id, path, _ := strings.Cut(entry, "=")
		f, err := openProtected(path)
		if err != nil {
			return nil, waitingFor("models.buildSecrets: %v", err)
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		files[id] = path
	}
	return files, nil
}

// cache lists the images whose layers are likely to be the same: the newest of all
// refs, and the one of the last run on this ref.
func (m *imager) cache(ctx context.Context) (list []string, err error) {
	switch _, err := m.registry.Image(ctx, m.name, latest); {
	case err == nil:
		list = append(list, m.name+":"+latest)
	case !isKind(err, gitmodels.NotFound):
		return nil, err
	}
	c := m.w.claim
	known, err := m.w.r.cfg.Ledger.Receipt(ctx, c.Repository.ID, gitmodels.Update{Ref: c.Run.Ref, New: c.Run.Commit})
	if err != nil {
		return nil, err
	}
	if last := known.Last; last != nil && last.Image != nil && *last.Image == m.name && last.Digest != nil {
		list = append(list, gitmodels.Image{Name: m.name, Digest: *last.Digest}.Ref())
	}
	return list, nil
}

// errBuilt ends the context's stream: nobody reads it any more.
var errBuilt = errors.New("the build has ended")

// context writes what the image is built from.
func (m *imager) context(ctx context.Context, out io.Writer) error {
	if m.apart {
		w := tar.NewWriter(out)
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: apartName, Size: int64(len(m.dockerfile)), Mode: 0o644, ModTime: m.commit.Time})
		if err == nil {
			_, err = w.Write(m.dockerfile)
		}
		if err == nil {
			err = w.Flush() // what follows goes on with the same archive
		}
		if err != nil {
			return err
		}
	}
	_, err := m.w.git.Context(ctx, m.w.claim.Run.Commit, m.want.Context, m.keep, out)
	return err
}

// tag gives the image the tags by which it is found: of the run, of its key, and
// latest where that moves forward. One that the registry keeps where it is stays;
// the run knows its image by the digest.
func (m *imager) tag(ctx context.Context, image gitmodels.Image) error {
	for _, tag := range []string{m.w.claim.Run.Short, keyTag + m.key[:keyDigits]} {
		err := m.registry.Tag(ctx, image, tag)
		if isKind(err, gitmodels.Invalid) {
			fmt.Fprintf(m.log, "tag %s stays: %s\n", tag, messageOf(err))
			continue
		}
		if err != nil {
			return err
		}
	}
	return m.latest(ctx, image)
}

// latest moves the tag latest forward.
func (m *imager) latest(ctx context.Context, image gitmodels.Image) error {
	w := m.w
	w.r.latest.Lock() // two runs that look at once would both move it
	defer w.r.latest.Unlock()
	now, err := m.registry.Image(ctx, m.name, latest)
	move, why := true, "latest was not there"
	if err == nil {
		move, why, err = m.forward(ctx, now)
	}
	if err != nil && !isKind(err, gitmodels.NotFound) {
		return err
	}
	if move {
		switch err = m.registry.Tag(ctx, image, latest); {
		case isKind(err, gitmodels.Invalid):
			why, err = messageOf(err), nil
		case err == nil:
			err = w.r.rememberLatest(m.name, moved{image.Digest, w.claim.Run.Commit})
		}
	}
	if err == nil {
		fmt.Fprintf(m.log, "latest: %s\n", why)
	}
	return err
}

// forward decides whether latest moves from the image now. Where we moved it last,
// the commit that we moved it for counts, not the one that its image was built from:
// that may be older.
func (m *imager) forward(ctx context.Context, now gitmodels.ImageInfo) (move bool, why string, err error) {
	w := m.w
	all, err := w.r.movedLatest()
	if err != nil {
		return false, "", err
	}
	if last, ok := all[m.name]; ok && last.Digest == now.Digest {
		now.Labels = map[string]string{gitmodels.LabelRevision: string(last.Commit)}
	}
	var broken error
	move, why, err = gitmodels.ForwardLatest(now, w.claim.Run.Commit,
		func(ancestor, of gitmodels.CommitID) (bool, error) { return w.git.IsAncestor(ctx, ancestor, of) },
		func(id gitmodels.CommitID) (time.Time, bool) {
			at, ok, err := w.accepted(ctx, id)
			broken = errors.Join(broken, err)
			return at, ok
		})
	return move, why, errors.Join(err, broken)
}

// accepted is when a commit was pushed last; false when it never was.
func (w *worker) accepted(ctx context.Context, id gitmodels.CommitID) (at time.Time, ok bool, err error) {
	row, err := w.r.cfg.Ledger.Show(ctx, w.claim.Repository.ID, id)
	if err != nil && !isKind(err, gitmodels.NotFound) {
		return at, false, err
	}
	if len(row.Pushes) == 0 {
		return at, false, nil
	}
	return slices.MaxFunc(row.Pushes, func(a, b gitmodels.PushView) int { return a.At.Compare(b.At) }).At, true, nil
}

// slots are how many of something happen at once.
type slots struct {
	mu    sync.Mutex
	taken int
	freed chan struct{} // closed when one is given back
}

// enter waits for one of limit slots. The limit is whatever the last one says
// who comes: policies may differ.
func (s *slots) enter(ctx context.Context, limit int) (leave func(), err error) {
	for {
		s.mu.Lock()
		if s.taken < max(1, limit) {
			s.taken++
			s.mu.Unlock()
			return s.leave, nil
		}
		if s.freed == nil {
			s.freed = make(chan struct{})
		}
		freed := s.freed
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-freed:
		}
	}
}

func (s *slots) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.freed != nil {
		close(s.freed)
		s.freed = nil
	}
}

// capped is a log that takes what fits, and says that the rest is dropped.
type capped struct {
	out  io.Writer
	left int64
}

func (c *capped) Write(b []byte) (int, error) {
	n := min(int64(len(b)), c.left)
	if n < int64(len(b)) && c.left >= 0 {
		defer func() { c.left = -1 }()
		if _, err := c.out.Write(append(b[:n:n], fmt.Sprintf("\n[git-models: the log ends here, at %d bytes]\n", buildLogLimit)...)); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	if c.left < 0 {
		return len(b), nil
	}
	c.left -= n
	return c.out.Write(b)
}
