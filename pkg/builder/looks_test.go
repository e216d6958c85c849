package builder

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// filesOf are the files of an image by name, with what they hold.
func filesOf(t *testing.T, image v1.Image) map[string]string {
	t.Helper()
	r := mutate.Extract(image)
	defer r.Close()
	list := map[string]string{}
	for files := tar.NewReader(r); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		list[strings.TrimPrefix(h.Name, "./")] = string(text)
	}
}

func layersOf(t *testing.T, image v1.Image) []v1.Hash {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return config.RootFS.DiffIDs
}

// running lists the processes of the machine that have word among their
// arguments.
func running(word string) (list []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.HasSuffix(string(b), "\x00"+word+"\x00") {
			list = append(list, pid)
		}
	}
	return list
}

// nothingLeft checks that a build left no mount and no process, and in the storage
// of buildah and podman no container.
func nothingLeft(t *testing.T, b *builder) {
	t.Helper()
	c, ok := b.driver.(containers)
	if !ok {
		return
	}
	for _, file := range []string{"/proc/self/mountinfo", b.o.Storage + "/" + b.name + "-0/store/overlay-containers/containers.json"} {
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if strings.Contains(string(text), b.o.Storage) || strings.Contains(string(text), `"id"`) {
			t.Errorf("%s left in %s: %s", c.program, file, tail(string(text)))
		}
	}
	steps := &job{storage: b.o.Storage}
	if list, err := processes(steps.ours(0)); err != nil || len(list) > 0 {
		t.Errorf("processes %v are left, %v", list, err)
	}
}

// nothingLeftAtAll checks that all builds together left no private folder, no
// state of a runtime, and in docker no container and no nameless image.
func nothingLeftAtAll(t *testing.T) {
	t.Helper()
	states, err := filepath.Glob("/run/runc/*/state.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range states {
		if text, err := os.ReadFile(state); err == nil && strings.Contains(string(text), testDir+"/") {
			t.Errorf("a runtime's state is left: %s", state)
		}
	}
	if left, err := filepath.Glob(testDir + "/build-*"); err != nil || len(left) > 0 {
		t.Errorf("folders are left: %q, %v", left, err)
	}
	if noDocker != "" {
		return
	}
	j, err := newJob("docker", testOptions(), noBuild)
	if err != nil {
		t.Fatal(err)
	}
	defer j.remove()
	if list, err := j.ask(t.Context(), "docker", "ps", "--all", "--quiet"); err != nil || list != "" {
		t.Errorf("containers %q are left, %v", list, err)
	}
	// A base whose tag has moved has no tag, and still a repository.
	list, err := j.ask(t.Context(), "docker", "images", "--filter", "dangling=true", "--digests", "--format", "{{.Repository}} {{.ID}}")
	if err != nil || strings.Contains(list, "<none>") {
		t.Errorf("images %q are left, %v", list, err)
	}
}

// forgetLayers takes away all layers that docker could use again, of the image
// that was made. Pruning hurts a build of BuildKit that is under way: the classic
// builder, which has none of that, must not do it beside one.
func forgetLayers(r *rig, image string) {
	r.Helper()
	b := r.b.(*builder)
	j, err := newJob("docker", b.o, noBuild)
	if err != nil {
		r.Fatal(err)
	}
	defer j.remove()
	_, err = j.ask(r.Context(), "docker", "rmi", image)
	if err == nil && b.driver == (docker{}) {
		_, err = j.ask(r.Context(), "docker", "builder", "prune", "--all", "--force")
	}
	if err != nil {
		r.Fatal(err)
	}
}

// emptyStorage removes what only the program can remove, and the mounts.
func emptyStorage(t *testing.T, b *builder) {
	t.Helper()
	c, ok := b.driver.(containers)
	if !ok {
		return
	}
	j, err := newJob(b.name, b.o, noBuild)
	if err != nil {
		t.Fatal(err)
	}
	s, err := j.takeSlot()
	if err == nil {
		s.kept = false
		err = errors.Join(c.tidy(j, s), s.leave(j))
	}
	if err = errors.Join(err, j.remove()); err != nil {
		t.Error(err)
	}
}
