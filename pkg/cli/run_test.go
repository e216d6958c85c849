package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/wire"
)

func TestRunSucceeds(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	runIn(t, s.repo, "ls").want(t, 0, "", "git-models: nothing was pushed to train yet\n")
	runIn(t, s.repo, "ls", "--json").want(t, 0, "[]\n", "")
	runIn(t, s.clone, "ls").want(t, 0, "", "git-models: no outcome has been fetched yet\ngit-models: hint: "+fetchNotes+"\n")
	runIn(t, s.clone, "ls", "--json").want(t, 0, "[]\n", "git-models: no outcome has been fetched yet\ngit-models: hint: "+fetchNotes+"\n")
	s.train(t)
	commit := git(t, s.clone, "rev-parse", "HEAD")

	for _, args := range [][]string{{"ls", "--json"}, {"ls", "--all", "--json"}, {"show", "--json", "models"}, {"show", "--json", commit[:5]},
		{"view", strings.ToUpper(commit[:7]), "--json"}, {"show", "--json", short(commit) + "-r2"}} {
		r := row(t, runIn(t, s.repo, args...).ok(t))
		if string(r.Commit) != commit || r.Run == nil || r.State == nil || *r.State != gitmodels.Succeeded ||
			r.Values["val_accuracy"] != 0.875 || r.Finished == nil || r.Image != nil {
			t.Errorf("%v: %+v", args, r)
		}
	}
	ls := runIn(t, s.repo, "list").ok(t)
	want := fmt.Sprintf(`^RUN +STATE +REF +RESULT +TOOK +WHEN\n%s +succeeded +models +val_accuracy=0.875 loss=0.25 \S+.* \d+s +\S.*\n$`, short(commit))
	if !regexp.MustCompile(want).MatchString(ls) {
		t.Errorf("ls:\n%s", ls)
	}
	show := runIn(t, s.repo, "show", "models").ok(t)
	for _, want := range []string{"commit      " + commit, `subject     first\x1b[31m \u202e<b>`, `x\x0aState: failed  1`,
		"command     sh src/train.sh optimizer.lr=0.01 experiment_name=" + short(commit), "STAGE", "PUSHED TO"} {
		if !strings.Contains(show, want) {
			t.Errorf("show has no %q:\n%s", want, show)
		}
	}
	noControls(t, "ls", ls)
	noControls(t, "show", show)

	// A log is copied as it is, but never to a terminal.
	raw := "training \x1b[31moptimizer.lr=0.01 experiment_name=" + short(commit) + "\x1b[0m\n"
	if got := runIn(t, s.repo, "logs", "models", "--stage", "train").ok(t); !strings.HasSuffix(got, raw) {
		t.Errorf("log: %q", got)
	}
	tty := runWith(t.Context(), Edges{Dir: s.repo, Args: []string{"logs", "models"}, Columns: 100})
	noControls(t, "logs", tty.ok(t))
	if !strings.Contains(tty.out, `\x1b[31moptimizer`) {
		t.Errorf("log on a terminal: %q", tty.out)
	}

	// Ended is ended.
	got := runIn(t, s.repo, "cancel", "models")
	if got.code != 1 || got.out != "" || !strings.Contains(got.err, "succeeded") {
		t.Errorf("cancel of an ended run: %+v", got)
	}

	// The clone reads the notes.
	git(t, s.clone, "fetch", "-q", "origin", "+refs/notes/models*:refs/notes/models*")
	fromNotes := "git-models: from the notes of the last git fetch; the server knows more\n"
	clone := runIn(t, s.clone, "ls")
	if !regexp.MustCompile(want).MatchString(clone.ok(t)) || clone.err != fromNotes {
		t.Errorf("the clone's ls:\n%s%s", clone.out, clone.err)
	}
	r := row(t, runIn(t, s.clone, "show", "--json", "HEAD").ok(t))
	if string(r.Commit) != commit || *r.State != gitmodels.Succeeded || r.Values["loss"] != 0.25 || r.Repository != "dogs" ||
		len(r.Refs) != 1 || r.Short != short(commit) || r.Run == nil || *r.Run != r.Short || r.Started == nil {
		t.Errorf("the clone's show: %+v", r)
	}
	clone = runIn(t, s.clone, "show", commit[:9])
	noControls(t, "the clone's show", clone.ok(t))
	if !strings.Contains(clone.out, `subject     first\x1b[31m`) || clone.err != fromNotes {
		t.Errorf("the clone's show: %+v", clone)
	}
	runIn(t, s.clone, "show", "abcdef0").want(t, 1, "", fromNotes+
		"git-models: error: no note tells of a run of abcdef0\ngit-models: hint: "+fetchNotes+"\n")
	for _, verb := range []string{"logs"} {
		runIn(t, s.clone, verb, "HEAD").want(t, 1, "",
			"git-models: error: refused: this is a clone, and in this version "+verb+" works on the server alone\n"+
				"git-models: hint: git models --repo "+s.repo+" "+verb+" "+commit[:12]+"\n")
	}
}

