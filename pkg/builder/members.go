package builder

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// maxDockerfile bounds the Dockerfile, in bytes.
const maxDockerfile = 1 << 20

// maxName bounds the path of a member and the target of a link, in bytes: a
// kernel's path.
const maxName = 4095

// sink takes the members of a context that were found good.
type sink interface {
	// member takes one: a folder, a regular file with its content, or a link.
	// h holds only what was checked.
	member(h *tar.Header, content io.Reader) error
	close() error
}

// readContext reads the context of b to its end, checks every member and gives it
// to to. It returns the text of the Dockerfile. A hostile or broken stream is an
// Error of Kind Invalid; what to returns comes back as it is.
func readContext(ctx context.Context, b gitmodels.Build, limit ContextLimit, to sink) (text []byte, err error) {
	m := members{limit: limit, kinds: map[string]byte{}}
	for archive := tar.NewReader(b.Context); ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, brokenContext(err)
		}
		if h, err = m.admit(h); err != nil {
			return nil, err
		}
		if h == nil {
			continue
		}
		content := io.Reader(&contentReader{in: archive})
		if h.Name == b.Dockerfile {
			if text, err = readDockerfile(b, h, content); err != nil {
				return nil, err
			}
			content = bytes.NewReader(text)
		}
		if err := to.member(h, content); err != nil {
			return nil, brokenContent(err)
		}
	}
	if m.kinds[b.Dockerfile] == 0 {
		return nil, invalid("%s is not in the context", shown(b))
	}
	return text, to.close()
}

func readDockerfile(b gitmodels.Build, h *tar.Header, content io.Reader) ([]byte, error) {
	if h.Typeflag != tar.TypeReg {
		return nil, invalid("%s is not a regular file", shown(b))
	}
	if h.Size > maxDockerfile {
		return nil, invalid("%s is %d bytes, the limit is %d", shown(b), h.Size, maxDockerfile)
	}
	text, err := io.ReadAll(content)
	return text, brokenContent(err)
}

// shown is what the Dockerfile is called in words.
func shown(b gitmodels.Build) string {
	return gitmodels.Printable(cmp.Or(b.Shown, b.Dockerfile), 200)
}

// contentReader marks errors of the stream, so that they are not taken for the
// sink's.
type contentReader struct{ in io.Reader }

type contentError struct{ error }

func (c *contentReader) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	if err != nil && err != io.EOF {
		err = &contentError{err}
	}
	return n, err
}

// brokenContent is what an error of the stream means; the sink's stays as it is.
func brokenContent(err error) error {
	if broken := (*contentError)(nil); errors.As(err, &broken) {
		return brokenContext(broken.error)
	}
	return err
}

// brokenContext is the error of a stream that could not be read. Whoever gives
// the stream may have words of their own.
func brokenContext(err error) error {
	if own := (*gitmodels.Error)(nil); errors.As(err, &own) {
		return err
	}
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrInsecurePath) || errors.Is(err, tar.ErrFieldTooLong) {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "reading the context", Message: "build: the context is no tar stream", Err: err}
	}
	return &gitmodels.Error{Kind: gitmodels.Internal, Op: "reading the context", Err: err}
}

// members checks the members of a context one after the other.
type members struct {
	limit ContextLimit
	kinds map[string]byte // the type of each path; '/' for a folder that only its members name
	bytes int64
}

// admit returns h without what a builder must not see: owners, set-uid bits,
// extended attributes. It is nil for the root of the context, and for a comment such
// as the commit id of git archive.
//
// A link may lead only to what is in the context. Its `..` must all stand in
// front and not be more than there are folders above it: with that, and as no
// member lies below a link, it leads inside whatever the other links are.
func (m *members) admit(h *tar.Header) (*tar.Header, error) {
	name := strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/")
	if name == "" || name == "." || h.Typeflag == tar.TypeXGlobalHeader {
		return nil, nil
	}
	if !fs.ValidPath(name) || len(name) > maxName || strings.Contains(name, "\x00") {
		return nil, refuse(h.Name, "its path is not one within the context")
	}
	kind := h.Typeflag
	if err := m.place(name, kind); err != nil {
		return nil, err
	}
	clean := &tar.Header{Typeflag: kind, Name: name, Mode: h.Mode & 0o777, ModTime: h.ModTime}
	switch kind {
	case tar.TypeReg:
		clean.Size = h.Size
		if m.bytes += h.Size; h.Size < 0 || m.bytes > m.limit.Bytes {
			return nil, invalid("the context is over the limit of %s", size(m.limit.Bytes))
		}
	case tar.TypeSymlink:
		clean.Linkname = h.Linkname
		if why := leaves(name, h.Linkname); why != "" {
			return nil, refuse(name, "it links to %s, which %s", gitmodels.Printable(h.Linkname, 200), why)
		}
	}
	return clean, nil
}

// place takes a path that is new and whose parents are folders.
func (m *members) place(name string, kind byte) error {
	switch kind {
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink:
	case tar.TypeLink:
		return refuse(name, "hard links are not allowed")
	default:
		return refuse(name, "it is neither file, folder nor link (type %q)", kind)
	}
	switch before := m.kinds[name]; {
	case before == 0, before == '/' && kind == tar.TypeDir:
	case before == '/':
		return refuse(name, "it is a folder too")
	default:
		return refuse(name, "it is listed twice")
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		above := m.kinds[dir]
		if above == tar.TypeReg || above == tar.TypeSymlink {
			return refuse(name, "%s is not a folder", gitmodels.Printable(dir, 200))
		}
		if above != 0 {
			break // those above it were looked at when it came
		}
		m.kinds[dir] = '/'
	}
	m.kinds[name] = kind
	if len(m.kinds) > m.limit.Members {
		return invalid("the context has more than %d files and folders", m.limit.Members)
	}
	return nil
}

// leaves says why a link may not be: empty when it may.
func leaves(name, target string) string {
	switch {
	case target == "" || len(target) > maxName || strings.Contains(target, "\x00"):
		return "is no path"
	case strings.HasPrefix(target, "/"):
		return "is absolute"
	}
	up, down := 0, false
	for part := range strings.SplitSeq(target, "/") {
		switch {
		case part == "" || part == ".":
		case part != "..":
			down = true
		case down:
			return "goes up after it went down"
		default:
			up++
		}
	}
	if up > strings.Count(name, "/") {
		return "leads out of the context"
	}
	return ""
}

func refuse(name, format string, args ...any) error {
	return invalid("the context's member %s is refused: %s", gitmodels.Printable(name, 200), fmt.Sprintf(format, args...))
}

// tarSink writes a tar stream again.
type tarSink struct{ *tar.Writer }

func (s tarSink) member(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	if err := s.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(s.Writer, content)
	return err
}

func (s tarSink) close() error { return s.Writer.Close() }
