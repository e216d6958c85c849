// Package dockerfile says at the push what is wrong with the Dockerfile that a
// commit's image is built from: what the builders' own parser refuses, and what
// COPY and ADD name although the context at the commit lacks it.
//
// It errs on the side of the pusher: what cannot be known before the build, such
// as a variable that the base image may set, is not judged. Bytes, names and
// patterns are a stranger's, so the work is bounded (see bounds.go).
//
// It is pure: the commit comes through pipeline.Tree; no process, no network, no
// file system. BuildKit's parser brings 2 MB and some start-up time into every
// program that imports this package, so nothing that the hooks share may: the
// check is handed to package plan as a function.
package dockerfile
