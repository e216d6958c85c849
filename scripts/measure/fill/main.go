// Command fill makes the long pasts that scripts/bench measures against, and
// times the ledger by itself. It is for the bench alone.
//
//	fill runs HOME REPOSITORY RUNS QUEUED  that many runs that succeeded, and queued ones
//	fill times HOME REPOSITORY TIMES       prints how long a list and a claim take, as JSON
//	fill outcomes TAGS                     commits on stdin; a stream for git fast-import
//	                                       with a note and a link in the chain for each,
//	                                       and tags for TAGS of them
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/ledger"
	"github.com/git-models/git-models/pkg/publish"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fill:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	numbers := func(words []string) (n [2]int, err error) {
		for i, w := range words {
			if n[i], err = strconv.Atoi(w); err != nil {
				return n, err
			}
		}
		return n, nil
	}
	switch {
	case len(args) == 5 && args[0] == "runs":
		n, err := numbers(args[3:])
		if err != nil {
			return err
		}
		return fillRuns(ctx, args[1], args[2], n[0], n[1])
	case len(args) == 4 && args[0] == "times":
		n, err := numbers(args[3:])
		if err != nil {
			return err
		}
		return times(ctx, args[1], args[2], n[0])
	case len(args) == 2 && args[0] == "outcomes":
		n, err := numbers(args[1:])
		if err != nil {
			return err
		}
		return outcomes(os.Stdin, os.Stdout, n[0])
	}
	return errors.New("usage: fill runs|times|outcomes …")
}

// open opens the ledger of home and finds the repository at path in it.
func open(ctx context.Context, home, path string) (*ledger.Ledger, gitmodels.Repository, error) {
	l, err := ledger.Open(ctx, home)
	if err != nil {
		return nil, gitmodels.Repository{}, err
	}
	repos, err := l.Repositories(ctx)
	for _, r := range repos {
		if r.Path == path {
			return l, r, nil
		}
	}
	return nil, gitmodels.Repository{}, errors.Join(err, fmt.Errorf("%s is not registered in %s", path, home))
}

// block is how many runs are recorded at once: the queue stays short, as it is
// where a runner keeps up.
const block = 200

// fillRuns records runs by the ledger's own methods, and walks all but the last
// ones to their end.
func fillRuns(ctx context.Context, home, path string, runs, queued int) error {
	l, repo, err := open(ctx, home, path)
	if err != nil {
		return err
	}
	for from := 0; from < runs; from += block {
		if err := record(ctx, l, repo, from, min(from+block, runs)); err != nil {
			return err
		}
		for {
			c, err := l.Claim(ctx, "fill", time.Hour, 1, nil)
			if err != nil {
				return err
			}
			if c == nil {
				break
			}
			if err := end(ctx, l, c); err != nil {
				return err
			}
		}
	}
	if err := record(ctx, l, repo, runs, runs+queued); err != nil {
		return err
	}
	return l.Close()
}

