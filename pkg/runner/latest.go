package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// moved is where we moved a tag latest to, and for which commit: the image may have
// been built from an older one of equal content.
type moved struct {
	Digest string             `json:"digest"`
	Commit gitmodels.CommitID `json:"commit"`
}

func (r *Runner) latestFile() string { return filepath.Join(r.cfg.Home, "latest.json") }

// movedLatest is the last move of each image's latest, by the image's name.
func (r *Runner) movedLatest() (all map[string]moved, err error) {
	data, err := os.ReadFile(r.latestFile())
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]moved{}, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", r.latestFile(), err)
	}
	return all, nil
}

// rememberLatest records a move. The caller holds r.latest.
func (r *Runner) rememberLatest(name string, m moved) error {
	all, err := r.movedLatest()
	if err != nil || all[name] == m {
		return err
	}
	all[name] = m
	data, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return writeDurably(r.latestFile(), data)
}
