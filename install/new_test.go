package install

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
)

func TestDryRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	repo := s.bare("dogs.git")
	before := snapshot(t, s.dir)
	s.opts.DryRun = true
	contains(t, s.install(repo), "would: hook pre-receive -> ", "would: set models.home=", "would: made "+s.opts.Home)
	var out bytes.Buffer
	must(t, New(context.Background(), s.opts, s.path("new.git"), &out))
	contains(t, out.String(), "would: make a bare repository")
	if diff := difference(before, snapshot(t, s.dir)); diff != "" {
		t.Errorf("it did something:\n%s", diff)
	}
}

// TestEngineNote: the last line says what a push will find. The state
// directory's own config file is protected, so it may say so.
func TestEngineNote(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ config, want string }{
		"none":        {"", "engine: NONE, pushes will wait (git config --global models.engine process)"},
		"not allowed": {"[models]\nengine = process\n", "engine: process is not allowed yet, pushes will wait (git config --global models.allowProcess true)"},
		"sandboxed":   {"[models]\nengine = process\nallowProcess = true\n", "engine: process, in its sandbox"},
		"unsandboxed": {"[models]\nengine = process\nallowProcess = unsandboxed\n", "engine: process, WITHOUT a sandbox: whoever may push runs programs as this user"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.write("state/git-models/config", tc.config, 0o600)
			contains(t, s.install(s.empty("dogs.git")), "  "+tc.want+"\n")
		})
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := s.path("srv/deep/dogs.git")
	var out bytes.Buffer
	must(t, New(context.Background(), s.opts, path, &out))
	contains(t, out.String(), "set models.autostart=true", "ready: git remote add origin "+path+" && git push origin main:models")
	if got := git(t, path, "symbolic-ref", "HEAD"); got != "refs/heads/main" {
		t.Errorf("HEAD is %s, want refs/heads/main", got)
	}
	if got := git(t, path, "config", "--type=bool", "models.autostart"); got != "true" {
		t.Errorf("models.autostart is %s", got)
	}
	contains(t, s.install(path), "unchanged")

	before := snapshot(t, s.dir)
	err := New(context.Background(), s.opts, path, &out)
	var e *gitmodels.Error
	if !errors.As(err, &e) || e.Message != path+" exists already" || e.Hint != "git models install "+path {
		t.Errorf("a second time: %v", err)
	}
	if diff := difference(before, snapshot(t, s.dir)); diff != "" {
		t.Errorf("it was refused and changed something:\n%s", diff)
	}
}

// TestNewLeavesNothingHalfDone: a repository that cannot be served is not left
// lying about.
func TestNewLeavesNothingHalfDone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	open := s.opts.Ledger
	s.opts.Ledger = func(context.Context, string) (Ledger, error) { return nil, errors.New("the disk is full") }
	path := s.path("dogs.git")
	var out bytes.Buffer
	if err := New(context.Background(), s.opts, path, &out); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %v", path, err)
	}
	s.opts.Ledger = open
	must(t, New(context.Background(), s.opts, path, &out))
}
