package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// children are what this binary does instead of its tests when LEDGER_CHILD
// names one: other processes on the same ledger.
var children = map[string]func() error{}

func TestMain(m *testing.M) {
	if name := os.Getenv("LEDGER_CHILD"); name != "" {
		if err := children[name](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if err := closeBig(); err != nil {
		fmt.Fprintln(os.Stderr, "removing the large ledger:", err)
		code = 1
	}
	os.Exit(code)
}

const models = gitmodels.RefName("refs/heads/models")

// bench is a ledger under test with a clock that stands until it is moved.
type bench struct {
	*Ledger
	t    testing.TB
	home string
	repo gitmodels.Repository

	mu  sync.Mutex
	now time.Time
	ids int
}

// newBench opens a fresh ledger with one repository, dogs.
func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, home: t.TempDir(), now: time.UnixMilli(1_800_000_000_000)}
	b.Ledger = b.open()
	b.repo = b.register("/srv/git/dogs.git", "dogs")
	return b
}

// open opens another handle on the same file, with the same clock and ids.
func (b *bench) open() *Ledger {
	b.t.Helper()
	l, err := Open(b.t.Context(), b.home, WithClock(b.clock), WithIDs(b.nextID))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := l.Close(); err != nil {
			b.t.Error(err)
		}
	})
	return l
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func (b *bench) nextID() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ids++
	return fmt.Sprintf("id-%06d", b.ids)
}

func (b *bench) register(path, name string, tips ...gitmodels.Tip) gitmodels.Repository {
	b.t.Helper()
	repo, _, err := b.Register(b.t.Context(), path, name, tips)
	if err != nil {
		b.t.Fatal(err)
	}
	return repo
}

// commit is a full id that begins with the given digits.
func commit(digits string) gitmodels.CommitID {
	return gitmodels.CommitID(digits + strings.Repeat("0", 39-len(digits)) + "1")
}

// newPush is a hook's entry for a push of one ref.
func (b *bench) newPush(id string, ref gitmodels.RefName, c gitmodels.CommitID) gitmodels.NewPush {
	return gitmodels.NewPush{Abbrev: 7, PushRecord: gitmodels.PushRecord{
		ID: id, RepositoryID: b.repo.ID, Update: gitmodels.Update{Old: zeroLike(c), New: c, Ref: ref},
		Pusher: gitmodels.Pusher{Name: "ann", Via: "GL_USER"}, Options: []string{"ci.variable=x"}, Protocol: "ssh",
		Source: gitmodels.SourceHook, At: b.clock()}}
}

