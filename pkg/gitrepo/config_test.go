package gitrepo

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/google/go-cmp/cmp"
)

// Scopes, origins, includes, key case, values without a key's value, and values
// of several lines. Not parallel: the environment is the process's.
func TestConfig(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "xdg"))
	os.Unsetenv("GIT_CONFIG_NOSYSTEM")
	t.Cleanup(func() { os.Setenv("GIT_CONFIG_NOSYSTEM", "1") })
	t.Setenv("GIT_CONFIG_SYSTEM", filepath.Join(home, "system"))
	// What a caller's environment carries does not count as policy.
	t.Setenv("GIT_CONFIG_COUNT", "1")
	t.Setenv("GIT_CONFIG_KEY_0", "models.allowProcess")
	t.Setenv("GIT_CONFIG_VALUE_0", "unsandboxed")
	t.Setenv("GIT_CONFIG_PARAMETERS", "'models.engine'='evil'")

	r := newBare(t)
	write := func(path, text string) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	system := write(filepath.Join(home, "system"), "[models]\n\tEngines = a\n")
	xdg := write(filepath.Join(home, "xdg", "git", "config"), "[models]\n\tengines = b\n")
	global := write(filepath.Join(home, ".gitconfig"), "[include]\n\tpath = more\n[includeIf \"gitdir:"+r.Dir()+"\"]\n\tpath = only-here\n")
	more := write(filepath.Join(home, "more"), "[models]\n\tautoStart\n\tvalidate = \"two\\nlines\"\n")
	onlyHere := write(filepath.Join(home, "only-here"), "[models \"Sub.Section\"]\n\tKey = x\n")
	local := write(filepath.Join(r.Dir(), "config"), "[core]\n\tbare = true\n\trepositoryformatversion = 0\n[models]\n\tempty =\n\tequals = a=b\n")
	homeConfig := write(filepath.Join(home, "state", "config"), "[include]\n\tpath = extra\n[models]\n\tstore = s\n")
	extra := write(filepath.Join(home, "state", "extra"), "[models]\n\tengine = process\n")

	entry := func(scope, file, key, value string) gitmodels.ConfigEntry {
		return gitmodels.ConfigEntry{Scope: scope, Origin: "file:" + file, Key: key, Value: value}
	}
	want := []gitmodels.ConfigEntry{
		entry("system", system, "models.engines", "a"),
		entry("global", xdg, "models.engines", "b"),
		entry("global", global, "include.path", "more"),
		{Scope: "global", Origin: "file:" + more, Key: "models.autostart", Bare: true},
		entry("global", more, "models.validate", "two\nlines"),
		entry("global", global, "includeif.gitdir:"+r.Dir()+".path", "only-here"),
		entry("global", onlyHere, "models.Sub.Section.key", "x"),
		entry("local", local, "core.bare", "true"),
		entry("local", local, "core.repositoryformatversion", "0"),
		entry("local", local, "models.empty", ""),
		entry("local", local, "models.equals", "a=b"),
	}
	if diff := cmp.Diff(want, must(r.Config(ctx, ""))(t)); diff != "" {
		t.Errorf("without a home: %s", diff)
	}
	if diff := cmp.Diff(want, must(r.Config(ctx, filepath.Join(home, "nothing", "config")))(t)); diff != "" {
		t.Errorf("with a home without configuration: %s", diff)
	}
	want = append(want,
		entry("home", homeConfig, "include.path", "extra"),
		entry("home", extra, "models.engine", "process"),
		entry("home", homeConfig, "models.store", "s"))
	if diff := cmp.Diff(want, must(r.Config(ctx, homeConfig))(t)); diff != "" {
		t.Errorf("with a home: %s", diff)
	}
	for _, e := range want {
		if e.Protected() != (e.Scope != "local") {
			t.Errorf("%+v is protected: %v", e, e.Protected())
		}
	}

	// What others may write protects nothing.
	for _, mode := range []os.FileMode{0o646, 0o664} {
		if err := os.Chmod(homeConfig, mode); err != nil {
			t.Fatal(err)
		}
		for _, e := range must(r.Config(ctx, homeConfig))(t) {
			if e.Key == "models.store" && (e.Protected() || !strings.Contains(e.Scope, "writable by others")) {
				t.Errorf("mode %04o: %+v is believed", mode, e)
			}
		}
	}
	if err := os.Chmod(homeConfig, 0o644); err != nil {
		t.Fatal(err)
	}
	write(homeConfig, "[models\n")
	if _, err := r.Config(ctx, homeConfig); err == nil || !strings.Contains(err.Error(), homeConfig) {
		t.Errorf("a home whose configuration is broken: %v", err)
	}
	_, err := r.Config(ctx, "relative/config")
	wantKind(t, err, gitmodels.Invalid, "not an absolute path")
}

