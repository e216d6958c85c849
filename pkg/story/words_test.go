package story

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// commands are the words that stories know beside testscript's own.
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"project":  project,
	"commits":  commits,
	"hint":     hint,
	"until":    until,
	"sshd":     startSSH,
	"sshshell": startShellSSH,
	"httpd":    startHTTP,
	"as":       as,
	"kill9":    kill9,
	"json":     jsonHas,
	"years":    years,
	"current":  current,
	"load":     load,
	"once":     once,

	"containers": containers,
	"registry":   steerRegistry,
}

// The project of the stories: it trains in a blink, and every stage can be
// seen and steered.
const (
	projectModels = `train:
  command: [sh, src/train.sh]
`
	projectParams = `optimizer:
  lr: 0.01
epochs: 2
`
	projectTrain = `set -eu
echo "training $GIT_SHORT_SHA with $*"
[ ! -f src/fail ] || exit "$(cat src/fail)"
[ ! -f src/sleep ] || sleep "$(cat src/sleep)"
echo '{"step": 1, "loss": 0.5}' > "$METRICS_DIR/train.jsonl"
echo '{"step": 2, "loss": 0.25}' >> "$METRICS_DIR/train.jsonl"
echo '{"accuracy": 0.875}' > "$METRICS_DIR/metrics.json"
echo "weights of $GIT_COMMIT" > "$ARTIFACTS_DIR/model.txt"
`
)

func project(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: project DIR [SERVER]")
	}
	dir := ts.MkAbs(args[0])
	for name, text := range map[string]string{
		".models.yaml":             projectModels,
		"deploy/train-config.yaml": projectParams,
		"src/train.sh":             projectTrain,
		"README.md":                "A project.\n",
	} {
		path := filepath.Join(dir, name)
		ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
		ts.Check(os.WriteFile(path, []byte(text), 0o644))
	}
	git(ts, dir, "", "init", "-q", "-b", "main")
	git(ts, dir, "", "add", ".")
	git(ts, dir, "", "commit", "-q", "-m", "first")
	if len(args) == 2 {
		server := args[1]
		if !strings.Contains(server, "://") {
			server = ts.MkAbs(server)
		}
		git(ts, dir, "", "remote", "add", "origin", server)
	}
	if _, ok := registries.Load(ts.Getenv("WORK")); ok {
		imageProject(ts, dir)
	}
}

func commits(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(strings.Join(args, " "))
	if neg || err != nil {
		ts.Fatalf("usage: commits N")
	}
	dir := ts.MkAbs(".")
	branch := strings.TrimSpace(git(ts, dir, "", "symbolic-ref", "HEAD"))
	var stream strings.Builder
	for i := range n {
		message, content := fmt.Sprintf("step %d", i+1), fmt.Sprintf("%d %d\n", i, time.Now().UnixNano())
		fmt.Fprintf(&stream, "commit %s\ncommitter Alice <alice@example.com> %d +0000\ndata %d\n%s\n", branch, time.Now().Unix(), len(message), message)
		if i == 0 {
			fmt.Fprintf(&stream, "from %s^0\n", branch)
		}
		// A file for each clone, so that their work can be merged.
		fmt.Fprintf(&stream, "M 100644 inline src/step-%s\ndata %d\n%s\n", filepath.Base(dir), len(content), content)
	}
	git(ts, dir, stream.String(), "fast-import", "--quiet")
	git(ts, dir, "", "reset", "-q", "--hard")
}

// git runs git with the story's environment and fails the story with its words.
func git(ts *testscript.TestScript, dir, stdin string, args ...string) string {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = environ(ts)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		ts.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// environ is the story's environment as a child gets it.
func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, key := range []string{"HOME", "PATH", "STATE", "GIT_CONFIG_NOSYSTEM", "GIT_TERMINAL_PROMPT", "NO_COLOR", "TERM", "TZ",
		"WORK", "GIT_TRACE_PACKET", "GIT_SSH_COMMAND", "SSH", "HTTP"} {
		if v := ts.Getenv(key); v != "" {
			env = append(env, key+"="+v)
		}
	}
	return env
}

var hintLine = regexp.MustCompile(`(?m)git-models: hint: (.*?)\s*$`)

func hint(ts *testscript.TestScript, neg bool, args []string) {
	want := regexp.MustCompile(strings.Join(args, " "))
	for _, m := range hintLine.FindAllStringSubmatch(ts.ReadFile("stderr"), -1) {
		if !want.MatchString(m[1]) {
			continue
		}
		if neg {
			ts.Fatalf("a hint says: %s", m[1])
		}
		ts.Logf("hint: %s", m[1])
		ts.Check(ts.Exec("sh", "-c", m[1]))
		return
	}
	if !neg {
		ts.Fatalf("no hint matches %q in\n%s", want, ts.ReadFile("stderr"))
	}
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 || args[1] != "exec" {
		ts.Fatalf("usage: until SECONDS exec CMD…")
	}
	seconds, err := strconv.ParseFloat(args[0], 64)
	ts.Check(err)
	deadline := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	for {
		err := ts.Exec(args[2], args[3:]...)
		if (err == nil) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("not within %s s: %s: %v\n%s%s", args[0], strings.Join(args[2:], " "), err, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func as(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: as UID[:GID[,GID]] CMD…")
	}
	uid, groups, ok := strings.Cut(args[0], ":")
	if !ok {
		groups = uid
	}
	gid, _, _ := strings.Cut(groups, ",")
	argv := append([]string{"--reuid", uid, "--regid", gid, "--groups", groups, "--"}, args[1:]...)
	if err := ts.Exec("setpriv", argv...); (err == nil) == neg {
		ts.Fatalf("as %s: %v", strings.Join(args, " "), err)
	}
}

func kill9(ts *testscript.TestScript, neg bool, args []string) {
	pids := processesWithin(ts.Getenv("WORK"), strings.Join(args, " "))
	if len(pids) == 0 && !neg {
		ts.Fatalf("no process of this story has %q in its command line", strings.Join(args, " "))
	}
	for _, pid := range pids {
		ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	}
}

// killWithin ends whatever a story left running.
func killWithin(dir string) {
	for range 20 {
		pids := processesWithin(dir, "")
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func jsonHas(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: json KEY WANT")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	if list, ok := v.([]any); ok {
		if len(list) != 1 {
			ts.Fatalf("the output is a list of %d, want one", len(list))
		}
		v = list[0]
	}
	for _, key := range strings.Split(args[0], ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(at) {
				ts.Fatalf("no element %s in a list of %d", key, len(at))
			}
			v = at[i]
		default:
			v = nil
		}
	}
	got := fmt.Sprint(v)
	if v == nil {
		got = "null"
	}
	if (got == args[1]) == neg {
		ts.Fatalf("%s is %s, want %s", args[0], got, args[1])
	}
}
