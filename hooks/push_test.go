package hooks

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAccepted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	out := ours(s.pushed("main:models"))
	tip := s.git(s.work, "rev-parse", "main")
	for _, w := range []string{
		"git-models: accepted " + tip[:7] + " on models: it runs\n",
		"warning: " + tip[:7] + " is on no branch but models: work that\ngit-models:   goes on from another branch will lack it\n", "git-models: hint: git push origin HEAD\n",
		"no runner is answering.", "Nothing is lost.", "on the server: git models --home " + s.path("state") + " runner\n",
		`git fetch origin "+refs/notes/models*:refs/notes/models*"`, "stop   git push origin " + tip[:7] + ":refs/run/cancel\n",
		"artifacts file://" + s.path("state") + "/store/server/artifacts/" + tip[:7] + "\n",
	} {
		if !strings.Contains(out, w) {
			t.Errorf("no %q in\n%s", w, out)
		}
	}
	for line := range strings.Lines(out) {
		if len(line) > 71 && !strings.Contains(line, "git models") && !strings.Contains(line, "git fetch") && !strings.Contains(line, "artifacts file:") {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
	entries := s.spooled()
	if len(entries) != 1 || entries[0].Err != nil {
		t.Fatalf("spool: %+v", entries)
	}
	p := entries[0].Push
	if resolved, err := filepath.EvalSymlinks(s.path("server.git")); err != nil || p.Repository != resolved {
		t.Errorf("repository %s, want %s (%v)", p.Repository, resolved, err)
	}
	if string(p.Updates[0].New) != tip || !p.Updates[0].Creates() || p.Pusher.Name == "" || p.Protocol != "path" {
		t.Errorf("push %+v", p)
	}

	// Once published, nobody is warned any more.
	s.pushed("main")
	s.commit("second")
	s.commit("third")
	s.pushed("main")
	if out := ours(s.pushed("main:models")); !strings.Contains(out, "2 commits, the last one runs") || strings.Contains(out, "warning") {
		t.Errorf("receipt:\n%s", out)
	}
	if out := ours(s.pushed("main:topic", "main:refs/tags/v1")); out != "" {
		t.Errorf("ungoverned refs: our words\n%s", out)
	}
	if out := ours(s.pushed(":topic")); out != "" {
		t.Errorf("delete of an ungoverned ref: our words\n%s", out)
	}
	if n := len(s.spooled()); n != 2 {
		t.Errorf("%d spool files, want 2", n)
	}
}

// A receipt counts what a push brought: for a ref that it creates, what no other
// branch of the server holds, up to a bound.
func TestReceiptCounts(t *testing.T) {
	t.Parallel()
	s := newSite(t, "models.validate", "off", "models.layout", "team")
	s.commit("second")
	s.commit("third")
	says := func(want string, refs ...string) {
		t.Helper()
		if out := unwrapped(s.pushed(refs...)); !strings.Contains(out, want+"\n") {
			t.Errorf("push %v: no %q in\n%s", refs, want, out)
		}
	}
	says("on models/first: 3 commits, the last one runs", "main:models/first")
	s.pushed("main")
	says("on models/same: it runs", "main:models/same")
	s.commit("fourth")
	says("on models/one: it runs", "main:models/one")
	s.commit("fifth")
	out := unwrapped(s.pushed("main:models/one", "main:models/two"))
	for _, w := range []string{"on models/one: it runs", "on models/two: it runs",
		"is on no branch but models/one and 1 other:", "goes on from main"} {
		if !strings.Contains(out, w) {
			t.Errorf("no %q in\n%s", w, out)
		}
	}
	says("on models/none: skipped as asked", "-o", "skip", "main:models/none")

	// A ref with a long history of its own.
	var script bytes.Buffer
	for i := range 1001 {
		fmt.Fprintf(&script, "commit refs/heads/long\ncommitter A <a@example.com> %d +0000\ndata 1\nx\n", 1700000000+i)
	}
	cmd := s.command(s.work, "git", "fast-import", "--quiet")
	cmd.Stdin = &script
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("fast-import: %v\n%s", err, out)
	}
	says("on models/long: its last commit runs", "long:models/long")
	s.server("update-ref", "-d", "refs/heads/models/long")
	says("on models/shorter: 1000 commits, the last one runs", "long~1:refs/heads/models/shorter")
}

// unwrapped are our lines as long as they were meant.
func unwrapped(out string) string { return strings.ReplaceAll(ours(out), "\ngit-models:   ", " ") }

