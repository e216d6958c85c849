package story

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// load pushes from the clone in the current folder to many servers at once, and
// writes down for each server which commits it got.
func load(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: load PUSHES SERVER…")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	clone, servers := ts.MkAbs("."), args[1:]
	tip := strings.TrimSpace(git(ts, clone, "", "rev-parse", "HEAD"))
	s := &stream{ts: ts, server: clone}
	for i := range n {
		fmt.Fprintf(s, "commit refs/heads/load/%d\ncommitter Alice <alice@example.com> %d +0000\n%sfrom %s\n", i, 1_700_000_000+i, data(fmt.Sprint("load ", i)), tip)
		s.file("src/load", fmt.Sprintln(i))
	}
	s.run()
	var pushed sync.WaitGroup
	failed := make([]error, n)
	commits := map[string][]string{} // by server
	for i := range n {
		server := servers[i%len(servers)]
		commits[server] = append(commits[server], strings.TrimSpace(git(ts, clone, "", "rev-parse", fmt.Sprint("load/", i))))
		pushed.Go(func() {
			push := exec.Command("git", "push", "-q", ts.MkAbs(server), fmt.Sprintf("load/%d:refs/heads/models/load-%d", i, i))
			push.Dir, push.Env = clone, environ(ts)
			if out, err := push.CombinedOutput(); err != nil {
				failed[i] = fmt.Errorf("push %d to %s: %w\n%s", i, server, err, out)
			}
		})
	}
	pushed.Wait()
	for _, err := range failed {
		ts.Check(err)
	}
	for server, ids := range commits {
		ts.Check(os.WriteFile(ts.MkAbs(server)+".pushed", []byte(strings.Join(ids, "\n")), 0o644))
	}
}

// once checks that of every commit that load pushed to a server there is one
// record, one run that succeeded, one job and one note, and nothing else.
func once(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: once SERVER…")
	}
	for _, server := range args {
		onceIn(ts, server)
	}
}

func onceIn(ts *testscript.TestScript, server string) {
	dir := ts.MkAbs(server)
	repository := strings.TrimSuffix(filepath.Base(dir), ".git")
	commits := strings.Fields(ts.ReadFile(dir + ".pushed"))
	ts.Check(ts.Exec("git", "models", "--repo", dir, "ls", "--json"))
	var rows []gitmodels.Listing
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &rows))
	listed := map[string]int{}
	for _, r := range rows {
		listed[string(r.Commit)]++
	}
	if len(rows) != len(commits) {
		ts.Fatalf("%s: %d commits are recorded, %d were pushed", server, len(rows), len(commits))
	}
	notes := git(ts, dir, "", "notes", "--ref=models", "list")
	for _, commit := range commits {
		if listed[commit] != 1 {
			ts.Fatalf("%s: %s is listed %d times", server, commit, listed[commit])
		}
		ts.Check(ts.Exec("git", "models", "--repo", dir, "show", "--json", commit))
		var row gitmodels.Listing
		ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &row))
		if row.State == nil || *row.State != gitmodels.Succeeded || len(row.Attempts) != 1 || len(row.Pushes) != 1 || row.Decision != gitmodels.DecisionRun {
			ts.Fatalf("%s: %s\n%s", server, commit, ts.ReadFile("stdout"))
		}
		if k := strings.Count(notes, " "+commit); k != 1 {
			ts.Fatalf("%s: %s has %d notes", server, commit, k)
		}
		started, err := filepath.Glob(filepath.Join(ts.Getenv("WORK"), "started", repository+"."+commit+".*"))
		ts.Check(err)
		if len(started) != 1 {
			ts.Fatalf("%s: %s was trained %d times", server, commit, len(started))
		}
	}
}
