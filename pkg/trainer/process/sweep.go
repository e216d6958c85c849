package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// killDescendants ends every descendant of this process. All of them are
// stopped first, so that none forks away while the others are ended.
func killDescendants() {
	self := os.Getpid()
	seen := map[process]bool{}
	for {
		more := false
		for _, p := range descendants(self) {
			if !seen[p] {
				seen[p], more = true, true
				signalProcess(p, unix.SIGSTOP) // one that is gone needs no more
			}
		}
		if !more {
			break
		}
	}
	for p := range seen {
		signalProcess(p, unix.SIGKILL) // one that is gone needs no more
	}
}

// descendants lists the living processes below pid.
func descendants(pid int) (below []process) {
	children := map[int][]stat{}
	for _, s := range allProcesses() {
		children[s.Parent] = append(children[s.Parent], s)
	}
	for next := []int{pid}; len(next) > 0; next = next[1:] {
		for _, s := range children[next[0]] {
			next = append(next, s.PID)
			if s.State != 'Z' && s.State != 'X' {
				below = append(below, s.process)
			}
		}
	}
	return below
}

func allProcesses() (list []stat) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil // without /proc there is no telling ours from others
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, there, err := readStat(pid); err == nil && there {
			list = append(list, s)
		}
	}
	return list
}

// sweep ends what a vanished supervisor left behind, and returns when nothing
// of it runs. The sandbox dies with its supervisor; an unsandboxed job may have
// children that do not. Only processes are touched that are ours beyond doubt:
// by number and start time, by a control group made for this job, or by the
// job's own TMPDIR in their environment.
func sweep(ctx context.Context, sp spec, r record) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		left, err := leftovers(sp, r)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			break
		}
		for _, p := range left {
			if _, err := signalProcess(p, unix.SIGKILL); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d processes still run, such as %d: %w", len(left), left[0].PID, ctx.Err())
		case <-tick.C:
		}
	}
	var all error
	for _, dir := range r.Groups {
		all = errors.Join(all, removeGroup(dir))
	}
	return errors.Join(all, removeAll(filepath.Join(sp.Job.Dir, tmpFolder)))
}

// leftovers lists what of the job still runs.
func leftovers(sp spec, r record) (left []process, err error) {
	for _, p := range []*process{r.Main, r.Init} {
		if p == nil {
			continue
		}
		there, err := alive(*p)
		if err != nil {
			return nil, err
		}
		if there {
			left = append(left, *p)
		}
	}
	for _, dir := range r.Groups {
		for _, pid := range groupMembers(dir) {
			if s, there, err := readStat(pid); err == nil && there && s.State != 'Z' && inGroup(dir, pid) {
				left = append(left, s.process)
			}
		}
	}
	if sp.Sandbox == nil {
		mark := "TMPDIR=" + filepath.Join(sp.Job.Dir, tmpFolder)
		for _, s := range allProcesses() {
			// The start time is read before the environment and checked again by the
			// signal: both are of the same process.
			if s.State != 'Z' && s.PID != os.Getpid() && s.Start >= r.Supervisor.Start && hasVariable(s.PID, mark) {
				left = append(left, s.process)
			}
		}
	}
	slices.SortFunc(left, func(a, b process) int { return a.PID - b.PID })
	return slices.Compact(left), nil
}

// hasVariable reports whether the process was started with the variable. What
// this user may not read is not this user's job.
func hasVariable(pid int, variable string) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && slices.Contains(strings.Split(string(b), "\x00"), variable)
}

// removeAll removes a folder that the job filled: it may have taken away its own
// rights to do so.
func removeAll(dir string) error {
	first := os.RemoveAll(dir)
	if first == nil {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return errors.Join(first, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return errors.Join(first, err)
	}
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() { // called before the folder is read
			return root.Chmod(path, 0o700)
		}
		return err
	})
	if err = errors.Join(err, root.Close()); err != nil {
		return errors.Join(first, err)
	}
	return os.RemoveAll(dir)
}
