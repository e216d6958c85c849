package gitmodels_test

import (
	"math"
	"slices"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
)

func TestDownsample(t *testing.T) {
	t.Parallel()
	nan := gitmodels.Number(math.NaN())
	var points []gitmodels.Point
	for i := range 1000 {
		points = append(points, gitmodels.Point{Step: gitmodels.Number(i), Value: nan})
	}
	for name, change := range map[string]func(){
		"all NaN":         func() {},
		"one finite":      func() { points[500].Value = 3 },
		"a peak":          func() { points[300].Value, points[301].Value, points[302].Value = 1, 100, 1 },
		"an infinity":     func() { points[10].Value = gitmodels.Number(math.Inf(1)) },
		"huge":            func() { points[20].Value, points[21].Value = math.MaxFloat64, -math.MaxFloat64 },
		"last is finite":  func() { points[999].Value = 1 },
		"first is finite": func() { points[0].Value = 1 },
	} {
		change()
		got := gitmodels.Downsample(points, 50)
		if len(got) > 50 || len(got) < 48 {
			t.Errorf("%s: %d points", name, len(got))
		}
		want := points[gitmodels.LastFinite(points)]
		if !slices.ContainsFunc(got, func(p gitmodels.Point) bool { return p.Step == want.Step }) {
			t.Errorf("%s: the last finite point %v is lost", name, want)
		}
		if !slices.IsSortedFunc(got, func(a, b gitmodels.Point) int { return int(a.Step - b.Step) }) {
			t.Errorf("%s: out of order", name)
		}
	}
}
