package process

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// group is the control groups of one job: one folder in version 2, one per
// controller in version 1. A nil group limits nothing.
type group struct {
	dirs map[string]string // by controller: memory, pids, cpu
}

// controllers in the order in which they are tried.
var controllers = []string{"memory", "pids", "cpu"}

// hierarchies is where control groups can be made, by controller.
type hierarchies struct {
	v1 map[string]string // folder of our own group
	v2 string            // folder of our own group
}

// makeGroup makes what groups it can and says what stays unlimited.
func makeGroup(job gitmodels.Job) (*group, []string) {
	h, err := findHierarchies("/proc/self/mountinfo", "/proc/self/cgroup")
	if err != nil {
		h = hierarchies{} // without /proc there are no groups: the warnings say so
	}
	return h.make(job)
}

func (h hierarchies) make(job gitmodels.Job) (*group, []string) {
	name := fmt.Sprintf("git-models-%s-%d", groupName(job.Name), os.Getpid())
	g := &group{dirs: map[string]string{}}
	if h.v2 != "" {
		if dir := makeV2(h.v2, name); dir != "" {
			for _, c := range controllers {
				g.dirs[c] = dir
			}
		}
	}
	for _, c := range controllers {
		if own := h.v1[c]; g.dirs[c] == "" && own != "" {
			if dir := filepath.Join(own, name); os.Mkdir(dir, 0o755) == nil {
				g.dirs[c] = dir
			}
		}
	}
	warnings := g.limit(job)
	if len(g.dirs) == 0 {
		return nil, warnings
	}
	return g, warnings
}

// groupName keeps what a folder's name may hold.
func groupName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, s[:min(len(s), 60)])
}

// makeV2 makes a group with the controllers it needs, below our own group or
// beside it: a group with processes in it cannot hand controllers down
// (cgroups(7), "no internal processes"), so under systemd the runner's own
// group has to be a leaf of a delegated one.
func makeV2(own, name string) string {
	for _, parent := range []string{own, filepath.Dir(own)} {
		dir := filepath.Join(parent, name)
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		if !exists(dir, "memory.max") || !exists(dir, "pids.max") {
			for _, c := range controllers {
				if err := os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
					break // not ours to hand down
				}
			}
		}
		if exists(dir, "memory.max") && exists(dir, "pids.max") {
			return dir
		}
		if os.Remove(dir) != nil {
			return ""
		}
	}
	return ""
}

func exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// limit writes the limits; a controller that does not take one is given up.
func (g *group) limit(job gitmodels.Job) (warnings []string) {
	set := func(controller string, values ...[2]string) error {
		dir := g.dirs[controller]
		if dir == "" {
			return errors.New("no control group can be made here")
		}
		for _, v := range values {
			if err := os.WriteFile(filepath.Join(dir, v[0]), []byte(v[1]), 0o644); err != nil {
				return err
			}
		}
		return nil
	}
	v2 := func(controller string) bool {
		return g.dirs[controller] != "" && exists(g.dirs[controller], "cgroup.controllers")
	}
	drop := func(controller string) {
		dir := g.dirs[controller]
		if delete(g.dirs, controller); dir != "" && !v2(controller) {
			os.Remove(dir) // an empty group of ours that never held a process
		}
	}

	if job.MemoryBytes > 0 {
		bytes := strconv.FormatInt(job.MemoryBytes, 10)
		values := [][2]string{{"memory.limit_in_bytes", bytes}}
		if v2("memory") {
			values = [][2]string{{"memory.max", bytes}}
		}
		if err := set("memory", values...); err != nil {
			drop("memory")
			warnings = append(warnings, fmt.Sprintf("job.memory limits the address space of each process, not the memory of the job: %v", bareError(err)))
		} else if err := g.noSwap(v2("memory"), bytes); err != nil {
			warnings = append(warnings, fmt.Sprintf("job.memory does not count swap: %v", bareError(err)))
		}
	}
	if err := set("pids", [2]string{"pids.max", strconv.Itoa(maxProcesses)}); err != nil {
		drop("pids")
		if os.Getuid() == 0 {
			warnings = append(warnings, fmt.Sprintf("the number of the job's processes is not limited: %v", bareError(err)))
		}
	}
	if job.CPUs > 0 {
		const period = 100_000 // microseconds, the kernel's default
		quota := strconv.FormatInt(max(int64(job.CPUs*period), 1000), 10)
		values := [][2]string{{"cpu.cfs_period_us", strconv.Itoa(period)}, {"cpu.cfs_quota_us", quota}}
		if v2("cpu") {
			values = [][2]string{{"cpu.max", quota + " " + strconv.Itoa(period)}}
		}
		if err := set("cpu", values...); err != nil {
			drop("cpu")
			warnings = append(warnings, fmt.Sprintf("job.cpus is not applied: %v", bareError(err)))
		}
	} else if dir := g.dirs["cpu"]; dir != "" && !v2("cpu") {
		drop("cpu")
	}
	return warnings
}

