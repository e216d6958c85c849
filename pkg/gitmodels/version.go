package gitmodels

// Version is what this program calls itself; the build stamps it.
var Version = "dev"
