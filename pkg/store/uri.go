package store

import (
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const scheme = "file://"

// Path is the absolute path that a file:// URI names. The reading is strict
// (RFC 8089 without a host): no host, query or fragment, no empty, `.` or `..`
// segment, not even encoded, no control character; a trailing slash is ignored.
func Path(uri string) (string, error) {
	refuse := func(why string) (string, error) {
		return "", &gitmodels.Error{Kind: gitmodels.Invalid, Op: "reading a store's URI",
			Message: fmt.Sprintf("store %s: %s", gitmodels.Printable(uri, 200), why)}
	}
	rest, ok := strings.CutPrefix(uri, scheme)
	switch {
	case !ok:
		return refuse("not a file:// URI")
	case !strings.HasPrefix(rest, "/"):
		return refuse("a file:// URI has three slashes and an absolute path, as in file:///srv/models")
	case strings.ContainsAny(rest, "?#"):
		return refuse("a query or fragment has no meaning here; write ? as %3F and # as %23")
	}
	trimmed := strings.TrimSuffix(rest, "/")
	if trimmed == "" {
		return refuse("the root of the file system is no store")
	}
	segments := strings.Split(trimmed[1:], "/")
	for i, s := range segments {
		decoded, err := decode(s)
		switch {
		case err != nil:
			return refuse(err.Error())
		case decoded == "":
			return refuse("an empty path segment")
		case decoded == "." || decoded == "..":
			return refuse("a path segment " + decoded)
		case strings.Contains(decoded, "/"):
			return refuse("an encoded slash")
		case !printableName(decoded):
			return refuse("a control character or broken UTF-8")
		}
		segments[i] = decoded
	}
	return "/" + path.Join(segments...), nil
}

// decode undoes percent-encoding.
func decode(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) || unhex(s[i+1]) < 0 || unhex(s[i+2]) < 0 {
			return "", fmt.Errorf("%% without two hexadecimal digits")
		}
		b.WriteByte(byte(unhex(s[i+1])<<4 | unhex(s[i+2])))
		i += 2
	}
	return b.String(), nil
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// printableName reports whether a file name can stand in run.json and on a
// terminal as it is.
func printableName(name string) bool {
	return utf8.ValidString(name) && gitmodels.Printable(name, 0) == name
}
