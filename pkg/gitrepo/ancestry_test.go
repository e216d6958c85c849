package gitrepo

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// world is a random history, spread over the places where git keeps commits.
type world struct {
	repo    *Repo
	ids     []gitmodels.CommitID
	parents [][]int
	above   []map[int]bool // what each reaches, itself included
	layout  string
}

// layouts are the ways to store the three batches of a history. Each step ends
// a batch.
var layouts = []string{"loose", "packed", "graph", "stale", "split", "quarantine", "packed quarantine", "alternates"}

func newWorld(t testing.TB, seed uint64, layout string) *world {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 7))
	w := &world{layout: layout}
	dir := filepath.Join(t.TempDir(), "a.git")
	bare := func(name string) string {
		path := filepath.Join(filepath.Dir(dir), name)
		gitIn(t, filepath.Dir(dir), "init", "-q", "--bare", "-b", "main", path)
		return path
	}
	bare("a.git")
	if layout != "loose" && layout != "packed" {
		// A graph that is written before the refs move on.
		defer w.check(t)
	}
	size := 12 + random.IntN(14)
	w.batch(t, random, dir, size, layout != "loose", nil)
	switch layout {
	case "graph", "stale", "split", "quarantine", "packed quarantine", "alternates":
		args := []string{"commit-graph", "write", "--reachable"}
		if layout == "split" || random.IntN(2) == 0 {
			args = append(args, "--split=no-merge")
		}
		if random.IntN(3) == 0 {
			gitIn(t, dir, "config", "commitGraph.generationVersion", "1")
		}
		gitIn(t, dir, args...)
	}
	packed := random.IntN(2) == 0
	switch layout {
	case "alternates":
		b, c := bare("b.git"), bare("c.git")
		link := func(from, to string) {
			if err := os.WriteFile(filepath.Join(from, "objects", "info", "alternates"), []byte(to+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		link(b, []string{filepath.Join(dir, "objects"), "../../a.git/objects"}[random.IntN(2)])
		w.batch(t, random, b, size, packed, nil)
		link(c, filepath.Join(b, "objects"))
		w.batch(t, random, c, size, !packed, nil)
		dir = c
	default:
		w.batch(t, random, dir, size, packed && layout != "loose", nil)
		if layout == "split" {
			gitIn(t, dir, "commit-graph", "write", "--reachable", "--split=no-merge")
		}
		if layout != "quarantine" && layout != "packed quarantine" {
			w.batch(t, random, dir, size, !packed && layout != "loose", nil)
			break
		}
		own := filepath.Join(dir, "objects", "tmp_objdir-incoming-ZZZZZZ")
		other := filepath.Join(dir, "objects", "tmp_objdir-incoming-AAAAAA")
		for _, d := range []string{own, other} {
			if err := os.MkdirAll(filepath.Join(d, "pack"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		env := []string{"GIT_QUARANTINE_PATH=" + own, "GIT_OBJECT_DIRECTORY=" + own,
			"GIT_ALTERNATE_OBJECT_DIRECTORIES=" + filepath.Join(dir, "objects")}
		w.batch(t, random, dir, size, layout == "packed quarantine", env)
		// Another push, whose commits are none of this one's.
		strangers := &world{ids: slices.Clone(w.ids[:size]), parents: slices.Clone(w.parents[:size])}
		strangers.batch(t, random, dir, 3, false, []string{"GIT_OBJECT_DIRECTORY=" + other, env[2]})
		w.repo = open(t, dir, WithQuarantine(env))
	}
	if layout == "graph" {
		gitIn(t, dir, "commit-graph", "write", "--reachable")
	}
	if w.repo == nil {
		w.repo = open(t, dir)
	}
	for i, parents := range w.parents {
		reach := map[int]bool{i: true}
		for _, p := range parents {
			maps.Copy(reach, w.above[p])
		}
		w.above = append(w.above, reach)
	}
	return w
}

// check makes sure that the graph is there: a world without one would prove
// nothing about it.
func (w *world) check(t testing.TB) {
	h, err := w.repo.history()
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	if h.graph == nil || w.layout == "split" && len(h.graph.layers) < 2 || w.layout == "graph" && int(h.graph.size) != len(w.ids) {
		t.Fatalf("%s: the graph is %+v", w.layout, h.graph)
	}
}

// batch adds commits of any number of parents and any date. They stay loose, or
// become a pack.
func (w *world) batch(t testing.TB, random *rand.Rand, dir string, size int, packed bool, env []string) int {
	t.Helper()
	marks := filepath.Join(t.TempDir(), "marks")
	var in bytes.Buffer
	start := len(w.ids)
	for i := start; i < start+size; i++ {
		var parents []int
		if i > 0 && random.IntN(12) > 0 {
			for range []int{1, 1, 1, 1, 2, 2, 3, 5}[random.IntN(8)] {
				p := i - 1 - random.IntN(min(i, 1+random.IntN(12)))
				if !slices.Contains(parents, p) {
					parents = append(parents, p)
				}
			}
		}
		w.parents = append(w.parents, parents)
		// No later than a graph's 34 bits can say: git itself denies ancestors of
		// commits from beyond (2.39), see graph.
		when := []int64{0, 1, 1_000_000_000 + random.Int64N(1e9), 2_000_000_000, 1 << 33, 1<<34 - 1}[random.IntN(6)]
		branch := fmt.Sprintf("refs/heads/b%d", i)
		if env != nil {
			branch = fmt.Sprintf("refs/heads/q%d", i)
		}
		fmt.Fprintf(&in, "reset %s\ncommit %s\nmark :%d\ncommitter C <c@example.com> %d +0000\ndata <<E\n%s %d %d\nE\n", branch, branch, i+1, when, strings.Repeat("the same words in every message ", 3), i, random.Int64())
		for n, p := range parents {
			name := fmt.Sprintf(":%d", p+1)
			if p < start {
				name = string(w.ids[p])
			}
			fmt.Fprintf(&in, "%s %s\n", []string{"from", "merge"}[min(n, 1)], name)
		}
		in.WriteString("\n")
	}
	in.WriteString("done\n")
	limit := "0"
	if !packed {
		limit = "10000"
	}
	cmd := exec.Command("git", "--git-dir="+dir, "-c", "fastimport.unpackLimit="+limit, "fast-import", "--quiet", "--done", "--date-format=raw-permissive", "--export-marks="+marks)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = &in
	out, err := cmd.CombinedOutput()
	if err != nil && env == nil { // in a quarantine no ref may move; the objects are there
		t.Fatalf("fast-import: %v: %s", err, out)
	}
	data, err := os.ReadFile(marks)
	if err != nil {
		t.Fatal(err)
	}
	w.ids = append(w.ids, make([]gitmodels.CommitID, size)...)
	for line := range strings.Lines(string(data)) {
		var mark int
		var id string
		if _, err := fmt.Sscanf(line, ":%d %s", &mark, &id); err != nil {
			t.Fatal(err)
		}
		w.ids[mark-1] = gitmodels.CommitID(id)
	}
	return start
}

// ask compares the answers about one pair with the truth.
func (w *world) ask(t testing.TB, a, b int) {
	t.Helper()
	want := w.above[b][a]
	got, err := w.repo.isAncestor(w.ids[a], w.ids[b])
	if err != nil || got != want {
		t.Errorf("%s: isAncestor(%d, %d) = %v, %v, want %v", w.layout, a, b, got, err, want)
	}
	n := 0
	for c := range w.above[b] {
		if !w.above[a][c] {
			n++
		}
	}
	if got, err := w.repo.count(w.ids[b], []gitmodels.CommitID{w.ids[a]}, math.MaxInt); err != nil || got != n {
		t.Errorf("%s: count(%d, %d) = %d, %v, want %d", w.layout, a, b, got, err, n)
	}
}

// askGit lets git judge a pair: the truth that ask believes in is its own.
func (w *world) askGit(t testing.TB, a, b int) {
	t.Helper()
	res, err := run(ctx, w.repo.call("merge-base", "--is-ancestor", string(w.ids[a]), string(w.ids[b])))
	if err != nil || res.code > 1 || (res.code == 0) != w.above[b][a] {
		t.Errorf("%s: git says %d about %d and %d: %v %s", w.layout, res.code, a, b, err, res.stderr)
	}
}

// Pairs of commits, in every layout, are answered without a child, and rightly.
func TestAncestryOfRandomGraphs(t *testing.T) {
	t.Parallel()
	for _, layout := range layouts {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(3) {
				w := newWorld(t, seed, layout)
				random := rand.New(rand.NewPCG(seed, 8))
				for range 200 {
					w.ask(t, random.IntN(len(w.ids)), random.IntN(len(w.ids)))
				}
				for range 5 {
					w.askGit(t, random.IntN(len(w.ids)), random.IntN(len(w.ids)))
				}
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

func FuzzIsAncestor(f *testing.F) {
	for i := range layouts {
		f.Add(uint64(i), uint8(i), uint8(3), uint8(40))
	}
	f.Fuzz(func(t *testing.T, seed uint64, layout, a, b uint8) {
		w := newWorld(t, seed, layouts[int(layout)%len(layouts)])
		w.ask(t, int(a)%len(w.ids), int(b)%len(w.ids))
		w.askGit(t, int(a)%len(w.ids), int(b)%len(w.ids))
	})
}

// What is not as it should be is left to git.
func TestUnusualIsLeftToGit(t *testing.T) {
	t.Parallel()
	absent := gitmodels.CommitID(strings.Repeat("d", 40))
	for name, spoil := range map[string]func(t *testing.T, w *world){
		"shallow": func(t *testing.T, w *world) {
			write(t, filepath.Join(w.repo.Dir(), "shallow"), []byte(w.ids[0]+"\n"))
		},
		"alternate that is not there": func(t *testing.T, w *world) {
			write(t, filepath.Join(w.repo.Dir(), "objects/info/alternates"), []byte("/nonexistent\n"))
		},
		"quoted alternate": func(t *testing.T, w *world) {
			write(t, filepath.Join(w.repo.Dir(), "objects/info/alternates"), []byte("\"/x\"\n"))
		},
		"empty graph": func(t *testing.T, w *world) { spoilGraph(t, w, func(b []byte) []byte { return nil }) },
		"short graph": func(t *testing.T, w *world) { spoilGraph(t, w, func(b []byte) []byte { return b[:len(b)/2] }) },
		"version":     func(t *testing.T, w *world) { spoilGraph(t, w, func(b []byte) []byte { b[4] = 2; return b }) },
		"hash":        func(t *testing.T, w *world) { spoilGraph(t, w, func(b []byte) []byte { b[5] = 2; return b }) },
		"level":       func(t *testing.T, w *world) { spoilLevels(t, w) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1, "graph")
			spoil(t, w)
			if _, err := w.repo.isAncestor(w.ids[0], w.ids[len(w.ids)-1]); err == nil {
				t.Error("it was answered without git")
			}
		})
	}
	w := newWorld(t, 1, "graph")
	for _, pair := range [][2]gitmodels.CommitID{{absent, w.ids[3]}, {w.ids[3], absent}} {
		if yes, err := w.repo.isAncestor(pair[0], pair[1]); !errors.Is(err, errUnusual) {
			t.Errorf("a commit that is not there: %v, %v", yes, err)
		}
	}
	// A commit that the graph remembers, but that is gone.
	gone := newWorld(t, 1, "stale")
	for _, path := range must(filepath.Glob(filepath.Join(gone.repo.Dir(), "objects/pack/*")))(t) {
		os.Remove(path)
	}
	if yes, err := gone.repo.isAncestor(gone.ids[0], gone.ids[1]); err == nil {
		t.Errorf("commits that only the graph knows: %v", yes)
	}
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	os.Remove(path) // git's own are read-only
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func spoilGraph(t testing.TB, w *world, spoil func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(w.repo.Dir(), "objects/info/commit-graph")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, spoil(data))
}

// spoilLevels gives every commit the same level.
func spoilLevels(t testing.TB, w *world) {
	h, err := w.repo.history()
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	at, n := int(h.graph.layers[0].chunk["CDAT"].at), int(h.graph.size)
	spoilGraph(t, w, func(b []byte) []byte {
		for i := range n {
			copy(b[at+36*i+28:], []byte{0xff, 0xff, 0xff, 0xff})
		}
		return b
	})
}

// Whatever stands in a graph's or a pack's file, reading it ends without a
// fault.
func FuzzGraphFile(f *testing.F) {
	w := newWorld(f, 3, "graph")
	data, err := os.ReadFile(filepath.Join(w.repo.Dir(), "objects/info/commit-graph"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, uint16(100), byte(7))
	f.Add(data[:200], uint16(8), byte(1))
	f.Fuzz(func(t *testing.T, data []byte, at uint16, b byte) {
		if len(data) > 0 {
			data = slices.Clone(data)
			data[int(at)%len(data)] = b
		}
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "info"), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "info/commit-graph"), data)
		g, err := openGraph([]string{dir}, 20)
		if err != nil {
			return
		}
		defer g.close()
		h := &history{graph: g, outside: map[string][]node{}}
		for pos := range min(g.size, 50) {
			_, _ = h.reaches(node{pos: pos}, node{pos: g.size - 1 - pos}, nil)
		}
		_, _, _ = g.find(string(data[:min(20, len(data))]) + strings.Repeat("x", 20-min(20, len(data))))
	})
}

func FuzzPatch(f *testing.F) {
	f.Add([]byte("source text"), []byte{11, 4, 0x91, 2, 4})
	f.Add([]byte("source text"), []byte{11, 3, 3, 'a', 'b', 'c'})
	f.Fuzz(func(t *testing.T, source, delta []byte) {
		if out, err := patch(source, delta); err == nil && len(out) > maxRead {
			t.Errorf("%d bytes", len(out))
		}
	})
}