func record(ctx context.Context, l *ledger.Ledger, repo gitmodels.Repository, from, to int) error {
	return l.Batch(ctx, func(r gitmodels.PushRecorder) error {
		for i := from; i < to; i++ {
			_, err := r.RecordPush(ctx, gitmodels.NewPush{Abbrev: 7, PushRecord: gitmodels.PushRecord{
				ID: fmt.Sprintf("fill-%08d", i), RepositoryID: repo.ID, Source: gitmodels.SourceHook, At: time.Now(),
				Pusher: gitmodels.Pusher{Name: "a"},
				Update: gitmodels.Update{Old: id(i - 1), New: id(i), Ref: "refs/heads/models"},
			}})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// end finishes a claimed run and delivers its outcome.
func end(ctx context.Context, l *ledger.Ledger, c *gitmodels.Claim) error {
	if err := l.Finish(ctx, c, outcome(c.Run.Commit)); err != nil {
		return err
	}
	for {
		item, err := l.NextOutbox(ctx)
		if err != nil || item == nil {
			return err
		}
		if err := l.DoneOutbox(ctx, item.ID, ""); err != nil {
			return err
		}
	}
}

// id spreads numbers over commit ids, as a hash would.
func id(i int) gitmodels.CommitID {
	if i < 0 {
		return gitmodels.CommitID(strings.Repeat("0", 40))
	}
	return gitmodels.CommitID(fmt.Sprintf("%08x%032x", uint32(i+1)*2654435761, i+1))
}

// outcome is how a run of commit ended that succeeded.
func outcome(commit gitmodels.CommitID) gitmodels.Outcome {
	short := commit.Short(7)
	now := time.Now()
	return gitmodels.Outcome{
		State: gitmodels.Succeeded, Cause: "training ended with status 0", Run: short, Attempt: 1, Name: short, Commit: commit,
		Ref: "refs/heads/models", Subject: "step", Engine: "process", Job: short,
		Overrides: []string{"optimizer.lr=0.01", "epochs=20"},
		Artifacts: "file:///srv/models/store/dogs/artifacts/" + short, Metrics: "file:///srv/models/store/dogs/metrics/" + short,
		Values:  []gitmodels.Metric{{Name: "val_accuracy", Final: 0.913}, {Name: "loss", Final: 0.241}},
		Created: now.Add(-time.Minute), Started: now.Add(-time.Minute), Finished: now,
	}
}

// times lists and claims over and over. The state directory is copied for the
// claims' sake by whoever calls: they change it.
func times(ctx context.Context, home, path string, n int) error {
	l, repo, err := open(ctx, home, path)
	if err != nil {
		return err
	}
	size, err := os.Stat(filepath.Join(home, ledger.FileName))
	if err != nil {
		return err
	}
	took := map[string][]time.Duration{}
	timed := func(what string, do func() error) error {
		start := time.Now()
		err := do()
		took[what] = append(took[what], time.Since(start))
		return err
	}
	for range n {
		err := errors.Join(
			timed("list", func() error {
				rows, err := l.List(ctx, repo.ID, 31)
				if err == nil && len(rows) != 31 {
					err = fmt.Errorf("%d rows, want 31", len(rows))
				}
				return err
			}),
			timed("claim", func() error {
				c, err := l.Claim(ctx, "fill", time.Hour, n+1, func(gitmodels.Candidate, []gitmodels.Candidate) bool { return true })
				if err == nil && c == nil {
					err = errors.New("nothing to claim")
				}
				return err
			}))
		if err != nil {
			return err
		}
	}
	answer := map[string]float64{"bytes": float64(size.Size())}
	for what, all := range took {
		slices.Sort(all)
		answer[what+"_ms"] = float64(all[len(all)/2].Microseconds()) / 1000
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		return err
	}
	return l.Close()
}

// outcomes writes what many runs leave in a repository.
func outcomes(in io.Reader, out io.Writer, tags int) error {
	w := bufio.NewWriter(out)
	data := func(text string) { fmt.Fprintf(w, "data %d\n%s\n", len(text), text) }
	var commits []gitmodels.CommitID
	for lines := bufio.NewScanner(in); lines.Scan(); {
		c, err := gitmodels.ParseCommitID(lines.Text())
		if err != nil {
			return err
		}
		commits = append(commits, c)
	}
	const who = "committer git-models <git-models@localhost> 1700000000 +0000\n"
	for i, c := range commits {
		fmt.Fprintf(w, "commit %s\n%s", publish.KeepRef, who)
		data("keep " + string(c))
		fmt.Fprintf(w, "merge %s\n\ncommit %s\n%s", c, publish.DefaultNotesRef, who)
		data("note of " + string(c))
		note := publish.Note(outcome(c), nil)
		fmt.Fprintf(w, "N inline %s\n", c)
		data(note)
		fmt.Fprintln(w)
		if i >= len(commits)-tags {
			fmt.Fprintf(w, "tag trained/%s\nfrom %s\ntagger git-models <git-models@localhost> 1700000000 +0000\n", c.Short(12), c)
			data(note)
		}
	}
	fmt.Fprintln(w, "done")
	return w.Flush()
}
