package install

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/hydra"
	"github.com/git-models/git-models/pkg/metrics"
)

func scaffold(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a project")
	var out bytes.Buffer
	must(t, Scaffold(context.Background(), dir, &out))
	contains(t, out.String(), dir+"\n", "cd '"+dir+"' && python3 src/train.py", "git push origin main:models")
	return dir
}

func TestScaffold(t *testing.T) {
	t.Parallel()
	dir := scaffold(t)
	var got []string
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			got = append(got, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	}))
	want := []string{".gitattributes", ".gitignore", ".models.yaml", "README.md",
		"deploy/sagemaker-job-config.yaml", "deploy/train-config.yaml",
		"src/Dockerfile", "src/data/iris.csv", "src/dataset.py", "src/evaluate.py", "src/folders.py",
		"src/network.py", "src/settings.py", "src/train.py"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	// An empty folder is as good as none; one that holds anything is not touched.
	empty := t.TempDir()
	must(t, Scaffold(context.Background(), empty, &bytes.Buffer{}))
	taken := t.TempDir()
	must(t, os.WriteFile(filepath.Join(taken, "mine"), nil, 0o644))
	for _, path := range []string{taken, filepath.Join(taken, "mine")} {
		var out bytes.Buffer
		err := Scaffold(context.Background(), path, &out)
		var e *gitmodels.Error
		if !errors.As(err, &e) || e.Kind != gitmodels.Invalid || e.Message != path+" exists already and is not empty" || out.Len() > 0 {
			t.Errorf("%s: %v, said %q", path, err, out.String())
		}
	}
	if names, err := os.ReadDir(taken); err != nil || len(names) != 1 {
		t.Errorf("it wrote into the folder: %v %v", names, err)
	}
}

// TestData holds the data against the summary statistics of the paper's 150
// flowers: mean and standard deviation per species and over all.
func TestData(t *testing.T) {
	t.Parallel()
	data, err := template.ReadFile("template/src/data/iris.csv")
	must(t, err)
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if lines[0] != "sepal_length,sepal_width,petal_length,petal_width,species" || len(lines) != 151 {
		t.Fatalf("header %q, %d lines", lines[0], len(lines))
	}
	columns := map[string][4][]float64{}
	for _, line := range lines[1:] {
		cells := strings.Split(line, ",")
		for _, group := range []string{cells[4], "all"} {
			c := columns[group]
			for i := range c {
				x, err := strconv.ParseFloat(cells[i], 64)
				must(t, err)
				c[i] = append(c[i], x)
			}
			columns[group] = c
		}
	}
	want := map[string]string{
		"setosa":     "50: 5.006 0.352, 3.428 0.379, 1.462 0.174, 0.246 0.105",
		"versicolor": "50: 5.936 0.516, 2.770 0.314, 4.260 0.470, 1.326 0.198",
		"virginica":  "50: 6.588 0.636, 2.974 0.322, 5.552 0.552, 2.026 0.275",
		"all":        "150: 5.843 0.828, 3.057 0.436, 3.758 1.765, 1.199 0.762",
	}
	got := map[string]string{}
	for group, c := range columns {
		var parts []string
		for _, column := range c {
			mean, deviation := 0.0, 0.0
			for _, x := range column {
				mean += x / float64(len(column))
			}
			for _, x := range column {
				deviation += (x - mean) * (x - mean) / float64(len(column)-1)
			}
			parts = append(parts, fmt.Sprintf("%.3f %.3f", mean, math.Sqrt(deviation)))
		}
		got[group] = fmt.Sprintf("%d: %s", len(c[0]), strings.Join(parts, ", "))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("statistics (-want +got):\n%s", diff)
	}
}

// training is one project that is trained by hand.
type training struct {
	t   *testing.T
	dir string
	env []string
}

func newTraining(t *testing.T) *training {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not in PATH")
	}
	return &training{t: t, dir: scaffold(t)}
}

