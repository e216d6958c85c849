package ledger

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// The hammer: several worker processes on one ledger that are killed at random
// moments and replaced. A worker is known alive by the lock on its file, as
// runners are, and guards each run it holds by a lock of its own outside of the
// ledger: that a run has two holders would show there.
const (
	hammerRuns    = 60
	hammerWorkers = 4
	hammerPlaces  = 3
	hammerEngine  = 2 // places of each engine, see engineOf
	hammerKills   = 25
)

func init() {
	children["hammer"] = func() error { return hammerWorker(context.Background(), os.Getenv("LEDGER_HOME")) }
}

// lockFile takes the lock of a file for as long as this process lives. The
// descriptor is moved to at least high: a dying process closes low ones first.
func lockFile(path string, high int) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		return err
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, high); err != nil {
		return err
	}
	return unix.Close(fd)
}

// locked reports whether a living process has the lock of a file.
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}

// hammerWorker claims runs and walks them to their end until none is live. It
// says so when it is ready and after each run, and fails on a broken promise.
func hammerWorker(ctx context.Context, home string) error {
	l, err := Open(ctx, home)
	if err != nil {
		return err
	}
	owner := fmt.Sprintf("worker-%d-%d", os.Getpid(), time.Now().UnixNano())
	if err := lockFile(filepath.Join(home, owner), 500); err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		if _, err := l.Rescue(ctx, func(o string) bool { return o == owner || locked(filepath.Join(home, o)) }); err != nil {
			return fmt.Errorf("rescue: %w", err)
		}
		c, err := l.Claim(ctx, owner, time.Hour, hammerPlaces, hammerAdmits)
		if err != nil {
			return fmt.Errorf("claim: %w", err)
		}
		if c == nil {
			if n, err := l.Live(ctx); n == 0 || err != nil {
				return errors.Join(err, l.Close())
			}
			time.Sleep(time.Millisecond) // nothing tells of another process's end
			continue
		}
		if err := hammerCount(ctx, l); err != nil {
			return err
		}
		if err := hammerRun(ctx, l, home, c); err != nil {
			return fmt.Errorf("run %s: %w", c.Run.Short, err)
		}
	}
}

// engineOf is the engine of the hammer's runs: every other one has the same.
func engineOf(c gitmodels.CommitID) string {
	if strings.Contains("02468ace", string(c[5])) {
		return "one"
	}
	return "two"
}

// hammerAdmits leaves each engine its places.
func hammerAdmits(c gitmodels.Candidate, held []gitmodels.Candidate) bool {
	same := 0
	for _, h := range held {
		if h.Engine == c.Engine {
			same++
		}
	}
	return same < hammerEngine
}

// hammerCount fails if more runs are held than there are places.
func hammerCount(ctx context.Context, l *Ledger) error {
	rows, err := l.db.QueryContext(ctx, heldQuery, l.now())
	if err != nil {
		return err
	}
	held, err := scanAll(rows, scanCandidate)
	engines := map[string]int{}
	for _, h := range held {
		engines[h.Engine]++
	}
	if err != nil || len(held) > hammerPlaces || max(engines["one"], engines["two"]) > hammerEngine {
		return fmt.Errorf("held at once: %v, %w", held, err)
	}
	return nil
}

