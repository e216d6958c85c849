package runner_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// gpuSite has a host with three GPUs and a repository whose jobs ask for them.
func gpuSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	s.configure("[models]\n\tengine = container\n\tregistry = reg.example:5000\n[models \"limit\"]\n\tgpus = 0,1,7\n")
	p := &pictures{tags: map[string]gitmodels.ImageInfo{}}
	s.cfg.Registry = func(string) gitmodels.Registry { return p }
	s.cfg.Builder = func(context.Context, string) (gitmodels.Builder, error) { return p, nil }
	s.cfg.Trainers = map[string]gitmodels.Trainer{"container": s.trainer}
	s.file(s.work, "src/Dockerfile", "FROM scratch\n")
	return s
}

// gpus pushes a commit that asks for n.
func (s *site) gpus(n string) gitmodels.CommitID {
	s.t.Helper()
	s.file(s.work, "deploy/sagemaker-job-config.yaml", "job: {gpus: "+n+"}\n")
	s.pushes++ // another content for each
	s.file(s.work, "deploy/train-config.yaml", fmt.Sprintf("seed: %d\n", s.pushes))
	s.commit(s.work, "asks for "+n)
	return s.push(models)
}

// A run has its GPUs until it ends, over the death of its runner; one for which
// too few are free waits and says who has them.
func TestGPUsAreLeased(t *testing.T) {
	t.Parallel()
	s := gpuSite(t)
	s.trainer.hold = func(string) bool { return true }
	var mu sync.Mutex
	leased := map[gitmodels.CommitID][]string{}
	s.trainer.submit = func(job gitmodels.Job) error {
		mu.Lock()
		defer mu.Unlock()
		leased[job.Commit] = job.GPUs
		return nil
	}
	has := func(id gitmodels.CommitID, devices ...string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(leased[id], devices) {
			t.Errorf("GPUs %q, want %q", leased[id], devices)
		}
	}
	first := s.gpus("2")
	v := s.serve()
	s.await("the first to run", func() bool { return s.state(first) == gitmodels.Running })
	has(first, "0", "1")
	second := s.gpus("2")
	want := "gpu, 2 asked, 1 free (" + s.show(first).Short + " holds 2)"
	s.await("the second to wait", func() bool {
		row, err := s.ledger.Show(t.Context(), s.repo.ID, second)
		return err == nil && row.Waiting != nil && *row.Waiting == want
	})
	third := s.gpus("1")
	s.await("the third to run beside", func() bool { return s.state(third) == gitmodels.Running })
	has(third, "7")
	v.end() // the jobs go on, and with them their leases
	v = s.serve()
	s.await("the second to wait again", func() bool {
		row := s.show(second)
		return row.Waiting != nil && strings.HasPrefix(*row.Waiting, "gpu, 2 asked, 0 free (")
	})
	for _, id := range []gitmodels.CommitID{third, first, second} {
		s.awaitState(id, gitmodels.Running)
		s.trainer.finish(s.show(id).Short, "succeeded")
		s.awaitState(id, gitmodels.Succeeded)
	}
	has(second, "0", "1")
	v.end()
}

// A record of leases that cannot be read lends nothing: two jobs on one device
// would spoil each other.
func TestGPURecordBroken(t *testing.T) {
	t.Parallel()
	s := gpuSite(t)
	file := filepath.Join(s.home, "gpus.json")
	if err := os.WriteFile(file, []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	id := s.gpus("1")
	v := s.serve()
	s.await("the run to wait", func() bool {
		row, err := s.ledger.Show(t.Context(), s.repo.ID, id)
		return err == nil && row.Waiting != nil && strings.HasPrefix(*row.Waiting, "gpu: the record of who has which cannot be read")
	})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	s.await("the end", func() bool { return s.show(id).State.Terminal() })
	v.end()
}
