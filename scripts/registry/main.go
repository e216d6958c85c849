// Command registry serves a container registry on loopback for scripts/demo, in
// memory and until its standard input ends. It holds one image, python:demo, made
// of this machine's python3. It prints its host:port once it answers.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/git-models/git-models/pkg/registry/registrytest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "scripts/registry:", err)
		os.Exit(1)
	}
}

func run() error {
	s, err := registrytest.Start()
	if err != nil {
		return err
	}
	if err := registrytest.PushBase(s.Host + "/python:demo"); err != nil {
		return err
	}
	fmt.Println(s.Host)
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return s.Down()
}
