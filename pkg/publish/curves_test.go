package publish

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// line is a series of n points.
func line(name string, n int) gitmodels.Metric {
	m := gitmodels.Metric{Name: name}
	for i := range n {
		m.Points = append(m.Points, gitmodels.Point{Step: gitmodels.Number(i), Value: gitmodels.Number(math.Sin(float64(i) / 9))})
	}
	return m
}

func TestCurves(t *testing.T) {
	t.Parallel()
	values := []gitmodels.Metric{
		{Name: "loss", Points: []gitmodels.Point{{Step: 0, Value: 2}, {Step: 0.5, Value: 1.23456789}, {Step: 1234567890, Value: gitmodels.Number(math.NaN())}}},
		{Name: "val <\"é\n", Points: []gitmodels.Point{{Step: 1, Value: gitmodels.Number(math.Inf(-1))}, {Step: 2, Value: 1e-12}}},
		{Name: "final alone", Final: 3},
	}
	want := `{"val <\"é\n":[[1,"-Infinity"],[2,1e-12]],"loss":[[0,2],[0.5,1.23457],[1.23456789e+09,"NaN"]]}`
	got := Curves(values, nil)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := Curves(values, &gitmodels.Best{Metric: "loss", Mode: "min"}); !strings.HasPrefix(got, `{"loss":`) {
		t.Errorf("the metric that ranks is not the first: %s", got)
	}
	back := ParseCurves(got)
	if len(back) != 2 || back[0].Name != "val <\"é\n" || back[1].Points[2].Step != 1234567890 ||
		!math.IsNaN(float64(back[1].Points[2].Value)) || back[1].Final.String() != "1.23457" {
		t.Errorf("read back as %v", back)
	}
	if got := Curves(nil, nil); got != "{}" {
		t.Errorf("no curves are %s", got)
	}
}

func TestCurvesAreBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ series, points int }{{1, 5000}, {5, 2000}, {12, 64}, {40, 500}, {300, 2000}, {1000, 3}} {
		var values []gitmodels.Metric
		for i := range c.series {
			values = append(values, line(fmt.Sprintf("m%04d", i), c.points))
		}
		text := Curves(values, nil)
		if len(text) > maxCurves || !json.Valid([]byte(text)) {
			t.Errorf("%d × %d: %d bytes", c.series, c.points, len(text))
		}
		back := ParseCurves(text)
		for i, m := range back {
			if m.Name != values[i].Name {
				t.Fatalf("%d × %d: series %d is %s", c.series, c.points, i, m.Name)
			}
			if n := len(m.Points); n > maxCurvePoints || n < min(c.points, minCurvePoints-1) {
				t.Errorf("%d × %d: %s has %d points", c.series, c.points, m.Name, n)
			}
			if first, last := m.Points[0].Step, m.Points[len(m.Points)-1].Step; first != 0 || int(last) != c.points-1 {
				t.Errorf("%d × %d: %s goes from %v to %v", c.series, c.points, m.Name, first, last)
			}
		}
		if c.series <= 40 && len(back) != c.series {
			t.Errorf("%d × %d: %d series are left", c.series, c.points, len(back))
		}
		if len(back) < min(c.series, 20) {
			t.Errorf("%d × %d: only %d series are left", c.series, c.points, len(back))
		}
	}
}

func TestParseCurvesTrustsNothing(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                      "",
		"[]":                    "",
		"null":                  "",
		"{}":                    "",
		`{"a":[[0,1]]`:          "a=1", // cut off after a whole series
		`{"a":[[0,1]],"b":[[0,`: "a=1",
		`{"a":[[0,1]],"a":[[0,2]],"":[[0,1]],"b":{},"c":7,"d":[7,[1],[1,2,3],["x",1],[null,1],[{},1],["NaN",1],["Infinity",1]],"e":[[1,"-Infinity"]]}`: "a=1 e=-Infinity",
		`{"a":[[2,5],[1,4]]}`:                                                 "a=5",
		"{\"a\":[[0,1]]}\n{\"b\":[[0,1]]}":                                    "a=1", // notes that were merged
		`{"a":` + strings.Repeat("[", 20000):                                  "",
		`{"a":[[0,1]],"b":` + strings.Repeat(" ", maxCurvesRead) + `[[0,1]]}`: "a=1",
	} {
		var words []string
		for _, m := range ParseCurves(text) {
			words = append(words, m.Name+"="+m.Final.String())
		}
		if got := strings.Join(words, " "); got != want {
			t.Errorf("%.60s: %q, want %q", text, got, want)
		}
	}
}

func FuzzParseCurves(f *testing.F) {
	f.Add(Curves([]gitmodels.Metric{line("loss", 100), line("val", 3)}, nil))
	f.Add(`{"a":[[0,"NaN"],[1e999,2]],"b":[[1,{}]]}`)
	f.Add("{\"\\u202e\":[[0,1]],\"a\":[[0,1],[0,2]]")
	f.Fuzz(func(t *testing.T, text string) {
		first := ParseCurves(text)
		if len(first) > maxSeriesRead {
			t.Fatalf("%d series", len(first))
		}
		for _, m := range first {
			if len(m.Points) == 0 || len(m.Points) > maxPointsRead || m.Name == "" {
				t.Fatalf("%q has %d points", m.Name, len(m.Points))
			}
		}
		again := Curves(first, nil)
		if len(again) > maxCurves || !json.Valid([]byte(again)) {
			t.Fatalf("%d bytes, written as\n%s", len(again), again)
		}
	})
}
