package runner

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Beginnings of what a run waits for without anybody's help: another try after
// one that failed, a place that limits give, and GPUs that others have (gpuless).
// All other words are a gap of the server.
const (
	retrying  = "another try: "
	placeless = "a place: "
)

// waitIdle returns when the runner is idle.
func (r *Runner) waitIdle(ctx context.Context) error {
	for {
		idle, err := r.idleNow(ctx)
		if idle || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.progress:
		case <-r.cfg.Clock.After(r.cfg.Pace.Claim):
		}
	}
}

// idleNow reports whether nothing is left that goes on by itself: the spool
// holds only what cannot be imported, every live run waits for the server, the
// outbox holds only what failed several times, and no commit-graph is due.
func (r *Runner) idleNow(ctx context.Context) (bool, error) {
	entries, err := r.cfg.Spool.Entries()
	if err != nil {
		return false, nil // logged by the import, which tries it again
	}
	live, err := r.cfg.Ledger.Live(ctx)
	if err != nil {
		return false, err
	}
	outbox, err := r.cfg.Ledger.PendingOutbox(ctx)
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range entries {
		if _, ok := r.left[e.ID]; !ok {
			return false, nil
		}
	}
	return len(r.workers) == 0 && len(r.graphs) == 0 && live <= len(r.gaps) && outbox <= len(r.stuck), nil
}

// remains names what an idle runner leaves behind.
func (r *Runner) remains() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	for _, left := range []map[string]string{r.left, r.gaps, r.stuck} {
		lines = slices.AppendSeq(lines, maps.Values(left))
	}
	slices.Sort(lines)
	return lines
}

// recentRows is how many rows are looked at for runs that are live: far more
// than ever wait at once.
const recentRows = 1000

// quietness is how long nothing has changed at another runner.
type quietness struct {
	sight string
	since time.Time
}

// quietFor is how long a spool file or an outcome may stay with another runner,
// while no run goes on, until it counts as one that cannot go on by itself.
const quietFor = 30 * time.Second

// othersIdle reports whether the runner that serves this home has nothing left
// to do, as the spool and the ledger tell.
func (r *Runner) othersIdle(ctx context.Context, quiet *quietness) (bool, error) {
	entries, err := r.cfg.Spool.Entries()
	if err != nil {
		return false, fmt.Errorf("reading the spool: %w", err)
	}
	live, err := r.cfg.Ledger.Live(ctx)
	if err != nil {
		return false, err
	}
	outbox, err := r.cfg.Ledger.PendingOutbox(ctx)
	if err != nil {
		return false, err
	}
	waiting := 0
	if live > 0 {
		rows, err := r.cfg.Ledger.List(ctx, "", recentRows)
		if err != nil {
			return false, err
		}
		for _, row := range rows {
			if waitsForServer(row) {
				waiting++
			}
		}
	}
	if live > waiting {
		*quiet = quietness{}
		return false, nil
	}
	if len(entries) == 0 && outbox == 0 {
		return true, nil
	}
	sight := fmt.Sprint(outbox)
	for _, e := range entries {
		sight += " " + e.ID
	}
	now := r.cfg.Clock.Now()
	if quiet.sight != sight {
		*quiet = quietness{sight, now}
	}
	return now.Sub(quiet.since) >= quietFor, nil
}

// waitsForServer reports whether a run cannot go on by itself.
func waitsForServer(row gitmodels.Listing) bool {
	return row.State != nil && !row.State.Terminal() && row.Waiting != nil && *row.Waiting != "" &&
		!strings.HasPrefix(*row.Waiting, retrying) && !strings.HasPrefix(*row.Waiting, placeless) && !strings.HasPrefix(*row.Waiting, gpuless)
}
