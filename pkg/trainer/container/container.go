// Package container is the engine that runs a job in a container of this host:
// the gitmodels.Trainer named "container". It drives docker or podman through
// their command lines.
//
// A keeper, a small process in a session of its own that Submit starts, does all
// that is done to a container: it pulls the image, creates, starts, follows,
// times and ends the container, and removes it. It outlives the runner, so that
// the log goes on and MaxRuntime holds while no runner is up; a time-out inside
// the container would need a program that an image need not have. A keeper that
// dies is replaced by the next Submit or Status and takes over where it stopped:
// unlike a supervisor of processes it is not the job's parent, the container
// engine is. What happened is in files of Job.Dir, which the container never sees:
//
//	submit.lock     held by a Submit while it works
//	job.json        what to run and with which client, with the nonce that labels
//	                the container; without the job's environment
//	env             the job's environment, mode 0600, gone once the container runs
//	lock            held by the keeper for its life: there is never a second one
//	container.json  the container and how far it is: created, being started, started
//	ending.json     why the keeper ends the job, written before it does
//	cancel          asks the keeper to end the job
//	exit.json       how the job ended; only then is the container removed
//	fault.json      why a keeper gave up before the job ran, or cannot see it now
//	ticket/         an empty folder that the container mounts: it starts only with it
//	config/         the client's credentials until it has pulled
//
// # Once
//
// The nonce and the container's name make two containers at once impossible: a
// keeper looks for its label first, and an engine has each name once. A job never
// runs twice, however long the clients of keepers that died linger on:
//
//   - A container is asked to start at most once: container.json says Starting,
//     durably, before.
//   - When it shows no sign of that, the ticket is removed. From then on the engine
//     cannot start it, for want of the folder that it mounts.
//   - Then the engine is asked again. It answers after a start that is under way,
//     as both take the container's lock. A container that never ran by now never
//     will; only such a one is removed, and another is created, with a new ticket.
//   - After a reboot the engine's word that it never ran is not taken: it is lost.
//
// # What the job gets
//
// The runner's uid and gid, so that its files are the runner's (in a rootless
// docker root is that user, in a rootless podman --userns keep-id maps it), no
// capabilities, no new privileges, a bound on processes, an init that reaps and
// passes signals on, HOME=/tmp unless its environment says otherwise, and the
// Writable folders at the same paths as here. Nothing else of the host, and no
// network unless policy allows one. Command stands behind the image's ENTRYPOINT
// in the image's WORKDIR; Job.Tree is not used, the image has its files.
//
// # Log
//
// The engine keeps the output in a log of its own, and the keeper copies it. A
// keeper that takes over, and each one at the end, reads the engine's log from
// its beginning and compares it with what it has copied, so that nothing is
// missing or doubled. The engine's log is bounded by 8 times LogLimit, 64 MiB at
// least; when it was cut before it was copied, the job's log says that something
// is missing. Between stdout and stderr the order is the engine's.
//
// # Ends
//
// exit.json is written from the engine's own word. A container that is ended by
// Cancel or MaxRuntime after it had ended by itself keeps its own end. A container
// that is gone, or whose engine or machine restarted under it, is lost, whatever
// its status: exit status 0 may be that of a job told to end at a shutdown.
//
// The package imports gitmodels, the standard library and x/sys; it must never
// import the runner or another adapter.
package container

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Options configure an Engine. The zero value of each field is usable, but
// Keeper and Owner.
type Options struct {
	// Keeper is the argv that, with Job.Dir appended, ends up in Keep. Its first
	// word is an absolute path.
	Keeper []string
	// Owner labels all containers, so that two installations that share a docker
	// never touch each other's: the path of the state directory.
	Owner string
	// Client is docker, podman, or auto: docker where it answers, else podman.
	Client string
	// Docker and Podman are the beginning of the clients' command lines, such as
	// {"podman", "--root", "/srv/podman"}: the program alone.
	Docker, Podman []string
	// Host is where docker listens: DOCKER_HOST, else docker's own default.
	Host string
	// Env are further variables of the clients, such as CONTAINERS_CONF=….
	Env []string
	// Network is the network of jobs that may have one: the client's default.
	Network string
	// Grace is what a job gets between SIGTERM and SIGKILL, in whole seconds: 10 s.
	Grace time.Duration
	// BootID is the file that identifies the boot: the kernel's (random(4)).
	BootID string
}

// Engine runs jobs in containers on this host.
type Engine struct {
	o  Options
	mu sync.Mutex // guards what follows
	// found is the client that answered last, info what its engine said then, if it
	// was asked.
	found *client
	info  *engineInfo
	asked time.Time
}

// New returns the engine.
func New(o Options) *Engine {
	if o.Grace <= 0 {
		o.Grace = 10 * time.Second
	}
	if o.BootID == "" {
		o.BootID = "/proc/sys/kernel/random/boot_id"
	}
	return &Engine{o: o}
}

