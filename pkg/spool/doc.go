// Package spool is the durable hand-off from post-receive to the runner: a
// folder with one file a push, written, synced and renamed into place.
//
// Whoever may push may write here, so a file is a hint and its bytes are
// hostile: reading never follows a link, never blocks and never reads without
// bound. It imports the standard library and the domain alone: post-receive
// links it.
package spool
