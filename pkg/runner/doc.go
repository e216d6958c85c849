// Package runner turns pushes into runs and runs into outcomes: it imports the
// spool, compares refs with the ledger, claims runs, walks their stages, tries
// again by cause, and answers on the socket.
//
// It knows ports only. It must never import an adapter (gitrepo, spool, ledger,
// store, trainer/…, publish, metrics): those are wired in by pkg/cli through
// Config. The states it moves a run through are drawn in gitmodels.State.
//
// # How it survives
//
// Every step is recorded before it is taken and looked for before it is taken
// again. A runner that dies leaves leases behind; the next one holds the lock of
// the home, so it knows that their owners are gone and goes on at once: a job
// that runs is adopted by its name, a spool file is imported again and found in
// the ledger, an outcome is published again and found in git.
//
// # How it keeps up
//
// An import asks everything once: policy, while the files it was read from are
// as they were; where refs are and were, by their files; objects, through one
// child. It prepares pushes outside of any transaction and records many in one, in
// the order of the pushes. A path filter that was decided against a base that is
// no longer the last is decided again. A ring is answered from the ledger alone,
// before the import is woken. Limits are the queue's: a run that is over one is
// never claimed, says which place it waits for, and holds up nobody else.
//
// # Until idle
//
// A runner that serves until it is idle returns when the spool is empty, no run
// is live and the outbox is empty. What cannot go on by waiting does not hold
// it: a run that waits for a gap of the server (no engine is configured), an
// outcome that failed to be published or notified several times, a spool file of
// a repository that cannot be opened. It says what it leaves behind in its log;
// the next runner takes it up.
package runner