func TestFailedAndAgain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	commit := s.commit(t, "broken", map[string]string{"src/exit": "3"})
	s.push(t)
	alone := "git-models: recorded; no runner is answering, it will act when one starts\n" +
		"git-models: hint: git models runner --until-idle\n"

	// A cancel without a runner is recorded, and acted on when one starts.
	runIn(t, s.repo, "cancel", "models").want(t, 0, short(commit)+" cancelling\n", alone)
	runIn(t, s.repo, "runner", "--until-idle").ok(t)
	if r := row(t, runIn(t, s.repo, "ls", "--json").ok(t)); *r.State != gitmodels.Cancelled {
		t.Fatalf("state %s", *r.State)
	}
	runIn(t, s.repo, "rerun", commit[:6]).want(t, 0, short(commit)+"-r2 queued\n", alone)
	outside := strings.Replace(alone, "git models runner", "git models --repo "+s.repo+" runner", 1)
	got := runIn(t, s.clone, "--repo", s.repo, "rerun", "models")
	if got.code != 1 || !strings.Contains(got.err, "queued") {
		t.Errorf("rerun of a run under way: %+v", got)
	}
	runIn(t, s.clone, "cancel", "--repo", s.repo, "models").want(t, 0, short(commit)+"-r2 cancelling\n", outside)
	runIn(t, s.repo, "runner", "--until-idle").ok(t)
	runIn(t, s.repo, "rerun", "models").ok(t)
	runIn(t, s.repo, "runner", "--until-idle").ok(t)

	r := row(t, runIn(t, s.repo, "show", "--json", "models").ok(t))
	if *r.State != gitmodels.Failed || *r.Attempt != 3 || !strings.Contains(*r.Cause, "exit status 3") || len(r.Attempts) != 3 {
		t.Errorf("%+v", r)
	}
	if ls := runIn(t, s.repo, "ls").ok(t); !strings.Contains(ls, "failed") || !strings.Contains(ls, "exit status 3") {
		t.Errorf("ls:\n%s", ls)
	}
	if show := runIn(t, s.repo, "show", "models").ok(t); !strings.Contains(show, "ATTEMPT  NAME") {
		t.Errorf("show:\n%s", show)
	}
	git(t, s.clone, "fetch", "-q", "origin", "+refs/notes/models*:refs/notes/models*")
	r = row(t, runIn(t, s.clone, "show", "--json", "HEAD").ok(t))
	if *r.State != gitmodels.Failed || *r.Attempt != 3 || len(r.Attempts) != 2 || r.Attempts[1].State != gitmodels.Cancelled {
		t.Errorf("the clone: %+v", r)
	}
}

