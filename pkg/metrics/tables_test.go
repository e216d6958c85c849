package metrics

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// The files of loggers, as they write them.
var loggers = map[string]readCase{
	"lightning, sparse, the highest version": {
		files: map[string]string{
			"lightning_logs/version_0/metrics.csv":  "epoch,old,step\n0,1,0\n",
			"lightning_logs/version_9/metrics.csv":  "epoch,old,step\n0,1,0\n",
			"lightning_logs/version_10/metrics.csv": "epoch,step,train_loss,val_acc\r\n0,49,0.5,\r\n0,49,,0.75\r\n1,99,0.25,\r\n1,99,,nan\r\n",
			"lightning_logs/version_10/hparams.yml": "lr: 1",
		},
		want: []string{"epoch=1 49:0 99:1", "train_loss=0.25 49:0.5 99:0.25", "val_acc=0.75 49:0.75 99:NaN"},
	},
	"lightning, folders of its own": {
		files: map[string]string{
			"a/version_1/metrics.csv": "step,x\n1,1\n", "a/version_02/metrics.csv": "step,x\n1,2\n", "b/version_x/metrics.csv": "step,x\n1,3\n",
			"version_99999999999999999999/metrics.csv": "step,x\n1,4\n",
		},
		want: []string{"a/x=2 1:2", "b/version_x/x=3 1:3", "version_99999999999999999999/x=4 1:4"},
	},
	"ultralytics, padded": {
		files: map[string]string{"runs/detect/train/results.csv": "                  epoch,                   time,         train/box_loss,       metrics/mAP50(B)\n" +
			"                      1,                12.3,                 1.5,                 0.25\n                      2,                24.6,                 1.25,                 0.5\n"},
		want: []string{"runs/detect/train/metrics/mAP50(B)=0.5 1:0.25 2:0.5", "runs/detect/train/train/box_loss=1.25 1:1.5 2:1.25"},
	},
	"words, quotes, a mark at the front": {
		files: map[string]string{"metrics.csv": "\ufeffname,\"a,\"\"b\",inf\r\ncat,1,inf\r\n\"dog, old\",-Infinity,1e999\r\n,tensor(2),True\r\n"},
		want:  []string{`a,"b=1 0:1 1:-Infinity`, "inf=Infinity 0:Infinity 1:Infinity"},
	},
	"a table cut off": {
		files: map[string]string{"metrics.csv": "step,a,b\n1,1,1\n2,2,2\n3,3"},
		want:  []string{"a=2 1:1 2:2", "b=2 1:1 2:2"},
	},
	"a last line without its end": {
		files: map[string]string{"metrics.csv": "step,a\n1,1\n2,2"},
		want:  []string{"a=2 1:1 2:2"},
	},
	"broken records": {
		files:    map[string]string{"metrics.csv": "step,a\n1,1\n2\n3,\"x\n4,4,4\n5,5\n"},
		want:     []string{"a=5 1:1 5:5"},
		warnings: []string{"metrics.csv: 3 lines are left out, the first: line 3: 1 cells, the header has 2"},
	},
	"a header that is none": {
		files:    map[string]string{"metrics.csv": "step,\"a\n1,1\n"},
		warnings: []string{"metrics.csv: left out, its header cannot be read: extraneous or missing"},
	},
	"a header alone, columns without names": {
		files:    map[string]string{"metrics.csv": "step,a", "x/metrics.csv": ",a\n0,1\n1,2\n"},
		want:     []string{"x/a=2 0:1 1:2"},
		warnings: []string{"x/metrics.csv: a metric without a name is left out"},
	},
	"of two files the later wins": {
		files: map[string]string{"metrics.csv": "step,a\n1,1\n2,2\n", "results.csv": "step,a\n2,7\n3,8\n"},
		want:  []string{"a=8 1:1 2:7 3:8"},
	},
	"trainer state, newest checkpoint and the end": {
		files: map[string]string{
			"checkpoint-500/trainer_state.json":  `{"log_history": [{"step": 1, "gone": 1}]}`,
			"checkpoint-1000/trainer_state.json": `{"log_history": [{"step": 10, "loss": 2}, {"step": 20, "loss": 1.5}]}`,
			"trainer_state.json": `{"best_metric": 0.5, "global_step": 30, "log_history": [
				{"epoch": 0.5, "step": 10, "loss": NaN, "note": "x"}, 7, null, [1], {"step": 20, "eval_loss": 0.5, "log_history": [{"x": 1}]},
				{"step": 30, "train_runtime": 9.5, "nested": {"a": 1}}], "trial_params": null}`,
		},
		want: []string{"epoch=0.5 10:0.5", "eval_loss=0.5 20:0.5", "loss=1.5 10:NaN 20:1.5", "nested.a=1 30:1", "train_runtime=9.5 30:9.5"},
	},
	"trainer state, cut off": {
		files:    map[string]string{"trainer_state.json": `{"log_history": [{"step": 1, "loss": 2}, {"step": 2, "loss": 1`},
		want:     []string{"loss=2 1:2"},
		warnings: []string{"trainer_state.json: not a JSON object to its end"},
	},
	"trainer state without a history": {
		files: map[string]string{"trainer_state.json": `{"log_history": {"step": 1, "loss": 2}, "x": [{"loss": 3}]}`},
	},
	"dvclive": {
		files: map[string]string{
			"dvclive/metrics.json":                          `{"step": 2, "train": {"loss": 0.125}, "acc": 0.75}`,
			"dvclive/plots/metrics/train/loss.tsv":          "step\ttrain/loss\n0\t0.5\n1\t0.25\n",
			"dvclive/plots/metrics/acc.tsv":                 "timestamp\tstep\tacc\n1700000000\t0\t0.5\n1700000001\t1\tnan\n",
			"eval/dvclive/plots/metrics/deep/er/f1.tsv":     "step\tf1\n3\t0.5\n",
			"dvclive/plots/images/x.tsv":                    "step\tx\n0\t1\n",
			"dvclive/plots/metrics/nothing.tsv":             "step\n1\n",
			"dvclive/plots/metrics/train/not a table.tsv.x": "",
		},
		want: []string{"acc=0.75 0:0.5 1:NaN", "eval/deep/er/f1=0.5 3:0.5", "train/loss=0.125 0:0.5 1:0.25"},
	},
	"a hostile column": {
		files: map[string]string{"metrics.csv": "step,\u202ea,b\x1b[31m\n1,1,2\n"},
		want:  []string{`\u202ea=1 1:1`, `b\x1b[31m=2 1:2`},
	},
}

