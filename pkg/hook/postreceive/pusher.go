package postreceive

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/hook"
)

// identities are the variables that say who pushed, the one that knows best
// first: a host that manages accounts, then the web server's login. They are as
// trustworthy as the process that serves the push: over a local path a pusher
// can set any of them. A name is for people to read, never a right.
var identities = []string{
	"GITEA_PUSHER_NAME", // Gitea, Forgejo
	"GL_USERNAME",       // GitLab
	"GL_USER",           // gitolite
	"REMOTE_USER",       // smart HTTP: CGI's login (RFC 3875)
}

// pusher is who pushed, as far as the transport tells.
func pusher(e hook.Edges) gitmodels.Pusher {
	for _, key := range identities {
		if name := e.Getenv(key); name != "" {
			return gitmodels.Pusher{Name: gitmodels.Printable(name, 100), Via: key}
		}
	}
	account := accountName(e)
	if key := sshKey(e.Getenv("SSH_USER_AUTH")); key != "" {
		return gitmodels.Pusher{Name: account + " with key " + key, Via: "SSH_USER_AUTH"}
	}
	return gitmodels.Pusher{Name: account, Via: "uid"}
}

// accountName is the account that the hook runs as.
func accountName(e hook.Edges) string {
	uid := strconv.Itoa(os.Getuid())
	if u, err := user.LookupId(uid); err == nil && u.Username != "" {
		return gitmodels.Printable(u.Username, 100)
	}
	for _, key := range []string{"LOGNAME", "USER"} {
		if name := e.Getenv(key); name != "" {
			return gitmodels.Printable(name, 100)
		}
	}
	return "uid " + uid
}

// sshKey is the fingerprint of the key that opened the session, from the file
// that sshd names when ExposeAuthInfo is on (sshd_config(5)): where many people
// share one account, it tells them apart.
func sshKey(path string) string {
	if path == "" {
		return ""
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != "publickey" {
			continue
		}
		if key, err := base64.StdEncoding.DecodeString(fields[2]); err == nil {
			sum := sha256.Sum256(key)
			return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
		}
	}
	return ""
}

// protocol is how the push came, or empty.
func protocol(e hook.Edges) string {
	set := func(key string) bool { return e.Getenv(key) != "" }
	switch gl := e.Getenv("GL_PROTOCOL"); {
	case gl == "ssh" || gl == "http":
		return gl
	case gl != "":
		return ""
	case set("REQUEST_METHOD"), set("GATEWAY_INTERFACE"):
		return "http"
	case set("SSH_ORIGINAL_COMMAND"), set("SSH_CONNECTION") && !set("SSH_TTY"):
		return "ssh"
	case set("REMOTE_ADDR"), set("GITEA_REPO_ID"):
		return ""
	}
	return "path"
}
