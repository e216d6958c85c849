package publish

import (
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Bounds of a note. A note is fetched by every clone, so a run with thousands
// of metrics must not make it large: the rest is in run.json.
const (
	maxMetrics  = 64   // Metric lines
	maxPrevious = 16   // Previous lines
	maxValue    = 1024 // bytes of one value, as escaped
	maxName     = 200  // bytes of a metric's name, as escaped
	maxHeadline = 72   // columns, git's own habit for a subject
)

// Note is the text of the note of o: a headline, an empty line, and trailers
// that `git interpret-trailers --parse` and %(trailers) read. previous are the
// earlier attempts, oldest first.
//
// A value is one line and escaped, so that no metric name, cause or job name
// can forge a state or another trailer. What is empty is left out. The metric
// that ranks the run is the first, so that no number of others crowds it out.
func Note(o gitmodels.Outcome, previous []Previous) string {
	metrics := sorted(o.Values, o.Best)
	var b strings.Builder
	b.WriteString(headline(o, metrics))
	b.WriteString("\n\n")
	line := func(key, value string) {
		if value != "" {
			b.WriteString(key + ": " + escape(value, maxValue) + "\n")
		}
	}
	line("State", string(o.State))
	line("Run", o.Run)
	line("Attempt", strconv.Itoa(o.Attempt))
	if o.Name != gitmodels.AttemptName(o.Run, o.Attempt) {
		line("Name", o.Name) // it goes on under the name of the attempt before
	}
	line("Commit", string(o.Commit))
	line("Ref", string(o.Ref))
	if o.Image != "" {
		line("Image", gitmodels.Image{Name: o.Image, Digest: o.Digest}.Ref())
	}
	line("Engine", strings.TrimSpace(o.Engine+" "+o.Job))
	line("Cause", o.Cause)
	line("Artifacts", o.Artifacts)
	line("Metrics", o.Metrics)
	line("Log", o.Log)
	if o.Best != nil {
		line("Best", bestValue(*o.Best))
	}
	for i, m := range metrics {
		if i == maxMetrics {
			line("More-Metrics", strconv.Itoa(len(metrics)-maxMetrics))
			break
		}
		limit := maxName
		if ranks(o.Best, m) {
			limit = maxValue // found again by its whole name
		}
		b.WriteString("Metric: " + escape(m.Name, limit) + "=" + m.Final.String() + "\n")
	}
	if n := len(previous) - maxPrevious; n > 0 {
		previous = previous[n:]
	}
	for _, p := range previous {
		line("Previous", p.String())
	}
	if !o.Finished.IsZero() {
		line("Finished", o.Finished.UTC().Format(time.RFC3339))
	}
	if !o.Started.IsZero() {
		line("Duration", strconv.FormatInt(int64(o.Duration().Round(time.Second)/time.Second), 10))
	}
	if o.State != gitmodels.Succeeded {
		line("Again", gitmodels.ControlRerun.PushCommand(o.Run))
	}
	return b.String()
}

// bestValue is the value of a Best line.
func bestValue(b gitmodels.Best) string { return b.Metric + " " + b.Mode }

// parseBest undoes bestValue.
func parseBest(s string) *gitmodels.Best {
	i := strings.LastIndexByte(s, ' ')
	if i < 1 {
		return nil
	}
	b := gitmodels.Best{Metric: s[:i], Mode: s[i+1:]}
	if b.Mode != "max" && b.Mode != "min" {
		return nil
	}
	return &b
}

// ranks reports whether m is the metric of the rule.
func ranks(b *gitmodels.Best, m gitmodels.Metric) bool { return b != nil && m.Name == b.Metric }

// headline says in one line what people want to know: how it ended, its
// numbers or its cause, and how long it took.
func headline(o gitmodels.Outcome, metrics []gitmodels.Metric) string {
	took := ""
	if !o.Started.IsZero() {
		took = "  " + Duration(o.Duration())
	}
	room := maxHeadline - len(o.State) - len(took) - len("  ")
	middle := ""
	if o.State != gitmodels.Succeeded {
		middle = gitmodels.Printable(gitmodels.Printable(o.Cause, 0), room-1)
	} else {
		for _, m := range metrics {
			word := escape(m.Name, 40) + "=" + Brief(m.Final)
			if middle != "" {
				word = " " + word
			}
			if utf8.RuneCountInString(middle+word) > room {
				break
			}
			middle += word
		}
	}
	if middle != "" {
		middle = "  " + middle
	}
	return string(o.State) + middle + took
}

// sorted orders metrics as Less does, after the one that ranks the run.
func sorted(values []gitmodels.Metric, best *gitmodels.Best) []gitmodels.Metric {
	out := append([]gitmodels.Metric(nil), values...)
	sort.SliceStable(out, func(i, j int) bool {
		if x, y := ranks(best, out[i]), ranks(best, out[j]); x != y {
			return x
		}
		return Less(out[i].Name, out[j].Name)
	})
	return out
}

// Less orders metrics by what people look at first: those that judge a model
// (validation, evaluation, test) before those that only watch its training, a
// total before its parts (accuracy, then accuracy/cats), then by name.
func Less(a, b string) bool {
	if x, y := judges(a), judges(b); x != y {
		return x
	}
	if x, y := depth(a), depth(b); x != y {
		return x < y
	}
	return a < b
}

// depth counts the parts of a name below eval/, which the evaluation adds.
func depth(name string) int { return strings.Count(strings.TrimPrefix(name, "eval/"), "/") }

func judges(name string) bool {
	for _, p := range []string{"val", "eval", "test"} {
		if strings.HasPrefix(strings.ToLower(name), p) {
			return true
		}
	}
	return false
}

// Brief is a number as people compare it: four significant digits.
func Brief(n gitmodels.Number) string {
	f := float64(n)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return n.String()
	}
	return strconv.FormatFloat(f, 'g', 4, 64)
}