func TestReadLoggers(t *testing.T) {
	t.Parallel()
	for name, c := range loggers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

func TestTableBounds(t *testing.T) {
	t.Parallel()
	t.Run("columns", func(t *testing.T) {
		t.Parallel()
		var header, row strings.Builder
		header.WriteString("step")
		row.WriteString("1")
		for i := range 5000 {
			fmt.Fprintf(&header, ",c%d", i)
			row.WriteString(",1")
		}
		values, warnings, err := Read(folder(t, map[string]string{"metrics.csv": header.String() + "\n" + strings.Repeat(row.String()+"\n", 50)}))
		if err != nil || len(values) != MaxSeries || len(warnings) != maxWarned+1 || !strings.Contains(warnings[maxWarned], "3980 more") {
			t.Errorf("%d values, %v, %q", len(values), err, warnings)
		}
	})
	t.Run("cells", func(t *testing.T) {
		t.Parallel()
		commas := strings.Repeat(",", 8<<20)
		values, warnings, err := Read(folder(t, map[string]string{
			"metrics.csv":   "step,a\n1,1\n2," + strings.Repeat("9", 8<<20) + "\n" + commas + "\n3,3\n",
			"x/metrics.csv": commas,
		}))
		if err != nil || len(values) != 1 || len(values[0].Points) != 2 || len(warnings) != 2 {
			t.Errorf("%v, %v, %q", values, err, warnings)
		}
	})
	t.Run("size", func(t *testing.T) {
		t.Parallel()
		big := "step,a\n" + strings.Repeat("1,"+strings.Repeat(" ", 1<<20)+"1\n", 33)
		values, warnings, err := Read(folder(t, map[string]string{"metrics.csv": big}))
		if err != nil || len(values) != 0 || len(warnings) != 1 || !strings.Contains(warnings[0], "larger than 32 MiB") {
			t.Errorf("%v, %v, %q", values, err, warnings)
		}
	})
	t.Run("nesting", func(t *testing.T) {
		t.Parallel()
		deep := `{"log_history": [` + strings.Repeat(`{"log_history": [`, 1<<20)
		if _, warnings, err := Read(folder(t, map[string]string{"trainer_state.json": deep})); err != nil || len(warnings) != 1 {
			t.Errorf("%v, %q", err, warnings)
		}
	})
}

// FuzzTables: whatever the bytes, reading ends, names are printable, steps are
// finite and in order, and the result is JSON.
func FuzzTables(f *testing.F) {
	f.Add("step,a\n1,1\n2,nan\n", "step\ta\n1\t1\n", `{"log_history":[{"step":1,"loss":NaN}]}`)
	f.Add("\ufeff\"a\"\"\",b\r\n1,\"\n,", "\t\n\t\n", `{"log_history":[[{]}`)
	f.Add("epoch,time\n1e999,2\n-inf,0x1p4\n", "timestamp\tx\n1\t1", `{"log_history":[{"log_history":[{"a":1}]}],"log_history":[{"b":1}]}`)
	dir := f.TempDir() // of this worker, which makes one call after the other
	files := []string{"version_1/metrics.csv", "dvclive/plots/metrics/a/b.tsv", "checkpoint-7/trainer_state.json"}
	for _, name := range files {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, table, curve, history string) {
		for i, text := range []string{table, curve, history} {
			if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		values, warnings, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := json.Marshal(values); err != nil {
			t.Fatal(err)
		}
		for _, m := range values {
			if gitmodels.Printable(m.Name, 0) != m.Name || m.Name == "" {
				t.Fatalf("name %q", m.Name)
			}
			last := math.Inf(-1)
			for _, p := range m.Points {
				if !p.Step.Finite() || float64(p.Step) <= last {
					t.Fatalf("%s: step %v after %v", m.Name, p.Step, last)
				}
				last = float64(p.Step)
			}
		}
		for _, w := range warnings {
			if gitmodels.Printable(w, 0) != w {
				t.Fatalf("warning %q", w)
			}
		}
	})
}
