package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const (
	// helperTime is how long a credential helper may take. It is ended then, with
	// all that it started in its group.
	helperTime = 30 * time.Second
	// helperGrace is how long what it left behind may keep its output open.
	helperGrace = 2 * time.Second
	// maxHelper bounds what is read of a helper's output, in bytes.
	maxHelper = 64 << 10
	// helperPath is where helpers are looked for without a PATH.
	helperPath = "/usr/local/bin:/usr/bin:/bin"
)

// helperEnv are the variables that a helper gets of ours, beside PATH: they name
// people and places, never a secret.
var helperEnv = []string{
	"HOME", "USER", "LOGNAME", "LANG", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
	"DBUS_SESSION_BUS_ADDRESS", "GNUPGHOME", "PASSWORD_STORE_DIR", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
	"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG",
}

// ask runs `docker-credential-NAME get` with the host on its standard input, by
// the protocol of docker's credential helpers. A helper that has nothing for the
// host is an empty credential; one that is missing, fails or takes too long is an
// Error of Kind Waiting, which never shows what it printed but for the message of
// a failure.
func (k *keychain) ask(ctx context.Context, path, helper, host string) (credential, error) {
	refuse := func(why string) (credential, error) {
		return credential{}, &gitmodels.Error{Kind: gitmodels.Waiting, Op: "looking for credentials of " + host,
			Message: fmt.Sprintf("registry: credential helper %s of %s %s", gitmodels.Printable(helper, 80), path, why)}
	}
	program, err := k.findHelper(helper)
	if err != nil {
		return refuse(err.Error())
	}
	out, err := k.runHelper(ctx, program, dockerKey(host))
	switch said := strings.TrimSpace(string(out)); {
	case ctx.Err() != nil:
		return credential{}, &gitmodels.Error{Op: "asking the credential helper " + helper, Err: context.Cause(ctx)}
	case err != nil && strings.Contains(said, "credentials not found"): // the protocol's words
		return credential{}, nil
	case err != nil && (said == "" || strings.HasPrefix(said, "{")):
		return refuse("failed: " + err.Error())
	case err != nil:
		return refuse(fmt.Sprintf("failed: %v: %s", err, gitmodels.Printable(said, maxWords)))
	}
	var got struct{ Username, Secret string }
	if err := json.Unmarshal(out, &got); err != nil || got.Secret == "" {
		return refuse("printed no credentials in the protocol's form")
	}
	found := credential{key: host, from: path + " by docker-credential-" + helper,
		config: authn.AuthConfig{Username: got.Username, Password: got.Secret}}
	if got.Username == "<token>" { // the protocol's word for an identity token
		found.config = authn.AuthConfig{Username: got.Username, IdentityToken: got.Secret}
	}
	return found, nil
}

// findHelper is the helper's program in PATH. Its name comes from a file and is no
// path.
func (k *keychain) findHelper(helper string) (string, error) {
	if helper == "" || strings.ContainsAny(helper, "/\x00") {
		return "", errors.New("is no name of a helper")
	}
	for _, dir := range filepath.SplitList(k.path()) {
		program := filepath.Join(dir, "docker-credential-"+helper)
		info, err := os.Stat(program)
		if err == nil && filepath.IsAbs(dir) && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return program, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return "", fmt.Errorf("cannot be looked for: %w", err)
		}
	}
	return "", fmt.Errorf("is not installed: no docker-credential-%s in PATH", gitmodels.Printable(helper, 80))
}

func (k *keychain) path() string {
	if p := k.getenv("PATH"); p != "" {
		return p
	}
	return helperPath
}

// runHelper runs it and returns what it printed, within bounds.
func (k *keychain) runHelper(ctx context.Context, program, host string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, helperTime, fmt.Errorf("it did not end within %s", helperTime))
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "get")
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + k.path()}
	for _, name := range helperEnv {
		if value := k.getenv(name); value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.Stdin = strings.NewReader(host)
	out := &bound{}
	cmd.Stdout = out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
			return err
		}
		return os.ErrProcessDone
	}
	cmd.WaitDelay = helperGrace
	err := cmd.Run()
	switch {
	case ctx.Err() != nil && err != nil:
		err = context.Cause(ctx)
	case out.more:
		return nil, errPrinted
	case errors.Is(err, exec.ErrWaitDelay): // it ended well; what it left behind is cut off
		err = nil
	}
	return out.kept.Bytes(), err
}

// errPrinted ends the reading of a helper that prints too much.
var errPrinted = fmt.Errorf("it printed more than %d bytes", maxHelper)

// bound takes maxHelper bytes; a helper that goes on finds its output closed. The
// buffer is no embedded field: its ReadFrom would pass by the bound.
type bound struct {
	kept bytes.Buffer
	more bool
}

func (b *bound) Write(p []byte) (int, error) {
	if b.kept.Len()+len(p) > maxHelper {
		b.more = true
		return 0, errPrinted
	}
	return b.kept.Write(p)
}