func TestConfigOfUnreadableHome(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		t.Skip("root reads every file")
	}
	r := newBare(t)
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte("[models]\n\tengine = x\n"), 0o000); err != nil {
		t.Fatal(err)
	}
	if entries, err := r.Config(ctx, path); err == nil {
		t.Errorf("policy that cannot be read counts as %v", entries)
	}
}

func TestConfigWrites(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	get := func(key string) []string {
		t.Helper()
		return must(r.ConfigGet(ctx, key))(t)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(r.ConfigUnset(ctx, "models.refs"))
	if got := get("models.refs"); got != nil {
		t.Errorf("unset key = %q", got)
	}
	check(r.ConfigAdd(ctx, "models.refs", "refs/heads/a"))
	check(r.ConfigAdd(ctx, "models.refs", "--weird = \"value\" # ;\nline"))
	check(r.ConfigAdd(ctx, "models.refs", "refs/heads/[a]*"))
	if diff := cmp.Diff([]string{"refs/heads/a", "--weird = \"value\" # ;\nline", "refs/heads/[a]*"}, get("models.refs")); diff != "" {
		t.Error(diff)
	}
	check(r.ConfigUnset(ctx, "models.refs", "refs/heads/[a]*", "not there"))
	if diff := cmp.Diff([]string{"refs/heads/a", "--weird = \"value\" # ;\nline"}, get("models.refs")); diff != "" {
		t.Error(diff)
	}
	check(r.ConfigSet(ctx, "models.refs", "one"))
	check(r.ConfigSet(ctx, "models.Sub.Key.home", ""))
	if diff := cmp.Diff([]string{"one", ""}, append(get("Models.REFS"), get("models.Sub.Key.home")...)); diff != "" {
		t.Error(diff)
	}
	check(r.ConfigUnset(ctx, "models.refs"))
	if got := get("models.refs"); got != nil {
		t.Errorf("after unset = %q", got)
	}
	for _, key := range []string{"", "models", "--global", "-x.y", "a b.c", "models.a_b", "models.x\ny"} {
		wantKind(t, r.ConfigSet(ctx, key, "x"), gitmodels.Invalid, "is no configuration key")
		_, err := r.ConfigGet(ctx, key)
		wantKind(t, err, gitmodels.Invalid, "is no configuration key")
	}
}

// Eight writers at once lose nothing.
func TestConfigBesideOthers(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	const n = 8
	errs := make(chan error, n)
	for range n {
		go func() { errs <- r.ConfigAdd(ctx, "models.refs", "x") }()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := must(r.ConfigGet(ctx, "models.refs"))(t); len(got) != n {
		t.Errorf("%d values, want %d", len(got), n)
	}
}

// The format that Open reads for itself is the one that git reads.
func TestFormatAgainstGit(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"[extensions]\n\tobjectformat = sha256\n",
		"[Extensions]\n\tObjectFormat=\"sha256\" ; why not\n",
		"[extensions] objectFormat = sha256 # same line\n",
		"[core]\n\tobjectformat = sha256\n[extensions]\n# objectformat = sha256\n",
		"[extensions]\n\tobjectformat = sha256\n[extensions]\n\tobjectformat = sha1\n",
		"",
	} {
		r := newBare(t)
		config := "[core]\n\tbare = true\n\trepositoryformatversion = 1\n" + text
		if err := os.WriteFile(filepath.Join(r.Dir(), "config"), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
		want := map[string]int{"sha1": 40, "sha256": 64}[gitIn(t, r.Dir(), "rev-parse", "--show-object-format")]
		if got := open(t, r.Dir()).IDLength(); got != want {
			t.Errorf("%q: IDLength %d, git says %d", text, got, want)
		}
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	r := newBare(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(r.Dir(), link); err != nil {
		t.Fatal(err)
	}
	if got := open(t, link).Dir(); got != r.Dir() {
		t.Errorf("through a link: %s, want %s", got, r.Dir())
	}
	for _, dir := range []string{t.TempDir(), filepath.Join(r.Dir(), "nothing"), filepath.Join(r.Dir(), "config"), filepath.Join(r.Dir(), "objects")} {
		_, err := Open(dir)
		wantKind(t, err, gitmodels.NotFound, dir+" is not a git directory")
	}
	strange := newBare(t)
	gitIn(t, strange.Dir(), "config", "extensions.objectFormat", "sha3")
	_, err := Open(strange.Dir())
	wantKind(t, err, gitmodels.Internal, "sha3")
}

func TestDiscoverAndInit(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	bareDir := filepath.Join(parent, "new.git")
	if err := Init(ctx, bareDir); err != nil {
		t.Fatal(err)
	}
	wantKind(t, Init(ctx, bareDir), gitmodels.Invalid, "exists already")
	if err := Init(ctx, filepath.Join(parent, "file", "x.git")); err != nil {
		t.Errorf("with a parent to be made: %v", err)
	}
	if hooks, err := os.ReadDir(filepath.Join(bareDir, "hooks")); len(hooks) > 0 {
		t.Errorf("a new repository has hooks: %v %v", hooks, err)
	}

	tree := filepath.Join(parent, "work\ntree")
	gitIn(t, parent, "clone", "-q", bareDir, tree)
	deep := filepath.Join(tree, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	type found struct {
		GitDir string
		Bare   bool
		Tree   string
	}
	for dir, want := range map[string]found{
		bareDir:                             {bareDir, true, ""},
		filepath.Join(bareDir, "objects"):   {bareDir, true, ""},
		deep:                                {filepath.Join(tree, ".git"), false, tree},
		filepath.Join(tree, ".git"):         {filepath.Join(tree, ".git"), false, ""},
		filepath.Join(tree, ".git", "refs"): {filepath.Join(tree, ".git"), false, ""},
	} {
		gitDir, bare, work, err := Discover(ctx, dir)
		if err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		if diff := cmp.Diff(want, found{gitDir, bare, work}); diff != "" {
			t.Errorf("%s: %s", dir, diff)
		}
	}
	_, _, _, err := Discover(ctx, parent)
	wantKind(t, err, gitmodels.NotFound, "is not in a git repository")

	// A linked work tree shares refs and objects with the first.
	id := commit(t, open(t, bareDir), content{"f": "1"})
	setRef(t, open(t, bareDir), "refs/heads/main", id)
	linked := filepath.Join(parent, "linked")
	gitIn(t, bareDir, "worktree", "add", "-q", linked, string(id))
	gitDir, _, work, err := Discover(ctx, linked)
	if err != nil || work != linked {
		t.Fatalf("linked work tree: %s, %v", work, err)
	}
	if got := must(open(t, gitDir).Peel(ctx, "main"))(t); got != id {
		t.Errorf("main in a linked work tree = %s", got)
	}
	if err := open(t, gitDir).WriteNote(ctx, "refs/notes/models", id, "text\n"); err != nil {
		t.Fatal(err)
	}
	if text, ok, err := open(t, bareDir).ReadNote(ctx, "refs/notes/models", id); text != "text\n" || !ok || err != nil {
		t.Errorf("note written in a linked work tree: %q, %v, %v", text, ok, err)
	}
}

// A repository of another account is no obstacle, as it is to plain git.
func TestRepositoryOfAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root to give a repository to another account")
	}
	r := newBare(t)
	id := commit(t, r, content{"f": "1"})
	if out, err := exec.Command("chown", "-R", "65534:65534", r.Dir()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := tryGit(r.Dir(), nil, "cat-file", "-t", string(id)); err == nil {
		t.Fatal("plain git has no objection to the fixture")
	}
	r = open(t, r.Dir())
	if typ := must(r.ObjectType(ctx, id))(t); typ != "commit" {
		t.Errorf("ObjectType = %q", typ)
	}
	if gitDir, bare, _, err := Discover(ctx, r.Dir()); gitDir != r.Dir() || !bare || err != nil {
		t.Errorf("Discover = %s, %v, %v", gitDir, bare, err)
	}
	if _, err := r.Export(ctx, id, filepath.Join(t.TempDir(), "tree")); err != nil {
		t.Error(err)
	}
	if err := r.WriteNote(ctx, "refs/notes/models", id, "x\n"); err != nil {
		t.Error(err)
	}
}
