package plan

import (
	"context"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline/document"
)

// describe is how setuptools-scm asks git, narrowed to tags of versions.
const describe = `"git describe --dirty --tags --long --match 'v*'"`

// The files in which projects say where their version comes from.
const (
	pyproject  = "pyproject.toml"
	setupCfg   = "setup.cfg"
	setupPy    = "setup.py"
	versioneer = "versioneer.py"
)

var describers = []string{setupPy, setupCfg, "Makefile", "CMakeLists.txt"} // may call git describe themselves

// VersionWarnings names what in the commit takes its version from git describe
// and would take the tags of runs, trained/5a32b0f, for versions, with the line
// that mends it. It reads the files for a few words alone and can miss one: for
// lint, which says so before it happens, and for nothing that refuses.
//
// Tools that go through all tags for one that looks like a version need no
// warning (dunamai and what is built on it, unless latest-tag is set).
func VersionWarnings(ctx context.Context, files Files, commit gitmodels.CommitID) ([]Fault, error) {
	names := append([]string{pyproject, versioneer}, describers...)
	found, err := files.Files(ctx, commit, names)
	if err != nil {
		return nil, err
	}
	texts := map[string][]string{}
	for _, name := range names {
		if f := found[name]; f.Kind == gitmodels.KindFile {
			texts[name] = strings.Split(string(f.Data), "\n")
		}
	}
	v := &versions{texts: texts}
	v.scm()
	v.hatch()
	v.versioningit()
	v.dunamai()
	v.versioneer()
	v.plain()
	return document.Sort(v.faults), nil
}

// versions is one look for them.
type versions struct {
	texts  map[string][]string // lines by file
	faults []Fault
}

func (v *versions) warn(file string, line int, suggestion string) {
	v.faults = append(v.faults, Fault{File: file, Line: max(line, 1), Column: 1, Suggestion: suggestion,
		Message: "the version comes from git describe, which takes the tags of runs (trained/5a32b0f) for versions"})
}

// place is where something stands.
type place struct {
	file string
	line int
}

// in finds the first line of a table of pyproject.toml, or of a section of
// setup.cfg, that holds one of words; no words is its header. A table's name with
// a dot at the end stands for it and all below it.
func (v *versions) in(file, table string, words ...string) (at place, text string, ok bool) {
	inside := false
	for i, line := range v.texts[file] {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "[") {
			name := strings.Trim(strings.NewReplacer(`"`, "", "'", "", " ", "").Replace(strings.SplitN(trimmed, "#", 2)[0]), "[]\r")
			inside = name == strings.TrimSuffix(table, ".") || strings.HasSuffix(table, ".") && strings.HasPrefix(name, table)
			if inside && len(words) == 0 {
				return place{file, i + 1}, trimmed, true
			}
		}
		if !inside || strings.HasPrefix(trimmed, "#") {
			continue
		}
		if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(trimmed, w) }) {
			return place{file, i + 1}, trimmed, true
		}
	}
	return place{}, "", false
}

// anywhere finds the first line of a file that holds one of words.
func (v *versions) anywhere(file string, words ...string) (at place, text string, ok bool) {
	for i, line := range v.texts[file] {
		if trimmed := strings.TrimSpace(line); !strings.HasPrefix(trimmed, "#") &&
			slices.ContainsFunc(words, func(w string) bool { return strings.Contains(trimmed, w) }) {
			return place{file, i + 1}, trimmed, true
		}
	}
	return place{}, "", false
}

// narrowed reports whether a command line of git describe leaves our tags out.
// The pattern that setuptools-scm itself uses, *[0-9]*, does not.
func narrowed(text string) bool {
	return strings.Contains(text, "--exclude") || strings.Contains(text, "match") && !strings.Contains(text, "*[0-9]*")
}

func (v *versions) scm() {
	const table = "tool.setuptools_scm"
	if _, text, ok := v.in(pyproject, table+".", "describe_command"); ok && narrowed(text) {
		return
	}
	if _, text, ok := v.anywhere(setupPy, "git_describe_command"); ok && narrowed(text) {
		return
	}
	at, _, ok := v.in(pyproject, table+".")
	if !ok {
		at, _, ok = v.in(pyproject, "build-system", "setuptools-scm", "setuptools_scm")
	}
	if ok {
		v.warn(at.file, at.line, "under ["+table+"] write git_describe_command = "+describe)
		return
	}
	for _, file := range []string{setupPy, setupCfg} {
		if at, _, ok := v.anywhere(file, "use_scm_version"); ok {
			v.warn(at.file, at.line, `in setup.py write use_scm_version={"git_describe_command": `+describe+"}")
			return
		}
	}
}

func (v *versions) hatch() {
	const table = "tool.hatch.version"
	at, _, ok := v.in(pyproject, "build-system", "hatch-vcs", "hatch_vcs")
	if source, text, set := v.in(pyproject, table, "source"); set {
		if !strings.Contains(text, `"vcs"`) && !strings.Contains(text, "'vcs'") {
			return // another source; the plugin may serve its hooks alone
		}
		at, ok = source, true
	}
	if _, text, set := v.in(pyproject, table+".", "git_describe_command"); ok && !(set && narrowed(text)) {
		v.warn(at.file, at.line, "under ["+table+".raw-options] write git_describe_command = "+describe)
	}
}

func (v *versions) versioningit() {
	const table = "tool.versioningit"
	at, _, ok := v.in(pyproject, table+".")
	if !ok {
		at, _, ok = v.in(pyproject, "build-system", "versioningit")
	}
	if _, _, set := v.in(pyproject, table+".vcs", "match", "exclude"); ok && !set {
		v.warn(at.file, at.line, "under ["+table+`.vcs] write match = ["v*"]`)
	}
}

func (v *versions) dunamai() {
	for _, table := range []string{"tool.poetry-dynamic-versioning", "tool.uv-dynamic-versioning"} {
		if at, text, ok := v.in(pyproject, table, "latest-tag"); ok && strings.Contains(text, "true") {
			v.warn(at.file, at.line, "under ["+table+"] write latest-tag = false")
		}
	}
}

// versioneer asks for <tag_prefix>*, and since 0.22 for a digit behind it.
func (v *versions) versioneer() {
	if v.texts[versioneer] == nil {
		return
	}
	if _, _, digits := v.anywhere(versioneer, "[[:digit:]]"); digits {
		return
	}
	for _, c := range []struct{ file, table string }{{setupCfg, "versioneer"}, {pyproject, "tool.versioneer"}} {
		if _, text, ok := v.in(c.file, c.table, "tag_prefix"); ok {
			if _, value, _ := strings.Cut(text, "="); strings.Trim(value, " \"'\r") != "" {
				return
			}
		}
	}
	v.warn(versioneer, 1, "under [versioneer] of setup.cfg write tag_prefix = v")
}

// plain looks for git describe itself, as a command line or as a list of words.
func (v *versions) plain() {
	for _, file := range describers {
		at, text, ok := v.anywhere(file, "git describe", `"describe"`, "'describe'")
		if ok && !narrowed(text) {
			v.warn(at.file, at.line, "write git describe --match 'v*'")
		}
	}
}
