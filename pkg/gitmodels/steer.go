package gitmodels

import (
	"strconv"
	"strings"
)

// Steering is what the words of `git push -o` ask for: how a push is run, never
// what is trained. Each word may also be written models.<word>.
type Steering struct {
	Plan     bool // say what would run; nothing moves. It wins over all others
	Skip     bool // record the push without a run
	Follow   bool // show the log until the run ends
	Each     bool // run every commit of the push, oldest first
	Again    bool // run although the commit has run, or no watched path changed
	Priority int  // MinPriority to MaxPriority; 0 when it is not asked
}

// The words, as a pusher types them.
const (
	WordPlan     = "plan"
	WordSkip     = "skip"
	WordFollow   = "follow"
	WordPriority = "priority" // priority=N
	WordEach     = "each"
	WordAgain    = "again"
)

// SteeringWords are all of them.
var SteeringWords = []string{WordPlan, WordSkip, WordFollow, WordPriority, WordEach, WordAgain}

const (
	// MinPriority and MaxPriority bound priority=N. It orders the runs of one
	// repository; between repositories the queue is fair whatever they ask.
	MinPriority, MaxPriority = -100, 100
	// MaxEach bounds how many runs one push may start by `each`.
	MaxEach = 50
)

// Steer reads the words of ours and passes over everything else: the gate has
// refused what is misspelt or makes no sense.
func Steer(options []string) Steering {
	var s Steering
	for _, o := range options {
		word, value, hasValue := strings.Cut(strings.TrimPrefix(o, "models."), "=")
		if word == WordPriority && hasValue {
			if n, err := ParsePriority(value); err == nil {
				s.Priority = n
			}
			continue
		}
		if hasValue {
			continue
		}
		switch word {
		case WordPlan:
			s.Plan = true
		case WordSkip:
			s.Skip = true
		case WordFollow:
			s.Follow = true
		case WordEach:
			s.Each = true
		case WordAgain:
			s.Again = true
		}
	}
	return s
}

// ParsePriority reads N of priority=N. The error says what is wanted.
func ParsePriority(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < MinPriority || n > MaxPriority {
		return 0, &Error{Kind: Invalid, Message: "priority is " + Printable(text, 20) + ", want a whole number from " +
			strconv.Itoa(MinPriority) + " to " + strconv.Itoa(MaxPriority)}
	}
	return n, nil
}

// Control is what a push to a control ref asks for: `git push origin
// <commit>:refs/run/cancel`. Such a ref is answered in the push and does not stay.
type Control string

const (
	ControlCancel Control = "cancel" // end the commit's run
	ControlRerun  Control = "rerun"  // another attempt of it
	ControlPlan   Control = "plan"   // what the commit would run now
	ControlStatus Control = "status" // how its run stands; with -o follow its log
)

// Controls are all of them.
var Controls = []Control{ControlCancel, ControlRerun, ControlPlan, ControlStatus}

const controlPrefix = "refs/run/"

// Ref is the ref that is pushed to ask for c.
func (c Control) Ref() RefName { return RefName(controlPrefix + string(c)) }

// ControlOf is what a push to ref asks for; ok is false for a ref that is no
// control ref of ours.
func ControlOf(ref RefName) (c Control, ok bool) {
	for _, c := range Controls {
		if ref == c.Ref() {
			return c, true
		}
	}
	return "", false
}

// PushCommand is what a person types in a clone to ask for c about a commit.
func (c Control) PushCommand(short string) string {
	return "git push origin " + short + ":" + string(c.Ref())
}
