package runner

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

func TestMissing(t *testing.T) {
	t.Parallel()
	const ref = gitmodels.RefName("refs/heads/models")
	id := func(c string) gitmodels.CommitID { return gitmodels.CommitID(strings.Repeat(c, 40)) }
	at := func(seconds int) time.Time { return time.Unix(1_000_000+int64(seconds), 0) }
	log := func(ids ...string) []gitmodels.ReflogEntry {
		var entries []gitmodels.ReflogEntry
		for i := 1; i < len(ids); i++ {
			entries = append(entries, gitmodels.ReflogEntry{Old: id(ids[i-1]), New: id(ids[i]), At: at(i)})
		}
		return entries
	}
	for name, c := range map[string]struct {
		tip        string
		log        []gitmodels.ReflogEntry
		recorded   []string
		registered time.Time
		want       []string // new commits; with :old where that matters
	}{
		"nothing is missing":                          {"a", log("0", "a"), []string{"a"}, at(0), nil},
		"a tip":                                       {"b", log("0", "a", "b"), []string{"a"}, at(0), []string{"b:a"}},
		"a replaced tip":                              {"c", log("0", "a", "b", "c"), []string{"a", "c"}, at(0), []string{"b:a"}},
		"a replaced tip and the tip":                  {"c", log("0", "a", "b", "c"), []string{"a"}, at(0), []string{"b:a", "c:b"}},
		"before registration":                         {"b", log("0", "a", "b"), []string{"b"}, at(5), nil},
		"before registration in the same second":      {"b", log("0", "a", "b"), []string{"b"}, at(2), nil},
		"a ref made after registration":               {"b", log("0", "a", "b"), []string{"b"}, at(0), []string{"a:0"}},
		"a ref of which nothing is recorded":          {"b", log("0", "a", "b"), nil, at(0), []string{"a:0", "b:a"}},
		"no log, nothing recorded":                    {"a", nil, nil, at(0), []string{"a:0"}},
		"no log, something recorded":                  {"b", nil, []string{"a"}, at(0), []string{"b:a"}},
		"a torn last line":                            {"a", log("0", "a", "b"), []string{"a"}, at(0), nil},
		"a torn line in the middle":                   {"c", append(log("0", "a", "b"), gitmodels.ReflogEntry{Old: id("a"), New: id("c"), At: at(3)}), []string{"a"}, at(0), []string{"c:a"}},
		"rewound to what is recorded":                 {"a", log("0", "a", "b", "a"), []string{"a", "b"}, at(0), nil},
		"rewound, and what was there is missing":      {"a", log("0", "a", "b", "a"), []string{"a"}, at(0), []string{"b:a"}},
		"the tip was there before, and is missing":    {"b", log("0", "a", "b", "c", "b"), []string{"a"}, at(0), []string{"c:b", "b:c"}},
		"a replaced tip that came twice is one":       {"c", log("0", "a", "b", "a", "b", "c"), []string{"a", "c"}, at(0), []string{"b:a"}},
		"deleted and made again, nothing is recorded": {"b", log("0", "a", "0", "b"), nil, at(0), []string{"a:0", "b:0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var recorded []gitmodels.CommitID
			for _, r := range c.recorded {
				recorded = append(recorded, id(r))
			}
			var got []string
			for _, m := range missing(gitmodels.Ref{Name: ref, ID: id(c.tip)}, c.log, recorded, c.registered) {
				if m.Ref != ref {
					t.Errorf("ref %s", m.Ref)
				}
				got = append(got, string(m.New[:1])+":"+string(m.Old[:1]))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadEnvFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	env, err := readEnvFile(write("good", "A=1\r\n# c\n\n  \nB_2= spaced = kept \nC=\"quoted\"\nD=", 0o600))
	if diff := cmp.Diff(map[string]string{"A": "1", "B_2": " spaced = kept ", "C": `"quoted"`, "D": ""}, env); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if env, err := readEnvFile(""); env != nil || err != nil {
		t.Errorf("no file: %v, %v", env, err)
	}
	for name, want := range map[string]string{
		write("open", "A=1", 0o640):                                "chmod 600",
		write("line", "A=1\nhush\n", 0o600):                        ":2: want KEY=VALUE",
		write("name", "2A=hush", 0o600):                            ":1: want KEY=VALUE",
		write("space", "export A=hush", 0o600):                     ":1: want KEY=VALUE",
		write("nul", "A=hush\x00hush", 0o600):                      ":1: want KEY=VALUE",
		write("long", "A="+strings.Repeat("h", maxEnvFile), 0o600): "token too long",
		dir:                           "is not a regular file",
		filepath.Join(dir, "missing"): "no such file",
	} {
		env, err := readEnvFile(name)
		if err == nil || env != nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v, %v; want %q", name, env, err, want)
		}
	}
}

func TestRemoveAllUnlocks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	locked := filepath.Join(dir, "tree", "a", "b")
	for _, d := range []string{locked, outside} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	kept := filepath.Join(outside, "kept")
	if err := errors.Join(os.WriteFile(kept, nil, 0o600), os.WriteFile(filepath.Join(locked, "file"), nil, 0o400),
		os.Symlink(outside, filepath.Join(dir, "tree", "a", "link")), os.Chmod(outside, 0o500),
		os.Chmod(locked, 0), os.Chmod(filepath.Dir(locked), 0o500)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(outside, 0o700) })
	tree := filepath.Join(dir, "tree")
	if err := removeAll(tree); err != nil { // an ordinary user gets here with the permissions in the way
		t.Fatal(err)
	}
	if _, err := os.Lstat(tree); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o500 {
		t.Errorf("what a link led to was touched: %v, %v", info, err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	if err := removeAll(tree); err != nil {
		t.Errorf("what is gone: %v", err)
	}
}

func TestFirstLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"one": "one", "one\n": "one", "one\ntwo\nthree\n": "one (and 2 more)", "": ""} {
		if got := firstLine(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestAJobIsLookedAtOftenAtFirst(t *testing.T) {
	t.Parallel()
	for watched, want := range map[time.Duration]time.Duration{
		0: 25 * time.Millisecond, time.Second: 100 * time.Millisecond, time.Hour: 500 * time.Millisecond,
	} {
		if got := lookPause(watched, 500*time.Millisecond); got != want {
			t.Errorf("after %s: %s, want %s", watched, got, want)
		}
	}
	if got := lookPause(0, time.Millisecond); got != time.Millisecond {
		t.Errorf("%s is longer than the longest", got)
	}
}
