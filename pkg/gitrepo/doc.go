// Package gitrepo is the only room that runs git: history, files, export,
// configuration and the refs that the runner writes.
//
// Every child goes through one constructor (see hardened and baseEnvironment):
// argv only, a fresh environment, and every configured way to run something
// else switched off, because a repository's own configuration may be writable
// by those who push to it. What a pusher sends (commits, trees, paths, links)
// is hostile here: it is bounded before it is read and refused with an Error of
// Kind Invalid.
//
// It imports gitmodels and the standard library, never another adapter, and
// nothing that reaches the network: both hooks link it.
package gitrepo
