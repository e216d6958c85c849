package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// followPace is how often a followed log is looked at.
const followPace = 200 * time.Millisecond

// Logs gives the logs of the current attempt of the commit that prefix names to
// emit, from the first byte: of one stage (build, train, evaluate), or of all in
// their order. With follow it waits for a push that is not taken up yet, and goes
// on until the run has ended, and from one attempt to the next. emit's error ends
// it.
func (s *Service) Logs(ctx context.Context, repository, prefix, stage string, follow bool, emit func([]byte) error) error {
	stages := loggedStages
	if stage != "" {
		name := gitmodels.StageName(stage)
		if !slices.Contains(loggedStages, name) {
			return &gitmodels.Error{Kind: gitmodels.Invalid,
				Message: fmt.Sprintf("stage %s has no log: build, train and evaluate have", gitmodels.Printable(stage, 40))}
		}
		stages = []gitmodels.StageName{name}
	}
	repo, row, err := s.find(ctx, repository, prefix)
	for follow && isKind(err, gitmodels.Waiting) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.cfg.Clock.After(followPace):
		}
		repo, row, err = s.find(ctx, repository, prefix)
	}
	if err != nil {
		return err
	}
	if row.Run == nil || row.Attempt == nil || row.State == nil {
		return noRun(row)
	}
	for {
		attempt := *row.Attempt
		r := &logReader{service: s, repo: repo, row: row, follow: follow, emit: emit,
			dirs: attemptFolders(s.cfg.Home, repo.ID, row.Commit, attempt)}
		for _, name := range stages {
			if err := r.copy(ctx, name); err != nil {
				return err
			}
		}
		if follow && *r.row.Attempt != attempt {
			row = r.row
			continue
		}
		if r.found || follow {
			return nil
		}
		return noLog(r.row, stage)
	}
}

// noLog says why there is nothing to show.
func noLog(row gitmodels.Listing, stage string) error {
	what := "log"
	if stage != "" {
		what = "log of " + stage
	}
	why := string(*row.State)
	if row.Waiting != nil && *row.Waiting != "" {
		why += ", waiting: " + *row.Waiting
	}
	if row.State.Terminal() && row.Cause != nil {
		why += ": " + *row.Cause
	}
	return &gitmodels.Error{Kind: gitmodels.NotFound, Message: fmt.Sprintf("%s has no %s (%s)", row.Short, what, why)}
}

// logReader reads the logs of one attempt.
type logReader struct {
	service *Service
	repo    gitmodels.Repository
	row     gitmodels.Listing // as last seen
	dirs    folders
	follow  bool
	found   bool
	emit    func([]byte) error
}

// copy emits the log of one stage, and waits for more until the stage is over.
func (r *logReader) copy(ctx context.Context, stage gitmodels.StageName) error {
	var f *os.File
	defer func() {
		if f != nil {
			f.Close()
		}
	}()
	for {
		// Whether it is over is asked before the last look: what was written
		// until then is seen.
		over, err := r.over(ctx, stage)
		if err != nil {
			return err
		}
		if f == nil {
			if f, err = openLog(r.dirs.log(stage)); err != nil {
				return err
			}
		}
		if f != nil {
			r.found = true
			if err := r.drain(ctx, f); err != nil {
				return err
			}
		}
		if over {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.service.cfg.Clock.After(followPace):
		}
	}
}

// over reports whether nothing more comes into the log of stage: it has ended,
// the attempt has, or nobody wants to wait.
func (r *logReader) over(ctx context.Context, stage gitmodels.StageName) (bool, error) {
	if !r.follow {
		return true, nil
	}
	row, err := r.service.cfg.Ledger.Show(ctx, r.repo.ID, r.row.Commit)
	if err != nil {
		return false, err
	}
	r.row = row
	if row.State == nil || row.State.Terminal() || row.Attempt == nil || *row.Attempt != r.dirs.n {
		return true, nil
	}
	for _, st := range row.Stages {
		if slices.Index(gitmodels.Stages, st.Name) > slices.Index(gitmodels.Stages, stage) {
			return true, nil // a later one has begun
		}
		if st.Name == stage && (st.State == gitmodels.StageDone || st.State == gitmodels.StageSkipped) {
			return true, nil
		}
	}
	return false, nil
}

// drain emits what the file holds from where it was left.
func (r *logReader) drain(ctx context.Context, f *os.File) error {
	buf := make([]byte, 32<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.Read(buf)
		if n > 0 {
			if err := r.emit(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a log: %w", err)
		}
	}
}

// openLog opens a log, or returns nil while there is none.
func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening a log: %w", err)
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, fmt.Errorf("%s is not a regular file", path))
	}
	return f, nil
}