// startRunner serves s until the test ends, and waits until it answers.
func (s server) startRunner(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan said, 1)
	go func() { ended <- runWith(ctx, Edges{Dir: s.repo, Args: []string{"runner"}}) }()
	t.Cleanup(func() {
		cancel()
		if got := <-ended; got.code != 0 {
			t.Errorf("the runner ended with %+v", got)
		}
	})
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := wire.Call(ctx, s.home, wire.Request{Op: wire.Ping}, nil)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no runner: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestWithRunner(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.startRunner(t)
	runIn(t, s.repo, "ls").want(t, 0, "", "git-models: nothing was pushed to train yet\n")
	commit := s.commit(t, "long", map[string]string{"src/sleep": "300"})
	git(t, s.clone, "push", "-q", "origin", "HEAD:refs/heads/models")
	got := runIn(t, s.repo, "reconcile")
	if got.code != 0 || got.err != "" {
		t.Errorf("reconcile: %+v", got)
	}
	if r := row(t, runIn(t, s.repo, "ls", "--json").ok(t)); string(r.Commit) != commit {
		t.Errorf("recorded is %s", r.Commit)
	}
	runIn(t, s.clone, "reconcile", s.repo).want(t, 0, "nothing was missing\n", "")

	// A second runner refuses to start.
	got = runIn(t, s.repo, "runner")
	if got.code != 1 || !strings.Contains(got.err, "git-models: error: another runner serves this home") {
		t.Errorf("a second runner: %+v", got)
	}

	// Following shows the first line while the job runs, and ends with the run.
	line := newWatch("training")
	followed := make(chan said, 1)
	go func() {
		for {
			got := runWith(t.Context(), Edges{Dir: s.repo, Args: []string{"logs", "-f", "models"}, Stdout: line})
			if got.code == 0 || t.Context().Err() != nil {
				followed <- got
				return
			}
		}
	}()
	select {
	case <-line.seen:
	case <-time.After(30 * time.Second):
		t.Fatal("no line of the log in 30 s")
	}
	got = runIn(t, s.repo, "cancel", "models")
	if got.code != 0 || !strings.HasPrefix(got.out, short(commit)+" cancel") || got.err != "" {
		t.Errorf("cancel: %+v", got)
	}
	select {
	case <-followed:
	case <-time.After(60 * time.Second):
		t.Fatal("following did not end with the run")
	}
	r := row(t, runIn(t, s.repo, "show", "--json", "models").ok(t))
	if *r.State != gitmodels.Cancelled && *r.State != gitmodels.Cancelling {
		t.Errorf("state %s", *r.State)
	}
	got = runIn(t, s.repo, "show", "abcdef0")
	if got.code != 1 || !strings.Contains(got.err, "abcdef0") {
		t.Errorf("no such commit: %+v", got)
	}
}

// watch is a writer that tells when a word was written.
type watch struct {
	word string
	text strings.Builder
	seen chan struct{}
	done bool
}

func newWatch(word string) *watch { return &watch{word: word, seen: make(chan struct{})} }

func (w *watch) Write(b []byte) (int, error) {
	w.text.Write(b)
	if !w.done && strings.Contains(w.text.String(), w.word) {
		w.done = true
		close(w.seen)
	}
	return len(b), nil
}

func TestStranger(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a state directory away")
	}
	s := newServer(t)
	s.train(t)
	if err := os.Chown(s.home, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	fromNotes := "git-models: no runner is answering, and its state directory belongs to another user: this is from the notes\n"
	got := runIn(t, s.repo, "ls")
	if got.code != 0 || !strings.Contains(got.out, "succeeded") || got.err != fromNotes {
		t.Errorf("ls: %+v", got)
	}
	got = runIn(t, s.repo, "show", "models")
	if got.code != 0 || !strings.Contains(got.out, "succeeded") || got.err != fromNotes {
		t.Errorf("show: %+v", got)
	}
	for _, args := range [][]string{{"cancel", "models"}, {"rerun", "models"}, {"logs", "models"}, {"ls", "--all"}, {"reconcile"}, {"runner"}} {
		got := runIn(t, s.repo, args...)
		if got.code != 1 || got.out != "" || !strings.Contains(got.err, "belongs to another user") {
			t.Errorf("%v: %+v", args, got)
		}
	}
	info, err := os.Stat(filepath.Join(s.home, ledgerFile))
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("the ledger was touched: %v", err)
	}
}

