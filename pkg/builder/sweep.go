package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// Sweep ends and removes what builds left behind whose program was killed: their
// processes, the containers of docker's classic builder, mounts, and the folders
// in Temp, with the credentials in them. No build with these Options may be under
// way, and Options.Storage may be no other program's. Folders that this package
// did not make stay as they are. What the error tells of is still there, and the
// next Sweep tries again. Layers stay, as they do after a build.
func Sweep(o Options) error {
	o, err := o.complete()
	if err != nil {
		return err
	}
	j := &job{name: "sweep"}
	dirs, err := madeHere(o.Temp)
	if err != nil {
		return fsError("looking for what builds left in "+o.Temp, err)
	}
	if len(dirs) == 0 && o.Storage == "" {
		return nil
	}
	ours, err := leftBehind(dirs, o.Storage)
	if err == nil {
		err = end(ours)
	}
	if err != nil {
		return j.left(err)
	}
	if o.Storage != "" {
		err = j.left(unmountBelow(o.Storage))
	}
	for _, dir := range dirs {
		err = errors.Join(err, sweepFolder(o, dir))
	}
	return err
}

var folderForm = regexp.MustCompile(`^build-[0-9]+$`)

// madeHere lists the folders in dir that newJob made.
func madeHere(dir string) (list []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		made := filepath.Join(dir, e.Name())
		if info, err := os.Lstat(made + "/made"); private(made) && err == nil && info.Mode().IsRegular() {
			list = append(list, made)
		}
	}
	return list, nil
}

// private reports whether dir is a folder, no link, with a name of ours, which only
// this user may use.
func private(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 || !folderForm.MatchString(filepath.Base(dir)) {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid()
}

// leftBehind tells what runs of the builds in the folders: what carries the mark of
// one, its session, and what has its root in a folder or in the storage.
func leftBehind(dirs []string, storage string) (ours func(pid int) bool, err error) {
	marked := func(pid int) bool {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		return err == nil && slices.ContainsFunc(strings.Split(string(env), "\x00"), func(v string) bool {
			dir, is := strings.CutPrefix(v, markName+"=")
			return is && slices.Contains(dirs, dir)
		})
	}
	list, err := processes(marked)
	if err != nil {
		return nil, err
	}
	sessions := map[int]bool{}
	for _, pid := range list {
		if session, runs := sessionOf(pid); runs && session > 0 {
			sessions[session] = true
		}
	}
	roots := slices.Clone(dirs)
	if storage != "" {
		roots = append(roots, storage)
	}
	return func(pid int) bool {
		session, runs := sessionOf(pid)
		return runs && (sessions[session] || marked(pid) ||
			slices.ContainsFunc(roots, func(root string) bool { return rootedIn(pid, root) }))
	}, nil
}

// sweepFolder takes away what is left of one build whose processes have ended. A
// folder that must stay holds no credentials any more.
func sweepFolder(o Options, dir string) error {
	j := &job{name: "sweep", o: o, dir: dir, short: dir}
	if err := os.RemoveAll(j.path("config/config.json")); err != nil {
		return fsError("removing credentials", err)
	}
	if short, err := os.Readlink(j.path("short")); err == nil && private(short) {
		j.short = short
	}
	if _, err := os.Lstat(j.path("classic")); err == nil {
		if err := j.dockerTidy(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), tidyTime)
	defer cancel()
	if err := j.forget(ctx); err != nil {
		return j.left(err)
	}
	return j.remove()
}
