package gitrepo

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// quarantineVariables are what git hands to pre-receive beside GIT_DIR, so that
// it sees the objects of the push that is being judged (githooks(5)).
var quarantineVariables = []string{
	"GIT_QUARANTINE_PATH",
	"GIT_OBJECT_DIRECTORY",
	"GIT_ALTERNATE_OBJECT_DIRECTORIES",
}

// WithQuarantine opens the repository as pre-receive sees it: with the objects
// of this push and of no other. environ is the hook's own environment. Relative
// paths in it are taken from the git directory, where git starts hooks. A
// repository opened so refuses to write.
func WithQuarantine(environ []string) Option {
	return func(r *Repo) error {
		r.quarantine = []string{}
		for _, name := range quarantineVariables {
			value, ok := lookup(environ, name)
			if !ok {
				continue
			}
			if strings.ContainsRune(value, 0) {
				return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "read quarantine", Message: fmt.Sprintf("%s holds a NUL", name)}
			}
			if name == "GIT_ALTERNATE_OBJECT_DIRECTORIES" {
				value = absoluteList(r.dir, value)
			} else if value != "" && !filepath.IsAbs(value) {
				value = filepath.Join(r.dir, value)
			}
			r.quarantine = append(r.quarantine, name+"="+value)
		}
		return nil
	}
}

// lookup finds a variable; of several with the same name the last counts, as
// for exec.
func lookup(environ []string, name string) (value string, ok bool) {
	for _, kv := range environ {
		if v, found := strings.CutPrefix(kv, name+"="); found {
			value, ok = v, true
		}
	}
	return value, ok
}

// absoluteList makes the relative entries of a list of folders absolute. The
// list is separated by colons; an entry that begins with a double quote is
// quoted as in C (git(1), GIT_ALTERNATE_OBJECT_DIRECTORIES).
func absoluteList(dir, list string) string {
	var out []string
	for more := true; more; {
		end := entryEnd(list)
		entry := list[:end]
		if more = end < len(list); more {
			list = list[end+1:]
		}
		switch {
		case entry == "" || entry[0] == '/' || strings.HasPrefix(entry, `"/`):
		case entry[0] == '"':
			entry = `"` + quoteC(dir) + "/" + entry[1:]
		default:
			entry = `"` + quoteC(filepath.Join(dir, entry)) + `"`
		}
		out = append(out, entry)
	}
	return strings.Join(out, ":")
}

// entryEnd is the index of the colon that ends the first entry of list, or its
// length. Colons between quotes are part of the entry.
func entryEnd(list string) int {
	quoted := strings.HasPrefix(list, `"`)
	for i := 0; i < len(list); i++ {
		switch {
		case quoted && i > 0 && list[i] == '\\':
			i++
		case quoted && i > 0 && list[i] == '"':
			quoted = false
		case !quoted && list[i] == ':':
			return i
		}
	}
	return len(list)
}

// quoteC writes s as the inside of a C string, as git reads it back.
func quoteC(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 0x20 || c == 0x7f:
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// checkWritable refuses to write from inside a quarantine: git forbids ref
// updates there, and objects would vanish with a refused push.
func (r *Repo) checkWritable(op string) error {
	if r.quarantine != nil {
		return &gitmodels.Error{Op: op, Err: fmt.Errorf("the repository is open for judging a push: nothing may be written")}
	}
	return nil
}
