package gitrepo

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// store reads single small objects out of a repository's object folders without
// a child: loose ones, and those of packs by way of their index. It is for the
// few commits that no commit-graph knows yet, and the few files that a hook looks
// at. Its ids are bytes, not digits. Whatever it does not understand, or finds
// inconsistent, is errUnusual; what it returns has the id that was asked for.
type store struct {
	folders []string
	hash    int
	packs   []*pack // opened when the first loose object is missing
	opened  bool
	zlib    io.ReadCloser
}

const (
	maxFolders  = 20
	maxNested   = 5             // alternates of alternates, as git has it
	maxPacks    = 100           // of all folders
	maxRead     = 1<<20 + 1<<16 // bytes of one object, packed or not
	maxAltsFile = 1 << 16
)

// store finds the folders: that of the push being judged first, and the
// alternates of each.
func (r *Repo) store() (*store, error) {
	s := &store{hash: r.idLength / 2}
	own, _ := lookup(r.quarantine, "GIT_OBJECT_DIRECTORY")
	if own == "" {
		own = filepath.Join(r.common, "objects")
	}
	if err := s.add(own, 0); err != nil {
		return nil, err
	}
	list, _ := lookup(r.quarantine, "GIT_ALTERNATE_OBJECT_DIRECTORIES")
	for dir := range strings.SplitSeq(list, ":") {
		if dir == "" {
			continue
		}
		if err := s.add(dir, 1); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// add adds a folder and what its info/alternates names.
func (s *store) add(dir string, depth int) error {
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() || !filepath.IsAbs(dir) || depth > maxNested || len(s.folders) == maxFolders {
		return errUnusual // git says what is wrong with it
	}
	s.folders = append(s.folders, dir)
	list, err := os.ReadFile(filepath.Join(dir, "info", "alternates"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || len(list) > maxAltsFile {
		return errors.Join(err, errUnusual)
	}
	for line := range strings.Lines(string(list)) {
		switch line = strings.TrimSuffix(line, "\n"); {
		case line == "":
			continue
		case line[0] == '"', line[0] == '#':
			return errUnusual
		case line[0] != '/':
			line = filepath.Join(dir, line)
		}
		if err := s.add(line, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) close() {
	for _, p := range s.packs {
		p.close()
	}
}

// has reports whether an object of that id is there.
func (s *store) has(id string) (bool, error) {
	for _, dir := range s.folders {
		if _, err := os.Stat(loosePathIn(dir, id)); err == nil {
			return true, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	p, _, err := s.packed(id)
	return p != nil, err
}

func loosePathIn(dir, id string) string {
	digits := hex.EncodeToString([]byte(id))
	return filepath.Join(dir, digits[:2], digits[2:])
}

// parents reads a commit's parents.
func (s *store) parents(id string) ([]string, error) {
	kind, body, err := s.object(id)
	if err != nil {
		return nil, err
	}
	if kind != "commit" {
		return nil, errUnusual
	}
	line, rest, ok := bytes.Cut(body, []byte("\n"))
	if _, isID := s.field(line, "tree "); !ok || !isID {
		return nil, errUnusual
	}
	var parents []string
	for {
		line, rest, ok = bytes.Cut(rest, []byte("\n"))
		if !bytes.HasPrefix(line, []byte("parent ")) {
			return parents, nil
		}
		parent, isID := s.field(line, "parent ")
		if !ok || !isID {
			return nil, errUnusual
		}
		parents = append(parents, parent)
	}
}

// field reads `<key><hexadecimal id>`.
func (s *store) field(line []byte, key string) (string, bool) {
	digits, ok := bytes.CutPrefix(line, []byte(key))
	id, err := hex.DecodeString(string(digits))
	return string(id), ok && err == nil && len(id) == s.hash
}

// sum is the id of an object of that kind and body.
func (s *store) sum(kind string, body []byte) string {
	whole := append([]byte(kind+" "+strconv.Itoa(len(body))+"\x00"), body...)
	if s.hash == sha256.Size {
		sum := sha256.Sum256(whole)
		return string(sum[:])
	}
	sum := sha1.Sum(whole)
	return string(sum[:])
}

// object reads the kind and the body of an object of at most maxRead bytes.
func (s *store) object(id string) (kind string, body []byte, err error) {
	kind, body, err = s.find(id)
	if err == nil && s.sum(kind, body) != id {
		err = fmt.Errorf("%w: the object %x is another", errUnusual, id)
	}
	return kind, body, err
}

func (s *store) find(id string) (kind string, body []byte, err error) {
	for _, dir := range s.folders {
		f, err := os.OpenFile(loosePathIn(dir, id), os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", nil, err
		}
		defer f.Close()
		return s.loose(f)
	}
	p, at, err := s.packed(id)
	if err != nil {
		return "", nil, err
	}
	if p == nil {
		return "", nil, fmt.Errorf("%w: there is no object %x", errUnusual, id)
	}
	n, body, err := p.object(s, at, 0)
	if err != nil {
		return "", nil, err
	}
	return packedKinds[n], body, nil
}

// loose reads `<kind> <size>NUL<body>`, compressed.
func (s *store) loose(f *os.File) (kind string, body []byte, err error) {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxRead {
		return "", nil, errors.Join(err, errUnusual)
	}
	whole, err := s.inflate(f, maxRead)
	if err != nil {
		return "", nil, err
	}
	header, body, ok := bytes.Cut(whole, []byte{0})
	kind, size, _ := strings.Cut(string(header), " ")
	if !ok || size != strconv.Itoa(len(body)) {
		return "", nil, errUnusual
	}
	return kind, body, nil
}

// inflate decompresses what is in reads, to its end, at most limit bytes.
func (s *store) inflate(in io.Reader, limit int64) ([]byte, error) {
	var err error
	if s.zlib == nil {
		s.zlib, err = zlib.NewReader(in)
	} else {
		err = s.zlib.(zlib.Resetter).Reset(in, nil)
	}
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(s.zlib, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = errUnusual
	}
	return data, err
}

// packed finds the pack that has an object, and where; nil when none has.
func (s *store) packed(id string) (*pack, int64, error) {
	if !s.opened {
		s.opened = true
		for _, dir := range s.folders {
			if err := s.openPacks(filepath.Join(dir, "pack")); err != nil {
				return nil, 0, err
			}
		}
	}
	for _, p := range s.packs {
		at, ok, err := p.find(id)
		if err != nil || ok {
			return p, at, err
		}
	}
	return nil, 0, nil
}

func (s *store) openPacks(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".idx")
		if !ok || !strings.HasPrefix(name, "pack-") {
			continue
		}
		if len(s.packs) == maxPacks {
			return errUnusual
		}
		p, err := openPack(filepath.Join(dir, name), s.hash)
		if errors.Is(err, fs.ErrNotExist) {
			continue // being written, or removed
		}
		if err != nil {
			return err
		}
		s.packs = append(s.packs, p)
	}
	return nil
}
