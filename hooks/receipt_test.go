package hooks

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/wire"
)

var update = flag.Bool("update", false, "write the golden files")

// quotedName is the name of an attempt as Hydra and then a shell quote it.
var quotedName = regexp.MustCompile(`'experiment_name='\\''([-a-z0-9]+)'\\'''`)

// golden compares our words of a push with a file, in which commits have names
// and the site's folder is called DIR.
func (s *site) golden(name, out string, commits map[string]string) {
	s.t.Helper()
	text := strings.ReplaceAll(ours(out), s.dir, "/DIR")
	for id, called := range commits {
		text = strings.ReplaceAll(text, id, strings.Repeat(called, 40))
		text = strings.ReplaceAll(text, id[:7], strings.Repeat(called, 7))
	}
	// Hydra quotes a name that reads as a number, which an id may do.
	text = quotedName.ReplaceAllString(text, "experiment_name=$1")
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if d := cmp.Diff(string(want), text); d != "" {
		s.t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

// TestReceipts holds receipts and plans to their words, whatever the runner
// knows.
func TestReceipts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		config  []string
		before  func(s *site)                           // beside a first commit that is on models and main, and a second one
		receipt func(r *gitmodels.Receipt, a, b string) // nil: no runner
		push    []string
	}{
		{name: "runs", receipt: func(r *gitmodels.Receipt, a, b string) {
			last := row(a, gitmodels.Succeeded, valued(map[string]gitmodels.Number{"val_accuracy": 0.913, "loss": 0.25}), overridden("optimizer.lr=0.01", "seed=7"))
			r.Base, r.Last, r.Ahead, r.Usual = gitmodels.CommitID(a), &last, 2, 14*time.Minute
		}},
		{name: "best", before: func(s *site) { s.server("branch", "best/models", "models") }, receipt: func(r *gitmodels.Receipt, a, b string) {
			last := row(a, gitmodels.Succeeded, valued(map[string]gitmodels.Number{"val_accuracy": 0.913}), overridden("optimizer.lr=0.003"))
			r.Base, r.Last, r.Usual = gitmodels.CommitID(a), &last, 14*time.Minute
		}},
		{name: "failed", receipt: func(r *gitmodels.Receipt, a, b string) {
			last := row(a, gitmodels.Failed, caused("exit status 3\x1b[31m"))
			r.Last = &last
		}},
		{name: "cancelled", receipt: func(r *gitmodels.Receipt, a, b string) {
			last := row(a, gitmodels.Cancelled, caused("cancelled by alice"))
			r.Last = &last
		}},
		{name: "waits", receipt: func(r *gitmodels.Receipt, a, b string) {
			last := row(a, gitmodels.Queued, waits("engine: bubblewrap is not installed"))
			r.Last, r.Ahead = &last, 1
		}},
		{name: "attached", receipt: func(r *gitmodels.Receipt, a, b string) {
			own := row(b, gitmodels.Succeeded)
			r.Own = &own
		}},
		{name: "attached-live", receipt: func(r *gitmodels.Receipt, a, b string) {
			own := row(b, gitmodels.Running)
			r.Own = &own
		}},
		{name: "again", push: []string{"-o", "again"}, receipt: func(r *gitmodels.Receipt, a, b string) {
			own := row(b, gitmodels.Succeeded)
			r.Own, r.Base = &own, gitmodels.CommitID(b)
		}},
		{name: "skipped", receipt: func(r *gitmodels.Receipt, a, b string) {
			last := row(a, gitmodels.Succeeded)
			r.Base, r.Last = gitmodels.CommitID(a), &last
		}, before: func(s *site) {
			s.git(s.work, "reset", "-q", "--hard", "HEAD~1")
			s.write("README.md", "words\n")
			s.git(s.work, "add", "-A")
			s.git(s.work, "commit", "-q", "-m", "words")
		}},
		{name: "skip", push: []string{"-o", "skip"}, receipt: func(*gitmodels.Receipt, string, string) {}},
		{name: "alone"},
		{name: "alone-noted", before: func(s *site) {
			a := s.git(s.work, "rev-parse", "main~1")
			s.server("notes", "--ref=models", "add", "-m", "failed  exit status 3\n\nState: failed\nRun: "+a[:7]+"\nAttempt: 1\nCommit: "+a+"\nCause: exit status 3\n", a)
		}},
		{name: "warned", config: []string{"models.source", "warn"}, receipt: func(*gitmodels.Receipt, string, string) {}},
		{name: "plan", push: []string{"-o", "plan"}, receipt: func(r *gitmodels.Receipt, a, b string) {
			last := row(a, gitmodels.Succeeded, overridden("optimizer.lr=0.01"))
			r.Base, r.Last, r.Ahead, r.Usual = gitmodels.CommitID(a), &last, 2, 14*time.Minute
		}},
		{name: "plan-again", push: []string{"-o", "plan", "-o", "again"}, receipt: func(r *gitmodels.Receipt, a, b string) {
			own := row(b, gitmodels.Failed)
			r.Own = &own
		}},
		{name: "plan-alone", push: []string{"-o", "plan"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			config := c.config
			if config == nil {
				config = []string{"models.source", "off"}
			}
			s := newSite(t, append(config, "models.engine", "process", "models.allowProcess", "unsandboxed")...)
			s.write("deploy/train-config.yaml", "optimizer:\n  lr: 0.01\n")
			s.commit("configured")
			s.server("fetch", "-q", s.work, "main:refs/heads/models")
			s.write("deploy/train-config.yaml", "optimizer:\n  lr: 0.003\n")
			s.commit("slower")
			if c.before != nil {
				c.before(s)
			}
			a, b := s.git(s.work, "rev-parse", "main~1"), s.git(s.work, "rev-parse", "main")
			var srv *server
			if c.receipt != nil {
				srv = s.serve(func(req wire.Request, send func(wire.Response)) {
					var receipts []gitmodels.Receipt
					for _, u := range req.Updates {
						r := gitmodels.Receipt{Ref: u.Ref, Commit: u.New, Repository: "dogs", Store: "file:///srv/models/dogs"}
						c.receipt(&r, a, b)
						receipts = append(receipts, r)
					}
					send(wire.Response{Receipts: receipts, Done: true})
				})
			}
			before := s.refs()
			status, out := s.push(append(c.push, "main:models")...)
			if planned := strings.HasPrefix(c.name, "plan"); (status != 0) != planned || (s.refs() == before) != planned {
				t.Errorf("status %d\n%s", status, out)
			} else if srv != nil && planned && (len(srv.requests(wire.Ring)) != 0 || len(srv.requests(wire.Receipts)) != 1) {
				t.Errorf("asked: %+v", srv.asked)
			} else if srv != nil && !planned && len(srv.requests(wire.Ring)) != 1 {
				t.Errorf("asked: %+v", srv.asked)
			}
			s.golden(c.name, out, map[string]string{a: "a", b: "b"})
		})
	}
}
