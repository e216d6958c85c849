package builder

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// The words by which builders, registries and Go's network code tell their
// failures; they have no other way.
var (
	saysFull    = regexp.MustCompile(`(?i)no space left on device|disk quota exceeded`)
	saysDaemon  = regexp.MustCompile(`(?i)cannot connect to the docker daemon|error during connect|is the docker daemon running|failed to list workers|dial unix|failed to dial|transport is closing|^(ERROR: )?(unexpected )?EOF$`)
	saysDenied  = regexp.MustCompile(`(?i)unauthorized|authentication required|no basic auth credentials|access denied|access to the resource is denied|authorization failed|invalid username|status(?: code)?:? 40[13]|40[13] (?:unauthorized|forbidden)|insufficient_scope`)
	saysMissing = regexp.MustCompile(`(?i)not found|manifest unknown|name unknown|repository does not exist|no matching manifest|no image found in (?:manifest|image index)`)
	saysGone    = regexp.MustCompile(`(?i)connection refused|no such host|i/o timeout|TLS handshake|connection reset|server misbehaving|network is unreachable|no route to host|gave HTTP response to HTTPS client|x509: |unexpected EOF|: EOF|context deadline exceeded|too many requests|status(?: code)?:? 5\d\d|50\d (?:internal|bad gateway|service|gateway)|temporary failure`)
	saysText    = regexp.MustCompile(`(?i)parse error|unknown instruction|no FROM statement|no build stage|no stages to build|file with no instructions|should not be blank|dockerfile.*(?:empty|syntax)|failed to (?:process|parse)|invalid reference format|unknown flag|requires (?:at least|exactly|either)|circular dependency|invalid from flag`)
	saysNoFile  = regexp.MustCompile(`"/[^"]*":? not found|no such file or directory|file does not exist`)
	saysNoStart = regexp.MustCompile(`container process(?: caused)?: exec: "|unable to find user|unknown user|no matching entries in passwd|invalid mount type`)
	saysPush    = regexp.MustCompile(`(?:^|: |= )failed to push `)
	saysAdd     = regexp.MustCompile(`load cache key: Get "`) // BuildKit has no step for the URL of an ADD
	readsFiles  = regexp.MustCompile(`(?i)^(?:COPY|ADD|RUN --mount)\b`)
	takesBase   = regexp.MustCompile(`(?i)^(?:FROM|COPY --from=|RUN (?:--mount=\S+ )*--mount=\S*from=)`)
)

// buildFault is what a failed build means. err is the child's.
func (j *job) buildFault(err error) error {
	if failed := (*exec.ExitError)(nil); !errors.As(err, &failed) {
		return err
	}
	word := j.seen.verdict()
	if !j.seen.failed && saysPush.MatchString(word) { // buildx pushes too
		return j.pushFault(err)
	}
	kind, message := j.judge(word)
	if word != "" {
		err = errors.New(gitmodels.Printable(word, 1000))
	}
	return &gitmodels.Error{Kind: kind, Op: j.name + ": building " + j.b.Image, Message: message, Err: err}
}

// judge says who is to blame for a builder's last word, and what for. Names that
// the pusher chose may stand in it, and a step prints what it likes: neither may
// look like a gap of the server, for which the run would wait.
func (j *job) judge(word string) (kind gitmodels.Kind, message string) {
	t := j.seen
	at, short := j.stepWords(t.step), gitmodels.Printable(j.plainly(word), 300)
	reads, base := readsFiles.MatchString(t.step.text), takesBase.MatchString(t.step.text)
	status := t.talk.status.FindStringSubmatch(word)
	switch {
	case saysFull.MatchString(word+"\n"+t.said) && j.isFull():
		return gitmodels.Waiting, "builder: disk: no space left on the device in " + at
	case status != nil && t.said == "":
		return gitmodels.Invalid, "build: " + at + " ended with status " + statusWords(status[1])
	case status != nil:
		return gitmodels.Invalid, "build: " + at + " ended with status " + statusWords(status[1]) + ": " + gitmodels.Printable(t.said, 200)
	case reads && saysNoFile.MatchString(word):
		return gitmodels.Invalid, "build: " + at + " failed: " + short
	case saysDaemon.MatchString(word):
		return gitmodels.Waiting, "builder: " + j.name + " went away during the build"
	case saysNoStart.MatchString(word) && !reads:
		return gitmodels.Invalid, "build: " + at + " cannot start: " + short
	case base && saysDenied.MatchString(word):
		return gitmodels.Forbidden, "build: " + at + ": the registry wants other credentials, or there is no such image"
	case base && saysGone.MatchString(word):
		return gitmodels.Waiting, "builder: the registry does not answer for " + at
	case base && saysMissing.MatchString(word):
		return gitmodels.Invalid, "build: " + at + ": no such image"
	case reads:
		return gitmodels.Invalid, "build: " + at + " failed: " + short
	case saysAdd.MatchString(word):
		return gitmodels.Invalid, "build: an ADD of " + shown(j.b) + " failed: " + short
	case saysText.MatchString(word):
		return gitmodels.Invalid, "build: " + shown(j.b) + ": " + short
	case saysGone.MatchString(word):
		return gitmodels.Waiting, "builder: the network failed in " + at
	}
	return gitmodels.Internal, ""
}

