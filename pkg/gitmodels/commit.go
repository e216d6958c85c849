package gitmodels

import (
	"fmt"
	"strings"
)

// CommitID is a full object id in lower-case hexadecimal: 40 digits in a
// SHA-1 repository, 64 in a SHA-256 one. It is the key of everything; a short
// SHA is only a name.
type CommitID string

// ParseCommitID accepts a full object id, the all-zero one included.
func ParseCommitID(s string) (CommitID, error) {
	if len(s) != 40 && len(s) != 64 {
		return "", fmt.Errorf("object id %s: %d characters, want 40 or 64", Printable(s, 80), len(s))
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return !isHex(r) }); i >= 0 {
		return "", fmt.Errorf("object id %s: character %d is not a lower-case hexadecimal digit", Printable(s, 80), i+1)
	}
	return CommitID(s), nil
}

// IsZero reports the all-zero id with which githooks(5) marks "no object".
func (c CommitID) IsZero() bool { return c == "" || strings.Trim(string(c), "0") == "" }

// Short is the first n digits, by slicing: `git rev-parse --short` drifts with
// the depth of a clone and the size of a repository.
func (c CommitID) Short(n int) string {
	if n <= 0 || n >= len(c) {
		return string(c)
	}
	return string(c[:n])
}

func isHex(r rune) bool { return r >= '0' && r <= '9' || r >= 'a' && r <= 'f' }

// RefName is a full ref name such as refs/heads/models.
type RefName string

// Short is the name as people type it: models for refs/heads/models. Other
// refs keep their full name.
func (r RefName) Short() string {
	if b, ok := strings.CutPrefix(string(r), "refs/heads/"); ok {
		return b
	}
	return string(r)
}

// Matches reports whether pattern names r: an exact name; a name with `*`, which
// stands for any characters but `/`; or a prefix followed by `/**`, everything
// below that prefix.
func (r RefName) Matches(pattern string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "/**"); ok {
		segments := strings.Count(prefix, "/") + 1
		parts := strings.SplitN(string(r), "/", segments+1)
		return len(parts) == segments+1 && parts[segments] != "" &&
			matchSegments(strings.Join(parts[:segments], "/"), prefix)
	}
	return matchSegments(string(r), pattern)
}

// matchSegments compares name and pattern segment by segment.
func matchSegments(name, pattern string) bool {
	n, p := strings.Split(name, "/"), strings.Split(pattern, "/")
	if len(n) != len(p) {
		return false
	}
	for i := range n {
		if !matchStar(n[i], p[i]) {
			return false
		}
	}
	return true
}

// matchStar matches one path segment in which `*` stands for any characters.
func matchStar(s, pattern string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return s == pattern
	}
	s, ok := strings.CutPrefix(s, parts[0])
	if !ok {
		return false
	}
	for _, middle := range parts[1 : len(parts)-1] {
		i := strings.Index(s, middle)
		if i < 0 {
			return false
		}
		s = s[i+len(middle):]
	}
	return strings.HasSuffix(s, parts[len(parts)-1])
}

// Update is one `<old> <new> <ref>` line of githooks(5).
type Update struct {
	Old CommitID `json:"old"` // all zeros: the ref is created
	New CommitID `json:"new"` // all zeros: the ref is deleted
	Ref RefName  `json:"ref"`
}

// Creates reports whether the ref did not exist before.
func (u Update) Creates() bool { return u.Old.IsZero() }

// Deletes reports whether the ref is to vanish.
func (u Update) Deletes() bool { return u.New.IsZero() }
