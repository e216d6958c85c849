package dockerfile

import (
	"context"
	"path"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline"
)

// what a source turned out to be.
type what int

const (
	unknown   what = iota // not looked at to the end
	absent                //
	present               //
	ignored               // all that it means is left out of the context
	link                  // it, or a folder on its way, is a symbolic link
	submodule             // likewise
)

// found is what a source turned out to be, and where.
type found struct {
	what what
	at   string // of link and submodule: its path in the context
	by   string // of ignored: file, line and pattern in words
	near string // of absent: a name in its folder that looks alike
}

// folder is the context. Each folder in it is listed once, and the work that a
// stranger's names and patterns make is counted: when it is used up, the rest is
// unknown.
type folder struct {
	tree    pipeline.Tree
	root    string
	lists   map[string]*list // by path in the context; "": its root
	entries int              // that may still be listed
	work    int              // that may still be done for matching
	ignore  *ignore
}

// list is what one folder holds.
type list struct {
	order []gitmodels.TreeEntry
	kinds map[string]gitmodels.FileKind
}

// open looks at the context's folder and its file of ignored paths.
func (c *checker) open(ctx context.Context) error {
	c.folder = &folder{tree: c.image.Tree, root: c.image.Context, entries: maxEntries, work: maxMatching,
		lists: map[string]*list{}}
	var err error
	c.folder.ignore, err = c.readIgnore(ctx)
	return err
}

// list is what a folder of the context holds; ok is false when that is more than
// is looked at. Names that no path can have are left out. A deep folder counts
// for more: the way to it is walked.
func (f *folder) list(ctx context.Context, dir string) (l *list, ok bool, err error) {
	if l, ok := f.lists[dir]; ok {
		return l, true, nil
	}
	if f.entries -= 1 + strings.Count(dir, "/"); f.entries < 0 || len(dir) > maxPath {
		return nil, false, nil
	}
	entries, err := f.tree.List(ctx, path.Join(f.root, dir), f.entries+1)
	if err != nil {
		return nil, false, err
	}
	if f.entries -= len(entries); f.entries < 0 {
		return nil, false, nil
	}
	l = &list{kinds: make(map[string]gitmodels.FileKind, len(entries))}
	for _, e := range entries {
		if e.Name != "" && e.Name != "." && e.Name != ".." && !strings.Contains(e.Name, "/") {
			l.kinds[e.Name], l.order = e.Kind, append(l.order, e)
		}
	}
	f.lists[dir] = l
	return l, true, nil
}

// find looks a clean path or pattern up.
func (f *folder) find(ctx context.Context, rel string) (found, error) {
	return f.below(ctx, "", strings.Split(rel, "/"))
}

// below looks up what is left of a path in the folder dir.
func (f *folder) below(ctx context.Context, dir string, parts []string) (found, error) {
	l, ok, err := f.list(ctx, dir)
	if err != nil || !ok {
		return found{what: unknown}, err
	}
	part := parts[0]
	if wildcards(part) {
		return f.matching(ctx, dir, l, parts)
	}
	if strings.Contains(part, `\`) {
		return found{what: unknown}, nil // builders do not agree on escapes outside of patterns
	}
	kind, there := l.kinds[part]
	if !there {
		return found{what: absent, near: f.near(dir, l, part, parts[1:])}, nil
	}
	return f.entry(ctx, path.Join(dir, part), kind, parts[1:])
}

// entry goes on at a name that is there.
func (f *folder) entry(ctx context.Context, at string, kind gitmodels.FileKind, rest []string) (found, error) {
	switch {
	case kind == gitmodels.KindLink:
		return found{what: link, at: at}, nil
	case kind == gitmodels.KindSubmodule:
		return found{what: submodule, at: at}, nil
	case len(rest) == 0:
		return f.included(ctx, at, kind)
	case kind == gitmodels.KindFolder:
		return f.below(ctx, at, rest)
	}
	return found{what: absent}, nil // a file has nothing below it
}

// matching looks up every name that the pattern parts[0] means, until one is in
// the context. What is a link or submodule counts as there: the others may have
// what is wanted.
func (f *folder) matching(ctx context.Context, dir string, l *list, parts []string) (found, error) {
	best := found{what: absent}
	for _, e := range l.order {
		if !f.spend(len(e.Name) * len(parts[0])) {
			return found{what: unknown}, nil
		}
		if ok, err := path.Match(parts[0], e.Name); err != nil {
			return found{what: unknown}, nil // a class that holds a slash
		} else if !ok {
			continue
		}
		got, err := f.entry(ctx, path.Join(dir, e.Name), e.Kind, parts[1:])
		switch {
		case err != nil:
			return got, err
		case got.what == ignored:
			best = got
		case got.what != absent:
			return found{what: present}, nil
		}
	}
	return best, nil
}

// included reports whether a file, or anything of a folder, is left in the
// context.
func (f *folder) included(ctx context.Context, at string, kind gitmodels.FileKind) (found, error) {
	if !f.spend(len(at) * f.ignore.size) {
		return found{what: unknown}, nil
	}
	if !f.ignore.matches(at) {
		return found{what: present}, nil
	}
	if kind == gitmodels.KindFolder && f.ignore.exceptions {
		l, ok, err := f.list(ctx, at)
		if err != nil || !ok {
			return found{what: unknown}, err
		}
		for _, e := range l.order {
			got, err := f.included(ctx, path.Join(at, e.Name), e.Kind)
			if err != nil || got.what != ignored {
				return got, err
			}
		}
	}
	return found{what: ignored, by: f.ignore.by(at)}, nil
}

// spend counts work; false: there is none left to do.
func (f *folder) spend(n int) bool {
	f.work -= n + 1
	return f.work >= 0
}

// near is a name that looks like the one that is not there.
func (f *folder) near(dir string, l *list, part string, rest []string) string {
	candidates := make([]string, 0, len(l.order))
	for _, e := range l.order {
		if f.spend(len(e.Name) * len(part)) {
			candidates = append(candidates, e.Name)
		}
	}
	near := gitmodels.Suggest(part, candidates)
	if near == "" {
		return ""
	}
	return path.Join(append([]string{dir, near}, rest...)...)
}
