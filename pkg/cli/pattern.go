package cli

import (
	"regexp"
	"sync"
)

// pattern is an expression that is compiled when it is first used: most command
// lines need none, and all of them together would cost two milliseconds at every
// start.
func pattern(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
