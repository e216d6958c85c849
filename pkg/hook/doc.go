// Package hook is what both hooks share at the edge of githooks(5): the lines
// on standard input, the environment, push options, the words to the pusher,
// the operator's log, a stranger's hook that was here first, and the outlook:
// what becomes of an update, which a plan tells before it moves and a receipt
// after.
//
// Both hooks link it, so it must never reach SQL, net/http, a command-line
// library or a cloud's SDK. The gate itself is package prereceive, the hand-off
// package postreceive.
package hook
