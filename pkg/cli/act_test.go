package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hookIn puts a hook into the server's repository.
func (s server) hookIn(t *testing.T, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.repo, "hooks", name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestActFromAClone(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.push(t)
	commit := git(t, s.clone, "rev-parse", "HEAD")
	s.hookIn(t, "post-receive", `cat > asked
printf 'git-models: %s cancelling\033[31m\n' `+short(commit)+` >&2
printf 'a line without end' >&2
`)
	// The server's words are the answer; git's report of a ref that does not stay
	// is no part of it.
	for verb, word := range map[string]string{"cancel": "HEAD", "rerun": commit[:6] + "-r2"} {
		runIn(t, s.clone, verb, word).want(t, 0, "",
			"git-models: "+short(commit)+` cancelling\x1b[31m`+"\na line without end\n")
		asked, err := os.ReadFile(filepath.Join(s.repo, "asked"))
		if err != nil || !strings.HasSuffix(strings.TrimSpace(string(asked)), commit+" refs/run/"+verb) {
			t.Errorf("%s asked for %s (%v)", verb, asked, err)
		}
		git(t, s.repo, "update-ref", "-d", "refs/run/"+verb)
	}
	// From elsewhere by --repo, whatever the caller's own repository is.
	env := append(os.Environ(), "GIT_DIR="+s.repo, "GIT_WORK_TREE="+s.repo)
	got := runWith(t.Context(), Edges{Dir: t.TempDir(), Env: env, Args: []string{"--repo", s.clone, "cancel", "HEAD"}})
	if got.code != 0 || !strings.Contains(got.err, "cancelling") {
		t.Errorf("with --repo: %+v", got)
	}
	git(t, s.repo, "update-ref", "-d", "refs/run/cancel")

	// A refusal is a failure, with everything that was said.
	s.hookIn(t, "pre-receive", "echo 'git-models: refused refs/run/cancel: only its owner may' >&2\nexit 1\n")
	got = runIn(t, s.clone, "cancel", "HEAD")
	if got.code != 1 || got.out != "" || !strings.HasPrefix(got.err, "git-models: refused refs/run/cancel: only its owner may\n") ||
		!strings.Contains(got.err, "[remote rejected]") || strings.Contains(got.err, "remote: ") {
		t.Errorf("refused: %+v", got)
	}
	noControls(t, "a refusal", got.err)

	// What cannot be asked.
	runIn(t, s.clone, "cancel", "abcdef0").want(t, 1, "",
		"git-models: error: abcdef0 names no commit that this clone has\ngit-models: hint: git fetch origin\n")
	git(t, s.clone, "remote", "set-url", "origin", filepath.Join(s.home, "nowhere"))
	if got := runIn(t, s.clone, "rerun", "HEAD"); got.code != 1 || !strings.Contains(got.err, "nowhere") {
		t.Errorf("no server: %+v", got)
	}
	git(t, s.clone, "remote", "rename", "origin", "up")
	for _, command := range []string{"cancel", "watch"} {
		runIn(t, s.clone, command, "HEAD").want(t, 1, "",
			"git-models: error: this repository has no remote called origin, but up\ngit-models: hint: git remote rename up origin\n")
	}
	git(t, s.clone, "remote", "remove", "up")
	runIn(t, s.clone, "cancel", "HEAD").want(t, 1, "",
		"git-models: error: this repository has no remote called origin\ngit-models: hint: git remote add origin URL\n")
}

// A branch of the server is a name too, and a clone need not have its own.
func TestCommitInClone(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.push(t)
	git(t, s.clone, "fetch", "-q", "origin")
	s.commit(t, "later", map[string]string{"a": "b"})
	term, _, _ := newTerminal(80)
	p := &program{terminal: term, edges: Edges{Dir: s.clone, Env: os.Environ()}}
	at, err := p.site(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for word, revision := range map[string]string{
		"models": "origin/models", "origin/models": "origin/models", "HEAD": "HEAD", "HEAD~1": "HEAD~1",
		git(t, s.clone, "rev-parse", "HEAD")[:8] + "-r3": "HEAD",
	} {
		id, err := p.commitInClone(t.Context(), at, word)
		if want := git(t, s.clone, "rev-parse", revision); string(id) != want {
			t.Errorf("%s is %s (%v), want %s", word, id, err, want)
		}
	}
	for _, word := range []string{"", "-x", "nowhere", "a\nb", "--all"} {
		if id, err := p.commitInClone(t.Context(), at, word); err == nil {
			t.Errorf("%q is %s", word, id)
		}
	}
}
