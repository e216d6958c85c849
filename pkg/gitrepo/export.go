package gitrepo

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// exportLimit bounds an export. A zero field means that of defaultExportLimit.
type exportLimit struct {
	Entries  int   // files, folders, links and submodules of the tree
	Bytes    int64 // of all files together
	FileSize int64 // bytes of one file
	Depth    int   // parts of one path
	Path     int   // bytes of one path
}

// defaultExportLimit lets a repository with its data in it pass, and stops what
// only fills a disk.
var defaultExportLimit = exportLimit{
	Entries:  500_000,
	Bytes:    32 << 30,
	FileSize: 8 << 30,
	Depth:    64,
	Path:     1024,
}

func (l exportLimit) orDefault() exportLimit {
	d := defaultExportLimit
	return exportLimit{
		Entries:  cmp.Or(l.Entries, d.Entries),
		Bytes:    cmp.Or(l.Bytes, d.Bytes),
		FileSize: cmp.Or(l.FileSize, d.FileSize),
		Depth:    cmp.Or(l.Depth, d.Depth),
		Path:     cmp.Or(l.Path, d.Path),
	}
}

// Export unpacks the files of a commit, as `git archive` gives them
// (export-ignore and export-subst of the commit's own .gitattributes count),
// into the new folder dir, whose parent exists. dir appears complete or not at
// all; it is an Error of Kind Invalid when it exists already and is not empty.
//
// Whatever the commit holds stays below dir and runs nothing. Files come out
// with mode 0644 or 0755, folders with 0755. Refused with Kind Invalid are
// trees that git would not have made (names such as `..` or `.git`, a name
// twice, unknown modes) and what is beyond defaultExportLimit. Reported as
// warnings, at most maxWarnings of each sort, are: submodules, which become empty folders;
// symbolic links that are absolute, lead out of dir or in a circle, also by way
// of other links, which are left out; Git LFS pointers; names that differ only
// in case.
//
// Git runs on an empty repository that borrows this one's objects: no filter,
// attribute or program that is configured here can be selected by the commit,
// and the result depends on the commit alone.
func (r *Repo) Export(ctx context.Context, commit gitmodels.CommitID, dir string) (gitmodels.ExportReport, error) {
	return r.exportWithin(ctx, commit, dir, exportLimit{})
}

// exportWithin is Export with other bounds; fields that are zero take those of
// defaultExportLimit.
func (r *Repo) exportWithin(ctx context.Context, commit gitmodels.CommitID, dir string, limit exportLimit) (gitmodels.ExportReport, error) {
	limit = limit.orDefault()
	if err := r.requireCommit(ctx, commit); err != nil {
		return gitmodels.ExportReport{}, err
	}
	if err := checkFree(dir); err != nil {
		return gitmodels.ExportReport{}, err
	}
	submodules, err := r.survey(ctx, commit, limit)
	if err != nil {
		return gitmodels.ExportReport{}, err
	}
	work, err := newWorkFolder(dir)
	if err != nil {
		return gitmodels.ExportReport{}, &gitmodels.Error{Op: "export " + string(commit), Err: err}
	}
	report, err := r.exportTo(ctx, commit, work, limit, submodules)
	if err == nil {
		if err = putInPlace(filepath.Join(work, "tree"), dir); err != nil {
			err = &gitmodels.Error{Op: "export " + string(commit), Err: err}
		}
	}
	if gone := os.RemoveAll(work); gone != nil && err == nil {
		err = &gitmodels.Error{Op: "export " + string(commit), Err: gone}
	}
	if err != nil {
		return gitmodels.ExportReport{}, err
	}
	return report, nil
}

// checkFree makes sure that the folder may be put in place by a rename.
func checkFree(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return &gitmodels.Error{Op: "export", Err: err}
	case len(entries) > 0:
		return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "export", Err: fs.ErrExist,
			Message: fmt.Sprintf("%s is not empty", gitmodels.Printable(dir, 200))}
	}
	return nil
}

// putInPlace renames a folder; an empty one in its place gives way.
func putInPlace(folder, dir string) error {
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(folder, dir)
}

