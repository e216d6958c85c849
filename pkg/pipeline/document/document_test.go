package document_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline/document"
)

// show writes a node so that a test can be read: {a:1 b:[x y]}.
func show(n *document.Node) string {
	if n == nil {
		return "nothing"
	}
	var parts []string
	switch n.Kind {
	case document.List:
		for _, item := range n.Items {
			parts = append(parts, show(item))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case document.Map:
		for _, p := range n.Pairs {
			parts = append(parts, p.Key.Text+":"+show(p.Value))
		}
		return "{" + strings.Join(parts, " ") + "}"
	}
	return n.Text
}

func TestParse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ yaml, want string }{
		"empty":                   {"", "nothing"},
		"comments only":           {"# nothing here\n\n", "nothing"},
		"an empty document":       {"---\n", "nothing"},
		"order of the file":       {"b: 1\na: 2\n", "{b:1 a:2}"},
		"alias":                   {"a: &x [1, 2]\nb: *x\n", "{a:[1 2] b:[1 2]}"},
		"alias as a key":          {"a: &x k\nb: {*x : 1}\n", "{a:k b:{k:1}}"},
		"merge comes first":       {"d: &d {a: 1, b: 2}\ne: {c: 3, <<: *d}\n", "{d:{a:1 b:2} e:{a:1 b:2 c:3}}"},
		"own entries win":         {"d: &d {a: 1, b: 2}\ne: {b: 9, <<: *d}\n", "{d:{a:1 b:2} e:{a:1 b:9}}"},
		"the first of a list":     {"x: &x {a: 1}\ny: &y {a: 2, b: 2}\nz: {<<: [*x, *y]}\n", "{x:{a:1} y:{a:2 b:2} z:{a:1 b:2}}"},
		"merge of a merge":        {"x: &x {a: 1}\ny: &y {<<: *x, b: 2}\nz: {<<: *y, c: 3}\n", "{x:{a:1} y:{a:1 b:2} z:{a:1 b:2 c:3}}"},
		"a quoted << is a key":    {"a: {'<<': 1}\n", "{a:{<<:1}}"},
		"keys of different types": {"1: a\n'1': b\n", "{1:a 1:b}"},
		"end of document":         {"a: 1\n...\n", "{a:1}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, err := document.Parse([]byte(c.yaml), document.OmegaConf)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, show(n)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		yaml string
		want []string
	}{
		"syntax":              {"a: 1\nb: [1, 2\nc: 3\n", []string{`2: not valid YAML: did not find expected ',' or ']'`}},
		"a list among keys":   {"a:\n  x: 1\n  y: 2\n  - z\nb: 1\n", []string{"4: not valid YAML: did not find expected key"}},
		"a key too deep":      {"a: 1\n  b: 2\n", []string{"2: not valid YAML: mapping values are not allowed in this context"}},
		"tabs":                {"a:\n\tb: 1\n", []string{"2: not valid YAML: found character that cannot start any token; indent with spaces, not tabs"}},
		"duplicate key":       {"a: 1\nb: 2\na: 3\n", []string{`3:1: key "a" is already there in line 1; keep one of the two`}},
		"equal numbers":       {"d: {1: a, 0x1: b, 1.0: c, true: d}\n", []string{`1:11: key "0x1" is already there in line 1; keep one of the two`, `1:19: key "1.0" is already there in line 1; keep one of the two`, `1:27: key "true" is already there in line 1; keep one of the two`}},
		"two documents":       {"a: 1\n---\nb: 2\n", []string{"2:1: a second document begins here; the file may hold one; remove the line --- and what follows"}},
		"a list as a key":     {"? [a, b]\n: 1\n", []string{"1:3: a key must be a single value, and this is a list"}},
		"merge of a value":    {"a: {<<: 1}\n", []string{"1:9: << takes a mapping or a list of mappings, and this is a single value"}},
		"merge of values":     {"a: {<<: [1]}\n", []string{"1:9: << takes a mapping or a list of mappings, and one item is a single value"}},
		"a set":               {"a: !!set {b}\n", []string{"1:4: tag !!set is not read here; remove it"}},
		"not UTF-8":           {"a: ok\nb: \xff\n", []string{"2:4: byte 0xff is not UTF-8; save the file as UTF-8"}},
		"UTF-16":              {"\xff\xfea\x00:\x00", []string{"1:1: byte 0xff is not UTF-8; save the file as UTF-8"}},
		"a NUL":               {"a: \x00\n", []string{"1: not valid YAML: control characters are not allowed"}},
		"an unknown alias":    {"a: *b\n", []string{"1: not valid YAML: unknown anchor 'b' referenced"}},
		"an anchor in itself": {"a: &a [*a]\n", []string{"1:8: nested deeper than 64 levels"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := document.Parse([]byte(c.yaml), document.OmegaConf)
			var faults *document.Faults
			if !errors.As(err, &faults) {
				t.Fatalf("error %v, want faults", err)
			}
			var got []string
			for _, f := range faults.All {
				got = append(got, f.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Files that are small to send and large to read must be refused in little time
// and memory.
func TestBombs(t *testing.T) {
	laughs := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 12; i++ {
		laughs += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), i-1)
	}
	merges := "m0: &m0 {a: 1, b: 2}\n"
	for i := 1; i < 40; i++ {
		merges += fmt.Sprintf("m%d: &m%d {<<: [*m%d, *m%d], k%d: 1}\n", i, i, i-1, i-1, i)
	}
	full := gitmodels.MaxPipelineFile - 8
	bombs := map[string]string{
		"billion laughs":           laughs,
		"a long text again":        "a: &a " + strings.Repeat("x", 900_000) + "\nb: [" + strings.Repeat("*a,", 40_000) + "]",
		"merged laughs":            merges,
		"deep lists":               strings.Repeat("[", full),
		"deep mappings":            strings.Repeat("{a: ", full/4),
		"deep blocks":              strings.Repeat("- ", full/2),
		"deep indents":             deepIndents(1400),
		"deep and closed":          "a: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		"many items":               "a: [" + strings.Repeat("a,", full/2) + "]",
		"many empty":               "a: [" + strings.Repeat(",", full-8) + "]",
		"many lines":               strings.Repeat("a\n", full/2),
		"many comments":            "a: 1\n" + strings.Repeat("#\n", full/2),
		"many keys":                manyKeys(40_000),
		"many equal keys":          strings.Repeat("a: 1\n", 40_000),
		"many anchors":             "a: [" + strings.Repeat("&a a,", 40_000) + "]",
		"many questions":           strings.Repeat("? ", full/2),
		"many tags":                strings.Repeat("!!a ", full/4),
		"a long number":            "a: " + strings.Repeat("9", full),
		"a long hex":               "a: 0x" + strings.Repeat("f", full),
		"a long time":              "a: 1" + strings.Repeat(":59", full/3-1),
		"a long float":             "a: 1." + strings.Repeat("0", full) + "1e9",
		"a long string":            "a: \"" + strings.Repeat("\\x41", full/4-8) + "\"",
		"a long key":               strings.Repeat("k", full),
		"open quote":               "a: '" + strings.Repeat("\n\n", full/2),
		"too large":                strings.Repeat(" ", gitmodels.MaxPipelineFile+1),
		"carriage returns":         "a: 1" + strings.Repeat("\r", full),
		"open brackets and quotes": strings.Repeat("[\"", full/2),
		"percent":                  strings.Repeat("%A B\n", full/5),
		"dashes":                   strings.Repeat("---\n", full/4),
	}
	for name, yaml := range bombs {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begin := time.Now()
			n, err := document.Parse([]byte(yaml), document.OmegaConf)
			if n != nil {
				for _, p := range n.Pairs {
					if _, err := p.Value.Value(document.OmegaConf); p.Value.Kind == document.Scalar && strings.HasPrefix(name, "a long") &&
						name != "a long string" && err == nil {
						t.Errorf("read as a number")
					}
				}
			}
			took := time.Since(begin)
			runtime.ReadMemStats(&after)
			allocated := (after.TotalAlloc - before.TotalAlloc) >> 20
			t.Logf("%d bytes, %v, %d MiB, %.120v", len(yaml), took, allocated, err)
			if raceEnabled {
				return // the detector takes its own time and memory
			}
			if took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			if allocated > 120 {
				t.Errorf("allocated %d MiB", allocated)
			}
		})
	}
}

func deepIndents(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()[:min(b.Len(), gitmodels.MaxPipelineFile)]
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: v\n", i)
	}
	return b.String()
}
