package gitmodels

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Number is a float that survives JSON whatever its value: NaN and the
// infinities are written as the strings "NaN", "Infinity" and "-Infinity".
type Number float64

func (n Number) String() string {
	f := float64(n)
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// MarshalJSON implements json.Marshaler.
func (n Number) MarshalJSON() ([]byte, error) {
	if f := float64(n); math.IsNaN(f) || math.IsInf(f, 0) {
		return []byte(`"` + n.String() + `"`), nil
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON implements json.Unmarshaler.
func (n *Number) UnmarshalJSON(b []byte) error {
	s := string(b)
	if len(s) >= 2 && s[0] == '"' {
		s = s[1 : len(s)-1]
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return fmt.Errorf("number %s: %w", Printable(s, 40), err)
	}
	*n = Number(f)
	return nil
}

// Finite reports whether n is neither NaN nor an infinity.
func (n Number) Finite() bool { f := float64(n); return !math.IsNaN(f) && !math.IsInf(f, 0) }

// Best says which final value ranks the runs of a branch: results.best of
// .models.yaml.
type Best struct {
	Metric string `json:"metric"`
	Mode   string `json:"mode"` // max or min
}

// Better reports whether a ranks above b. What is not finite ranks below
// everything; of equal values neither ranks above the other, so the older stays.
func (b Best) Better(a, than Number) bool {
	switch {
	case !a.Finite():
		return false
	case !than.Finite():
		return true
	case b.Mode == "min":
		return a < than
	}
	return a > than
}

// Metric is one named series and its final value.
type Metric struct {
	Name   string  `json:"name"`
	Final  Number  `json:"final"`            // metrics.json wins, else the last finite value, else the last
	Points []Point `json:"points,omitempty"` // in the order of the steps
}

// Point is one value of a series.
type Point struct {
	Step  Number `json:"step"`
	Value Number `json:"value"`
}

// Outcome is how an attempt of a run ended: note, run.json, show and ls all
// read it. Empty fields are absent.
type Outcome struct {
	State      State     `json:"state"`
	Cause      string    `json:"cause"` // in words, never empty
	Run        string    `json:"run"`   // the short name
	Attempt    int       `json:"attempt"`
	Name       string    `json:"name"` // experiment_name
	Commit     CommitID  `json:"commit"`
	Repository string    `json:"repository"`
	Ref        RefName   `json:"ref"`
	Subject    string    `json:"subject"` // the commit's, escaped
	Pusher     string    `json:"pusher"`
	Engine     string    `json:"engine"`
	Job        string    `json:"job,omitempty"`
	Image      string    `json:"image,omitempty"`     // host[:port]/name; empty: no image
	Digest     string    `json:"digest,omitempty"`    // of the image
	BuildKey   string    `json:"build_key,omitempty"` // what went into it
	Built      *bool     `json:"built,omitempty"`     // false: it was there already
	ImageStory           // more of the image
	Command    []string  `json:"command,omitempty"`
	Overrides  []string  `json:"overrides,omitempty"`
	Artifacts  string    `json:"artifacts,omitempty"` // URI
	Metrics    string    `json:"metrics,omitempty"`   // URI
	Log        string    `json:"log,omitempty"`       // URI
	Values     []Metric  `json:"values,omitempty"`
	Files      []File    `json:"files,omitempty"`
	Warnings   []string  `json:"warnings,omitempty"` // a failed evaluation, a capped log
	Best       *Best     `json:"best,omitempty"`     // what ranks it among the runs of its branch
	Created    time.Time `json:"created"`
	Started    time.Time `json:"started"`
	Finished   time.Time `json:"finished"`
	Version    string    `json:"git_models_version"`
	// Versions of what ran it, such as git and the sandbox.
	Versions map[string]string `json:"versions,omitempty"`
}

// ImageStory is what `show` tells of an image beside what it is.
type ImageStory struct {
	ImageFrom    CommitID `json:"image_from,omitempty"`    // of one that was there: the commit that it was built from
	ImageSize    int64    `json:"image_size,omitempty"`    // bytes of its compressed layers
	ImageSeconds float64  `json:"image_seconds,omitempty"` // that it took to build, or to find
}

// Duration is how long the attempt took from its first stage to its end.
func (o Outcome) Duration() time.Duration {
	if o.Started.IsZero() || o.Finished.Before(o.Started) {
		return 0
	}
	return o.Finished.Sub(o.Started)
}

// File is one stored file of a run.
type File struct {
	Path   string `json:"path"` // relative to the run's artifacts, metrics or logs folder, with that word in front
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Listing is one row of `ls --json` and, with its details, `show --json`.
// Absent is null.
type Listing struct {
	RunID      string            `json:"-"`   // the ledger's own; empty: no run
	Run        *string           `json:"run"` // its name; null: the commit was only skipped or seen
	Commit     CommitID          `json:"commit"`
	Short      string            `json:"short"`
	Repository string            `json:"repository"`
	Refs       []RefName         `json:"refs"`
	Decision   Decision          `json:"decision"`
	Reason     *string           `json:"reason"`
	State      *State            `json:"state"`
	Cause      *string           `json:"cause"`
	Waiting    *string           `json:"waiting"`
	Attempt    *int              `json:"attempt"`
	Engine     *string           `json:"engine"`
	Job        *string           `json:"job"`
	Image      *string           `json:"image"`
	Digest     *string           `json:"digest"`
	BuildKey   *string           `json:"build_key"`
	Built      *bool             `json:"built"`
	Artifacts  *string           `json:"artifacts"`
	Metrics    *string           `json:"metrics"`
	Values     map[string]Number `json:"values"`
	Created    *time.Time        `json:"created"`
	Started    *time.Time        `json:"started"`
	Finished   *time.Time        `json:"finished"`
	Priority   int               `json:"priority,omitempty"`
	// Best says that the branch best/<branch> is at this commit. Who asks for rows
	// looks it up in the refs: the ledger does not know.
	Best bool `json:"best,omitempty"`
	// RankedBy is results.best of the commit, where the source of the row tells it.
	RankedBy *Best `json:"ranked_by,omitempty"`
	// Details, in `show` alone.
	Ahead   *int   `json:"ahead,omitempty"` // of a queued run: how many start before it, as it looks now
	Subject string `json:"subject,omitempty"`
	Name    string `json:"name,omitempty"`
	ImageStory
	Command   []string     `json:"command,omitempty"`
	Overrides []string     `json:"overrides,omitempty"`
	Warnings  []string     `json:"warnings,omitempty"`
	Log       string       `json:"log,omitempty"`
	Pushes    []PushView   `json:"pushes,omitempty"`
	Attempts  []AttemptRow `json:"attempts,omitempty"`
	Stages    []StageView  `json:"stages,omitempty"`
}

// Absent is the pointer to v, or nil for what is not there.
func Absent[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// PushView is a push as `show` tells it.
type PushView struct {
	Ref      RefName   `json:"ref"`
	Pusher   string    `json:"pusher"`
	Decision Decision  `json:"decision"`
	Reason   string    `json:"reason,omitempty"`
	Source   Source    `json:"source"`
	At       time.Time `json:"at"`
}

// AttemptRow is an attempt as `show` tells it.
type AttemptRow struct {
	N        int        `json:"n"`
	Name     string     `json:"name"`
	Cause    string     `json:"cause"`
	Actor    string     `json:"actor"`
	State    State      `json:"state"`
	EndCause string     `json:"end_cause,omitempty"`
	Finished *time.Time `json:"finished"`
}

// StageView is a stage of the current attempt as `show` tells it.
type StageView struct {
	Name     StageName  `json:"name"`
	State    StageState `json:"state"`
	Tries    int        `json:"tries"`
	Error    string     `json:"error,omitempty"`
	Log      string     `json:"log,omitempty"`
	Started  *time.Time `json:"started"`
	Finished *time.Time `json:"finished"`
}
