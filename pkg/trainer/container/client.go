package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// client is the command line of docker or podman, with all that leads it to its
// engine: what is created with it is found again with it.
type client struct {
	Kind string   `json:"kind"` // docker or podman
	Argv []string `json:"argv"` // the program and its global flags
	Env  []string `json:"env"`
	Host string   `json:"host,omitempty"` // docker's; for words
}

// defaultHost is where docker listens (dockerd(8), -H).
const defaultHost = "unix:///var/run/docker.sock"

// commandTime bounds one command of a client but for pull, stop and logs: an
// engine that takes longer does not answer.
const commandTime = 2 * time.Minute

// newDocker is the client docker. HOME leads it to the runner's own
// configuration, as a rootless docker's context.
func newDocker(o Options) client {
	c := client{Kind: "docker", Argv: o.Docker, Env: clientEnv(o), Host: o.Host}
	if len(c.Argv) == 0 {
		c.Argv = []string{"docker"}
	}
	if c.Host == "" {
		c.Host = os.Getenv("DOCKER_HOST")
	}
	if c.Host != "" {
		c.Env = append(c.Env, "DOCKER_HOST="+c.Host)
	} else {
		c.Host = defaultHost
	}
	return c
}

// newPodman is the client podman; a rootless one needs HOME and XDG_RUNTIME_DIR.
func newPodman(o Options) client {
	c := client{Kind: "podman", Argv: o.Podman, Env: clientEnv(o)}
	if len(c.Argv) == 0 {
		c.Argv = []string{"podman"}
	}
	return c
}

// clientEnv is a fresh environment: what the clients need to find their engine.
func clientEnv(o Options) []string {
	env := []string{"LANG=C.UTF-8"}
	for _, name := range []string{"PATH", "HOME", "XDG_RUNTIME_DIR"} {
		if v := os.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return append(env, o.Env...)
}

// command is one command of the client.
func (c client) command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	words := append(append([]string{}, c.Argv...), args...)
	program := words[0]
	if !strings.Contains(program, "/") {
		found, err := exec.LookPath(program)
		if err != nil {
			return nil, &gitmodels.Error{Kind: gitmodels.Waiting, Op: "looking for " + c.Kind,
				Message: fmt.Sprintf("engine: %s is not installed", c.Kind), Err: err}
		}
		program = found
	}
	cmd := exec.CommandContext(ctx, program, words[1:]...)
	cmd.Env, cmd.Dir = c.Env, "/"
	cmd.WaitDelay = 10 * time.Second
	return cmd, nil
}

// run runs one command and returns what it prints. Its error carries the
// engine's words and, where they tell, the kind.
func (c client) run(ctx context.Context, args ...string) (string, error) {
	return c.runEnv(ctx, nil, args...)
}

func (c client) runEnv(ctx context.Context, env []string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeFor(args[0]), errSilent)
	defer cancel()
	cmd, err := c.command(ctx, args...)
	if err != nil {
		return "", err
	}
	cmd.Env = append(cmd.Env[:len(cmd.Env):len(cmd.Env)], env...)
	var out, says bounded
	cmd.Stdout, cmd.Stderr = &out, &says
	if err := cmd.Run(); err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			return "", &gitmodels.Error{Kind: gitmodels.Waiting, Op: args[0],
				Message: fmt.Sprintf("engine: %s cannot be executed", c.Argv[0]), Err: err}
		}
		if ctx.Err() != nil {
			says.WriteString(context.Cause(ctx).Error())
		}
		return "", c.failure(args[0], says.String(), err)
	}
	if out.cut {
		return "", internal(c.Kind+" "+args[0], fmt.Errorf("it printed more than %d bytes", maxRecord))
	}
	return strings.TrimSpace(out.String()), nil
}

func timeFor(verb string) time.Duration {
	switch verb {
	case "pull":
		return 24 * time.Hour // a keeper pulls; Cancel ends it
	case "stop":
		return time.Hour
	}
	return commandTime
}

