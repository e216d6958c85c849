package builder

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The real parts of these tests, and why one is not there.
var (
	dockerHost string
	noDocker   string
	testConf   string // CONTAINERS_CONF
	testDir    string
)

// patience is how long a test waits for what must happen.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	if text := os.Getenv(doomedName); text != "" {
		fmt.Fprintln(os.Stderr, buildDoomed(text))
		os.Exit(1)
	}
	// Most of a test is waiting for others.
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(max(4, runtime.GOMAXPROCS(0)))); err != nil {
		panic(err)
	}
	os.Exit(runAll(m))
}

// runAll runs the tests with what they need.
func runAll(m *testing.M) (status int) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	dir, err := os.MkdirTemp("/tmp", "gm-builder-")
	if err != nil {
		fail(err)
		return status
	}
	testDir, testConf = dir, filepath.Join(dir, "containers.conf")
	defer func() { fail(errors.Join(unmountBelow(dir), os.RemoveAll(dir))) }()
	if err := os.WriteFile(testConf, []byte(containersConf), 0o644); err != nil {
		fail(err)
		return status
	}
	stop, why := startDocker(dir + "/docker")
	defer stop()
	noDocker = why
	status = m.Run()
	steps := (&job{storage: dir}).ours(0)
	if list, err := processes(steps); len(list) > 0 || err != nil {
		fail(fmt.Errorf("the processes %d are left, %v", list, errors.Join(err, end(steps))))
	}
	return status
}

// containersConf asks for no more than a machine may give whose limits cannot be
// raised, and for the runtime that knows every version of control groups.
const containersConf = `[containers]
default_ulimits = ["nofile=1024:1024","nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
`

// startDocker starts a daemon that touches no network state of the host. stop
// ends it by its process; why says that there is none.
func startDocker(dir string) (stop func(), why string) {
	stop = func() {}
	path, err := exec.LookPath("dockerd")
	if err != nil {
		return stop, "dockerd is not installed"
	}
	if os.Getuid() != 0 {
		return stop, "dockerd wants root"
	}
	if err := os.Mkdir(dir, 0o711); err != nil {
		return stop, err.Error()
	}
	log, err := os.Create(dir + "/log")
	if err != nil {
		return stop, err.Error()
	}
	defer log.Close()
	dockerHost = "unix://" + dir + "/d.sock"
	cmd := exec.Command(path, "--data-root", dir+"/data", "--exec-root", dir+"/exec", "--pidfile", dir+"/d.pid", "-H", dockerHost,
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false")
	cmd.Env = []string{"PATH=" + testPath, "HOME=" + dir}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return stop, "dockerd: " + err.Error()
	}
	done := make(chan struct{})
	go func() {
		cmd.Wait() // how it ends is no matter
		close(done)
	}()
	stop = func() {
		unix.Kill(cmd.Process.Pid, unix.SIGTERM)
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
			<-done
		}
	}
	docker, err := New("docker", testOptions())
	if err != nil {
		return stop, err.Error()
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		select {
		case <-done:
			text, err := os.ReadFile(log.Name())
			return stop, "dockerd ended at once: " + lastWords(errors.Join(err, errors.New(string(text))))
		default:
		}
		if docker.Check(context.Background()) == nil {
			return stop, ""
		}
	}
	return stop, "dockerd did not answer"
}

// testPath has Debian's programs first.
const testPath = "/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin"

func testOptions() Options {
	return Options{Temp: testDir, Path: testPath, Network: "none", Grace: 10 * time.Second, MinFree: 1, NeedFree: 1,
		Context: ContextLimit{Members: 1000, Bytes: 1 << 30},
		Env:     map[string]string{"DOCKER_HOST": dockerHost, "CONTAINERS_CONF": testConf}}
}