// hammerRun walks one run: a heartbeat and a job that is submitted once.
func hammerRun(ctx context.Context, l *Ledger, home string, c *gitmodels.Claim) error {
	held := filepath.Join(home, "held-"+c.Run.ID)
	fd, err := unix.Open(held, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("held by two workers: %w", err)
	}
	for _, stage := range []gitmodels.StageName{gitmodels.StageBuild, gitmodels.StageTrain} {
		if s, ok := c.Stage(stage); ok && s.State == gitmodels.StageDone {
			continue
		}
		if err := l.BeginStage(ctx, c, stage, gitmodels.Building, ""); err != nil {
			return err
		}
		if _, _, err := l.Heartbeat(ctx, c, time.Hour); err != nil {
			return err
		}
		if stage == gitmodels.StageTrain {
			if _, err := l.Intend(ctx, c, stage, c.Attempt.Name, engineOf(c.Run.Commit)); err != nil {
				return err
			}
			// The engine knows the job by its name, and starts it once.
			job := filepath.Join(home, "job-"+c.Attempt.Name)
			if f, err := os.OpenFile(job, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err == nil {
				f.Close()
			} else if !errors.Is(err, os.ErrExist) {
				return err
			}
			if err := l.Confirm(ctx, c, stage, "job-"+c.Attempt.Name); err != nil {
				return err
			}
		}
		if err := l.EndStage(ctx, c, stage, gitmodels.StageDone, []byte(`{}`), ""); err != nil {
			return err
		}
	}
	if err := l.Finish(ctx, c, outcome(c, gitmodels.Succeeded)); err != nil {
		return err
	}
	fmt.Println("done", c.Run.ID)
	return nil
}

func TestHammer(t *testing.T) {
	b := newBench(t)
	for i := range hammerRuns {
		p := b.newPush(fmt.Sprint("push ", i), models, commit(fmt.Sprintf("%06x", i+0x100000)))
		p.Engine = engineOf(p.New)
		b.record(p)
	}
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		done = map[string]int{} // run → how often a worker said it finished it
		kill = make(chan struct{}, hammerKills)
	)
	for range hammerKills {
		kill <- struct{}{}
	}
	for range hammerWorkers {
		all.Go(func() {
			for again := true; again; {
				again = hammerOnce(t, b.home, kill, func(run string) {
					mu.Lock()
					defer mu.Unlock()
					done[run]++
				})
			}
		})
	}
	all.Wait()
	ctx := t.Context()
	b.must(b.Check(ctx))
	if n, err := b.Live(ctx); n != 0 || err != nil {
		t.Errorf("%d runs are left, %v", n, err)
	}
	for run, n := range done {
		if n != 1 {
			t.Errorf("run %s was finished %d times", run, n)
		}
	}
	rows, err := b.List(ctx, b.repo.ID, 0)
	b.must(err)
	ends, err := b.Events(ctx, b.repo.ID, 0)
	b.must(err)
	ended := map[string]int{}
	for _, e := range ends {
		if e.Kind == "succeeded" {
			ended[e.RunID]++
		}
	}
	for _, r := range rows {
		if *r.State != gitmodels.Succeeded || *r.Attempt != 1 || ended[r.RunID] != 1 || r.Job == nil || *r.Job != "job-"+r.Short {
			t.Errorf("run %s: %s, attempt %d, ended %d times, job %v", r.Short, *r.State, *r.Attempt, ended[r.RunID], r.Job)
		}
	}
	if n, err := b.PendingOutbox(ctx); len(rows) != hammerRuns || n != hammerRuns || err != nil {
		t.Errorf("%d runs and %d outcomes to publish, %v; want %d of both", len(rows), n, err, hammerRuns)
	}
	if len(kill) > hammerKills/2 {
		t.Errorf("only %d of %d kills happened: this tested little", hammerKills-len(kill), hammerKills)
	}
}

// hammerOnce runs one worker and kills it after a random number of its words, if
// a kill is left. It reports whether the worker was killed.
func hammerOnce(t *testing.T, home string, kill <-chan struct{}, finished func(run string)) bool {
	cmd := child(t, "hammer", "LEDGER_HOME="+home)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return false
	}
	killed := false
	words := bufio.NewScanner(out)
	for n := 0; words.Scan(); n++ {
		if run, ok := strings.CutPrefix(words.Text(), "done "); ok {
			finished(run)
		}
		if killed {
			continue
		}
		select {
		case <-kill:
			killed = true
			// Somewhere within the next run or two.
			delay := time.Duration(rand.Int64N(int64(20 * time.Millisecond)))
			time.AfterFunc(delay, func() { cmd.Process.Kill() })
		default:
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return false
	case killed && errors.As(err, &exit) && !exit.Exited():
		return true
	}
	t.Errorf("a worker failed: %v\n%s", err, stderr.String())
	return false
}

// TestOpenAtOnce lets several processes make the same ledger.
func TestOpenAtOnce(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			if out, err := child(t, "register", "LEDGER_HOME="+home).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	all.Wait()
	l, err := Open(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if repos, err := l.Repositories(t.Context()); err != nil || len(repos) != 1 {
		t.Errorf("repositories %v, %v", repos, err)
	}
	entries, err := os.ReadDir(home)
	if err != nil || len(entries) != 3 {
		t.Errorf("the home holds %v, %v", entries, err)
	}
}
