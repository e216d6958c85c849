package story

import (
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// startSSH starts a real sshd on a free port of the loopback interface. Its one
// key belongs to alice; the forced command gives the server's account the
// story's HOME, as a service's account has its own.
func startSSH(ts *testscript.TestScript, neg bool, args []string) { serveSSH(ts, "sshd", neg, args) }

// startShellSSH starts an sshd as people have it on a machine of their own: its
// one key opens a shell, and sftp.
func startShellSSH(ts *testscript.TestScript, neg bool, args []string) {
	serveSSH(ts, "sshshell", neg, args)
}

func serveSSH(ts *testscript.TestScript, word string, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: %s ROOT", word)
	}
	dir := ts.MkAbs("sshd")
	ts.Check(os.MkdirAll(dir, 0o700))
	for _, key := range []string{"host", "alice"} {
		ts.Check(exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key)).Run())
	}
	public, err := os.ReadFile(filepath.Join(dir, "alice.pub"))
	ts.Check(err)
	forced := fmt.Sprintf(`env HOME=%s PATH=%s GIT_CONFIG_NOSYSTEM=1 GL_USER=alice git-shell -c \"$SSH_ORIGINAL_COMMAND\"`,
		ts.Getenv("HOME"), ts.Getenv("PATH"))
	options := fmt.Sprintf("command=\"%s\",restrict ", forced)
	if word == "sshshell" {
		options = "restrict "
	}
	ts.Check(os.WriteFile(filepath.Join(dir, "authorized_keys"), fmt.Append(nil, options, string(public)), 0o600))
	port := freePort(ts)
	config := filepath.Join(dir, "sshd_config")
	ts.Check(os.WriteFile(config, fmt.Appendf(nil, `Port %d
ListenAddress 127.0.0.1
HostKey %[2]s/host
AuthorizedKeysFile %[2]s/authorized_keys
PidFile %[2]s/pid
UsePAM no
StrictModes no
PasswordAuthentication no
Subsystem sftp internal-sftp
SetEnv HOME=%[3]s PATH=%[4]s GIT_CONFIG_NOSYSTEM=1
`, port, dir, ts.Getenv("HOME"), ts.Getenv("PATH")), 0o600))
	if os.Getuid() == 0 {
		ts.Check(os.MkdirAll("/run/sshd", 0o755))
	}
	cmd := exec.Command(sshdPath(), "-D", "-f", config, "-E", filepath.Join(dir, "log"))
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	waitForPort(ts, port)
	me, err := user.Current()
	ts.Check(err)
	ts.Setenv("GIT_SSH_COMMAND", fmt.Sprintf("ssh -F /dev/null -i %s/alice -p %d -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR", dir, port))
	ts.Setenv("SSH", fmt.Sprintf("ssh://%s@127.0.0.1%s", me.Username, ts.MkAbs(args[0])))
}

// flushing sends what is written at once, as web servers do with a program that
// speaks bit by bit: so it is also noticed when the client has gone.
type flushing struct{ http.ResponseWriter }

func (w flushing) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	if err == nil {
		err = http.NewResponseController(w.ResponseWriter).Flush()
	}
	return n, err
}

// startHTTP serves git's own http-backend behind a password.
func startHTTP(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: httpd ROOT")
	}
	out, err := exec.Command("git", "--exec-path").Output()
	ts.Check(err)
	backend := filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, password, _ := r.BasicAuth()
		if name != "alice" || password != "s3cret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		(&cgi.Handler{Path: backend, Env: []string{
			"GIT_PROJECT_ROOT=" + ts.MkAbs(args[0]), "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=" + name,
			"HOME=" + ts.Getenv("HOME"), "PATH=" + ts.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1",
		}}).ServeHTTP(flushing{w}, r)
	}))
	ts.Defer(server.Close)
	ts.Setenv("HTTP", strings.Replace(server.URL, "http://", "http://alice:s3cret@", 1))
}

func freePort(ts *testscript.TestScript) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func waitForPort(ts *testscript.TestScript, port int) {
	for range 100 {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("nothing listens on port %d", port)
}
