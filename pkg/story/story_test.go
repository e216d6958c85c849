package story

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// bin is the folder of the three programs, built once for all stories.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "git-models-story-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		// Other users run the programs too.
		if err := os.Chmod(dir, 0o755); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		bin = dir
		build := exec.Command("go", "build", "-trimpath", "-o", dir+"/",
			"../../hooks/pre-receive", "../../hooks/post-receive", "../../install/git-models")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "building the programs:", err)
			return 1
		}
		defer engines.end()
		return m.Run()
	}())
}

func TestStories(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		Setup:               setup,
		Cmds:                commands,
		Condition:           condition,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// gitConfig is what the account of every story has in its HOME: it serves the
// repositories and pushes to them.
const gitConfig = `[user]
	name = Alice
	email = alice@example.com
[init]
	defaultBranch = main
[advice]
	detachedHead = false
[protocol "file"]
	allow = always
[models]
	engine = process
	allowProcess = %s
`

func setup(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	// Stories with other users need a way through.
	for _, dir := range []string{env.WorkDir, filepath.Dir(env.WorkDir)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(env.WorkDir, ".tmp"), 0o1777); err != nil {
		return err
	}
	sandbox := "true"
	if !sandboxWorks() {
		sandbox = "unsandboxed"
	}
	config := filepath.Join(home, ".gitconfig")
	if err := os.WriteFile(config, fmt.Appendf(nil, gitConfig, sandbox), 0o644); err != nil {
		return err
	}
	env.Setenv("HOME", home)
	env.Setenv("PATH", bin+":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
	env.Setenv("STATE", filepath.Join(home, ".local/state/git-models"))
	env.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	env.Setenv("GIT_TERMINAL_PROMPT", "0")
	env.Setenv("NO_COLOR", "1")
	env.Setenv("TERM", "dumb")
	env.Setenv("TZ", "UTC")
	// Runners that a push started outlive it: no story leaves one behind.
	env.Defer(func() { killWithin(env.WorkDir) })
	return nil
}

func condition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Getuid() == 0, nil
	case "bwrap":
		return sandboxWorks(), nil
	case "sshd":
		// ssh and sshd know nobody who has no name.
		_, noName := user.LookupId(strconv.Itoa(os.Getuid()))
		_, noClient := exec.LookPath("ssh")
		return sshdPath() != "" && noClient == nil && noName == nil, nil
	case "mounts":
		// In a namespace that ends with the command.
		return exec.Command("unshare", "-m", "mount", "-t", "tmpfs", "none", "/tmp").Run() == nil, nil
	case "docker":
		return engines.begin() == nil, nil
	case "python3":
		_, err := os.Stat("/usr/bin/python3")
		return err == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// sandboxWorks reports whether bubblewrap is here and may make its namespaces.
func sandboxWorks() bool {
	path, err := exec.LookPath("bwrap")
	if err != nil {
		return false
	}
	return exec.Command(path, "--ro-bind", "/", "/", "--unshare-all", "true").Run() == nil
}

// sshdPath is where sshd lies; it wants to be started by its absolute path.
func sshdPath() string {
	for _, p := range []string{"/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd"} {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return ""
}

// processesWithin returns the ids of processes, not our own, that carry dir in
// their command line or environment, and whose command line contains pattern.
func processesWithin(dir, pattern string) []int {
	var found []int
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		var pid int
		fmt.Sscanf(filepath.Base(p), "%d", &pid)
		cmdline, err := os.ReadFile(p + "/cmdline")
		if err != nil || pid == os.Getpid() {
			continue
		}
		environ, _ := os.ReadFile(p + "/environ")
		words := strings.ReplaceAll(string(cmdline), "\x00", " ")
		// The folder of another story may begin with the name of this one.
		all := string(cmdline) + "\x00" + string(environ) + "\x00"
		if (strings.Contains(all, dir+"/") || strings.Contains(all, dir+"\x00")) && strings.Contains(words, pattern) {
			found = append(found, pid)
		}
	}
	return found
}
