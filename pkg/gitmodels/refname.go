package gitmodels

import (
	"fmt"
	"strings"
)

// MaxRefName bounds a ref's name in bytes; git stores refs as paths, and no
// path is longer.
const MaxRefName = 4096

// ParseRefName accepts a full ref name by the rules of git-check-ref-format(1),
// below refs/.
func ParseRefName(s string) (RefName, error) {
	if why := refFault(s); why != "" {
		return "", fmt.Errorf("ref name %s: %s", Printable(s, 80), why)
	}
	return RefName(s), nil
}

// refFault says what is wrong with s as a full ref name, or nothing.
func refFault(s string) string {
	if len(s) > MaxRefName {
		return fmt.Sprintf("%d bytes, the bound is %d", len(s), MaxRefName)
	}
	if !strings.HasPrefix(s, "refs/") {
		return "does not begin with refs/"
	}
	for _, r := range []byte(s) {
		if r <= ' ' || r == 0x7f || strings.IndexByte(`~^:?*[\`, r) >= 0 {
			return fmt.Sprintf("holds the character %q", r)
		}
	}
	for _, part := range strings.Split(s, "/") {
		switch {
		case part == "":
			return "has an empty part"
		case part[0] == '.':
			return "has a part that begins with a dot"
		case strings.HasSuffix(part, ".lock"):
			return "has a part that ends in .lock"
		}
	}
	switch {
	case strings.Contains(s, ".."):
		return "holds two dots in a row"
	case strings.Contains(s, "@{"):
		return "holds @{"
	case strings.HasSuffix(s, "."):
		return "ends with a dot"
	}
	return ""
}
