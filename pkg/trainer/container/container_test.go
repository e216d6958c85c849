package container

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/trainer/trainertest"
)

func TestContract(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		var only []string
		if kind == "podman" { // where its client could differ
			only = []string{"success", "log is capped", "command not found", "timeout", "polite cancel", "adoption", "idempotent"}
		}
		trainertest.Test(t, func(t *testing.T, job *gitmodels.Job) gitmodels.Trainer {
			job.Image, job.Plain = parts.image, true
			return New(parts.options(kind))
		}, only...)
	})
}

// TestSurroundings: what a job sees of the host, and may do.
func TestSurroundings(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		b := newBench(t, kind, `pwd; id -u; id -g; echo $HOME; grep -E '^(CapEff|CapBnd|NoNewPrivs):' /proc/self/status; cat /proc/net/dev | grep -c :; ls "$OUT/.."; grep -c "$OUT" /proc/self/mountinfo`)
		b.want(b.run(), gitmodels.JobSucceeded, "")
		want := fmt.Sprintf("/work\n%d\n%d\n/tmp\nCapBnd:\t0000000000000000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n1\nartifacts\n1\n", os.Getuid(), os.Getgid())
		lines := strings.Split(b.log(), "\n")
		if len(lines) > 7 && strings.HasPrefix(lines[4], "CapEff") { // the kernel's order
			lines[4], lines[5] = lines[5], lines[4]
		}
		if got := strings.Join(lines, "\n"); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// TestNetworkByPolicy also names the image by its id, and prints more than
// TestNetworkByPolicy also names the image by its id.
func TestNetworkByPolicy(t *testing.T) {
	with(t, "docker", func(t *testing.T, kind string) {
		id, err := parts.client(kind).run(context.Background(), "image", "inspect", "--format", "{{.Id}}", parts.image)
		if err != nil {
			t.Fatal(err)
		}
		b := newBench(t, kind, `cat /proc/net/dev`).with(func(o *Options) { o.Network = "host" })
		b.job.Network, b.job.Image = true, "sha256:"+strings.TrimPrefix(id, "sha256:")
		b.want(b.run(), gitmodels.JobSucceeded, "")
		host, err := os.ReadFile("/proc/net/dev")
		if err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Count(b.log(), ":"), strings.Count(string(host), ":"); got != want {
			t.Errorf("%d devices, the host has %d:\n%s", got, want, b.log())
		}
	})
}

// TestPull: an image that is not here is pulled by its digest, with credentials.
func TestPull(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		image, err := parts.push("models/"+kind, func(c *v1.Config) {
			c.Entrypoint, c.Labels = []string{"sh", "-c", `echo entry; exec "$@"`, "x"}, map[string]string{"of": kind}
		})
		if err != nil {
			t.Fatal(err)
		}
		b := newBench(t, kind, `echo ran`)
		b.job.Image = image
		b.want(b.run(), gitmodels.JobSucceeded, "")
		if log := b.log(); !strings.HasPrefix(log, "git-models: pulling "+image+"\ngit-models: pulled in ") || !strings.HasSuffix(log, "s\nentry\nran\n") {
			t.Errorf("log %q", log)
		}
	})
}

