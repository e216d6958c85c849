package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/ledger/ledgertest"
	"github.com/git-models/git-models/pkg/runner"
	"github.com/git-models/git-models/pkg/spool"
)

// The crash matrix: a runner is killed with SIGKILL before and after every
// write to the ledger and every act on the world, at each time that it happens
// in the life of a run; the next runner must carry the run to the same end, with
// one job, one note, one record and one outcome.
//
// The runner to be killed is this test binary again, with:
const (
	crashHome = "CRASH_HOME" // the state directory
	crashAt   = "CRASH_AT"   // the point to die at, or empty to write down every point
	crashList = "CRASH_LIST" // the file for that
)

func init() {
	if home := os.Getenv(crashHome); home != "" {
		if err := crashingRunner(home); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// crashingRunner serves until idle, or dies.
func crashingRunner(home string) error {
	list, err := os.OpenFile(os.Getenv(crashList), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	points := &crashPoints{dieAt: os.Getenv(crashAt), list: list, count: map[string]int{}}
	p := &program{edges: Edges{Env: os.Environ()}, terminal: &terminal{out: io.Discard, err: os.Stderr, now: time.Now}}
	cfg, done, err := p.wire(context.Background(), home)
	if err != nil {
		return err
	}
	defer done()
	if err := p.wireRunner(context.Background(), &cfg); err != nil {
		return err
	}
	cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	cfg.Ledger = ledgertest.Crashing(cfg.Ledger, points.at)
	cfg.Spool = crashingSpool{cfg.Spool, points}
	cfg.Trainers = map[string]gitmodels.Trainer{"process": crashingTrainer{cfg.Trainers["process"], points}}
	cfg.Store = crashingStore{cfg.Store, points}
	cfg.Publisher = crashingPublisher{cfg.Publisher, points}
	r, err := runner.New(cfg)
	if err != nil {
		return err
	}
	return r.Run(context.Background(), true)
}

// crashPoints counts how often each point was passed and dies at one.
type crashPoints struct {
	mu    sync.Mutex
	dieAt string
	list  io.Writer
	count map[string]int
}

func (c *crashPoints) at(op string, after bool) {
	name := "before " + op
	if after {
		name = "after " + op
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count[name]++
	point := fmt.Sprintf("%s %d", name, c.count[name])
	if c.dieAt == "" {
		fmt.Fprintln(c.list, point)
	}
	if point == c.dieAt {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // nothing may happen any more
	}
}

func (c *crashPoints) around(op string) func() {
	c.at(op, false)
	return func() { c.at(op, true) }
}

type crashingTrainer struct {
	gitmodels.Trainer
	points *crashPoints
}

func (t crashingTrainer) Submit(ctx context.Context, job gitmodels.Job) (string, error) {
	defer t.points.around("Submit")()
	return t.Trainer.Submit(ctx, job)
}

type crashingStore struct {
	gitmodels.Store
	points *crashPoints
}

func (s crashingStore) Put(ctx context.Context, uri, src string) ([]gitmodels.File, []string, error) {
	defer s.points.around("Put")()
	return s.Store.Put(ctx, uri, src)
}

func (s crashingStore) Finish(ctx context.Context, uri string, runJSON []byte) error {
	defer s.points.around("store Finish")()
	return s.Store.Finish(ctx, uri, runJSON)
}

type crashingPublisher struct {
	gitmodels.Publisher
	points *crashPoints
}

func (p crashingPublisher) Publish(ctx context.Context, repo gitmodels.Repository, o gitmodels.Outcome) error {
	defer p.points.around("Publish")()
	return p.Publisher.Publish(ctx, repo, o)
}

type crashingSpool struct {
	runner.Spool
	points *crashPoints
}

func (s crashingSpool) Remove(e gitmodels.SpoolEntry) error {
	defer s.points.around("spool Remove")()
	return s.Spool.Remove(e)
}

// serveCrashing starts the runner that dies at point, or lists the points.
func serveCrashing(t *testing.T, home, point, list string) error {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashHome+"="+home, crashAt+"="+point, crashList+"="+list)
	var log bytes.Buffer
	cmd.Stderr = &log
	err := cmd.Run()
	if err != nil && point == "" {
		t.Fatalf("the runner: %v\n%s", err, log.Bytes())
	}
	return err
}

// crashProject leaves a line wherever it starts: the checkpoints outlive an
// attempt.
var crashProject = map[string]string{
	".models.yaml": "train:\n  command: [sh, src/train.sh]\nevaluate:\n  command: [sh, src/evaluate.sh]\n",
	"src/train.sh": `set -eu
echo started >> "$CHECKPOINT_DIR/starts"
echo '{"accuracy": 0.875}' > "$METRICS_DIR/metrics.json"
echo weights > "$ARTIFACTS_DIR/model.txt"
cp "$CHECKPOINT_DIR/starts" "$ARTIFACTS_DIR/starts"
`,
	"src/evaluate.sh": `set -eu
echo started >> "$CHECKPOINT_DIR/evaluations"
cp "$CHECKPOINT_DIR/evaluations" "$METRICS_DIR/evaluations"
`,
}

// pushSpooled moves models and writes the spool as post-receive does.
func (s server) pushSpooled(t *testing.T) string {
	t.Helper()
	git(t, s.clone, "push", "-q", "origin", "HEAD:refs/heads/models")
	commit := git(t, s.repo, "rev-parse", "models")
	now := time.Now()
	if err := spool.Write(s.home, gitmodels.Push{
		ID: spool.NewID(now), Repository: s.repo, Pusher: gitmodels.Pusher{Name: "alice"}, At: now,
		Updates: []gitmodels.Update{{Old: gitmodels.CommitID(strings.Repeat("0", 40)), New: gitmodels.CommitID(commit), Ref: "refs/heads/models"}},
	}); err != nil {
		t.Fatal(err)
	}
	return commit
}

func TestCrashMatrix(t *testing.T) {
	t.Parallel()
	list := filepath.Join(t.TempDir(), "points")
	s := newServer(t)
	s.commit(t, "crash", crashProject)
	commit := s.pushSpooled(t)
	serveCrashing(t, s.home, "", list)
	s.wantOneOfEach(t, commit)
	b, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	points := strings.Split(strings.TrimSpace(string(b)), "\n")
	// Claims beyond the third find nothing to do, as do heartbeats.
	points = slices.DeleteFunc(points, func(p string) bool {
		var n int
		fmt.Sscanf(p[strings.LastIndexByte(p, ' ')+1:], "%d", &n)
		return n > 2 && (strings.Contains(p, "Claim") || strings.Contains(p, "Heartbeat"))
	})
	for _, must := range []string{"Batch", "Claim", "BeginStage", "EndStage", "Intend", "Submit", "Confirm", "Put", "store Finish", "Finish", "Publish", "DoneOutbox", "spool Remove"} {
		if !slices.Contains(points, "after "+must+" 1") {
			t.Errorf("the life of a run has no point after %s: %s", must, points)
		}
	}
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.commit(t, "crash", crashProject)
			commit := s.pushSpooled(t)
			err := serveCrashing(t, s.home, point, os.DevNull)
			var exit *exec.ExitError
			if err != nil && !(asExit(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL) {
				t.Fatalf("the runner ended by itself: %v", err)
			}
			serveCrashing(t, s.home, "", os.DevNull)
			s.wantOneOfEach(t, commit)
		})
	}
}

func asExit(err error, exit **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError)
	*exit = e
	return ok
}

