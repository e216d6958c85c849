package gitrepo

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Context writes what an image is built from to out: the files of one folder of
// the commit as a tar stream whose root is the folder, of `.` the whole tree. It
// holds what Export would unpack, with the same bounds, refusals and warnings,
// but for what keep leaves out, which is asked for every path but folders,
// slash-separated and relative to the folder; folders come with what is in them.
// The sum in the report tells whether two streams hold the same, whatever their
// commits' times. An error of out is returned as it is.
func (r *Repo) Context(ctx context.Context, commit gitmodels.CommitID, folder string, keep func(path string) bool, out io.Writer) (gitmodels.ExportReport, error) {
	return r.contextWithin(ctx, commit, folder, keep, out, exportLimit{})
}

func (r *Repo) contextWithin(ctx context.Context, commit gitmodels.CommitID, folder string, keep func(path string) bool, out io.Writer, limit exportLimit) (report gitmodels.ExportReport, err error) {
	limit = limit.orDefault()
	if err := r.requireCommit(ctx, commit); err != nil {
		return gitmodels.ExportReport{}, err
	}
	if err := r.requireFolder(ctx, commit, folder); err != nil {
		return gitmodels.ExportReport{}, err
	}
	submodules, err := r.survey(ctx, commit, limit)
	if err != nil {
		return gitmodels.ExportReport{}, err
	}
	shadow, err := os.MkdirTemp("", "git-models-context-")
	if err != nil {
		return gitmodels.ExportReport{}, &gitmodels.Error{Op: "archive " + string(commit), Err: err}
	}
	defer func() {
		if gone := os.RemoveAll(shadow); gone != nil && err == nil {
			err = &gitmodels.Error{Op: "archive " + string(commit), Err: gone}
		}
	}()
	git := filepath.Join(shadow, "git")
	if err := r.makeShadow(git); err != nil {
		return gitmodels.ExportReport{}, &gitmodels.Error{Op: "archive " + string(commit), Err: err}
	}
	p := &packer{members: newMembers(limit, submodules), out: tar.NewWriter(out), sum: sha256.New(), folders: map[string]bool{".": true}}
	if p.keep = keep; folder != "." {
		p.prefix = folder + "/"
	}
	if err := r.archive(ctx, commit, folder, git, p.pack); err != nil {
		return gitmodels.ExportReport{}, cmp.Or(p.failed, err)
	}
	report = p.result()
	report.Sum = hex.EncodeToString(p.sum.Sum(nil))
	return report, nil
}

// requireFolder fails unless the commit has a folder of that path.
func (r *Repo) requireFolder(ctx context.Context, commit gitmodels.CommitID, folder string) error {
	if folder == "." {
		return nil
	}
	files, err := r.Files(ctx, commit, []string{folder})
	if err == nil && files[folder].Kind != gitmodels.KindFolder {
		err = &gitmodels.Error{Kind: gitmodels.Invalid, Op: "archive " + string(commit),
			Message: fmt.Sprintf("%s is no folder of the commit", gitmodels.Printable(folder, 200))}
	}
	return err
}

// packer writes the members of an archive into another one. Links come last, as
// in an export.
type packer struct {
	*members
	out     *tar.Writer
	sum     hash.Hash
	folders map[string]bool // that are written
	at      time.Time       // of the commit
	failed  error           // of out
}

// pack reads the archive to its end.
func (p *packer) pack(ctx context.Context, in *tar.Reader) error {
	err := p.read(ctx, in, p.member)
	if err == nil {
		err = p.inside(func(path, target string) error {
			return p.header(&tar.Header{Typeflag: tar.TypeSymlink, Name: path, Linkname: target, Mode: 0o777})
		})
	}
	if err == nil {
		err = p.wrote(p.out.Close())
	}
	return err
}

func (p *packer) member(h *tar.Header, in io.Reader) error {
	p.at = h.ModTime
	switch {
	case h.Typeflag == tar.TypeSymlink, h.Typeflag == tar.TypeDir && !p.submodules[p.prefix+h.Name]:
		return nil // links come last, folders with what is in them
	case h.Typeflag == tar.TypeDir:
		return p.folder(h.Name)
	}
	mode := int64(0o644)
	if h.Mode&0o100 != 0 {
		mode = 0o755
	}
	if err := p.header(&tar.Header{Typeflag: tar.TypeReg, Name: h.Name, Size: h.Size, Mode: mode}); err != nil {
		return err
	}
	content := sha256.New()
	if err := p.copy(io.MultiWriter(writer{p}, content), h.Name, h, in); err != nil {
		return err
	}
	p.sum.Write(content.Sum(nil))
	return nil
}

// folder writes a folder and those above it, once each.
func (p *packer) folder(name string) error {
	if p.folders[name] {
		return nil
	}
	p.folders[name] = true
	return p.header(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755})
}

// header writes the beginning of a member, after those of the folders above it;
// all of it but the time counts for the sum.
func (p *packer) header(h *tar.Header) error {
	if err := p.folder(path.Dir(h.Name)); err != nil {
		return err
	}
	fmt.Fprintf(p.sum, "%c %o %d %q %q\n", h.Typeflag, h.Mode, h.Size, h.Name, h.Linkname)
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	h.ModTime, h.Format = p.at, tar.FormatPAX
	return p.wrote(p.out.WriteHeader(h))
}

// wrote remembers that out failed: nothing is wrong with the commit then.
func (p *packer) wrote(err error) error {
	p.failed = cmp.Or(p.failed, err)
	return err
}

// writer is where the content of a file goes.
type writer struct{ p *packer }

func (w writer) Write(b []byte) (int, error) {
	n, err := w.p.out.Write(b)
	return n, w.p.wrote(err)
}