// newWorkFolder makes a folder beside dir, on the same file system, and removes
// those that killed exports of the same dir left behind.
func newWorkFolder(dir string) (string, error) {
	parent, prefix := filepath.Dir(dir), "."+filepath.Base(dir)+".export-"
	siblings, err := os.ReadDir(parent)
	if err != nil {
		return "", err
	}
	for _, s := range siblings {
		if strings.HasPrefix(s.Name(), prefix) {
			if err := os.RemoveAll(filepath.Join(parent, s.Name())); err != nil {
				return "", err
			}
		}
	}
	return os.MkdirTemp(parent, prefix)
}

// exportTo unpacks the commit into work/tree.
func (r *Repo) exportTo(ctx context.Context, commit gitmodels.CommitID, work string, limit exportLimit, submodules map[string]bool) (gitmodels.ExportReport, error) {
	fail := func(err error) error {
		var known *gitmodels.Error
		if errors.As(err, &known) {
			return err
		}
		return &gitmodels.Error{Op: "export " + string(commit), Err: err}
	}
	tree := filepath.Join(work, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return gitmodels.ExportReport{}, fail(err)
	}
	if err := os.Chmod(tree, 0o755); err != nil { // whatever the umask
		return gitmodels.ExportReport{}, fail(err)
	}
	shadow := filepath.Join(work, "git")
	if err := r.makeShadow(shadow); err != nil {
		return gitmodels.ExportReport{}, fail(err)
	}
	root, err := os.OpenRoot(tree)
	if err != nil {
		return gitmodels.ExportReport{}, fail(err)
	}
	defer root.Close()
	u := newUnpacker(root, limit, submodules)
	if err := r.archive(ctx, commit, ".", shadow, u.unpack); err != nil {
		return gitmodels.ExportReport{}, fail(err)
	}
	if err := u.finish(); err != nil {
		return gitmodels.ExportReport{}, fail(err)
	}
	return u.result(), nil
}

// makeShadow makes a git directory without refs and with no more configuration
// than git needs to read this repository's objects.
func (r *Repo) makeShadow(dir string) error {
	for _, d := range []string{dir, filepath.Join(dir, "objects"), filepath.Join(dir, "refs")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	config := "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"
	if r.idLength == 64 {
		config = "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectformat = sha256\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "HEAD"), []byte("ref: refs/heads/none\n"), 0o600)
}

// archive gives the tar stream of a folder of the commit to read. The child ends
// before it returns, and its failure is the error, unless read failed by itself.
func (r *Repo) archive(ctx context.Context, commit gitmodels.CommitID, folder, shadow string, read func(context.Context, *tar.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := call{
		gitDir: shadow,
		args:   []string{"archive", "--format=tar", string(commit), "--", folder},
		env:    append([]string{"GIT_LITERAL_PATHSPECS=1", "GIT_OBJECT_DIRECTORY=" + filepath.Join(r.common, "objects")}, r.quarantine...),
		// Larger files are streamed instead of held in memory.
		config: []string{"core.bigFileThreshold=32m", "tar.umask=0022"},
	}
	cmd := c.command(ctx)
	stderr := &bounded{limit: maxStderr}
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return &gitmodels.Error{Op: c.name(), Err: err}
	}
	readErr := read(ctx, tar.NewReader(out))
	if readErr == nil {
		// What follows the end of the archive is padding.
		_, readErr = io.Copy(io.Discard, out)
	}
	if readErr != nil {
		cancel()
	}
	waitErr := cmd.Wait()
	var known *gitmodels.Error
	switch {
	case errors.As(readErr, &known):
		return readErr
	case waitErr == nil && readErr == nil:
		return nil
	case errors.Is(readErr, io.ErrUnexpectedEOF), readErr == nil:
		// Cut short, because git failed: it knows why.
		return &gitmodels.Error{Op: c.name(), Err: withStderr(errors.Join(readErr, waitErr), stderr.text())}
	}
	return &gitmodels.Error{Op: c.name(), Err: withStderr(readErr, stderr.text())}
}
