package postreceive

import (
	"os"
	"os/signal"
	"syscall"
)

// interrupts end a hook half way: a terminal's Ctrl-C reaches the whole process
// group of a push by path, a closed session its members.
var interrupts = []os.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM}

// Hold keeps this process, and the git children that it starts meanwhile, from
// ending by a signal until Release. A reader that went away is an error of the
// write alone, for good.
func Hold() {
	signal.Ignore(interrupts...)
	// Caught rather than ignored: what is ignored stays so in children.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
}

// Release lets signals end the process again: the push is durable.
func Release() { signal.Reset(interrupts...) }
