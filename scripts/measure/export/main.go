// Command export does by itself what scripts/bench measures of exports:
//
//	export REPOSITORY COMMIT DIR            the files of the commit, into DIR
//	export REPOSITORY COMMIT DIR FOLDER     the build context FOLDER, through a
//	                                        stream that is read and thrown away
//
// and prints the most memory that it used, in KiB. It is for the bench alone.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "export:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 3 && len(args) != 4 {
		return errors.New("want REPOSITORY COMMIT DIR [FOLDER]")
	}
	repo, err := gitrepo.Open(args[0])
	if err != nil {
		return err
	}
	commit, err := gitmodels.ParseCommitID(args[1])
	if err != nil {
		return err
	}
	if len(args) == 3 {
		_, err = repo.Export(ctx, commit, args[2])
	} else {
		_, err = repo.Context(ctx, commit, args[3], func(string) bool { return true }, io.Discard)
	}
	if err != nil {
		return err
	}
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return err
	}
	fmt.Println(used.Maxrss)
	return nil
}
