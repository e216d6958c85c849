package pipeline

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline/document"
)

// Job is the job file as every engine reads it: limits and environment. Keys of
// SageMaker's own are known, so that a misspelt one is found, and otherwise left
// to that engine.
type Job struct {
	MaxRuntime  time.Duration // 0: not given
	RuntimeAt   Field         // its source text and place
	MemoryBytes int64         // 0: not given
	CPUs        float64       // 0: not given
	GPUs        int           // 0: none
	GPUsAt      Field
	Repository  Field // aws.ecr_repository: what the image is called; empty: not given
	Env         map[string]string
}

// jobKeys are the sections of the job file and what each may hold; nil takes any
// key.
var jobKeys = map[string][]string{
	"job": {"name", "instance_type", "instance_count", "volume_size", "max_runtime", "memory", "cpus", "gpus"},
	"aws": {"region", "ecr_repository", "image_tag", "s3_bucket", "s3_prefix", "spot_enabled", "role_arn", "role_name",
		"checkpoint_per_job", "overflow"},
	"tags": nil,
	"env":  nil,
}

var jobSections = []string{"job", "aws", "tags", "env"}

// ParseJob reads the job file of that path. All faults are returned at once,
// warnings name keys that nobody reads.
func ParseJob(file string, data []byte) (job *Job, faults, warnings []Fault) {
	r := &jobReader{reader: reader{file: file}, job: &Job{Env: map[string]string{}}}
	if root := r.parse(data); root != nil {
		for _, pair := range root.Pairs {
			r.section(pair)
		}
	}
	return r.job, document.Sort(r.faults), document.Sort(r.warnings)
}

type jobReader struct {
	reader
	job *Job
}

func (r *jobReader) section(pair document.Pair) {
	name := pair.Key.Text
	switch name {
	case "job":
		for _, entry := range r.mapping(name, pair.Value) {
			if key := entry.Key.Text; slices.Contains(jobKeys[name], key) {
				r.entry("job."+key, entry.Value)
			} else {
				r.unknown(entry.Key, "job.", jobKeys[name])
			}
		}
	case "aws":
		for _, entry := range r.mapping(name, pair.Value) {
			switch key := entry.Key.Text; {
			case !slices.Contains(jobKeys[name], key):
				r.unknown(entry.Key, "aws.", jobKeys[name])
			case key == "ecr_repository" && entry.Value.Kind == document.Scalar:
				r.job.Repository = field(entry.Value.Text, entry.Value)
			}
		}
	case "env":
		r.env(pair.Value)
	case "tags": // SageMaker's alone
	default:
		r.unknown(pair.Key, "", jobSections)
	}
}

// unknown refuses a slip of the pen and lets other keys pass with a warning: the
// scripts that read this file today ignore them.
func (r *jobReader) unknown(key *document.Node, prefix string, known []string) {
	near := gitmodels.Suggest(key.Text, known)
	if near != "" && (len(near) > 4 || slip(key.Text, near)) {
		r.fault(key, "did you mean "+prefix+near+"?", "unknown key %s", document.Quote(prefix+key.Text))
		return
	}
	r.warn(key, "", "unknown key %s is not read", document.Quote(prefix+key.Text))
}

// slip reports whether word is a misspelling of the short name: two edits alone
// would make a slip of almost any short word.
func slip(word, name string) bool {
	sorted := func(s string) string { b := []byte(s); slices.Sort(b); return string(b) }
	return strings.HasPrefix(word, name[:2]) || sorted(word) == sorted(name)
}

func (r *jobReader) entry(key string, n *document.Node) {
	switch key {
	case "job.max_runtime":
		if seconds, ok := r.whole(key, n, 1, 10*365*24*3600, "seconds"); ok {
			r.job.MaxRuntime = time.Duration(seconds) * time.Second
			r.job.RuntimeAt = field(n.Text, n)
		}
	case "job.memory":
		r.memory(key, n)
	case "job.cpus":
		r.cpus(key, n)
	case "job.gpus":
		if count, ok := r.whole(key, n, 0, 1024, "GPUs"); ok {
			r.job.GPUs = count
			r.job.GPUsAt = field(n.Text, n)
		}
	}
}

// whole reads a whole number, which a quoted one, a truth or a float is not.
func (r *jobReader) whole(key string, n *document.Node, low, high int, unit string) (int, bool) {
	var v document.Value
	if n.Kind == document.Scalar {
		var err error
		if v, err = n.Value(document.PyYAML); err != nil {
			r.fault(n, "", "%s: %s", key, err)
			return 0, false
		}
	}
	if v.Kind != document.Int {
		suggestion := ""
		if f, err := strconv.ParseFloat(n.Text, 64); err == nil && f == math.Trunc(f) && math.Abs(f) < 1e15 {
			suggestion = "write " + strconv.FormatFloat(f, 'f', -1, 64)
		}
		r.fault(n, suggestion, "%s must be a whole number of %s, and this is %s", key, unit, r.shown(n))
		return 0, false
	}
	count, err := strconv.Atoi(v.Text)
	if err != nil || count < low || count > high {
		r.fault(n, "", "%s %s is not from %d to %d", key, gitmodels.Printable(v.Text, 40), low, high)
		return 0, false
	}
	return count, true
}

