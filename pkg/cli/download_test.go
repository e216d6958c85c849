package cli

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// savesFiles makes a run with artifacts in folders.
var savesFiles = map[string]string{"src/train.sh": `set -eu
mkdir -p "$ARTIFACTS_DIR/checkpoints/deep"
echo weights > "$ARTIFACTS_DIR/model.pt"
echo one > "$ARTIFACTS_DIR/checkpoints/1.pt"
head -c 300000 /dev/zero > "$ARTIFACTS_DIR/checkpoints/deep/2.pt"
: > "$ARTIFACTS_DIR/empty"
`}

// tree lists the regular files below dir with their sizes.
func tree(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		rel, _ := filepath.Rel(dir, path)
		found[rel] = info.Size()
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return found
}

func TestDownload(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	head := s.commit(t, "saves", savesFiles)
	run := short(head)
	s.push(t)
	if got := runIn(t, s.repo, "download", "models"); got.code != 1 || !strings.Contains(got.err, "is queued: its artifacts are stored when it ends") {
		t.Errorf("before it ran: %+v", got)
	}
	runIn(t, s.repo, "runner", "--until-idle").ok(t)
	all := map[string]int64{"model.pt": 8, "checkpoints/1.pt": 4, "checkpoints/deep/2.pt": 300000, "empty": 0}
	git(t, s.clone, "fetch", "-q", "origin", "+refs/notes/models*:refs/notes/models*")

	// On the server and, as the folder is on this machine, in a clone.
	for _, from := range []string{s.repo, s.clone} {
		here := t.TempDir()
		list := runIn(t, here, "--repo", from, "download", "--list", head).ok(t)
		if strings.Count(list, "\n") != 4 || !strings.Contains(list, "  checkpoints/deep/2.pt\n") || len(tree(t, here)) != 0 {
			t.Errorf("list:\n%s", list)
		}
		got := runIn(t, here, "--repo", from, "download", run)
		if got.ok(t) != run+"/checkpoints/1.pt\n"+run+"/checkpoints/deep/2.pt\n"+run+"/empty\n"+run+"/model.pt\n" {
			t.Errorf("download: %+v", got)
		}
		if diff := cmp.Diff(all, tree(t, filepath.Join(here, run))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		// Again: everything is there already.
		if got := runIn(t, here, "--repo", from, "download", run); got.code != 0 || !strings.Contains(got.err, "4 files there already, and the same\n") {
			t.Errorf("again: %+v", got)
		}
		if left := entries(t, here); len(left) != 1 {
			t.Errorf("left behind: %v", left)
		}
	}

	// Some of the files, piece by piece, into a folder that is made.
	here := t.TempDir()
	for _, tt := range []struct {
		pattern string
		want    []string
	}{
		{"*.pt", []string{"model.pt"}},
		{"checkpoints/*.pt", []string{"checkpoints/1.pt", "model.pt"}},
		{"checkpoints/deep/", []string{"checkpoints/1.pt", "checkpoints/deep/2.pt", "model.pt"}},
	} {
		got := runIn(t, here, "--repo", s.repo, "download", run, tt.pattern, "--to", "in/here", "--json")
		var files []artifact
		if err := json.Unmarshal([]byte(got.ok(t)), &files); err != nil || len(files) != 1 || files[0].File == nil || len(files[0].SHA256) != 64 {
			t.Fatalf("%s: %v %s", tt.pattern, err, got.out)
		}
		want := map[string]int64{}
		for _, name := range tt.want {
			want[name] = all[name]
		}
		if diff := cmp.Diff(want, tree(t, filepath.Join(here, "in/here", run))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.pattern, diff)
		}
	}
	runIn(t, here, "--repo", s.repo, "download", run, "*.bin").want(t, 1, "", "git-models: error: none of the 4 artifacts of "+run+
		" matches *.bin\ngit-models: hint: git models download --list "+run+"\n")
	if got := runIn(t, here, "--repo", s.repo, "download", run, "[a"); got.code != 2 {
		t.Errorf("a broken pattern: %+v", got)
	}

	// What is there and differs, or is a link, is left alone, and nothing comes.
	model := filepath.Join(here, run, "model.pt")
	outside := filepath.Join(t.TempDir(), "outside")
	for what, make := range map[string]func() error{
		"differs":       func() error { return os.WriteFile(model, []byte("mine"), 0o644) },
		"symbolic link": func() error { return os.Symlink(outside, model) },
	} {
		if err := os.MkdirAll(filepath.Dir(model), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := make(); err != nil {
			t.Fatal(err)
		}
		got := runIn(t, here, "--repo", s.repo, "download", run)
		if got.code != 1 || got.out != "" || !strings.Contains(got.err, what) || !strings.Contains(got.err, "nothing was fetched") ||
			len(entries(t, filepath.Dir(model))) != 1 {
			t.Errorf("%s: %+v", what, got)
		}
		if err := os.RemoveAll(filepath.Dir(model)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(here, run)); err != nil {
		t.Fatal(err)
	}
	if got := runIn(t, here, "--repo", s.repo, "download", run); got.code != 1 || !strings.Contains(got.err, run+" is a symbolic link") {
		t.Errorf("the folder is a link: %+v", got)
	}
	if left := tree(t, filepath.Dir(outside)); len(left) != 0 {
		t.Errorf("written through a link: %v", left)
	}

	// The store was tampered with: the file is named, and nothing half stays.
	stored := filepath.Join(s.home, "store/dogs/artifacts", run)
	for what, spoil := range map[string]func(path string) error{
		"SHA-256": func(path string) error { return os.WriteFile(path, []byte("WEIGHTS\n"), 0o644) },
		"size":    func(path string) error { return os.WriteFile(path, []byte("weights and more\n"), 0o644) },
		"symbolic link": func(path string) error {
			return errors.Join(os.Remove(path), os.Symlink("/etc/hostname", path))
		},
		"cannot be read": os.Remove,
	} {
		path := filepath.Join(stored, "model.pt")
		kept, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := spoil(path); err != nil {
			t.Fatal(err)
		}
		here := t.TempDir()
		got := runIn(t, here, "--repo", s.repo, "download", run)
		if got.code != 1 || !strings.Contains(got.err, "artifact model.pt of "+run+" ") || !strings.Contains(got.err, what) || len(entries(t, here)) != 0 {
			t.Errorf("%s: %+v %v", what, got, entries(t, here))
		}
		os.Remove(path)
		if err := os.WriteFile(path, kept, 0o644); err != nil {
			t.Fatal(err)
		}
	}

	// Another attempt is fetched by its name, the last one without.
	runIn(t, s.repo, "rerun", "models").ok(t)
	runIn(t, s.repo, "runner", "--until-idle").ok(t)
	for word, folder := range map[string]string{run: run + "-r2", run + "-r1": run, run + "-r2": run + "-r2"} {
		here := t.TempDir()
		runIn(t, here, "--repo", s.repo, "download", word, "empty").ok(t)
		if got := entries(t, here); len(got) != 1 || got[0] != folder {
			t.Errorf("%s came as %v", word, got)
		}
	}
	if got := runIn(t, t.TempDir(), "--repo", s.repo, "download", run+"-r9"); got.code != 1 {
		t.Errorf("no such attempt: %+v", got)
	}
	// Where the store is not on this machine.
	if err := os.Rename(filepath.Join(s.home, "store"), filepath.Join(s.home, "gone")); err != nil {
		t.Fatal(err)
	}
	if got := runIn(t, s.clone, "download", run); got.code != 1 || !strings.Contains(got.err, "the artifacts lie at "+stored+" on the server") {
		t.Errorf("in a clone: %+v", got)
	}
	if got := runIn(t, s.repo, "download", run); got.code != 1 || !strings.Contains(got.err, "there is no run.json in ") {
		t.Errorf("on the server: %+v", got)
	}
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// run.json comes from a store that others may write, and says which paths are
// written here.
func TestArtifactsOf(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("a", 64)
	for name, fine := range map[string]bool{
		"model.pt": true, "a/b/größe.txt": true, "...": true, ".hidden/x": true, "a.git/x": true,
		"../x": false, "/etc/passwd": false, "a/../../x": false, "a/./b": false, "a//b": false, "": false, ".": false, "..": false, "a/": false,
		".git/config": false, "a/.GIT/hooks/post-checkout": false, ".git": false, "a\nb": false, "a\x1b[31m": false, "right\u202eway": false,
		"a\x00b": false, strings.Repeat("x", 5000): false,
	} {
		o := &gitmodels.Outcome{Files: []gitmodels.File{{Path: "metrics/m", SHA256: "no matter"}, {Path: "artifacts/" + name, SHA256: sum}}}
		files, err := artifactsOf(o, results{name: "5a32b0f"})
		if (err == nil) != fine || fine && (len(files) != 1 || files[0].Path != name) {
			t.Errorf("%q: %v %v", name, files, err)
		}
		if err != nil {
			noControls(t, name, err.Error())
		}
	}
	for _, bad := range []gitmodels.File{{Path: "artifacts/x", SHA256: "abc"}, {Path: "artifacts/x", SHA256: sum, Size: -1},
		{Path: "artifacts/x", SHA256: strings.Repeat("A", 64)}} {
		if _, err := artifactsOf(&gitmodels.Outcome{Files: []gitmodels.File{bad}}, results{}); err == nil {
			t.Errorf("%+v passes", bad)
		}
	}
	twice := gitmodels.File{Path: "artifacts/x", SHA256: sum}
	if _, err := artifactsOf(&gitmodels.Outcome{Files: []gitmodels.File{twice, twice}}, results{}); err == nil {
		t.Error("a file passes twice")
	}
}

func FuzzArtifactPath(f *testing.F) {
	f.Add("a/../b")
	f.Add(".git/x")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, name string) {
		if oddPath(name) != "" {
			t.Skip()
		}
		at := filepath.Join(dir, name)
		if rel, err := filepath.Rel(dir, at); err != nil || rel != name || !strings.HasPrefix(at, dir+"/") {
			t.Errorf("%q becomes %q (%v)", name, rel, err)
		}
	})
}

func TestFolderOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ uri, asked, want string }{
		{"file:///srv/x/5a32b0f-r2", "5a32b0f-r2", "/srv/x/5a32b0f-r2"},
		{"file:///srv/x/5a32b0f-r2", "5a32b0f", "/srv/x/5a32b0f"},
		{"file:///srv/x/5a32b0f-r2/", "5a32b0f-r3", "/srv/x/5a32b0f-r3"},
		{"file:///srv/elsewhere", "5a32b0f", ""},
		{"file:///srv/../etc", "5a32b0f-r2", ""},
		{"file://host/srv", "5a32b0f-r2", ""},
		{"s3://bucket/5a32b0f-r2", "5a32b0f-r2", ""},
		{"/srv/x", "5a32b0f-r2", ""},
		{"", "5a32b0f-r2", ""},
	} {
		got, err := folderOf(tt.uri, "5a32b0f-r2", tt.asked)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s for %s is %q (%v), want %q", tt.uri, tt.asked, got, err, tt.want)
		}
	}
	if _, err := folderOf("s3://bucket/x", "x", "x"); err == nil || !strings.Contains(err.Error(), "s3:// is not in this version") {
		t.Errorf("s3: %v", err)
	}
}

