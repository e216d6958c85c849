package hook

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// strangerSuffix is what install adds to the name of a hook that was here
// before ours.
const strangerSuffix = ".before-git-models"

// Chain runs the stranger's hook of that name, if one lies beside ours, with
// what git gave us: the same input and environment. It returns its exit status;
// an error when it could not be run at all. As git does, it passes over a file
// that is not executable.
func (e Edges) Chain(name string, input []byte) (status int, err error) {
	path := filepath.Join(filepath.Dir(e.abs(e.Program)), name+strangerSuffix)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err != nil:
		return 1, fmt.Errorf("looking for the hook that was here before: %w", err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return 0, nil
	}
	cmd := exec.Command(path)
	cmd.Dir = e.Dir
	cmd.Env = e.Env
	cmd.Stdin = bytes.NewReader(input)
	cmd.Stdout, cmd.Stderr = e.Stdout, e.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1), nil
	case cmd.ProcessState != nil && cmd.ProcessState.Success():
		// It ended well without reading all of its input.
		return 0, nil
	}
	return 1, fmt.Errorf("running the hook that was here before: %w", err)
}