// bounded keeps the first maxRecord bytes of an output.
type bounded struct {
	bytes.Buffer
	cut bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if room := maxRecord - b.Len(); len(p) > room {
		b.cut = true
		b.Buffer.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return b.Buffer.Write(p)
}

var (
	// errSilent and errDown are in the chain of an error when the engine did not
	// answer at all, as while it restarts.
	errSilent = errors.New("it does not answer in time")
	errDown   = errors.New("it does not answer")
)

// failure puts a failed command into an Error: the last line that says why.
func (c client) failure(verb, says string, err error) error {
	why := lastWords(says)
	if why == "" {
		why = err.Error()
	}
	e := &gitmodels.Error{Kind: gitmodels.Waiting, Op: c.Kind + " " + verb, Err: errors.Join(err, errors.New(gitmodels.Printable(says, 2000)))}
	lower := strings.ToLower(says)
	has := func(any ...string) bool {
		for _, s := range any {
			if strings.Contains(lower, s) {
				return true
			}
		}
		return false
	}
	switch {
	case c.Kind == "docker" && has("permission denied") && has("docker daemon socket", "docker api"):
		e.Message = fmt.Sprintf("engine: no right to use docker on %s (is the runner's user in its group?)", c.Host)
	case c.Kind == "docker" && has("cannot connect to the docker daemon", "is the docker daemon running", "error during connect", "failed to connect to the docker api", errSilent.Error()):
		e.Message = fmt.Sprintf("engine: docker does not answer on %s", c.Host)
		e.Err = errors.Join(errDown, e.Err)
	case verb == "pull" && has("manifest unknown", "not found", "name unknown"):
		e.Kind, e.Message = gitmodels.NotFound, "engine: the image is not in the registry: "+why
	case verb == "pull" && has("unauthorized", "denied", "authentication required", "no basic auth"):
		e.Message = "engine: the image may not be pulled with the engine's credentials: " + why
	case (verb == "start" || verb == "create") && has("not a directory", "error mounting", "no command specified"):
		e.Kind, e.Message = gitmodels.Invalid, "engine: the container cannot be made of this image: "+why
	case verb == "create" && has("minimum memory limit", "invalid reference format"):
		e.Kind, e.Message = gitmodels.Invalid, "engine: "+why
	default:
		e.Message = fmt.Sprintf("engine: %s %s: %s", c.Kind, verb, why)
	}
	return e
}

// lastWords is the last line with words in it that says why, not how to use the client
// or which container it was.
func lastWords(says string) string {
	last := ""
	for line := range strings.Lines(says) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "See '") && !strings.HasPrefix(line, "Run '") && !strings.Contains(line, "failed to start containers: ") {
			last = line
		}
	}
	for _, p := range []string{"Error: ", "Error response from daemon: ", "docker: "} {
		last = strings.TrimPrefix(last, p)
	}
	return gitmodels.Printable(last, 300)
}

// engineInfo is what an engine says of itself.
type engineInfo struct {
	ID       string // one installation of docker or podman on this host
	Version  string
	Rootless bool
	CPUs     int // of the host
	// What its kernel lets it limit.
	Memory, Swap, Quota, Pids bool
}

// greet asks the engine for an answer: docker about itself, podman, which that
// costs a second, for less.
func (c client) greet(ctx context.Context) (*engineInfo, error) {
	if c.Kind == "podman" {
		_, err := c.list(ctx, labelNonce+"=none")
		return nil, err
	}
	info, err := c.info(ctx)
	return &info, err
}

// info asks the engine about itself.
func (c client) info(ctx context.Context) (engineInfo, error) {
	out, err := c.run(ctx, "info", "--format", "{{json .}}")
	if err != nil {
		return engineInfo{}, err
	}
	if c.Kind == "podman" {
		return c.podmanInfo(out)
	}
	var d struct {
		ID, ServerVersion                              string
		NCPU                                           int
		MemoryLimit, SwapLimit, CpuCfsQuota, PidsLimit bool
		SecurityOptions, ServerErrors                  []string
	}
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		return engineInfo{}, internal("docker info", err)
	}
	if len(d.ServerErrors) > 0 { // newer clients end with status 0 all the same
		return engineInfo{}, c.failure("info", strings.Join(d.ServerErrors, "\n"), errDown)
	}
	if d.ID == "" {
		return engineInfo{}, c.failure("info", "it does not say which engine answers", errDown)
	}
	i := engineInfo{ID: d.ID, Version: d.ServerVersion, CPUs: d.NCPU, Memory: d.MemoryLimit, Swap: d.SwapLimit, Quota: d.CpuCfsQuota, Pids: d.PidsLimit}
	for _, o := range d.SecurityOptions {
		i.Rootless = i.Rootless || o == "name=rootless" || strings.HasPrefix(o, "name=rootless,")
	}
	return i, nil
}

