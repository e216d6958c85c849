package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline/document"
)

// ignore is the file of paths that are left out of the context.
type ignore struct {
	file       string
	patterns   []pattern
	matcher    *patternmatcher.PatternMatcher
	exceptions bool // a pattern begins with !
	size       int  // bytes of all patterns
}

// pattern is one line of it.
type pattern struct {
	line int
	text string // as ignorefile gives it
}

// readIgnore reads the file beside the Dockerfile that bears its name, else the
// context's own, as builders do. One that is at fault leaves nothing out: it is
// said once.
func (c *checker) readIgnore(ctx context.Context) (*ignore, error) {
	for _, name := range []string{c.image.Dockerfile + ".dockerignore", c.image.Context + "/.dockerignore"} {
		file, err := c.image.Tree.File(ctx, name)
		if err != nil {
			return nil, err
		}
		switch {
		case file.Kind == gitmodels.KindAbsent:
			continue
		case file.Kind != gitmodels.KindFile:
			c.ignoreWarning(name, "the file is no regular file; what it leaves out of the context is not checked")
		case len(file.Data) > maxIgnoreFile || strings.Count(string(file.Data), "\n") > maxIgnoreLines:
			c.ignoreWarning(name, fmt.Sprintf("the file has more than %d lines or %d bytes; what it leaves out of the context is not checked", maxIgnoreLines, maxIgnoreFile))
		default:
			return c.parseIgnore(name, string(file.Data)), nil
		}
		break
	}
	return newIgnore("", nil), nil
}

func (c *checker) ignoreWarning(name, message string) {
	c.warnings = append(c.warnings, Fault{File: name, Message: message})
}

// parseIgnore reads the file line by line, so that faults have their place.
func (c *checker) parseIgnore(name, data string) *ignore {
	var patterns []pattern
	for i, line := range strings.Split(data, "\n") {
		texts, err := ignorefile.ReadAll(strings.NewReader(line))
		if err == nil {
			_, err = patternmatcher.New(texts)
		}
		if err != nil {
			c.faults = append(c.faults, Fault{File: name, Line: i + 1, Column: 1,
				Message: document.Quote(line) + " is no pattern: " + gitmodels.Printable(err.Error(), 100)})
			return newIgnore(name, nil)
		}
		for _, text := range texts {
			patterns = append(patterns, pattern{i + 1, text})
		}
	}
	return newIgnore(name, patterns)
}

func newIgnore(name string, patterns []pattern) *ignore {
	g := &ignore{file: name, patterns: patterns}
	var texts []string
	for _, p := range patterns {
		g.size += len(p.text) + 1
		g.exceptions = g.exceptions || strings.HasPrefix(p.text, "!")
		texts = append(texts, p.text)
	}
	g.matcher, _ = patternmatcher.New(texts) // each was tried before
	return g
}

// matches reports whether a path is left out. A pattern that cannot be applied
// leaves nothing out.
func (g *ignore) matches(at string) bool {
	out, err := g.matcher.MatchesOrParentMatches(at)
	return out && err == nil
}

// by names the last pattern that leaves a path out.
func (g *ignore) by(at string) string {
	for i := len(g.patterns) - 1; i >= 0; i-- {
		p := g.patterns[i]
		if strings.HasPrefix(p.text, "!") {
			continue
		}
		one := newIgnore(g.file, []pattern{p})
		if one.matches(at) {
			return fmt.Sprintf("%s:%d %s", gitmodels.Printable(g.file, 80), p.line, document.Quote(p.text))
		}
	}
	return gitmodels.Printable(g.file, 80)
}

// Keep reads a .dockerignore: keep tells of a path, slash-separated and within the
// context, whether it stays in. A line that is no pattern is the error.
func Keep(data []byte) (keep func(path string) bool, err error) {
	if len(data) > maxIgnoreFile || strings.Count(string(data), "\n") > maxIgnoreLines {
		return nil, fmt.Errorf("it has more than %d lines or %d bytes", maxIgnoreLines, maxIgnoreFile)
	}
	c := &checker{}
	g := c.parseIgnore(".dockerignore", string(data))
	if len(c.faults) > 0 {
		return nil, errors.New(c.faults[0].Message)
	}
	return func(path string) bool { return !g.matches(path) }, nil
}
