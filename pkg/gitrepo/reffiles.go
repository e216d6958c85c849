package gitrepo

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// maxLoose bounds the files and folders of refs that are read without git.
const maxLoose = 4096

// errUnusual says that a file is not as git writes it today: git has to be
// asked.
var errUnusual = errors.New("not as git writes it")

// ownRefs reports whether refs are plain files in one place: no reftable, and no
// linked work tree, which has some of its own.
func (r *Repo) ownRefs() bool { return r.refFormat == "files" && r.dir == r.common }

// refID reads the file of one ref, else packed-refs, in that order: git packs
// in the other one. Empty when there is none. A dangling id is returned as it
// stands.
func (r *Repo) refID(ref gitmodels.RefName) (gitmodels.CommitID, error) {
	if !r.ownRefs() || ref == "HEAD" {
		return "", errUnusual
	}
	content, known, err := r.looseRef(ref)
	if err != nil || !known {
		return "", errors.Join(err, errUnusual)
	}
	if content != "" {
		return r.refContent(content)
	}
	var id gitmodels.CommitID
	err = r.packedRefs(string(ref), func(name string, at gitmodels.CommitID) bool {
		if name == string(ref) {
			id = at
		}
		return name < string(ref)
	})
	return id, err
}

// refContent reads what git writes into the file of a ref that is not symbolic.
func (r *Repo) refContent(content string) (gitmodels.CommitID, error) {
	id := gitmodels.CommitID(strings.TrimSuffix(content, "\n"))
	if len(content) != r.idLength+1 || r.checkID(id) != nil {
		return "", errUnusual
	}
	return id, nil
}

// refsUnder are the refs that the prefixes mean, as Repo.Refs has it, if none of
// them is symbolic.
func (r *Repo) refsUnder(prefixes []string) (map[string]gitmodels.CommitID, error) {
	if !r.ownRefs() || len(prefixes) == 0 {
		return nil, errUnusual
	}
	all := map[string]gitmodels.CommitID{}
	for _, prefix := range prefixes {
		name, folder := strings.CutSuffix(prefix, "/")
		if checkRef(gitmodels.RefName(name)) != nil || name == "HEAD" {
			return nil, errUnusual
		}
		if !folder {
			id, err := r.refID(gitmodels.RefName(name))
			if err != nil {
				return nil, err
			}
			if id != "" {
				all[name] = id
				continue // nothing can lie below a ref
			}
		}
		refs, err := r.refsBelow(name + "/")
		if err != nil {
			return nil, err
		}
		maps.Copy(all, refs)
	}
	return all, nil
}

// refsBelow are the refs below the folder prefix, which ends with a slash.
func (r *Repo) refsBelow(prefix string) (map[string]gitmodels.CommitID, error) {
	loose := map[string]gitmodels.CommitID{}
	seen := 0
	if err := r.looseBelow(prefix, loose, &seen); err != nil {
		return nil, err
	}
	refs := map[string]gitmodels.CommitID{}
	err := r.packedRefs(prefix, func(name string, id gitmodels.CommitID) bool {
		if !strings.HasPrefix(name, prefix) {
			return name < prefix
		}
		refs[name] = id
		return len(refs) <= maxLoose
	})
	if len(refs) > maxLoose {
		return nil, errUnusual
	}
	maps.Copy(refs, loose)
	return refs, err
}

