package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

func TestPushBecomesOutcome(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	commit := s.push(models)
	s.untilIdle()
	row := s.want(commit, gitmodels.Succeeded, "status 0")
	if row.Short != commit.Short(7) || row.Values["accuracy"] != 0.9 {
		t.Errorf("row %+v", row)
	}
	if n := s.note(commit); !strings.Contains(n, "State: succeeded") || !strings.Contains(n, "Metric: accuracy=0.9") {
		t.Errorf("note:\n%s", n)
	}
	data, err := os.ReadFile(filepath.Join(s.home, "store", "dogs", "metrics", row.Short, "run.json"))
	if err != nil {
		t.Fatal(err)
	}
	var o gitmodels.Outcome
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, f := range o.Files {
		files = append(files, f.Path)
	}
	wantFiles := []string{"artifacts/model.bin", "logs/build.log", "logs/train.log", "metrics/metrics.json"}
	if diff := cmp.Diff(wantFiles, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if o.Pusher != "ada" || o.Subject != "the first commit" || o.Ref != models || o.Commit != commit || o.Version != "test" ||
		o.Started.IsZero() || o.Engine != "process" || o.Job != "job-"+row.Short {
		t.Errorf("outcome %+v", o)
	}
	if got := o.Command; !slices.Contains(got, "experiment_name="+row.Short) && !slices.Contains(got, "experiment_name='"+row.Short+"'") {
		t.Errorf("command %q", got)
	}
	base := filepath.Join(s.home, "runs", s.repo.ID, string(commit), "1")
	for name, there := range map[string]bool{"tree": false, "artifacts": false, "metrics": false, "logs": false, "outcome.json": false,
		"build.log": true, "train.log": true, "train": true} {
		if _, err := os.Lstat(filepath.Join(base, name)); (err == nil) != there {
			t.Errorf("%s after the outcome: %v, want there %t", name, err, there)
		}
	}
	for i, name := range gitmodels.Stages {
		if row.Stages[i].Name != name {
			t.Errorf("stage %d is %s, want %s", i, row.Stages[i].Name, name)
		}
	}
}

func TestEnvironmentOfARun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	secrets := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(secrets, []byte("# for jobs\nTOKEN=hush=hush\nGIT_COMMIT=forged\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.configure("[models]\n\tengine = process\n\tallowProcess = true\n\tjobEnvFile = " + secrets + "\n")
	s.file(s.work, "deploy/sagemaker-job-config.yaml", "env:\n  COLOUR: green\n")
	s.commit(s.work, "with a variable")
	var job gitmodels.Job
	s.trainer.work = func(j gitmodels.Job) error { job = j; return nil }
	commit := s.push(models)
	s.untilIdle()
	row := s.want(commit, gitmodels.Succeeded, "")
	base := filepath.Join(s.home, "runs", s.repo.ID, string(commit))
	store := "file://" + s.home + "/store/dogs/"
	want := map[string]string{
		"GIT_MODELS_RUN": row.Short, "GIT_MODELS_ATTEMPT": "1", "GIT_COMMIT": string(commit), "GIT_SHORT_SHA": row.Short,
		"GIT_BRANCH": "models", "GIT_REPO": "dogs", "ARTIFACTS_URI": store + "artifacts/" + row.Short, "METRICS_URI": store + "metrics/" + row.Short,
		"ARTIFACTS_DIR": base + "/1/artifacts", "METRICS_DIR": base + "/1/metrics", "CHECKPOINT_DIR": base + "/checkpoints",
		"PYTHONUNBUFFERED": "1", "COLOUR": "green", "TOKEN": "hush=hush",
	}
	if diff := cmp.Diff(want, job.Env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if text := s.logs.String(); strings.Contains(text, "hush") {
		t.Errorf("a secret is in the log:\n%s", text)
	}
	if job.Unsandboxed || job.Network {
		t.Error("the job got more than policy gives")
	}
}

func TestSecretsThatOthersMayReadMakeARunWait(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	secrets := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(secrets, []byte("TOKEN=hush\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.configure("[models]\n\tengine = process\n\tallowProcess = true\n\tjobEnvFile = " + secrets + "\n")
	commit := s.push(models)
	s.untilIdle()
	row := s.show(commit)
	if row.Waiting == nil || !strings.Contains(*row.Waiting, "chmod 600") {
		t.Fatalf("waiting for %v", deref(row.Waiting))
	}
	if err := os.Chmod(secrets, 0o600); err != nil {
		t.Fatal(err)
	}
	s.untilIdle()
	s.want(commit, gitmodels.Succeeded, "")
}

func TestWaitsForAnEngineThatAppears(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.configure("")
	commit := s.push(models)
	s.untilIdle()
	row := s.show(commit)
	if *row.State != gitmodels.Queued || row.Waiting == nil || !strings.Contains(*row.Waiting, "models.engine") {
		t.Fatalf("state %v, waiting for %v", deref(row.State), deref(row.Waiting))
	}
	if !strings.Contains(s.logs.String(), "left for the next runner") {
		t.Error("the runner did not say what it leaves behind")
	}
	v := s.serve()
	s.configure("[models]\n\tengine = process\n\tallowProcess = true\n")
	s.awaitState(commit, gitmodels.Succeeded)
	v.end()
}

func TestEngineThatIsNotReadyMakesARunWait(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	missing := true
	s.trainer.check = func(gitmodels.Job) error {
		if missing {
			return &gitmodels.Error{Kind: gitmodels.Waiting, Message: "engine: bubblewrap is not installed"}
		}
		return nil
	}
	commit := s.push(models)
	s.untilIdle()
	if row := s.show(commit); row.Waiting == nil || *row.Waiting != "engine: bubblewrap is not installed" {
		t.Fatalf("waiting for %v", deref(row.Waiting))
	}
	missing = false
	s.untilIdle()
	s.want(commit, gitmodels.Succeeded, "")
	if got := s.trainer.jobs("submits"); len(got) != 1 {
		t.Errorf("submitted %q", got)
	}
}

func TestFaultInTheFilesFailsTheRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.file(s.work, ".models.yaml", "train:\n  comand: [x]\n")
	s.commit(s.work, "a fault")
	commit := s.push(models)
	s.untilIdle()
	row := s.want(commit, gitmodels.Failed, ".models.yaml:2:")
	if n := s.note(commit); !strings.Contains(n, "State: failed") {
		t.Errorf("note:\n%s", n)
	}
	if len(s.trainer.jobs("submits")) != 0 || row.Values != nil {
		t.Error("it ran all the same")
	}
}

func TestFailedTrainingKeepsLogsAndMetrics(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.trainer.end = func(string) gitmodels.JobStatus {
		return gitmodels.JobStatus{State: gitmodels.JobFailed, Cause: "exit status 3", Warnings: []string{"w"}}
	}
	commit := s.push(models)
	s.untilIdle()
	row := s.want(commit, gitmodels.Failed, "exit status 3")
	if !slices.Contains(row.Warnings, "w") {
		t.Errorf("warnings %q: what the engine said is lost", row.Warnings)
	}
	if row.Artifacts != nil || row.Values["accuracy"] != 0.9 {
		t.Errorf("artifacts %v, values %v", deref(row.Artifacts), row.Values)
	}
	prefix := filepath.Join(s.home, "store", "dogs", "metrics", row.Short)
	for _, name := range []string{"/run.json", "/metrics.json", ".logs/train.log"} {
		if _, err := os.Stat(prefix + name); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(s.home, "store", "dogs", "artifacts", row.Short)); err == nil {
		t.Error("artifacts of a failed run are in the store")
	}
	// The next attempt has a name of its own and begins without checkpoints.
	s.trainer.end = nil
	base := filepath.Join(s.home, "runs", s.repo.ID, string(commit))
	if err := os.WriteFile(filepath.Join(base, "checkpoints", "old"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ledger.Rerun(t.Context(), s.repo.ID, commit, "bob", 7); err != nil {
		t.Fatal(err)
	}
	s.untilIdle()
	row = s.want(commit, gitmodels.Succeeded, "")
	if diff := cmp.Diff([]string{row.Short, row.Short + "-r2"}, s.trainer.jobs("submits")); diff != "" {
		t.Errorf("jobs (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(base, "checkpoints", "old")); err == nil {
		t.Error("a rerun found old checkpoints")
	}
	if n := s.note(commit); !strings.Contains(n, "State: succeeded") || !strings.Contains(n, "Attempt: 2") {
		t.Errorf("note:\n%s", n)
	}
}

func TestEvaluation(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end     gitmodels.JobStatus
		warning string
	}{
		"succeeds": {gitmodels.JobStatus{State: gitmodels.JobSucceeded}, ""},
		"fails":    {gitmodels.JobStatus{State: gitmodels.JobFailed, Cause: "exit status 1"}, "the evaluation failed: exit status 1"},
		"is lost":  {gitmodels.JobStatus{State: gitmodels.JobLost}, "the evaluation failed: it was lost"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.file(s.work, ".models.yaml", "train:\n  command: [python3, train.py]\nevaluate:\n  command: [python3, eval.py]\n")
			s.commit(s.work, "with an evaluation")
			s.trainer.end = func(job string) gitmodels.JobStatus {
				if strings.HasSuffix(job, "-eval") {
					return c.end
				}
				return gitmodels.JobStatus{State: gitmodels.JobSucceeded}
			}
			s.trainer.work = func(job gitmodels.Job) error {
				if !strings.HasSuffix(job.Name, "-eval") { // it plants a link where the evaluation's metrics go
					return os.Symlink(s.home, filepath.Join(job.Env["METRICS_DIR"], "eval"))
				}
				return os.WriteFile(filepath.Join(job.Env["METRICS_DIR"], "metrics.json"), []byte(`{"f1": 0.5}`), 0o600)
			}
			commit := s.push(models)
			s.untilIdle()
			row := s.want(commit, gitmodels.Succeeded, "")
			if row.Values["eval/f1"] != 0.5 {
				t.Errorf("values %v", row.Values)
			}
			if c.warning != "" && !slices.ContainsFunc(row.Warnings, func(w string) bool { return w == c.warning }) {
				t.Errorf("warnings %q, want %q", row.Warnings, c.warning)
			}
			if _, err := os.Stat(filepath.Join(s.home, "metrics.json")); err == nil {
				t.Error("the evaluation wrote through the link")
			}
		})
	}
}

func TestPanicIsAFailedTry(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	tries := 0
	s.trainer.submit = func(gitmodels.Job) error {
		if tries++; tries < 3 {
			panic("out of luck")
		}
		return nil
	}
	commit := s.push(models)
	s.untilIdle()
	s.want(commit, gitmodels.Succeeded, "")
	if tries != 3 || s.logs.count("a stage panicked") != 2 || !strings.Contains(s.logs.String(), "goroutine") {
		t.Errorf("%d tries\n%s", tries, s.logs)
	}
}

func TestTriesAreBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.trainer.submit = func(gitmodels.Job) error { return errors.New("out of file descriptors") }
	commit := s.push(models)
	s.untilIdle()
	s.want(commit, gitmodels.Failed, "train: submitting: out of file descriptors (tried 5 times)")
}

func TestInvalidIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	tries := 0
	s.trainer.submit = func(gitmodels.Job) error {
		tries++
		return &gitmodels.Error{Kind: gitmodels.Invalid, Message: "the command has a NUL byte"}
	}
	commit := s.push(models)
	s.untilIdle()
	s.want(commit, gitmodels.Failed, "the command has a NUL byte")
	if tries != 1 {
		t.Errorf("%d tries", tries)
	}
}

func TestStatusErrorsSayNothingOfTheJob(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	looks := 0
	s.trainer.status = func(gitmodels.Job) error {
		if looks++; looks < 20 {
			return errors.New("throttled")
		}
		return nil
	}
	commit := s.push(models)
	s.untilIdle()
	s.want(commit, gitmodels.Succeeded, "")
	if n := s.logs.count("the engine does not say how the job is"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

func TestLostIsTriedOnceWithItsCheckpoints(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.trainer.holdAll()
	var found []string
	s.trainer.work = func(job gitmodels.Job) error {
		dir := job.Env["CHECKPOINT_DIR"]
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			found = append(found, e.Name())
		}
		return errors.Join(err, os.WriteFile(filepath.Join(dir, "epoch-"+job.Env["GIT_MODELS_ATTEMPT"]), nil, 0o600),
			os.WriteFile(filepath.Join(job.Env["METRICS_DIR"], job.Env["GIT_MODELS_ATTEMPT"]+".jsonl"), []byte(`{"step": `+job.Env["GIT_MODELS_ATTEMPT"]+`, "loss": 1}`+"\n"), 0o600))
	}
	commit := s.push(models)
	name := commit.Short(7)
	s.trainer.finish(name, "lost the machine restarted")
	v := s.serve()
	s.awaitState(commit, gitmodels.Failed) // the second is lost, too
	s.awaitPublished()
	v.end()
	row := s.want(commit, gitmodels.Failed, "lost: the machine restarted (tried again 1 times)")
	if diff := cmp.Diff([]string{name, name}, s.trainer.jobs("submits")); diff != "" {
		t.Errorf("jobs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"epoch-1"}, found); diff != "" {
		t.Errorf("checkpoints of the second try (-want +got):\n%s", diff)
	}
	if len(row.Attempts) != 2 || row.Attempts[1].Cause != "lost" || row.Attempts[1].Name != name {
		t.Errorf("attempts %+v", row.Attempts)
	}
	for _, file := range []string{"1.jsonl", "2.jsonl"} { // the series goes on
		if _, err := os.Stat(filepath.Join(s.home, "store", "dogs", "metrics", name, file)); err != nil {
			t.Error(err)
		}
	}
	if n := s.note(commit); !strings.Contains(n, "State: failed") {
		t.Errorf("note:\n%s", n)
	}
}

func TestLostThenSucceeds(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.trainer.holdAll()
	commit := s.push(models)
	name := commit.Short(7)
	s.trainer.finish(name, "lost the machine restarted")
	s.trainer.submit = func(job gitmodels.Job) error {
		if job.Env["GIT_MODELS_ATTEMPT"] == "2" {
			s.trainer.finish(name, "succeeded")
		}
		return nil
	}
	s.untilIdle()
	row := s.want(commit, gitmodels.Succeeded, "")
	if *row.Attempt != 2 || row.Name != name {
		t.Errorf("attempt %d named %s", *row.Attempt, row.Name)
	}
}

func TestTransitionsAreShown(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.trainer.holdAll()
	seen := map[gitmodels.State]bool{}
	s.trainer.submit = func(gitmodels.Job) error {
		row, err := s.ledger.List(context.Background(), "", 1)
		if err == nil && len(row) == 1 {
			seen[*row[0].State] = true
		}
		return err
	}
	v := s.serve()
	commit := s.push(models)
	s.awaitState(commit, gitmodels.Running)
	if !seen[gitmodels.Submitted] {
		t.Errorf("states at the submission: %v", seen)
	}
	s.trainer.finish(commit.Short(7), "succeeded")
	s.awaitState(commit, gitmodels.Succeeded)
	v.end()
}
