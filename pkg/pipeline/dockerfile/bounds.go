package dockerfile

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
)

// Bounds of what is judged. Real files are far below; a builder would take what
// is above, but nobody wrote it.
const (
	maxLines        = 20_000
	maxInstruction  = 64 << 10 // bytes of a line with the lines that continue it; BuildKit reads lines up to as much
	maxInstructions = 2_000
	maxVariables    = 1_000 // written ${…}, of one instruction: the parser's work grows with the square of their depth
	maxSources      = 1_000
	maxValue        = 512      // bytes of a variable; a longer one is not known
	maxExpanded     = 4 << 20  // bytes of all that is put in for variables
	maxIgnoreFile   = 64 << 10 // bytes
	maxIgnoreLines  = 1_000
	maxEntries      = 200_000    // of all folders that are listed
	maxMatching     = 50_000_000 // of pattern bytes times path bytes
	maxPath         = 4096       // bytes, Linux's PATH_MAX
	maxFaults       = 50
)

// check refuses what is not worth parsing, before anything is parsed.
func (c *checker) check(data []byte) bool {
	if n := bytes.IndexByte(data, 0); n >= 0 {
		c.fault(bytes.Count(data[:n], []byte("\n"))+1, 0, "the line holds a NUL byte", "write the file as UTF-8 text")
		return false
	}
	if n := len(c.lines); n > maxLines {
		c.fault(0, 0, fmt.Sprintf("the file has %d lines; at most %d are read", n, maxLines), "")
		return false
	}
	start, size, variables := 0, 0, 0
	for i, line := range c.lines {
		size, variables = size+len(line), variables+strings.Count(line, "${")
		if size > maxInstruction {
			c.fault(start+1, 1, fmt.Sprintf("the instruction has more than %d bytes", maxInstruction), "put what it holds into a file of its own")
			return false
		}
		if variables > maxVariables {
			c.fault(start+1, 1, fmt.Sprintf("the instruction has more than %d variables", maxVariables), "")
			return false
		}
		if !continues(line) {
			start, size, variables = i+1, 0, 0
		}
	}
	return true
}

// continues reports whether the next line may belong to the same instruction,
// whichever character the file escapes with: comments and empty lines do not end
// one.
func continues(line string) bool {
	for i := len(line) - 1; i >= 0; i-- {
		if c := rune(line[i]); !unicode.IsSpace(c) {
			if c == '\\' || c == '`' {
				return true
			}
			break
		}
	}
	for _, c := range line {
		if !unicode.IsSpace(c) {
			return c == '#'
		}
	}
	return true
}
