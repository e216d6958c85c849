package hooks

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Where a script of the hooks folder starts our programs, a stranger's hook is
// found beside the script, and sees git's own environment.
func TestStartedByAScript(t *testing.T) {
	t.Parallel()
	s := newSite(t, "models.validate", "off")
	for _, name := range []string{"pre-receive", "post-receive"} {
		hook := s.path("server.git", "hooks", name)
		if err := os.Remove(hook); err != nil {
			t.Fatal(err)
		}
		for path, text := range map[string]string{
			hook:                        "GIT_MODELS_HOOK=$0\nexport GIT_MODELS_HOOK\nexec '" + filepath.Join(bin, name) + "'\n",
			hook + ".before-git-models": "echo " + name + " of a stranger: $(env | grep -c GIT_MODELS)\ncat\n",
		} {
			if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	out := s.pushed("main:models")
	tip := s.git(s.work, "rev-parse", "main")
	for _, w := range []string{"pre-receive of a stranger: 0", "post-receive of a stranger: 0", tip + " refs/heads/models", "git-models: accepted"} {
		if !strings.Contains(out, w) {
			t.Errorf("no %q in\n%s", w, out)
		}
	}
	if status, out := s.push("--force", ":models"); status == 0 || !strings.Contains(out, "git-models: refused") {
		t.Errorf("status %d\n%s", status, out)
	}
}
