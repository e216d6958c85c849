// Package plan is the one answer to "what would this commit run here": the
// commit's files and the policy in, a Plan or the faults of the files out.
// pre-receive, `git models lint` and the runner ask it, so that all three say
// the same.
//
// It reads files through a port and is pure otherwise: no process, no network,
// no engine's SDK. pre-receive links it.
package plan
