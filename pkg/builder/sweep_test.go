package builder

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// doomed is a build in a process of its own, given by the variable doomedName, with
// the context as its standard input.
type doomed struct {
	Builder string
	Classic bool
	Options Options
	Build   gitmodels.Build
}

const doomedName = "BUILDER_TEST_DOOMED"

// buildDoomed is the program of that process. It returns only when the build could
// not be.
func buildDoomed(text string) error {
	var d doomed
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return err
	}
	open, err := New(d.Builder, d.Options)
	if err != nil {
		return err
	}
	if b := open.(*builder); d.Classic {
		b.driver = docker{classic: true}
	}
	d.Build.Context, d.Build.Log = os.Stdin, os.Stderr
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err = open.Build(ctx, d.Build)
	return fmt.Errorf("the build ended: %v", err)
}

// testSweep kills a program while its build's step sleeps, with another process
// behind it that has a session of its own, and sweeps. Folders of others stay.
func testSweep(r *rig) {
	was := r.b.(*builder)
	o := was.o
	// A long path, for which podman gets a second folder.
	o.Temp, o.Storage = filepath.Join(testDir, "sweep-"+strings.Repeat("long", 5)+shortName(r.T)), r.TempDir()
	strange := []string{"build-1", "build-22/config", "build-x/made", "else"}
	for _, dir := range strange {
		if err := os.MkdirAll(filepath.Join(o.Temp, dir), 0o700); err != nil {
			r.Fatal(err)
		}
	}
	r.Cleanup(func() { os.RemoveAll(o.Temp) })
	mark := r.killInStep(was, o)
	made := left(r, o.Temp, strange)
	if len(made) != 1 || len(running(mark)) < 2 {
		r.Fatalf("a kill leaves the folders %q and the processes %d, want one folder and two", made, running(mark))
	}
	short, shortErr := os.Readlink(filepath.Join(o.Temp, made[0], "short"))
	if err := Sweep(o); err != nil {
		r.Fatal(words(err))
	}
	if left := running(mark); len(left) > 0 {
		r.Errorf("processes %d still run", left)
	}
	if left := left(r, o.Temp, strange); len(left) > 0 {
		r.Errorf("folders %q stay", left)
	}
	if shortErr == nil {
		if _, err := os.Lstat(short); !os.IsNotExist(err) {
			r.Errorf("the folder %s stays, %v", short, err)
		}
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), o.Temp) || strings.Contains(string(mounts), o.Storage) {
		r.Errorf("mounts stay: %v, %s", err, tail(string(mounts)))
	}
	for _, dir := range strange {
		if _, err := os.Stat(filepath.Join(o.Temp, dir)); err != nil {
			r.Errorf("another's folder went: %v", err)
		}
	}
}

// killInStep starts a build by a process of its own, kills that while two processes
// of a step sleep, and returns the mark of these.
func (r *rig) killInStep(was *builder, o Options) (mark string) {
	r.Helper()
	mark = fmt.Sprintf("%d.%d", 40000+hangs.Add(1), os.Getpid())
	b := r.build("RUN setsid sleep " + mark + " & sleep " + mark + "\n")
	b.AuthFile = authFile(r.T, r.host, "anna", "pass-for-anna")
	input := b.Context
	b.Context, b.Log = nil, nil
	text, err := json.Marshal(doomed{was.name, was.driver == docker{classic: true}, o, b})
	if err != nil {
		r.Fatal(err)
	}
	var out lockedBuffer
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), doomedName+"="+string(text))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &out, &out
	cmd.WaitDelay = time.Millisecond // its children have the pipe
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	until(r.T, "the step runs", func() bool {
		if _, runs := sessionOf(cmd.Process.Pid); !runs {
			r.Fatalf("ended early; log:\n%s", tail(out.String()))
		}
		return len(running(mark)) >= 2
	})
	if err := cmd.Process.Kill(); err != nil {
		r.Fatal(err)
	}
	cmd.Wait() // killed
	return mark
}

// left lists what is in dir besides the folders of others.
func left(r *rig, dir string, others []string) (list []string) {
	r.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		r.Fatal(err)
	}
	for _, e := range entries {
		if !slices.ContainsFunc(others, func(o string) bool { return strings.HasPrefix(o+"/", e.Name()+"/") }) {
			list = append(list, e.Name())
		}
	}
	return list
}
