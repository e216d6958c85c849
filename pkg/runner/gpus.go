package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const (
	// gpuless begins what a run waits for that wants more GPUs than are free.
	gpuless = "gpu, "
	// overtaken is how long smaller jobs may take what one that waits for more
	// cannot use; then what becomes free is kept for it.
	overtaken = 15 * time.Minute
	// forgotten is how long nobody has asked for a run that waited: it waits for
	// something else, or has ended.
	forgotten = 3 * time.Minute
)

// lease is what a run has of this host's GPUs, until it ends: through all of its
// stages and attempts, also while no worker holds the run.
type lease struct {
	Repository string             `json:"repository"` // id
	Commit     gitmodels.CommitID `json:"commit"`
	RunID      string             `json:"run_id"`
	Run        string             `json:"run"` // short name
	Devices    []string           `json:"devices"`
}

// gpuWait is a run that wants GPUs.
type gpuWait struct {
	run         string // short name
	since, last time.Time
}

// leases are kept in a file of the state directory, which one runner serves at a
// time, so that a job which outlives a runner keeps its devices.
func (r *Runner) leaseFile() string { return filepath.Join(r.cfg.Home, "gpus.json") }

// leaseGPUs lends the run n devices of what policy has; once lent they are its own.
// Too few free ones are an errWait that says who has the others.
func (w *worker) leaseGPUs(ctx context.Context, n int) ([]string, error) {
	if n == 0 {
		return nil, nil
	}
	r, c := w.r, w.claim
	if len(w.pol.GPUs) == 0 {
		return nil, waitingFor("gpu: %d asked, none is configured (models.limit.gpus)", n)
	}
	r.gpus.Lock()
	defer r.gpus.Unlock()
	all, err := r.liveLeases(ctx)
	if err != nil {
		return nil, err
	}
	held := map[string][]string{}
	for _, l := range all {
		if l.RunID == c.Run.ID && len(l.Devices) == n {
			return l.Devices, nil
		}
		if l.RunID != c.Run.ID {
			held[l.Run] = append(held[l.Run], l.Devices...)
		}
	}
	if first := r.firstInLine(c.Run.ID, c.Run.Short); first != "" {
		return nil, &errWait{what: fmt.Sprintf("%s%d asked, what is free is kept for %s, which came first", gpuless, n, first)}
	}
	devices, err := gitmodels.LeaseGPUs(w.pol.GPUs, held, n)
	switch {
	case isKind(err, gitmodels.Waiting):
		return nil, &errWait{what: messageOf(err)}
	case err != nil:
		return nil, err
	}
	all = slices.DeleteFunc(all, func(l lease) bool { return l.RunID == c.Run.ID })
	all = append(all, lease{c.Repository.ID, c.Run.Commit, c.Run.ID, c.Run.Short, devices})
	if err := writeLeases(r.leaseFile(), all); err != nil {
		return nil, err
	}
	delete(r.gpuWaits, c.Run.ID)
	w.log.Info("GPUs leased", "devices", fmt.Sprint(devices))
	return devices, nil
}

// leaseBack gives the run's GPUs back when err says that its job could not be
// submitted: others may use them while it waits. It returns err.
func (w *worker) leaseBack(n int, err error) error {
	if err == nil || n == 0 {
		return err
	}
	w.r.gpus.Lock()
	defer w.r.gpus.Unlock()
	all, readErr := readLeases(w.r.leaseFile())
	if readErr == nil {
		all = slices.DeleteFunc(all, func(l lease) bool { return l.RunID == w.claim.Run.ID })
		readErr = writeLeases(w.r.leaseFile(), all)
	}
	if readErr != nil {
		w.log.Warn("the GPUs of a job that was not submitted stay with its run", "cause", readErr.Error())
	}
	return err
}

// firstInLine notes that a run wants GPUs, and names the one that has waited so
// long that nobody may overtake it any more; empty when there is none before it.
func (r *Runner) firstInLine(id, short string) string {
	now := r.cfg.Clock.Now()
	mine, ok := r.gpuWaits[id]
	if !ok {
		mine = gpuWait{run: short, since: now}
	}
	mine.last = now
	r.gpuWaits[id] = mine
	first := mine
	for other, w := range r.gpuWaits {
		switch {
		case now.Sub(w.last) > forgotten:
			delete(r.gpuWaits, other)
		case now.Sub(w.since) > overtaken && w.since.Before(first.since):
			first = w
		}
	}
	if first == mine {
		return ""
	}
	return first.run
}

// liveLeases reads the leases of runs that have not ended.
func (r *Runner) liveLeases(ctx context.Context) (live []lease, err error) {
	all, err := readLeases(r.leaseFile())
	if err != nil {
		// Nothing is lent that somebody may have: a job on a shared device would
		// be spoilt, and the other one with it.
		return nil, waitingFor("gpu: the record of who has which cannot be read: %v", err)
	}
	for _, l := range all {
		row, err := r.cfg.Ledger.Show(ctx, l.Repository, l.Commit)
		switch {
		case isKind(err, gitmodels.NotFound):
		case err != nil:
			return nil, err
		case row.RunID == l.RunID && row.State != nil && !row.State.Terminal():
			live = append(live, l)
		}
	}
	return live, nil
}

func readLeases(path string) (all []lease, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		if err = json.Unmarshal(data, &all); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	return all, err
}

func writeLeases(path string, all []lease) error {
	data, err := json.Marshal(all)
	if err == nil {
		err = writeDurably(path, data)
	}
	if err != nil {
		return fmt.Errorf("recording who has which GPU: %w", err)
	}
	return nil
}