// looseBelow adds the refs that have a file of their own.
func (r *Repo) looseBelow(prefix string, refs map[string]gitmodels.CommitID, seen *int) error {
	entries, err := os.ReadDir(filepath.Join(r.common, filepath.FromSlash(prefix)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone with its last ref
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if *seen++; *seen > maxLoose {
			return errUnusual
		}
		name := prefix + e.Name()
		switch {
		case strings.HasSuffix(name, ".lock"):
			continue
		case checkRef(gitmodels.RefName(name)) != nil:
			return errUnusual
		case e.IsDir():
			if err := r.looseBelow(name+"/", refs, seen); err != nil {
				return err
			}
			continue
		}
		content, known, err := r.looseRef(gitmodels.RefName(name))
		if err != nil || !known {
			return errors.Join(err, errUnusual)
		}
		if content == "" {
			continue // packed or deleted since
		}
		if refs[name], err = r.refContent(content); err != nil {
			return err
		}
	}
	return nil
}

// packedRefs calls yield for the packed refs from the first that is not before
// the name from, or earlier, in order, until it returns false. A file that does
// not say it is sorted is errUnusual.
func (r *Repo) packedRefs(from string, yield func(name string, id gitmodels.CommitID) bool) error {
	f, err := os.OpenFile(filepath.Join(r.common, "packed-refs"), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return errors.Join(err, errUnusual)
	}
	p := packedFile{f, info.Size(), r.idLength}
	start, err := p.header()
	if err == nil {
		start, err = p.search(start, from)
	}
	if err != nil {
		return err
	}
	return p.read(start, yield)
}

// packedFile is an open packed-refs: a header, then lines `<id> <name>`, sorted
// by name, each of them followed by `^<id>` if it is a tag's.
type packedFile struct {
	in       io.ReaderAt
	size     int64
	idLength int
}

// window is how much is read at once: the longest lines fit.
const window = 8 << 10

// lines reads a window; cut is whether the file goes on behind it.
func (p packedFile) lines(at int64) (buf []byte, cut bool, err error) {
	buf = make([]byte, min(window, max(p.size-at, 0)))
	if _, err := io.ReadFull(io.NewSectionReader(p.in, at, int64(len(buf))), buf); err != nil {
		return nil, false, err // it shrank: somebody else writes it in place
	}
	return buf, at+int64(len(buf)) < p.size, nil
}

func (p packedFile) header() (int64, error) {
	buf, _, err := p.lines(0)
	if err != nil || len(buf) == 0 {
		return 0, err
	}
	line, _, ok := bytes.Cut(buf, []byte("\n"))
	if traits, found := bytes.CutPrefix(line, []byte("# pack-refs with:")); !ok || !found || !slices.Contains(strings.Fields(string(traits)), "sorted") {
		return 0, errUnusual
	}
	return int64(len(line)) + 1, nil
}

// search returns the start of a line that is not behind the first name ≥ from.
func (p packedFile) search(low int64, from string) (int64, error) {
	for high := p.size; high-low > window; {
		mid := low + (high-low)/2
		buf, _, err := p.lines(mid)
		if err != nil {
			return 0, err
		}
		// The window begins within a line; the next that is a ref's counts.
		name, start := "", 0
		for name == "" {
			i := bytes.IndexByte(buf[start:], '\n')
			if i < 0 {
				return 0, errUnusual
			}
			start += i + 1
			if start == len(buf) {
				break
			}
			line, _, whole := bytes.Cut(buf[start:], []byte("\n"))
			if whole && line[0] != '^' && len(line) > p.idLength {
				name = string(line[p.idLength+1:])
			}
		}
		if name == "" || name >= from {
			high = mid
		} else {
			low = mid + int64(start)
		}
	}
	return low, nil
}

func (p packedFile) read(at int64, yield func(name string, id gitmodels.CommitID) bool) error {
	for at < p.size {
		buf, cut, err := p.lines(at)
		if err != nil {
			return err
		}
		used := 0
		for used < len(buf) {
			line, _, whole := bytes.Cut(buf[used:], []byte("\n"))
			if !whole && cut && used > 0 {
				break
			}
			used += len(line) + 1
			if whole && len(line) > 0 && line[0] == '^' {
				continue
			}
			id, name, ok := strings.Cut(string(line), " ")
			parsed, err := gitmodels.ParseCommitID(id)
			if !whole || !ok || err != nil || len(id) != p.idLength {
				return errUnusual
			}
			if !yield(name, parsed) {
				return nil
			}
		}
		at += int64(used)
	}
	return nil
}
