package dockerfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline"
	"github.com/git-models/git-models/pkg/pipeline/document"
)

// Fault is one thing that is wrong.
type Fault = document.Fault

// Check is a pipeline.JudgeDockerfile.
func Check(ctx context.Context, image pipeline.Image) (faults, warnings []Fault, err error) {
	c := newChecker(image)
	defer func() {
		if p := recover(); p != nil {
			// The parser is another's, the file a stranger's: that they do not get on
			// must not end a runner that others wait for.
			c.fault(0, 0, fmt.Sprintf("the file cannot be judged: its parser failed (%s)", gitmodels.Printable(fmt.Sprint(p), 200)), "write it in a simpler way")
			faults, warnings, err = c.faults, c.warnings, nil
		}
	}()
	if c.check(image.Data) && c.directives() {
		err = c.file(ctx)
	}
	return c.faults, c.warnings, err
}

// checker is one Check under way.
type checker struct {
	image    pipeline.Image
	lines    []string
	faults   []Fault
	warnings []Fault

	lex      *shell.Lex
	meta     *scope // what FROM sees
	stages   []*stage
	declared map[string]bool // names of ARG
	sources  int             // of COPY and ADD so far
	budget   int             // see maxExpanded
	folder   *folder         // the context; nil: not looked at yet
	bases    []string        // images that stages begin from, as they are written
	only     bool            // the instructions alone are read, not what they take
}

func newChecker(image pipeline.Image) *checker {
	return &checker{image: image, lines: strings.Split(string(image.Data), "\n"), budget: maxExpanded}
}

func (c *checker) fault(line, column int, message, suggestion string) {
	if len(c.faults) < maxFaults {
		c.faults = append(c.faults, c.at(line, column, message, suggestion))
	}
}

func (c *checker) warn(line, column int, message, suggestion string) {
	if len(c.warnings) < maxFaults {
		c.warnings = append(c.warnings, c.at(line, column, message, suggestion))
	}
}

func (c *checker) at(line, column int, message, suggestion string) Fault {
	return Fault{File: c.image.Dockerfile, Line: line, Column: column, Message: message, Suggestion: suggestion}
}

// file judges the file as a whole: its instructions first, all of them, then the
// sources of those stages that were understood.
func (c *checker) file(ctx context.Context) error {
	result, err := parser.Parse(bytes.NewReader(c.image.Data))
	if result == nil || result.AST == nil || err != nil {
		c.syntax(err, 1)
		return nil
	}
	nodes := result.AST.Children
	if len(nodes) > maxInstructions {
		c.fault(0, 0, fmt.Sprintf("the file has %d instructions; at most %d are read", len(nodes), maxInstructions), "")
		return nil
	}
	c.lex = shell.NewLex(result.EscapeToken)
	c.meta, c.declared = c.newScope(), map[string]bool{}
	for _, node := range nodes {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := c.instruction(node); err != nil {
			c.syntax(err, node.StartLine)
		}
	}
	if len(c.stages) == 0 && len(c.faults) == 0 {
		c.fault(1, 1, "the file has no FROM", "begin it with FROM and the image to build on")
	}
	if len(c.faults) == 0 {
		c.undeclared()
	}
	if c.only {
		return nil
	}
	return c.judgeSources(ctx)
}

// instruction reads one into the stage that it belongs to.
func (c *checker) instruction(node *parser.Node) error {
	command, err := instructions.ParseInstruction(node)
	if err != nil {
		return err
	}
	switch command := command.(type) {
	case *instructions.Stage:
		return c.from(node, command)
	case *instructions.ArgCommand:
		return c.arg(command)
	}
	if len(c.stages) == 0 {
		if len(c.faults) == 0 { // else what is at fault may have been the FROM
			c.fault(node.StartLine, c.indent(node.StartLine), strings.ToUpper(node.Value)+" stands before the first FROM", "begin with FROM and the image to build on; only ARG may stand before it")
		}
		c.stages = append(c.stages, &stage{scope: c.newScope()}) // said once
	}
	s := c.stages[len(c.stages)-1]
	switch command := command.(type) {
	case *instructions.EnvCommand:
		return c.env(s, command)
	case *instructions.CopyCommand:
		if command.From == "" {
			c.copies(s, node, command.SourcePaths, command.Parents)
		} else if from, known, err := c.expand(s.scope, command.From); err == nil && known {
			s.needs = append(s.needs, from)
		}
		return c.expandAll(s.scope, command.Expand)
	case *instructions.AddCommand:
		c.copies(s, node, command.SourcePaths, false)
		return c.expandAll(s.scope, command.Expand)
	case *instructions.RunCommand:
		err := c.expandAll(s.scope, command.Expand)
		for _, m := range instructions.GetMounts(command) {
			s.needs = append(s.needs, m.From)
		}
		return err
	case instructions.SupportsSingleWordExpansion:
		return c.expandAll(s.scope, command.Expand)
	}
	return nil
}

// syntax is the fault of what the parser refused, in its words where they say
// enough.
func (c *checker) syntax(err error, line int) {
	var located *parser.LocationError
	if errors.As(err, &located) && len(located.Locations) > 0 && len(located.Locations[0]) > 0 {
		line = located.Locations[0][0].Start.Line
	}
	line = max(1, min(line, len(c.lines)))
	var unknown *instructions.UnknownInstructionError
	switch {
	case errors.As(err, &unknown):
		suggestion := "a line that goes on in the next one ends with a backslash"
		if near := gitmodels.Suggest(strings.ToUpper(unknown.Instruction), words()); near != "" {
			suggestion = "did you mean " + near + "?"
		}
		c.fault(line, c.indent(line), "unknown instruction "+document.Quote(unknown.Instruction), suggestion)
		return
	case err == nil || strings.Contains(err.Error(), "file with no instructions"):
		c.fault(1, 1, "the file has no FROM", "begin it with FROM and the image to build on")
		return
	}
	message, suggestion, _ := strings.Cut(err.Error(), " (did you mean ")
	if strings.HasPrefix(message, "unknown flag") && suggestion != "" {
		suggestion = "--" + suggestion
	}
	if suggestion != "" {
		suggestion = "did you mean " + strings.TrimSuffix(suggestion, ")")
	}
	if located != nil && c.declaredSyntax() && strings.HasPrefix(message, "unknown flag") {
		// A frontend that the file itself names may be newer than this parser.
		c.warn(line, c.indent(line), gitmodels.Printable(message, 200), gitmodels.Printable(suggestion, 100))
		return
	}
	c.fault(line, c.indent(line), gitmodels.Printable(message, 200), gitmodels.Printable(suggestion, 100))
}

// words are the instructions there are.
func words() []string {
	return strings.Fields("ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR")
}

// undeclared warns of build arguments that no ARG takes.
func (c *checker) undeclared() {
	names := slices.Sorted(maps.Keys(c.declared))
	for _, name := range slices.Sorted(maps.Keys(c.image.ArgsAt)) {
		if c.declared[name] || predefined(name) || len(c.warnings) >= maxFaults {
			continue
		}
		suggestion := "write ARG " + name + " there, or remove it here"
		if near := gitmodels.Suggest(name, names); near != "" {
			suggestion = "did you mean " + near + "?"
		}
		c.warnings = append(c.warnings, c.image.ArgsAt[name].Fault("build.args."+gitmodels.Printable(name, 60)+" is not declared by "+gitmodels.Printable(c.image.Dockerfile, 80), suggestion))
	}
}
