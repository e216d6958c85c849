package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// recordName is the file in the git directory that remembers an installation.
// It is written before anything else is changed, and moves and dies with the
// repository.
const recordName = "git-models.installed.json"

// record is what removing must undo.
type record struct {
	Version  int      `json:"version"`
	Home     string   `json:"home"`     // the state directory that serves the repository
	Settings []change `json:"settings"` // in the order they were made
	Hooks    string   `json:"hooks"`    // the folder that our hooks are in
	// MadeHooks says that the folder was not there before.
	MadeHooks bool `json:"made_hooks,omitempty"`
}

// change is one setting with what was there before it.
type change struct {
	Key    string   `json:"key"`
	Value  string   `json:"value"`
	Add    bool     `json:"add,omitempty"`    // added beside others; nothing was replaced
	Before []string `json:"before,omitempty"` // values that it replaced
}

const recordVersion = 1

// readRecord returns nil when nothing is installed.
func readRecord(gitDir string) (*record, error) {
	path := filepath.Join(gitDir, recordName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "read record",
			Message: shown(path) + " cannot be read, so what was there before is not known", Err: err}
	}
	if r.Version != recordVersion {
		return nil, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "read record",
			Message: fmt.Sprintf("%s is of version %d, this program knows version %d", shown(path), r.Version, recordVersion)}
	}
	return &r, nil
}

// remember enters that w is about to replace now. What stood there before the
// first installation stays what it was.
func (r *record) remember(w setting, now []string) {
	for i, c := range r.Settings {
		if c.Key == w.key && !c.Add && !w.add {
			r.Settings[i].Value = w.value
			return
		}
		if c.Key == w.key && c.Add && w.add && c.Value == w.value {
			return
		}
	}
	c := change{Key: w.key, Value: w.value, Add: w.add}
	if !w.add {
		c.Before = now
	}
	r.Settings = append(r.Settings, c)
}

func (r *record) write(gitDir string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(gitDir, recordName), 0o644, func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
}

// removeRecord forgets the installation.
func removeRecord(gitDir string) error { return os.Remove(filepath.Join(gitDir, recordName)) }