// run starts a program of the project and returns what it printed and its exit
// status.
func (tr *training) run(program string, words ...string) (string, int) {
	tr.t.Helper()
	cmd := exec.Command("python3", append([]string{"-B", "src/" + program}, words...)...)
	cmd.Dir = tr.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, tr.env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		tr.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (tr *training) good(program string, words ...string) string {
	tr.t.Helper()
	out, status := tr.run(program, words...)
	if status != 0 {
		tr.t.Fatalf("%s %v ends with %d:\n%s", program, words, status, out)
	}
	return out
}

// in names folders of their own, as a run does.
func (tr *training) in(name string) *training {
	tr.t.Helper()
	dir := filepath.Join(tr.t.TempDir(), name)
	return &training{t: tr.t, dir: tr.dir, env: []string{
		"ARTIFACTS_DIR=" + dir + "/artifacts", "METRICS_DIR=" + dir + "/metrics", "CHECKPOINT_DIR=" + dir + "/checkpoints",
	}}
}

func (tr *training) folder(i int) string {
	_, path, _ := strings.Cut(tr.env[i], "=")
	return path
}

func (tr *training) artifacts() string   { return tr.folder(0) }
func (tr *training) metrics() string     { return tr.folder(1) }
func (tr *training) checkpoints() string { return tr.folder(2) }

func (tr *training) read(path string) string {
	tr.t.Helper()
	data, err := os.ReadFile(path)
	must(tr.t, err)
	return string(data)
}

// TestTrainAndEvaluate: the defaults learn, and their metrics are read as every
// run's are.
func TestTrainAndEvaluate(t *testing.T) {
	t.Parallel()
	tr := newTraining(t).in("run")
	out := tr.good("train.py", "experiment_name=5a32b0f")
	contains(t, out, "5a32b0f: 90 flowers to learn from, 30 to validate", "epoch    1/40  loss ", "epoch   40/40  loss ", "done: val_accuracy ")
	out = tr.good("evaluate.py", "experiment_name=5a32b0f")
	contains(t, out, "true        predicted setosa  versicolor  virginica\n", "test_accuracy 0.9", " on 30 flowers")

	values, warnings, err := metrics.Read(tr.metrics())
	must(t, err)
	if len(warnings) > 0 {
		t.Errorf("warnings: %q", warnings)
	}
	byName := map[string]gitmodels.Metric{}
	for _, v := range values {
		byName[v.Name] = v
	}
	for _, name := range []string{"val_accuracy", "best_val_accuracy", "eval/test_accuracy"} {
		if v := byName[name].Final; v <= 0.9 || v > 1 {
			t.Errorf("%s is %v, want more than 0.9", name, v)
		}
	}
	for _, name := range []string{"loss", "val_loss", "val_accuracy", "lr"} {
		if points := byName[name].Points; len(points) != 40 || points[0].Step != 1 || points[39].Step != 40 {
			t.Errorf("%s has %d points, want one for each of 40 epochs", name, len(points))
		}
	}
	if first, last := byName["loss"].Points[0].Value, byName["loss"].Final; last >= first/5 {
		t.Errorf("the loss went from %v to %v only", first, last)
	}
	if names, err := os.ReadDir(tr.checkpoints()); err != nil || len(names) > 0 {
		t.Errorf("a finished training leaves %v (%v)", names, err)
	}
	var confusion struct {
		Species []string
		Counts  [][]int
	}
	must(t, json.Unmarshal([]byte(tr.read(tr.metrics()+"/eval/confusion.json")), &confusion))
	for i, row := range confusion.Counts {
		if sum := row[0] + row[1] + row[2]; sum != 10 {
			t.Errorf("%s: %d flowers in the confusion matrix, want 10", confusion.Species[i], sum)
		}
	}
}

// TestDefaultsAreTheFile: train-config.yaml and the programs name the same
// parameters with the same values, so by hand is as by push.
func TestDefaultsAreTheFile(t *testing.T) {
	t.Parallel()
	tr := newTraining(t)
	words := overrides(t)
	short := []string{"epochs=1"}
	byFile, byHand := tr.in("file"), tr.in("hand")
	byFile.good("train.py", append(words, short...)...)
	byHand.good("train.py", short...)
	if diff := cmp.Diff(byFile.read(byFile.artifacts()+"/model.json"), byHand.read(byHand.artifacts()+"/model.json")); diff != "" {
		t.Errorf("models (-by file +by hand):\n%s", diff)
	}
	var keys []string
	for _, w := range words {
		key, _, _ := strings.Cut(w, "=")
		keys = append(keys, key)
	}
	out, _ := tr.run("train.py", "x=1")
	_, list, _ := strings.Cut(out, "known are ")
	known := strings.Split(strings.TrimSpace(list), ", ")
	if diff := cmp.Diff(append(keys, "experiment_name"), known); diff != "" {
		t.Errorf("parameters (-file +programs):\n%s", diff)
	}
}

// overrides are the words that a run of the template gets.
func overrides(t *testing.T) []string {
	t.Helper()
	data, err := template.ReadFile("template/deploy/train-config.yaml")
	must(t, err)
	list, err := hydra.Overrides(data)
	must(t, err)
	var words []string
	for _, o := range list {
		words = append(words, o.Text)
	}
	return words
}

// TestEveryParameterCounts changes one at a time and looks for the change.
func TestEveryParameterCounts(t *testing.T) {
	t.Parallel()
	tr := newTraining(t)
	base := tr.in("base")
	base.good("train.py", "epochs=3")
	model := func(tr *training) string {
		// The settings are in the model too: only what was learned counts.
		learned, _, _ := strings.Cut(tr.read(tr.artifacts()+"/model.json"), `"settings"`)
		return learned
	}
	same := tr.in("same")
	same.good("train.py", "epochs=3")
	if model(same) != model(base) {
		t.Error("the same seed gives two models")
	}
	changed := []string{"seed=8", "epochs=4", "batch_size=30", "data.validation=0.3", "data.test=0.1", "data.standardize=False",
		"model.hidden=0", "model.activation=relu", "optimizer.lr=0.01", "optimizer.decay=0.5", "optimizer.momentum=0.0", "optimizer.weight_decay=0.1"}
	for _, word := range changed {
		other := tr.in("other")
		other.good("train.py", "epochs=3", word)
		if model(other) == model(base) {
			t.Errorf("%s changes nothing", word)
		}
	}
	named := tr.in("named")
	contains(t, named.good("train.py", "epochs=1", "experiment_name='1e12345'"), "1e12345: 90 flowers")
	// checkpoint.every is TestResume's.
	covered := append(changed, "checkpoint.every=")
	for _, word := range overrides(t) {
		key, _, _ := strings.Cut(word, "=")
		if !slices.ContainsFunc(covered, func(c string) bool { return strings.HasPrefix(c, key+"=") }) {
			t.Errorf("no case for %s", key)
		}
	}
}

func TestBadWords(t *testing.T) {
	t.Parallel()
	tr := newTraining(t)
	for word, want := range map[string]string{
		"optimizer.l=1":         "there is no parameter 'optimizer.l', did you mean optimizer.lr?",
		"lr=1":                  "did you mean optimizer.lr?",
		"zebra=1":               "known are seed, epochs, ",
		"epochs":                "want key=value",
		"epochs=many":           "want a whole number",
		"epochs=0":              "want a value from 1 to 1000000",
		"optimizer.lr=nan":      "want a value from ",
		"optimizer.lr=":         "want a number",
		"model.activation=sine": "want one of tanh, relu",
		"data.standardize=1":    "want true or false",
		"experiment_name=../x":  "want a name",
		"experiment_name=":      "want a name",
	} {
		for _, program := range []string{"train.py", "evaluate.py"} {
			out, status := tr.run(program, word)
			if status != 2 || strings.Contains(out, "Traceback") {
				t.Errorf("%s %s ends with %d:\n%s", program, word, status, out)
			}
			contains(t, out, want, "'"+word+"'")
		}
	}
	if _, err := os.Stat(filepath.Join(tr.dir, "outputs")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
}

// TestResume: a training that is interrupted and goes on ends with the model it
// would have had, and its metrics are whole.
func TestResume(t *testing.T) {
	t.Parallel()
	tr := newTraining(t)
	whole, broken := tr.in("whole"), tr.in("broken")
	whole.good("train.py", "epochs=20", "checkpoint.every=4")

	saved := interrupt(t, broken)
	contains(t, broken.good("train.py", "epochs=20", "checkpoint.every=4", "experiment_name=local"), "going on from the checkpoint after epoch 8", "epoch    9/20")
	for _, path := range []string{"artifacts/model.json", "metrics/metrics.jsonl", "metrics/metrics.json"} {
		a := whole.read(filepath.Join(filepath.Dir(whole.artifacts()), path))
		b := broken.read(filepath.Join(filepath.Dir(broken.artifacts()), path))
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("%s (-whole +resumed):\n%s", path, diff)
		}
	}

	checkpoint := filepath.Join(broken.checkpoints(), "checkpoint.json")
	must(t, os.WriteFile(checkpoint, saved, 0o644))
	contains(t, broken.good("train.py", "epochs=20", "seed=9"), "is of other parameters: beginning anew", "epoch    1/20")
	must(t, os.WriteFile(checkpoint, saved[:len(saved)/2], 0o644))
	contains(t, broken.good("train.py", "epochs=20"), "is unreadable", "epoch    1/20")
	out := broken.good("train.py", "epochs=20", "checkpoint.every=0")
	if strings.Contains(out, "going on") {
		t.Errorf("there was a checkpoint:\n%s", out)
	}
}

// interrupt ends a training in the middle of epoch 10, two after its last
// checkpoint, and returns that.
func interrupt(t *testing.T, tr *training) []byte {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(tr.dir, "src", "interrupted.py"), []byte(`import sys
import train

learn = train.learn
train.learn = lambda *args: sys.exit(9) if args[3] == 10 else learn(*args)
train.main()
`), 0o644))
	if out, status := tr.run("interrupted.py", "epochs=20", "checkpoint.every=4"); status != 9 {
		t.Fatalf("ends with %d:\n%s", status, out)
	}
	data, err := os.ReadFile(filepath.Join(tr.checkpoints(), "checkpoint.json"))
	must(t, err)
	return data
}

