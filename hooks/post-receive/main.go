// Command post-receive is git's hook of that name: it hands an accepted push to
// the runner and lets the pusher go.
package main

import (
	"fmt"
	"os"

	"github.com/git-models/git-models/pkg/hook"
	"github.com/git-models/git-models/pkg/hook/postreceive"
)

func main() {
	postreceive.Hold()
	edges, err := hook.Process()
	if err != nil {
		fmt.Fprintln(os.Stderr, "git-models: accepted, but not recorded:", err)
		os.Exit(1)
	}
	os.Exit(postreceive.Run(edges))
}
