// Package policy is what the admin decided: git's configuration `models.*`,
// validated, with defaults, and with the rule of trust applied.
//
// Two rooms read it. The hooks see it as the pusher's process does, and take
// every scope as it stands: their check is a courtesy. The runner believes keys
// that widen power only from protected configuration (system, its own global
// file, the command line, <home>/config); in a repository's own file, which
// pushers may be able to write, such keys can only narrow.
//
// It imports the domain alone: no process, no file, no network. Both hooks may
// link it.
package policy
