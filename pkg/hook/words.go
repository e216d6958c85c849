package hook

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const (
	// prefix stands before every line to a pusher.
	prefix = "git-models: "
	// Columns bounds prose, prefix included: git's client puts "remote: " before
	// it, and terminals have 80.
	Columns = 70
	// MaxWords bounds all that a hook prints, in bytes: a pipe that nobody reads
	// takes more than that.
	MaxWords = 4096
	// maxCommand bounds a command to paste, which stays on one line.
	maxCommand = 1200
)

// Block is a few lines that belong together and are printed whole or not at all.
type Block struct{ lines []string }

// Say adds prose, wrapped; what does not fit the first line is indented.
func (b *Block) Say(format string, args ...any) *Block {
	indent := ""
	line := ""
	for _, word := range strings.Fields(fmt.Sprintf(format, args...)) {
		switch {
		case line == "":
			line = indent + word
		case utf8.RuneCountInString(prefix+line)+1+utf8.RuneCountInString(word) <= Columns:
			line += " " + word
		default:
			b.Whole(line)
			indent = "  "
			line = indent + word
		}
	}
	if line != "" {
		b.Whole(line)
	}
	return b
}

// Whole adds a line that is not wrapped.
func (b *Block) Whole(line string) *Block {
	b.lines = append(b.lines, prefix+line+"\n")
	return b
}

// Hint adds a command to paste. One that is too long for a line is left out.
func (b *Block) Hint(command string) *Block {
	if len(command) > maxCommand {
		return b
	}
	return b.Whole("hint: " + command)
}

func (b *Block) size() (n int) {
	for _, l := range b.lines {
		n += len(l)
	}
	return n
}

// Print puts blocks and the tail together within MaxWords: when not all fit, it
// says how many more there are. The tail always stands.
func Print(blocks []*Block, tail *Block) string {
	const more = len(prefix) + 40
	room := MaxWords - tail.size() - more
	var out strings.Builder
	for i, b := range blocks {
		if out.Len()+b.size() > room {
			fmt.Fprintf(&out, "%s… and %d more\n", prefix, len(blocks)-i)
			break
		}
		out.WriteString(strings.Join(b.lines, ""))
	}
	out.WriteString(strings.Join(tail.lines, ""))
	return out.String()
}

// Shown makes a pusher's words fit to stand in ours.
func Shown(s string) string { return gitmodels.Printable(s, 200) }