func TestPullFails(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		backend := registry.New(registry.Logger(quiet))
		hang := make(chan struct{})
		reached := make(chan struct{}, 100)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch user, password, _ := r.BasicAuth(); {
			case strings.Contains(r.URL.Path, "/hangs/"):
				reached <- struct{}{}
				select {
				case <-hang:
				case <-r.Context().Done():
				}
			case user != "runner" || password != "hunter2":
				w.Header().Set("WWW-Authenticate", `Basic realm="models"`)
				http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			default:
				backend.ServeHTTP(w, r)
			}
		}))
		t.Cleanup(server.Close)
		t.Cleanup(func() { close(hang) })
		host := strings.TrimPrefix(server.URL, "http://")
		digest := "@sha256:" + strings.Repeat("0", 64)
		auth := filepath.Join(t.TempDir(), "auth.json")
		if err := os.WriteFile(auth, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("runner:hunter2"))), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			image, auth string
			kind        gitmodels.Kind
		}{
			{host + "/models/dogs" + digest, "", gitmodels.Waiting},
			{host + "/models/dogs" + digest, auth, gitmodels.NotFound},
			{"sha256:" + strings.Repeat("0", 64), "", gitmodels.NotFound},
			{"127.0.0.1:1/models/dogs" + digest, "", gitmodels.Waiting},
		} {
			if c.kind == gitmodels.Waiting && kind == "podman" {
				continue // it tries for a quarter of a minute
			}
			b := newBench(t, kind, "true")
			b.job.Image, b.job.AuthFile = c.image, c.auth
			if _, err := b.e.Submit(context.Background(), b.job); gitmodels.KindOf(err) != c.kind {
				t.Errorf("%s: %v, want kind %v", c.image, err, c.kind)
			}
			if s := b.status(); s.State != gitmodels.JobUnknown {
				t.Errorf("%s: %+v", c.image, s)
			}
			if _, err := os.Lstat(filepath.Join(b.job.Dir, configFolder)); !os.IsNotExist(err) {
				t.Errorf("the credentials are left: %v", err)
			}
		}

		b := newBench(t, kind, "true")
		b.job.Image, b.job.AuthFile = host+"/hangs/dogs"+digest, auth
		submitted := make(chan error, 1)
		go func() {
			_, err := b.e.Submit(context.Background(), b.job)
			submitted <- err
		}()
		<-reached
		if s := b.status(); s.State != gitmodels.JobPending {
			t.Errorf("while it is pulled: %+v", s)
		}
		if err := b.e.Cancel(context.Background(), b.job); err != nil {
			t.Fatal(err)
		}
		if err := <-submitted; err != nil {
			t.Error(err)
		}
		b.want(b.wait(), gitmodels.JobCancelled, "cancelled before it started")
	})
}

