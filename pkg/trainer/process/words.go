package process

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// describe puts a wait status into words and a shell's exit status. Bubblewrap
// reports a signal in the sandbox as 128 and its number.
func describe(status unix.WaitStatus, sandboxed bool) (code int, words string) {
	if status.Signaled() {
		return 128 + int(status.Signal()), killedBy(status.Signal())
	}
	code = status.ExitStatus()
	if sig := unix.Signal(code - 128); sandboxed && code > 128 && unix.SignalName(sig) != "" {
		return code, killedBy(sig)
	}
	return code, fmt.Sprintf("exit status %d", code)
}

func killedBy(sig unix.Signal) string {
	words := fmt.Sprintf("killed by signal %d (%s)", int(sig), unix.SignalName(sig))
	if sig == unix.SIGKILL {
		words += ", perhaps by the kernel, out of memory"
	}
	return words
}

// bytesWords writes a number of bytes in the unit of job.memory that makes it
// shortest: 64M for 64 million, 512Mi for 512 times 2^20.
func bytesWords(n int64) string {
	best, unit := n, " bytes"
	for _, u := range []struct {
		size int64
		name string
	}{
		{1e3, "K"}, {1e6, "M"}, {1e9, "G"}, {1e12, "T"},
		{1 << 10, "Ki"}, {1 << 20, "Mi"}, {1 << 30, "Gi"}, {1 << 40, "Ti"},
	} {
		if n > 0 && n%u.size == 0 && n/u.size < best {
			best, unit = n/u.size, u.name
		}
	}
	return fmt.Sprintf("%d%s", best, unit)
}
