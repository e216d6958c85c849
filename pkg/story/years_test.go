package story

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/publish"
)

// years makes N runs of the past in a server's branch: a commit a day, and what
// its outcome left in the repository, in the publisher's own words: the note,
// the curves, the link in the chain, the tag. A slowly rising accuracy makes the
// last of them the best.
func years(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: years N SERVER BRANCH")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	server, ref := ts.MkAbs(args[1]), gitmodels.RefName("refs/heads/"+args[2])
	tip := strings.TrimSpace(git(ts, server, "", "rev-parse", string(ref)))
	began, err := strconv.Atoi(strings.TrimSpace(git(ts, server, "", "rev-list", "--count", tip)))
	ts.Check(err)

	day := func(i int) time.Time { return time.Date(2016, 1, 1, 12, 0, 0, 0, time.UTC).AddDate(0, 0, began+i) }
	s := &stream{ts: ts, server: server}
	for i := range n {
		s.commit(string(ref), day(i), fmt.Sprintf("day %d", began+i))
		s.file("src/day", fmt.Sprintln(began+i))
	}
	s.run()
	commits := strings.Fields(git(ts, server, "", "rev-list", "--reverse", tip+".."+string(ref)))

	names := map[string]bool{}
	for i, id := range commits {
		o := pastOutcome(gitmodels.CommitID(id), ref, began+i, day(i), names)
		note := publish.Note(o, nil)
		s.commit(string(publish.KeepRef), day(i), "keep "+id)
		fmt.Fprintf(s, "merge %s\n", id)
		s.commit("refs/notes/models", day(i), "note of "+id)
		s.note(id, note)
		s.commit("refs/notes/models-curves", day(i), "curves of "+id)
		s.note(id, publish.Curves(o.Values, o.Best))
		fmt.Fprintf(s, "tag trained/%s\nfrom %s\ntagger git-models <git-models@localhost> %d +0000\n%s", o.Name, id, day(i).Unix(), data(note))
	}
	s.run()
	best := "refs/heads/best/" + args[2]
	git(ts, server, "", "update-ref", best, commits[len(commits)-1])
	git(ts, server, "", "pack-refs", "--all")
}

// pastOutcome is how the run of a day ended, under a name that no other has.
func pastOutcome(commit gitmodels.CommitID, ref gitmodels.RefName, n int, at time.Time, names map[string]bool) gitmodels.Outcome {
	digits := 7
	for names[commit.Short(digits)] {
		digits++
	}
	short := commit.Short(digits)
	names[short] = true
	accuracy := gitmodels.Number(0.5 + float64(n)/20_000)
	return gitmodels.Outcome{
		State: gitmodels.Succeeded, Cause: "training ended with status 0", Run: short, Name: short, Attempt: 1,
		Commit: commit, Ref: ref, Engine: "process", Job: short,
		Artifacts: "file:///srv/models/store/server/artifacts/" + short,
		Metrics:   "file:///srv/models/store/server/metrics/" + short,
		Values: []gitmodels.Metric{
			{Name: "accuracy", Final: accuracy},
			{Name: "loss", Final: 0.25, Points: []gitmodels.Point{{Step: 1, Value: 0.5}, {Step: 2, Value: 0.25}}},
		},
		Best:    &gitmodels.Best{Metric: "accuracy", Mode: "max"},
		Created: at, Started: at, Finished: at.Add(time.Hour),
	}
}

// stream is what one git fast-import gets to read.
type stream struct {
	strings.Builder
	ts     *testscript.TestScript
	server string
	begun  []string // refs that this stream has a commit of already
}

// commit begins a commit on top of ref.
func (s *stream) commit(ref string, at time.Time, subject string) {
	fmt.Fprintf(s, "commit %s\ncommitter git-models <git-models@localhost> %d +0000\n%s", ref, at.Unix(), data(subject))
	if !slices.Contains(s.begun, ref) {
		s.begun = append(s.begun, ref)
		if out := git(s.ts, s.server, "", "for-each-ref", ref); out != "" {
			fmt.Fprintf(s, "from %s^0\n", ref)
		}
	}
}

func (s *stream) file(path, text string) {
	fmt.Fprintf(s, "M 100644 inline %s\n%s", path, data(text))
}

func (s *stream) note(commit, text string) {
	fmt.Fprintf(s, "N inline %s\n%s", commit, data(text))
}

func data(text string) string { return fmt.Sprintf("data %d\n%s\n", len(text), text) }

func (s *stream) run() {
	git(s.ts, s.server, s.String()+"done\n", "fast-import", "--quiet", "--done")
	s.Reset()
	s.begun = nil
}

// current compares the clone in the current folder with its server: the
// branches that it tracks, the notes of ours and, unless "no tags" is said, the
// tags are the same on both sides, and none is left over.
func current(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: current SERVER [notags]")
	}
	prefixes := []string{"refs/heads/", "refs/notes/models", "refs/tags/"}
	if len(args) == 2 {
		prefixes = prefixes[:2]
	}
	want := refsWithin(git(ts, ts.MkAbs(args[0]), "", "for-each-ref", "--format=%(objectname) %(refname)"), prefixes)
	tracked := git(ts, ts.MkAbs("."), "", "for-each-ref", "--format=%(if)%(symref)%(then)%(else)%(objectname) %(refname)%(end)",
		"refs/remotes/origin", "refs/notes", "refs/tags")
	got := refsWithin(strings.ReplaceAll(tracked, " refs/remotes/origin/", " refs/heads/"), prefixes)
	for ref, id := range want {
		if got[ref] != id {
			ts.Fatalf("%s is at %q here and at %s on the server", ref, got[ref], id)
		}
	}
	for ref := range got {
		if _, there := want[ref]; !there {
			ts.Fatalf("%s is stale: the server has none", ref)
		}
	}
	ts.Logf("%d refs of %s are current in %s", len(want), args[0], filepath.Base(ts.MkAbs(".")))
}

// refsWithin reads "<id> <ref>" lines of refs that begin with one of prefixes.
func refsWithin(lines string, prefixes []string) map[string]string {
	refs := map[string]string{}
	for line := range strings.Lines(lines) {
		id, ref, ok := strings.Cut(strings.TrimSpace(line), " ")
		if ok && slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(ref, p) }) {
			refs[ref] = id
		}
	}
	return refs
}