// noSwap keeps the job from going around its limit of memory, where the kernel
// counts swap at all.
func (g *group) noSwap(v2 bool, bytes string) error {
	dir, file, value := g.dirs["memory"], "memory.memsw.limit_in_bytes", bytes
	if v2 {
		file, value = "memory.swap.max", "0"
	}
	if !exists(dir, file) {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, file), []byte(value), 0)
}

func bareError(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return fmt.Errorf("%s: %w", filepath.Base(pe.Path), pe.Err)
	}
	return err
}

// paths are the group's folders.
func (g *group) paths() []string {
	var list []string
	seen := map[string]bool{}
	for _, c := range controllers {
		if dir := g.dirs[c]; dir != "" && !seen[dir] {
			seen[dir] = true
			list = append(list, dir)
		}
	}
	return list
}

// joins are the files a process writes itself into.
func (g *group) joins() []string {
	if g == nil {
		return nil
	}
	var list []string
	for _, dir := range g.paths() {
		list = append(list, filepath.Join(dir, "cgroup.procs"))
	}
	return list
}

func (g *group) limitsMemory() bool { return g != nil && g.dirs["memory"] != "" }
func (g *group) limitsTasks() bool  { return g != nil && g.dirs["pids"] != "" }

// outOfMemory reports whether the kernel killed one of the job's processes at
// its limit: oom_kill in memory.events, or in version 1 memory.oom_control.
func (g *group) outOfMemory() bool {
	if !g.limitsMemory() {
		return false
	}
	for _, file := range []string{"memory.events", "memory.oom_control"} {
		b, err := os.ReadFile(filepath.Join(g.dirs["memory"], file))
		if err != nil {
			continue // the other version's file
		}
		for line := range strings.Lines(string(b)) {
			if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok && n != "0" {
				return true
			}
		}
	}
	return false
}

// kill ends every process in the group.
func (g *group) kill() {
	if g == nil {
		return
	}
	for _, dir := range g.paths() {
		killGroup(dir)
	}
}

// killGroup ends the processes of one group that was made for one job: whoever
// is in it is ours.
func killGroup(dir string) {
	if os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) == nil {
		return
	}
	for _, pid := range groupMembers(dir) {
		st, there, err := readStat(pid)
		if err != nil || !there || !inGroup(dir, pid) {
			continue
		}
		signalProcess(st.process, unix.SIGKILL) // whoever is left is met in the next round
	}
}

func groupMembers(dir string) (pids []int) {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil // the group is gone
	}
	for _, f := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// inGroup checks that the process, whose start time is known by now, is a
// member: its number cannot have passed to another before.
func inGroup(dir string, pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return err == nil && strings.Contains(string(b), "/"+filepath.Base(dir)+"\n")
}

// remove removes the group; the kernel may need a moment after the last
// process is gone.
func (g *group) remove() error {
	var all error
	for _, dir := range g.paths() {
		all = errors.Join(all, removeGroup(dir))
	}
	return all
}

func removeGroup(dir string) error {
	for tries := 0; ; tries++ {
		err := os.Remove(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if tries == 100 {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// findHierarchies reads mountinfo (proc(5)) and our own place in each.
func findHierarchies(mountinfo, own string) (h hierarchies, err error) {
	h.v1 = map[string]string{}
	places, err := ownPlaces(own)
	if err != nil {
		return h, err
	}
	f, err := os.Open(mountinfo)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		mount, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(mount) < 5 || len(kind) < 3 {
			continue
		}
		// A container may mount a part of the hierarchy: our place counts from there.
		below := func(place string) string {
			rel, err := filepath.Rel(mount[3], place)
			if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
				return mount[4]
			}
			return filepath.Join(mount[4], rel)
		}
		switch kind[0] {
		case "cgroup2":
			if place, ok := places[""]; ok {
				h.v2 = below(place)
			}
		case "cgroup":
			for _, c := range strings.Split(kind[2], ",") {
				if place, ok := places[c]; ok {
					h.v1[c] = below(place)
				}
			}
		}
	}
	return h, lines.Err()
}

// ownPlaces reads /proc/self/cgroup: hierarchy:controllers:path.
func ownPlaces(path string) (map[string]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	places := map[string]string{}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for _, c := range strings.Split(parts[1], ",") {
			places[c] = parts[2]
		}
	}
	return places, nil
}
