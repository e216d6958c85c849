package metrics

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// folder makes a folder with these files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// lines shows metrics as name=final [step:value …].
func lines(values []gitmodels.Metric) (out []string) {
	for _, m := range values {
		s := m.Name + "=" + m.Final.String()
		for _, p := range m.Points {
			s += " " + p.Step.String() + ":" + p.Value.String()
		}
		out = append(out, s)
	}
	return out
}

// readCase is a folder and what is read of it.
type readCase struct {
	files    map[string]string
	want     []string
	warnings []string // parts
}

func (c readCase) run(t *testing.T) {
	t.Helper()
	values, warnings, err := Read(folder(t, c.files))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(c.want, lines(values)); d != "" {
		t.Error(d)
	}
	if len(warnings) != len(c.warnings) {
		t.Errorf("warnings %q", warnings)
	}
	for _, w := range c.warnings {
		if !slices.ContainsFunc(warnings, func(s string) bool { return strings.Contains(s, w) }) {
			t.Errorf("warnings %q, want %q", warnings, w)
		}
	}
	if _, err := json.Marshal(values); err != nil {
		t.Error(err)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]readCase{
		"nothing":     {},
		"other files": {files: map[string]string{"metrics.yaml": "a: 1", "x.json": `{"a":1}`, "metrics.json.bak": `{"a":1}`}},
		"nested summary": {
			files: map[string]string{"metrics.json": `{"train": {"accuracy": 0.5, "deep": {"er": -1e3}}, "n": 3, "name": "x", "ok": true, "no": null, "list": [1, {"a": 2}]}`},
			want:  []string{"n=3", "train.accuracy=0.5", "train.deep.er=-1000"},
		},
		"python's numbers": {
			files: map[string]string{
				"metrics.json": `{"a": NaN, "b": Infinity, "c": -Infinity, "d": 1e999, "s": "NaN, Infinity", "NaN": 1, "q\"NaN": 2}`,
			},
			want: []string{"NaN=1", "a=NaN", "b=Infinity", "c=-Infinity", "d=Infinity", `q"NaN=2`},
		},
		"series": {
			files: map[string]string{"log.jsonl": `{"step": 0, "loss": 2.5, "epoch": 0, "time": 100.5}
{"step": 10, "loss": 1.5, "epoch": 1, "timestamp": 5, "time": 3}

{"step": 20, "loss": 1, "val": {"acc": 0.5}}
`},
			want: []string{"epoch=1 0:0 10:1", "loss=1 0:2.5 10:1.5 20:1", "time=3 10:3", "val.acc=0.5 20:0.5"},
		},
		"every name of the step": {
			files: map[string]string{
				"a.jsonl": `{"global_step": 7, "a": 1}`, "b.jsonl": `{"iteration": 7, "b": 1}`, "c.jsonl": `{"epoch": 7, "c": 1}`,
				"d.jsonl": `{"_step": 7, "_timestamp": 9, "d": 1}`, "e.jsonl": "{\"e\": 1}\n{\"e\": 2}", "f.jsonl": `{"step": NaN, "epoch": 2, "f": 1}`,
			},
			want: []string{"a=1 7:1", "b=1 7:1", "c=1 7:1", "d=1 7:1", "e=2 0:1 1:2", "f=1 2:1", "step=NaN 2:NaN"},
		},
		"the last finite value is final": {
			files: map[string]string{"log.jsonl": "{\"step\":1,\"a\":1,\"b\":NaN}\n{\"step\":2,\"a\":2,\"b\":Infinity}\n{\"step\":3,\"a\":NaN,\"b\":-Infinity}\n"},
			want:  []string{"a=2 1:1 2:2 3:NaN", "b=-Infinity 1:NaN 2:Infinity 3:-Infinity"},
		},
		"metrics.json wins": {
			files: map[string]string{"log.jsonl": "{\"step\":1,\"a\":1}", "metrics.json": `{"a": 9}`},
			want:  []string{"a=9 1:1"},
		},
		"later values win": {
			files: map[string]string{"1.jsonl": "{\"step\":2,\"a\":1}\n{\"step\":1,\"a\":5}\n{\"step\":2,\"a\":3}\n", "2.jsonl": `{"step":1,"a":6}`},
			want:  []string{"a=3 1:6 2:3"},
		},
		"folders": {
			files: map[string]string{"eval/metrics.json": `{"accuracy": 0.9}`, "eval/deep/x.jsonl": `{"step":1,"a":1}`, "dvclive/metrics.json": `{"loss": 1}`, "metrics.json": `{"accuracy": 0.8}`},
			want:  []string{"accuracy=0.8", "eval/accuracy=0.9", "eval/deep/a=1 1:1", "loss=1"},
		},
		"a truncated last line": {
			files: map[string]string{"log.jsonl": "\ufeff{\"step\":1,\"a\":1}\r\n{\"step\":2,\"a\":2}\r\n{\"step\":3,\"a\":"},
			want:  []string{"a=2 1:1 2:2"},
		},
		"broken lines": {
			files:    map[string]string{"log.jsonl": "{\"step\":1,\"a\":1}\nhello\n[1]\n{\"step\":2,\"a\":2} x\n{\"step\":3,\"a\":3}\n"},
			want:     []string{"a=3 1:1 3:3"},
			warnings: []string{"log.jsonl: 3 lines are left out, the first: line 2"},
		},
		"a broken summary": {
			files:    map[string]string{"metrics.json": `{"a": 1, "b": `},
			warnings: []string{"metrics.json: left out, not a JSON object: byte 15"},
		},
		"hostile names": {
			files:    map[string]string{"metrics.json": `{"a\nState: succeeded": 1, "\u202ex": 2, "": 3, "` + strings.Repeat("n", 300) + `": 4}`},
			want:     []string{`\u202ex=2`, `a\x0aState: succeeded=1`},
			warnings: []string{"without a name", "its name has 300 bytes"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

func TestReadOfNoFolder(t *testing.T) {
	t.Parallel()
	values, warnings, err := Read(filepath.Join(t.TempDir(), "absent"))
	if values != nil || warnings != nil || err != nil {
		t.Errorf("%v %v %v", values, warnings, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Read(file); err == nil {
		t.Error("a file is read as a folder")
	}
}

func TestHostileFiles(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "metrics.json")
	if err := os.WriteFile(secret, []byte(`{"secret": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := folder(t, map[string]string{"ok.jsonl": `{"a":1}`})
	if err := unix.Mkfifo(dir+"/pipe.jsonl", 0o600); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"metrics.json": secret, "l.jsonl": "ok.jsonl", "up": "..", "loop": "."} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(dir+"/d/d/d/d/d/d/d/d/d/d/d", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/x\x1b.jsonl", 0o755); err != nil {
		t.Fatal(err)
	}
	values, warnings, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"a=1 0:1"}, lines(values)); d != "" {
		t.Error(d)
	}
	if got := strings.Join(warnings, "\n"); strings.Count(got, "not a regular file") != 3 || !strings.Contains(got, "deeper than 8") || strings.Contains(got, "\x1b") {
		t.Errorf("warnings:\n%s", got)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		line := "{\"a\": 1, \"pad\": \"" + strings.Repeat("x", 1<<20) + "\"}\n"
		big := strings.Repeat(line, 33)
		values, warnings, err := Read(folder(t, map[string]string{"metrics.json": big, "big.jsonl": big + `{"step": 7, "last": 2}`}))
		if err != nil || len(warnings) != 2 {
			t.Fatalf("%v %q", err, warnings)
		}
		if len(values) != 2 || values[1].Name != "last" || values[1].Final != 2 {
			t.Errorf("%v", values)
		}
	})
	t.Run("series", func(t *testing.T) {
		t.Parallel()
		var many strings.Builder
		for i := range MaxSeries + 50 {
			fmt.Fprintf(&many, "{\"m%d\": 1}\n", i)
		}
		values, warnings, err := Read(folder(t, map[string]string{"m.jsonl": many.String()}))
		if err != nil || len(values) != MaxSeries || len(warnings) != maxWarned+1 || !strings.Contains(warnings[maxWarned], "30 more") {
			t.Errorf("%d values, %v, %q", len(values), err, warnings)
		}
	})
	t.Run("points", func(t *testing.T) {
		t.Parallel()
		var many strings.Builder
		for i := range 100_000 {
			fmt.Fprintf(&many, "{\"step\":%d,\"a\":%d,\"b\":%d}\n", i, i%7, i)
		}
		many.WriteString("{\"step\":100000,\"a\":1000,\"b\":NaN}\n{\"step\":100001,\"a\":NaN,\"b\":NaN}\n")
		values, _, err := Read(folder(t, map[string]string{"m.jsonl": many.String()}))
		if err != nil || len(values) != 2 {
			t.Fatalf("%d %v", len(values), err)
		}
		a, b := values[0], values[1]
		if a.Final != 1000 || b.Final != 99_999 {
			t.Errorf("final %v %v", a.Final, b.Final)
		}
		for _, m := range values {
			if n := len(m.Points); n > MaxPoints || n < MaxPoints/2 || m.Points[0].Step != 0 || m.Points[n-1].Step != 100_001 {
				t.Errorf("%s: %d points from %v to %v", m.Name, n, m.Points[0], m.Points[n-1])
			}
		}
		if !slices.ContainsFunc(a.Points, func(p gitmodels.Point) bool { return p.Value == 1000 }) {
			t.Error("the peak, the last finite value, is lost")
		}
	})
}

// FuzzParseObject compares with encoding/json wherever that accepts the text.
func FuzzParseObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1}`, `{"a":{"b":[1,{"c":2}],"d":-0.5e+3}}`, `{"a":NaN,"b":-Infinity}`, `{"\u0041\"":1}`, `{"a":01}`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}",
		strings.Repeat(`{"a":`, 100), `{"a":1,}`, `{"a" 1}`, `{"a":tru}`, `{"a":--1}`, `{"a":1.}`, `[1]`, ``} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := map[string]float64{}
		err := parseObject([]byte(s), func(name string, v float64) { got[name] = v })
		var value any
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		if d.Decode(&value) != nil || d.More() || strings.TrimSpace(s[d.InputOffset():]) != "" {
			return // not JSON: the tolerance is tried by the tables
		}
		object, ok := value.(map[string]any)
		if !ok {
			if err == nil {
				t.Fatalf("%q is no object, and accepted", s)
			}
			return
		}
		if err != nil {
			if strings.Contains(err.Error(), "nested deeper") || strings.Contains(err.Error(), "too long") {
				return
			}
			t.Fatalf("%q: %v", s, err)
		}
		for name := range flat("", object) {
			if _, ok := got[name]; !ok {
				t.Fatalf("%q: %q is missing in %v", s, name, got)
			}
		}
	})
}

func flat(prefix string, object map[string]any) map[string]bool {
	names := map[string]bool{}
	for key, v := range object {
		switch v := v.(type) {
		case json.Number:
			names[prefix+key] = true
		case map[string]any:
			for name := range flat(prefix+key+".", v) {
				names[name] = true
			}
		}
	}
	return names
}

// FuzzRead: whatever the bytes, reading ends, names are printable and the
// result is JSON.
func FuzzRead(f *testing.F) {
	f.Add(`{"a": NaN}`, "{\"step\":1,\"a\":1}\n{\"step\":1e999,\"b\":2}\n{")
	f.Add("", "\n\n{}\n\x00")
	dir := f.TempDir() // of this worker, which makes one call after the other
	if err := os.Mkdir(dir+"/eval", 0o755); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, summary, series string) {
		for name, text := range map[string]string{"metrics.json": summary, "eval/m.jsonl": series} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		values, warnings, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := json.Marshal(values); err != nil {
			t.Fatal(err)
		}
		for _, m := range values {
			if gitmodels.Printable(m.Name, 0) != m.Name {
				t.Fatalf("name %q", m.Name)
			}
		}
		for _, w := range warnings {
			if gitmodels.Printable(w, 0) != w {
				t.Fatalf("warning %q", w)
			}
		}
	})
}
