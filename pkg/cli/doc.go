// Package cli is the program `git-models`, which git runs as `git models`: the
// command tree and the wiring of every adapter from policy.
//
// It is the outermost room: it may import all others and nothing but the main
// package imports it. The hooks never do.
package cli
