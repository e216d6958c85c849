package gitrepo

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// graph reads a commit-graph, of one file or a chain of them (see
// gitformat-commit-graph(5)): which commits there are, their parents, and their
// topological level, which is above that of every ancestor. It reads a few bytes
// at a time where it needs them, so that a file of a million commits costs
// nothing to open, and one that is replaced or cut short meanwhile is an error
// and no fault.
//
// The corrected dates that newer files hold beside the levels are left alone:
// the file keeps 34 bits of a date, so a commit from a far future reads as an
// old one, and would be taken for one that cannot reach its own parents.
type graph struct {
	layers []*layer // the base first
	size   uint32   // commits of all layers
	hash   int      // bytes of an id
}

// layer is one file. A position counts through all layers, from first on.
type layer struct {
	file  *os.File
	first uint32
	count uint32
	chunk map[string]section
}

// section is where a chunk lies in its file.
type section struct{ at, size int64 }

const (
	maxLayers   = 64
	noParent    = 0x70000000
	moreParents = 0x80000000 // in the second parent: an index into EDGE; in EDGE: the last
	maxLevel    = 0x3fffffff // a level that is this, or above it
	maxOctopus  = 1 << 10
)

// graphNode is what a graph knows of a commit.
type graphNode struct {
	parents []uint32
	level   uint32
}

// openGraph opens the first commit-graph that the object folders hold; nil when
// there is none. Anything that git would complain about is errUnusual.
func openGraph(folders []string, hash int) (*graph, error) {
	for _, dir := range folders {
		g := &graph{hash: hash}
		err := g.add(filepath.Join(dir, "info", "commit-graph"), nil)
		if errors.Is(err, fs.ErrNotExist) {
			err = g.chain(dir, folders)
		}
		switch {
		case err == nil:
			return g, nil
		case !errors.Is(err, fs.ErrNotExist):
			g.close()
			return nil, err
		}
	}
	return nil, nil
}

// chain opens the layers that the folder's chain file lists; each lies in one of
// the folders.
func (g *graph) chain(dir string, folders []string) error {
	list, err := os.ReadFile(filepath.Join(dir, "info", "commit-graphs", "commit-graph-chain"))
	if err != nil {
		return err
	}
	var base []byte
	for line := range strings.Lines(string(list)) {
		name := strings.TrimSuffix(line, "\n")
		id, err := hex.DecodeString(name)
		if err != nil || len(id) != g.hash || len(g.layers) == maxLayers {
			return errUnusual
		}
		err = fs.ErrNotExist
		for _, d := range folders {
			if err = g.add(filepath.Join(d, "info", "commit-graphs", "graph-"+name+".graph"), base); !errors.Is(err, fs.ErrNotExist) {
				break
			}
		}
		if err != nil {
			return fmt.Errorf("%w: layer %s: %s", errUnusual, name, err)
		}
		base = append(base, id...)
	}
	if len(g.layers) == 0 {
		return errUnusual
	}
	return nil
}

// add opens one file on top of the layers named by base.
func (g *graph) add(path string, base []byte) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	l := &layer{file: f, first: g.size, chunk: map[string]section{}}
	if err := l.open(g.hash, base); err != nil {
		f.Close()
		return err
	}
	if l.count > maxLevel-g.size {
		f.Close()
		return errUnusual
	}
	g.layers = append(g.layers, l)
	g.size += l.count
	return nil
}

// open reads the header and the table of chunks, and checks their sizes.
func (l *layer) open(hash int, base []byte) error {
	info, err := l.file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return errors.Join(err, errUnusual)
	}
	head := make([]byte, 8)
	if err := l.read(head, 0); err != nil {
		return err
	}
	version := byte(1) // SHA-1
	if hash == 32 {
		version = 2
	}
	if string(head[:4]) != "CGPH" || head[4] != 1 || head[5] != version || int(head[7]) != len(base)/hash {
		return errUnusual
	}
	table := make([]byte, 12*(int(head[6])+1))
	if err := l.read(table, 8); err != nil {
		return err
	}
	for ; len(table) >= 24; table = table[12:] {
		at, end := binary.BigEndian.Uint64(table[4:]), binary.BigEndian.Uint64(table[16:])
		if at > end || end > uint64(info.Size()) {
			return errUnusual
		}
		l.chunk[string(table[:4])] = section{int64(at), int64(end - at)}
	}
	last := make([]byte, 4)
	fanout := l.chunk["OIDF"]
	if fanout.size != 1024 {
		return errUnusual
	}
	if err := l.read(last, fanout.at+1020); err != nil {
		return err
	}
	l.count = binary.BigEndian.Uint32(last)
	n := int64(l.count)
	if l.chunk["OIDL"].size != n*int64(hash) || l.chunk["CDAT"].size != n*int64(hash+16) || l.chunk["BASE"].size != int64(len(base)) {
		return errUnusual
	}
	below := make([]byte, len(base))
	if err := l.read(below, l.chunk["BASE"].at); err != nil || !bytes.Equal(below, base) {
		return errors.Join(err, errUnusual)
	}
	return nil
}