func TestOutOfMemory(t *testing.T) {
	with(t, "docker", func(t *testing.T, kind string) {
		info, err := parts.client(kind).info(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if !info.Memory {
			t.Skip("the container engine limits no memory here")
		}
		b := newBench(t, kind, "exec dd if=/dev/zero of=/dev/null bs=300M count=1")
		b.job.MemoryBytes = 64e6
		s := b.run()
		// Podman is not told by a kernel with control groups of version 1 beside 2.
		b.want(s, gitmodels.JobFailed, "out of memory (job.memory 64M)")
		if kind == "docker" && s.Cause != "out of memory (job.memory 64M)" || s.ExitCode != 137 {
			t.Errorf("%+v", s)
		}
	})
}

func TestNotExecutable(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		b := newBench(t, kind, "")
		b.job.Command = []string{"./notexec"}
		s := b.run()
		b.want(s, gitmodels.JobFailed, "./notexec cannot be executed")
		if s.ExitCode != 126 {
			t.Errorf("%+v", s)
		}
	})
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	none := []string{"/nonexistent/client"}
	for name, c := range map[string]struct {
		o    Options
		want []string
	}{
		"no daemon":  {Options{Client: "docker", Host: "unix:///nonexistent.sock"}, []string{"engine: docker does not answer on unix:///nonexistent.sock"}},
		"no program": {Options{Client: "docker", Docker: []string{"no-such-docker"}}, []string{"engine: docker is not installed"}},
		"neither":    {Options{Docker: []string{"no-such-docker"}, Podman: none}, []string{"engine: docker is not installed; ", "/nonexistent/client cannot be executed"}},
	} {
		if _, err := exec.LookPath("docker"); err != nil && name == "no daemon" {
			continue
		}
		c.o.Keeper, c.o.Owner = []string{exe, "keep"}, "/srv/models"
		err := New(c.o).Check(context.Background(), gitmodels.Job{})
		for _, want := range c.want {
			if gitmodels.KindOf(err) != gitmodels.Waiting || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
}

func TestCreateArgs(t *testing.T) {
	t.Parallel()
	job := gitmodels.Job{Name: "5a32b0f-r2", RunID: "a/b", Commit: "c0ffee", Dir: "/d", Image: "host/dogs@sha256:x", Command: []string{"--lr", "1"},
		Env: map[string]string{"TOKEN": "hunter2"}, Writable: []string{"/a b"}, MemoryBytes: 512e6, CPUs: 1.5, GPUs: []string{"0", "2"}}
	all := engineInfo{CPUs: 4, Memory: true, Swap: true, Quota: true, Pids: true}
	words := func(kind string, info engineInfo) (string, []string) {
		args, warnings := spec{Job: job, Nonce: "NONCE1234567", Owner: "/srv", Client: client{Kind: kind}}.createArgs(info)
		return strings.Join(args, " "), warnings
	}
	line, warnings := words("docker", all)
	for _, want := range []string{"--name git-models-a_b-5a32b0f-r2-NONCE123 ", `--gpus "device=0,2" `, "--memory 512000000 --memory-swap 512000000 ", "--cpus 1.5 ",
		"--mount type=bind,src=/a b,dst=/a b host/dogs@sha256:x --lr 1", "--mount type=bind,src=/d/ticket,dst=/run/git-models,readonly ", "--network none ", "--cap-drop ALL ", "--pids-limit 4096 ", "--env-file /d/env ", "--pull never ", "--label git-models.commit=c0ffee "} {
		if !strings.Contains(line, want) {
			t.Errorf("no %q in %s", want, line)
		}
	}
	if len(warnings) != 0 || strings.Contains(line, "hunter2") {
		t.Errorf("warnings %q, %s", warnings, line)
	}
	if line, _ = words("podman", all); !strings.Contains(line, "--device nvidia.com/gpu=0 --device nvidia.com/gpu=2 ") {
		t.Error(line)
	}
	line, warnings = words("podman", engineInfo{Rootless: true, CPUs: 4})
	if len(warnings) != 3 || strings.Contains(line, "--memory") || strings.Contains(line, "--cpus") || !strings.Contains(line, "--userns keep-id") {
		t.Errorf("warnings %q, %s", warnings, line)
	}
}

func TestInvalidForContainers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := gitmodels.Job{Name: "a", Image: "127.0.0.1:5000/models/dogs@sha256:" + strings.Repeat("a", 64), Command: []string{"x"},
		Dir: dir, Tree: "/t", Log: "/l", Env: map[string]string{"A": "b"}}
	if err := validate(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*gitmodels.Job){
		"a tag":          func(j *gitmodels.Job) { j.Image = "host/dogs:latest" },
		"an option":      func(j *gitmodels.Job) { j.Image = "--privileged" },
		"no image":       func(j *gitmodels.Job) { j.Image = "" },
		"a line break":   func(j *gitmodels.Job) { j.Env = map[string]string{"A": "b\nC=d"} },
		"a pattern":      func(j *gitmodels.Job) { j.Env = map[string]string{"A*": "b"} },
		"a comment":      func(j *gitmodels.Job) { j.Env = map[string]string{"#A": "b"} },
		"a long value":   func(j *gitmodels.Job) { j.Env = map[string]string{"A": strings.Repeat("x", 1<<16)} },
		"a comma in Dir": func(j *gitmodels.Job) { j.Dir += "/a,b" },
		"a comma":        func(j *gitmodels.Job) { j.Writable = []string{"/a,readonly"} },
		"a device":       func(j *gitmodels.Job) { j.GPUs = []string{`0",capabilities=all`} },
		"not unicode":    func(j *gitmodels.Job) { j.Env = map[string]string{"A": "\xff"} },
		"another option": func(j *gitmodels.Job) { j.GPUs = []string{"-all"} },
	} {
		job := good
		change(&job)
		if err := validate(job); gitmodels.KindOf(err) != gitmodels.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
