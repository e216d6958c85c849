package cli

import (
	"math"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// sparkBars are the heights of a curve.
var sparkBars = []rune("▁▂▃▄▅▆▇█")

// sparkGap stands where a curve has no finite value.
const sparkGap = '·'

// span is the range of values that curves are drawn in.
type span struct{ low, high float64 }

// spanOf is the range of the finite values of series that are compared with one
// another.
func spanOf(series ...[]gitmodels.Point) span {
	s := span{math.Inf(1), math.Inf(-1)}
	for _, points := range series {
		for _, p := range points {
			if p.Value.Finite() {
				s.low, s.high = min(s.low, float64(p.Value)), max(s.high, float64(p.Value))
			}
		}
	}
	return s
}

// spark draws points, sorted by step, in at most columns characters: each is the
// mean of its share of the points, which keeps the order and not the distances
// of the steps.
func spark(points []gitmodels.Point, columns int, in span) string {
	columns = min(columns, len(points))
	var b strings.Builder
	for i := range columns {
		b.WriteRune(bar(points[i*len(points)/columns:(i+1)*len(points)/columns], in))
	}
	return b.String()
}

// bar is one character of a curve.
func bar(points []gitmodels.Point, in span) rune {
	mean, n := 0.0, 0.0
	for _, p := range points {
		if p.Value.Finite() {
			n++
			mean += (float64(p.Value) - mean) / n
		}
	}
	if n == 0 {
		return sparkGap
	}
	top := float64(len(sparkBars) - 1)
	// Half before the difference: two finite values may be farther apart than
	// the largest number.
	height := (mean/2 - in.low/2) / (in.high/2 - in.low/2) * top
	if math.IsNaN(height) { // all values are the same
		height = top / 2
	}
	return sparkBars[int(math.Round(max(0, min(top, height))))]
}
