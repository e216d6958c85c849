package story

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/registry/registrytest"
)

// engines are a docker daemon and a registry with a base image that the stories
// share, started by the first one that asks.
var engines shared

type shared struct {
	once sync.Once
	why  error // nil: they are there
	dir  string
	cmd  *exec.Cmd
	done chan struct{}
	base *registrytest.Server
}

func (s *shared) host() string  { return "unix://" + s.dir + "/sock" }
func (s *shared) image() string { return s.base.Host + "/python:demo" }

// begin starts them, or says why that cannot be.
func (s *shared) begin() error {
	s.once.Do(func() { s.why = s.start() })
	return s.why
}

func (s *shared) start() error {
	if os.Getuid() != 0 {
		return errors.New("dockerd needs root")
	}
	for _, need := range []string{"dockerd", "docker", "runc"} {
		if _, err := exec.LookPath(need); err != nil {
			return err
		}
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "gm-docker-"); err != nil {
		return err
	}
	log, err := os.Create(s.dir + "/log")
	if err != nil {
		return err
	}
	defer log.Close()
	// It touches nothing of the host's network.
	s.cmd = exec.Command("dockerd", "--data-root", s.dir+"/data", "--exec-root", s.dir+"/exec", "--pidfile", s.dir+"/pid", "-H", s.host(),
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--shutdown-timeout", "2")
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.done = make(chan struct{})
	go func() {
		s.cmd.Wait() // how it ends is no matter
		close(s.done)
	}()
	if s.base, err = registrytest.Start(); err == nil {
		err = registrytest.PushBase(s.image())
	}
	for deadline := time.Now().Add(3 * time.Minute); err == nil; time.Sleep(100 * time.Millisecond) {
		select {
		case <-s.done:
			words, _ := os.ReadFile(s.dir + "/log")
			return fmt.Errorf("dockerd ended: %s", words[max(0, len(words)-1000):])
		default:
		}
		out, pullErr := s.docker("pull", "--quiet", s.image())
		if pullErr == nil {
			return nil
		}
		if time.Now().After(deadline) {
			err = fmt.Errorf("%w: %s", pullErr, out)
		}
	}
	return err
}

func (s *shared) docker(args ...string) (string, error) {
	cmd := exec.Command("docker", args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "DOCKER_HOST=" + s.host()}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// end stops what begin started.
func (s *shared) end() {
	if s.base != nil {
		s.base.Down()
	}
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(time.Minute):
		s.cmd.Process.Kill()
		<-s.done
	}
	unix.Unmount(s.dir+"/exec/netns/default", unix.MNT_DETACH)
	if err := os.RemoveAll(s.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// registries are those of the stories, by their work folders.
var registries sync.Map

func containers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: containers")
	}
	ts.Check(engines.begin())
	r, err := registrytest.Start()
	ts.Check(err)
	ts.Defer(func() { r.Down() })
	registries.Store(ts.Getenv("WORK"), r)
	ts.Setenv("REGISTRY", r.Host)
	ts.Setenv("BASE", engines.image())
	ts.Setenv("DOCKER_HOST", engines.host()) // for the story's own looks
	for key, value := range map[string]string{"engine": "container", "registry": r.Host + "/models", "builder": "docker", "engineEnv": "DOCKER_HOST=" + engines.host()} {
		git(ts, ts.Getenv("WORK"), "", "config", "--global", "models."+key, value)
	}
	// What the story's jobs left ends with it.
	work := ts.Getenv("WORK")
	ts.Defer(func() {
		killWithin(work)
		list, _ := engines.docker("ps", "--all", "--quiet", "--filter", "label=git-models.owner="+ts.Getenv("STATE"))
		for id := range strings.FieldsSeq(list) {
			engines.docker("rm", "--force", id)
		}
	})
}

func steerRegistry(ts *testscript.TestScript, neg bool, args []string) {
	v, ok := registries.Load(ts.Getenv("WORK"))
	if neg || !ok || len(args) == 0 {
		ts.Fatalf("usage: containers, then registry down|up|fail N|full N|ask PASSWORD|took REGEXP N")
	}
	r := v.(*registrytest.Server)
	word := strings.Join(args[1:min(2, len(args))], "")
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		ts.Check(err)
		return n
	}
	switch args[0] {
	case "down":
		ts.Check(r.Down())
	case "up":
		ts.Check(r.Up())
	case "fail", "full":
		r.Fail(number(word), args[0] == "full")
	case "ask":
		r.Ask(word)
	case "forget":
		r.Requests()
	case "took":
		form, err := regexp.Compile(word)
		ts.Check(err)
		var all []string
		n := 0
		for _, request := range r.Requests() {
			all = append(all, request)
			if form.MatchString(request) {
				n++
			}
		}
		if want := number(args[2]); n != want {
			ts.Fatalf("%d requests match %s, want %d, of\n%s", n, word, want, strings.Join(all, "\n"))
		}
	default:
		ts.Fatalf("registry: unknown word %s", args[0])
	}
}

// imageProject adds what the image of a project is built from.
func imageProject(ts *testscript.TestScript, dir string) {
	ts.Check(os.WriteFile(filepath.Join(dir, "src", "Dockerfile"), fmt.Appendf(nil, "FROM %s\nWORKDIR /app\nCOPY . src/\n", engines.image()), 0o644))
	git(ts, dir, "", "add", ".")
	git(ts, dir, "", "commit", "-q", "-m", "an image")
}
