package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

func TestHelp(t *testing.T) {
	t.Parallel()
	term, _, _ := newTerminal(80)
	pages := []string{"help"}
	for _, c := range (&program{terminal: term}).app().Commands {
		if !c.Hidden {
			pages = append(pages, "help "+c.Name)
		}
	}
	dir := t.TempDir()
	for _, page := range pages {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			got := runIn(t, dir, strings.Fields(page)...).ok(t)
			for line := range strings.Lines(got) {
				if width(strings.TrimSuffix(line, "\n")) > 80 {
					t.Errorf("a line of %d columns: %s", width(line), line)
				}
			}
			golden(t, "help/"+strings.ReplaceAll(page, " ", "-")+".txt", got)
			if word, ok := strings.CutPrefix(page, "help "); ok {
				for _, flag := range []string{"-h", "--help"} {
					if again := runIn(t, dir, word, flag).ok(t); again != got {
						t.Errorf("%s %s says something else", word, flag)
					}
				}
			}
		})
	}
}

// golden compares got with a file under testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tests := map[string]struct {
		code int
		err  string
	}{
		"lst":              {2, "error: unknown command lst; did you mean ls?\nhint: git models help\n"},
		"help lst":         {2, "error: unknown command lst; did you mean ls?\nhint: git models help\n"},
		"ls --jsno":        {2, "error: unknown option --jsno; did you mean --json?\nhint: git models help ls\n"},
		"ls -n x":          {2, "error: invalid value \"x\" for option --number\nhint: git models help ls\n"},
		"ls -n -3":         {2, "error: --number is -3, want 0 or more\n"},
		"ls more":          {2, "error: one word too many: more\nhint: git models help ls\n"},
		"show":             {2, "error: the commit is missing\nhint: git models help show\n"},
		"cancel a b":       {2, "error: one word too many: b\nhint: git models help cancel\n"},
		"--color=red ls":   {2, "error: --color is red, want auto, always or never\n"},
		"logs --stage x y": {2, "error: no log of stage x, want build, train or evaluate\n"},
		"overrides":        {2, "error: the file is missing\nhint: git models help overrides\n"},
		"uninstall":        {2, "error: the repository is missing\nhint: git models help uninstall\n"},
		"new --layout=x y": {2, "error: --layout is x, want auto, solo or team\nhint: git models help new\n"},
		"completion tcsh":  {2, "error: no completion for tcsh, want bash, zsh or fish\n"},
		"ls":               {1, "error: DIR is not in a git repository\nhint: git models ls --all\n"},
		"show abcd":        {1, "error: DIR is not in a git repository\nhint: git models --repo /path/to/repository.git show abcd\n"},
		"lint":             {1, "error: DIR is not in a git repository\nhint: git models --repo /path/to/repository.git lint\n"},
		"install":          {1, "error: DIR is not in a git repository\nhint: git models install /path/to/repository.git\n"},
		"--repo no ls":     {1, "error: there is no folder DIR/no\n"},
		"ls --all --home no": {1, "error: nothing is installed with the state directory DIR/no\n" +
			"hint: git models install /path/to/repository.git\n"},
		"runner --home no": {1, "error: there is no state directory DIR/no\nhint: git models install /path/to/repository.git\n"},
		"overrides no":     {1, "error: cannot read no: no such file or directory\n"},
	}
	for in, tt := range tests {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			want := ""
			for line := range strings.Lines(strings.ReplaceAll(tt.err, "DIR", dir)) {
				want += "git-models: " + line
			}
			runIn(t, dir, strings.Fields(in)...).want(t, tt.code, "", want)
		})
	}
}

func TestLaterCommandsAreRefusedByName(t *testing.T) {
	t.Parallel()
	for _, l := range later {
		for _, args := range [][]string{{l.name}, {l.name, "--json", "HEAD", "-x"}, {l.name, "--help"}, {"help", l.name}} {
			runIn(t, t.TempDir(), args...).want(t, exitFailed, "",
				"git-models: error: refused: "+l.name+" is not in this version\ngit-models: hint: "+l.instead+"\n")
		}
	}
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	yaml := "optimizer:\n  lr: 0.003\nname: \"a b\"\n"
	if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	runIn(t, dir, "overrides", "p.yaml").want(t, 0, "optimizer.lr=0.003\nname='a b'\n", "")
	runIn(t, dir, "overrides", "--json", "./p.yaml").want(t, 0, "[\n  \"optimizer.lr=0.003\",\n  \"name='a b'\"\n]\n", "")
	runWith(t.Context(), Edges{Dir: dir, Args: []string{"overrides", "-"}, Stdin: strings.NewReader(yaml)}).
		want(t, 0, "optimizer.lr=0.003\nname='a b'\n", "")
	runWith(t.Context(), Edges{Dir: dir, Args: []string{"overrides", "--json", "-"}}).want(t, 0, "[]\n", "")
	got := runWith(t.Context(), Edges{Dir: dir, Args: []string{"overrides", "-"}, Stdin: strings.NewReader("a: 1\na: 2\n")})
	if got.code != 1 || !regexp.MustCompile(`^-:2:1: .*a`).MatchString(got.out) {
		t.Errorf("a key that stands twice: %+v", got)
	}
	large := strings.Repeat("#", gitmodels.MaxPipelineFile+1)
	runWith(t.Context(), Edges{Dir: dir, Args: []string{"overrides", "-"}, Stdin: strings.NewReader(large)}).
		want(t, 1, "", "git-models: error: - is larger than 1048576 bytes\n")
}

