package gitrepo

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// maxWarnings bounds each sort of warning of an export.
const maxWarnings = 20

// lfsMagic begins a pointer file of Git LFS (its specification, v1), which is
// below 1024 bytes.
var lfsMagic = []byte("version https://git-lfs.github.com/spec/v1\n")

// members checks what an archive holds, one after the other, and remembers what
// there is to say about it.
type members struct {
	prefix     string                 // of the folder that counts, with a slash, or empty
	keep       func(path string) bool // nil: everything
	limit      exportLimit
	submodules map[string]bool
	links      map[string]string // path → target
	seen       map[string]string // path with its case folded → path
	entries    int
	report     gitmodels.ExportReport
	warnings   map[string][]string // by sort
	buffer     []byte
}

func newMembers(limit exportLimit, submodules map[string]bool) *members {
	return &members{limit: limit, submodules: submodules, links: map[string]string{}, seen: map[string]string{},
		warnings: map[string][]string{}, buffer: make([]byte, 256<<10)}
}

// unpacker writes the members of an archive below root. Links are written last,
// when it is known where each leads, so that no member is ever written through
// one.
type unpacker struct {
	*members
	root    *os.Root
	folders map[string]bool

	// The folder of the last file, kept open: a tree comes folder by folder.
	current     *os.Root
	currentPath string
}

func newUnpacker(root *os.Root, limit exportLimit, submodules map[string]bool) *unpacker {
	return &unpacker{members: newMembers(limit, submodules), root: root, folders: map[string]bool{".": true},
		current: root, currentPath: "."}
}

// unpack reads the archive to its end.
func (u *unpacker) unpack(ctx context.Context, in *tar.Reader) error {
	defer u.leave()
	return u.read(ctx, in, u.member)
}

// read gives each member to take, by its path below the prefix.
func (m *members) read(ctx context.Context, in *tar.Reader, take func(*tar.Header, io.Reader) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue // the commit id
		}
		name, ok := strings.CutPrefix(h.Name, m.prefix)
		if h.Name = strings.TrimSuffix(name, "/"); !ok || h.Name == "" || m.keep != nil && h.Typeflag != tar.TypeDir && !m.keep(h.Name) {
			continue
		}
		if err := m.admit(h.Name, h); err != nil {
			return err
		}
		if err := take(h, in); err != nil {
			return err
		}
	}
}

func (u *unpacker) member(h *tar.Header, in io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return u.folder(h.Name)
	case tar.TypeSymlink:
		return u.folder(path.Dir(h.Name))
	}
	return u.file(h.Name, h, in)
}

// admit checks a member as if no survey had been made: what was surveyed are
// trees, what is written is the archive. Links are kept for the end.
func (m *members) admit(name string, h *tar.Header) error {
	if err := m.admitPath(name); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if m.submodules[m.prefix+name] {
			m.warn("submodule", fmt.Sprintf("submodule %s is an empty folder: its files are not part of the commit", show(name)))
		}
		return nil
	case tar.TypeSymlink:
		m.links[name] = h.Linkname
		return nil
	case tar.TypeReg:
		if h.Size > m.limit.FileSize {
			return refuse(name, "it is %d bytes, the limit is %d", h.Size, m.limit.FileSize)
		}
		if m.report.Bytes += h.Size; m.report.Bytes > m.limit.Bytes {
			return refuse(name, "the files before it and this one are over the limit of %d bytes", m.limit.Bytes)
		}
		return nil
	}
	return refuse(name, "the archive lists it as type %q", h.Typeflag)
}

func (m *members) admitPath(name string) error {
	for part := range strings.SplitSeq(name, "/") {
		if err := checkName(part); err != nil {
			return refuse(name, "%v", err)
		}
	}
	if err := checkBounds(name, strings.Count(name, "/")+1, m.limit); err != nil {
		return err
	}
	if m.entries++; m.entries > m.limit.Entries {
		return refuse(name, "the archive has more than %d members", m.limit.Entries)
	}
	folded := strings.ToLower(name)
	switch other, ok := m.seen[folded]; {
	case !ok:
		m.seen[folded] = name
	case other == name:
		return refuse(name, "the archive lists it twice")
	default:
		m.warn("case", fmt.Sprintf("%s and %s differ only in case", show(other), show(name)))
	}
	return nil
}

// folder makes sure that a folder and those above it are there. A file or link
// in its place is refused by Mkdir or by the entry in links.
func (u *unpacker) folder(name string) error {
	if u.folders[name] {
		return nil
	}
	if _, ok := u.links[name]; ok {
		return refuse(name, "it is a link and a folder at once")
	}
	if err := u.folder(path.Dir(name)); err != nil {
		return err
	}
	if err := u.root.Mkdir(name, 0o755); err != nil {
		return err
	}
	u.folders[name] = true
	return u.root.Chmod(name, 0o755) // whatever the umask
}

