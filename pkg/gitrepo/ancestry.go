package gitrepo

import (
	"container/heap"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Questions about who descends from whom, answered without a child: the commits
// that no commit-graph has yet are read one by one, the rest from the graph,
// where the topological level ends a walk early. Every answer is one that git
// would give; whatever is unusual is left to git.

const (
	// maxOutside is how many commits are read one by one, at some 50 µs each: a
	// child of git costs as much as a hundred.
	maxOutside = 200
	// maxInside is how many are read in the graph, at about 1 µs each: beyond
	// that git, which holds the graph in memory, is quicker.
	maxInside = 4_000
)

// errFar is errUnusual for a walk that would go on beyond maxInside.
var errFar = fmt.Errorf("%w: it is a long way in the graph", errUnusual)

// node is a commit: its position in the graph, or outside of it its id.
type node struct {
	pos uint32
	id  string
}

func (n node) inside() bool { return n.id == "" }

// history is one look at a repository.
type history struct {
	store   *store
	graph   *graph // nil: there is none
	outside map[string][]node
	left    int // commits of the graph that may still be read
}

// history opens what is needed. A shallow repository is left to git: its
// commits have fewer parents than they say.
func (r *Repo) history() (*history, error) {
	if _, err := os.Lstat(filepath.Join(r.common, "shallow")); !errors.Is(err, fs.ErrNotExist) {
		return nil, errUnusual
	}
	if r.largePush() {
		return nil, errUnusual
	}
	s, err := r.store()
	if err != nil {
		return nil, err
	}
	g, err := openGraph(s.folders, s.hash)
	if err != nil {
		return nil, err
	}
	return &history{store: s, graph: g, outside: map[string][]node{}, left: maxInside}, nil
}

// largeIndex is the size of a pack's index from which a push brings thousands of
// objects, among them more commits than are worth reading one by one.
const largeIndex = 64 << 10

// largePush reports whether the push that is being judged is a large one.
func (r *Repo) largePush() bool {
	own, ok := lookup(r.quarantine, "GIT_OBJECT_DIRECTORY")
	if !ok {
		return false
	}
	entries, err := os.ReadDir(filepath.Join(own, "pack"))
	return err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		info, err := e.Info()
		return err == nil && strings.HasSuffix(e.Name(), ".idx") && info.Size() > largeIndex
	})
}

func (h *history) close() {
	h.store.close()
	if h.graph != nil {
		h.graph.close()
	}
}

// inside finds a commit in the graph.
func (h *history) inside(id string) (node, bool, error) {
	if h.graph == nil {
		return node{}, false, nil
	}
	pos, ok, err := h.graph.find(id)
	return node{pos: pos}, ok, err
}

// named is the commit of an id that a caller gave. It makes sure that it is one
// and is there: a graph may know commits that are gone.
func (h *history) named(id gitmodels.CommitID) (node, error) {
	raw, err := hex.DecodeString(string(id))
	if err != nil {
		return node{}, err
	}
	n, ok, err := h.inside(string(raw))
	if err != nil {
		return n, err
	}
	if !ok {
		n = node{id: string(raw)}
		_, err = h.read(n)
		return n, err
	}
	there, err := h.store.has(string(raw))
	if err == nil && !there {
		err = errUnusual
	}
	return n, err
}

// read returns the parents of a commit outside the graph.
func (h *history) read(n node) ([]node, error) {
	if parents, ok := h.outside[n.id]; ok {
		return parents, nil
	}
	if len(h.outside) == maxOutside {
		return nil, errUnusual
	}
	ids, err := h.store.parents(n.id)
	if err != nil {
		return nil, err
	}
	var parents []node
	for _, id := range ids {
		parent, ok, err := h.inside(id)
		if err != nil {
			return nil, err
		}
		if !ok {
			parent = node{id: id}
		}
		parents = append(parents, parent)
	}
	h.outside[n.id] = parents
	return parents, nil
}

// look reads a commit in the graph, whose level must be below that of the child
// it was reached from.
func (h *history) look(pos, below uint32) (graphNode, error) {
	if h.left--; h.left < 0 {
		return graphNode{}, errFar
	}
	n, err := h.graph.node(pos)
	if err == nil && n.level >= below {
		err = errUnusual
	}
	return n, err
}

// reaches reports whether target is from or an ancestor of it. It remembers in
// dead, when not nil, what does not reach it.
func (h *history) reaches(from, target node, dead map[node]bool) (bool, error) {
	level := uint32(0)
	if target.inside() {
		n, err := h.look(target.pos, maxLevel)
		if err != nil {
			return false, err
		}
		level = n.level
	}
	type step struct {
		node
		below uint32
	}
	seen := map[node]bool{}
	for todo := []step{{from, maxLevel}}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if at.node == target {
			return true, nil
		}
		if seen[at.node] || dead[at.node] {
			continue
		}
		seen[at.node] = true
		// Pushed from the last to the first parent, so that the main line, where
		// an older tip usually is, is walked first.
		if !at.inside() {
			parents, err := h.read(at.node)
			if err != nil {
				return false, err
			}
			for _, p := range slices.Backward(parents) {
				todo = append(todo, step{p, maxLevel})
			}
			continue
		}
		if !target.inside() {
			continue // the graph has every ancestor of its commits
		}
		n, err := h.look(at.pos, at.below)
		if err != nil {
			return false, err
		}
		if n.level <= level {
			continue
		}
		for _, p := range slices.Backward(n.parents) {
			todo = append(todo, step{node{pos: p}, n.level})
		}
	}
	if dead != nil {
		for n := range seen {
			dead[n] = true
		}
	}
	return false, nil
}