func TestLint(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.push(t)
	onServer := "ok: sh src/train.sh optimizer.lr=0.01 experiment_name=" + short(git(t, s.clone, "rev-parse", "HEAD")) + " (1 override)\n"
	runIn(t, s.repo, "lint", "models").want(t, 0, onServer, "")
	clone := "git-models: what depends on the server (its engine and limits) is judged at the push\n"
	runIn(t, s.clone, "lint").want(t, 0, onServer, clone)

	// What is not committed does not count, and is named.
	path := filepath.Join(s.clone, ".models.yaml")
	if err := os.WriteFile(path, []byte("train:\n  comand: [sh]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	runIn(t, s.clone, "lint").want(t, 0, onServer,
		"git-models: .models.yaml in this folder is not what is committed; the commit is judged\n"+clone)
	git(t, s.clone, "commit", "-qam", "a mistake")
	got := runIn(t, s.clone, "lint")
	if got.code != 1 || !strings.Contains(got.out, ".models.yaml:2:3: ") || !strings.Contains(got.out, "command") {
		t.Errorf("a fault: %+v", got)
	}
	runIn(t, s.clone, "lint", "HEAD~1").want(t, 0, onServer, clone)
	got = runIn(t, s.clone, "lint", "nowhere")
	if got.code != 1 || got.out != "" || !strings.Contains(got.err, "nowhere") || strings.Contains(got.err, "exit status") {
		t.Errorf("no such revision: %+v", got)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	if err := os.WriteFile(filepath.Join(s.home, "config"), []byte("[models]\n\tabbrev = 9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	git(t, s.repo, "config", "models.allowProcess", "unsandboxed")
	git(t, s.repo, "config", "models.sauce", "off")
	got := runIn(t, s.repo, "config")
	table := got.ok(t)
	for _, want := range []string{`(?m)^KEY +VALUE +FROM$`, `(?m)^models.abbrev +9 +home /`,
		`(?m)^models.engine +process +global ~/.gitconfig$`, `(?m)^models.retry.lost +1 +default$`} {
		if !regexp.MustCompile(want).MatchString(table) {
			t.Errorf("no %s in\n%s", want, table)
		}
	}
	if !strings.Contains(got.err, "git-models: warning: models.sauce=off") {
		t.Errorf("a misspelled key is not named: %s", got.err)
	}
	for line := range strings.Lines(table) {
		if strings.Contains(line, "  ") && width(strings.TrimSuffix(line, "\n")) > 80 {
			t.Errorf("%d columns: %s", width(line), line)
		}
	}
	var list []setting
	if err := json.Unmarshal([]byte(runIn(t, filepath.Dir(s.repo), "config", "--json", s.repo).ok(t)), &list); err != nil {
		t.Fatal(err)
	}
	found := map[string]setting{}
	for _, one := range list {
		found[one.Key] = one
	}
	if v := found["models.abbrev"].Value; v == nil || *v != "9" {
		t.Errorf("models.abbrev: %+v", found["models.abbrev"])
	}
	if v := found["models.jobEnvFile"]; v.Value != nil || v.Origin != "default" {
		t.Errorf("what is not set is null: %+v", v)
	}
	if got := runIn(t, s.clone, "config"); got.code != 0 || !strings.Contains(got.err, "settings of this clone") {
		t.Errorf("in a clone: %+v", got)
	}
}

// row is the one row of ls or show in JSON.
func row(t *testing.T, text string) gitmodels.Listing {
	t.Helper()
	var list []gitmodels.Listing
	if strings.HasPrefix(text, "{") {
		text = "[" + text + "]"
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list) != 1 {
		t.Fatalf("%v, %d rows in\n%s", err, len(list), text)
	}
	return list[0]
}

// noControls fails when a foreign control character reaches the terminal.
func noControls(t *testing.T, what, text string) {
	t.Helper()
	for _, r := range text {
		if r < 0x20 && r != '\n' || r == 0x7f || r == 0x202e {
			t.Errorf("%s passes %q:\n%s", what, r, text)
			return
		}
	}
}
