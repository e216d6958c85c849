package notify

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// script makes a program.
func script(t *testing.T, text string) (path, dir string) {
	t.Helper()
	dir = t.TempDir()
	path = filepath.Join(dir, "tell")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nd="+dir+"\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path, dir
}

func outcome() gitmodels.Outcome {
	return gitmodels.Outcome{State: gitmodels.Failed, Cause: "exit status 3 <&>", Run: "5a32b0f", Attempt: 1, Repository: "dogs",
		Values: []gitmodels.Metric{{Name: "loss", Final: gitmodels.Number(math.NaN()), Points: []gitmodels.Point{{Step: 1, Value: 2}}}}}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRunGivesOneLine(t *testing.T) {
	t.Setenv("SECRET_TOKEN", "hush")
	program, dir := script(t, "cat >$d/in; env >$d/env; echo $# >$d/argc\n")
	o := outcome()
	if err := Run(t.Context(), program, o); err != nil {
		t.Fatal(err)
	}
	in := read(t, filepath.Join(dir, "in"))
	if !strings.HasPrefix(in, `{"event":"outcome","state":"failed","cause":"exit status 3 <&>"`) || strings.Index(in, "\n") != len(in)-1 {
		t.Errorf("input %q", in)
	}
	var got gitmodels.Outcome
	if err := json.Unmarshal([]byte(in), &got); err != nil || got.Run != o.Run || len(got.Values) != 1 || got.Values[0].Points != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if len(o.Values[0].Points) != 1 {
		t.Error("the caller's outcome lost its points")
	}
	for line := range strings.Lines(read(t, filepath.Join(dir, "env"))) {
		name, _, _ := strings.Cut(line, "=")
		if !strings.Contains(" PATH HOME LANG PWD OLDPWD SHLVL _ ", " "+name+" ") {
			t.Errorf("environment: %s", line)
		}
	}
	if argc := read(t, filepath.Join(dir, "argc")); argc != "0\n" {
		t.Errorf("%s arguments", argc)
	}
}

func TestRunFails(t *testing.T) {
	t.Parallel()
	failing, _ := script(t, "yes x | head -c 100000; printf 'no route\\033[31m to host\\nsecond' >&2; exit 3\n")
	err := Run(t.Context(), failing, outcome())
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.HasSuffix(err.Error(), "to host; second") ||
		strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 3*maxOutput {
		t.Errorf("a failing one: %v", err)
	}
	for name, program := range map[string]string{"missing": filepath.Join(t.TempDir(), "none"), "relative": "tell"} {
		if err := Run(t.Context(), program, outcome()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	deaf, _ := script(t, "exit 0\n")
	o := outcome()
	o.Warnings = []string{strings.Repeat("w", 1<<20)} // more than a pipe holds
	if err := Run(t.Context(), deaf, o); err != nil {
		t.Errorf("one that does not read: %v", err)
	}
}

func TestRunEndsInTime(t *testing.T) {
	t.Parallel()
	hanging, dir := script(t, "echo waiting; sleep 600 & echo $! >$d/pid.new; mv $d/pid.new $d/pid; wait\n")
	began := time.Now()
	err := run(t.Context(), hanging, outcome(), 500*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "did not end within 500ms: waiting") || time.Since(began) > 10*time.Second {
		t.Fatalf("after %s: %v", time.Since(began), err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(read(t, filepath.Join(dir, "pid"))))
	if err != nil {
		t.Fatal(err)
	}
	for alive := true; alive; {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		alive = err == nil && !strings.Contains(string(stat), ") Z ") && syscall.Kill(pid, 0) == nil
		if alive && time.Since(began) > 20*time.Second {
			t.Fatal("what it started lives on")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, hanging, outcome()); err == nil {
		t.Error("ended by its context: no error")
	}
}