// wrapping is how a builder came to its verdict, which means nothing to a pusher.
var (
	wrapping = regexp.MustCompile(`^(?i:(?:Error response from daemon|Error|Build error|(?:COPY|ADD) failed|creating build container|determining starting point for build|` +
		`failed to (?:solve|create LLB definition|compute cache key|load cache key|process|parse [^ "]+|create shim task)[^:]*|(?:OCI runtime|runc) create failed|executor failed running \[.*\]): |` +
		`building at STEP ".*": (?:checking on sources under "[^"]*": |resolving mountpoints for container "[^"]*": )?|dockerfile parse error )+`)
	rootOfStep = regexp.MustCompile(`/\S*/merged/`)
)

// plainly is a verdict without its wrapping, the builder's own structures, and where
// the context and a step's files lie on this host.
func (j *job) plainly(word string) string {
	word, _, _ = strings.Cut(wrapping.ReplaceAllString(word, ""), " &imagebuilder.")
	return rootOfStep.ReplaceAllString(strings.ReplaceAll(word, j.path("context"), "the context"), "/")
}

// pushFault is what a failed push means. err is the child's.
func (j *job) pushFault(err error) error {
	word := j.seen.verdict()
	if errors.Is(err, errRefused) {
		word = "unauthorized"
	} else if failed := (*exec.ExitError)(nil); !errors.As(err, &failed) {
		return err
	}
	e := &gitmodels.Error{Op: j.name + ": pushing " + j.b.Image, Err: errors.New(gitmodels.Printable(word, 1000))}
	switch {
	case saysFull.MatchString(word):
		e.Kind, e.Message = gitmodels.Waiting, "builder: disk: no space left on the device while pushing to "+j.host()
	case strings.Contains(word, "immutable"):
		e.Kind, e.Message = gitmodels.Invalid, "registry: "+j.b.Image+" is there already and its tag may not move"
	case saysGone.MatchString(word):
		e.Kind, e.Message = gitmodels.Waiting, "registry: "+j.host()+" does not answer"
	case saysDenied.MatchString(word):
		e.Kind, e.Message = gitmodels.Forbidden, "registry: "+j.host()+" refuses to take "+j.b.Image+" with these credentials"
	case saysMissing.MatchString(word):
		e.Kind, e.Message = gitmodels.Waiting, "registry: "+j.host()+" has no repository "+j.repository()
	case saysDaemon.MatchString(word):
		e.Kind, e.Message = gitmodels.Waiting, "builder: "+j.name+" went away while pushing"
	}
	return e
}

// statusWords is an exit status, with its meaning where a signal was the cause.
func statusWords(status string) string {
	n, err := strconv.Atoi(status)
	if err != nil || n <= 128 || n > 128+64 {
		return status
	}
	if n == 137 {
		return status + " (killed, perhaps for want of memory)"
	}
	return fmt.Sprintf("%s (signal %s)", status, unix.SignalName(unix.Signal(n-128)))
}

// stepWords names a step: step 4/7 RUN make (line 4 of src/Dockerfile).
func (j *job) stepWords(s step) string {
	if s.text == "" {
		return "the build"
	}
	words := "step"
	if s.n != "" {
		words += " " + s.n
	}
	words += " " + gitmodels.Printable(strings.Join(strings.Fields(s.text), " "), 120)
	if line := lineOf(j.dockerfileText(), s); line > 0 {
		return fmt.Sprintf("%s (line %d of %s)", words, line, shown(j.b))
	}
	return words + " of " + shown(j.b)
}
