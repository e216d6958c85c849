package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// account is a home with the files of docker and podman and a folder of helpers.
type account struct {
	t                         *testing.T
	docker, podman, protected string
	bin                       string
}

func newAccount(t *testing.T) *account {
	d := t.TempDir()
	a := &account{t: t, docker: filepath.Join(d, ".docker/config.json"), podman: filepath.Join(d, "run/containers/auth.json"),
		protected: filepath.Join(d, "protected.json"), bin: filepath.Join(d, "bin")}
	for _, dir := range []string{filepath.Dir(a.docker), filepath.Dir(a.podman), a.bin} {
		must(t, os.MkdirAll(dir, 0o700))
	}
	return a
}

func (a *account) client(o Options) *Client {
	home := filepath.Dir(a.bin)
	o.Getenv = env("HOME", home, "XDG_RUNTIME_DIR", filepath.Join(home, "run"), "PATH", a.bin+":/usr/bin:/bin",
		"AWS_SECRET_ACCESS_KEY", "hidden", "AWS_PROFILE", "trainer")
	return client(a.t, o)
}

func (a *account) write(path, content string) {
	a.t.Helper()
	must(a.t, os.WriteFile(path, []byte(content), 0o600))
}

// helper installs docker-credential-NAME, a shell script.
func (a *account) helper(name, script string) {
	a.t.Helper()
	must(a.t, os.WriteFile(filepath.Join(a.bin, "docker-credential-"+name), []byte("#!/bin/sh\n"+script+"\n"), 0o700))
}

