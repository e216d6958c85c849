// Command pre-receive is git's hook of that name: it judges a push before any
// ref moves.
package main

import (
	"fmt"
	"os"

	"github.com/git-models/git-models/pkg/hook"
	"github.com/git-models/git-models/pkg/hook/prereceive"
)

func main() {
	edges, err := hook.Process()
	if err != nil {
		fmt.Fprintln(os.Stderr, "git-models: refused, nothing moved:", err)
		os.Exit(1)
	}
	os.Exit(prereceive.Run(edges))
}
