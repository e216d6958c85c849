package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Sweep removes the containers of this installation that have ended, or never
// ran, and whose run keep does not want: what keepers could not remove. One that
// runs is never ended here, whatever the ledger says of its run; running names
// them. A client that does not answer is passed over.
func (e *Engine) Sweep(ctx context.Context, keep func(runID string) bool) (removed int, running []string, err error) {
	err = e.eachClient(func(c client) error {
		n, still, err := e.sweep(ctx, c, keep)
		removed, running = removed+n, append(running, still...)
		return err
	})
	return removed, running, err
}

// eachClient does something with every client of this host.
func (e *Engine) eachClient(do func(client) error) error {
	candidates, err := e.candidates()
	if err != nil {
		return err
	}
	var all []error
	for _, c := range candidates {
		// One that does not answer, or is not there, is swept another time.
		if err := do(c); gitmodels.KindOf(err) != gitmodels.Waiting {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

func (e *Engine) sweep(ctx context.Context, c client, keep func(string) bool) (removed int, running []string, err error) {
	ids, err := c.list(ctx, labelOwner+"="+e.o.Owner)
	if err != nil {
		return 0, nil, err
	}
	for _, id := range ids {
		s, err := c.inspect(ctx, id)
		if err != nil {
			continue // gone meanwhile, or seen by the next sweep
		}
		run := s.Config.Labels[labelRun]
		switch {
		case s.Config.Labels[labelOwner] != e.o.Owner || keep(run):
		case s.ended() || s.fresh():
			if err := c.remove(ctx, id); err != nil {
				return removed, running, err
			}
			removed++
		default:
			running = append(running, fmt.Sprintf("%s of run %s", id[:min(len(id), 12)], gitmodels.Printable(run, 60)))
		}
	}
	return removed, running, nil
}

// LocalImage is an image, made by a git-models, that docker or podman has on this
// host.
type LocalImage struct {
	// Names are all that it is called here: host/name:tag, host/name@sha256:…
	Names []string
	// ID is that of its configuration, sha256:…
	ID string
	// Labels tell whose it is: LabelRevision and LabelBuildKey are always there.
	Labels map[string]string
}

// SweepImages removes the images made by a git-models that keep does not want, and
// returns what they were called. One that a container uses stays, also one that
// has ended, and nothing is done by force. The host may be shared: keep must want
// every image whose commit it does not know.
func (e *Engine) SweepImages(ctx context.Context, keep func(LocalImage) bool) (removed []string, err error) {
	err = e.eachClient(func(c client) error {
		gone, err := c.sweepImages(ctx, keep)
		removed = append(removed, gone...)
		return err
	})
	return removed, err
}

func (c client) sweepImages(ctx context.Context, keep func(LocalImage) bool) (removed []string, err error) {
	ids, err := c.images(ctx)
	if err != nil {
		return nil, err
	}
	tried, failures := map[string]LocalImage{}, map[string]error{}
	for _, id := range ids {
		i, err := c.image(ctx, id)
		if err != nil || i.Labels[gitmodels.LabelRevision] == "" || i.Labels[gitmodels.LabelBuildKey] == "" || keep(i) {
			continue // gone meanwhile, not ours, or wanted
		}
		if used, err := c.run(ctx, "container", "ls", "--all", "--quiet", "--filter", "ancestor="+strings.TrimPrefix(id, "sha256:")); err != nil {
			return removed, err
		} else if used == "" {
			tried[id], failures[id] = i, c.removeImage(ctx, i)
		}
	}
	if len(tried) == 0 {
		return nil, nil
	}
	left, err := c.images(ctx) // the list, not a failure, tells what is left
	if err != nil {
		return nil, err
	}
	for id, i := range tried {
		if slices.Contains(left, id) {
			if says := fmt.Sprint(failures[id]); !strings.Contains(says, "conflict") && !strings.Contains(says, "in use") {
				err = errors.Join(err, failures[id])
			} // else it got a user meanwhile, or another image is made from it
		} else {
			removed = append(removed, append(i.Names, id)[0])
		}
	}
	return removed, err
}

// images lists the ids of the images with our labels.
func (c client) images(ctx context.Context) ([]string, error) {
	out, err := c.run(ctx, "image", "ls", "--no-trunc", "--quiet", "--filter", "label="+gitmodels.LabelRevision, "--filter", "label="+gitmodels.LabelBuildKey)
	ids := strings.Fields(out)
	slices.Sort(ids) // one with several names is listed as often
	return slices.Compact(ids), err
}

func (c client) image(ctx context.Context, id string) (LocalImage, error) {
	out, err := c.run(ctx, "image", "inspect", id)
	if err != nil {
		return LocalImage{}, err
	}
	var all []struct {
		RepoTags, RepoDigests []string
		Config                struct{ Labels map[string]string }
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
		return LocalImage{}, internal(c.Kind+" image inspect", errors.Join(err, fmt.Errorf("it shows %d images", len(all))))
	}
	return LocalImage{ID: id, Names: slices.Concat(all[0].RepoTags, all[0].RepoDigests), Labels: all[0].Config.Labels}, nil
}

// removeImage removes its names, with the last of which an engine removes the
// image; an error may be of a name that went with another.
func (c client) removeImage(ctx context.Context, i LocalImage) error {
	if len(i.Names) > 0 {
		_, err := c.run(ctx, append([]string{"image", "rm"}, i.Names...)...)
		if err == nil {
			return nil
		}
	}
	_, err := c.run(ctx, "image", "rm", i.ID)
	return err
}