const ledgerFile = "ledger.db"

func TestLsIsShort(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for i := range 3 {
		s.commit(t, fmt.Sprintf("step %d", i), map[string]string{"src/step": fmt.Sprint(i)})
		s.push(t)
	}
	all := runIn(t, s.repo, "ls").ok(t)
	got := runIn(t, s.repo, "ls", "-n2")
	if n := strings.Count(got.ok(t), "\n"); n != 3 {
		t.Errorf("%d lines:\n%s", n, got.out)
	}
	if !strings.HasPrefix(all, strings.SplitAfterN(got.out, "\n", 2)[0]) || got.err != "git-models: the newest 2; all of them: git models ls -n 0\n" {
		t.Errorf("%s%s", got.out, got.err)
	}
	if got := runIn(t, s.repo, "ls", "-n", "3"); got.err != "" || strings.Count(got.out, "\n") != 4 {
		t.Errorf("%+v", got)
	}
	var list []gitmodels.Listing
	if err := json.Unmarshal([]byte(runIn(t, s.repo, "ls", "--json", "-n1").ok(t)), &list); err != nil || len(list) != 1 {
		t.Errorf("%v, %d rows", err, len(list))
	}
	if string(list[0].Commit) != git(t, s.clone, "rev-parse", "HEAD") {
		t.Errorf("the first row is not the newest: %s", list[0].Commit)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.train(t)
	commit := git(t, s.clone, "rev-parse", "HEAD")
	every := ""
	term, _, _ := newTerminal(80)
	for _, c := range (&program{terminal: term}).app().Commands {
		if !c.Hidden {
			every += c.Name + " "
		}
	}
	every += "help"
	tests := map[string]string{
		"":                     every,
		"l":                    "ls log logs lint",
		"help rer":             "rerun",
		"ls --":                "--number --sort --reverse --since --all --json --repo --home --color",
		"--h":                  "--home",
		"completion ":          "bash zsh fish",
		"show ":                short(commit),
		"cancel " + commit[:2]: short(commit),
		"show zz":              "",
		"lst ":                 "",
		"runner --d":           "",
	}
	for in, want := range tests {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			typed := strings.Split(in, " ")
			got := runIn(t, s.repo, append(typed, completionFlag)...)
			if diff := cmp.Diff(want, strings.Join(strings.Fields(got.out), " ")); diff != "" || got.code != 0 || got.err != "" {
				t.Errorf("%d %s(-want +got):\n%s", got.code, got.err, diff)
			}
		})
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script := runIn(t, s.repo, "completion", shell).ok(t)
		if !strings.Contains(script, completionFlag) {
			t.Errorf("the script for %s asks for nothing:\n%s", shell, script)
		}
	}
}

func TestColourOnTerminals(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.train(t)
	tests := []struct {
		columns int
		env     string
		args    []string
		colour  bool
	}{
		{0, "", []string{"ls"}, false},
		{100, "", []string{"ls"}, true},
		{100, "NO_COLOR=1", []string{"ls"}, false},
		{100, "TERM=dumb", []string{"ls"}, false},
		{100, "NO_COLOR=1", []string{"ls", "--color", "always"}, true},
		{0, "", []string{"--color=always", "ls"}, true},
		{100, "", []string{"ls", "--colour=never"}, false},
		{100, "", []string{"ls", "--json"}, false},
	}
	for _, tt := range tests {
		env := append(os.Environ(), "TERM=xterm", "NO_COLOR=", tt.env)
		got := runWith(t.Context(), Edges{Dir: s.repo, Args: tt.args, Columns: tt.columns, Env: env})
		if has := strings.Contains(got.ok(t), "\x1b[32msucceeded\x1b[m"); has != tt.colour {
			t.Errorf("%+v: colour %v\n%s", tt, has, got.out)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	runIn(t, t.TempDir(), "version").want(t, 0, "git-models "+gitmodels.Version+"\n", "")
	runIn(t, t.TempDir(), "--version").want(t, 0, "git-models "+gitmodels.Version+"\n", "")
}
