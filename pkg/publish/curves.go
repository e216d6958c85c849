package publish

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// CurvesRef holds the curves of every run as notes of their own: a clone that
// fetches them compares runs without the server.
const CurvesRef gitmodels.RefName = "refs/notes/models-curves"

// Bounds of one run's curves. Every clone fetches them.
const (
	maxCurves      = 8 << 10 // bytes
	maxCurvePoints = 64      // of a series
	minCurvePoints = 8       // below that, series are left out instead
)

// Curves is the text of a note in CurvesRef: a JSON object on one line,
// {"loss":[[0,0.9],[1,"NaN"]]}, of every series with points, in the order of
// Less after the metric that ranks the run. Values have six significant digits,
// enough to draw; the final ones are in the other note. What is too long has
// fewer points in every series alike, and then fewer series. Without any points
// it is "{}".
func Curves(values []gitmodels.Metric, best *gitmodels.Best) string {
	series := slices.DeleteFunc(sorted(values, best), func(m gitmodels.Metric) bool { return len(m.Points) == 0 })
	for points := maxCurvePoints; points > minCurvePoints; points = points * 3 / 4 {
		if text, all := encodeCurves(series, points); all {
			return text
		}
	}
	text, _ := encodeCurves(series, minCurvePoints)
	return text
}

// encodeCurves writes as many series as fit, and whether all do.
func encodeCurves(series []gitmodels.Metric, points int) (text string, all bool) {
	b := []byte("{")
	for _, m := range series {
		one := appendCurve(nil, m.Name, gitmodels.Downsample(m.Points, points))
		if len(b)+len(",")+len(one)+len("}") > maxCurves {
			return string(append(b, '}')), false
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(b, one...)
	}
	return string(append(b, '}')), true
}

func appendCurve(b []byte, name string, points []gitmodels.Point) []byte {
	b = append(b, quoted(name)...)
	b = append(b, ":["...)
	for i, p := range points {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '[')
		b = appendNumber(b, p.Step, -1)
		b = append(b, ',')
		b = appendNumber(b, p.Value, 6)
		b = append(b, ']')
	}
	return append(b, ']')
}

// quoted is a JSON string in which <, > and & stay as they are.
func quoted(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(s) != nil { // a string is always encoded
		return []byte(`""`)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// appendNumber writes n with the given number of significant digits, or all.
func appendNumber(b []byte, n gitmodels.Number, digits int) []byte {
	f := float64(n)
	if !n.Finite() {
		return append(b, `"`+n.String()+`"`...)
	}
	if f == math.Trunc(f) && math.Abs(f) < 1e6 {
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
	return strconv.AppendFloat(b, f, 'g', digits, 64)
}

// Bounds on what is read of a note in CurvesRef: a clone gets it from wherever
// it fetches.
const (
	maxCurvesRead = 64 << 10 // bytes
	maxSeriesRead = 1000
	maxPointsRead = 1000 // of a series
)

// ParseCurves reads a note of CurvesRef, in its order and with the points by
// step; Final is the last finite value. It is tolerant: what it cannot read is
// passed over, and of a name that is repeated the first counts. Names are not
// fit for a terminal: see gitmodels.Printable.
func ParseCurves(text string) []gitmodels.Metric {
	d := json.NewDecoder(strings.NewReader(text[:min(len(text), maxCurvesRead)]))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	var all []gitmodels.Metric
	seen := map[string]bool{}
	for d.More() && len(all) < maxSeriesRead {
		key, err := d.Token()
		if err != nil {
			break
		}
		var raw json.RawMessage
		if d.Decode(&raw) != nil {
			break // cut off, or no JSON: what came before counts
		}
		name, _ := key.(string)
		if points := parsePoints(raw); len(points) > 0 && name != "" && !seen[name] {
			seen[name] = true
			all = append(all, gitmodels.Metric{Name: name, Final: points[gitmodels.LastFinite(points)].Value, Points: points})
		}
	}
	return all
}

// parsePoints reads [[step,value],…]; a point that is none is passed over.
func parsePoints(raw json.RawMessage) []gitmodels.Point {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	var points []gitmodels.Point
	for _, one := range list[:min(len(list), maxPointsRead)] {
		var pair []gitmodels.Number
		if json.Unmarshal(one, &pair) == nil && len(pair) == 2 && pair[0].Finite() {
			points = append(points, gitmodels.Point{Step: pair[0], Value: pair[1]})
		}
	}
	slices.SortStableFunc(points, func(a, b gitmodels.Point) int { return cmp.Compare(a.Step, b.Step) })
	return points
}
