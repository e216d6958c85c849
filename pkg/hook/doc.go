// Package hook is what both hooks share at the edge of githooks(5): the lines
// on standard input, the environment, push options, the words to the pusher,
// the operator's log, and a stranger's hook that was here first.
//
// Both hooks link it, so it must never reach SQL, YAML, net/http, a command-line
// library or a cloud's SDK. The gate itself is package prereceive, the hand-off
// package postreceive: apart, so that post-receive stays light.
package hook