// units are Kubernetes' suffixes of quantities: decimal, and with i binary.
var units = map[string]float64{
	"K": 1e3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
	"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
}

// memory reads a size such as 512M or 4Gi. A bare number means bytes to one tool
// and megabytes to another, so it needs a unit.
func (r *jobReader) memory(key string, n *document.Node) {
	const example = "write a size such as 512M, 4G or 4Gi"
	text := n.Text
	number := strings.TrimRight(text, "KkMGTi")
	unit, known := units[text[len(number):]]
	switch {
	case n.Kind != document.Scalar || r.isNull(n):
		r.fault(n, example, "%s must be a size, and this is %s", key, r.shown(n))
		return
	case !known && strings.Trim(text, "0123456789") == "":
		r.fault(n, "write "+gitmodels.Printable(text, 20)+"M for megabytes", "%s %s has no unit", key, document.Quote(text))
		return
	}
	value, err := strconv.ParseFloat(number, 64)
	if !known || err != nil || strings.Trim(number, "0123456789.") != "" {
		r.fault(n, example, "%s %s is not a size", key, document.Quote(text))
		return
	}
	bytes := value * unit
	if bytes < 1e6 || bytes > 1<<50 {
		r.fault(n, example, "%s %s is not from 1M to 1024Ti", key, document.Quote(text))
		return
	}
	r.job.MemoryBytes = int64(bytes)
}

func (r *jobReader) cpus(key string, n *document.Node) {
	if n.Kind == document.Scalar {
		v, err := n.Value(document.PyYAML)
		if err == nil && (v.Kind == document.Int || v.Kind == document.Float) {
			if v.Float >= 0.01 && v.Float <= 4096 {
				r.job.CPUs = v.Float
				return
			}
			r.fault(n, "", "%s %s is not from 0.01 to 4096", key, gitmodels.Printable(v.Text, 40))
			return
		}
	}
	r.fault(n, "write a number such as 2 or 0.5", "%s must be a number, and this is %s", key, r.shown(n))
}

const (
	maxEnv      = 200
	maxEnvValue = 32 << 10
	maxEnvTotal = 128 << 10
)

// env reads the variables that the job gets.
func (r *jobReader) env(n *document.Node) {
	pairs := r.mapping("env", n)
	if len(pairs) > maxEnv {
		r.fault(n, "", "env has %d entries; at most %d are allowed", len(pairs), maxEnv)
		return
	}
	total := 0
	for _, pair := range pairs {
		name := pair.Key.Text
		switch {
		case !isName(name):
			r.fault(pair.Key, "write letters, digits and _, not beginning with a digit", "env %s is no name of a variable", document.Quote(name))
			continue
		case ReservedEnv(name):
			r.fault(pair.Key, "choose another name", "env %s is set by git-models or changes how programs start", name)
			continue
		}
		if r.isNull(pair.Value) {
			r.fault(pair.Value, "write ''", "env.%s is empty", name)
			continue
		}
		s, ok := r.text("env."+name, pair.Value)
		total += len(name) + len(s) + 2
		switch {
		case !ok:
		case strings.ContainsRune(s, 0):
			r.fault(pair.Value, "", "env.%s holds a NUL", name)
		case len(s) > maxEnvValue:
			r.fault(pair.Value, "", "env.%s has %d bytes; at most %d are allowed", name, len(s), maxEnvValue)
		default:
			r.job.Env[name] = s
		}
	}
	if total > maxEnvTotal {
		r.fault(n, "", "env has %d bytes; at most %d are allowed", total, maxEnvTotal)
	}
}

// reserved are variables that a commit cannot set: ours, and those that change
// what the shell, the loader or the C library do before the job's own code runs.
var reserved = map[string]bool{
	"ARTIFACTS_URI": true, "METRICS_URI": true, "ARTIFACTS_DIR": true, "METRICS_DIR": true, "CHECKPOINT_DIR": true,
	"PATH": true, "HOME": true, "SHELL": true, "USER": true, "LOGNAME": true, "PWD": true, "OLDPWD": true,
	"TMPDIR": true, "IFS": true, "ENV": true, "GCONV_PATH": true, "GLIBC_TUNABLES": true, "GETCONF_DIR": true,
	"HOSTALIASES": true, "LOCALDOMAIN": true, "LOCPATH": true, "NIS_PATH": true, "NLSPATH": true, "RES_OPTIONS": true,
	"RESOLV_HOST_CONF": true,
}

// ReservedEnv reports whether a commit may not set the variable.
func ReservedEnv(name string) bool {
	for _, prefix := range []string{"GIT_", "LD_", "DYLD_", "BASH_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return reserved[name]
}
