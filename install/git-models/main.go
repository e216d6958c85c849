// Command git-models is `git models …`.
package main

import (
	"os"

	"github.com/git-models/git-models/pkg/cli"
)

func main() { os.Exit(cli.Main()) }
