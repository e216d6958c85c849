// Package gitmodels is the domain: what a push, a run and an outcome are, and
// the ports through which the rooms around it are reached.
//
// It imports the standard library alone, and of that nothing that reaches the
// network or starts a process: both hooks link it.
package gitmodels
