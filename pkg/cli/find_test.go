package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
)

// Whatever a repository looks like and wherever in it a person stands, find says
// what git says.
func TestFindAgreesWithGit(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	git(t, root, "init", "-q", "--bare", "a.git")
	git(t, root, "init", "-q", "tree")
	tree := filepath.Join(root, "tree")
	git(t, tree, "commit", "-q", "--allow-empty", "-m", "one")
	git(t, tree, "worktree", "add", "-q", "../linked", "-b", "side")
	git(t, root, "init", "-q", "--separate-git-dir", filepath.Join(root, "apart.git"), "apart")
	git(t, root, "init", "-q", "moved")
	git(t, filepath.Join(root, "moved"), "config", "core.worktree", tree)
	git(t, root, "clone", "-q", "--mirror", tree, "mirror.git")
	git(t, root, "init", "-q", "turned")
	git(t, filepath.Join(root, "turned"), "config", "core.bare", "yes")
	git(t, root, "init", "-q", "unset.git", "--bare")
	git(t, filepath.Join(root, "unset.git"), "config", "--unset", "core.bare")
	git(t, tree, "init", "-q", "--bare", "inner/b.git")
	for _, dir := range []string{"tree/src/deep", "tree/fake/objects", "tree/fake/refs", "nowhere"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(root, "tree", "src"), filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"a.git", "a.git/refs/heads", "tree", "tree/src/deep", "tree/fake", "tree/.git", "tree/.git/objects",
		"tree/.git/worktrees/linked", "linked", "apart", "apart.git", "moved", "moved/.git", "mirror.git", "turned", "unset.git",
		"tree/inner/b.git", "tree/inner", "link", "nowhere"} {
		at := filepath.Join(root, dir)
		gitDir, bare, worktree, wantErr := gitrepo.Discover(t.Context(), at)
		got, err := find(t.Context(), at)
		if gitmodels.KindOf(err) != gitmodels.KindOf(wantErr) || (err == nil) != (wantErr == nil) {
			t.Errorf("%s: %v, want %v", dir, err, wantErr)
			continue
		}
		if err != nil {
			continue
		}
		type place struct {
			GitDir, Worktree string
			Bare             bool
		}
		if diff := cmp.Diff(place{gitDir, worktree, bare}, place{got.repo.Dir(), got.worktree, got.bare}); diff != "" {
			t.Errorf("%s (-git +find):\n%s", dir, diff)
		}
	}
}
