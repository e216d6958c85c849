package postreceive

import (
	"crypto/sha256"
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/hook"
)

// stuck is a pipe that nobody reads.
type stuck chan struct{}

func (s stuck) Write(b []byte) (int, error) { <-s; return len(b), nil }

// A receipt that nobody reads ends the hook all the same.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes the watchdog's patience")
	}
	s := make(stuck)
	defer close(s)
	start := time.Now()
	tell(hook.Edges{Stderr: s}, (&hook.Block{}).Say("hello"))
	if took := time.Since(start); took > telling+3*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestNoLines(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	e := hook.Edges{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Dir: t.TempDir(), Program: "hooks/post-receive"}
	if status := Run(e); status != 0 || out.Len() > 0 {
		t.Errorf("%d, %q", status, &out)
	}
}

// What went wrong is said in words, and never as if all were well.
func TestFailed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "git-models"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, env := range map[string][]string{"logged": {"XDG_STATE_HOME=" + dir}, "not logged": nil} {
		var out strings.Builder
		e := hook.Edges{Stdin: strings.NewReader("garbage"), Stdout: &out, Stderr: &out, Dir: dir, Env: env, Program: "hooks/post-receive"}
		if status := Run(e); status == 0 {
			t.Errorf("%s: status 0", name)
		}
		for _, w := range []string{"accepted, but it could not be recorded.", "Nothing is lost", "admin"} {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s: no %q in %s", name, w, &out)
			}
		}
		for line := range strings.Lines(out.String()) {
			if len(line) > hook.Columns+1 {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

func TestPusher(t *testing.T) {
	t.Parallel()
	auth := filepath.Join(t.TempDir(), "auth")
	key := base64.StdEncoding.EncodeToString([]byte("a key"))
	if err := os.WriteFile(auth, []byte("publickey ssh-ed25519 "+key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("a key"))
	fingerprint := "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
	account := accountName(hook.Edges{})
	if account == "" {
		t.Error("the account has no name")
	}
	for _, c := range []struct {
		env  []string
		want gitmodels.Pusher
	}{
		{[]string{"GITEA_PUSHER_NAME=a", "REMOTE_USER=b"}, gitmodels.Pusher{Name: "a", Via: "GITEA_PUSHER_NAME"}},
		{[]string{"GL_USERNAME=a", "GL_USER=b"}, gitmodels.Pusher{Name: "a", Via: "GL_USERNAME"}},
		{[]string{"GL_USER=b", "GITEA_PUSHER_NAME="}, gitmodels.Pusher{Name: "b", Via: "GL_USER"}},
		{[]string{"REMOTE_USER=b\u202e\x07"}, gitmodels.Pusher{Name: `b\u202e\x07`, Via: "REMOTE_USER"}},
		{[]string{"SSH_USER_AUTH=" + auth}, gitmodels.Pusher{Name: account + " with key " + fingerprint, Via: "SSH_USER_AUTH"}},
		{[]string{"SSH_USER_AUTH=/nowhere"}, gitmodels.Pusher{Name: account, Via: "uid"}},
	} {
		got := pusher(hook.Edges{Env: c.env})
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%v: %s", c.env, d)
		}
	}
}

func TestProtocol(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env  []string
		want string
	}{
		{nil, "path"},
		{[]string{"SSH_ORIGINAL_COMMAND=x"}, "ssh"},
		{[]string{"SSH_CONNECTION=x"}, "ssh"},
		{[]string{"SSH_CONNECTION=x", "SSH_TTY=/dev/pts/1"}, "path"},
		{[]string{"REQUEST_METHOD=POST", "REMOTE_ADDR=::1"}, "http"},
		{[]string{"REMOTE_ADDR=::1"}, ""},
		{[]string{"GITEA_REPO_ID=1"}, ""},
		{[]string{"GL_PROTOCOL=ssh", "REQUEST_METHOD=POST"}, "ssh"},
		{[]string{"GL_PROTOCOL=web"}, ""},
	} {
		if got := protocol(hook.Edges{Env: c.env}); got != c.want {
			t.Errorf("%v: %q, want %q", c.env, got, c.want)
		}
	}
}

func TestFresh(t *testing.T) {
	t.Parallel()
	got := fresh([]string{"HOME=/h", "PATH=/p", "XDG_STATE_HOME=/x", "LANG=C", "TMPDIR=/t", "HTTP_AUTHORIZATION=secret",
		"GIT_DIR=.", "GIT_PUSH_OPTION_0=x", "LD_PRELOAD=x", "HOMER=1", "GITEA_X=1"})
	want := []string{"HOME=/h", "PATH=/p", "XDG_STATE_HOME=/x", "LANG=C", "TMPDIR=/t"}
	if !slices.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestOwnsHome(t *testing.T) {
	t.Parallel()
	if dir := t.TempDir(); !ownsHome(dir) || ownsHome(dir+"/nowhere") {
		t.Error("our own folder is not ours, or one that does not exist is")
	}
	if os.Getuid() != 0 && ownsHome("/") {
		t.Error("the root folder is ours")
	}
}

// Descriptors opened without close-on-exec, high ones too, do not reach a child.
func TestCloseOnExec(t *testing.T) {
	t.Parallel()
	fd, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Dup3(fd, 251, 0); err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(251)
	if err := closeOnExec(); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{fd, 251} {
		flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(n), syscall.F_GETFD, 0)
		if errno != 0 || flags&syscall.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d: flags %d (%v)", n, flags, errno)
		}
	}
}
