package container

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// atEnv tells a process of these tests what to do at one of its steps, as
// what|step|file. It makes the file; then it ends by SIGKILL, when what is die, or
// waits for file.done, when what is wait.
const atEnv = "GIT_MODELS_TEST_AT"

// obey does what atEnv says.
func obey(order string) {
	words := strings.SplitN(order, "|", 3)
	testEnv = func() []string { return []string{atEnv + "=" + order} }
	atStep = func(step string) {
		if step != words[1] {
			return
		}
		if err := os.WriteFile(words[2], nil, 0o600); err != nil {
			panic(err)
		}
		if words[0] == "die" {
			unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
		for {
			if _, err := os.Lstat(words[2] + ".done"); err == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// TestMain makes the test binary the keeper and the submitter too.
func TestMain(m *testing.M) {
	if order := os.Getenv(atEnv); order != "" {
		obey(order)
	}
	if len(os.Args) == 3 {
		switch os.Args[1] {
		case "keep":
			os.Exit(Keep(os.Args[2]))
		case "submit":
			if err := submit(os.Args[2]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	// The parts die with the thread that started them.
	runtime.LockOSThread()
	dir, err := os.MkdirTemp("", "gm-container-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	parts.begin(dir)
	status := m.Run()
	if err := parts.end(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// order is what another process is to do, with which engine.
type order struct {
	Job     gitmodels.Job
	Options Options
}

// submit submits the job in the file, as a runner of its own.
func submit(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var o order
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	_, err = New(o.Options).Submit(context.Background(), o.Job)
	return err
}

// parts are the real parts that these tests use: dockerd on a socket in a
// temporary folder, podman with its storage there, and a registry on loopback.
var parts struct {
	partsState
}

type partsState struct {
	dir      string
	missing  map[string]string // why a client cannot be tested here
	dockerd  *daemon
	registry *httptest.Server
	image    string // host/name@sha256:…
	podman   []string
	podEnv   []string
}

func (p *partsState) begin(dir string) {
	p.dir, p.missing = dir, map[string]string{}
	p.registry = httptest.NewServer(registry.New(registry.Logger(quiet)))
	var err error
	if p.image, err = p.push("models/dogs", nil); err != nil {
		p.missing["docker"], p.missing["podman"] = err.Error(), err.Error()
		return
	}
	if p.dockerd, err = startDaemon(filepath.Join(dir, "docker")); err == nil {
		_, err = p.client("docker").run(context.Background(), "pull", "--quiet", p.image)
	}
	if err != nil {
		p.missing["docker"] = err.Error()
	}
	if err := p.beginPodman(); err != nil {
		p.missing["podman"] = err.Error()
	}
}

func (p *partsState) beginPodman() error {
	if os.Getuid() != 0 {
		return errors.New("podman's storage needs root here")
	}
	for _, need := range []string{"podman", "runc"} {
		if _, err := exec.LookPath(need); err != nil {
			return err
		}
	}
	conf := filepath.Join(p.dir, "containers.conf")
	// The engine's defaults ask for what a test machine may not have: higher
	// limits, control groups of version 2, a journal.
	text := `[containers]
default_ulimits = ["nofile=1024:1024","nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
`
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	s := filepath.Join(p.dir, "podman")
	p.podman = []string{"podman", "--root", s + "/store", "--runroot", s + "/run", "--tmpdir", s + "/tmp", "--storage-driver", "overlay"}
	p.podEnv = []string{"CONTAINERS_CONF=" + conf}
	_, err := p.client("podman").run(context.Background(), "pull", "--quiet", "--tls-verify=false", p.image)
	return err
}

func (p *partsState) client(kind string) client {
	o := p.options(kind)
	if kind == "docker" {
		return newDocker(o)
	}
	return newPodman(o)
}

func (p *partsState) options(kind string) Options {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	o := Options{Keeper: []string{exe, "keep"}, Owner: p.dir, Client: kind, Podman: p.podman, Env: p.podEnv, Grace: time.Second}
	if p.dockerd != nil {
		o.Host = p.dockerd.host
	}
	return o
}

func (p *partsState) end() error {
	p.registry.Close()
	var all error
	if p.missing["podman"] == "" {
		if _, err := p.client("podman").run(context.Background(), "rm", "--all", "--force"); err != nil {
			all = errors.Join(all, err)
		}
		if err := unix.Unmount(filepath.Join(p.dir, "podman/store/overlay"), 0); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			all = errors.Join(all, err)
		}
	}
	if p.dockerd != nil {
		all = errors.Join(all, p.dockerd.end())
	}
	// podman writes down the end of a container a moment after it.
	err := os.RemoveAll(p.dir)
	for tries := 0; err != nil && tries < 100; tries++ {
		time.Sleep(100 * time.Millisecond)
		err = os.RemoveAll(p.dir)
	}
	return errors.Join(all, err)
}

// push makes an image with a shell in it and pushes it; it is named by digest.
func (p *partsState) push(repository string, change func(*v1.Config)) (string, error) {
	layer, err := busyboxLayer()
	if err != nil {
		return "", err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return "", err
	}
	config := v1.Config{WorkingDir: "/work", Env: []string{"PATH=/bin"}}
	if change != nil {
		change(&config)
	}
	file, err := img.ConfigFile()
	if err != nil {
		return "", err
	}
	file = file.DeepCopy()
	file.Config, file.OS, file.Architecture = config, "linux", runtime.GOARCH
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return "", err
	}
	full := strings.TrimPrefix(p.registry.URL, "http://") + "/" + repository
	ref, err := name.ParseReference(full+":latest", name.Insecure)
	if err != nil {
		return "", err
	}
	if err := remote.Write(ref, img); err != nil {
		return "", err
	}
	digest, err := img.Digest()
	return full + "@" + digest.String(), err
}

// busyboxLayer is a root file system with one static program.
func busyboxLayer() (v1.Layer, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, err
	}
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	for _, prog := range f.Progs {
		if prog.Type == elf.PT_INTERP {
			return nil, fmt.Errorf("%s is not static", path)
		}
	}
	program, err := os.ReadFile(path)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "work/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))},
		{Name: "work/notexec", Typeflag: tar.TypeReg, Mode: 0o644},
	} {
		if err = w.WriteHeader(&h); err == nil && h.Size > 0 {
			_, err = w.Write(program)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, applet := range strings.Fields("sh sleep cat ls id env dd grep pwd") {
		if err := w.WriteHeader(&tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox"}); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
}

// daemon is a dockerd of these tests.
type daemon struct {
	dir, host string
	cmd       *exec.Cmd
}

// startDaemon starts one that touches nothing of the host's network. The caller
// keeps its thread, or dockerd ends with it.
func startDaemon(dir string) (*daemon, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("dockerd needs root")
	}
	for _, need := range []string{"docker", "runc"} {
		if _, err := exec.LookPath(need); err != nil {
			return nil, err
		}
	}
	d := &daemon{dir: dir, host: "unix://" + dir + "/d.sock"}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return d, d.start()
}

func (d *daemon) start() error {
	program, err := exec.LookPath("dockerd")
	if err != nil {
		return err
	}
	log, err := os.OpenFile(d.dir+"/log", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	d.cmd = exec.Command(program, "--data-root", d.dir+"/data", "--exec-root", d.dir+"/exec", "--pidfile", d.dir+"/d.pid", "-H", d.host,
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--shutdown-timeout", "2")
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := d.cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	cmd := d.cmd
	go func() { ended <- cmd.Wait() }()
	c := newDocker(Options{Host: d.host})
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, err := c.info(context.Background()); err == nil {
			return nil
		}
		select {
		case err := <-ended:
			text, _ := os.ReadFile(d.dir + "/log")
			return fmt.Errorf("dockerd ended: %w: %s", err, text[max(0, len(text)-1000):])
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("dockerd does not answer on %s", d.host)
		}
	}
}

// stop ends the daemon with the signal, and waits until it is gone.
func (d *daemon) stop(sig syscall.Signal) error {
	p := d.cmd.Process
	if err := p.Signal(sig); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); p.Signal(syscall.Signal(0)) == nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.Join(errors.New("dockerd does not end"), p.Kill())
		}
	}
	return nil
}

func (d *daemon) end() error {
	err := d.stop(syscall.SIGTERM)
	if e := unix.Unmount(d.dir+"/exec/netns/default", 0); e != nil && !errors.Is(e, unix.EINVAL) && !errors.Is(e, unix.ENOENT) {
		err = errors.Join(err, e)
	}
	return errors.Join(err, os.RemoveAll(d.dir))
}
