package gitrepo

import (
	"context"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// ExportLimit bounds an export. A zero field means the default.
type ExportLimit struct {
	Entries  int   // files, folders and links
	Bytes    int64 // of all files
	FileSize int64 // of one file
	Depth    int   // folders above a file
	Path     int   // bytes of one path
}

// ExportReport says what an export made.
type ExportReport struct {
	Files    int
	Bytes    int64
	Warnings []string // submodules, links left out, LFS pointers, names that clash; bounded
}

// Export unpacks the files of a commit into the folder dir.
func (r *Repo) Export(ctx context.Context, commit gitmodels.CommitID, dir string, limit ExportLimit) (ExportReport, error) {
	panic("written next")
}
