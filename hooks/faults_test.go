package hooks

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// Every fault of the commit's files is shown at the push, with its place; by
// policy it refuses, warns, or nobody looks.
func TestFaults(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.pushed("main:models")
	before := s.refs()
	for i, c := range []struct{ models, params, want string }{
		{"train:\n  comand: [sh, train.sh]\n", "", `(?m)^git-models: refused refs/heads/models: \.models\.yaml:2:3: .*comand.*did you mean .*command`},
		{"train:\n  command: [sh, train.sh]\n", "lr: 0.1\nlr: 0.2\n", `(?m)^git-models: refused refs/heads/models: deploy/train-config\.yaml:2:`},
		{"train:\n  comand: [sh, train.sh]\n", "lr: 0.1\n", `(?m)^git-models: refused refs/heads/models: \.models\.yaml:2:3: `},
	} {
		s.write(".models.yaml", c.models)
		s.write("deploy/train-config.yaml", c.params)
		s.commit(fmt.Sprint("mistake ", i))
		status, out := s.push("main:models", "main:models-not")
		words := ours(out)
		if status == 0 || s.refs() != before {
			t.Errorf("status %d\n%s", status, out)
		}
		for _, w := range []string{c.want, `(?m)^git-models: nothing moved`, `git models lint`} {
			if !regexp.MustCompile(w).MatchString(words) {
				t.Errorf("no %s in\n%s", w, words)
			}
		}
	}

	// A thousand faults fit into what a terminal takes.
	c := s.copy()
	c.write(".models.yaml", "train:\n  command: [sh, train.sh]\n")
	c.write("deploy/train-config.yaml", strings.Repeat("lr: 1\n", 1000))
	c.commit("a thousand")
	if status, out := c.push("main:models"); status == 0 || len(ours(out)) > 4096 || !strings.Contains(ours(out), "nothing moved") {
		t.Errorf("status %d, %d bytes\n%s", status, len(ours(out)), out)
	}

	s.set("models.validate", "warn")
	c = s.copy()
	if out := ours(c.pushed("main:models")); !strings.Contains(out, "git-models: warning: refs/heads/models: .models.yaml:2:3:") ||
		!strings.Contains(out, "git-models: accepted") || strings.Contains(out, "refused") {
		t.Errorf("warn:\n%s", out)
	}
	s.set("models.validate", "off")
	if out := ours(s.pushed("main:models")); strings.Contains(out, "comand") || !strings.Contains(out, "git-models: accepted") {
		t.Errorf("off:\n%s", out)
	}
}

// A good push passes the gate in silence.
func TestSilence(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.server("config", "core.logAllRefUpdates", "always")
	if err := removeHook(s, "post-receive"); err != nil {
		t.Fatal(err)
	}
	if out := s.pushed("main:models"); strings.Contains(out, "git-models") {
		t.Errorf("words:\n%s", out)
	}
}

func removeHook(s *site, name string) error {
	return os.Remove(s.path("server.git", "hooks", name))
}
