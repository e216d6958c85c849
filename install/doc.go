// Package install puts git-models into a repository and takes it out again:
// plan, apply, verify, remove. It also makes new repositories, and training
// repositories from the embedded template.
//
// A plan is made first, over everything that was named, and collects every
// problem: as long as there is one, nothing is touched. Applying is safe to
// repeat; a second run finds nothing to do. What was there before is remembered
// in the repository itself (see record), so that removing puts back exactly
// that and leaves alone what somebody else has changed since.
//
// What it puts into a hooks folder is a file that stands without the state
// directory and refuses pushes when that is gone (see shim).
//
// It reaches git through pkg/gitrepo alone and the ledger through its own small
// port. It must never start a process itself, and it is nobody's adapter: the
// hooks and the runner do not import it.
package install
