package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// TestHintsOfPathsAreQuoted: what is printed can be pasted, whatever the path.
func TestHintsOfPathsAreQuoted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	work := s.path("it's mine")
	git(t, "", "init", "-q", work)
	err := s.refused(Install, work)
	s.runHint(err)
	s.install(work + ".git")
}

// TestShared: members of the repository's group get a spool they can write to.
func TestShared(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	repo := s.empty("dogs.git")
	git(t, repo, "config", "core.sharedRepository", "group")
	gid := os.Getegid()
	if os.Geteuid() == 0 {
		gid = 1 // any group but our own
		must(t, os.Chown(repo, -1, gid))
	}
	said := s.install(repo)
	contains(t, said, "made the spool for group "+groupName(gid), "made the logs writable for group "+groupName(gid))
	for dir, want := range map[string]string{"spool/new": "dtrwxrwx---", "spool/tmp": "dtrwxrwx---", "log": "dgrwxrwx---", ".": "drwx--x--x", "bin": "drwxr-xr-x"} {
		info, err := os.Stat(filepath.Join(s.opts.Home, dir))
		must(t, err)
		if want == "dtrwxrwx---" {
			want = "dgtrwxrwx---"
		}
		if got := info.Mode().String(); got != want {
			t.Errorf("%s has mode %s, want %s", dir, got, want)
		}
	}
	contains(t, s.install(repo), "unchanged")
	// Another repository of the same owner joins without narrowing it.
	s.install(s.empty("cats.git"))
	if got, shared := groupOf(filepath.Join(s.opts.Home, "spool/new")); got != gid || !shared {
		t.Errorf("the spool belongs to group %d, shared %v", got, shared)
	}
	if os.Geteuid() != 0 {
		t.Skip("the rest needs root: a second group")
	}
	other := s.empty("birds.git")
	git(t, other, "config", "core.sharedRepository", "0660")
	must(t, os.Chown(other, -1, 2))
	contains(t, s.refused(Install, other).Error(), "is shared by group "+groupName(2))
}

func TestOtherUsers(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: files of another user")
	}
	s := newSite(t)
	theirs := s.empty("theirs.git")
	must(t, os.Chown(theirs, 65534, -1))
	err := s.refused(Install, theirs)
	contains(t, err.Error(), theirs+" belongs to user "+userName(65534)+": install as that user, not as root")
	// What uninstalling follows is written by that user: it must not lead root to
	// the hooks of others.
	victim := s.empty("victim.git")
	s.install(victim)
	must(t, os.WriteFile(filepath.Join(theirs, recordName), []byte(`{"version":1,"home":"`+s.opts.Home+`","hooks":"`+victim+`/hooks","settings":[]}`), 0o644))
	contains(t, s.refused(Uninstall, theirs).Error(), theirs+" belongs to user "+userName(65534)+": uninstall as that user, not as root")
	if _, err := os.Lstat(filepath.Join(victim, "hooks", "pre-receive")); err != nil {
		t.Errorf("the gate of another repository is gone: %v", err)
	}
	s = newSite(t)
	s.write("state/git-models/x", "", 0o644)
	must(t, os.Chown(s.opts.Home, 65534, -1))
	contains(t, s.refused(Install, s.empty("ours.git")).Error(), "belongs to user "+userName(65534))
}

// TestUnwritable runs as a user who may not write.
func TestUnwritable(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	s := newSite(t)
	repo := s.empty("dogs.git")
	must(t, os.Chmod(repo, 0o555))
	t.Cleanup(func() { os.Chmod(repo, 0o755) })
	contains(t, s.refused(Install, repo).Error(), repo+" is not writable by user ")
}

// TestNoexec: where git would run no hook, there would be no gate.
func TestNoexec(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a file system")
	}
	s := newSite(t)
	must(t, os.Mkdir(s.path("disk"), 0o755))
	if err := unix.Mount("none", s.path("disk"), "tmpfs", unix.MS_NOEXEC, ""); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(s.path("disk"), 0)) })
	repo := s.empty("disk/dogs.git")
	contains(t, s.refused(Install, repo).Error(), repo+" lies on a file system that is mounted noexec")
}

func TestSharedRepositoryValues(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"group": true, "true": true, "1": true, "all": true, "world": true, "everybody": true, "2": true, "0660": true, "0664": true,
		"umask": false, "false": false, "0": false, "0600": false, "": false,
	} {
		if got := shared([]gitmodels.ConfigEntry{{Key: "core.sharedrepository", Value: value}}); got != want {
			t.Errorf("core.sharedRepository=%s: %v, want %v", value, got, want)
		}
	}
}

func TestRepositoryName(t *testing.T) {
	t.Parallel()
	for dir, want := range map[string]string{
		"/srv/dogs.git": "dogs", "/srv/dogs": "dogs", "/srv/a b.git": "a-b", "/srv/.git": "repository", "/srv/-x.git": "x",
		"/srv/..hidden": "hidden", "/srv/hündin.git": "h-ndin", "/srv/" + strings.Repeat("a", 300): strings.Repeat("a", 100),
	} {
		if got := repositoryName(dir); got != want {
			t.Errorf("repositoryName(%q) = %q, want %q", dir, got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"", "plain/a.git", "two words", "it's", `"`, "a\nb", "$HOME", "*", "~", "-x", "ü"} {
		out, err := exec.Command("sh", "-c", "printf %s "+quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("quote(%q) is read as %q (%v)", word, out, err)
		}
	}
}
