// Package gate judges a push before any ref moves: which updates of governed
// refs may pass, and for the others why not and what to type instead.
//
// It is pure: the facts come through History, the admin's decisions through
// Rules, and the answer is a Verdict. It never reads the environment, never
// runs git and never prints; it must not import anything but the domain.
package gate