func (l *layer) read(buf []byte, at int64) error {
	_, err := l.file.ReadAt(buf, at)
	return err
}

func (g *graph) close() {
	for _, l := range g.layers {
		l.file.Close()
	}
}

// find returns the position of a commit.
func (g *graph) find(id string) (pos uint32, ok bool, err error) {
	for i := len(g.layers) - 1; i >= 0; i-- {
		l := g.layers[i]
		pos, ok, err := sortedIDs{l.file, l.chunk["OIDF"].at, l.chunk["OIDL"].at, l.count}.find(id)
		if err != nil || ok {
			return l.first + pos, ok, err
		}
	}
	return 0, false, nil
}

// layer finds the file that holds a position.
func (g *graph) layer(pos uint32) (*layer, error) {
	for i := len(g.layers) - 1; i >= 0; i-- {
		if l := g.layers[i]; pos >= l.first && pos-l.first < l.count {
			return l, nil
		}
	}
	return nil, errUnusual
}

// id is the id of the commit at a position.
func (g *graph) id(pos uint32) (gitmodels.CommitID, error) {
	l, err := g.layer(pos)
	if err != nil {
		return "", err
	}
	raw := make([]byte, g.hash)
	err = l.read(raw, l.chunk["OIDL"].at+int64(pos-l.first)*int64(g.hash))
	return gitmodels.CommitID(hex.EncodeToString(raw)), err
}

// node reads the commit at a position.
func (g *graph) node(pos uint32) (graphNode, error) {
	l, err := g.layer(pos)
	if err != nil {
		return graphNode{}, err
	}
	var buf [48]byte
	record := buf[:g.hash+16]
	if err := l.read(record, l.chunk["CDAT"].at+int64(pos-l.first)*int64(len(record))); err != nil {
		return graphNode{}, err
	}
	record = record[g.hash:]
	first, second := binary.BigEndian.Uint32(record), binary.BigEndian.Uint32(record[4:])
	n := graphNode{level: binary.BigEndian.Uint32(record[8:]) >> 2}
	if n.level == 0 || n.level == maxLevel {
		return n, errUnusual // never computed, or too many to count
	}
	if first != noParent {
		n.parents = append(n.parents, first)
	}
	switch {
	case second == noParent:
	case first == noParent:
		return n, errUnusual
	case second&moreParents == 0:
		n.parents = append(n.parents, second)
	default:
		var err error
		if n.parents, err = l.octopus(n.parents, int64(second&^moreParents)); err != nil {
			return n, err
		}
	}
	for _, p := range n.parents {
		if p >= l.first+l.count {
			return n, errUnusual
		}
	}
	return n, nil
}

// octopus reads the parents from the second on.
func (l *layer) octopus(parents []uint32, index int64) ([]uint32, error) {
	edges := l.chunk["EDGE"]
	var buf [4]byte
	for ; len(parents) < maxOctopus && index*4+4 <= edges.size; index++ {
		if err := l.read(buf[:], edges.at+index*4); err != nil {
			return nil, err
		}
		edge := binary.BigEndian.Uint32(buf[:])
		parents = append(parents, edge&^moreParents)
		if edge&moreParents != 0 {
			return parents, nil
		}
	}
	return nil, errUnusual
}

// sortedIDs is the list of ids in a commit-graph or a pack's index: a table of
// 256 counts by first byte, and the sorted ids.
type sortedIDs struct {
	file  *os.File
	table int64 // offset of the counts
	ids   int64 // offset of the ids
	count uint32
}

// find is a binary search that reads what it compares.
func (s sortedIDs) find(id string) (pos uint32, ok bool, err error) {
	var counts [8]byte
	first, buf := int64(id[0]), counts[:]
	if first == 0 {
		buf = counts[4:]
	}
	if _, err := s.file.ReadAt(buf, s.table+4*first-int64(len(buf)-4)); err != nil {
		return 0, false, err
	}
	low, high := binary.BigEndian.Uint32(counts[:]), binary.BigEndian.Uint32(counts[4:])
	if low > high || high > s.count {
		return 0, false, errUnusual
	}
	other := make([]byte, len(id))
	for low < high {
		mid := low + (high-low)/2
		if _, err := s.file.ReadAt(other, s.ids+int64(mid)*int64(len(id))); err != nil {
			return 0, false, err
		}
		switch c := strings.Compare(id, string(other)); {
		case c == 0:
			return mid, true, nil
		case c < 0:
			high = mid
		default:
			low = mid + 1
		}
	}
	return 0, false, nil
}
