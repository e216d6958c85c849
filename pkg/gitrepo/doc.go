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
// Who descends from whom, counts and tips are answered without a child where the
// repository is as git writes it (ancestry.go, graph.go, store.go, pack.go,
// reffiles.go); everything else is left to git. These files read the formats
// themselves: go-git's reader of commit-graphs checks no bounds of a chunk,
// follows the parents of an octopus merge without end, faults on a chain whose
// first layer is missing, and takes some ten reads a commit; its index of packs
// is decoded whole. Tests alone import go-git, as another witness.
//
// It imports gitmodels and the standard library, never another adapter, and
// nothing that reaches the network: both hooks link it.
package gitrepo
