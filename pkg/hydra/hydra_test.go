package hydra_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/hydra"
	"github.com/git-models/git-models/pkg/pipeline/document"
)

func texts(overrides []hydra.Override) []string {
	out := []string{}
	for _, o := range overrides {
		out = append(out, o.Text)
	}
	return out
}

// The file holds documents with the overrides that Hydra 1.3.2 composes to what
// OmegaConf loads, or the reason why there are none.
func TestVectors(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		YAML      string   `json:"yaml"`
		Overrides []string `json:"overrides"`
		Error     string   `json:"error"`
	}
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 40 {
		t.Fatalf("%d vectors, the file is cut", len(vectors))
	}
	for _, v := range vectors {
		got, err := hydra.Overrides([]byte(v.YAML))
		if v.Error != "" {
			if err == nil || !strings.Contains(err.Error(), v.Error) {
				t.Errorf("%s: error %v, want one with %q", v.YAML, err, v.Error)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", v.YAML, err)
			continue
		}
		if diff := cmp.Diff(v.Overrides, texts(got)); diff != "" {
			t.Errorf("%s: -want +got\n%s", v.YAML, diff)
		}
	}
}

func faultsOf(t *testing.T, err error) []string {
	t.Helper()
	var faults *document.Faults
	if !errors.As(err, &faults) {
		t.Fatalf("error %v, want faults", err)
	}
	return strings.Split(faults.Error(), "\n")
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		yaml string
		want []string
	}{
		// numbers
		{"x: -.inf", []string{"x=-inf"}},
		{"x: .NaN", []string{"x=nan"}},
		{"x: 1e12345", []string{"x=1e12345"}},
		{"x: 1.0e-2", []string{"x=0.01"}},
		{"x: 1.0e5", []string{"x=1.0e5"}},
		{"x: 1.0e+16", []string{"x=1e+16"}},
		{"x: 1.0e-5", []string{"x=1e-05"}},
		{"x: 1__0e5", []string{"x=1000000.0"}}, // Hydra takes one _ between digits, OmegaConf any
		{"x: 01e5", []string{"x=100000.0"}},    // a zero in front makes text of it for Hydra
		{"x: 0123456", []string{"x=42798"}},
		{"x: 089", []string{"x=089"}},
		{"x: 0o17", []string{"x=0o17"}},
		{"x: 0b101", []string{"x=5"}},
		{"x: -0x1F", []string{"x=-31"}},
		{"x: +7", []string{"x=7"}},
		{"x: 12:30", []string{"x=750"}},
		{"x: -1:30:00", []string{"x=-5400"}},
		{"x: 1:30.5", []string{"x=90.5"}},
		{"x: 340282366920938463463374607431768211456", []string{"x=340282366920938463463374607431768211456"}},
		{"x: 1.", []string{"x=1.0"}},
		{"x: .5", []string{"x=0.5"}},
		{"x: .5e3", []string{"x='.5e3'"}}, // text to OmegaConf, a float to Hydra
		// truths and nothing
		{"a: y\nb: n\nc: On\nd: OFF\ne: oN", []string{"a=y", "b=n", "c=True", "d=False", "e=oN"}},
		{"a: Null\nb: NULL\nc: nULL\nd: 'True'", []string{"a=null", "b=null", "c='nULL'", "d='True'"}},
		{"a: 'nan'\nb: 'INF'\nc: '-inf'\nd: 'infinity'", []string{"a='nan'", "b='INF'", "c='-inf'", "d=infinity"}},
		// tags
		{"a: !!str 12\nb: !!int '12'\nc: !!float 3\nd: !!str\ne: !!null x", []string{"a='12'", "b=12", "c=3.0", "d=", "e=null"}},
		// text
		{"s: '1_000'", []string{"s='1_000'"}},
		{"s: '0123456'", []string{"s=0123456"}},
		{"s: 5a32b0f", []string{"s=5a32b0f"}},
		{"s: 2026-02-01 10:00:00", []string{"s='2026-02-01 10:00:00'"}},
		{"s: user@host|x?", []string{"s=user@host|x?"}},
		{"s: \"tab\\there\"", []string{"s='tab\there'"}},
		{"s: 'a\\''b'", []string{`s='a\\\'b'`}},
		{`s: 'a\\''b\'`, []string{`s='a\\\\\'b\\'`}},
		{`s: 'C:\dir'`, []string{`s='C:\dir'`}},
		{`s: '\${literal}'`, []string{`s='\${literal}'`}},
		{"s: ' lead'", []string{"s=' lead'"}},
		{"s: '${a}${b}'", []string{"s='${a}${b}'"}},
		{"s: '${oc.env:HOME}/x'", []string{"s='${oc.env:HOME}/x'"}},
		{"s: ${model_1.layers.0}", []string{"s=${model_1.layers.0}"}},
		{"s: '日本'", []string{"s='日本'"}},
		{"s: 'a\"b'", []string{`s='a"b'`}},
		{"s: $x", []string{"s='$x'"}},
		{"s: |-\n  one line", []string{"s='one line'"}},
		{"s: >-\n  two\n  lines", []string{"s='two lines'"}},
		// lists and mappings
		{"l: []", []string{"l=[]"}},
		{"l: ['', ~]", []string{"l=['',null]"}},
		{"l: [[1, 2], {k: v, n: 1}, {}, []]", []string{"l=[[1,2],{k:v,n:1},{},[]]"}},
		{"l: ['${a.b}', 1e-3]", []string{"l=[${a.b},1e-3]"}},
		{"l: [{'': 1}]", nil},
		{"d: {a: {}, b: 1}", []string{"d.a={}", "d.b=1"}},
		{"d: {e: {'a b': 1}, f: 2}", []string{`d.e={a\ b:1}`, "d.f=2"}},
		{"d: {'a b': {c: {x: 1}}, f: ''}", []string{`d={a\ b:{c:{x:1}},f:''}`}},
		{"d: {a/b: 1, 'c:d': 2, 'e=f': 3, 'g,h': 4, 'i(j)': 5, 'k[l]{m}': 6, 'n\\o': 7}",
			[]string{`d={a/b:1,c\:d:2,e\=f:3,g\,h:4,i\(j\):5,k\[l\]\{m\}:6,n\\o:7}`}},
		{"d: {true: 1, 1.5: 2, 0x10: 3, 1e3: 4}", []string{"d={True:1,1.5:2,16:3,1e3:4}"}},
		{"d: {$x: 1, _y-2: 2}", []string{"d.$x=1", "d._y-2=2"}},
		{"d: {null_: 1, \"true\": 2}", []string{"d.null_=1", "d.true=2"}}, // in a path these are names
		{"x: &a {p: 1}\ny: {<<: *a, q: 2}", []string{"x.p=1", "y.p=1", "y.q=2"}},
		// order: defaults, hydra, the rest
		{"b: 1\nhydra: {run: {dir: out}}\na: 2\ndefaults: [{db: mysql}]", []string{"+db=mysql", "hydra.run.dir=out", "b=1", "a=2"}},
		{"hydra: {job: {chdir: true}}", []string{"hydra.job.chdir=True"}},
		{"defaults: [_self_, {model: ~}, {opt: [a, b]}, {sched/warm@train.s: 'x/y'}]", []string{"+opt=[a,b]", "+sched/warm@train.s='x/y'"}},
		{"defaults: []\na: 1", []string{"a=1"}},
		// nothing
		{"", []string{}},
		{"# only a comment\n", []string{}},
		{"~", []string{}},
		{"{}", []string{}},
	} {
		got, err := hydra.Overrides([]byte(c.yaml))
		if c.want == nil {
			if err == nil {
				t.Errorf("%s: no error, got %v", c.yaml, texts(got))
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.yaml, err)
			continue
		}
		if diff := cmp.Diff(c.want, texts(got)); diff != "" {
			t.Errorf("%s: -want +got\n%s", c.yaml, diff)
		}
	}
}

func TestOverridesFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		yaml string
		want []string
	}{
		{"just text", []string{"1:1: parameters must be a mapping, and this is a single value; write key: value"}},
		{"- a\n- b\n", []string{"1:1: parameters must be a mapping, and this is a list; write key: value"}},
		{"0: x", []string{"1:1: key '0' cannot be named at the top of Hydra's command line; use a name of letters, digits, _ and -"}},
		{"a.b: 1", []string{"1:1: key 'a.b' cannot be named at the top of Hydra's command line; nest it: a: {b: …}"}},
		{"d: {0: a, '0': b}", []string{"1:11: key '0' is text that Hydra's command line would read as a value of another type"}},
		{"d: {~: a}", []string{"1:5: key '~' is empty to OmegaConf, which has no such keys; put it in quotes"}},
		{"d: {'a!': 1}", []string{"1:5: key 'a!' holds '!', which Hydra's command line cannot say in a key"}},
		{"s: \"a\\nb\"\nt: \"a\\0\"\nu: \"\\e[31m\"\nv: \"a\\Lb\"", []string{
			`1:4: value "a\x0ab" holds a newline, which an override cannot carry`,
			`2:4: value "a\x00" holds the control character U+0000, which an override cannot carry`,
			`3:4: value "\x1b[31m" holds the control character U+001B, which an override cannot carry`,
			`4:4: value "a\u2028b" holds a newline character (U+2028), which an override cannot carry`}},
		{"s: ._", []string{`1:4: "._" is not a number that Python reads; put it in quotes if it is text`}},
		{"s: =", []string{"1:4: a bare = has a meaning of its own in YAML; put it in quotes if it is text"}},
		{"s: !!binary aGk=", []string{"1:4: tag !!binary is not read here; put it in quotes if it is text"}},
		{"s: !!python/object/apply:os.system [id]", []string{"1:4: tag !!python/object/apply:os.system is not read here; remove it"}},
		{"defaults: model", []string{"1:11: defaults must be a list, and this is a single value; write defaults: [{group: option}]"}},
		{"defaults: [resnet, {model: 1}, [x], {}, {override model: y}]", []string{
			`1:12: defaults item "resnet" names no group; write group: option`,
			`1:28: the option of defaults item "model" is not a name; put the option in quotes if that is its name`,
			"1:32: a defaults item is a list; want group: option or _self_; write group: option",
			"1:37: an empty defaults item; write group: option",
			`1:42: defaults item "override model" is no group that an override can name; name a group, such as model or model@encoder`}},
	} {
		_, err := hydra.Overrides([]byte(c.yaml))
		if err == nil {
			t.Errorf("%s: no error", c.yaml)
			continue
		}
		if diff := cmp.Diff(c.want, faultsOf(t, err)); diff != "" {
			t.Errorf("%s: -want +got\n%s", c.yaml, diff)
		}
	}
}

