package policy

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// parseBool reads what git takes for a boolean, see git-config(1).
func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, errors.New("want true or false")
}

// oneOf checks s against words and names the nearest one.
func oneOf(s string, words ...string) error {
	if slices.Contains(words, s) {
		return nil
	}
	return wantOneOf(s, words)
}

func wantOneOf(s string, words []string) error {
	last := len(words) - 1
	text := "want " + words[last]
	if last > 0 {
		text = "want " + strings.Join(words[:last], ", ") + " or " + words[last]
	}
	if near := gitmodels.Suggest(s, words); near != "" {
		text += fmt.Sprintf("; did you mean %s?", near)
	}
	return errors.New(text)
}

// parseCount reads a whole number within bounds.
func parseCount(s string, low, high int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("want a whole number from %d to %d", low, high)
	}
	return n, nil
}

// maxDuration keeps every sum of times far from overflow.
const maxDuration = 10 * 365 * 24 * time.Hour

var errDuration = errors.New("want a time such as 90s, 45m, 2h, 1h30m or 7d (a bare number is seconds), or none")

// parseDuration reads a time such as 2h, 1h30m, 7d or a number of seconds. The
// word none is 0, no limit; a limit of nothing is refused.
func parseDuration(s string) (time.Duration, error) {
	if s == "none" {
		return 0, nil
	}
	text := s
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil {
			return 0, errDuration
		}
		text = strconv.FormatUint(n*24, 10) + "h"
	} else if strings.Trim(s, "0123456789") == "" {
		text += "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second || d > maxDuration {
		return 0, errDuration
	}
	return d, nil
}

// formatDuration writes d as parseDuration reads it.
func formatDuration(d time.Duration) string {
	switch {
	case d == 0:
		return "none"
	case d%(24*time.Hour) == 0:
		return strconv.FormatInt(int64(d/(24*time.Hour)), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// parsePath checks an absolute path and cleans it. Nothing is expanded: what
// `~` means depends on who reads the configuration.
func parsePath(s string) (string, error) {
	if !path.IsAbs(s) {
		return "", errors.New("want an absolute path")
	}
	if hasControl(s) {
		return "", errors.New("want a path without control characters")
	}
	return path.Clean(s), nil
}

// parseStore checks a URI prefix for results. For file:// the path is compared
// as it is written, so nothing in it may be read in two ways.
func parseStore(s string) (string, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || (scheme != "file" && scheme != "s3") {
		return "", errors.New("want file:///absolute/path or s3://bucket/prefix")
	}
	if scheme == "s3" && (rest == "" || rest[0] == '/') {
		return "", errors.New("want s3://bucket/prefix: the bucket is missing")
	}
	if scheme == "file" && !path.IsAbs(rest) {
		return "", errors.New("want file:///absolute/path, with three slashes")
	}
	rest = strings.TrimRight(rest, "/")
	if scheme == "file" && rest == "" {
		return "", errors.New("want a folder, not the whole file system")
	}
	if err := CheckURIPath(rest); err != nil {
		return "", err
	}
	return scheme + "://" + rest, nil
}

// CheckURIPath refuses what could make the path of a URI mean another place
// than it says: empty, `.` and `..` segments, percent escapes, queries,
// fragments, backslashes and control characters.
func CheckURIPath(p string) error {
	if i := strings.IndexAny(p, `%?#\`); i >= 0 {
		return fmt.Errorf("want a path without %q", p[i])
	}
	if hasControl(p) {
		return errors.New("want a path without control characters")
	}
	for i, segment := range strings.Split(p, "/") {
		if segment == "." || segment == ".." || segment == "" && i > 0 {
			return errors.New("want a path without empty, . and .. parts")
		}
	}
	return nil
}

// under reports whether the URI is prefix or lies below it, segment by segment.
func under(uri, prefix string) bool {
	return uri == prefix || strings.HasPrefix(uri, prefix+"/")
}

// StoreAllows reports whether results may be written to uri, which has passed
// CheckURIPath.
func (p *Policy) StoreAllows(uri string) bool {
	return slices.ContainsFunc(p.StorePrefixes(), func(prefix string) bool { return under(uri, prefix) })
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// parseRefPattern checks a pattern of models.refs. Governed refs are branches:
// a run belongs to a line of commits that moves forward.
func parseRefPattern(s string) error {
	rest, ok := strings.CutPrefix(s, "refs/heads/")
	if !ok {
		if near := "refs/heads/" + s; !strings.HasPrefix(s, "refs/") && checkRefName(strings.TrimSuffix(near, "/**")) == nil {
			return fmt.Errorf("want a pattern below refs/heads/; did you mean %s?", near)
		}
		return errors.New("want a pattern below refs/heads/")
	}
	rest = strings.TrimSuffix(rest, "/**")
	if rest == "**" {
		return errors.New("** stands for everything below a name: want refs/heads/* or refs/heads/<name>/**")
	}
	if strings.Contains(rest, "**") {
		return errors.New("** may only stand at the end, as /**")
	}
	return checkRefName("refs/heads/" + rest)
}

// checkRefName holds s to git-check-ref-format(1), but lets `*` pass.
func checkRefName(s string) error {
	bad := errors.New("not a name that git takes for a ref (git check-ref-format)")
	if hasControl(s) || strings.ContainsAny(s, " ~^:?[\\") || strings.Contains(s, "..") ||
		strings.Contains(s, "@{") || strings.HasSuffix(s, ".") {
		return bad
	}
	for _, segment := range strings.Split(s, "/") {
		if segment == "" || segment[0] == '.' || strings.HasSuffix(segment, ".lock") {
			return bad
		}
	}
	return nil
}

// parseNotesRef checks the ref of the notes.
func parseNotesRef(s string) (gitmodels.RefName, error) {
	if !strings.HasPrefix(s, "refs/notes/") || strings.Contains(s, "*") || checkRefName(s) != nil {
		if !strings.HasPrefix(s, "refs/") && !strings.Contains(s, "*") && checkRefName("refs/notes/"+s) == nil {
			return "", fmt.Errorf("want a ref below refs/notes/; did you mean refs/notes/%s?", s)
		}
		return "", errors.New("want a ref below refs/notes/")
	}
	return gitmodels.RefName(s), nil
}

// parseAbbrev reads the length of a short name.
func parseAbbrev(s string) (int, error) {
	if s == "full" {
		return 0, nil
	}
	n, err := parseCount(s, 7, 40)
	if err != nil {
		return 0, errors.New("want a whole number from 7 to 40, or full")
	}
	return n, nil
}
