package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/git-models/git-models/pkg/pipeline"
)

// The first rows are the examples of GitHub's filter pattern cheat sheet.
func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"*", []string{"README.md", "server.rb"}, []string{"docs/a"}},
		{"*.jsx?", []string{"page.js", "page.jsx"}, []string{"page.jsxx", "a/page.js", "pagejs"}},
		{"**", []string{"all/the/files.md", "x"}, nil},
		{"*.js", []string{"app.js", "index.js", ".js"}, []string{"js/app.js"}},
		{"**.js", []string{"index.js", "js/index.js", "src/js/app.js"}, []string{"a.jsx"}},
		{"docs/*", []string{"docs/README.md", "docs/file.txt"}, []string{"docs/a/b", "docs"}},
		{"docs/**", []string{"docs/README.md", "docs/mona/octocat.txt"}, []string{"docs", "docsx/a", "a/docs/b"}},
		{"docs/**/*.md", []string{"docs/README.md", "docs/mona/hello-world.md", "docs/a/markdown/file.md"}, []string{"docs/a.txt", "docsREADME.md"}},
		{"**/docs/**", []string{"docs/hello.md", "dir/docs/my-file.txt", "space/docs/plan/space.doc"}, []string{"mydocs/a", "dir/mydocs/x"}},
		{"**/README.md", []string{"README.md", "js/README.md"}, []string{"MYREADME.md"}},
		{"**/*src/**", []string{"a/src/app.js", "my-src/code/js/app.js", "src/x"}, []string{"src"}},
		{"**/*-post.md", []string{"my-post.md", "path/their-post.md"}, []string{"post.md"}},
		{"**/migrate-*.sql", []string{"migrate-10909.sql", "db/migrate-v1.0.sql", "db/sept/migrate-v1.sql"}, []string{"migrate.sql"}},
		{"v[12].[0-9]+.[0-9]+", []string{"v1.10.1", "v2.0.0"}, []string{"v3.0.0", "v1..0", "v1x0x0"}},
		{"[CB]at", []string{"Cat", "Bat"}, []string{"cat", "at"}},
		{"[1-2]00", []string{"100", "200"}, []string{"300"}},
		{"[0-9a-zA-Z]+", []string{"abcXYZ019"}, []string{"a_b", "é", ""}},
		// further
		{"src/a?b", []string{"src/b", "src/ab"}, []string{"src/aab"}},
		{"a+/x", []string{"a/x", "aaaa/x"}, []string{"/x"}},
		{`a\*b`, []string{"a*b"}, []string{"ab", "axb"}},
		{`\!x`, []string{"!x"}, []string{"x"}},
		{`a\[b`, []string{"a[b"}, nil},
		{"a.b", []string{"a.b"}, []string{"axb"}},
		{"a(b|c)$^", []string{"a(b|c)$^"}, []string{"ab"}},
		{"é?x", []string{"x", "éx"}, []string{"ééx"}},
		{"src**/x", []string{"src/x", "srcs/x", "src/a/x"}, []string{"src"}},
		{"***", []string{"a/b"}, nil},
		{"a/**/**/b", []string{"a/b", "a/x/b", "a/x/y/b"}, []string{"ab"}},
		{"**x", []string{"x", "a\nb/x"}, nil},
		{"src/*", []string{"src/\xff\xfe", "src/a b"}, nil},
		{"Src/**", nil, []string{"src/a"}},
	} {
		f, errs := pipeline.NewFilter([]string{c.pattern}, false)
		if errs != nil {
			t.Errorf("%s: %v", c.pattern, errors.Join(errs...))
			continue
		}
		for _, p := range c.yes {
			if !starts(t, f, p) {
				t.Errorf("%s does not match %q", c.pattern, p)
			}
		}
		for _, p := range c.no {
			if starts(t, f, p) {
				t.Errorf("%s matches %q", c.pattern, p)
			}
		}
	}
}

