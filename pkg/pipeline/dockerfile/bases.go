package dockerfile

import (
	"context"
	"fmt"
	"slices"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline"
)

// Bases lists the images that a Dockerfile builds on or copies from, as it writes
// them and sorted. One whose name hangs on a variable that only the build knows is
// left out, as is scratch, which is none. The Dockerfile is one that Check took.
func Bases(ctx context.Context, image pipeline.Image) (list []string, err error) {
	c := newChecker(image)
	c.only = true
	defer func() {
		if p := recover(); p != nil { // as in Check
			err = &gitmodels.Error{Kind: gitmodels.Invalid, Op: "reading the bases of " + image.Dockerfile,
				Message: fmt.Sprintf("%s cannot be read: its parser failed (%s)", image.Dockerfile, gitmodels.Printable(fmt.Sprint(p), 200))}
		}
	}()
	if err := c.file(ctx); err != nil {
		return nil, err
	}
	if len(c.faults) > 0 {
		return nil, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "reading the bases of " + image.Dockerfile, Message: c.faults[0].String()}
	}
	list = c.bases
	for i, s := range c.stages {
		for _, name := range s.needs {
			if name != "" && c.numbered(name, i) < 0 {
				list = append(list, name)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}