// A pack, loose objects, an alternate, SHA-256 and replace refs: the gate sees
// the same history.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	s := newSite(t, "models.validate", "off")
	s.pushed("main:models")
	var script bytes.Buffer
	tip := s.git(s.work, "rev-parse", "main")
	for i := range 150 {
		fmt.Fprintf(&script, "commit refs/heads/main\ncommitter A <a@example.com> %d +0000\ndata 1\nx\n", 1700000000+i)
		if i == 0 {
			fmt.Fprintf(&script, "from %s\n", tip)
		}
		fmt.Fprintf(&script, "M 100644 inline src/n\ndata %d\n%d\n", len(fmt.Sprint(i)), i)
	}
	cmd := s.command(s.work, "git", "fast-import", "--quiet")
	cmd.Stdin = &script
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("fast-import: %v\n%s", err, out)
	}
	if out := ours(s.pushed("main:models")); !strings.Contains(out, "150 commits, the last one runs") {
		t.Errorf("receipt:\n%s", out)
	}
	// A replaced object must not make a rewind look like a step forward.
	s.server("update-ref", "refs/replace/"+s.git(s.work, "rev-parse", "main~5"), s.git(s.work, "rev-parse", "main"))
	if status, out := s.push("--force", "main~5:models"); status == 0 || !strings.Contains(out, "never rewound") {
		t.Errorf("status %d\n%s", status, out)
	}
}