func (u *unpacker) file(name string, h *tar.Header, in io.Reader) error {
	dir, err := u.enter(path.Dir(name))
	if err != nil {
		return err
	}
	f, err := dir.OpenFile(path.Base(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = u.content(f, name, h, in)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

func (u *unpacker) content(f *os.File, name string, h *tar.Header, in io.Reader) error {
	if err := u.copy(f, name, h, in); err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if h.Mode&0o100 != 0 {
		mode = 0o755
	}
	return f.Chmod(mode)
}

// copy writes the content of a file to out.
func (m *members) copy(out io.Writer, name string, h *tar.Header, in io.Reader) error {
	head := m.buffer[:min(h.Size, int64(len(m.buffer)))]
	if _, err := io.ReadFull(in, head); err != nil {
		return err
	}
	if h.Size < 1024 && bytes.HasPrefix(head, lfsMagic) {
		m.warn("lfs", fmt.Sprintf("%s is a Git LFS pointer, not the file itself", show(name)))
	}
	if _, err := out.Write(head); err != nil {
		return err
	}
	if h.Size > int64(len(head)) {
		if _, err := io.CopyBuffer(onlyWriter{out}, in, m.buffer); err != nil {
			return err
		}
	}
	m.report.Files++
	return nil
}

// onlyWriter hides ReadFrom, so that io.CopyBuffer uses the buffer it is given.
type onlyWriter struct{ io.Writer }

// enter opens the folder that the next file goes to, unless it is open already.
func (u *unpacker) enter(dir string) (*os.Root, error) {
	if dir == u.currentPath {
		return u.current, nil
	}
	if err := u.folder(dir); err != nil {
		return nil, err
	}
	next, err := u.root.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	u.leave()
	u.current, u.currentPath = next, dir
	return next, nil
}

func (u *unpacker) leave() {
	if u.current != u.root {
		u.current.Close()
	}
	u.current, u.currentPath = u.root, "."
}

// finish writes the links that stay inside.
func (u *unpacker) finish() error {
	return u.inside(func(path, target string) error { return u.root.Symlink(target, path) })
}

// inside gives the links that stay inside the tree to write, by path.
func (m *members) inside(write func(path, target string) error) error {
	steps := maxSteps
	for _, p := range slices.Sorted(maps.Keys(m.links)) {
		why := leads(m.links, p, m.limit.Depth, &steps)
		if steps < 0 {
			return refuse(p, "the links of the commit lead through each other too often")
		}
		if why != "" {
			m.warn("link", fmt.Sprintf("link %s is left out: its target %s %s", show(p), show(m.links[p]), why))
			continue
		}
		if err := write(p, m.links[p]); err != nil {
			return err
		}
	}
	return nil
}

// leads says why a link may not be written: it is absolute, or follows, also by
// way of other links, out of the tree or in a circle. It walks as the kernel
// does: a `..` behind a link goes up from where the link led. steps is what is
// left of the work that all links together may make; below zero the answer does
// not count.
func leads(links map[string]string, link string, depth int, steps *int) (why string) {
	var at []string // the folder reached so far
	if dir := path.Dir(link); dir != "." {
		at = strings.Split(dir, "/")
	}
	todo := []string{path.Base(link)}
	for followed := 0; len(todo) > 0; {
		if *steps--; *steps < 0 {
			return ""
		}
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return "leads out of the tree"
			}
			at = at[:len(at)-1]
			continue
		}
		if len(at) == depth {
			return "leads too deep"
		}
		here := append(slices.Clone(at), part)
		target, ok := links[strings.Join(here, "/")]
		switch followed++; {
		case !ok:
			at, followed = here, followed-1
		case strings.HasPrefix(target, "/") && followed == 1:
			return "is absolute"
		case strings.HasPrefix(target, "/"):
			return "leads to an absolute link"
		case followed > maxFollowed:
			return "leads in a circle"
		default:
			todo = append(strings.Split(target, "/"), todo...)
		}
	}
	return ""
}

const (
	// maxFollowed is how many links Linux follows in one path
	// (path_resolution(7)).
	maxFollowed = 40
	// maxSteps is a second or two of walking; the links of a real repository
	// take a few thousand.
	maxSteps = 5_000_000
)

func (m *members) warn(sort, text string) {
	m.warnings[sort] = append(m.warnings[sort], text)
	if n := len(m.warnings[sort]); n > maxWarnings+1 {
		m.warnings[sort] = m.warnings[sort][:maxWarnings+1]
	}
}

func (m *members) result() gitmodels.ExportReport {
	for _, sort := range []string{"submodule", "link", "lfs", "case"} {
		w := m.warnings[sort]
		if len(w) > maxWarnings {
			w = append(w[:maxWarnings], "and more of the same")
		}
		m.report.Warnings = append(m.report.Warnings, w...)
	}
	return m.report
}

func show(name string) string { return gitmodels.Printable(name, 120) }
