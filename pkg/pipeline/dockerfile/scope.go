package dockerfile

import (
	"maps"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/git-models/git-models/pkg/pipeline/document"
)

// stage is what follows one FROM.
type stage struct {
	name   string
	scope  *scope
	needs  []string // names or numbers of stages, and images, that it takes from
	copies []source // what it takes from the context
}

// scope is the variables whose values are known. It implements
// shell.EnvGetter and notes when it was asked for another one: that may come from
// the base image, or from the builder.
type scope struct {
	args   map[string]string // given to the build
	values map[string]string
	env    map[string]bool // those that ENV set, which stages that build on this one inherit
	unsure map[string]bool // those that have a value, but it is not known
	missed string          // the last name that was not known
	budget *int            // bytes that may still be put in for variables
}

func (c *checker) newScope() *scope {
	return &scope{args: c.image.Args, values: map[string]string{}, env: map[string]bool{}, unsure: map[string]bool{}, budget: &c.budget}
}

// Get implements shell.EnvGetter.
func (s *scope) Get(name string) (string, bool) {
	v, ok := s.values[name]
	if ok {
		*s.budget -= len(v) + 1
	}
	if !ok || *s.budget < 0 {
		s.missed = name
		return "", false
	}
	return v, true
}

// Keys implements shell.EnvGetter.
func (s *scope) Keys() []string {
	names := make([]string, 0, len(s.values))
	for name := range s.values {
		names = append(names, name)
	}
	return names
}

// expand replaces the variables of a word as a build does. known is false when
// that depends on what is not known here; then there is no error.
func (c *checker) expand(s *scope, word string) (value string, known bool, err error) {
	s.missed = ""
	value, _, err = c.lex.ProcessWord(word, s)
	if s.missed != "" {
		return word, false, nil
	}
	return value, err == nil, err
}

// expandAll lets an instruction expand its words, and reports what a build would
// refuse whatever the unknown variables hold.
func (c *checker) expandAll(s *scope, expand func(instructions.SingleWordExpander) error) error {
	sure := true
	err := expand(func(word string) (string, error) {
		value, known, err := c.expand(s, word)
		sure = sure && (known || err != nil)
		return value, err
	})
	if !sure {
		return nil
	}
	return err
}

// from begins a stage.
func (c *checker) from(node *parser.Node, f *instructions.Stage) error {
	s := &stage{name: f.Name, scope: c.newScope()}
	base, known, err := c.expand(c.meta, f.BaseName)
	if err == nil && (known && base == "" || !known && c.blank(f.BaseName)) {
		line, column := c.place(node, f.BaseName)
		c.fault(line, column, "FROM "+document.Quote(f.BaseName)+" names no image: its variable has no value", "give the ARG before FROM a default, or name it in build.args of .models.yaml")
	}
	if known {
		if b := c.stageOf(base, len(c.stages)); b >= 0 {
			for name := range c.stages[b].scope.env {
				s.scope.env[name] = true
				if v, ok := c.stages[b].scope.values[name]; ok {
					s.scope.values[name] = v
				}
			}
			s.needs = append(s.needs, base)
		} else if base != "scratch" {
			c.bases = append(c.bases, base)
		}
	}
	c.stages = append(c.stages, s)
	return err
}

// blank reports whether the base of a stage is one variable that nobody sets:
// no base image is there yet that could.
func (c *checker) blank(base string) bool {
	name := strings.Trim(strings.TrimPrefix(base, "$"), "{}")
	return (base == "$"+name || base == "${"+name+"}") && c.meta.missed == name &&
		!c.meta.unsure[name] && !automatic(name) && !predefined(name)
}

// stageOf is the number of the stage before the given one that a name stands
// for; -1: none, so it is an image.
func (c *checker) stageOf(name string, before int) int {
	for i := before - 1; i >= 0; i-- {
		if strings.EqualFold(c.stages[i].name, name) && name != "" {
			return i
		}
	}
	return -1
}

// numbered is stageOf for a name that may also be the number of a stage.
func (c *checker) numbered(name string, before int) int {
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < before {
		return n
	}
	return c.stageOf(name, before)
}

// arg takes the values of an ARG: the build's own, the default, or that of the
// ARG before the first FROM.
func (c *checker) arg(a *instructions.ArgCommand) error {
	s := c.meta
	if len(c.stages) > 0 {
		s = c.stages[len(c.stages)-1].scope
	}
	for _, one := range a.Args {
		c.declared[one.Key] = true
		value, known := s.args[one.Key]
		if !known && one.Value != nil {
			var err error
			if value, known, err = c.expand(s, *one.Value); err != nil {
				return err
			}
		} else if !known {
			if value, known = c.meta.values[one.Key]; !known {
				continue // it changes nothing
			}
		}
		if old, set := s.values[one.Key]; automatic(one.Key) || set && s.env[one.Key] && old != value {
			known = false // builders do not agree which of the two counts
		}
		s.set(one.Key, value, known)
	}
	return nil
}

func (s *scope) set(name, value string, known bool) {
	if known && len(value) <= maxValue {
		s.values[name] = value
	} else {
		delete(s.values, name)
		s.unsure[name] = true
	}
}

// env takes the values of an ENV, which all see what was set before it.
func (c *checker) env(s *stage, e *instructions.EnvCommand) error {
	before := &scope{values: maps.Clone(s.scope.values), budget: &c.budget}
	for _, pair := range e.Env {
		key, sure, err := c.expand(before, pair.Key)
		if err != nil {
			return err
		}
		value, known, err := c.expand(before, pair.Value)
		if err != nil {
			return err
		}
		if sure {
			s.scope.env[key] = true
			s.scope.set(key, value, known)
		}
	}
	return nil
}

// automatic reports whether the builder itself gives the argument a value.
func automatic(name string) bool {
	return strings.HasPrefix(name, "TARGET") || strings.HasPrefix(name, "BUILD") ||
		name == "GIT_COMMIT" || name == "GIT_SHORT_SHA"
}

// predefined reports whether builders know the argument without an ARG.
func predefined(name string) bool {
	switch strings.ToUpper(name) {
	case "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY", "SOURCE_DATE_EPOCH":
		return true
	}
	return strings.HasPrefix(name, "BUILDKIT_")
}

// used are the stages that the last one is made from, and it.
func (c *checker) used() map[*stage]bool {
	used := map[*stage]bool{}
	var use func(i int)
	use = func(i int) {
		if s := c.stages[i]; !used[s] {
			used[s] = true
			for _, name := range s.needs {
				if n := c.numbered(name, i); n >= 0 {
					use(n)
				}
			}
		}
	}
	if len(c.stages) > 0 {
		use(len(c.stages) - 1)
	}
	return used
}
