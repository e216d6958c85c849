package install

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// A hook that is installed is a few lines of POSIX shell that exec the program
// in <home>/bin. It is a file of the repository, not a link: git takes a link
// that leads nowhere for no hook at all, so that with the state directory gone
// everything would pass. This one stays, and refuses.
//
// The version in the mark counts what a newer program must know to tell an
// older shim from its own; the whole text decides whether it is up to date.
const shimHead = "#!/bin/sh\n# git-models hook 1: written by git models install\n"

// shimMark matches the head of a shim of any version. Only there: a script that
// speaks of us elsewhere is somebody's own.
var shimMark = regexp.MustCompile(`\A#!/bin/sh\n# git-models hook [0-9]+: written by git models install\n`)

// maxShim is how much of a file is read to see whether it is a shim: more than
// one with the longest path of Linux has.
const maxShim = 64 << 10

func isShim(text []byte) bool { return shimMark.Match(text) }

// shim is the hook called name that leads to program, an absolute path.
//
// An empty file counts as missing: a shell runs it as a script, and succeeds.
// GIT_MODELS_HOOK tells the program where the shim stands, for beside it lies
// the hook that was there before; git gives that path in $0, often relative to
// the git directory, in which hooks start.
func shim(name, program string) string {
	var b strings.Builder
	b.WriteString(shimHead)
	b.WriteString("program=" + singleQuoted(program) + "\n" +
		"if [ -f \"$program\" ] && [ -s \"$program\" ] && [ -x \"$program\" ]; then\n" +
		"\tGIT_MODELS_HOOK=$0\n" +
		"\texport GIT_MODELS_HOOK\n" +
		"\texec \"$program\"\n" +
		"fi\n")
	say := func(lines ...string) {
		b.WriteString("printf '%s\\n'")
		for _, line := range lines {
			b.WriteString(" \\\n\t" + singleQuoted("git-models: "+line))
		}
		b.WriteString(" >&2\n")
	}
	if name == "pre-receive" {
		say("refused: the gate is missing ("+shown(program)+")",
			"nothing moved: a push is taken as a whole or not at all",
			"for the admin: restore it, else run git models install")
		b.WriteString("exit 1\n")
		return b.String()
	}
	say("accepted; not recorded now: "+shown(program)+" is missing;",
		"  the runner finds it in the refs")
	// The refs have moved: whoever was told of that before is told now.
	b.WriteString("before=$0" + asideSuffix + "\n" +
		"if [ -f \"$before\" ] && [ -x \"$before\" ]; then\n" +
		"\texec \"$before\"\n" +
		"fi\n" +
		"exit 0\n")
	return b.String()
}

// placeShim puts the shim at path in one stroke: a push at this moment finds
// either what was there or ours, whole.
func placeShim(text, path string) (err error) {
	temp := path + ".git-models.tmp"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp))
		}
	}()
	_, err = io.WriteString(f, text)
	if err == nil {
		err = f.Chmod(0o755) // whatever the umask was
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// firstBytes reads at most maxShim bytes of the file at path.
func firstBytes(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxShim))
	return data, errors.Join(err, f.Close())
}

// executable reports whether the system would run the file at path; on a file
// system that is mounted noexec it runs none, and git passes over the hook.
func executable(path string) bool {
	return unix.Access(path, unix.X_OK) == nil
}
