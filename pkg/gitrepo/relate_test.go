package gitrepo

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// relation is what Relate must say of two commits of which the second does not
// descend from the first; bases are all the best common ancestors.
func (w *world) relation(tip, commit int) (want gitmodels.Relation, bases map[gitmodels.CommitID]bool) {
	common := map[int]bool{}
	for c := range w.above[tip] {
		if w.above[commit][c] {
			common[c] = true
		} else {
			want.Lacks++
		}
	}
	for c := range w.above[commit] {
		if !w.above[tip][c] {
			want.Has++
		}
	}
	bases = map[gitmodels.CommitID]bool{}
	for c := range common {
		best := true
		for d := range common {
			best = best && (d == c || !w.above[d][c])
		}
		if best {
			bases[w.ids[c]] = true
		}
	}
	switch {
	case common[commit]:
		want.Kind = gitmodels.Rewind
	case len(common) > 0:
		want.Kind = gitmodels.Diverged
	default:
		want = gitmodels.Relation{Kind: gitmodels.Unrelated}
	}
	return want, bases
}

func TestRelate(t *testing.T) {
	t.Parallel()
	for _, layout := range layouts {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			quick, kinds := 0, map[gitmodels.RelationKind]int{}
			for seed := range uint64(2) {
				w := newWorld(t, seed, layout)
				random := rand.New(rand.NewPCG(seed, 9))
				for range 60 {
					a, b := random.IntN(len(w.ids)), random.IntN(len(w.ids))
					if w.above[b][a] {
						continue
					}
					want, bases := w.relation(a, b)
					if _, err := w.repo.relate(w.ids[a], w.ids[b]); err == nil {
						quick++
					} else if !errors.Is(err, errUnusual) {
						t.Errorf("seed %d: relate(%d, %d): %v", seed, a, b, err)
					}
					got, err := w.repo.Relate(ctx, w.ids[a], w.ids[b])
					if base := got.Base; want.Kind == gitmodels.Unrelated && base != "" || want.Kind != gitmodels.Unrelated && !bases[base] {
						t.Errorf("seed %d: the base of %d and %d is %s, want one of %v", seed, a, b, base, bases)
					}
					got.Base = ""
					if err != nil || got != want {
						t.Errorf("seed %d: Relate(%d, %d) = %+v, %v, want %+v", seed, a, b, got, err, want)
					}
					kinds[want.Kind]++
				}
			}
			if kinds[gitmodels.Rewind] == 0 || kinds[gitmodels.Diverged] == 0 {
				t.Errorf("the pairs were of the kinds %v: that proves little", kinds)
			}
			// Where both sides meet outside the graph git is asked.
			if layout == "graph" && quick < 40 || layout == "split" && quick == 0 {
				t.Errorf("%d of the pairs were answered without a child", quick)
			}
		})
	}
}

// A long way down is not walked to its end: the pusher waits.
func TestRelateFar(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	const n = maxInside + 500
	var in bytes.Buffer
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&in, "commit refs/heads/main\nmark :%d\ncommitter C <c@example.com> %d +0000\ndata 1\nx\n", i, i)
	}
	fmt.Fprintf(&in, "reset refs/heads/old\nfrom :1\n\nreset refs/heads/near\nfrom :%d\n\n", n-700)
	in.WriteString("commit refs/heads/fork\ncommitter C <c@example.com> 9 +0000\ndata 1\ny\nfrom :2\n\n")
	gitInput(t, r.Dir(), in.Bytes(), "fast-import", "--quiet")
	tip := func(name string) gitmodels.CommitID { return gitmodels.CommitID(gitIn(t, r.Dir(), "rev-parse", name)) }
	main := tip("main")
	// Without a graph git walks it all.
	if rel, err := r.Relate(ctx, main, tip("old")); err != nil || rel.Kind != gitmodels.Rewind || rel.Lacks != gitmodels.MaxRelated {
		t.Errorf("without a graph: %+v, %v", rel, err)
	}
	gitIn(t, r.Dir(), "commit-graph", "write", "--reachable")
	// What was pushed since is in no graph.
	other := "commit refs/heads/other\ncommitter C <c@example.com> 9 +0000\ndata 1\nz\n\n"
	gitInput(t, r.Dir(), []byte(other), "fast-import", "--quiet")
	for name, want := range map[string]gitmodels.Relation{
		"old":   {Kind: gitmodels.Far},
		"fork":  {Kind: gitmodels.Far},
		"other": {Kind: gitmodels.Unrelated},
		"near":  {Kind: gitmodels.Rewind, Base: tip("near"), Lacks: 700},
	} {
		if rel, err := r.Relate(ctx, main, tip(name)); err != nil || rel != want {
			t.Errorf("%s: %+v, %v, want %+v", name, rel, err, want)
		}
	}
}
