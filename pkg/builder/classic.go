package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// dockerClassic builds with the builder within the daemon. Its containers get a
// host name that only this build knows, by which they are found again; the images
// of its steps are noted in the file classic, below the time when it began.
func (j *job) dockerClassic(ctx context.Context) error {
	if len(j.b.Secrets) > 0 {
		return waiting("building an image", nil, "docker here is the classic builder, which has no build secrets; buildx, buildah, podman and docker with BuildKit have")
	}
	notes, err := os.OpenFile(j.path("classic"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fsError("preparing the build", err)
	}
	defer notes.Close() // nobody needs it after the build
	if _, err := fmt.Fprintln(notes, time.Now().Format(time.RFC3339Nano)); err != nil {
		return fsError("preparing the build", err)
	}
	argv := append([]string{"docker", "build", "--force-rm", "--add-host", j.dockerMark(), "-t", j.b.Image}, j.dockerOptions()...)
	if j.b.Cache == "inline" || j.b.Cache == "registry" {
		// It takes layers from local images alone, and from no others once it is
		// given any.
		for _, image := range j.b.CacheFrom {
			err := j.run(ctx, call{argv: []string{"docker", "pull", "--quiet", image}, out: j.printing(plain)})
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil {
				argv = append(argv, "--cache-from", image)
			}
		}
	}
	t := j.printing(classic)
	err = j.run(ctx, call{argv: append(argv, "-"), env: []string{"DOCKER_BUILDKIT=0"}, stdin: j.stream, out: io.MultiWriter(t, &imageNotes{to: notes})})
	if err == nil {
		return j.logFault(t)
	}
	return joinLater(j.buildFault(err), j.dockerTidy())
}

// imageNotes notes the ids of the images that the classic builder prints, one a
// line.
type imageNotes struct {
	to   io.Writer
	tail []byte
	n    int
}

var imageID = regexp.MustCompile(`(?m)^ ---> ([0-9a-f]{12})$`)

// maxImages is more than the layers that an image may have.
const maxImages = 256

func (m *imageNotes) Write(p []byte) (int, error) {
	m.tail = append(m.tail, p...)
	end := bytes.LastIndexByte(m.tail, '\n') + 1
	for _, id := range imageID.FindAllSubmatch(m.tail[:end], -1) {
		if m.n++; m.n > maxImages {
			break
		}
		if _, err := fmt.Fprintf(m.to, "%s\n", id[1]); err != nil {
			return 0, fsError("noting an image", err)
		}
	}
	m.tail = append(m.tail[:0], m.tail[end:]...)
	if len(m.tail) > maxLine {
		m.tail = m.tail[:0]
	}
	return len(p), nil
}

// tidyTime is how long cleaning up after a build may take; the build's own ctx
// may have ended by then.
const tidyTime = time.Minute

// dockerTidy ends the containers of a classic build that failed and removes the
// images that its steps made.
func (j *job) dockerTidy() error {
	ctx, cancel := context.WithTimeout(context.Background(), tidyTime)
	defer cancel()
	if err := j.dockerEnd(ctx); err != nil {
		return j.left(err)
	}
	notes, err := os.ReadFile(j.path("classic"))
	if err != nil {
		return fsError("reading which images the build made", err)
	}
	first, list, _ := strings.Cut(string(notes), "\n")
	begun, err := time.Parse(time.RFC3339Nano, first)
	if err != nil {
		return nil // killed before it began
	}
	for _, id := range slices.Backward(strings.Fields(list)) {
		if !j.dockerOwnImage(ctx, id, begun) {
			continue
		}
		// Its parents go with it, unless other images stand on them. What another
		// build took as its cache meanwhile stays.
		if _, err := j.ask(ctx, "docker", "rmi", id); err != nil && ctx.Err() != nil {
			return j.left(err)
		}
	}
	return nil
}

// dockerOwn is how long the daemon is left to remove a build's containers itself,
// which it begins once the client has gone, before it is told to.
const dockerOwn = 2 * time.Second

// dockerEnd waits until no container carries the mark, and removes those that
// stay.
func (j *job) dockerEnd(ctx context.Context) error {
	begun := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for clean := 0; clean < 2; { // the daemon may just be making the next
		marked, err := j.dockerMarked(ctx)
		if err != nil {
			return err
		}
		if clean++; len(marked) > 0 {
			clean = 0
		}
		if len(marked) > 0 && time.Since(begun) > dockerOwn {
			if _, err := j.ask(ctx, append([]string{"docker", "rm", "--force"}, marked...)...); err != nil && ctx.Err() != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the containers %q do not go: %w", marked, ctx.Err())
		}
	}
	return nil
}

// dockerMark is the host name that containers of the build carry, with its address.
func (j *job) dockerMark() string { return "git-models-" + filepath.Base(j.dir) + ":127.0.0.1" }

// dockerMarked lists the containers that carry the mark.
func (j *job) dockerMarked(ctx context.Context) (marked []string, err error) {
	all, err := j.ask(ctx, "docker", "ps", "--all", "--quiet", "--no-trunc")
	if err != nil || all == "" {
		return nil, err
	}
	argv := []string{"docker", "inspect", "--type", "container", "--format", "{{.Id}} {{json .HostConfig.ExtraHosts}}"}
	lines, err := j.ask(ctx, append(argv, strings.Fields(all)...)...)
	if ctx.Err() != nil {
		return nil, err
	}
	// A failure means that one of them is gone; those that are there were told.
	for line := range strings.Lines(lines) {
		if id, hosts, ok := strings.Cut(line, " "); ok && strings.Contains(hosts, `"`+j.dockerMark()+`"`) {
			marked = append(marked, id)
		}
	}
	return marked, nil
}

// dockerOwnImage reports whether an image has no name and was made by this
// build: what a step prints may look like an id.
func (j *job) dockerOwnImage(ctx context.Context, id string, begun time.Time) bool {
	answer, err := j.ask(ctx, "docker", "inspect", "--type", "image", "--format", "{{json .}}", id)
	if err != nil {
		return false
	}
	var image struct {
		RepoTags []string
		Created  time.Time
	}
	return json.Unmarshal([]byte(answer), &image) == nil && len(image.RepoTags) == 0 && !image.Created.Before(begun.Add(-time.Second))
}
