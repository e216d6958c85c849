package runner_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
	"github.com/git-models/git-models/pkg/ledger"
	"github.com/git-models/git-models/pkg/metrics"
	"github.com/git-models/git-models/pkg/notify"
	"github.com/git-models/git-models/pkg/policy"
	"github.com/git-models/git-models/pkg/publish"
	"github.com/git-models/git-models/pkg/runner"
	"github.com/git-models/git-models/pkg/spool"
	"github.com/git-models/git-models/pkg/store"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

const models = gitmodels.RefName("refs/heads/models")

// site is a state directory with a repository, served by real adapters and a
// scripted trainer.
type site struct {
	t       *testing.T
	home    string
	bare    string
	work    string
	ledger  *ledger.Ledger
	trainer *trainer
	cfg     runner.Config
	logs    *recorder
	repo    gitmodels.Repository
	pushes  int
}

// newSite makes one with an allowed engine, a repository whose branch models
// does not exist yet, and a runner's configuration in quick paces.
func newSite(t *testing.T) *site {
	t.Helper()
	// A home of its own keeps the user's git configuration out.
	dir := t.TempDir()
	s := &site{t: t, home: filepath.Join(dir, "home"), logs: newRecorder()}
	for _, d := range []string{s.home, filepath.Join(dir, "user")} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	s.configure("[models]\n\tengine = process\n\tallowProcess = true\n")
	if err := spool.Prepare(s.home, -1); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.ledger, err = ledger.Open(t.Context(), s.home); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.ledger.Close() })
	s.trainer = newTrainer(t, filepath.Join(dir, "trainer"))
	s.cfg = siteConfig(s.home, s.ledger, s.trainer)
	s.cfg.Log = slog.New(s.logs)
	s.bare, s.work, s.repo = s.newRepository("dogs")
	return s
}

// siteConfig wires real adapters as the command line does.
func siteConfig(home string, l gitmodels.Ledger, tr gitmodels.Trainer) runner.Config {
	return runner.Config{
		Home: home, Version: "test", Ledger: l, Spool: spoolPort{home},
		Open: func(path string) (runner.Repo, error) {
			r, err := gitrepo.Open(path)
			if err != nil {
				return nil, err
			}
			return repoPort{r}, nil
		},
		Policy: func(ctx context.Context, repo runner.Repo) (*policy.Policy, []policy.Problem, error) {
			entries, err := repo.(repoPort).Config(ctx, filepath.Join(home, "config"))
			if err != nil {
				return nil, nil, err
			}
			p, problems := policy.Parse(entries, policy.Runner.At(home))
			return p, problems, nil
		},
		Trainers:  map[string]gitmodels.Trainer{"process": tr},
		Store:     store.New(home),
		Publisher: &publish.Publisher{Open: func(path string) (publish.Refs, error) { return gitrepo.Open(path) }},
		Notify:    notify.Run,
		Metrics:   metrics.Read,
		Pace: runner.Pace{Spool: 20 * time.Millisecond, Claim: 20 * time.Millisecond, Reconcile: time.Hour, Status: 5 * time.Millisecond,
			Settle: time.Nanosecond, Lease: 5 * time.Second, Backoff: time.Millisecond, Waiting: 10 * time.Millisecond},
	}
}

