package gitrepo

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	gogit "github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Another implementation of git writes random graphs and is asked the same
// questions.
func TestIsAncestorAgreesWithGoGit(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			dir := t.TempDir()
			gitIn(t, dir, "init", "-q", "--bare")
			storage := filesystem.NewStorage(osfs.New(dir), cache.NewObjectLRUDefault())
			tree := put(t, storage, &gogit.Tree{})
			var commits []plumbing.Hash
			for i := range 40 {
				c := &gogit.Commit{TreeHash: tree, Message: fmt.Sprint("commit ", i),
					Author: gogit.Signature{Name: "A", Email: "a@example.com", When: time.Unix(random.Int64N(1e9), 0)}}
				c.Committer = c.Author // clocks that jump: dates must not matter
				for range min(i, random.IntN(3)) {
					c.ParentHashes = append(c.ParentHashes, commits[random.IntN(i)])
				}
				commits = append(commits, put(t, storage, c))
			}
			r, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			for range 60 {
				a, b := commits[random.IntN(len(commits))], commits[random.IntN(len(commits))]
				got, err := r.IsAncestor(t.Context(), gitmodels.CommitID(a.String()), gitmodels.CommitID(b.String()))
				if err != nil {
					t.Fatal(err)
				}
				ca, err := gogit.GetCommit(storage, a)
				if err != nil {
					t.Fatal(err)
				}
				cb, err := gogit.GetCommit(storage, b)
				if err != nil {
					t.Fatal(err)
				}
				want, err := ca.IsAncestor(cb)
				if err != nil {
					t.Fatal(err)
				}
				if got != want {
					t.Errorf("IsAncestor(%s, %s) = %v, go-git says %v", a, b, got, want)
				}
			}
		})
	}
}

// put writes an object as a loose one.
func put(t *testing.T, s *filesystem.Storage, o gogit.Object) plumbing.Hash {
	t.Helper()
	encoded := s.NewEncodedObject()
	if err := o.Encode(encoded); err != nil {
		t.Fatal(err)
	}
	hash, err := s.SetEncodedObject(encoded)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}
