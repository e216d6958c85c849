package runner_test

import (
	"strings"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/wire"
)

func TestARingIsAnsweredWithReceipts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.cfg.Pace.Spool = time.Hour // only a ring has the spool looked into
	s.trainer.holdAll()
	s.serveSocket()
	first := s.push(models)
	ask := func(op wire.Op, updates ...gitmodels.Update) []gitmodels.Receipt {
		t.Helper()
		got, err := call(t, s.home, wire.Request{Op: op, Repository: s.bare, Updates: updates})
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: %+v, %v", op, got, err)
		}
		return got[0].Receipts
	}
	zero := gitmodels.CommitID(strings.Repeat("0", len(first)))
	r := ask(wire.Ring, gitmodels.Update{Old: zero, New: first, Ref: models})
	if len(r) != 1 || r[0].Commit != first || r[0].Ref != models || r[0].Repository != "dogs" || r[0].Base != "" {
		t.Errorf("the first ring: %+v", r)
	}
	if want := gitmodels.FileURI(s.home+"/store") + "/dogs"; r[0].Store != want {
		t.Errorf("store %s, want %s", r[0].Store, want)
	}
	s.awaitState(first, gitmodels.Running)

	// Before a push has moved anything its commit is nowhere, and nothing is taken up.
	unborn := gitmodels.CommitID(strings.Repeat("12345", 8))
	r = ask(wire.Receipts, gitmodels.Update{Old: first, New: unborn, Ref: models})
	if len(r) != 1 || r[0].Commit != unborn || r[0].Base != first {
		t.Errorf("receipts: %+v", r)
	}
	if r := ask(wire.Ring); r != nil {
		t.Errorf("a ring for nothing: %+v", r)
	}
	// What cannot be answered rings all the same.
	second := s.change("second")
	s.push(models)
	if r := ask(wire.Ring, gitmodels.Update{Old: first, New: "rubbish", Ref: models}); r != nil {
		t.Errorf("rubbish: %+v", r)
	}
	s.await("the second push", func() bool { return s.state(second) != "" })
	if _, err := call(t, s.home, wire.Request{Op: wire.Receipts, Repository: s.bare,
		Updates: []gitmodels.Update{{Old: first, New: "rubbish", Ref: models}}}); gitmodels.KindOf(err) != gitmodels.Invalid {
		t.Errorf("rubbish without a ring: %v", err)
	}
	got, err := call(t, s.home, wire.Request{Op: wire.Show, Repository: s.bare, Commit: string(second)})
	if err != nil || *got[0].Rows[0].State != gitmodels.Queued || got[0].Rows[0].Ahead == nil {
		t.Errorf("show of a queued run: %+v, %v", got, err)
	}
}

func TestAHookAsksOnAPushersBehalf(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.trainer.holdAll()
	s.serveSocket()
	commit := s.push(models)
	s.awaitState(commit, gitmodels.Running)
	if _, err := call(t, s.home, wire.Request{Op: wire.Cancel, Repository: s.bare, Commit: commit.Short(7), By: "gr\x1bace" + strings.Repeat("e", 500)}); err != nil {
		t.Fatal(err)
	}
	s.awaitState(commit, gitmodels.Cancelled)
	row := s.want(commit, gitmodels.Cancelled, "cancelled by gr")
	if strings.Contains(*row.Cause, "\x1b") || len(*row.Cause) > 200 {
		t.Errorf("cause %q", *row.Cause)
	}
	if _, err := call(t, s.home, wire.Request{Op: wire.Rerun, Repository: s.bare, Commit: commit.Short(7), By: "grace"}); err != nil {
		t.Fatal(err)
	}
	if row := s.show(commit); row.Attempts[1].Actor != "grace" {
		t.Errorf("attempts %+v", row.Attempts)
	}
}
