package builder

import (
	"bytes"
	"io"
	"regexp"
	"strings"
)

// maxLine is how much of a line is read for its meaning; the log gets all of it.
const maxLine = 4096

// endLines is how many of the last lines are kept to find the builder's verdict.
const endLines = 40

// step is an instruction of the Dockerfile as a builder counts and prints it.
type step struct {
	n    string // "4/7"
	text string // RUN pip install -r req.txt
}

// transcript passes what a builder prints to the log at once, and reads the
// meaning of the lines: which step it is at, and what was printed last. It uses
// the same memory however much is printed.
type transcript struct {
	log    io.Writer
	broken error // the log's
	talk   dialect

	line []byte
	step step
	said string // the last line that a step printed
	end  []string

	failed bool              // BuildKit has told which step failed; others may go on
	steps  map[string]step   // of BuildKit, by vertex
	words  map[string]string // of BuildKit, the last line of each
}

// dialect is how a builder prints.
type dialect struct {
	read    func(t *transcript, line string)
	verdict *regexp.Regexp // its own last word on a failure; nil: the last line
	status  *regexp.Regexp // in the verdict, a step's exit status
}

// Write implements io.Writer. It never fails, so that the child is never blocked;
// a fault of the log is kept in broken.
func (t *transcript) Write(p []byte) (int, error) {
	if t.log != nil && t.broken == nil {
		_, t.broken = t.log.Write(p)
	}
	for rest := p; len(rest) > 0; {
		part, after, whole := bytes.Cut(rest, []byte("\n"))
		t.line = append(t.line, part[:min(len(part), maxLine-len(t.line))]...)
		if rest = after; whole {
			t.flush()
		}
	}
	return len(p), nil
}

var colour = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")

func (t *transcript) flush() {
	line := colour.ReplaceAllString(strings.TrimRight(string(t.line), "\r"), "")
	t.line = t.line[:0]
	if strings.TrimSpace(line) == "" {
		return
	}
	if len(t.end) == endLines {
		t.end = append(t.end[:0], t.end[1:]...)
	}
	t.end = append(t.end, line)
	t.talk.read(t, line)
}

// say keeps what a step printed.
func (t *transcript) say(line string) {
	if word := lastDrawn(line); word != "" {
		t.said = word
	}
}

// lastDrawn is what counts of a line: a progress bar draws over itself.
func lastDrawn(line string) string {
	return strings.TrimSpace(line[strings.LastIndexByte(line, '\r')+1:])
}

// lastStep is the step that the builder is at.
func (t *transcript) lastStep() step {
	if t == nil {
		return step{}
	}
	return t.step
}

// verdict is the builder's own last word, without what is only decoration.
func (t *transcript) verdict() string {
	if len(t.line) > 0 {
		t.flush()
	}
	for i := len(t.end) - 1; i >= 0; i-- {
		if t.talk.verdict == nil || t.talk.verdict.MatchString(t.end[i]) {
			return strings.TrimSpace(t.end[i])
		}
	}
	return ""
}

var (
	// docker's classic builder.
	classic = dialect{read: reading(classicStep, classicOwn), status: regexp.MustCompile(`returned a non-zero code: (\d+)$`)}
	// buildah and podman.
	ocibuild = dialect{read: reading(ociStep, ociOwn), verdict: regexp.MustCompile(`^Error: `),
		status: regexp.MustCompile(`while running runtime: exit status (\d+)$`)}
	// BuildKit with --progress plain, which puts #n before all that a step prints.
	buildkit = dialect{read: readBuildKit, verdict: regexp.MustCompile(`^[^#> \t-]`), status: regexp.MustCompile(`exit code: (\d+)$`)}
	// docker's pushes and pulls.
	plain = dialect{read: func(*transcript, string) {}}
	// pushes of buildah and podman.
	ocipush = dialect{read: plain.read, verdict: ocibuild.verdict}

	classicStep = regexp.MustCompile(`^Step (\d+/\d+) : (.+)$`)
	classicOwn  = regexp.MustCompile(`^( ---> |Removing intermediate container |Sending build context |The command '|DEPRECATED: )`)
	ociStep     = regexp.MustCompile(`^(?:\[\d+/\d+\] )?STEP (\d+/\d+): (.+)$`)
	ociOwn      = regexp.MustCompile(`^(--> |Error: |COMMIT |time="|container exited on |: exit status \d+$)`)
	ociRuntime  = regexp.MustCompile(`^error running container: .* msg="(.*)"$`)
	kitStep     = regexp.MustCompile(`^#(\d+) \[(?:[^\]]* )?(\d+/\d+)\] (.+)$`)
	kitBase     = regexp.MustCompile(`^#(\d+) \[[^\]]*internal\] load metadata for (.+)$`)
	kitOutput   = regexp.MustCompile(`^#(\d+) \d+\.\d+ (.*)$`)
	kitError    = regexp.MustCompile(`^#(\d+) ERROR: `)
)

// reading reads the output of a builder that runs one step after the other, of
// which it prints a line of its own first.
func reading(begins, own *regexp.Regexp) func(t *transcript, line string) {
	return func(t *transcript, line string) {
		if m := begins.FindStringSubmatch(line); m != nil {
			t.step, t.said = step{m[1], m[2]}, ""
		} else if m := ociRuntime.FindStringSubmatch(line); m != nil {
			t.say(strings.ReplaceAll(m[1], `\"`, `"`))
		} else if !own.MatchString(line) {
			t.say(line)
		}
	}
}

// maxVertices bounds what is remembered of a BuildKit build, whose steps run at
// once.
const maxVertices = 2000

func readBuildKit(t *transcript, line string) {
	if t.steps == nil {
		t.steps, t.words = map[string]step{}, map[string]string{}
	}
	at := func(id string, s step) {
		if _, known := t.steps[id]; known || len(t.steps) < maxVertices {
			t.steps[id] = s
			if !t.failed {
				t.step = s
			}
		}
	}
	if m := kitStep.FindStringSubmatch(line); m != nil {
		at(m[1], step{m[2], m[3]})
	} else if m := kitBase.FindStringSubmatch(line); m != nil {
		at(m[1], step{"", "FROM " + m[2]})
	} else if m := kitOutput.FindStringSubmatch(line); m != nil {
		if _, known := t.steps[m[1]]; known {
			if word := lastDrawn(m[2]); word != "" {
				t.words[m[1]] = word
			}
		}
	} else if m := kitError.FindStringSubmatch(line); m != nil {
		if s, known := t.steps[m[1]]; known && !t.failed {
			t.failed, t.step, t.said = true, s, t.words[m[1]]
		}
	}
}
