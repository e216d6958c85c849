package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// The launcher is this program once more, between the supervisor and the job:
// it takes the limits upon itself, so that they hold from the job's first
// instruction, and becomes the job.

// launchEnv marks the launcher.
const launchEnv = "GIT_MODELS_LAUNCH"

// The launcher's descriptors.
const (
	orderFD = 3 + iota // what to do
	faultFD            // where it says why it could not
	infoFD             // bubblewrap's --info-fd
	argsFD             // bubblewrap's --args
)

// maxProcesses bounds the processes and threads of a job.
const maxProcesses = 4096

// order is what the supervisor tells the launcher.
type order struct {
	Argv     []string `json:"argv"`
	Env      []string `json:"env"`
	Dir      string   `json:"dir"`
	Join     []string `json:"join"`      // cgroup.procs files
	Memory   uint64   `json:"memory"`    // RLIMIT_AS in bytes, 0: none
	Tasks    uint64   `json:"tasks"`     // RLIMIT_NPROC, 0: none
	NoGain   bool     `json:"no_gain"`   // no_new_privs
	HandDown []int    `json:"hand_down"` // descriptors the program keeps
}

// launchFault is what the launcher says when there is no job.
type launchFault struct {
	Code  int    `json:"code"`
	Cause string `json:"cause"`
}

// launchWords is the order for this job.
func (s *supervisor) launchWords() ([]byte, error) {
	o := order{Join: s.group.joins()}
	if !s.group.limitsMemory() {
		o.Memory = uint64(s.spec.Job.MemoryBytes)
	}
	if !s.group.limitsTasks() {
		taken, err := tasksOfUser()
		if err != nil {
			return nil, err
		}
		o.Tasks = taken + maxProcesses
	}
	if s.spec.Sandbox != nil {
		o.Argv = append([]string{s.spec.Sandbox.Path, "--args", strconv.Itoa(argsFD), "--"}, s.spec.Job.Command...)
		o.Env, o.Dir, o.NoGain, o.HandDown = []string{"PATH=" + sandboxPath}, "/", true, []int{infoFD, argsFD}
		return json.Marshal(o)
	}
	env := s.jobEnv()
	o.Argv, o.Dir = s.spec.Job.Command, s.spec.Job.Tree
	for _, name := range slices.Sorted(maps.Keys(env)) {
		o.Env = append(o.Env, name+"="+env[name])
	}
	return json.Marshal(o)
}

// launch becomes the job, or says why it could not and returns.
func launch() int {
	runtime.LockOSThread() // no_new_privs and the keyring are the thread's that executes
	fault := os.NewFile(faultFD, "fault")
	err := errors.New("no order")
	if list := os.NewFile(orderFD, "order"); list != nil && fault != nil {
		var b []byte
		if b, err = io.ReadAll(list); err == nil {
			var o order
			if err = json.Unmarshal(b, &o); err == nil {
				err = o.carryOut()
			}
		}
	}
	f := launchFault{Code: 125, Cause: "the job could not be started: " + printable(err.Error())}
	var words *notStarted
	if errors.As(err, &words) {
		f = launchFault(*words)
	}
	// The person who reads the log learns it too.
	fmt.Fprintf(os.Stderr, "git-models: %s\n", f.Cause)
	if err := json.NewEncoder(fault).Encode(f); err != nil {
		return 125
	}
	return f.Code
}

// notStarted is a fault of the command, not ours.
type notStarted launchFault

func (e *notStarted) Error() string { return e.Cause }

// carryOut takes on the limits and executes the program. It returns only with
// an error.
func (o order) carryOut() error {
	if err := os.Chdir(o.Dir); err != nil {
		return err
	}
	path, err := lookPath(o.Argv[0], o.Env)
	if err != nil {
		return err
	}
	for _, procs := range o.Join {
		if err := os.WriteFile(procs, []byte("0"), 0); err != nil { // 0: the writer, cgroups(7)
			return err
		}
	}
	if err := closeOnExec(); err != nil {
		return err
	}
	for _, fd := range o.HandDown {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return err
		}
	}
	if o.NoGain {
		// The runner's session keyring may hold tickets and keys of disks, and no
		// namespace hides it (keyrings(7)): an empty one takes its place. Where a
		// kernel or a filter refuses, it refuses the job as well.
		_, _, errno := unix.Syscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0)
		if errno != 0 && errno != unix.ENOSYS && errno != unix.EPERM {
			return fmt.Errorf("leaving the session keyring: %w", errno)
		}
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	if err := setLimit(unix.RLIMIT_CORE, 0); err != nil {
		return err
	}
	if o.Tasks > 0 {
		if err := setLimit(unix.RLIMIT_NPROC, o.Tasks); err != nil {
			return err
		}
	}
	// Last of all: this program itself needs address space.
	if o.Memory > 0 {
		if err := setLimit(unix.RLIMIT_AS, o.Memory); err != nil {
			return err
		}
	}
	err = syscall.Exec(path, o.Argv, o.Env)
	return commandFault(o.Argv[0], err)
}

// setLimit lowers both limits to value; a lower one that stands already stays.
func setLimit(which int, value uint64) error {
	var old unix.Rlimit
	if err := unix.Getrlimit(which, &old); err != nil {
		return err
	}
	return unix.Setrlimit(which, &unix.Rlimit{Cur: min(value, old.Max), Max: min(value, old.Max)})
}

// lookPath finds the program in the PATH of env; a name with a slash is taken
// from the working directory, as by a shell.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	var fault error = exec.ErrNotFound
	for _, v := range env {
		list, ok := strings.CutPrefix(v, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(list) {
			path := filepath.Join(dir, name)
			info, err := os.Stat(path)
			if !filepath.IsAbs(dir) || err != nil || info.IsDir() {
				continue
			}
			if err := unix.Access(path, unix.X_OK); err != nil {
				fault = err
				continue
			}
			return path, nil
		}
	}
	return "", commandFault(name, fault)
}

// commandFault puts a failed exec into words, with a shell's exit status.
func commandFault(name string, err error) error {
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, unix.ENOENT):
		return &notStarted{127, "command not found: " + printable(name)}
	case errors.Is(err, unix.E2BIG):
		return &notStarted{126, "the command line or the environment is too long for this machine"}
	}
	return &notStarted{126, fmt.Sprintf("the command %s cannot be executed: %v", printable(name), err)}
}

// tasksOfUser counts the processes and threads of this user: RLIMIT_NPROC
// counts them all (setrlimit(2)).
func tasksOfUser() (uint64, error) {
	list, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	uid, n := uint32(os.Getuid()), uint64(0)
	for _, e := range list {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != uid {
			continue
		}
		if tasks, err := os.ReadDir(filepath.Join("/proc", e.Name(), "task")); err == nil {
			n += uint64(len(tasks))
		}
	}
	return n, nil
}

// account is the name of the user who runs this.
func account() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}

func printable(s string) string { return gitmodels.Printable(s, 200) }