func (c client) podmanInfo(out string) (engineInfo, error) {
	var p struct {
		Host struct {
			CPUs              int
			CgroupVersion     string
			CgroupControllers []string
			Security          struct{ Rootless bool }
		}
		Store   struct{ GraphRoot, RunRoot string }
		Version struct{ Version string }
	}
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		return engineInfo{}, internal("podman info", err)
	}
	i := engineInfo{ID: p.Store.GraphRoot + " " + p.Store.RunRoot, Version: p.Version.Version, Rootless: p.Host.Security.Rootless, CPUs: p.Host.CPUs}
	if p.Store.GraphRoot == "" {
		return i, internal("podman info", errors.New("it names no storage"))
	}
	if i.Rootless && p.Host.CgroupVersion != "v2" {
		return i, nil // an ordinary user makes no groups of version 1
	}
	for _, name := range p.Host.CgroupControllers {
		i.Memory = i.Memory || name == "memory"
		i.Quota = i.Quota || name == "cpu"
		i.Pids = i.Pids || name == "pids"
	}
	i.Swap = i.Memory
	return i, nil
}

// seen is a container as its engine shows it.
type seen struct {
	ID    string `json:"Id"`
	State struct {
		Status     string
		Running    bool
		OOMKilled  bool
		ExitCode   int
		Error      string
		StartedAt  time.Time
		FinishedAt time.Time
	}
	Config struct {
		Entrypoint json.RawMessage // a list in docker, a string in podman
		Labels     map[string]string
	}
}

// fresh reports whether it was never started.
func (s seen) fresh() bool {
	switch s.State.Status {
	case "created", "configured", "initialized":
		return s.State.StartedAt.Year() <= 1 && !s.State.Running
	}
	return false
}

// ended reports whether it has run and runs no more. Any state that is not known
// to be an end is none.
func (s seen) ended() bool {
	switch s.State.Status {
	case "exited", "dead", "stopped":
		return !s.State.Running
	}
	return false
}

// find looks for the container with the nonce; id is it where that is known.
// That it is not there is never read from an error: the list answers with success
// whether it is there or not.
func (c client) find(ctx context.Context, nonce, id string) (s seen, there bool, err error) {
	for tries := 0; tries < 3; tries++ { // it may be removed between list and look
		if id != "" {
			if s, err = c.inspect(ctx, id); err == nil {
				return s, true, nil
			}
		}
		ids, err := c.list(ctx, labelNonce+"="+nonce)
		if err != nil || len(ids) == 0 {
			return seen{}, false, err
		}
		if len(ids) > 1 {
			return seen{}, false, internal("looking for the container", fmt.Errorf("%d containers have the label %s=%s", len(ids), labelNonce, nonce))
		}
		id = ids[0]
	}
	s, err = c.inspect(ctx, id)
	return s, err == nil, err
}

// list returns the ids of the containers with the label, whatever their state.
func (c client) list(ctx context.Context, label string) ([]string, error) {
	out, err := c.run(ctx, "container", "ls", "--all", "--no-trunc", "--filter", "label="+label, "--format", "{{.ID}}")
	return strings.Fields(out), err
}

func (c client) inspect(ctx context.Context, id string) (seen, error) {
	out, err := c.run(ctx, "container", "inspect", id)
	if err != nil {
		return seen{}, err
	}
	var all []seen
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 || all[0].ID == "" {
		return seen{}, internal(c.Kind+" container inspect", errors.Join(err, fmt.Errorf("it shows %d containers", len(all))))
	}
	return all[0], nil
}

// hasImage reports whether the engine has the image; what it cannot say is left
// to the pull.
func (c client) hasImage(ctx context.Context, image string) bool {
	_, err := c.run(ctx, "image", "inspect", "--format", "{{.Id}}", image)
	return err == nil
}

// pull pulls the image. config is the folder of a docker config.json with the
// credentials, empty for the client's own.
func (c client) pull(ctx context.Context, image, config string, plain bool) error {
	args := []string{"pull", "--quiet"}
	var env []string
	if c.Kind == "podman" && plain {
		args = append(args, "--tls-verify=false")
	}
	if c.Kind == "podman" && config != "" {
		args = append(args, "--authfile", filepath.Join(config, configFile))
	} else if config != "" {
		env = []string{"DOCKER_CONFIG=" + config}
	}
	_, err := c.runEnv(ctx, env, append(args, image)...)
	return err
}

// start starts a container that was created.
func (c client) start(ctx context.Context, id string) error {
	_, err := c.run(ctx, "start", id)
	return err
}

// stop asks it to end and kills it after the grace. One that has ended is left alone.
func (c client) stop(ctx context.Context, id string, grace time.Duration) error {
	_, err := c.run(ctx, "stop", "--time", fmt.Sprint(seconds(grace)), id)
	return err
}

// seconds rounds up, so that a short grace is still one.
func seconds(d time.Duration) int64 {
	return int64((d + time.Second - 1) / time.Second)
}

// remove removes a container that has ended, or never ran, with its volumes.
func (c client) remove(ctx context.Context, id string) error {
	_, err := c.run(ctx, "rm", "--volumes", id)
	return err
}