func TestPatternFaults(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"":                       "an empty pattern matches nothing",
		"!":                      "an empty pattern matches nothing",
		"?a":                     `? stands for the character before it, and there is none that can be repeated; for the character itself write \?`,
		"a++":                    `+ stands for the character before it, and there is none that can be repeated; for the character itself write \+`,
		"a*?":                    `? stands for the character before it, and there is none that can be repeated; for the character itself write \?`,
		"a[":                     `[ has no ] after it; for the character itself write \[`,
		"a[]":                    "[] holds no characters",
		"[!a]":                   "[!a] may hold letters, digits and ranges such as a-z alone",
		"[z-a]":                  "[z-a] may hold letters, digits and ranges such as a-z alone",
		"[a-]":                   "[a-] may hold letters, digits and ranges such as a-z alone",
		"[a-Z]":                  "[a-Z] may hold letters, digits and ranges such as a-z alone",
		`a\`:                     `\ at the end takes no character`,
		"/src/**":                "it matches no path: they begin at the root of the repository, without / or ./",
		"./src/**":               "it matches no path: they begin at the root of the repository, without / or ./",
		"src/":                   "it matches no path: only files count; for all files of a folder write src/**",
		"a\nb":                   "a pattern holds no control characters",
		strings.Repeat("a", 501): "the pattern has 501 bytes; at most 500 are allowed",
	} {
		f, errs := pipeline.NewFilter([]string{"ok", pattern}, false)
		if len(errs) != 2 || errs[0] != nil || errs[1] == nil || errs[1].Error() != want {
			t.Errorf("%q: %v, want %s", pattern, errs, want)
		}
		if f.String() != "every path" {
			t.Errorf("%q: a broken filter is %s", pattern, f)
		}
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	many := make([]string, 5000)
	for i := range many {
		many[i] = "docs/file"
	}
	for name, c := range map[string]struct {
		patterns []string
		ignore   bool
		changed  []string
		want     string // the path that starts a run, or nothing
	}{
		"paths: one of them":                    {[]string{"src/**"}, false, []string{"README.md", "src/a.py"}, "src/a.py"},
		"paths: none of them":                   {[]string{"src/**"}, false, []string{"README.md"}, ""},
		"paths: nothing changed":                {[]string{"**"}, false, nil, ""},
		"paths: taken out":                      {[]string{"src/**", "!src/docs/**"}, false, []string{"src/docs/a"}, ""},
		"paths: taken out and another":          {[]string{"src/**", "!src/docs/**"}, false, []string{"src/docs/a", "src/b"}, "src/b"},
		"paths: taken out and in again":         {[]string{"src/**", "!src/docs/**", "src/docs/k*"}, false, []string{"src/docs/keep"}, "src/docs/keep"},
		"paths: the order counts":               {[]string{"!src/docs/**", "src/**"}, false, []string{"src/docs/a"}, "src/docs/a"},
		"paths: beyond GitHub's thousand files": {[]string{"src/**"}, false, append(many, "src/last"), "src/last"},
		"ignore: all of them":                   {[]string{"docs/**"}, true, []string{"docs/a", "docs/b"}, ""},
		"ignore: not all":                       {[]string{"docs/**"}, true, []string{"docs/a", "src/b"}, "src/b"},
		"ignore: nothing changed":               {[]string{"docs/**"}, true, nil, ""},
		"ignore: an exception":                  {[]string{"docs/**", "!docs/conf.py"}, true, []string{"docs/a", "docs/conf.py"}, "docs/conf.py"},
		"ignore: no cap":                        {[]string{"docs/**"}, true, many, ""},
	} {
		f, errs := pipeline.NewFilter(c.patterns, c.ignore)
		if errs != nil {
			t.Errorf("%s: %v", name, errors.Join(errs...))
			continue
		}
		got, ok, err := f.Match(t.Context(), c.changed)
		if got != c.want || ok != (c.want != "") || err != nil {
			t.Errorf("%s: %q %v %v, want %q", name, got, ok, err, c.want)
		}
	}
	if got, ok, err := (pipeline.Filter{}).Match(t.Context(), []string{"any"}); !ok || got != "any" || err != nil {
		t.Errorf("the zero filter gave %q %v %v", got, ok, err)
	}
}

// starts reports whether a change of one path starts a run.
func starts(t *testing.T, f pipeline.Filter, path string) bool {
	t.Helper()
	got, ok, err := f.Match(t.Context(), []string{path})
	if err != nil || ok && got != path {
		t.Fatalf("Match of %q gives %q %v %v", path, got, ok, err)
	}
	return ok
}

// slow are as many patterns as may be, made to be slow.
func slow() []string {
	var patterns []string
	for total := 0; total+pipeline.MaxPatternLength <= pipeline.MaxPatternText; total += pipeline.MaxPatternLength {
		patterns = append(patterns, strings.Repeat("*a**a", pipeline.MaxPatternLength/5))
	}
	return patterns
}

// Patterns made to be slow take time in proportion to the paths, and no longer
// than they are given.
func TestSlowPatternsAreBounded(t *testing.T) {
	t.Parallel()
	f, errs := pipeline.NewFilter(slow(), false)
	if errs != nil {
		t.Fatal(errors.Join(errs...))
	}
	path := strings.Repeat("a", 199) + "b"
	begin := time.Now()
	if starts(t, f, path) {
		t.Error("it matched")
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("one path took %v", took)
	}
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	begin = time.Now()
	got, ok, err := f.Match(ctx, slices.Repeat([]string{path}, 100_000))
	if !errors.Is(err, context.DeadlineExceeded) || ok {
		t.Errorf("%q %v %v", got, ok, err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the deadline was passed by %v", took)
	}
}

func TestPatternsAreBoundedInAll(t *testing.T) {
	t.Parallel()
	patterns := append(slow(), strings.Repeat("b", 200), "c")
	f, errs := pipeline.NewFilter(patterns, false)
	last := len(patterns) - 1
	if len(errs) != len(patterns) || errs[last-1] == nil || errs[last] != nil {
		t.Fatalf("%v, %s", errs, f)
	}
	if want := "with it the patterns have 8200 bytes; at most 8192 are allowed in all"; errs[last-1].Error() != want {
		t.Errorf("%v, want %s", errs[last-1], want)
	}
	if _, errs := pipeline.NewFilter(patterns[:last-1], true); errs != nil {
		t.Error(errors.Join(errs...))
	}
}

func FuzzFilter(f *testing.F) {
	for _, seed := range [][2]string{
		{"src/**", "src/a"}, {"!**/x", "a/x"}, {"[a-z]+?", "abc"}, {`\`, ""}, {"***/**/*", "a/b/c"}, {"é+\xff", "é"}, {"a[b", "["},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, path string) {
		paths, errs := pipeline.NewFilter([]string{pattern}, false)
		ignore, ignoreErrs := pipeline.NewFilter([]string{pattern}, true)
		if (errs == nil) != (ignoreErrs == nil) {
			t.Fatalf("%q is a pattern of one filter alone: %v, %v", pattern, errs, ignoreErrs)
		}
		if errs != nil {
			if errs[0] == nil || errs[0].Error() == "" {
				t.Fatalf("%q is refused without a word", pattern)
			}
			return
		}
		// What starts a run by the one does not by the other, but for a lone !
		// pattern, which takes nothing out of nothing.
		if !strings.HasPrefix(pattern, "!") && starts(t, paths, path) == starts(t, ignore, path) {
			t.Fatalf("%q starts and is ignored for %q", pattern, path)
		}
	})
}