// Duration is a length of time in its two largest units: 14m02s, 3h05m, 2d04h.
func Duration(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 24*3600:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%02dh", s/(24*3600), s/3600%24)
}

// escape writes s as one line that unescape turns back: a backslash is doubled,
// bytes that are no text and control characters become \xNN, other characters
// that cannot be seen \uNNNN or \UNNNNNNNN, and so do spaces at either end,
// which git's parser would strip. What would be longer than limit bytes is cut
// between characters and ends with an ellipsis.
func escape(s string, limit int) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		word := s[i : i+size]
		switch {
		case r == utf8.RuneError && size == 1, r < 0x20, r == 0x7f,
			r == ' ' && (i == 0 || i+size == len(s)):
			word = fmt.Sprintf(`\x%02x`, s[i])
		case r == '\\':
			word = `\\`
		case !unicode.IsPrint(r) && r > 0xffff:
			word = fmt.Sprintf(`\U%08x`, r)
		case !unicode.IsPrint(r):
			word = fmt.Sprintf(`\u%04x`, r)
		}
		if b.Len()+len(word) > limit {
			return strings.TrimRight(b.String(), " ") + "…"
		}
		b.WriteString(word)
		i += size
	}
	return b.String()
}

// unescape undoes escape. What is no escape stays as it is.
func unescape(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 || i+1 == len(s) {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i:]
		digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[1]]
		switch {
		case s[1] == '\\':
			b.WriteByte('\\')
		case digits > 0 && len(s) >= 2+digits:
			n, err := strconv.ParseUint(s[2:2+digits], 16, 32)
			if err != nil {
				b.WriteString(s[:2+digits])
			} else if digits == 2 {
				b.WriteByte(byte(n))
			} else {
				b.WriteRune(rune(n))
			}
		default:
			digits = 0
			b.WriteString(s[:2])
		}
		s = s[2+digits:]
	}
}
