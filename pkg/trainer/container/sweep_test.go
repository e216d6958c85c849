package container

import (
	"context"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// TestSweep: only containers of this installation that do not run, and whose run
// nobody wants.
func TestSweep(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		b := newBench(t, kind, "echo up; sleep 300").with(func(o *Options) { o.Owner = t.TempDir() })
		b.submit()
		b.says("up")
		none := func(string) bool { return false }
		n, running, err := b.e.Sweep(context.Background(), none)
		if err != nil || n != 0 || len(running) != 1 || !strings.HasSuffix(running[0], " of run "+b.job.RunID) {
			t.Fatalf("%d, %q, %v", n, running, err)
		}
		b.killKeeper()
		c := parts.client(kind)
		if _, err := c.run(context.Background(), "stop", "--time", "0", b.containers()[0]); err != nil {
			t.Fatal(err)
		}
		other := New(parts.options(kind))
		if n, _, err := other.Sweep(context.Background(), func(run string) bool { return run != b.job.RunID }); err != nil || n != 0 {
			t.Errorf("another installation's: %d, %v", n, err)
		}
		if n, _, err := b.e.Sweep(context.Background(), func(string) bool { return true }); err != nil || n != 0 {
			t.Errorf("a kept run's: %d, %v", n, err)
		}
		if n, _, err := b.e.Sweep(context.Background(), none); err != nil || n != 1 {
			t.Errorf("%d, %v", n, err)
		}
		b.want(b.wait(), gitmodels.JobLost, "its container was removed")
	})
}

// TestSweepImages: only images with both of our labels that nobody wants and no
// container uses.
func TestSweepImages(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		ctx, c := context.Background(), parts.client(kind)
		run := func(args ...string) string {
			t.Helper()
			out, err := c.run(ctx, args...)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		images := map[string]string{} // by what they are for
		for _, what := range []string{"old", "wanted", "used", "foreign"} {
			image, err := parts.push("models/"+kind+"-"+what, func(config *v1.Config) {
				config.Labels = map[string]string{gitmodels.LabelRevision: what + kind, gitmodels.LabelBuildKey: "1"}
				if what == "foreign" {
					delete(config.Labels, gitmodels.LabelBuildKey)
				}
			})
			if err == nil {
				err = c.pull(ctx, image, "", true)
			}
			if err != nil {
				t.Fatal(err)
			}
			images[what] = image
		}
		name, _, _ := strings.Cut(images["old"], "@")
		for _, tag := range []string{name + ":4f2c1aa", name + ":latest", "elsewhere.example/dogs:1"} {
			run("tag", images["old"], tag)
		}
		used := run("create", "--network", "none", images["used"], "sh")
		sweep := func(want ...string) {
			t.Helper()
			removed, err := New(parts.options(kind)).SweepImages(ctx, func(i LocalImage) bool {
				return slices.Contains(i.Names, images["wanted"]) || !strings.HasSuffix(i.Labels[gitmodels.LabelRevision], kind)
			})
			if err != nil || len(removed) != len(want) {
				t.Errorf("removed %q, %v", removed, err)
			}
			for what, image := range images {
				if there := c.hasImage(ctx, image); there == slices.Contains(want, what) {
					t.Errorf("%s: there %v", what, there)
				}
			}
		}
		sweep("old")
		delete(images, "old")
		sweep()
		run("rm", used)
		sweep("used")
	})
}