// wantOneOfEach checks that the commit has exactly one of everything.
func (s server) wantOneOfEach(t *testing.T, commit string) {
	t.Helper()
	var row gitmodels.Listing
	if err := json.Unmarshal([]byte(runIn(t, s.repo, "show", "--json", commit).ok(t)), &row); err != nil {
		t.Fatal(err)
	}
	if row.State == nil || *row.State != gitmodels.Succeeded || *row.Attempt != 1 || len(row.Pushes) != 1 || len(row.Warnings) != 0 {
		t.Errorf("state %v, attempt %v, pushes %+v, warnings %v", row.State, row.Attempt, row.Pushes, row.Warnings)
	}
	for _, name := range []string{"artifacts/*/starts", "metrics/*/eval/evaluations"} {
		files, _ := filepath.Glob(filepath.Join(s.home, "store/dogs", name))
		if len(files) != 1 {
			t.Fatalf("%s: %q, want one", name, files)
		}
		if b, err := os.ReadFile(files[0]); err != nil || string(b) != "started\n" {
			t.Errorf("%s: %q, %v: want one job", name, b, err)
		}
	}
	if runs, _ := filepath.Glob(filepath.Join(s.home, "store/dogs/metrics/*/run.json")); len(runs) != 1 {
		t.Errorf("run.json: %q, want one", runs)
	}
	if notes := git(t, s.repo, "notes", "--ref=models", "list"); strings.Count(notes, "\n") != 0 || !strings.HasSuffix(notes, commit) {
		t.Errorf("notes: %s, want one, of %s", notes, commit)
	}
	if note := git(t, s.repo, "notes", "--ref=models", "show", commit); strings.Count(note, "State: succeeded") != 1 {
		t.Errorf("the note says %s", note)
	}
	if kept := git(t, s.repo, "rev-list", "--count", "refs/models/keep", "^"+commit); kept != "1" {
		t.Errorf("%s links in refs/models/keep, want 1", kept)
	}
	if left, _ := filepath.Glob(filepath.Join(s.home, "spool/*/*")); len(left) != 0 {
		t.Errorf("left in the spool: %q", left)
	}
}
