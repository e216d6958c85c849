package runner_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// A job's folder METRICS_DIR/logs, TensorBoard's habit, is kept beside our logs.
func TestAJobsOwnLogsAreKept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.trainer.work = func(job gitmodels.Job) error {
		own := filepath.Join(job.Env["METRICS_DIR"], "logs")
		return errors.Join(os.WriteFile(job.Log, []byte("ours\n"), 0o600), os.Mkdir(own, 0o700),
			os.WriteFile(filepath.Join(own, "train.log"), []byte("the job's\n"), 0o600))
	}
	commit := s.push(models)
	s.untilIdle()
	row := s.want(commit, gitmodels.Succeeded, "")
	prefix := filepath.Join(s.home, "store", "dogs", "metrics", row.Short)
	for path, want := range map[string]string{prefix + "/logs/train.log": "the job's\n", prefix + ".logs/train.log": "ours\n"} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
	data, err := os.ReadFile(prefix + "/run.json")
	if err != nil {
		t.Fatal(err)
	}
	var o gitmodels.Outcome
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatal(err)
	}
	want := "file://" + prefix + ".logs/train.log"
	if o.Log != want || row.Log != want || !strings.Contains(s.note(commit), want) {
		t.Errorf("run.json says %q, show %q, the note:\n%s\nwant %s", o.Log, row.Log, s.note(commit), want)
	}
	var paths []string
	for _, f := range o.Files {
		paths = append(paths, f.Path)
	}
	if got := strings.Join(paths, " "); got != "logs/build.log logs/train.log metrics/logs/train.log" {
		t.Errorf("files %s", got)
	}
}

// Where another run has finished, nothing is touched.
func TestAFinishedRunIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	commit := s.change("x")
	store := filepath.Join(s.home, "store", "dogs")
	for _, name := range []string{"metrics", "artifacts"} {
		if err := os.MkdirAll(filepath.Join(store, name, commit.Short(7)), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	record := filepath.Join(store, "metrics", commit.Short(7), "run.json")
	model := filepath.Join(store, "artifacts", commit.Short(7), "model.bin")
	if err := errors.Join(os.WriteFile(record, []byte("{}\n"), 0o640), os.WriteFile(model, []byte("the other's"), 0o640)); err != nil {
		t.Fatal(err)
	}
	s.push(models)
	s.untilIdle()
	s.want(commit, gitmodels.Failed, "finished run of other content")
	for path, want := range map[string]string{record: "{}\n", model: "the other's"} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
}