// entries is a file of docker's with a user for each host, whose password is the
// user's name and -pass.
func entries(users ...string) string {
	auths := map[string]authn.AuthConfig{}
	for i := 0; i < len(users); i += 2 {
		auths[users[i]] = authn.AuthConfig{Username: users[i+1], Password: users[i+1] + "-pass"}
	}
	b, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// find looks for an image's credentials.
func (a *account) find(c *Client, image string) (credential, error) {
	a.t.Helper()
	repo, err := name.NewRepository(image)
	must(a.t, err)
	return c.keys.find(a.t.Context(), repo)
}

func TestCredentialsOrder(t *testing.T) {
	a := newAccount(t)
	c := a.client(Options{Credentials: a.protected})
	a.write(a.protected, entries("one.example", "protected"))
	a.write(a.docker, entries("one.example", "docker", "two.example", "docker"))
	a.write(a.podman, entries("one.example", "podman", "two.example", "podman", "three.example", "podman"))
	for image, want := range map[string]string{"one.example/x": "protected", "two.example/x": "docker", "three.example/x": "podman", "four.example/x": ""} {
		got, err := a.find(c, image)
		must(t, err)
		if got.config.Username != want {
			t.Errorf("%s: %q, want %q", image, got.config.Username, want)
		}
	}
	none, err := a.find(c, "four.example/x")
	must(t, err)
	if d := cmp.Diff([]string{a.protected, a.docker, a.podman}, none.looked); d != "" {
		t.Error(d)
	}
	must(t, os.Remove(a.docker))
	if got, err := a.find(c, "two.example/x"); err != nil || got.from != a.podman {
		t.Errorf("%v %v", got.from, err)
	}

	dir := t.TempDir()
	a.write(filepath.Join(dir, "config.json"), entries("two.example", "elsewhere"))
	c = client(t, Options{Getenv: env("HOME", filepath.Dir(a.bin), "DOCKER_CONFIG", dir)})
	if got, err := a.find(c, "two.example/x"); err != nil || got.config.Username != "elsewhere" {
		t.Errorf("DOCKER_CONFIG: %v %v", got.from, err)
	}
}

func TestCredentialsKeys(t *testing.T) {
	hub := name.DefaultRegistry
	for _, c := range []struct{ auths, image, want string }{
		{entries("one.example", "plain"), "one.example/a/b", "plain"},
		{entries("https://one.example", "scheme"), "one.example/a", "scheme"},
		{entries("https://one.example/v1/", "old"), "one.example/a", "old"},
		{entries("http://one.example/v2/", "new"), "one.example/a", "new"},
		{entries("one.example:5000", "port"), "one.example/a", ""},
		{entries("one.example:5000", "port"), "one.example:5000/a", "port"},
		{entries("one.example/team", "team", "one.example", "host"), "one.example/team/dogs", "team"},
		{entries("one.example/team", "team", "one.example", "host"), "one.example/team", "team"},
		{entries("one.example/team", "team", "one.example", "host"), "one.example/teamwork", "host"},
		{entries("one.example", "a", "https://one.example", "b"), "one.example/x", "b"},
		{entries("https://"+hub+"/v1/", "hub"), hub + "/library/python", "hub"},
		{`{"auths":{"one.example":{"auth":"` + "dTpwOnA=" + `"}}}`, "one.example/a", "u"},
		{`{"auths":{"one.example":{"identitytoken":"t"}}}`, "one.example/a", ""},
		{`{"auths":{"one.example":{}}}`, "one.example/a", ""},
		{`{"auths":{"broken.example":{"auth":"%"},"one.example":{"auth":"dTpw"}}}`, "one.example/a", "u"},
		{`{}`, "one.example/a", ""},
	} {
		a := newAccount(t)
		a.write(a.docker, c.auths)
		got, err := a.find(a.client(Options{}), c.image)
		must(t, err)
		if got.config.Username != c.want {
			t.Errorf("%s: %s gives %q, want %q", c.auths, c.image, got.config.Username, c.want)
		}
	}
}

func TestCredentialsRefused(t *testing.T) {
	secret := entries("one.example", "s3cr3t")
	for _, c := range []struct {
		name    string
		make    func(a *account)
		account bool // as the account's file, which docker alone protects
		words   string
	}{
		{"absent", func(*account) {}, false, "no such file"},
		{"open to others", func(a *account) { must(t, os.WriteFile(a.protected, []byte(secret), 0o640)) }, false, "has mode 0640, others may use it: chmod 600 "},
		{"of another user", func(a *account) {
			a.write(a.protected, secret)
			if os.Geteuid() != 0 {
				t.Skip("only root gives files away")
			}
			must(t, os.Chown(a.protected, 12345, 0))
		}, false, "belongs to uid 12345"},
		{"a folder", func(a *account) { must(t, os.Mkdir(a.protected, 0o700)) }, false, "is not a regular file"},
		{"a pipe", func(a *account) { must(t, syscall.Mkfifo(a.protected, 0o600)) }, false, "is not a regular file"},
		{"huge", func(a *account) { a.write(a.protected, ""); must(t, os.Truncate(a.protected, 1<<40)) }, false, "at most 1048576 are read"},
		{"garbage", func(a *account) { a.write(a.protected, "s3cr3t") }, false, "is not in the form of docker's config.json"},
		{"a garbled entry", func(a *account) { a.write(a.protected, `{"auths":{"one.example":{"auth":"s3cr3t!!"}}}`) }, false, "the entry of one.example is not in docker's form"},
		{"the account's, garbage", func(a *account) { a.write(a.docker, "[") }, true, "is not in the form"},
		{"the account's, a pipe", func(a *account) { must(t, syscall.Mkfifo(a.podman, 0o600)) }, true, "is not a regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAccount(t)
			c.make(a)
			o := Options{Credentials: a.protected}
			if c.account {
				o.Credentials = ""
			}
			cl := a.client(o)
			_, err := cl.Image(t.Context(), "one.example/x", "latest")
			wantError(t, err, gitmodels.Waiting, "registry: credentials ", c.words)
			_, _, err = cl.AuthFile(t.Context(), "one.example/x")
			wantError(t, err, gitmodels.Waiting, c.words)
		})
	}
	a := newAccount(t)
	must(t, os.WriteFile(a.docker, []byte(secret), 0o644)) // docker's own affair
	if got, err := a.find(a.client(Options{}), "one.example/x"); err != nil || got.empty() {
		t.Errorf("the account's file was not believed: %v", err)
	}
	if _, err := a.find(a.client(Options{Credentials: "relative"}), "one.example/x"); err == nil {
		t.Error("a relative path was taken")
	}
}