func TestParseSSH(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]sshRemote{
		"git@example.com:dogs.git":            {"git@example.com", ""},
		"example.com:/srv/dogs.git":           {"example.com", ""},
		"git@[::1]:dogs.git":                  {"git@::1", ""},
		"ssh://git@example.com:2222/srv/dogs": {"git@example.com", "2222"},
		"ssh://example.com/srv/dogs":          {"example.com", ""},
		"git+ssh://a@[fe80::1]:22/x":          {"a@fe80::1", "22"},
		"https://example.com/x":               {},
		"/srv/git/a:b.git":                    {},
		"../x:y":                              {},
		"file:///srv/x":                       {},
		"-oProxyCommand=touch${IFS}x:y":       {},
		"ssh://-oProxyCommand=touch/x":        {},
		"-l@example.com:x":                    {},
		"ssh://a b@example.com/x":             {},
		"ssh://example.com:22x/":              {},
		"":                                    {},
	} {
		if got, ok := parseSSH(address); got != want || ok != (want.host != "") {
			t.Errorf("%s is %+v, %v", address, got, ok)
		}
	}
}

// sftpServer is where OpenSSH's server of the protocol lies.
const sftpServer = "/usr/lib/openssh/sftp-server"

// The protocol with OpenSSH's own server, by way of each setting that git knows.
func TestSFTP(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(sftpServer); err != nil {
		t.Skip("OpenSSH's sftp-server is not installed")
	}
	dir := t.TempDir()
	ssh := filepath.Join(dir, "my ssh")
	script := "#!/bin/sh\necho \"$@\" > '" + dir + "/asked'\nexec " + sftpServer + "\n"
	for name, text := range map[string]string{"my ssh": script, "store/small": "small", "store/empty": "",
		"store/deep/large": strings.Repeat("0123456789abcdef", 1<<17) + "end"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"store/link": "small", "store/folder": "deep"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	git(t, dir, "init", "-q", "clone")
	clone := filepath.Join(dir, "clone")
	for name, env := range map[string]string{"shell": "GIT_SSH_COMMAND='" + ssh + "' -x", "program": "GIT_SSH=" + ssh, "config": ""} {
		term, _, _ := newTerminal(80)
		p := &program{terminal: term, edges: Edges{Dir: clone, Env: append(os.Environ(), env)}}
		if env == "" {
			git(t, clone, "config", "core.sshCommand", "'"+ssh+"' -y")
		}
		c, err := p.dialSFTP(t.Context(), sshRemote{"git@example.com", "22"})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		asked, err := os.ReadFile(filepath.Join(dir, "asked"))
		if err != nil || !strings.HasSuffix(string(asked), "-p 22 -s git@example.com sftp\n") {
			t.Errorf("%s: ssh is started with %s (%v)", name, asked, err)
		}
		store := filepath.Join(dir, "store")
		for _, file := range []string{"deep/large", "small", "empty", "deep/large"} {
			f, err := c.open(t.Context(), store, file)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			got, err := io.ReadAll(f)
			want, _ := os.ReadFile(filepath.Join(store, file))
			if err != nil || string(got) != string(want) {
				t.Errorf("%s has %d bytes, want %d (%v)", file, len(got), len(want), err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		// Given up in the middle, the next file is still read whole.
		f, err := c.open(t.Context(), store, "deep/large")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(f, make([]byte, 100_000)); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		for file, want := range map[string]string{"link": "symbolic link", "folder/large": "symbolic link", "deep": "no regular file",
			"small/x": "no regular file"} {
			if _, err := c.open(t.Context(), store, file); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", file, err)
			}
		}
		if _, err := c.open(t.Context(), store, "none"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("none: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What answers with anything but the protocol is named as that, at once.
func TestNoSFTP(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"a greeting": "echo 'Hi there! You have successfully authenticated.'", "nothing": "exit 1", "silence then end": "cat >/dev/null &",
		"a huge packet": `printf '\377\377\377\377\002aaaaaaaa'; sleep 60`, "another packet": `printf '\0\0\0\005\003\0\0\0\003'; sleep 60`,
		"no program": "exec /nowhere/at/all",
	} {
		term, _, _ := newTerminal(80)
		p := &program{terminal: term, edges: Edges{Dir: t.TempDir(), Env: append(os.Environ(), "GIT_SSH_COMMAND="+script+" #")}}
		if c, err := p.dialSFTP(t.Context(), sshRemote{"example.com", ""}); !errors.Is(err, errNoSFTP) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}
