package runner

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/policy"
)

// controlLeft is the age at which a control ref is left behind: the hook that
// answers it takes it away within moments.
const controlLeft = time.Minute

// sweepControls takes away control refs whose push broke off before its hook
// could. Nothing is done about what they asked for: nobody knows whether it was.
func (r *round) sweepControls(ctx context.Context, refs []gitmodels.Ref) ([]string, error) {
	var found []string
	now, prefix := r.in.cfg.Clock.Now(), r.repo.ID+" "
	there := map[string]bool{}
	for _, ref := range refs {
		if !policy.Control(ref.Name) {
			continue
		}
		key := prefix + string(ref.Name) + " " + string(ref.ID)
		there[key] = true
		if _, met := r.in.left[key]; !met {
			r.in.left[key] = firstSeen(r.git.Dir(), ref.Name, now)
		}
		if now.Sub(r.in.left[key]) < controlLeft {
			continue
		}
		if err := r.git.DeleteRef(ctx, ref.Name, ref.ID); err != nil {
			return found, fmt.Errorf("removing the control ref %s: %w", ref.Name, err)
		}
		line := fmt.Sprintf("%s at %s was left behind by a push that broke off; it is removed, and nothing was done for it",
			gitmodels.Printable(string(ref.Name), 100), ref.ID.Short(r.pol.Abbrev))
		if err := r.in.report(ctx, r.repo, "control ref left behind", line); err != nil {
			return found, err
		}
		found = append(found, r.repo.Name+": "+line)
	}
	for key := range r.in.left {
		if strings.HasPrefix(key, prefix) && !there[key] {
			delete(r.in.left, key)
		}
	}
	return found, nil
}

// firstSeen is when a ref that is met now was made, where its file tells, so that
// runners that live for less than a minute find it old, too.
func firstSeen(gitDir string, ref gitmodels.RefName, now time.Time) time.Time {
	info, err := os.Lstat(filepath.Join(gitDir, filepath.FromSlash(string(ref))))
	if err != nil || !info.Mode().IsRegular() || info.ModTime().After(now) {
		return now
	}
	return info.ModTime()
}
