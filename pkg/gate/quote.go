package gate

import (
	"strings"
	"unicode"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// hintDigits is how much of an id a command carries: enough to be unique in
// any repository that fits on a disk, short enough to read.
const hintDigits = 12

// hintID names an object in a command.
func hintID(id gitmodels.CommitID) string { return id.Short(hintDigits) }

// Quote makes s one word of a POSIX shell.
func Quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:+@%,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// branch is the name of a branch without refs/heads/; ok is false for other
// refs, and for names that a terminal cannot show faithfully.
func branch(r gitmodels.RefName) (string, bool) {
	b, ok := strings.CutPrefix(string(r), "refs/heads/")
	return b, ok && isPlain(r)
}

// isPlain reports whether a terminal shows the name as it is, so that a command
// with it can be pasted.
func isPlain(r gitmodels.RefName) bool { return gitmodels.Printable(string(r), 0) == string(r) }

// tracking is how a clone with git's own fetch settings gets at the server's
// ref: the command that fetches it, and its name afterwards.
func tracking(r gitmodels.RefName) (fetch, name string) {
	if b, ok := branch(r); ok {
		return "git fetch origin", Quote("origin/" + b)
	}
	return "git fetch origin " + Quote(string(r)), "FETCH_HEAD"
}

// push is the command that pushes what rev names to ref, whose full name needs
// no guess by git.
func push(rev string, ref gitmodels.RefName) string {
	return "git push origin " + Quote(rev+":"+string(ref))
}

// oddCharacter finds what a governed ref's new name may not hold: it becomes
// part of commands, paths and job names.
func oddCharacter(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && !strings.ContainsRune("._-+@=,%#/", r) || r == unicode.ReplacementChar
}

// cleanName is ref with every odd character replaced.
func cleanName(ref gitmodels.RefName) gitmodels.RefName {
	parts := strings.Split(string(ref), "/")
	for i, p := range parts {
		p = strings.Map(func(r rune) rune {
			if oddCharacter(r) {
				return '-'
			}
			return r
		}, p)
		if p = strings.Trim(p, "-"); p == "" {
			p = "x"
		}
		parts[i] = p
	}
	return gitmodels.RefName(strings.Join(parts, "/"))
}