// isAncestor is Repo.IsAncestor without a child.
func (r *Repo) isAncestor(ancestor, descendant gitmodels.CommitID) (bool, error) {
	h, err := r.history()
	if err != nil {
		return false, err
	}
	defer h.close()
	target, err := h.named(ancestor)
	if err != nil {
		return false, err
	}
	from, err := h.named(descendant)
	if err != nil {
		return false, err
	}
	return h.reaches(from, target, nil)
}

// containing is Repo.RefsContaining without a child.
func (r *Repo) containing(id gitmodels.CommitID, prefixes []string) ([]gitmodels.RefName, error) {
	refs, err := r.refsUnder(prefixes)
	if err != nil {
		return nil, err
	}
	h, err := r.history()
	if err != nil {
		return nil, err
	}
	defer h.close()
	target, err := h.named(id)
	if err != nil {
		return nil, err
	}
	var names []gitmodels.RefName
	dead := map[node]bool{}
	for name, at := range refs {
		tip, err := h.named(at)
		if err != nil {
			return nil, err
		}
		yes, err := h.reaches(tip, target, dead)
		if err != nil {
			return nil, err
		}
		if yes {
			names = append(names, gitmodels.RefName(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// count is the number of commits that include reaches and none of exclude does;
// it ends at most.
func (r *Repo) count(include gitmodels.CommitID, exclude []gitmodels.CommitID, most int) (int, error) {
	h, err := r.history()
	if err != nil {
		return 0, err
	}
	defer h.close()
	if len(exclude) == 1 {
		if n, ok, err := h.line(include, exclude[0]); err != nil || ok {
			return min(n, most), err
		}
	}
	c := counting{history: h, painted: map[node]paint{}}
	for _, id := range exclude {
		n, err := h.named(id)
		if err == nil {
			err = c.paint(n, true)
		}
		if err != nil {
			return 0, err
		}
	}
	n, err := h.named(include)
	if err == nil {
		err = c.paint(n, false)
	}
	if err != nil {
		return 0, err
	}
	return c.finish(most)
}

// line counts the commits from one down to another that is on its line of single
// parents; false when there is a merge between, or the line ends elsewhere.
func (h *history) line(from, to gitmodels.CommitID) (n int, ok bool, err error) {
	end, err := h.named(to)
	if err != nil {
		return 0, false, err
	}
	at, err := h.named(from)
	for ; err == nil && at != end && n < maxOutside/2; n++ {
		var parents []node
		if at.inside() {
			var info graphNode
			info, err = h.look(at.pos, maxLevel)
			for _, p := range info.parents {
				parents = append(parents, node{pos: p})
			}
		} else {
			parents, err = h.read(at)
		}
		if err != nil || len(parents) != 1 {
			return 0, false, err
		}
		at = parents[0]
	}
	return n, at == end, err
}

// counting paints the commits: hidden, or to be counted. Outside the graph first
// all that is hidden is painted, then the rest; inside, the highest level comes
// first, so that everything above a commit has been painted before it.
type counting struct {
	*history
	painted map[node]paint
	queue   levels // the painted ones of the graph that are not done
	live    int    // those of the queue that are not hidden
	n       int
}

type paint struct {
	hidden bool
	level  uint32 // 0 outside the graph
}

// paint paints start and what it reaches outside the graph, and hands what lies
// in the graph to the queue.
func (c *counting) paint(start node, hidden bool) error {
	for todo := []node{start}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if at.inside() {
			if err := c.enqueue(at.pos, maxLevel, hidden); err != nil {
				return err
			}
			continue
		}
		if _, done := c.painted[at]; done {
			continue
		}
		c.painted[at] = paint{hidden: hidden}
		if !hidden {
			c.n++
		}
		parents, err := c.read(at)
		if err != nil {
			return err
		}
		todo = append(todo, parents...)
	}
	return nil
}

// enqueue paints a commit of the graph; hidden paints over.
func (c *counting) enqueue(pos, below uint32, hidden bool) error {
	n := node{pos: pos}
	was, painted := c.painted[n]
	switch {
	case !painted:
		info, err := c.look(pos, below)
		if err != nil {
			return err
		}
		was.level = info.level
		heap.Push(&c.queue, leveled{pos, info})
		if !hidden {
			c.live++
		}
	case was.level >= below:
		return errUnusual
	case was.hidden || !hidden:
		return nil
	default:
		c.live--
	}
	c.painted[n] = paint{hidden, was.level}
	return nil
}

func (c *counting) finish(most int) (int, error) {
	for c.live > 0 && c.n < most {
		at := heap.Pop(&c.queue).(leveled)
		hidden := c.painted[node{pos: at.pos}].hidden
		if !hidden {
			c.n++
			c.live--
		}
		for _, p := range at.parents {
			if err := c.enqueue(p, at.level, hidden); err != nil {
				return 0, err
			}
		}
	}
	return min(c.n, most), nil
}

// levels is a heap with the highest level on top.
type levels []leveled

type leveled struct {
	pos uint32
	graphNode
}

func (l levels) Len() int           { return len(l) }
func (l levels) Less(i, j int) bool { return l[i].level > l[j].level }
func (l levels) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }
func (l *levels) Push(x any)        { *l = append(*l, x.(leveled)) }
func (l *levels) Pop() any {
	last := len(*l) - 1
	x := (*l)[last]
	*l = (*l)[:last]
	return x
}
