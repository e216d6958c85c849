package gitrepo

import (
	"fmt"
	"path/filepath"
	"testing"
)

// The child is one, however many files are read.
func BenchmarkFiles(b *testing.B) {
	r := newBare(b)
	files, paths := content{}, []string{}
	for i := range 5 {
		paths = append(paths, fmt.Sprintf("d%d/e/f", i))
		files[paths[i]] = "content"
	}
	id := commit(b, r, files)
	for b.Loop() {
		if _, err := r.Files(ctx, id, paths); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIsAncestor(b *testing.B) {
	r := newBare(b)
	first := commit(b, r, content{"f": "1"})
	next := commit(b, r, content{"f": "2"}, first)
	for b.Loop() {
		if yes, err := r.IsAncestor(ctx, first, next); err != nil || !yes {
			b.Fatal(yes, err)
		}
	}
}

// Ten thousand files in a thousand folders.
func BenchmarkExport(b *testing.B) {
	r := newBare(b)
	shared := blob(b, r, "some content\n")
	var folder, root []treeEntry
	for i := range 10 {
		folder = append(folder, treeEntry{modeFile | 0o644, fmt.Sprintf("f%d", i), shared})
	}
	for i := range 1000 {
		folder[0].name = fmt.Sprintf("e%04d", i)
		root = append(root, treeEntry{modeTree, fmt.Sprintf("d%04d", i), rawTree(b, r, folder...)})
	}
	id := commitTree(b, r, rawTree(b, r, root...), "large")
	parent := b.TempDir()
	n := 0
	for b.Loop() {
		n++
		if _, err := r.Export(ctx, id, filepath.Join(parent, fmt.Sprint(n))); err != nil {
			b.Fatal(err)
		}
	}
}

// One more note beside ten thousand.
func BenchmarkWriteNote(b *testing.B) {
	r := newBare(b)
	ids := manyNotes(b, r, 10_000)
	n := 0
	for b.Loop() {
		n++
		if err := r.WriteNote(ctx, notesRef, ids[n%len(ids)], fmt.Sprintf("note %d\n", n)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNotes(b *testing.B) {
	r := newBare(b)
	manyNotes(b, r, 10_000)
	for b.Loop() {
		if notes, err := r.Notes(ctx, notesRef); err != nil || len(notes) != 10_000 {
			b.Fatal(len(notes), err)
		}
	}
}