func TestHelpers(t *testing.T) {
	answer := `cat >"$0.asked"; echo "$@" >"$0.argv"; env >"$0.env"; echo '{"ServerURL":"x","Username":"helped","Secret":"s3cr3t"}'`
	absent := `cat >/dev/null; echo "credentials not found in native keychain"; exit 1`
	for _, c := range []struct {
		name, config, script string
		want                 string // user
		words                string // of an error
	}{
		{"for a host", `{"credHelpers":{"one.example":"h"},"credsStore":"not-there"}`, answer, "helped", ""},
		{"for another host", `{"credHelpers":{"two.example":"h"}}`, answer, "", ""},
		{"for all", `{"credsStore":"h"}`, answer, "helped", ""},
		{"has nothing", `{"credHelpers":{"one.example":"h"}}`, absent, "", ""},
		{"has nothing, the file has", `{"credsStore":"h","auths":{"one.example":{"auth":"dTpw"}}}`, absent, "u", ""},
		{"a token", `{"credsStore":"h"}`, `echo '{"Username":"<token>","Secret":"s3cr3t"}'`, "<token>", ""},
		{"does not read", `{"credsStore":"h"}`, `exec </dev/null; echo '{"Username":"helped","Secret":"s3cr3t"}'`, "helped", ""},
		{"not installed", `{"credsStore":"missing"}`, answer, "", "credential helper missing of CONFIG is not installed: no docker-credential-missing in PATH"},
		{"a path", `{"credsStore":"../../bin/sh"}`, answer, "", "is no name of a helper"},
		{"fails", `{"credsStore":"h"}`, `echo locked; exit 3`, "", "failed: exit status 3: locked"},
		{"fails with secrets", `{"credsStore":"h"}`, `echo '{"Secret":"s3cr3t"}'; exit 3`, "", "failed: exit status 3"},
		{"prints garbage", `{"credsStore":"h"}`, `echo s3cr3t`, "", "printed no credentials in the protocol's form"},
		{"prints nothing", `{"credsStore":"h"}`, `exit 0`, "", "printed no credentials"},
		{"prints without end", `{"credsStore":"h"}`, `exec cat /dev/zero`, "", "failed: it printed more than 65536 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t)
			a.write(a.docker, c.config)
			a.helper("h", c.script)
			got, err := a.find(a.client(Options{}), "one.example/x")
			if c.words != "" {
				wantError(t, err, gitmodels.Waiting, "registry: credential helper", strings.ReplaceAll(c.words, "CONFIG", a.docker))
				return
			}
			must(t, err)
			if got.config.Username != c.want {
				t.Errorf("%q, want %q", got.config.Username, c.want)
			}
			if c.want == "<token>" && got.config.IdentityToken != "s3cr3t" {
				t.Error("the identity token is missing")
			}
			if c.script != answer || c.want != "helped" {
				return
			}
			for file, want := range map[string]string{"asked": "one.example", "argv": "get\n"} {
				b, err := os.ReadFile(filepath.Join(a.bin, "docker-credential-h."+file))
				must(t, err)
				if string(b) != want {
					t.Errorf("%s: %q, want %q", file, b, want)
				}
			}
			b, err := os.ReadFile(filepath.Join(a.bin, "docker-credential-h.env"))
			must(t, err)
			if strings.Contains(string(b), "hidden") || !strings.Contains(string(b), "AWS_PROFILE=trainer\n") {
				t.Errorf("its environment is\n%s", b)
			}
		})
	}
}

