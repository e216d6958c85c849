package cli

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/ledger"
	"github.com/git-models/git-models/pkg/spool"
)

var update = flag.Bool("update", false, "write the golden files")

// TestMain gives every test a HOME of its own making, and is the supervisor of
// jobs that a runner in a test starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "supervise" {
		os.Exit(Main())
	}
	os.Exit(func() int {
		home, err := os.MkdirTemp("", "git-models-cli-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(home)
		for _, kv := range os.Environ() {
			if key, _, _ := strings.Cut(kv, "="); strings.HasPrefix(key, "GIT_") || strings.HasPrefix(key, "XDG_") {
				os.Unsetenv(key)
			}
		}
		os.Setenv("HOME", home)
		os.Setenv("GIT_CONFIG_NOSYSTEM", "1")
		os.Setenv("TZ", "UTC")
		// Commit ids that never change: one that is all digits, or such as
		// 10e1201, is quoted for Hydra.
		os.Setenv("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z")
		os.Setenv("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
		time.Local = time.UTC
		if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(gitConfig), 0o600); err != nil {
			panic(err)
		}
		return m.Run()
	}())
}

const gitConfig = `[user]
	name = Alice
	email = alice@example.com
[init]
	defaultBranch = main
[models]
	engine = process
	allowProcess = unsandboxed
`

// said is how a command line ended.
type said struct {
	code     int
	out, err string
}

// runIn runs one command line in dir.
func runIn(t *testing.T, dir string, args ...string) said {
	t.Helper()
	return runWith(t.Context(), Edges{Dir: dir, Args: args})
}

func runWith(ctx context.Context, e Edges) said {
	var out, err bytes.Buffer
	if e.Stdout == nil {
		e.Stdout = &out
	}
	if e.Stdin == nil {
		e.Stdin = strings.NewReader("")
	}
	e.Stderr = &err
	if e.Env == nil {
		e.Env = os.Environ()
	}
	if e.Now == nil {
		e.Now = time.Now
	}
	code := Run(ctx, e)
	return said{code, out.String(), err.String()}
}

// want checks what a command said.
func (s said) want(t *testing.T, code int, out, err string) {
	t.Helper()
	if diff := cmp.Diff(said{code, out, err}, s, cmp.AllowUnexported(said{})); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
}

// ok checks that a command succeeded and returns its answer.
func (s said) ok(t *testing.T) string {
	t.Helper()
	if s.code != 0 {
		t.Fatalf("exit status %d\n%s%s", s.code, s.out, s.err)
	}
	return s.out
}

// git runs git in dir and returns what it prints, trimmed.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// server is a registered repository and a clone of it with one commit.
type server struct {
	repo, home, clone string
}

// project trains in a blink; its subject and metric names are hostile.
var project = map[string]string{
	".models.yaml":             "train:\n  command: [sh, src/train.sh]\n",
	"deploy/train-config.yaml": "optimizer: {lr: 0.01}\n",
	"src/train.sh": `set -eu
printf 'training \033[31m%s\033[0m\n' "$*"
[ ! -f src/exit ] || exit "$(cat src/exit)"
[ ! -f src/sleep ] || sleep "$(cat src/sleep)"
cat > "$METRICS_DIR/metrics.json" <<'end'
{"val_accuracy": 0.875, "loss": 0.25, "x\nState: failed": 1}
end
echo weights > "$ARTIFACTS_DIR/model.txt"
`,
}

func newServer(t *testing.T) server {
	t.Helper()
	root := t.TempDir()
	s := server{repo: filepath.Join(root, "dogs.git"), home: filepath.Join(root, "state"), clone: filepath.Join(root, "dogs")}
	git(t, root, "init", "-q", "--bare", s.repo)
	git(t, s.repo, "config", "models.home", s.home)
	git(t, s.repo, "config", "core.logAllRefUpdates", "always")
	if err := os.Mkdir(s.home, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := spool.Prepare(s.home, -1); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), s.home)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Register(t.Context(), s.repo, "dogs", nil); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	git(t, root, "init", "-q", s.clone)
	git(t, s.clone, "remote", "add", "origin", "../dogs.git")
	s.commit(t, "first\x1b[31m \u202e<b>", project)
	return s
}

// commit writes files and commits them in the clone.
func (s server) commit(t *testing.T, subject string, files map[string]string) string {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(s.clone, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git(t, s.clone, "add", "-A")
	git(t, s.clone, "commit", "-q", "-m", subject)
	return git(t, s.clone, "rev-parse", "HEAD")
}

// push moves the server's models without hooks and lets the reconciler find it.
func (s server) push(t *testing.T) {
	t.Helper()
	git(t, s.clone, "push", "-q", "origin", "HEAD:refs/heads/models")
	runIn(t, s.repo, "reconcile").ok(t)
}

// train pushes and runs until there is nothing left to do.
func (s server) train(t *testing.T) {
	t.Helper()
	s.push(t)
	runIn(t, s.repo, "runner", "--until-idle").ok(t)
}

func short(commit string) string { return gitmodels.CommitID(commit).Short(7) }
