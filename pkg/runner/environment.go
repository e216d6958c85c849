package runner

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// environment is what a job finds: what the commit's job file sets, over it the
// administrator's secrets, over both what we promise. own are the folders of the
// stage.
func (w *worker) environment(out *built, own, secrets map[string]string) map[string]string {
	c := w.claim
	env := map[string]string{"PYTHONUNBUFFERED": "1"} // so that the log is live
	maps.Copy(env, out.Env)
	maps.Copy(env, secrets)
	maps.Copy(env, own)
	maps.Copy(env, map[string]string{
		"GIT_MODELS_RUN":     c.Run.Short,
		"GIT_MODELS_ATTEMPT": strconv.Itoa(c.Attempt.N),
		"GIT_COMMIT":         string(c.Run.Commit),
		"GIT_SHORT_SHA":      c.Run.Short,
		"GIT_BRANCH":         c.Run.Ref.Short(),
		"GIT_REPO":           c.Repository.Name,
		"ARTIFACTS_URI":      out.Artifacts,
		"METRICS_URI":        out.Metrics,
	})
	return env
}

// maxEnvFile bounds models.jobEnvFile, in bytes.
const maxEnvFile = 1 << 20

// readEnvFile reads the administrator's file of secrets for jobs: lines
// KEY=VALUE, taken as they stand; empty lines and those that begin with # are
// passed over. Nobody but its owner may read it. Errors name lines and never
// show what stands in them. An empty path is no file.
func readEnvFile(path string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	f, err := openProtected(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	env := map[string]string{}
	lines := bufio.NewScanner(io.LimitReader(f, maxEnvFile))
	lines.Buffer(nil, maxEnvFile)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || !isEnvName(key) || strings.ContainsRune(value, 0) {
			return nil, fmt.Errorf("%s:%d: want KEY=VALUE", path, n)
		}
		env[key] = value
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return env, nil
}

// openProtected opens a file with secrets, that nobody but its owner, the runner's
// account or root, may read.
func openProtected(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		owner := info.Sys().(*syscall.Stat_t).Uid
		switch {
		case !info.Mode().IsRegular():
			err = fmt.Errorf("%s is not a regular file", path)
		case info.Mode().Perm()&0o077 != 0:
			err = fmt.Errorf("%s has mode %04o, others may read it: chmod 600 %s", path, info.Mode().Perm(), path)
		case owner != 0 && int(owner) != os.Getuid():
			err = fmt.Errorf("%s belongs to uid %d, not to the runner's %d", path, owner, os.Getuid())
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// isEnvName reports whether name can be a variable of a shell.
func isEnvName(name string) bool {
	for i, r := range name {
		letter := r == '_' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}

// evalFolder is where the evaluation's metrics go: below the training's, so that
// their names begin with eval/.
func evalFolder(metrics string) string { return filepath.Join(metrics, "eval") }

// makeEvalFolder makes it. The training may have put anything in its place.
func makeEvalFolder(metrics string) error {
	root, err := os.OpenRoot(metrics)
	if err != nil {
		return fmt.Errorf("opening the metrics: %w", err)
	}
	defer root.Close()
	info, err := root.Lstat("eval")
	if err == nil && info.IsDir() {
		return root.Chmod("eval", 0o700)
	}
	if err == nil {
		err = root.Remove("eval")
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("making room for the evaluation's metrics: %w", err)
	}
	return root.Mkdir("eval", 0o700)
}