// TestLearnsNothing: status 0 says that the model is good to keep, so a training
// that comes to nothing must not have it.
func TestLearnsNothing(t *testing.T) {
	t.Parallel()
	tr := newTraining(t)
	for name, tc := range map[string]struct {
		words []string
		want  string
	}{
		"diverges":   {[]string{"optimizer.lr=1000", "optimizer.momentum=0.999", "optimizer.weight_decay=10"}, "the training diverged"},
		"is in vain": {[]string{"epochs=1", "optimizer.lr=1e-9", "seed=1"}, "the training learned less than guessing knows"},
	} {
		run := tr.in(name)
		out, status := run.run("train.py", tc.words...)
		if status != 1 || strings.Contains(out, "Traceback") {
			t.Errorf("what %s ends with %d:\n%s", name, status, out)
		}
		contains(t, out, tc.want+": another optimizer.lr or more epochs may help")
		if _, err := os.Stat(filepath.Join(run.artifacts(), "model.json")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what %s left a model: %v", name, err)
		}
	}
}

// TestByHand: without a run around it everything is below outputs.
func TestByHand(t *testing.T) {
	t.Parallel()
	tr := newTraining(t)
	out, status := tr.run("evaluate.py")
	if status != 1 || !strings.Contains(out, "there is no model at outputs/local/artifacts/model.json: train first") {
		t.Errorf("before training: %d\n%s", status, out)
	}
	tr.good("train.py", "epochs=2")
	tr.good("evaluate.py")
	git(t, tr.dir, "init", "-q")
	git(t, tr.dir, "add", "-A")
	if list := git(t, tr.dir, "ls-files", "outputs"); list != "" {
		t.Errorf("git would keep %s", list)
	}
	if list := git(t, tr.dir, "ls-files", ".models.yaml"); list == "" {
		t.Error("git would leave .models.yaml out")
	}
}
