package hook

import (
	"fmt"
	"strconv"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Bounds of push options: they are words, not a way to store things.
const (
	maxOptions = 64
	maxOption  = 1024
)

// PushOptions reads the words of `git push -o` from the environment, as
// githooks(5) says: none when the count is not set, which means that the client
// did not speak of them.
func (e Edges) PushOptions() ([]string, error) {
	count, ok := e.Lookup("GIT_PUSH_OPTION_COUNT")
	if !ok {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("GIT_PUSH_OPTION_COUNT is %s, want a number", gitmodels.Printable(count, 40))
	}
	if n > maxOptions {
		return nil, fmt.Errorf("%d push options, the bound is %d", n, maxOptions)
	}
	options := make([]string, 0, n)
	for i := range n {
		key := "GIT_PUSH_OPTION_" + strconv.Itoa(i)
		o, ok := e.Lookup(key)
		if !ok {
			return nil, fmt.Errorf("%s is not set, although the count is %d", key, n)
		}
		if len(o) > maxOption {
			return nil, fmt.Errorf("push option %s has %d bytes, the bound is %d", gitmodels.Printable(o, 40), len(o), maxOption)
		}
		options = append(options, o)
	}
	return options, nil
}
