package builder

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// endTick is how often it is looked whether processes have ended, endTime how long
// they may take to do so once they were killed.
const (
	endTick = 20 * time.Millisecond
	endTime = time.Minute
)

// processes lists the processes of the host that are ours.
func processes(ours func(pid int) bool) (list []int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && ours(pid) {
			list = append(list, pid)
		}
	}
	return list, nil
}

// ours tells what runs of a child: its session (none when sid is 0), and what has
// its root in the storage, as the steps of buildah and podman have, whose parents
// may be gone. The storage is the job's alone. What this user may not look at is
// not this user's; a step's processes of other users end with the first of their
// pid namespace.
func (j *job) ours(sid int) func(pid int) bool {
	return func(pid int) bool {
		session, runs := sessionOf(pid)
		return runs && (sid > 0 && session == sid || j.storage != "" && rootedIn(pid, j.storage))
	}
}

// sessionOf reads the session of a process from /proc/PID/stat (proc(5)). A zombie
// does not run.
func sessionOf(pid int) (session int, runs bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false // it is gone
	}
	// The second field is the name in parentheses, which may hold anything.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 4 || fields[0] == "Z" || fields[0] == "X" {
		return 0, false
	}
	session, err = strconv.Atoi(fields[3])
	return session, err == nil
}

// rootedIn reports whether the root of the process lies in dir, as that of a step
// does. That its mounts name dir says nothing: every mount namespace that was made
// while a build ran, such as a sandbox's, holds a copy of the build's mounts.
func rootedIn(pid int, dir string) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return false
	}
	in := false
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == "/" {
			line = unescapeMount(line)
			in = false // the last one is on top
			for _, before := range []string{" ", "=", ":"} {
				in = in || strings.Contains(line, before+dir+"/")
			}
		}
	}
	return in
}

// end kills what is ours and returns when it is gone. It looks twice, as a step
// that is just being started is not rooted yet.
func end(ours func(pid int) bool) error {
	late := time.Now().Add(endTime)
	tick := time.NewTicker(endTick)
	defer tick.Stop()
	for clean := 0; clean < 2; <-tick.C {
		list, err := processes(ours)
		if err != nil {
			return err
		}
		if clean++; len(list) > 0 {
			clean = 0
		}
		if len(list) > 0 && time.Now().After(late) {
			return fmt.Errorf("the processes %d do not end", list[:min(10, len(list))])
		}
		for _, pid := range list {
			if err := kill(pid, ours); err != nil {
				return err
			}
		}
	}
	return nil
}

// kill sends SIGKILL to a process that is still ours.
func kill(pid int, ours func(pid int) bool) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !ours(pid) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("ending process %d: %w", pid, err)
	}
	return nil
}

// unmountBelow takes away all mounts at or below dir, the last made first.
func unmountBelow(dir string) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var points []string
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			point := unescapeMount(fields[4])
			if point == dir || strings.HasPrefix(point, dir+"/") {
				points = append(points, point)
			}
		}
	}
	for _, point := range slices.Backward(points) {
		if err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return &fs.PathError{Op: "unmount", Path: point, Err: err}
		}
	}
	return nil
}

// unescapeMount undoes the octal escapes of mountinfo (proc(5)).
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
