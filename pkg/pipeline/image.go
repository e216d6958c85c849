package pipeline

import (
	"context"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Image is what an image is built from, as far as a Dockerfile is judged by it.
// Paths are slash-separated and begin at the root of the repository.
type Image struct {
	Dockerfile string // its path
	Data       []byte // its content, at most gitmodels.MaxPipelineFile bytes
	Context    string // path of the context's folder
	Args       map[string]string
	ArgsAt     map[string]Field
	Tree       Tree
}

// Tree looks into the commit that the image is built from, without following
// links.
type Tree interface {
	// File looks up one path.
	File(ctx context.Context, path string) (gitmodels.TreeFile, error)
	// List is what a folder holds, at most limit entries.
	List(ctx context.Context, folder string, limit int) ([]gitmodels.TreeEntry, error)
}

// JudgeDockerfile says what is wrong with a Dockerfile: faults are what no build
// gets past, warnings what may be meant. An error means that the commit could
// not be read.
type JudgeDockerfile func(ctx context.Context, image Image) (faults, warnings []Fault, err error)
