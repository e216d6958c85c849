// Package hooks holds the two programs that git runs, and the tests that push
// through them.
package hooks