// TestHelperHangs ends a helper and the child that it waits for.
func TestHelperHangs(t *testing.T) {
	a := newAccount(t)
	a.write(a.docker, `{"credsStore":"h"}`)
	a.helper("h", `sleep 1000 & echo $! >"$0.part"; mv "$0.part" "$0.child"; wait`)
	ctx, cancel := context.WithCancel(t.Context())
	child := filepath.Join(a.bin, "docker-credential-h.child")
	go func() {
		defer cancel()
		for ; t.Context().Err() == nil; time.Sleep(time.Millisecond) {
			if _, err := os.Stat(child); err == nil {
				return
			}
		}
	}()
	_, err := a.client(Options{}).Image(ctx, "one.example/x", "latest")
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	b, err := os.ReadFile(child)
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	must(t, err)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("its child still runs: %s", stat)
		}
	}
}

func TestAuthFile(t *testing.T) {
	a := newAccount(t)
	dir := filepath.Join(t.TempDir(), "made", "here")
	c := a.client(Options{Dir: dir, Credentials: a.protected})
	a.write(a.protected, entries("one.example", "one", "hidden.example", "other"))
	a.write(a.docker, `{"credHelpers":{"two.example:5000":"h"},"auths":{"unasked.example":{"auth":"dTpw"}}}`)
	a.write(a.podman, entries("three.example/a", "a", "three.example/b", "b", "https://"+name.DefaultRegistry+"/v1/", "hub"))
	a.helper("h", `echo '{"Username":"helped","Secret":"s3cr3t"}'`)

	path, remove, err := c.AuthFile(t.Context(), "none.example/x")
	if err != nil || path != "" || remove() != nil {
		t.Fatalf("without credentials: %q %v", path, err)
	}
	path, remove, err = c.AuthFile(t.Context(), "one.example/x", "one.example/y", "two.example:5000/x", "three.example/a/x",
		"three.example/b/x", name.DefaultRegistry+"/library/python", "none.example/x")
	must(t, err)
	for p, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700 | os.ModeDir, dir: 0o700 | os.ModeDir} {
		info, err := os.Stat(p)
		must(t, err)
		if info.Mode() != mode {
			t.Errorf("%s has mode %s, want %s", p, info.Mode(), mode)
		}
	}
	b, err := os.ReadFile(path)
	must(t, err)
	var got struct{ Auths map[string]authn.AuthConfig }
	must(t, json.Unmarshal(b, &got))
	users := map[string]string{}
	for host, auth := range got.Auths {
		users[host] = auth.Username + ":" + auth.Password
	}
	want := map[string]string{"one.example": "one:one-pass", "two.example:5000": "helped:s3cr3t", "three.example": "a:a-pass",
		"three.example/b/x": "b:b-pass", authn.DefaultAuthKey: "hub:hub-pass"}
	if d := cmp.Diff(want, users); d != "" {
		t.Error(d)
	}
	must(t, os.WriteFile(filepath.Join(filepath.Dir(path), "of-a-builder"), nil, 0o600))
	must(t, remove())
	must(t, remove()) // again, as after a crash

	_, _, err = c.AuthFile(t.Context(), "one.example/x")
	must(t, err)
	must(t, os.Mkdir(filepath.Join(dir, "others"), 0o700))
	must(t, c.Sweep())
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) != 1 || left[0].Name() != "others" {
		t.Errorf("left: %v", left)
	}
	_, _, err = a.client(Options{Credentials: a.protected}).AuthFile(t.Context(), "one.example/x")
	wantError(t, err, gitmodels.Internal, "is not an absolute path")
	must(t, a.client(Options{Dir: filepath.Join(dir, "absent")}).Sweep())
}

// TestAuthFileWithSkopeo lets another program read the file.
func TestAuthFileWithSkopeo(t *testing.T) {
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is not installed")
	}
	f := newFront(t, crane(t))
	i := f.push(t, "read", "one", image(t, commit()))
	f.set(func() { f.guarded = "basic" })
	path, remove, err := client(t, Options{Credentials: credentials(t, f.host), Dir: t.TempDir()}).AuthFile(t.Context(), i.Name)
	must(t, err)
	out, err := exec.Command(skopeo, "inspect", "--tls-verify=false", "--authfile", path, "--format", "{{.Digest}}", "docker://"+i.Name+":one").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != i.Digest {
		t.Errorf("%v: %s", err, out)
	}
	must(t, remove())
}
