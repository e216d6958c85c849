// Package metrics reads what a training wrote about itself, the files of the
// usual loggers, into series and final values.
//
// The folder was written by a hostile job: only regular files are read, every
// size and count is bounded, and a name that could upset a terminal is escaped.
// The package reads files and nothing else: it must never import another
// adapter, start a process or reach the network.
//
// What is read:
//
//   - metrics.json (DVC's summary): one object; nested numbers become final
//     values with dotted names, {"train": {"accuracy": 1}} is train.accuracy.
//   - *.jsonl: one object a line. The step is the first of step, global_step,
//     iteration, epoch and _step that is a finite number, else the number of
//     the record in its file, from 0. The first of timestamp, _timestamp and
//     time is the clock and no series. All other numbers are series, nested
//     ones with dotted names.
//   - metrics.csv (Lightning's CSVLogger) and results.csv (Ultralytics): a
//     series for each column, with the step and the clock as above. Empty cells
//     and words are no values, and spaces around names do not count. Of several
//     version_N/metrics.csv in a folder the highest N is read.
//   - trainer_state.json (Hugging Face's Trainer): the objects of log_history,
//     with the step as above. In a folder its own and that of the newest
//     checkpoint-N are read.
//   - plots/metrics/**/*.tsv (DVCLive): a table of step and value; the series is
//     called by the path below plots/metrics. The summary beside it, in which
//     train/loss is nested, gives its final value.
//
// A file in a folder below gets that folder as a prefix: accuracy in
// eval/metrics.json is eval/accuracy. Folders that the loggers make themselves,
// dvclive, lightning_logs, version_N and checkpoint-N, add nothing. Files are
// read in the order of their paths; of two values with the same name and step
// the later one wins, and the final value is that of a summary, else the last
// finite one. metrics.yaml and metrics.toml are not read.
package metrics

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Bounds on what one run may bring. What lies beyond is left out and named in a
// warning.
const (
	MaxFile    = 32 << 20  // bytes of one file; of a longer .jsonl the end is read, others are left out
	MaxTotal   = 128 << 20 // bytes of all files
	MaxFiles   = 256       // metric files
	MaxEntries = 20000     // directory entries looked at
	MaxFolders = 8         // depth of folders
	MaxSeries  = 1000      // names
	MaxPoints  = 2000      // points of a series that are kept, see gitmodels.Downsample
	MaxName    = 200       // bytes of a name, prefix included
	maxHeld    = 3 << 20   // points in memory before series are thinned while reading
	maxWarned  = 20        // warnings of one run
)

// Read reads the metric files below dir. Broken files and lines are warnings;
// err means that dir itself could not be read. A dir that does not exist holds
// no metrics. The result is sorted by name, points by step.
func Read(dir string) (values []gitmodels.Metric, warnings []string, err error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("metrics: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()

	r := &reader{root: root, series: map[string]*series{}}
	paths, err := r.find()
	if err != nil {
		return nil, nil, fmt.Errorf("metrics: %w", err)
	}
	for _, p := range paths {
		r.file(p)
	}
	return r.result(), r.warned(), nil
}

// reader gathers the series of one folder.
type reader struct {
	root     *os.Root
	series   map[string]*series
	held     int // points in memory
	bytes    int64
	warnings []string
	muted    int
}

// series is one name while it is read.
type series struct {
	points []gitmodels.Point
	final  *float64 // from metrics.json
}

func (r *reader) warn(format string, args ...any) {
	if len(r.warnings) >= maxWarned {
		r.muted++
		return
	}
	r.warnings = append(r.warnings, "metrics: "+fmt.Sprintf(format, args...))
}

func (r *reader) warned() []string {
	if r.muted > 0 {
		return append(r.warnings, fmt.Sprintf("metrics: and %d more warnings", r.muted))
	}
	return r.warnings
}

// file reads one metric file into the series.
func (r *reader) file(p string) {
	data, cut, err := r.read(p)
	if err != nil {
		r.warn("%s: %v", show(p), bare(err))
		return
	}
	kind := kindOf(p)
	if cut && kind != jsonLines {
		r.warn("%s: left out, larger than %d MiB", show(p), MaxFile>>20)
		return
	}
	switch kind {
	case summary:
		r.summary(p, data)
	case table:
		r.table(p, data)
	case curve:
		r.curve(p, data)
	case history:
		r.history(p, data)
	case jsonLines:
		if cut {
			r.warn("%s: larger than %d MiB, only its end is read", show(p), MaxFile>>20)
		}
		r.lines(p, data, cut)
	}
}

// read returns the file's bytes, of a file over the bound its end.
func (r *reader) read(p string) (data []byte, cut bool, err error) {
	before, err := r.root.Lstat(p)
	if err != nil {
		return nil, false, err
	}
	// O_NONBLOCK: a pipe put here in the meantime must not hold the reader up.
	f, err := r.root.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	if !info.Mode().IsRegular() || !os.SameFile(before, info) {
		return nil, false, errors.New("left out, not a regular file")
	}
	size := info.Size()
	if cut = size > MaxFile; cut {
		if _, err := f.Seek(size-MaxFile, io.SeekStart); err != nil {
			return nil, false, err
		}
		size = MaxFile
	}
	if r.bytes += size; r.bytes > MaxTotal {
		return nil, false, fmt.Errorf("left out, all metric files together exceed %d MiB", MaxTotal>>20)
	}
	data, err = io.ReadAll(io.LimitReader(f, size))
	return data, cut, err
}

// summary reads a metrics.json.
func (r *reader) summary(p string, data []byte) {
	found := map[string]float64{}
	err := parseObject(data, func(name string, value float64) { found[name] = value })
	if err != nil {
		r.warn("%s: left out, not a JSON object: %v", show(p), err)
		return
	}
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if name == "step" && path.Base(path.Dir(p)) == liveFolder {
			continue // DVCLive's own count, no metric
		}
		if s := r.get(p, prefix(p)+name); s != nil {
			value := found[name]
			s.final = &value
		}
	}
}

