package container

import (
	"encoding/json"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// describe puts an exit status into words; 128 and more is a signal's, as the
// init in the container reports it.
func describe(code int) string {
	if sig := unix.Signal(code - 128); code > 128 && unix.SignalName(sig) != "" {
		return fmt.Sprintf("killed by signal %d (%s)", int(sig), unix.SignalName(sig))
	}
	return fmt.Sprintf("exit status %d", code)
}

// startFault reads from the last line of the log that the init did not find the
// program, as tini or catatonit say it; a status alone may be the job's own.
func startFault(s seen, command []string, lastLine string) (code int, cause string, ok bool) {
	tini := strings.HasPrefix(lastLine, "[FATAL tini (") && strings.Contains(lastLine, "] exec ")
	catatonit := strings.HasPrefix(lastLine, "ERROR (catatonit:") && strings.Contains(lastLine, "failed to exec")
	if !tini && !catatonit || s.State.ExitCode == 0 {
		return 0, "", false
	}
	word := gitmodels.Printable(firstWord(s, command), 100)
	if strings.HasSuffix(lastLine, "No such file or directory") {
		return 127, fmt.Sprintf("command not found in the image: %s", word), true
	}
	return 126, fmt.Sprintf("%s cannot be executed: %s", word, gitmodels.Printable(lastLine[strings.LastIndex(lastLine, ":")+1:], 100)), true
}

// firstWord is the program that the container runs: its entrypoint's, else the
// command's.
func firstWord(s seen, command []string) string {
	var list []string
	var text string
	if json.Unmarshal(s.Config.Entrypoint, &list) == nil && len(list) > 0 {
		return list[0]
	}
	if json.Unmarshal(s.Config.Entrypoint, &text) == nil && text != "" {
		return text
	}
	return command[0]
}

// bytesWords writes a number of bytes in the unit of job.memory that makes it
// shortest: 64M for 64 million, 512Mi for 512 times 2^20.
func bytesWords(n int64) string {
	best, unit := n, " bytes"
	for i, name := range []string{"K", "M", "G", "T"} {
		for _, u := range []struct {
			size int64
			name string
		}{{power(1000, i+1), name}, {power(1024, i+1), name + "i"}} {
			if n > 0 && n%u.size == 0 && n/u.size < best {
				best, unit = n/u.size, u.name
			}
		}
	}
	return fmt.Sprintf("%d%s", best, unit)
}

func power(base int64, n int) int64 {
	p := int64(1)
	for range n {
		p *= base
	}
	return p
}
