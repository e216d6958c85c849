// Package document reads a YAML file that a stranger pushed: as nodes, within
// bounds of size, depth and number, and with scalars resolved as Python's
// loaders do, since what a commit trains with must not depend on which language
// reads its files.
//
// It never builds Go values from a document, so an alias costs nothing until it
// is followed, and following is counted. It imports the YAML parser and the
// domain; no process, no file, no network: pre-receive links it.
package document
