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

// bytesWords writes a number of bytes as job.memory does: 512M.
func bytesWords(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 40, "T"}, {1 << 30, "G"}, {1 << 20, "M"}, {1 << 10, "K"}} {
		if n >= u.size && n%u.size == 0 {
			return fmt.Sprintf("%d%s", n/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