var _ gitmodels.Trainer = (*Engine)(nil)

// Engine implements gitmodels.Trainer.
func (e *Engine) Engine() string { return "container" }

// Check implements gitmodels.Trainer: a client is there, and its engine answers.
// Whether the image can be pulled shows when it is.
func (e *Engine) Check(ctx context.Context, _ gitmodels.Job) error {
	if err := e.checkKeeper(); err != nil {
		return err
	}
	_, err := e.find(ctx)
	return err
}

func (e *Engine) checkKeeper() error {
	if len(e.o.Keeper) == 0 || !filepath.IsAbs(e.o.Keeper[0]) || e.o.Owner == "" {
		return internal("starting a keeper", fmt.Errorf("keeper %q, owner %q: the first must begin with an absolute path, the second must not be empty", e.o.Keeper, e.o.Owner))
	}
	if err := unix.Access(e.o.Keeper[0], unix.X_OK); err != nil {
		return &gitmodels.Error{Kind: gitmodels.Waiting, Op: "starting a keeper",
			Message: fmt.Sprintf("engine: %s cannot be executed", e.o.Keeper[0]), Hint: "git models install", Err: err}
	}
	return nil
}

// find returns the first client that answers.
func (e *Engine) find(ctx context.Context) (client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	candidates, err := e.candidates()
	if err != nil {
		return client{}, err
	}
	if e.found != nil {
		candidates = slices.Insert(candidates, 0, *e.found)
	}
	var words []string
	for _, c := range candidates {
		info, err := c.greet(ctx)
		if err == nil {
			e.found, e.info, e.asked = &c, info, time.Now()
			return c, nil
		}
		if ctx.Err() != nil {
			return client{}, context.Cause(ctx)
		}
		if w := strings.TrimPrefix(messageOf(err), "engine: "); !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	return client{}, &gitmodels.Error{Kind: gitmodels.Waiting, Op: "looking for docker and podman",
		Message: "engine: " + strings.Join(words, "; ")}
}

// infoAge is how long what an engine said of itself is handed to keepers.
const infoAge = time.Minute

// remembered is the client that answered last, with what its engine said of itself
// a moment ago; nil: the keeper asks.
func (e *Engine) remembered(ctx context.Context) (client, *engineInfo, error) {
	e.mu.Lock()
	found, info, asked := e.found, e.info, e.asked
	e.mu.Unlock()
	if found == nil {
		c, err := e.find(ctx)
		return c, nil, err
	}
	if age := time.Since(asked); age < 0 || age > infoAge {
		info = nil
	}
	return *found, info, nil
}

// candidates are the clients that policy allows, in their order.
func (e *Engine) candidates() ([]client, error) {
	docker, podman := newDocker(e.o), newPodman(e.o)
	switch e.o.Client {
	case "", "auto":
		return []client{docker, podman}, nil
	case "docker":
		return []client{docker}, nil
	case "podman":
		return []client{podman}, nil
	}
	return nil, internal("looking for docker and podman", fmt.Errorf("the client %q is none of auto, docker, podman", e.o.Client))
}

// Versions names what runs the jobs, for an Outcome.
func (e *Engine) Versions(ctx context.Context) map[string]string {
	c, err := e.find(ctx)
	if err != nil {
		return nil
	}
	info, err := c.info(ctx)
	if err != nil {
		return nil
	}
	return map[string]string{c.Kind: info.Version}
}

// Submit implements gitmodels.Trainer. The id is the job's name. It returns once
// the container was started; pulling the image may take long before that, and
// goes on when the caller dies.
func (e *Engine) Submit(ctx context.Context, job gitmodels.Job) (id string, err error) {
	if err := validate(job); err != nil {
		return "", err
	}
	atStep("submit: begin")
	unlock, err := lockSubmit(ctx, job.Dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	atStep("submit: locked")

	s, err := look(job)
	switch {
	case err != nil:
		return "", err
	case s.exit != nil:
		return job.Name, nil
	case s.held:
		return job.Name, e.awaitStart(ctx, job, nil)
	}
	if err := e.checkKeeper(); err != nil {
		return "", err
	}
	if s.container == nil || !s.container.Starting { // else the container has all it needs
		if err := e.prepare(ctx, job, s.spec); err != nil {
			return "", err
		}
	}
	ended, err := e.startKeeper(job.Dir)
	if err != nil {
		return "", internal("starting the keeper", err)
	}
	atStep("submit: started")
	return job.Name, e.awaitStart(ctx, job, ended)
}

// prepare writes what the keeper reads. The nonce and the client of an earlier
// Submit stay: a container may have been created.
func (e *Engine) prepare(ctx context.Context, job gitmodels.Job, before *spec) error {
	sp := spec{Version: 1, Job: job, Owner: e.o.Owner, Nonce: rand.Text(), Grace: e.o.Grace, BootID: e.o.BootID, Network: e.o.Network}
	sp.Job.Env, sp.Job.AuthFile = nil, ""
	if before != nil {
		sp.Nonce, sp.Client = before.Nonce, before.Client
	} else {
		c, info, err := e.remembered(ctx)
		if err != nil {
			return err
		}
		sp.Client, sp.Info, sp.First = c, info, true
	}
	if err := writeDurably(job.Dir, envFile, environment(job.Env)); err != nil {
		return internal("recording the job's environment", err)
	}
	if err := copyCredentials(job); err != nil {
		return err
	}
	atStep("submit: env")
	if err := writeRecord(job.Dir, jobFile, sp); err != nil {
		return internal("recording the job", err)
	}
	atStep("submit: job.json")
	return nil
}

// copyCredentials gives the keeper what it pulls with: AuthFile may be gone when
// it needs it.
func copyCredentials(job gitmodels.Job) error {
	dir := filepath.Join(job.Dir, configFolder)
	if err := os.RemoveAll(dir); err != nil || job.AuthFile == "" {
		return internal("removing old credentials", err)
	}
	data, err := os.ReadFile(job.AuthFile)
	if err != nil {
		return &gitmodels.Error{Kind: gitmodels.Waiting, Op: "reading the registry's credentials",
			Message: fmt.Sprintf("engine: the credentials in %s cannot be read: %v", job.AuthFile, err), Err: err}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return internal("recording the registry's credentials", err)
	}
	return internal("recording the registry's credentials", writeDurably(dir, configFile, data))
}

// startKeeper starts it apart from us: a session of its own, no descriptor of
// ours, an environment of PATH alone.
func (e *Engine) startKeeper(dir string) (ended <-chan error, err error) {
	if err := unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, fmt.Errorf("keeping our descriptors: %w", err)
	}
	cmd := exec.Command(e.o.Keeper[0], append(slices.Clone(e.o.Keeper[1:]), dir)...)
	cmd.Dir = "/"
	cmd.Env = append(testEnv(), "PATH="+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	return done, nil
}

// awaitStart waits until the container was started, or the keeper has given up.
// ended tells when the keeper that we started is gone.
func (e *Engine) awaitStart(ctx context.Context, job gitmodels.Job, ended <-chan error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := look(job)
		switch {
		case err != nil:
			return err
		case s.exit != nil || s.started():
			return nil
		case ended == nil && !s.held: // another's keeper is gone, or ours has made way for it
			if err := faultOf(job.Dir, "starting the container"); err != nil {
				return err
			}
			return internal("starting the container", errors.New("the keeper ended without a word"))
		}
		select {
		case <-ctx.Done():
			return internal("waiting for the container's start", context.Cause(ctx))
		case <-ended:
			ended = nil
		case <-tick.C:
		}
	}
}

// Status implements gitmodels.Trainer. It reads what the keeper saw, and starts
// one for a container that has lost its own.
func (e *Engine) Status(ctx context.Context, job gitmodels.Job) (gitmodels.JobStatus, error) {
	s, err := look(job)
	if err != nil {
		return gitmodels.JobStatus{}, err
	}
	switch {
	case s.exit != nil:
		return s.exit.status(job.Name), nil
	case s.spec == nil || !s.held && (s.container == nil || !s.container.Starting):
		return gitmodels.JobStatus{State: gitmodels.JobUnknown}, nil // the next Submit starts it
	case !s.held:
		if err := e.checkKeeper(); err != nil {
			return gitmodels.JobStatus{}, err
		}
		if _, err := e.startKeeper(job.Dir); err != nil {
			return gitmodels.JobStatus{}, internal("starting the keeper", err)
		}
	}
	if !s.started() {
		return gitmodels.JobStatus{State: gitmodels.JobPending, ID: job.Name}, nil
	}
	if err := faultOf(job.Dir, "looking at the container"); err != nil {
		return gitmodels.JobStatus{}, err
	}
	// A container that has ended is running until its keeper has written down how.
	return gitmodels.JobStatus{State: gitmodels.JobRunning, ID: job.Name, Started: s.container.Started}, nil
}

// Cancel implements gitmodels.Trainer. The request is a file, which the keeper
// looks for several times a second and the next one finds too.
func (e *Engine) Cancel(_ context.Context, job gitmodels.Job) error {
	s, err := look(job)
	if err != nil || s.spec == nil || s.exit != nil {
		return err
	}
	atStep("cancel: begin")
	// An empty file needs no room on a disk that the job may have filled.
	f, err := os.OpenFile(filepath.Join(job.Dir, cancelFile), os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return internal("recording the cancel", err)
	}
	atStep("cancel: recorded")
	if s, err = look(job); err != nil || s.exit != nil || s.held {
		return err
	}
	if s.container == nil || !s.container.Starting {
		return nil // the next Submit's keeper finds the request
	}
	if err := e.checkKeeper(); err != nil {
		return err
	}
	_, err = e.startKeeper(job.Dir)
	return internal("starting the keeper", err)
}
