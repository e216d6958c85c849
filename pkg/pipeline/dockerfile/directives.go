package dockerfile

import (
	"strings"
	"unicode"

	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline/document"
)

// directives reads the comments at the head that change how the rest is read. It
// returns false when the rest is not to be judged: they are at fault, or name a
// frontend of another language.
func (c *checker) directives() bool {
	if name, _, _, ok := parser.DetectSyntax(c.image.Data); ok && !ordinary(name) {
		return false
	}
	var p parser.DirectiveParser
	for i, line := range c.lines {
		if i == 0 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "#") {
			break
		}
		d, err := p.ParseLine([]byte(line))
		switch {
		case err != nil:
			c.fault(i+1, c.indent(i+1), gitmodels.Printable(err.Error(), 200), "keep one of them")
			return false
		case d == nil:
			return true // any other comment ends them
		case d.Name == "escape" && d.Value != `\` && d.Value != "`":
			c.fault(i+1, c.indent(i+1), "the escape character "+document.Quote(d.Value)+" is neither \\ nor `", "")
			return false
		}
	}
	return true
}

// ordinary reports whether a frontend reads Dockerfiles as BuildKit does: it is
// docker/dockerfile of whatever version, or a mirror's copy of it.
func ordinary(frontend string) bool {
	name, _, _ := strings.Cut(frontend, "@")
	if colon := strings.LastIndex(name, ":"); colon > strings.LastIndex(name, "/") {
		name = name[:colon]
	}
	for _, ours := range []string{"docker/dockerfile", "docker/dockerfile-upstream"} {
		if name == ours || strings.HasSuffix(name, "/"+ours) {
			return true
		}
	}
	return false
}

// declaredSyntax reports whether the file names its frontend.
func (c *checker) declaredSyntax() bool {
	_, _, _, ok := parser.DetectSyntax(c.image.Data)
	return ok
}

// indent is the column of the first character of a line that shows.
func (c *checker) indent(line int) int {
	column := 1
	for _, r := range c.lines[line-1] {
		if !unicode.IsSpace(r) && r != '\ufeff' {
			return column
		}
		column++
	}
	return 1
}

// place is where a word of an instruction stands: the first time after its name,
// in whichever of its lines. One that is written in another way there, as a JSON
// string with escapes, has the place of the instruction.
func (c *checker) place(node *parser.Node, word string) (line, column int) {
	skip := c.indent(node.StartLine) - 1 + len([]rune(node.Value))
	for n := node.StartLine; n <= min(node.EndLine, len(c.lines)) && word != ""; n++ {
		text := c.lines[n-1]
		for from := 0; ; {
			i := strings.Index(text[from:], word)
			if i < 0 {
				break
			}
			start, end := from+i, from+i+len(word)
			column := len([]rune(text[:start])) + 1
			if column > skip && bounded(text[:start], text[end:]) {
				return n, column
			}
			from = start + 1
		}
		skip = 0
	}
	return node.StartLine, c.indent(node.StartLine)
}

// bounded reports whether what stands between before and after is a word.
func bounded(before, after string) bool {
	const edges = " \t\r\"',[]"
	return (before == "" || strings.ContainsRune(edges, rune(before[len(before)-1]))) &&
		(after == "" || strings.ContainsRune(edges, rune(after[0])))
}
