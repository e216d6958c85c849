// Package pipeline reads the commit's files: `.models.yaml`, the job file and
// the filter of changed paths. It checks form and gives defaults; what this
// server allows is package plan's to say.
//
// It imports the domain and package document; no process, no file, no network:
// pre-receive links it.
package pipeline
