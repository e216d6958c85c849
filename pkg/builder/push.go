package builder

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// dockerForget takes the name away from an image that was not pushed.
func (j *job) dockerForget() error {
	ctx, cancel := context.WithTimeout(context.Background(), tidyTime)
	defer cancel()
	if _, err := j.ask(ctx, "docker", "inspect", "--type", "image", j.b.Image); err != nil {
		return nil // it is not there, or the daemon is gone
	}
	if _, err := j.ask(ctx, "docker", "rmi", j.b.Image); err != nil {
		return j.left(err)
	}
	return nil
}

// pushed is the line in which docker push says what the registry has.
var pushed = regexp.MustCompile(`^\S+: digest: (sha256:[0-9a-f]{64}) size: \d+\s*$`)

// dockerPush pushes the image and returns the digest that the registry was
// given, which the daemon must have recorded too.
func (j *job) dockerPush(ctx context.Context) (string, error) {
	digest, err := j.dockerPushing(ctx)
	if err != nil {
		return "", j.pushFault(err)
	}
	if err := j.logFault(j.seen); err != nil {
		return "", err
	}
	recorded, err := j.ask(ctx, "docker", "inspect", "--type", "image", "--format", "{{json .RepoDigests}}", j.b.Image)
	if err != nil {
		return "", j.internal("looking at the pushed image", err)
	}
	if !strings.Contains(recorded, `"`+j.repository()+"@"+digest+`"`) {
		return "", j.internal("looking at the pushed image", fmt.Errorf("docker push says %q, the daemon %s", digest, gitmodels.Printable(recorded, 300)))
	}
	return digest, nil
}

// errRefused is a push that was ended because the credentials are wrong.
var errRefused = errors.New("the credentials are wrong")

// dockerPushing runs docker push and returns the digest that it says. The daemon
// does not tell a wrong password at once: it tries again for most of a minute. So
// the registry is asked for an image that cannot be there as soon as it does, and
// the push ended when the answer is that the credentials are wrong.
func (j *job) dockerPushing(ctx context.Context) (digest string, err error) {
	pushing, end := context.WithCancelCause(ctx)
	defer end(nil)
	again := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		select {
		case <-again:
			if j.dockerRefused(pushing) {
				end(errRefused)
			}
		case <-pushing.Done():
		}
	})
	retries := sync.OnceFunc(func() { close(again) })
	t := j.printing(plain)
	t.talk.read = func(_ *transcript, line string) {
		if strings.Contains(line, "Retrying in") {
			retries()
		} else if m := pushed.FindStringSubmatch(line); m != nil {
			digest = m[1]
		}
	}
	err = j.run(pushing, call{argv: []string{"docker", "push", j.b.Image}, out: t})
	if err != nil && errors.Is(context.Cause(pushing), errRefused) {
		err = errRefused
	}
	end(nil)
	asking.Wait()
	return digest, err
}

var saysWrong = regexp.MustCompile(`(?i)unauthorized|authentication required|incorrect username or password`)

// dockerRefused reports whether the registry knows the build's credentials for
// wrong ones.
func (j *job) dockerRefused(ctx context.Context) bool {
	_, err := j.ask(ctx, "docker", "pull", "--quiet", j.repository()+"@sha256:"+strings.Repeat("0", 64))
	failed := (*exec.ExitError)(nil)
	return errors.As(err, &failed) && saysWrong.MatchString(err.Error()) && !saysGone.MatchString(err.Error())
}
