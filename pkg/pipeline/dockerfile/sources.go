package dockerfile

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline/document"
)

// source is one word of a COPY or ADD that means files of the context.
type source struct {
	verb   string // COPY or ADD
	path   string // with its variables replaced, as it stands
	line   int
	column int
}

// copies notes what an instruction takes from the context. Left out is what
// cannot be known, and what is no file of the context: heredocs, which are no
// source paths, and with ADD what is fetched.
func (c *checker) copies(s *stage, node *parser.Node, words []string, parents bool) {
	verb := strings.ToUpper(node.Value)
	for _, word := range words {
		if c.sources++; c.sources > maxSources {
			if c.sources == maxSources+1 {
				c.fault(node.StartLine, c.indent(node.StartLine), fmt.Sprintf("the file has more than %d sources of COPY and ADD", maxSources), "name their folders")
			}
			return
		}
		value, known, err := c.expand(s.scope, word)
		switch {
		case err != nil, !known, value == "": // said elsewhere, or not to be known
		case verb == "ADD" && remote(value):
		case parents && wildcards(value): // another language of patterns
		default:
			line, column := c.place(node, word)
			s.copies = append(s.copies, source{verb, value, line, column})
		}
	}
}

// remote reports whether ADD fetches the source: a URL, or a git repository in
// one of the ways to name one.
func remote(source string) bool {
	if strings.Contains(source, "://") || strings.HasPrefix(source, "github.com/") {
		return true
	}
	host, _, ok := strings.Cut(source, ":")
	return ok && strings.Contains(host, "@") && !strings.Contains(host, "/")
}

// judgeSources looks each source up in the context. What a stage lacks that the
// last one is not made from is a warning: most builders leave such a stage out.
func (c *checker) judgeSources(ctx context.Context) error {
	used := c.used()
	for _, s := range c.stages {
		for _, source := range s.copies {
			say := c.warn
			if used[s] {
				say = c.fault
			}
			if err := c.source(ctx, source, say); err != nil {
				return err
			}
		}
	}
	return nil
}

// source judges one.
func (c *checker) source(ctx context.Context, s source, say func(line, column int, message, suggestion string)) error {
	named := s.verb + " source " + document.Quote(s.path)
	folder := gitmodels.Printable(c.image.Context, 80)
	rel := path.Clean(strings.TrimLeft(s.path, "/"))
	outside := rel == ".." || strings.HasPrefix(rel, "../")
	// BuildKit goes no further up than the context's root, where the classic
	// builder refuses.
	rel = strings.TrimPrefix(path.Clean("/"+rel), "/")
	if rel == "" {
		if outside {
			c.warn(s.line, s.column, named+" leaves the context "+folder+", which some builders refuse", "")
		}
		return nil
	}
	if _, err := path.Match(rel, ""); err != nil && wildcards(rel) {
		say(s.line, s.column, named+" is no pattern: a [ is not closed, or a \\ ends it", "write \\[ for the character itself")
		return nil
	}
	if c.folder == nil {
		if err := c.open(ctx); err != nil {
			return err
		}
	}
	found, err := c.folder.find(ctx, rel)
	if err != nil {
		return err
	}
	switch found.what {
	case present:
		if outside {
			c.warn(s.line, s.column, named+" leaves the context "+folder+", which some builders refuse", "")
		}
	case absent:
		switch {
		case outside:
			say(s.line, s.column, named+" leaves the context "+folder+", beyond which a build sees nothing", "move it into "+folder+", or name a folder that holds both as build.context of .models.yaml")
		case wildcards(rel):
			c.warn(s.line, s.column, named+" matches nothing in "+folder+", which some builders refuse", "")
		default:
			suggestion, err := c.suggest(ctx, s, found)
			if err != nil {
				return err
			}
			say(s.line, s.column, named+" is not in the context "+folder+" at this commit", suggestion)
		}
	case ignored:
		say(s.line, s.column, named+" is left out of the context by "+found.by, "remove that pattern, or write !"+gitmodels.Printable(rel, 60)+" behind it")
	case link:
		c.warn(s.line, s.column, named+" "+linked(found.at, rel), "name the file itself")
	case submodule:
		c.warn(s.line, s.column, named+" lies in the submodule "+gitmodels.Printable(found.at, 80)+", which is empty in the build", "put the files themselves there")
	}
	return nil
}

func linked(at, rel string) string {
	if at == rel {
		return "is a symbolic link, which may lead to nothing in the build"
	}
	return "lies behind the symbolic link " + gitmodels.Printable(at, 80) + ", which may lead to nothing in the build"
}

// suggest says what may have been meant by a source that is not there.
func (c *checker) suggest(ctx context.Context, s source, f found) (string, error) {
	if s.verb == "COPY" && strings.Contains(s.path, "://") {
		return "ADD fetches URLs", nil
	}
	if rest, ok := strings.CutPrefix(path.Clean(s.path), path.Base(c.image.Context)+"/"); ok {
		within, err := c.folder.find(ctx, rest)
		if err != nil {
			return "", err
		}
		if within.what == present {
			return "paths begin in the context: did you mean " + gitmodels.Printable(rest, 60) + "?", nil
		}
	}
	if f.near != "" {
		return "did you mean " + gitmodels.Printable(f.near, 60) + "?", nil
	}
	return "add it and commit it (git check-ignore -v says whether git leaves it out), or mend the path", nil
}

// wildcards reports whether a builder takes the source for a pattern.
func wildcards(s string) bool {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '*', '?', '[':
			return true
		}
	}
	return false
}
