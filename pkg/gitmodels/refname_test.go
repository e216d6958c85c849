package gitmodels

import (
	"os/exec"
	"strings"
	"testing"
)

// FuzzRefName asks git itself.
func FuzzRefName(f *testing.F) {
	for _, s := range []string{"refs/heads/models", "refs/heads/größe", "refs/x", "refs/", "refs", "HEAD", "refs/heads/a..b", "refs/heads/.a",
		"refs/heads/a.lock", "refs/heads/a.lock/b", "refs/heads/a.", "refs/heads/a./b", "refs/heads/@", "refs/heads/@{", "refs/heads/a@b",
		"refs/heads//a", "refs/heads/a/", "refs/heads/a b", "refs/heads/a~", "refs/heads/a^", "refs/heads/a:", "refs/heads/a?", "refs/heads/a*",
		"refs/heads/a[", "refs/heads/a]", `refs/heads/a\`, "refs/heads/a\x7f", "refs/heads/a\x1f", "refs/heads/\xff", "refs/heads/-a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsRune(s, 0) || len(s) > MaxRefName {
			t.Skip()
		}
		_, err := ParseRefName(s)
		git := strings.HasPrefix(s, "refs/") && exec.Command("git", "check-ref-format", s).Run() == nil
		if git != (err == nil) {
			t.Errorf("%q: git says %v, we say %v", s, git, err)
		}
	})
}
