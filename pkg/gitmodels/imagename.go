package gitmodels

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// maxImageName bounds host[:port]/path, in bytes. The engines' parsers of image
// names draw the line there, path included.
const maxImageName = 255

// ImageName is the name of an image in the registry: host[:port]/path, by the
// grammar of the OCI distribution specification. registry is models.registry, a
// host with an optional port and prefix; image is build.image or, without one,
// the repository's name. Capital letters of image become small ones, as a
// repository may be called My.Repo and no image may; repositories that differ in
// nothing else share their image. Whatever else is against the grammar is an
// Error: of Kind Waiting in registry, which is the server's, of Kind Invalid in
// image, with a name that would do as its hint where one can be made.
func ImageName(registry, image string) (string, error) {
	host, prefix, _ := strings.Cut(registry, "/")
	why := hostFault(host)
	if why == "" && strings.Contains(registry, "/") {
		why = pathFault(prefix)
	}
	if why != "" {
		return "", &Error{Kind: Waiting, Op: "naming an image",
			Message: fmt.Sprintf("models.registry is %s: %s", Printable(registry, 80), why)}
	}
	path := lower(image)
	why = pathFault(path)
	if name := registry + "/" + path; why == "" && len(name) > maxImageName {
		why = fmt.Sprintf("%s would have %d bytes, at most %d are allowed", Printable(registry+"/…", 80), len(name), maxImageName)
	}
	if why != "" {
		e := &Error{Kind: Invalid, Op: "naming an image",
			Message: fmt.Sprintf("%s is no name of an image: %s", Printable(image, 80), why)}
		if better := legalPath(path); better != "" && len(registry)+1+len(better) <= maxImageName {
			e.Hint = "build.image: " + better
		}
		return "", e
	}
	return registry + "/" + path, nil
}

// SplitImageName checks host[:port]/path and takes it apart. A name without a
// host is refused: each engine would add one of its own.
func SplitImageName(name string) (host, path string, err error) {
	host, path, ok := strings.Cut(name, "/")
	why := ""
	switch {
	case !ok:
		why = "want host[:port]/name"
	case len(name) > maxImageName:
		why = fmt.Sprintf("it has %d bytes, at most %d are allowed", len(name), maxImageName)
	default:
		if why = hostFault(host); why == "" {
			why = pathFault(path)
		}
	}
	if why != "" {
		return "", "", &Error{Kind: Invalid, Op: "reading an image's name",
			Message: fmt.Sprintf("image %s: %s", Printable(name, 80), why)}
	}
	return host, path, nil
}

// CheckTag refuses what is no tag by the distribution specification: a letter,
// digit or _, then at most 127 letters, digits, dots, _ and -.
func CheckTag(tag string) error {
	why := ""
	if len(tag) == 0 || len(tag) > 128 {
		why = fmt.Sprintf("%d bytes, want 1 to 128", len(tag))
	}
	for i := 0; i < len(tag) && why == ""; i++ {
		c := tag[i]
		word := alphanumeric(c) || c >= 'A' && c <= 'Z' || c == '_'
		if !word && (i == 0 || c != '.' && c != '-') {
			why = fmt.Sprintf("character %d may not stand there", i+1)
		}
	}
	if why != "" {
		return &Error{Kind: Invalid, Op: "reading a tag", Message: fmt.Sprintf("tag %s: %s", Printable(tag, 80), why)}
	}
	return nil
}

// CheckDigest refuses what is not sha256: and 64 small hexadecimal digits.
func CheckDigest(digest string) error {
	hex, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || len(hex) != 64 || strings.ContainsFunc(hex, func(r rune) bool { return !isHex(r) }) {
		return &Error{Kind: Invalid, Op: "reading a digest",
			Message: fmt.Sprintf("digest %s: want sha256: and 64 small hexadecimal digits", Printable(digest, 80))}
	}
	return nil
}

// hostFault says what is wrong with host[:port]; empty: nothing.
func hostFault(host string) string {
	name, port, hasPort := strings.Cut(host, ":")
	if strings.HasPrefix(host, "[") {
		end := strings.IndexByte(host, ']')
		addr, err := netip.ParseAddr(host[1:max(1, end)])
		rest := host[end+1:]
		if end < 0 || err != nil || !addr.Is6() || addr.Zone() != "" || rest != "" && rest[0] != ':' {
			return "want an IPv6 address in brackets, such as [::1]:5000"
		}
		name, port, hasPort = "", strings.TrimPrefix(rest, ":"), rest != ""
	} else {
		for label := range strings.SplitSeq(name, ".") {
			if label == "" || strings.Trim(label, "-") != label || strings.ContainsFunc(label, func(r rune) bool {
				return r > 0x7f || !alphanumeric(byte(r)) && r != '-'
			}) {
				return "want a host such as registry.example.com or registry:5000, in small letters, without a scheme"
			}
		}
		if !hasPort && name != "localhost" && !strings.Contains(name, ".") {
			return "a word alone is no host to the engines; write its port or domain too"
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); hasPort && (err != nil || n == 0 || port[0] == '0') {
		return fmt.Sprintf("port %s is not in 1 to 65535", Printable(port, 20))
	}
	return ""
}

// ImagePath reports whether path may stand behind the host of an image's name.
func ImagePath(path string) bool { return pathFault(path) == "" }

// pathFault says what is wrong with the path of an image's name; empty: nothing.
// Its parts are words of small letters and digits with one dot, one or two _, or
// any number of - between them.
func pathFault(path string) string {
	for part := range strings.SplitSeq(path, "/") {
		if part == "" {
			return "a part of it is empty"
		}
		for i := 0; i < len(part); {
			if alphanumeric(part[i]) {
				i++
				continue
			}
			separator := part[i:]
			if end := strings.IndexFunc(separator, func(r rune) bool { return r > 0x7f || alphanumeric(byte(r)) }); end >= 0 {
				separator = separator[:end]
			}
			switch {
			case strings.Trim(separator, "._-") != "" || separator == "": // of other bytes, or beyond ASCII
				return "want small letters, digits and - _ . between them"
			case i == 0 || i+len(separator) == len(part):
				return fmt.Sprintf("%s stands at an edge, want it between letters or digits", separator)
			case separator != "." && separator != "_" && separator != "__" && strings.Trim(separator, "-") != "":
				return fmt.Sprintf("%s stands between two words, want one of - _ .", separator)
			}
			i += len(separator)
		}
	}
	return ""
}

// legalPath makes a legal path of one that is not, for a hint: each run of other
// bytes becomes one -. It is empty when nothing is left.
func legalPath(path string) string {
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		words := strings.FieldsFunc(part, func(r rune) bool { return r > 0x7f || !alphanumeric(byte(r)) })
		if len(words) > 0 {
			parts = append(parts, strings.Join(words, "-"))
		}
	}
	return strings.Join(parts, "/")
}

// alphanumeric is [a-z0-9] of the grammar.
func alphanumeric(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// lower makes ASCII letters small and leaves all other bytes as they are.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
