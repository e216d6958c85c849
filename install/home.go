package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/spool"
)

// hookNames are the hooks that are installed; programs is what <home>/bin holds.
var (
	hookNames = []string{"pre-receive", "post-receive"}
	programs  = []string{"pre-receive", "post-receive", "git-models"}
)

// privateGroup says that no group shares the state directory.
const privateGroup = -1

// planHome prepares the state directory for repositories that the group gid, or
// nobody else, shares.
func (s *session) planHome(gid int, problems *Problems) chapter {
	c := chapter{title: shown(s.Home), quiet: true}
	if err := checkHomePath(s.Home); err != nil {
		problems.add("the state directory "+err.Error(), "git models --home /another/folder install …")
		return c
	}
	before := len(*problems)
	s.checkHome(gid, problems)
	s.checkBinaries(problems)
	if len(*problems) > before {
		return c
	}
	bin := filepath.Join(s.Home, "bin")
	c.steps = append(c.steps, s.planFolders(bin, gid)...)
	for _, name := range programs {
		from, to := filepath.Join(s.BinDir, name), filepath.Join(bin, name)
		same, err := sameFile(from, to)
		if err != nil {
			problems.addError(err)
		} else if !same {
			c.steps = append(c.steps, step{
				says: fmt.Sprintf("bin/%s from %s", name, shown(s.BinDir)),
				do:   func(context.Context) error { return copyFile(from, to) },
			})
		}
	}
	if gid != privateGroup {
		c.notes = append(c.notes, unreachable(s.Home)...)
	}
	return c
}

// planFolders makes the folders, of which other users may pass through the
// state directory: to the programs, and when shared to the spool and the socket.
func (s *session) planFolders(bin string, gid int) []step {
	var steps []step
	for _, dir := range []struct {
		path string
		mode fs.FileMode
	}{{s.Home, 0o711}, {bin, 0o755}} {
		info, err := os.Stat(dir.path)
		switch {
		case err != nil:
			steps = append(steps, step{says: "made " + shown(dir.path), do: func(context.Context) error {
				return makeFolder(dir.path, dir.mode)
			}})
		case info.Mode().Perm()&dir.mode != dir.mode:
			mode := info.Mode().Perm() | dir.mode
			steps = append(steps, step{
				says: fmt.Sprintf("mode %04o for %s: who pushes must pass through", mode, shown(dir.path)),
				do:   func(context.Context) error { return os.Chmod(dir.path, mode) },
			})
		}
	}
	// Prepare looks for itself what is missing and sweeps; it is said only when
	// the spool is not there yet or changes hands.
	prepare := step{again: true, do: func(context.Context) error { return spool.Prepare(s.Home, gid) }}
	folder := filepath.Join(s.Home, "spool", "new")
	group, shared := groupOf(folder)
	switch _, err := os.Stat(folder); {
	case gid != privateGroup && (!shared || group != gid):
		prepare.says, prepare.again = "made the spool for group "+groupName(gid), false
	case err != nil:
		prepare.says, prepare.again = "made the spool", false
	}
	steps = append(steps, prepare)
	logs := filepath.Join(s.Home, "log")
	if group, ok := groupOf(logs); gid != privateGroup && (!ok || group != gid) {
		steps = append(steps, step{says: "made the logs writable for group " + groupName(gid), do: func(context.Context) error {
			return shareFolder(logs, gid)
		}})
	}
	return steps
}

// shareFolder makes a folder in which every member of the group may write. The
// hooks make a private one where they find none.
func shareFolder(path string, gid int) error {
	if err := os.MkdirAll(path, 0o770); err != nil {
		return err
	}
	if err := os.Lchown(path, -1, gid); err != nil {
		return err
	}
	return os.Chmod(path, 0o770|fs.ModeSetgid)
}

func makeFolder(path string, mode fs.FileMode) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return os.Chmod(path, mode) // whatever the umask was
}

// groupOf is the group of the folder at path, if it is shared with one.
func groupOf(path string) (gid int, shared bool) {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&fs.ModeSetgid == 0 {
		return 0, false
	}
	return int(info.Sys().(*syscall.Stat_t).Gid), true
}