// stepKeys and clockKeys are what trackers call the x axis and the time.
var (
	stepKeys  = []string{"step", "global_step", "iteration", "epoch", "_step"}
	clockKeys = []string{"timestamp", "_timestamp", "time"}
)

// lines reads a .jsonl. The last line may be broken: its writer was stopped.
func (r *reader) lines(p string, data []byte, cut bool) {
	text := strings.TrimPrefix(string(data), "\ufeff")
	if cut {
		_, text, _ = strings.Cut(text, "\n")
	}
	record, number, bad, firstBad := 0, 0, 0, ""
	for len(text) > 0 {
		line, rest, ended := strings.Cut(text, "\n")
		text = rest
		number++
		if strings.TrimSpace(line) == "" {
			continue
		}
		var found []named
		err := parseObject([]byte(line), func(name string, value float64) {
			found = append(found, named{name, value})
		})
		if err != nil {
			if ended {
				if bad++; firstBad == "" {
					firstBad = fmt.Sprintf("line %d: %v", number, err)
				}
			}
			continue
		}
		r.record(p, found, record)
		record++
	}
	if bad > 0 {
		r.warn("%s: %d lines are left out, the first: %s", show(p), bad, firstBad)
	}
}

// named is one number of a record.
type named struct {
	name  string
	value float64
}

// record adds the numbers of one line to their series.
func (r *reader) record(p string, found []named, number int) {
	step, stepKey := axis(found, stepKeys)
	if stepKey == "" {
		step = float64(number)
	}
	_, clockKey := axis(found, clockKeys)
	for _, n := range found {
		if n.name == stepKey || n.name == clockKey {
			continue
		}
		if s := r.get(p, prefix(p)+n.name); s != nil {
			r.add(s, step, n.value)
		}
	}
}

// add appends a point to a series; one that was refused is nil.
func (r *reader) add(s *series, step, value float64) {
	if s == nil {
		return
	}
	s.points = append(s.points, gitmodels.Point{Step: gitmodels.Number(step), Value: gitmodels.Number(value)})
	if r.held++; r.held > maxHeld {
		r.thin()
	}
}

// history reads a trainer_state.json. What stands before a fault counts.
func (r *reader) history(p string, data []byte) {
	number := 0
	err := parseHistory(data, func(found []named) {
		r.record(p, found, number)
		number++
	})
	if err != nil {
		r.warn("%s: not a JSON object to its end: %v", show(p), err)
	}
}

// axis finds the first of keys that the record holds as a finite number.
func axis(found []named, keys []string) (value float64, key string) {
	for _, k := range keys {
		for i := len(found) - 1; i >= 0; i-- {
			if found[i].name == k && finite(found[i].value) {
				return found[i].value, k
			}
		}
	}
	return 0, ""
}

// get finds or makes the series of a name, or refuses it with a warning.
func (r *reader) get(p, name string) *series {
	shown := gitmodels.Printable(name, 0)
	if s := r.series[shown]; s != nil {
		return s
	}
	switch {
	case strings.TrimSpace(shown) == "" || strings.HasSuffix(shown, "/"):
		r.warn("%s: a metric without a name is left out", show(p))
		return nil
	case len(shown) > MaxName:
		r.warn("%s: metric %s is left out, its name has %d bytes, more than %d", show(p), gitmodels.Printable(name, 40), len(shown), MaxName)
		return nil
	case len(r.series) >= MaxSeries:
		r.warn("%s: metric %s is left out, there are %d already", show(p), gitmodels.Printable(name, 40), MaxSeries)
		return nil
	}
	s := &series{}
	r.series[shown] = s
	return s
}

// thin brings every series down to its bound.
func (r *reader) thin() {
	r.held = 0
	for _, s := range r.series {
		s.points = slices.Clone(gitmodels.Downsample(ordered(s.points), MaxPoints))
		r.held += len(s.points)
	}
}

// result is every series with its final value, by name.
func (r *reader) result() []gitmodels.Metric {
	var all []gitmodels.Metric
	for name, s := range r.series {
		points := ordered(s.points)
		m := gitmodels.Metric{Name: name, Points: gitmodels.Downsample(points, MaxPoints)}
		switch {
		case s.final != nil:
			m.Final = gitmodels.Number(*s.final)
		case len(points) > 0:
			m.Final = points[gitmodels.LastFinite(points)].Value
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b gitmodels.Metric) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// ordered sorts by step; of equal steps the later point stays.
func ordered(points []gitmodels.Point) []gitmodels.Point {
	slices.SortStableFunc(points, func(a, b gitmodels.Point) int { return cmp.Compare(a.Step, b.Step) })
	kept := points[:0]
	for i, p := range points {
		if i+1 < len(points) && points[i+1].Step == p.Step {
			continue
		}
		kept = append(kept, p)
	}
	return kept
}

func finite(f float64) bool { return gitmodels.Number(f).Finite() }

// show makes a path of the job fit for a warning.
func show(p string) string { return gitmodels.Printable(p, 80) }

// bare strips the path from an error: the warning names it already, escaped.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