func TestSHA256(t *testing.T) {
	t.Parallel()
	s := newSite(t, "models.validate", "off")
	for _, dir := range []string{"server.git", "work"} {
		if err := os.RemoveAll(s.path(dir, "objects")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(s.path("work")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.path("server.git", "hooks"), s.path("hooks")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.path("server.git")); err != nil {
		t.Fatal(err)
	}
	s.git(s.dir, "init", "-q", "--bare", "--template=", "--object-format=sha256", "-b", "main", "server.git")
	if err := os.Rename(s.path("hooks"), s.path("server.git", "hooks")); err != nil {
		t.Fatal(err)
	}
	s.set("models.home", s.path("state"))
	s.set("models.validate", "off")
	s.git(s.dir, "init", "-q", "-b", "main", "--object-format=sha256", "work")
	s.git(s.work, "remote", "add", "origin", "../server.git")
	s.commit("first")
	s.pushed("main:models")
	s.git(s.work, "commit", "-q", "--amend", "-m", "again")
	if status, out := s.push("--force", "main:models"); status == 0 || len(hints(out)) != 1 {
		t.Errorf("status %d\n%s", status, out)
	}
	if e := s.spooled(); len(e) != 1 || e[0].Err != nil {
		t.Errorf("spool: %+v", e)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	s := newSite(t, "models.validate", "off")
	option := func(args ...string) (int, string) {
		t.Helper()
		return s.try(s.work, "git", append([]string{"push"}, args...)...)
	}
	for _, o := range []string{"priority", "priority=101", "each=2", "skpi", "models.x", "SKIP", "models.follow=yes"} {
		if status, out := option("-o", o, "origin", "main:models"); status == 0 || !strings.Contains(out, "git-models: refused -o "+o) {
			t.Errorf("-o %s: status %d\n%s", o, status, out)
		}
	}
	if status, out := option("-o", "skip", "-o", "again", "origin", "main:models"); status == 0 || !strings.Contains(out, "refused -o skip with -o again:") {
		t.Errorf("-o skip -o again: status %d\n%s", status, out)
	}
	if status, out := option("-o", "plan", "-o", "skpi", "origin", "main"); status != 0 || ours(out) != "" {
		t.Errorf("without a governed ref: status %d\n%s", status, out)
	}
	if status, out := option("-o", "ci.skip", "-o", "skip", "origin", "main:models"); status != 0 || !strings.Contains(out, "on models: skipped as asked") {
		t.Errorf("-o skip: status %d\n%s", status, out)
	}
	s.commit("second")
	if status, out := option("-o", "priority=7", "-o", "models.again", "-o", "follow", "origin", "main:models"); status != 0 ||
		!strings.Contains(out, "on models: it runs") || !strings.Contains(unwrapped(out), "there is nothing to follow while no runner is answering\n") {
		t.Errorf("status %d\n%s", status, out)
	}
	var options []string
	for _, e := range s.spooled() {
		options = append(options, strings.Join(e.Push.Options, " "))
	}
	if d := cmp.Diff([]string{"ci.skip skip", "priority=7 models.again follow"}, options); d != "" {
		t.Error(d)
	}
}

// A push may start so many runs and no more; the hint leads on.
func TestEach(t *testing.T) {
	t.Parallel()
	s := newSite(t, "models.validate", "off")
	s.pushed("main:models")
	for i := range 3 {
		s.commit(fmt.Sprint("more ", i))
	}
	if out := unwrapped(s.pushed("-o", "each", "main:models")); !strings.Contains(out, "3 commits, each of them runs, oldest first\n") {
		t.Errorf("receipt:\n%s", out)
	}
	var script bytes.Buffer
	tip := s.git(s.work, "rev-parse", "main")
	for i := range 60 {
		fmt.Fprintf(&script, "commit refs/heads/main\ncommitter A <a@example.com> %d +0000\ndata 1\nx\n", 1700000000+i)
		if i == 0 {
			fmt.Fprintf(&script, "from %s\n", tip)
		}
	}
	cmd := s.command(s.work, "git", "fast-import", "--quiet")
	cmd.Stdin = &script
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("fast-import: %v\n%s", err, out)
	}
	status, out := s.push("-o", "each", "main:models")
	if status == 0 || !strings.Contains(unwrapped(out), "refused -o each: the push brings 60 commits, and at most 50 run at once by each\n") || len(hints(out)) != 1 {
		t.Fatalf("status %d\n%s", status, out)
	}
	if status, out := s.try(s.work, "sh", "-c", hints(out)[0]); status != 0 || !strings.Contains(unwrapped(out), "50 commits, each of them runs") {
		t.Errorf("the hint: status %d\n%s", status, out)
	}
	if out := unwrapped(s.pushed("-o", "each", "main:models")); !strings.Contains(out, "10 commits, each of them runs") {
		t.Errorf("the rest:\n%s", out)
	}
}

// Whoever may write the repository's configuration puts no command into what
// others paste.
func TestPasted(t *testing.T) {
	t.Parallel()
	s := newSite(t, "models.notesRef", "refs/notes/a$(touch${IFS}pwned)'`touch${IFS}pwned`")
	_, command, ok := strings.Cut(ours(s.pushed("main:models")), "git-models: outcome  ")
	if !ok {
		t.Fatal("no outcome is told")
	}
	command, _, _ = strings.Cut(command, "\n")
	// There is no note yet, so that it fails; git must have been asked for the ref.
	if _, out := s.try(s.work, "sh", "-c", command); !strings.Contains(out, "notes/a$(touch${IFS}pwned)'`touch${IFS}pwned`") {
		t.Errorf("%s\n%s", command, out)
	}
	if _, err := os.Stat(filepath.Join(s.work, "pwned")); err == nil {
		t.Errorf("a command of the configuration ran: %s", command)
	}
}

// A stranger's hooks that were here first see what git gave us, and may refuse.
func TestChained(t *testing.T) {
	t.Parallel()
	s := newSite(t, "models.validate", "off")
	stranger := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(s.path("server.git", "hooks", name+".before-git-models"), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	stranger("pre-receive", "while read old new ref; do echo pre $ref $GIT_DIR; case $ref in */forbidden) exit 3;; esac; done\n")
	stranger("post-receive", "while read old new ref; do echo post $ref; done; ls "+s.path("state/spool/new")+"\n")
	out := s.pushed("main:models", "main:topic")
	for _, w := range []string{"pre refs/heads/models .", "pre refs/heads/topic", "post refs/heads/models", "git-models: accepted", ".json"} {
		if !strings.Contains(out, w) {
			t.Errorf("no %q in\n%s", w, out)
		}
	}
	if strings.Index(out, "post refs/heads/models") > strings.Index(out, "git-models: accepted") {
		t.Errorf("the receipt is not the last word:\n%s", out)
	}
	if status, _ := s.push("main:forbidden"); status == 0 {
		t.Error("the stranger's refusal did not count")
	}
	s.commit("second")
	if status, _ := s.push("main:models", "main:forbidden"); status == 0 {
		t.Error("the stranger's refusal did not count beside a governed ref")
	}
}

// Whatever is wrong with the gate itself refuses the push, in one line.
func TestFailsClosed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.pushed("main:models")
	s.commit("second")
	before := s.refs()
	s.set("models.validate", "perhaps")
	status, out := s.push("main:models")
	words := ours(out)
	if status == 0 || strings.Count(words, "\n") != 1 || !strings.HasPrefix(words, "git-models: refused, nothing moved") {
		t.Errorf("status %d\n%s", status, out)
	}
	if s.refs() != before {
		t.Error("a ref moved")
	}
	id := regexp.MustCompile(`id ([0-9a-f]{12})`).FindStringSubmatch(words)
	log, err := os.ReadFile(s.path("state", "log", "hooks.log"))
	if err != nil || id == nil || !strings.Contains(string(log), id[1]) || !strings.Contains(string(log), "perhaps") {
		t.Errorf("log %q (%v) for %s", log, err, words)
	}
	s.server("config", "--unset-all", "models.validate")

	// Lines that git would never write.
	tip, zero := s.git(s.work, "rev-parse", "main~1"), strings.Repeat("0", 40)
	for name, input := range map[string]string{
		"empty":        "",
		"no end":       zero + " " + tip + " refs/heads/models",
		"twice":        tip + " " + zero + " refs/heads/models\n" + zero + " " + tip + " refs/heads/models\n",
		"fields":       zero + " " + tip + " refs/heads/a b\n",
		"short id":     zero[:39] + " " + tip + " refs/heads/a\n",
		"sha256":       strings.Repeat("0", 64) + " " + strings.Repeat("1", 64) + " refs/heads/a\n",
		"not a ref":    zero + " " + tip + " HEAD\n",
		"other tree":   zero + " " + tip + " main-worktree/refs/heads/models\n",
		"CR":           zero + " " + tip + " refs/heads/a\r\n",
		"no object":    zero + " " + strings.Repeat("1", 40) + " refs/heads/models\n",
		"no old":       strings.Repeat("1", 40) + " " + tip + " refs/heads/models\n",
		"empty line":   "\n" + zero + " " + tip + " refs/heads/a\n",
		"no repo line": strings.Repeat("x", 10000) + "\n",
	} {
		cmd := s.command(s.path("server.git"), filepath.Join(bin, "pre-receive"))
		cmd.Env = append(cmd.Env, "GIT_DIR=.")
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.HasPrefix(string(out), "git-models: refused") || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	cmd := s.command(s.path("server.git"), filepath.Join(bin, "post-receive"))
	cmd.Env = append(cmd.Env, "GIT_DIR=.")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("post-receive without lines: %v\n%s", err, out)
	}
	// Nor is a push judged in what is no repository.
	cmd = s.command(s.dir, filepath.Join(bin, "pre-receive"))
	cmd.Env = append(cmd.Env, "GIT_DIR=.")
	cmd.Stdin = strings.NewReader(zero + " " + tip + " refs/heads/a\n")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "refused") {
		t.Errorf("no repository: %v\n%s", err, out)
	}
}

// When the spool cannot be written the push stands, and the pusher is told so.
func TestSpoolUnwritable(t *testing.T) {
	t.Parallel()
	s := newSite(t, "models.validate", "off")
	if err := os.WriteFile(s.path("state", "spool"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	out := ours(s.pushed("main:models"))
	if !strings.Contains(out, "accepted, but it could not be recorded") || !strings.Contains(out, "Nothing is lost") || !strings.Contains(out, "hooks.log: ") {
		t.Errorf("words:\n%s", out)
	}
	if log, err := os.ReadFile(s.path("state", "log", "hooks.log")); err != nil || !strings.Contains(string(log), "spool") {
		t.Errorf("log %q (%v)", log, err)
	}
}

// A started runner holds nothing of the push, whatever descriptors were open,
// and sees nothing of its environment.
func TestAutostart(t *testing.T) {
	t.Parallel()
	s := newSite(t, "models.validate", "off", "models.autostart", "true")
	mine := t.TempDir()
	for _, name := range []string{"pre-receive", "post-receive"} {
		hook := s.path("server.git", "hooks", name)
		if err := os.Remove(hook); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(filepath.Join(bin, name), filepath.Join(mine, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(mine, name), hook); err != nil {
			t.Fatal(err)
		}
	}
	fifo := s.path("started")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// The stand-in for the runner tells what it got, after the push is over.
	runner := "#!/bin/sh\nread go < " + fifo + "\n{ echo \"$@\"; pwd; ls -l /proc/self/fd; env; ps -o sid= -o pid= -p $$; } > " + s.path("told.tmp") +
		"\nmv " + s.path("told.tmp") + " " + s.path("told") + "\necho done > " + fifo + "\n"
	if err := os.WriteFile(filepath.Join(mine, "git-models"), []byte(runner), 0o755); err != nil {
		t.Fatal(err)
	}
	wrapper := s.path("receive-pack")
	if err := os.WriteFile(wrapper, []byte("#!/bin/bash\nexec 9>&2 251>&1\nexport HTTP_AUTHORIZATION=secret GIT_X=1\nexec git-receive-pack \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	// The push returns although the runner has not even begun.
	out := ours(s.pushed("--receive-pack="+wrapper, "main:models"))
	if !strings.Contains(out, "one was started") {
		t.Errorf("receipt:\n%s", out)
	}
	if err := os.WriteFile(fifo, []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(fifo); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(s.path("told"))
	if err != nil {
		t.Fatal(err)
	}
	told := string(b)
	if !strings.HasPrefix(told, "--home "+s.path("state")+" runner --until-idle --detached\n/\n") {
		t.Errorf("arguments and folder:\n%s", told)
	}
	for _, bad := range []string{"secret", "GIT_", "pipe:", "socket:", "server.git"} {
		if strings.Contains(told, bad) {
			t.Errorf("the runner has %q:\n%s", bad, told)
		}
	}
	if last := strings.Fields(told); last[len(last)-1] != last[len(last)-2] {
		t.Errorf("the runner has no session of its own:\n%s", told)
	}
}

func TestButtonAndWiki(t *testing.T) {
	t.Parallel()
	s := newSite(t, "models.validate", "off")
	s.pushed("main", "main:models")
	s.git(s.work, "checkout", "-qb", "feature")
	s.commit("work")
	s.pushed("feature")
	s.git(s.work, "checkout", "-q", "main")
	s.git(s.work, "merge", "-q", "--no-ff", "feature")
	withEnv := func(s *site, env []string, args ...string) (int, string) {
		t.Helper()
		cmd := s.command(s.work, "git", append([]string{"push"}, args...)...)
		cmd.Env = append(cmd.Env, env...)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	for _, env := range [][]string{{"GITEA_PR_ID=7"}, {"GITEA_PUSH_TRIGGER=pr-merge-to-base"}, {"GL_PROTOCOL=web"}} {
		status, out := withEnv(s, env, "origin", "main:models")
		if status == 0 || len(hints(out)) != 1 {
			t.Fatalf("%v: status %d\n%s", env, status, out)
		}
		c := s.copy()
		if status, out := c.try(c.work, "sh", "-c", hints(out)[0]); status != 0 || !strings.Contains(out, "git-models: accepted") {
			t.Errorf("%v: hint %s: status %d\n%s", env, hints(out)[0], status, out)
		}
	}
	if status, out := withEnv(s, []string{"GITEA_REPO_IS_WIKI=true"}, "--force", "origin", ":models"); status != 0 || ours(out) != "" {
		t.Errorf("wiki: status %d\n%s", status, out)
	}
}

// TestPusher finds who pushed in whichever variable is there.
func TestPusher(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"GITEA_PUSHER_NAME", "GL_USERNAME", "GL_USER", "REMOTE_USER"} {
		s := newSite(t, "models.validate", "off")
		cmd := s.command(s.work, "git", "push", "origin", "main:models")
		cmd.Env = append(cmd.Env, key+"=eve\x1b[31m")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		e := s.spooled()
		if len(e) != 1 || e[0].Push.Pusher.Name != `eve\x1b[31m` || e[0].Push.Pusher.Via != key {
			t.Errorf("%s: %+v", key, e)
		}
	}
}

// The hooks stay small, and far from what makes a process start slowly.
func TestWeight(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]int64{"pre-receive": 8 << 20, "post-receive": 8 << 20} {
		info, err := os.Stat(filepath.Join(bin, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > limit {
			t.Errorf("%s has %d bytes, the bound is %d", name, info.Size(), limit)
		}
		out, err := exec.Command("go", "list", "-buildvcs=false", "-deps", "./"+name).Output()
		if err != nil {
			t.Fatal(err)
		}
		banned := []string{"database/sql", "modernc.org/", "github.com/urfave/", "net/http", "github.com/aws/", "text/template", "html/template", "github.com/pressly/"}
		if name == "pre-receive" {
			banned = append(banned, "git-models/pkg/spool")
		} else {
			banned = append(banned, "github.com/moby/", "google.golang.org/protobuf")
		}
		for dep := range strings.Lines(string(out)) {
			for _, b := range banned {
				if strings.Contains(dep, b) {
					t.Errorf("%s links %s", name, strings.TrimSpace(dep))
				}
			}
		}
	}
}