func TestOverridePlaces(t *testing.T) {
	t.Parallel()
	got, err := hydra.Overrides([]byte("# head\nopt:\n  lr: 0.1\n  betas: [1, 2]\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []hydra.Override{
		{Text: "opt.lr=0.1", Key: "opt.lr", Line: 3, Column: 7},
		{Text: "opt.betas=[1,2]", Key: "opt.betas", Line: 4, Column: 10},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A short SHA that Hydra would read as a number is quoted; any other stays as
// scripts know it.
func TestAssign(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"5a32b0f":    "experiment_name=5a32b0f",
		"5a32b0f-r2": "experiment_name=5a32b0f-r2",
		"1e12345":    "experiment_name='1e12345'",
		"1234567":    "experiment_name='1234567'",
		"0123456":    "experiment_name=0123456",
		"12e4567":    "experiment_name='12e4567'",
		"0e12345":    "experiment_name='0e12345'",
		"00e1234":    "experiment_name=00e1234",
		"1e12345-r2": "experiment_name=1e12345-r2",
	} {
		got, err := hydra.Assign("experiment_name", name)
		if err != nil || got != want {
			t.Errorf("%s: %s %v, want %s", name, got, err, want)
		}
	}
	if got, err := hydra.Assign("k", "a\nb"); err == nil {
		t.Errorf("a newline passed: %q", got)
	}
}

// Small files that would make many long overrides are refused before they fill
// the memory.
func TestOverridesAreBounded(t *testing.T) {
	var leaves strings.Builder
	for i := range 9000 {
		fmt.Fprintf(&leaves, "  k%d: 1\n", i)
	}
	for name, c := range map[string]struct{ yaml, want string }{
		"a long key above many": {"? " + strings.Repeat("k", 8000) + "\n:\n" + leaves.String(), "the overrides up to here have more than 4194304 bytes"},
		"a longer key":          {"? " + strings.Repeat("k", 100_000) + "\n:\n" + leaves.String(), "is longer than 8192 bytes"},
		"a repeated text":       {"a: &a " + strings.Repeat("x", 500_000) + "\nb: [*a, *a, *a, *a, *a]\n", "more than 2097152 bytes, aliases followed"},
		"all to be quoted":      {"a: \"" + strings.Repeat("'", 1_000_000) + "\"\nb: " + strings.Repeat("x", 40_000), ""},
	} {
		overrides, err := hydra.Overrides([]byte(c.yaml))
		if c.want == "" && (err != nil || len(overrides) != 2) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %.200v, want %s", name, err, c.want)
		}
	}
}

func FuzzOverrides(f *testing.F) {
	for _, seed := range []string{
		"lr: 1e-3\nm: {betas: [0.9, 0.999], 0: x}", "defaults: [{a: b}, _self_]\nhydra: {run: {dir: x}}",
		"s: 'it''s \\'\nt: \"${a}\"", "a: &x {b: *y, <<: [*x]}", "a: [[[[[[{}]]]]]]", "? [a]\n: b", "a: !!int 0x", "a: 1:59.", "{a: \"\\u0085\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		overrides, err := hydra.Overrides(data)
		if err != nil {
			for _, fault := range strings.Split(err.Error(), "\n") {
				if strings.TrimSpace(fault) == "" {
					t.Fatalf("an empty fault in %q", err)
				}
			}
			return
		}
		for _, o := range overrides {
			key, _, ok := strings.Cut(o.Text, "=")
			if !ok || key != o.Key || o.Line < 1 || o.Column < 1 {
				t.Fatalf("override %+v", o)
			}
			if strings.ContainsAny(o.Text, "\n\x00\r") {
				t.Fatalf("override %q cannot be an argument", o.Text)
			}
		}
	})
}