// checkHome refuses a state directory that this user cannot keep.
func (s *session) checkHome(gid int, problems *Problems) {
	// What is there already, up the tree: the rest will be made below it.
	existing := s.Home
	info, err := os.Stat(existing)
	for errors.Is(err, fs.ErrNotExist) && existing != filepath.Dir(existing) {
		existing = filepath.Dir(existing)
		info, err = os.Stat(existing)
	}
	switch {
	case err != nil:
		problems.addError(&gitmodels.Error{Op: "install", Message: "the state directory " + shown(s.Home) + " cannot be used", Err: err})
	case !info.IsDir():
		problems.add(fmt.Sprintf("the state directory %s cannot be used: %s is not a folder", shown(s.Home), shown(existing)),
			"git models --home /another/folder install …")
	case existing == s.Home && owner(info) != os.Geteuid():
		problems.add(fmt.Sprintf("the state directory %s belongs to user %s, not to %s", shown(s.Home), userName(owner(info)), userName(os.Geteuid())),
			asUser(owner(info), "git models install …"))
	case !writable(existing):
		problems.add(fmt.Sprintf("the state directory %s cannot be used: %s is not writable by user %s", shown(s.Home), shown(existing), userName(os.Geteuid())),
			"git models --home /another/folder install …")
	case gid != privateGroup && os.Geteuid() != 0 && !memberOf(gid):
		problems.add(fmt.Sprintf("user %s is not in group %s, which shares the repository, so the spool cannot be given to it", userName(os.Geteuid()), groupName(gid)),
			fmt.Sprintf("sudo usermod -a -G %s %s", quote(groupName(gid)), quote(userName(os.Geteuid()))))
	}
}

// checkBinaries wants the programs where this one came from.
func (s *session) checkBinaries(problems *Problems) {
	for _, name := range programs {
		path := filepath.Join(s.BinDir, name)
		info, err := os.Stat(path)
		switch {
		case err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0:
		case err == nil:
			problems.add(fmt.Sprintf("%s is not an executable file", shown(path)), "scripts/build")
		case errors.Is(err, fs.ErrNotExist):
			problems.add(fmt.Sprintf("%s is missing: the hooks must lie beside git-models", shown(path)), "scripts/build")
		default:
			problems.addError(err)
		}
	}
}

// sameFile reports whether b holds what a holds, and may be executed.
func sameFile(a, b string) (bool, error) {
	infoB, err := os.Stat(b)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	infoA, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	if os.SameFile(infoA, infoB) {
		return true, nil
	}
	if infoA.Size() != infoB.Size() || infoB.Mode().Perm() != 0o755 {
		return false, nil
	}
	fa, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer fb.Close()
	return sameBytes(fa, fb)
}

func sameBytes(a, b io.Reader) (bool, error) {
	bufA, bufB := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		n, errA := io.ReadFull(a, bufA)
		m, errB := io.ReadFull(b, bufB)
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			return false, nil
		}
		end := func(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }
		switch {
		case errA != nil && !end(errA):
			return false, errA
		case errB != nil && !end(errB):
			return false, errB
		case errA != nil:
			return true, nil
		}
	}
}

// copyFile puts an executable copy of from at to. A push that runs the old file
// at this moment goes on with it.
func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	return replaceFile(to, 0o755, func(w io.Writer) error {
		_, err := io.Copy(w, src)
		return err
	})
}

// replaceFile writes a file that appears complete and durable or not at all.
func replaceFile(path string, mode fs.FileMode, write func(io.Writer) error) (err error) {
	dst, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(dst.Name()))
		}
	}()
	err = write(dst)
	if err == nil {
		err = dst.Chmod(mode)
	}
	if err == nil {
		err = dst.Sync()
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return err
	}
	return os.Rename(dst.Name(), path)
}

// unreachable names the folders above home that keep other users out.
func unreachable(home string) []string {
	var notes []string
	for dir := filepath.Dir(home); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o011 == 0 {
			notes = append(notes, fmt.Sprintf("note: who pushes as another user cannot pass through %s (mode %04o)", shown(dir), info.Mode().Perm()))
		}
		if dir == filepath.Dir(dir) {
			return notes
		}
	}
}

func owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

func groupName(gid int) string {
	if g, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
		return g.Name
	}
	return strconv.Itoa(gid)
}

func memberOf(gid int) bool {
	groups, err := os.Getgroups()
	return os.Getegid() == gid || err == nil && slices.Contains(groups, gid)
}

// asUser is command, run as the user uid.
func asUser(uid int, command string) string {
	if name := userName(uid); name != strconv.Itoa(uid) {
		return "sudo -u " + quote(name) + " -H " + command
	}
	return "sudo -u '#" + strconv.Itoa(uid) + "' " + command
}
