package gitmodels

import (
	"slices"
	"testing"
)

func TestLeaseGPUs(t *testing.T) {
	t.Parallel()
	four := []string{"0", "1", "2", "3"}
	for name, c := range map[string]struct {
		all  []string
		held map[string][]string
		n    int
		want []string
		kind Kind
		err  string
	}{
		"none asked":       {four, nil, 0, nil, 0, ""},
		"all free":         {four, nil, 2, []string{"0", "1"}, 0, ""},
		"between others":   {four, map[string][]string{"9be01f2": {"0", "2"}}, 2, []string{"1", "3"}, 0, ""},
		"too few":          {four, map[string][]string{"9be01f2": {"0", "2", "3"}}, 2, nil, Waiting, "gpu, 2 asked, 1 free (9be01f2 holds 3)"},
		"two holders":      {four, map[string][]string{"b": {"0"}, "a": {"1", "3"}, "c": nil}, 3, nil, Waiting, "gpu, 3 asked, 1 free (a holds 2, b holds 1)"},
		"one taken out":    {four[:2], map[string][]string{"a": {"3"}}, 2, []string{"0", "1"}, 0, ""},
		"more than exist":  {four, nil, 5, nil, Invalid, "job.gpus asks for 5, this server has 4 (models.limit.gpus)"},
		"none in the host": {nil, nil, 1, nil, Invalid, "job.gpus asks for 1, this server has 0 (models.limit.gpus)"},
	} {
		got, err := LeaseGPUs(c.all, c.held, c.n)
		if !slices.Equal(got, c.want) || (err == nil) != (c.err == "") {
			t.Errorf("%s: %q, %v", name, got, err)
			continue
		}
		if e, ok := err.(*Error); err != nil && (!ok || e.Kind != c.kind || e.Message != c.err) {
			t.Errorf("%s: %v, want %s of kind %v", name, err, c.err, c.kind)
		}
	}
}
