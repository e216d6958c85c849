// Package hydra turns a YAML file of parameters into override strings of
// Hydra's command line, such that composing them gives what OmegaConf reads from
// the file. Grammar: OverrideLexer.g4 and OverrideParser.g4 of Hydra 1.3.
//
// It is pure and imports the domain and package document alone: pre-receive
// links it.
package hydra