// configure writes the protected configuration.
func (s *site) configure(text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.home, "config"), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// newRepository makes and registers a bare repository, and a clone to work in.
func (s *site) newRepository(name string) (bare, work string, repo gitmodels.Repository) {
	s.t.Helper()
	dir := s.t.TempDir()
	bare, work = filepath.Join(dir, name+".git"), filepath.Join(dir, "work")
	s.git(dir, "init", "-q", "--bare", bare)
	s.git(bare, "config", "core.logAllRefUpdates", "always")
	s.git(dir, "init", "-q", "-b", "main", work)
	s.git(work, "remote", "add", "origin", bare)
	repo, _, err := s.ledger.Register(s.t.Context(), bare, name, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.file(work, ".models.yaml", "train:\n  command: [python3, train.py]\n")
	s.file(work, "src/train.py", "print('hello')\n")
	s.commit(work, "the first commit")
	return bare, work, repo
}

// git runs git and returns what it says.
func (s *site) git(dir string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.t.TempDir(), "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

func (s *site) file(dir, name, text string) {
	s.t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// commit records all files and returns the new commit.
func (s *site) commit(work, subject string) gitmodels.CommitID {
	s.t.Helper()
	s.git(work, "add", "-A")
	s.git(work, "commit", "-q", "--allow-empty", "-m", subject)
	return gitmodels.CommitID(s.git(work, "rev-parse", "HEAD"))
}

// change commits a change that trains.
func (s *site) change(text string) gitmodels.CommitID {
	s.t.Helper()
	s.file(s.work, "src/train.py", "print('"+text+"')\n")
	return s.commit(s.work, text)
}

// move pushes HEAD of the work tree to ref, without a word to the spool.
func (s *site) move(ref gitmodels.RefName) gitmodels.Update {
	s.t.Helper()
	return s.moveIn(s.work, s.bare, ref)
}

func (s *site) moveIn(work, bare string, ref gitmodels.RefName) gitmodels.Update {
	s.t.Helper()
	after := gitmodels.CommitID(s.git(work, "rev-parse", "HEAD"))
	before := gitmodels.CommitID(strings.Repeat("0", len(after)))
	if out := s.git(bare, "for-each-ref", "--format=%(objectname)", string(ref)); out != "" {
		before = gitmodels.CommitID(out)
	}
	s.git(work, "push", "-q", "--force", "origin", "HEAD:"+string(ref))
	return gitmodels.Update{Old: before, New: after, Ref: ref}
}

// push moves the ref and spools the push as post-receive does.
func (s *site) push(ref gitmodels.RefName, options ...string) gitmodels.CommitID {
	s.t.Helper()
	u := s.move(ref)
	s.spool(s.bare, options, u)
	return u.New
}

// spool writes a spool file.
func (s *site) spool(repository string, options []string, updates ...gitmodels.Update) string {
	s.t.Helper()
	s.pushes++
	p := gitmodels.Push{ID: spool.NewID(time.Now()), Repository: repository, Updates: updates, Options: options,
		Pusher: gitmodels.Pusher{Name: "ada", Via: "USER"}, Protocol: "path", At: time.Now()}
	if err := spool.Write(s.home, p); err != nil {
		s.t.Fatal(err)
	}
	return p.ID
}

// serving is a runner at work.
type serving struct {
	s    *site
	r    *runner.Runner
	stop context.CancelFunc
	done chan struct{}
	err  error
}

// serve starts a runner that serves until it is stopped.
func (s *site) serve() *serving {
	s.t.Helper()
	r, err := runner.New(s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	v := &serving{s: s, r: r, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(v.done)
		v.err = r.Run(ctx, false)
	}()
	s.t.Cleanup(v.end)
	return v
}

// end stops the runner as SIGTERM does and waits for it.
func (v *serving) end() {
	v.s.t.Helper()
	v.stop()
	select {
	case <-v.done:
	case <-time.After(patience):
		v.s.t.Fatal("the runner does not stop")
	}
	if v.err != nil {
		v.s.t.Errorf("Run: %v", v.err)
	}
}

// untilIdle serves until nothing is left to do.
func (s *site) untilIdle() {
	s.t.Helper()
	r, err := runner.New(s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(s.t.Context(), patience)
	defer stop()
	if err := r.Run(ctx, true); err != nil {
		s.t.Fatalf("Run: %v", err)
	}
	if ctx.Err() != nil {
		s.t.Fatalf("the runner was not idle in time\n%s", s.logs)
	}
}

// show is the row of a commit.
func (s *site) show(commit gitmodels.CommitID) gitmodels.Listing {
	s.t.Helper()
	row, err := s.ledger.Show(s.t.Context(), s.repo.ID, commit)
	if err != nil {
		s.t.Fatalf("show %s: %v\n%s", commit, err, s.logs)
	}
	return row
}

// state is the state of a commit's run, or of nothing.
func (s *site) state(commit gitmodels.CommitID) gitmodels.State {
	row, err := s.ledger.Show(context.Background(), s.repo.ID, commit)
	if err != nil || row.State == nil {
		return ""
	}
	return *row.State
}

// want fails unless the run of commit is in that state with a cause that holds
// words.
func (s *site) want(commit gitmodels.CommitID, state gitmodels.State, words string) gitmodels.Listing {
	s.t.Helper()
	row := s.show(commit)
	if row.State == nil || *row.State != state {
		s.t.Fatalf("the run of %s is %v (%v), want %s\n%s", row.Short, deref(row.State), deref(row.Cause), state, s.logs)
	}
	if !strings.Contains(fmt.Sprint(deref(row.Cause)), words) {
		s.t.Fatalf("the run of %s ended with %q, want %q in it", row.Short, deref(row.Cause), words)
	}
	return row
}

func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

// await waits until cond holds, looking whenever the runner logs something.
func (s *site) await(what string, cond func() bool) {
	s.t.Helper()
	deadline := time.After(patience)
	for {
		next := s.logs.next()
		if cond() {
			return
		}
		select {
		case <-next:
		case <-time.After(10 * time.Millisecond): // what no log line tells of
		case <-deadline:
			s.t.Fatalf("waited in vain for %s\n%s", what, s.logs)
		}
	}
}

// awaitState waits for a state of a commit's run.
func (s *site) awaitState(commit gitmodels.CommitID, state gitmodels.State) {
	s.t.Helper()
	s.await(fmt.Sprintf("%s to be %s", commit.Short(7), state), func() bool { return s.state(commit) == state })
}

// awaitPublished waits until no outcome is on its way.
func (s *site) awaitPublished() {
	s.t.Helper()
	s.await("the outbox to be empty", func() bool {
		n, err := s.ledger.PendingOutbox(context.Background())
		return err == nil && n == 0
	})
}

// note is what git shows beside a commit.
func (s *site) note(commit gitmodels.CommitID) string {
	s.t.Helper()
	return s.git(s.bare, "notes", "--ref=models", "show", string(commit))
}

// recorder keeps log lines and wakes who waits for them.
type recorder struct {
	mu    sync.Mutex
	lines []string
	wake  chan struct{}
}

func newRecorder() *recorder { return &recorder{wake: make(chan struct{})} }

func (l *recorder) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wake
}

func (l *recorder) Enabled(context.Context, slog.Level) bool { return true }
func (l *recorder) WithGroup(string) slog.Handler            { return l }
func (l *recorder) WithAttrs(attrs []slog.Attr) slog.Handler { return &recorderWith{l, attrs} }
func (l *recorder) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	close(l.wake)
	l.wake = make(chan struct{})
	return nil
}

func (l *recorder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// count is how many lines hold text.
func (l *recorder) count(text string) int { return strings.Count(l.String(), text) }

type recorderWith struct {
	*recorder
	attrs []slog.Attr
}

func (l *recorderWith) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &recorderWith{l.recorder, append(append([]slog.Attr(nil), l.attrs...), attrs...)}
}

func (l *recorderWith) Handle(ctx context.Context, r slog.Record) error {
	r.AddAttrs(l.attrs...)
	return l.recorder.Handle(ctx, r)
}

// repoPort is a repository as the runner sees it.
type repoPort struct{ *gitrepo.Repo }

func (r repoPort) Session(ctx context.Context) runner.Session { return r.Repo.Session(ctx) }

// spoolPort is the spool of a state directory.
type spoolPort struct{ home string }

func (p spoolPort) Entries() ([]gitmodels.SpoolEntry, error)        { return spool.Entries(p.home) }
func (spoolPort) Remove(e gitmodels.SpoolEntry) error               { return spool.Remove(e) }
func (spoolPort) SetAside(e gitmodels.SpoolEntry, why string) error { return spool.SetAside(e, why) }