func (b *bench) record(p gitmodels.NewPush) gitmodels.PushRecord {
	b.t.Helper()
	r, err := b.RecordPush(b.t.Context(), p)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// push records a push that runs and returns the run's id.
func (b *bench) push(c gitmodels.CommitID) string {
	b.t.Helper()
	r := b.record(b.newPush("push-"+string(c), models, c))
	if r.Decision != gitmodels.DecisionRun || r.RunID == "" {
		b.t.Fatalf("push of %s: decision %s, run %q", c, r.Decision, r.RunID)
	}
	return r.RunID
}

// claim claims a run that must be there.
func (b *bench) claim(owner string) *gitmodels.Claim {
	b.t.Helper()
	c := b.claimOf(owner, 100)
	if c == nil {
		b.t.Fatal("nothing to claim")
	}
	return c
}

func (b *bench) claimOf(owner string, maxRuns int) *gitmodels.Claim {
	b.t.Helper()
	c, err := b.Claim(b.t.Context(), owner, time.Minute, maxRuns, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func outcome(c *gitmodels.Claim, state gitmodels.State) gitmodels.Outcome {
	return gitmodels.Outcome{State: state, Cause: "exit status 0", Run: c.Run.Short, Attempt: c.Attempt.N, Name: c.Attempt.Name,
		Commit: c.Run.Commit, Repository: c.Repository.Name, Ref: c.Run.Ref, Subject: "train longer", Pusher: c.Attempt.Actor,
		Artifacts: "file:///store/a", Metrics: "file:///store/m", Log: "file:///store/log", Command: []string{"train"},
		Overrides: []string{"lr=0.1"}, Warnings: []string{"the log was capped"},
		Values: []gitmodels.Metric{{Name: "loss", Final: 0.25, Points: []gitmodels.Point{{Step: 1, Value: 0.5}, {Step: 2, Value: 0.25}}}}}
}

func (b *bench) finish(c *gitmodels.Claim, state gitmodels.State) {
	b.t.Helper()
	b.must(b.Finish(b.t.Context(), c, outcome(c, state)))
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) show(c gitmodels.CommitID) gitmodels.Listing {
	b.t.Helper()
	row, err := b.Show(b.t.Context(), b.repo.ID, c)
	b.must(err)
	return row
}

func (b *bench) state(c gitmodels.CommitID) gitmodels.State {
	b.t.Helper()
	row := b.show(c)
	if row.State == nil {
		return ""
	}
	return *row.State
}

// wantKind checks that err is an Error of that kind whose words hold each of
// parts.
func wantKind(t testing.TB, err error, kind gitmodels.Kind, parts ...string) {
	t.Helper()
	var e *gitmodels.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("error %v of kind %v, want an Error of kind %v", err, gitmodels.KindOf(err), kind)
	}
	for _, p := range parts {
		if !strings.Contains(e.Message+"\n"+e.Hint, p) {
			t.Errorf("error %q with hint %q lacks %q", e.Message, e.Hint, p)
		}
	}
}

func wantLost(t testing.TB, op string, err error) {
	t.Helper()
	if !errors.Is(err, gitmodels.ErrLeaseLost) {
		t.Errorf("%s by a worker without the lease: %v, want ErrLeaseLost", op, err)
	}
}

func TestIDsSortInOrder(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(5)
	next := newIDs(func() time.Time { return now })
	last := ""
	for i := range 70_000 { // more than one millisecond can count
		if i == 66_000 {
			now = now.Add(-time.Millisecond) // a clock that is set back
		}
		id := next()
		if id <= last || len(id) != 24 {
			t.Fatalf("id %d is %s after %s", i, id, last)
		}
		last = id
	}
	now = now.Add(time.Hour)
	if id := next(); id <= last {
		t.Errorf("%s an hour after %s", id, last)
	}
}

func TestRegisterNames(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, c := range []struct{ path, want string }{
		{"/srv/team/dogs.git", "team-dogs"},
		{"/other/team/dogs.git", "dogs-2"},
		{"/more/team/dogs.git", "dogs-3"},
		{"/srv/git/dogs.git", "dogs"}, // the one that is there
		{"/dogs.git", "dogs-4"},       // no folder to speak of
		{"/srv/my team/dogs.git", "dogs-5"},
		{"/srv/host.git/dogs.git", "host-dogs"},
	} {
		if got := b.register(c.path, "dogs").Name; got != c.want {
			t.Errorf("%s is named %s, want %s", c.path, got, c.want)
		}
	}
	for _, bad := range []string{"", ".", "..", "a/b", "-rf", "a b", "a\n", "ä"} {
		_, _, err := b.Register(t.Context(), "/srv/x.git", bad, nil)
		wantKind(t, err, gitmodels.Invalid)
	}
	for _, bad := range []string{"", "x.git", "/srv/../x.git", "/srv/x.git/"} {
		_, _, err := b.Register(t.Context(), bad, "x", nil)
		wantKind(t, err, gitmodels.Invalid)
	}
	repos, err := b.Repositories(t.Context())
	b.must(err)
	var names []string
	for _, r := range repos {
		names = append(names, r.Name)
	}
	if got, want := strings.Join(names, " "), "dogs dogs-2 dogs-3 dogs-4 dogs-5 host-dogs team-dogs"; got != want {
		t.Errorf("repositories %s, want %s", got, want)
	}
}

func TestRegisterSeesTipsOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	x, y, z := commit("aa"), commit("bb"), commit("cc")
	repo, added, err := b.Register(ctx, "/srv/git/cats.git", "cats", []gitmodels.Tip{{Ref: models, Commit: x}})
	if err != nil || !added {
		t.Fatalf("registering: added %v, %v", added, err)
	}
	row, err := b.Show(ctx, repo.ID, x)
	b.must(err)
	if row.Run != nil || row.Decision != gitmodels.DecisionSkipped || row.Reason == nil || *row.Reason != seenReason ||
		row.Pushes[0].Source != gitmodels.SourceSeen || row.Short != "aa00000" {
		t.Errorf("a tip that was there: %+v", row)
	}

	// While it is served an unseen tip is the reconciler's: it was pushed.
	again, added, err := b.Register(ctx, "/srv/git/cats.git", "kittens", []gitmodels.Tip{{Ref: models, Commit: y}})
	if err != nil || added || again != repo {
		t.Errorf("registering again: added %v, %+v, %v; want %+v", added, again, err, repo)
	}
	if _, err := b.Show(ctx, repo.ID, y); gitmodels.KindOf(err) != gitmodels.NotFound {
		t.Errorf("a second registration recorded a tip: %v", err)
	}

	b.must(b.Unregister(ctx, "/srv/git/cats.git"))
	wantKind(t, b.Unregister(ctx, "/srv/git/cats.git"), gitmodels.NotFound, "/srv/git/cats.git")
	p := b.newPush("late", models, y)
	p.RepositoryID = repo.ID
	_, err = b.RecordPush(ctx, p)
	wantKind(t, err, gitmodels.NotFound, "not registered")
	_, err = b.Rerun(ctx, repo.ID, x, "ann", 7)
	wantKind(t, err, gitmodels.NotFound, "not registered")

	b.pass(time.Hour)
	back, added, err := b.Register(ctx, "/srv/git/cats.git", "kittens", []gitmodels.Tip{{Ref: models, Commit: x}, {Ref: models, Commit: z}})
	if err != nil || !added || back.ID != repo.ID || back.Name != "cats" || !back.RegisteredAt.After(repo.RegisteredAt) {
		t.Errorf("coming back: added %v, %+v, %v", added, back, err)
	}
	tips, err := b.Known(ctx, repo.ID)
	b.must(err)
	if fmt.Sprint(tips) != fmt.Sprint([]gitmodels.Tip{{Ref: models, Commit: x}, {Ref: models, Commit: z}}) {
		t.Errorf("known after coming back: %v", tips)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	b.must(b.Event(ctx, b.repo.ID, "ref vanished", "models vanished"))
	b.must(b.Event(ctx, "", "set aside", "a stray file"))
	events, err := b.Events(ctx, b.repo.ID, 0)
	b.must(err)
	if len(events) != 2 || events[0].Kind != "ref vanished" || events[1].Kind != "registered" || !events[0].At.Equal(b.clock()) {
		t.Errorf("events of the repository: %+v", events)
	}
	if events, err = b.Events(ctx, b.repo.ID, 1); err != nil || len(events) != 1 || events[0].Kind != "ref vanished" {
		t.Errorf("the newest event: %+v, %v", events, err)
	}
	if events, err = b.Events(ctx, "", 0); err != nil || len(events) != 1 || events[0].Text != "a stray file" {
		t.Errorf("events of the host: %+v, %v", events, err)
	}
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.List(ctx, "", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("a list that nobody waits for: %v", err)
	}
	if _, err := b.RecordPush(ctx, b.newPush("p", models, commit("aa"))); !errors.Is(err, context.Canceled) {
		t.Errorf("a push that nobody waits for: %v", err)
	}
	if n, err := b.Live(t.Context()); n != 0 || err != nil {
		t.Errorf("%d live runs after a write that was broken off, %v", n, err)
	}
}
