package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// More names than a pipe holds are asked for at once, in whatever size the
// answers are, and what is too large ends neither the answer nor the order.
func TestMany(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	small, empty := blob(t, r, "small"), blob(t, r, "")
	large := blob(t, r, strings.Repeat("large", 20000))
	var names, want []string
	for i := range 5000 {
		switch {
		case i%7 == 3:
			names, want = append(names, empty), append(want, "")
		case i == 5, i == 6, i == 4999:
			names, want = append(names, large), append(want, "largelarge")
		default:
			names, want = append(names, small), append(want, "small")
		}
	}
	objs := r.objects(ctx)
	defer objs.close()
	var got []string
	err := objs.many(names, "blob", 10, func(i int, obj object) error {
		if i != len(got) {
			return fmt.Errorf("%d after %d", i, len(got))
		}
		got = append(got, string(obj.data))
		return nil
	})
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%d answers, %v", len(got), err)
	}
	if _, err := objs.get(small, 10); err != nil {
		t.Errorf("the reader is of no use afterwards: %v", err)
	}

	none := strings.Repeat("d", r.IDLength())
	all := func(int, object) error { return nil }
	wantKind(t, objs.many(slices.Concat(names, []string{none}, names), "blob", 10, all), gitmodels.NotFound, "has no blob")
	wantKind(t, objs.many(names, "tree", 10, all), gitmodels.Invalid, "want a tree")
	enough := errors.New("enough")
	if err := objs.many(names, "blob", 10, func(int, object) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
	if text, err := objs.text(small); text != "small" || err != nil {
		t.Errorf("after all these: %q, %v", text, err)
	}
}

// A context that ends in between ends the reading, and says so.
func TestManyCancelled(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	names := slices.Repeat([]string{blob(t, r, "small")}, 20000)
	ctx, cancel := context.WithCancel(t.Context())
	objs := r.objects(ctx)
	defer objs.close()
	seen := 0
	err := objs.many(names, "blob", 10, func(int, object) error {
		if seen++; seen == 10 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || seen == len(names) {
		t.Errorf("%d of %d, %v", seen, len(names), err)
	}
}
