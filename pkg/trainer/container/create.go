package container

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// The labels of every container of ours.
const (
	labelOwner  = "git-models.owner"
	labelRun    = "git-models.run"
	labelCommit = "git-models.commit"
	labelJob    = "git-models.job"
	labelNonce  = "git-models.nonce"
)

const (
	maxProcesses = 4096     // processes and threads of a job
	logFactor    = 8        // the engine's own log beside LogLimit: each line of it has a time
	leastLog     = 64 << 20 // bytes of the engine's own log
	sharedMemory = "1g"     // /dev/shm, where data loaders hand batches on; the engines' 64 MB is too little
	leastCPUs    = 0.01     // what docker takes
	// ticketMount is where the container has the folder without which it cannot
	// be started.
	ticketMount = "/run/git-models"
)

// containerName is unique for the job: an engine has each name once, which makes
// a second container impossible even when two ask at the same moment.
func (s spec) containerName() string {
	clean := func(text string, most int) string {
		return strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
				return r
			}
			return '_'
		}, text[:min(len(text), most)])
	}
	return fmt.Sprintf("git-models-%s-%s-%s", clean(s.Job.RunID, 60), clean(s.Job.Name, 60), s.Nonce[:min(len(s.Nonce), 8)])
}

// createArgs are the words behind the client's, and what the job has to be told
// of limits that do not hold.
func (s spec) createArgs(info engineInfo) (args, warnings []string) {
	job := s.Job
	args = []string{"create", "--name", s.containerName(), "--pull", "never", "--restart", "no", "--init",
		"--cap-drop", "ALL", "--security-opt", "no-new-privileges",
		"--shm-size", sharedMemory, "--env-file", filepath.Join(job.Dir, envFile)}
	if s.Client.Kind == "podman" {
		args = append(args, "--http-proxy=false") // the client's own may have a password
	}
	for _, l := range [][2]string{{labelOwner, s.Owner}, {labelRun, job.RunID}, {labelCommit, string(job.Commit)}, {labelJob, job.Name}, {labelNonce, s.Nonce}} {
		args = append(args, "--label", l[0]+"="+l[1])
	}
	switch {
	case info.Rootless && s.Client.Kind == "docker":
		args = append(args, "--user", "0:0") // root inside is the runner's user
	case info.Rootless:
		args = append(args, "--userns", "keep-id", "--user", fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()))
	default:
		args = append(args, "--user", fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()))
	}
	switch {
	case !job.Network:
		args = append(args, "--network", "none")
	case s.Network != "":
		args = append(args, "--network", s.Network)
	}
	size := fmt.Sprintf("max-size=%d", max(logFactor*logLimit(job), leastLog))
	if s.Client.Kind == "docker" {
		args = append(args, "--log-driver", "local", "--log-opt", size, "--log-opt", "max-file=2", "--log-opt", "compress=false")
	} else {
		args = append(args, "--log-driver", "k8s-file", "--log-opt", size)
	}
	limits, warnings := limitArgs(job, info)
	args = append(args, limits...)
	args = append(args, s.gpuArgs()...)
	args = append(args, "--mount", fmt.Sprintf("type=bind,src=%s,dst=%s,readonly", filepath.Join(job.Dir, ticketFolder), ticketMount))
	for _, dir := range job.Writable {
		args = append(args, "--mount", fmt.Sprintf("type=bind,src=%s,dst=%s", dir, dir))
	}
	return append(append(args, job.Image), job.Command...), warnings
}

// limitArgs limits what this engine's kernel can, and says what it cannot.
func limitArgs(job gitmodels.Job, info engineInfo) (args, warnings []string) {
	if info.Pids {
		args = append(args, "--pids-limit", strconv.Itoa(maxProcesses))
	} else {
		warnings = append(warnings, "the number of the job's processes is not limited: the container engine cannot do that here")
	}
	if job.MemoryBytes > 0 {
		if info.Memory {
			args = append(args, "--memory", strconv.FormatInt(job.MemoryBytes, 10))
			if info.Swap {
				args = append(args, "--memory-swap", strconv.FormatInt(job.MemoryBytes, 10))
			} else {
				warnings = append(warnings, "job.memory does not count swap: the container engine cannot do that here")
			}
		} else {
			warnings = append(warnings, "job.memory is not applied: the container engine cannot do that here")
		}
	}
	// As many CPUs as there are is no limit, and docker takes no more.
	if job.CPUs > 0 && (info.CPUs == 0 || job.CPUs < float64(info.CPUs)) {
		if info.Quota {
			args = append(args, "--cpus", strconv.FormatFloat(max(job.CPUs, leastCPUs), 'f', -1, 64))
		} else {
			warnings = append(warnings, "job.cpus is not applied: the container engine cannot do that here")
		}
	}
	return args, warnings
}

// gpuArgs hand the leased devices in: docker by its NVIDIA runtime, podman by the
// container device interface. Docker reads the value as CSV, so that the quotes
// keep the devices one field.
func (s spec) gpuArgs() (args []string) {
	if len(s.Job.GPUs) == 0 {
		// Where NVIDIA's runtime is the default, an image asks for all of them by this.
		return []string{"--env", "NVIDIA_VISIBLE_DEVICES=void"}
	}
	if s.Client.Kind == "docker" {
		return []string{"--gpus", `"device=` + strings.Join(s.Job.GPUs, ",") + `"`}
	}
	for _, device := range s.Job.GPUs {
		args = append(args, "--device", "nvidia.com/gpu="+device)
	}
	return args
}
