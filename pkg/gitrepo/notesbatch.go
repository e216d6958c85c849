package gitrepo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// notes are those of the notes tree that root names, sorted by commit. Each level
// of its folders, and then the texts, are asked for all at once: a repository has
// as many notes as it has outcomes.
func (o *objects) notes(root string, idLength int) ([]Note, error) {
	type folder struct{ id, prefix string }
	var notes []Note
	var blobs []string // of each note, by its place in notes
	for level := []folder{{root, ""}}; len(level) > 0; {
		names := make([]string, len(level))
		for i, f := range level {
			names[i] = f.id
		}
		var below []folder
		err := o.many(names, "tree", maxTree, func(i int, obj object) error {
			if obj.size > maxTree {
				return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "read notes",
					Message: fmt.Sprintf("tree %s is %d bytes, the limit is %d", obj.id, obj.size, maxTree)}
			}
			entries, err := treeData{obj.id, obj.data, idLength / 2}.entries()
			for _, e := range entries {
				name := level[i].prefix + e.name
				switch {
				case e.is(modeTree) && len(e.name) == 2 && isHex(e.name) && len(name) < idLength:
					below = append(below, folder{e.id, name})
				case e.is(modeFile) && len(name) == idLength && isHex(name):
					notes = append(notes, Note{Commit: gitmodels.CommitID(name)})
					blobs = append(blobs, e.id)
				}
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		level = below
	}
	err := o.many(blobs, "blob", MaxNote, func(i int, obj object) error {
		notes[i].Text = string(obj.data)
		return nil
	})
	slices.SortFunc(notes, func(a, b Note) int { return strings.Compare(string(a.Commit), string(b.Commit)) })
	return notes, err
}

// many reads the objects that names stand for, all of one kind and of each at
// most limit bytes, and gives them to each in order, by their place in names. The
// names are written while the answers are read, so git never waits for us; a call
// of each must not use o.
func (o *objects) many(names []string, kind string, limit int64, each func(i int, obj object) error) error {
	for done := 0; done < len(names); {
		if err := o.start(); err != nil {
			return err
		}
		in, rest, wrote := o.in, names[done:], make(chan struct{})
		go func() {
			defer close(wrote)
			w := bufio.NewWriterSize(in, 32<<10)
			for _, name := range rest {
				w.WriteString(name)
				w.WriteByte('\n')
			}
			_ = w.Flush() // what is not written gets no answer, and that is an error
		}()
		n, err := o.answers(rest, kind, limit, func(i int, obj object) error { return each(done+i, obj) })
		if err != nil {
			o.close() // which also ends the writer
		}
		<-wrote
		if err != nil {
			return err
		}
		done += n
	}
	return nil
}

// answers reads what was asked for. It ends early, with how many were read, behind
// an object that is larger than limit: the child is ended then, as its content is
// still to come.
func (o *objects) answers(names []string, kind string, limit int64, each func(i int, obj object) error) (int, error) {
	for i, name := range names {
		obj, err := o.reply(name)
		switch {
		case errors.Is(err, errMissing):
			return i, &gitmodels.Error{Kind: gitmodels.NotFound, Op: "read object",
				Message: fmt.Sprintf("the repository has no %s %s", kind, gitmodels.Printable(name, 100))}
		case err != nil:
			return i, err
		case obj.kind != kind:
			return i, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "read object",
				Message: fmt.Sprintf("%s is a %s, want a %s", obj.id, obj.kind, kind)}
		}
		obj.data = make([]byte, min(obj.size, limit))
		if _, err = io.ReadFull(o.out, obj.data); err == nil && obj.size <= limit {
			_, err = o.out.Discard(1) // the line feed behind it
		}
		if err != nil {
			return i, o.fail(fmt.Errorf("read %s: %w", obj.id, err))
		}
		if err := each(i, obj); err != nil {
			return i, err
		}
		if obj.size > limit {
			o.close()
			return i + 1, nil
		}
	}
	return len(names), nil
}
