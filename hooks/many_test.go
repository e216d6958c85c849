package hooks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/git-models/git-models/pkg/hook"
)

// A push of very many refs asks git a handful of questions, not some for each
// ref, whether it passes or is refused.
func TestManyRefs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.pushed("main:models/main")
	old := s.git(s.work, "rev-parse", "main")
	s.git(s.work, "commit", "-q", "--amend", "--allow-empty", "-m", "amended")
	tip, zero := s.git(s.work, "rev-parse", "main"), strings.Repeat("0", len(old))
	s.pushed("main")

	// Every start of git leaves a byte.
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	wrapper, count := s.path("wrapper"), s.path("count")
	script := fmt.Sprintf("#!/bin/sh\nprintf x >>'%s'\nexec '%s' \"$@\"\n", count, git)
	if err := os.Mkdir(wrapper, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(wrapper, "git"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	lines := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format+"\n", i)
		}
		return b.String()
	}
	for _, c := range []struct {
		name, program, input string
		passes               bool
		questions            int
	}{
		{"tags", "pre-receive", lines(5000, zero+" "+tip+" refs/tags/v%d"), true, 1},
		{"tags, after", "post-receive", lines(5000, zero+" "+tip+" refs/tags/v%d"), true, 1},
		{"governed", "pre-receive", lines(2000, zero+" "+tip+" refs/heads/models/x%d"), true, 6},
		{"governed, after", "post-receive", lines(2000, zero+" "+tip+" refs/heads/models/x%d"), true, 20},
		{"deletes", "pre-receive", lines(2000, tip+" "+zero+" refs/heads/models/x%d"), false, 6},
		{"in the way", "pre-receive", lines(2000, zero+" "+tip+" refs/heads/models/main/x%d"), false, 100},
		{"in one another's way", "pre-receive", lines(500, zero+" "+tip+" refs/heads/models/x%d") + lines(500, zero+" "+tip+" refs/heads/models/x%d/y"), false, 100},
	} {
		if err := os.RemoveAll(count); err != nil {
			t.Fatal(err)
		}
		cmd := s.command(s.path("server.git"), filepath.Join(bin, c.program))
		cmd.Env = append(cmd.Env, "GIT_DIR=.", "PATH="+wrapper+":"+os.Getenv("PATH"))
		cmd.Stdin = strings.NewReader(c.input)
		out, err := cmd.CombinedOutput()
		if (err == nil) != c.passes || strings.Contains(string(out), "the gate failed") {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
		if len(out) > hook.MaxWords {
			t.Errorf("%s: %d bytes of words", c.name, len(out))
		}
		if asked, err := os.ReadFile(count); err != nil || len(asked) == 0 || len(asked) > c.questions {
			t.Errorf("%s: git was started %d times (%v), at most %d are enough", c.name, len(asked), err, c.questions)
		}
	}
}
