package gitrepo

import (
	"context"
	"errors"
	"fmt"
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

// Refs lists the refs, sorted by name. A prefix is a whole name or the folders
// in front of one, such as refs/heads/models for that branch and all below
// refs/heads/models/; without any prefix all are listed. Refs of any name are
// found, hidden ones too. A few refs in files as git writes them are read without
// a child.
func (r *Repo) Refs(ctx context.Context, prefixes ...string) ([]gitmodels.Ref, error) {
	if found, err := r.refsUnder(prefixes); err == nil && ctx.Err() == nil {
		refs := make([]gitmodels.Ref, 0, len(found))
		for _, name := range slices.Sorted(maps.Keys(found)) {
			refs = append(refs, gitmodels.Ref{Name: gitmodels.RefName(name), ID: found[name]})
		}
		return refs, nil
	}
	out, err := r.forEachRef(ctx, prefixes, "--format=%(refname)%00%(objectname)%00%(symref)")
	if err != nil {
		return nil, err
	}
	var refs []gitmodels.Ref
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\x00")
		if len(fields) != 3 || len(fields[1]) != r.idLength {
			return nil, &gitmodels.Error{Op: "git for-each-ref", Err: fmt.Errorf("unexpected answer %s", gitmodels.Printable(line, 200))}
		}
		refs = append(refs, gitmodels.Ref{Name: gitmodels.RefName(fields[0]), ID: gitmodels.CommitID(fields[1]), Symref: gitmodels.RefName(fields[2])})
	}
	return refs, nil
}

// Tip is what the ref of exactly this name points to, empty when there is none.
// Git's own lookup would try refs/heads/refs/notes/models for a missing
// refs/notes/models, and that branch anybody may push. Where refs are in files
// as git writes them, no child runs.
func (r *Repo) Tip(ctx context.Context, ref gitmodels.RefName) (gitmodels.CommitID, error) {
	if err := checkRef(ref); err != nil {
		return "", err
	}
	if id, err := r.refID(ref); err == nil && ctx.Err() == nil {
		return id, nil
	}
	refs, err := r.Refs(ctx, string(ref))
	if err != nil {
		return "", err
	}
	for _, found := range refs {
		if found.Name == ref {
			return found.ID, nil
		}
	}
	return "", nil
}

// RefsContaining lists the refs below the prefixes from which the commit id is
// reachable.
func (r *Repo) RefsContaining(ctx context.Context, id gitmodels.CommitID, prefixes ...string) ([]gitmodels.RefName, error) {
	if err := r.checkID(id); err != nil {
		return nil, err
	}
	if names, err := r.containing(id, prefixes); err == nil && ctx.Err() == nil {
		return names, nil
	}
	out, err := r.forEachRef(ctx, prefixes, "--format=%(refname)", "--contains="+string(id))
	if err != nil {
		return nil, err
	}
	var names []gitmodels.RefName
	for line := range strings.Lines(string(out)) {
		names = append(names, gitmodels.RefName(strings.TrimSuffix(line, "\n")))
	}
	return names, nil
}

func (r *Repo) forEachRef(ctx context.Context, prefixes []string, args ...string) ([]byte, error) {
	args = append([]string{"for-each-ref"}, args...)
	for _, p := range prefixes {
		// git reads *, ? and [ as patterns; no ref has them in its name.
		if !strings.HasPrefix(p, "refs/") || strings.ContainsAny(p, "*?[\\\x00\n") {
			return nil, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "list refs",
				Message: fmt.Sprintf("%q is no prefix of ref names", gitmodels.Printable(p, 200))}
		}
	}
	res, err := run(ctx, r.call(append(args, prefixes...)...))
	if err != nil {
		return nil, err
	}
	if res.code != 0 || complains(res.stderr) {
		return nil, res.failure()
	}
	return res.out, nil
}

// SymbolicTarget is the ref that a symbolic ref names, one step on, whether or
// not it exists; false for what is no symbolic ref. A symbolic ref is never
// packed, so with refs in files one look at its file answers: a hook asks this
// for every ref of a push.
func (r *Repo) SymbolicTarget(ctx context.Context, ref gitmodels.RefName) (target gitmodels.RefName, ok bool, err error) {
	if err := checkRef(ref); err != nil {
		return "", false, err
	}
	if r.refFormat == "files" {
		if content, known, err := r.looseRef(ref); err != nil || known {
			name, symbolic := strings.CutPrefix(content, "ref:")
			return gitmodels.RefName(strings.TrimSpace(name)), symbolic, err
		}
	}
	res, err := run(ctx, r.call("symbolic-ref", "-q", "--no-recurse", string(ref)))
	if err == nil && res.code == usageStatus { // git before 2.39 knows no --no-recurse
		res, err = run(ctx, r.call("symbolic-ref", "-q", string(ref)))
	}
	switch {
	case err != nil:
		return "", false, err
	case res.code == 1 && !complains(res.stderr):
		return "", false, nil
	case res.code != 0:
		return "", false, res.failure()
	}
	return gitmodels.RefName(strings.TrimSuffix(string(res.out), "\n")), true, nil
}

// usageStatus is how git ends when it does not understand its arguments.
const usageStatus = 129

// looseRef reads the file of a ref; empty when there is none. It is not known
// when the file is none that git writes today, such as the symbolic link that
// once was a symbolic ref: git has to be asked then.
func (r *Repo) looseRef(ref gitmodels.RefName) (content string, known bool, err error) {
	dir := r.common
	if ref == "HEAD" { // the one ref of a linked work tree's own
		dir = r.dir
	}
	f, err := os.OpenFile(filepath.Join(dir, filepath.FromSlash(string(ref))), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return "", true, nil
	case errors.Is(err, syscall.ELOOP):
		return "", false, nil
	case err != nil:
		return "", false, &gitmodels.Error{Op: "read ref " + gitmodels.Printable(string(ref), 200), Err: err}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.IsDir() {
		return "", err == nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxLooseRef {
		return "", false, nil
	}
	b, err := io.ReadAll(io.LimitReader(f, maxLooseRef))
	return string(b), err == nil, err
}

// maxLooseRef bounds the file of a ref: an id, or another ref's name.
const maxLooseRef = 8 << 10

// checkRef refuses what could be taken for anything but the name of a ref.
func checkRef(ref gitmodels.RefName) error {
	s := string(ref)
	ok := s == "HEAD" || strings.HasPrefix(s, "refs/") && len(s) > len("refs/")
	for part := range strings.SplitSeq(s, "/") {
		ok = ok && part != "" && part[0] != '.' && !strings.HasSuffix(part, ".lock")
	}
	ok = ok && !strings.Contains(s, "..") && !strings.Contains(s, "@{") && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= 0x20 || c == 0x7f || strings.ContainsRune(`~^:?*[\`, c)
	})
	if ok {
		return nil
	}
	return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "check ref name",
		Message: fmt.Sprintf("%q is no full ref name", gitmodels.Printable(s, 200))}
}
