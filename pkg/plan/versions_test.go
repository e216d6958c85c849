package plan_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/plan"
)

func TestVersionWarnings(t *testing.T) {
	t.Parallel()
	const why = "the version comes from git describe, which takes the tags of runs (trained/5a32b0f) for versions; "
	const scm = `under [tool.setuptools_scm] write git_describe_command = "git describe --dirty --tags --long --match 'v*'"`
	for name, c := range map[string]struct {
		files []string
		want  []string
	}{
		"nothing":             {[]string{"README.md", "git describe"}, nil},
		"no version of git's": {[]string{"pyproject.toml", "[build-system]\nrequires = [\"hatchling\"]\n[project]\nversion = \"1\"\n", "setup.py", "setup(version='1')\n"}, nil},
		"setuptools-scm": {[]string{"pyproject.toml", "[project]\nname = \"x\"\n\n[tool.setuptools_scm]\n"},
			[]string{"pyproject.toml:4:1: " + why + scm}},
		"setuptools-scm, asked for": {[]string{"pyproject.toml", "[build-system]\nrequires = [\n  \"setuptools\",\n  \"setuptools-scm[simple]>=8\",\n]\n"},
			[]string{"pyproject.toml:4:1: " + why + scm}},
		"setuptools-scm, its own pattern": {[]string{"pyproject.toml", "[tool.setuptools_scm]\r\ngit_describe_command = \"git describe --dirty --tags --long --match '*[0-9]*'\"\r\n"},
			[]string{"pyproject.toml:1:1: " + why + scm}},
		"setuptools-scm, mended":        {[]string{"pyproject.toml", "[build-system]\nrequires = [\"setuptools-scm\"]\n[ tool.\"setuptools_scm\" ] # x\n" + scm[len("under [tool.setuptools_scm] write "):] + "\n"}, nil},
		"setuptools-scm, mended anew":   {[]string{"pyproject.toml", "[tool.setuptools_scm]\n[tool.setuptools_scm.scm.git]\ndescribe_command = [\"git\", \"describe\", \"--exclude\", \"trained/*\"]\n"}, nil},
		"setuptools-scm, commented out": {[]string{"pyproject.toml", "# [tool.setuptools_scm]\n[build-system]\n# requires = [\"setuptools-scm\"]\n"}, nil},
		"setup.py": {[]string{"setup.py", "setup(\n    use_scm_version=True,\n)\n", "setup.cfg", "[options]\nsetup_requires = setuptools_scm\n"},
			[]string{"setup.py:2:1: " + why + `in setup.py write use_scm_version={"git_describe_command": "git describe --dirty --tags --long --match 'v*'"}`}},
		"setup.py, mended": {[]string{"setup.py", `setup(use_scm_version={"git_describe_command": "git describe --dirty --tags --long --match 'v*'"})`}, nil},
		"hatch-vcs": {[]string{"pyproject.toml", "[build-system]\nrequires = [\"hatchling\", \"hatch-vcs\"]\n[tool.hatch.version]\nsource = \"vcs\"\n"},
			[]string{"pyproject.toml:4:1: " + why + `under [tool.hatch.version.raw-options] write git_describe_command = "git describe --dirty --tags --long --match 'v*'"`}},
		"hatch-vcs, mended":         {[]string{"pyproject.toml", "[tool.hatch.version]\nsource = 'vcs'\nraw-options = { git_describe_command = \"git describe --match 'v*'\" }\n"}, nil},
		"hatch-vcs, hooks alone":    {[]string{"pyproject.toml", "[build-system]\nrequires = [\"hatch-vcs\"]\n[tool.hatch.version]\npath = \"a.py\"\nsource = \"regex\"\n"}, nil},
		"versioningit":              {[]string{"pyproject.toml", "[tool.versioningit.format]\ndistance = \"x\"\n"}, []string{"pyproject.toml:1:1: " + why + `under [tool.versioningit.vcs] write match = ["v*"]`}},
		"versioningit, mended":      {[]string{"pyproject.toml", "[build-system]\nrequires = [\"versioningit\"]\n[tool.versioningit.vcs]\nmatch = [\"v*\"]\n"}, nil},
		"dunamai goes through all":  {[]string{"pyproject.toml", "[tool.poetry-dynamic-versioning]\nenable = true\n"}, nil},
		"dunamai, the latest alone": {[]string{"pyproject.toml", "[tool.poetry-dynamic-versioning]\nenable = true\nlatest-tag = true\n"}, []string{"pyproject.toml:3:1: " + why + "under [tool.poetry-dynamic-versioning] write latest-tag = false"}},
		"versioneer":                {[]string{"versioneer.py", "describe --match %s*\n", "setup.cfg", "[versioneer]\ntag_prefix =\n"}, []string{"versioneer.py:1:1: " + why + "under [versioneer] of setup.cfg write tag_prefix = v"}},
		"versioneer, mended":        {[]string{"versioneer.py", "", "setup.cfg", "[versioneer]\ntag_prefix = v\n"}, nil},
		"versioneer, of today":      {[]string{"versioneer.py", "f\"{tag_prefix}[[:digit:]]*\"\n"}, nil},
		"make": {[]string{"Makefile", "VERSION := $(shell git describe --tags --always)\n", "setup.py", "subprocess.run(['git', 'describe'])\n"},
			[]string{"Makefile:1:1: " + why + "write git describe --match 'v*'", "setup.py:1:1: " + why + "write git describe --match 'v*'"}},
		"make, mended": {[]string{"Makefile", "VERSION := $(shell git describe --match 'v*')\n# git describe\n"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := plan.VersionWarnings(t.Context(), files(c.files...), commit)
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for _, f := range got {
				lines = append(lines, f.String())
			}
			if diff := cmp.Diff(c.want, lines); diff != "" {
				t.Error(diff)
			}
		})
	}
	odd := files().with("setup.py", gitmodels.TreeFile{Kind: gitmodels.KindTooLarge}).with("pyproject.toml", gitmodels.TreeFile{Kind: gitmodels.KindLink})
	if got, err := plan.VersionWarnings(t.Context(), odd, commit); len(got) > 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	odd.err = errors.New("disk full")
	if _, err := plan.VersionWarnings(t.Context(), odd, commit); err == nil {
		t.Error("files that cannot be read are no error")
	}
}
