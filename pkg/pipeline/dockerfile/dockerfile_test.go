package dockerfile_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline"
	"github.com/git-models/git-models/pkg/pipeline/dockerfile"
)

// tree is a commit's files by their path; the value is the content. A path that
// ends in @ is a symbolic link, one that ends in + a submodule.
type tree map[string]string

func (t tree) File(_ context.Context, p string) (gitmodels.TreeFile, error) {
	if data, ok := t[p]; ok {
		return gitmodels.TreeFile{Path: p, Kind: gitmodels.KindFile, Size: int64(len(data)), Data: []byte(data)}, nil
	}
	if _, ok := t[p+"@"]; ok {
		return gitmodels.TreeFile{Path: p, Kind: gitmodels.KindLink, Link: p}, nil
	}
	return gitmodels.TreeFile{Path: p, Kind: gitmodels.KindAbsent}, nil
}

func (t tree) List(_ context.Context, folder string, limit int) ([]gitmodels.TreeEntry, error) {
	var entries []gitmodels.TreeEntry
	seen := map[string]bool{}
	for _, p := range slices.Sorted(maps.Keys(t)) {
		rest, ok := strings.CutPrefix(p, folder+"/")
		name, _, below := strings.Cut(rest, "/")
		e := gitmodels.TreeEntry{Name: strings.TrimRight(name, "@+"), Kind: gitmodels.KindFile}
		switch {
		case below:
			e.Kind = gitmodels.KindFolder
		case strings.HasSuffix(name, "@"):
			e.Kind = gitmodels.KindLink
		case strings.HasSuffix(name, "+"):
			e.Kind = gitmodels.KindSubmodule
		}
		if ok && !seen[name] && len(entries) < limit {
			seen[name] = true
			entries = append(entries, e)
		}
	}
	if len(entries) == 0 {
		return nil, errors.New("no folder " + folder)
	}
	return entries, nil
}

// usual is a training repository.
var usual = tree{
	"src/Dockerfile": "", "src/train.py": "", "src/requirements.txt": "", "src/data/a.csv": "", "src/data/b.csv": "",
	"src/data/raw/x.bin": "", "src/link@": "", "src/vendor+": "", "src/names/with space.txt": "", "README.md": "",
}

// judge checks the text in the usual tree with more files, path and content in
// turn, and returns the lines of faults, and of warnings marked as such.
func judge(t *testing.T, text string, more ...string) []string {
	t.Helper()
	files := maps.Clone(usual)
	for i := 0; i < len(more); i += 2 {
		files[more[i]] = more[i+1]
	}
	return check(t, pipeline.Image{Dockerfile: "src/Dockerfile", Data: []byte(text), Context: "src", Tree: files})
}

func check(t *testing.T, image pipeline.Image) []string {
	t.Helper()
	faults, warnings, err := dockerfile.Check(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, f := range faults {
		got = append(got, f.String())
	}
	for _, f := range warnings {
		got = append(got, "warning: "+f.String())
	}
	return got
}

func TestFine(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"plain":            "FROM python:3.12\nCOPY requirements.txt train.py /app/\nCOPY data /app/data\nCOPY . .\nCMD [\"python\", \"train.py\"]\n",
		"CRLF and a mark":  "\ufeff# syntax=docker/dockerfile:1.7\r\nFROM scratch\r\nCOPY train.py /\r\n",
		"absolute":         "FROM scratch\nCOPY /train.py ./data/../train.py /x/\n",
		"JSON":             "FROM scratch\nCOPY [\"names/with space.txt\", \"/x\"]\n",
		"patterns":         "FROM scratch\nCOPY *.py data/*.csv data/[ab].csv data/r?w/ /x/\n",
		"another stage":    "FROM scratch AS one\nFROM scratch\nCOPY --from=one /lib /lib\nCOPY --from=busybox /bin/x /x\n",
		"fetched":          "FROM scratch\nADD https://example.com/x.tar git@example.com:a/b.git https://example.com/a.git#v1 /x/\n",
		"heredocs":         "FROM scratch\nCOPY <<A <<\"B\" /x/\nhi\nA\nho\nB\nRUN <<E\nCOPY nothing /x\nE\n",
		"known variables":  "ARG D=data\nFROM scratch\nARG D\nARG F=train.py\nENV G=$F\nCOPY $D ${G} ${F%.py}.py /x/\n",
		"base's variable":  "FROM base\nCOPY ${HOME_OF_BASE}/x $1 /x/\nCOPY ${A:?must} /x\nRUN --mount=type=cache,target=$UNKNOWN true\nWORKDIR $NOPE\n",
		"the builder's":    "FROM --platform=$BUILDPLATFORM scratch\nARG TARGETARCH=amd64\nARG GIT_COMMIT=x\nCOPY bin/$TARGETARCH $GIT_COMMIT.txt /x/\n",
		"set twice":        "FROM scratch\nENV A=train.py\nARG A=nothing\nCOPY $A /x\n",
		"ONBUILD":          "FROM scratch\nONBUILD COPY of-another-context /x\n",
		"escape":           "# escape=`\nFROM scratch\nCOPY train.py `\n  requirements.txt C:\\x\\\n",
		"parents":          "# syntax=docker/dockerfile:1-labs\nFROM scratch\nCOPY --parents ./**/x.bin /x\n",
		"another language": "# syntax=example.com/mopy/frontend:1\nanything: [at, all]\n",
		"JSON language":    "{\"syntax\": \"example.com/x\", \"COPY\": 1}\n",
	} {
		if got := judge(t, text); len(got) > 0 {
			t.Errorf("%s: %s", name, strings.Join(got, "\n"))
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		more []string
		want []string
	}{
		"nothing": {"", nil, []string{
			"src/Dockerfile:1:1: the file has no FROM; begin it with FROM and the image to build on"}},
		"comments": {"# hi\n\n", nil, []string{
			"src/Dockerfile:1:1: the file has no FROM; begin it with FROM and the image to build on"}},
		"no FROM": {"ARG A=1\n", nil, []string{
			"src/Dockerfile:1:1: the file has no FROM; begin it with FROM and the image to build on"}},
		"before FROM": {"RUN a\nENV a=b\nFROM scratch\n", nil, []string{
			"src/Dockerfile:1:1: RUN stands before the first FROM; begin with FROM and the image to build on; only ARG may stand before it"}},
		"a misspelt FROM": {"FORM scratch\nRUN a\n", nil, []string{
			`src/Dockerfile:1:1: unknown instruction "FORM"; did you mean FROM?`}},
		"a base without a value": {"ARG BASE\nFROM ${BASE}\n", nil, []string{
			`src/Dockerfile:2:6: FROM "${BASE}" names no image: its variable has no value; give the ARG before FROM a default, or name it in build.args of .models.yaml`}},
		"several": {"FROM scratch\nCOPPY a b\n  WORKDIR\nCOPY --frm=x a b\nCOPY a\nFROM a b\nCMD [1]\n", nil, []string{
			"src/Dockerfile:7:1: when using JSON array syntax, arrays must be comprised of strings only"}},
		"several that are read": {"FROM scratch\nCOPPY a b\n  WORKDIR\nCOPY --frm=x a b\nCOPY a\nFROM a b\n", nil, []string{
			`src/Dockerfile:2:1: unknown instruction "COPPY"; did you mean COPY?`,
			"src/Dockerfile:3:3: WORKDIR requires exactly one argument",
			"src/Dockerfile:4:1: unknown flag: --frm; did you mean --from?",
			"src/Dockerfile:5:1: COPY requires at least two arguments, but only one was provided. Destination could not be determined",
			"src/Dockerfile:6:1: FROM requires either one or three arguments"}},
		"a lost backslash": {"FROM scratch\nRUN a &&\n    b\n", nil, []string{
			`src/Dockerfile:3:5: unknown instruction "b"; a line that goes on in the next one ends with a backslash`}},
		"quotes": {"FROM scratch\nENV A=\"x\nCOPY \"train.py /x\n", nil, []string{
			`src/Dockerfile:2:1: failed to process "\"x": unexpected end of statement while looking for matching double-quote`,
			`src/Dockerfile:3:1: failed to process "\"train.py": unexpected end of statement while looking for matching double-quote`}},
		"a heredoc without an end": {"FROM scratch\nRUN <<E\na\n", nil, []string{
			"src/Dockerfile:2:1: unterminated heredoc"}},
		"escape": {"# escape=x\nFROM scratch\n", nil, []string{
			"src/Dockerfile:1:1: the escape character \"x\" is neither \\ nor `"}},
		"twice": {"# syntax=docker/dockerfile:1\n# escape=`\n# escape=`\nFROM scratch\n", nil, []string{
			"src/Dockerfile:3:1: only one escape parser directive can be used; keep one of them"}},
		"a newer frontend's flag": {"# syntax=docker/dockerfile:9\nFROM scratch\nCOPY --swiftly train.py /x\n", nil, []string{
			"warning: src/Dockerfile:3:1: unknown flag: --swiftly"}},
		"no text": {"FROM scratch\nRUN \x00\n", nil, []string{
			"src/Dockerfile:2: the line holds a NUL byte; write the file as UTF-8 text"}},

		"not there": {"FROM scratch\nCOPY train.py requirement.txt \\\n     nothing /x/\nADD data/c.csv src/train.py /x/\nCOPY https://example.com/x /x\n", nil, []string{
			`src/Dockerfile:2:15: COPY source "requirement.txt" is not in the context src at this commit; did you mean requirements.txt?`,
			`src/Dockerfile:3:6: COPY source "nothing" is not in the context src at this commit; add it and commit it (git check-ignore -v says whether git leaves it out), or mend the path`,
			`src/Dockerfile:4:5: ADD source "data/c.csv" is not in the context src at this commit; did you mean data/a.csv?`,
			`src/Dockerfile:4:16: ADD source "src/train.py" is not in the context src at this commit; paths begin in the context: did you mean train.py?`,
			`src/Dockerfile:5:6: COPY source "https://example.com/x" is not in the context src at this commit; ADD fetches URLs`,
		}},
		"outside": {"FROM scratch\nCOPY ../README.md data/../../x /x/\n", nil, []string{
			`src/Dockerfile:2:6: COPY source "../README.md" leaves the context src, beyond which a build sees nothing; move it into src, or name a folder that holds both as build.context of .models.yaml`,
			`src/Dockerfile:2:19: COPY source "data/../../x" leaves the context src, beyond which a build sees nothing; move it into src, or name a folder that holds both as build.context of .models.yaml`}},
		"outside, but there": {"FROM scratch\nCOPY ../train.py .. /x/\n", nil, []string{
			`warning: src/Dockerfile:2:6: COPY source "../train.py" leaves the context src, which some builders refuse`,
			`warning: src/Dockerfile:2:18: COPY source ".." leaves the context src, which some builders refuse`}},
		"below a file": {"FROM scratch\nCOPY train.py/x /x/\n", nil, []string{
			`src/Dockerfile:2:6: COPY source "train.py/x" is not in the context src at this commit; add it and commit it (git check-ignore -v says whether git leaves it out), or mend the path`}},
		"patterns": {"FROM scratch\nCOPY *.yaml /x/\nCOPY train.py *.lock /x/\nCOPY data/[a /x/\n", nil, []string{
			`src/Dockerfile:4:6: COPY source "data/[a" is no pattern: a [ is not closed, or a \ ends it; write \[ for the character itself`,
			`warning: src/Dockerfile:2:6: COPY source "*.yaml" matches nothing in src, which some builders refuse`,
			`warning: src/Dockerfile:3:15: COPY source "*.lock" matches nothing in src, which some builders refuse`}},
		"by variables": {"ARG D=dat\nFROM scratch AS a\nENV E=nope\nFROM a\nARG D\nCOPY $D ${E}/x /x/\n", nil, []string{
			`src/Dockerfile:6:6: COPY source "dat" is not in the context src at this commit; did you mean data?`,
			`src/Dockerfile:6:9: COPY source "nope/x" is not in the context src at this commit; add it and commit it (git check-ignore -v says whether git leaves it out), or mend the path`}},
		"links and submodules": {"FROM scratch\nCOPY link link/x vendor vendor/x /x/\n", nil, []string{
			`warning: src/Dockerfile:2:6: COPY source "link" is a symbolic link, which may lead to nothing in the build; name the file itself`,
			`warning: src/Dockerfile:2:11: COPY source "link/x" lies behind the symbolic link link, which may lead to nothing in the build; name the file itself`,
			`warning: src/Dockerfile:2:18: COPY source "vendor" lies in the submodule vendor, which is empty in the build; put the files themselves there`,
			`warning: src/Dockerfile:2:25: COPY source "vendor/x" lies in the submodule vendor, which is empty in the build; put the files themselves there`}},
		"stages": {"FROM scratch AS unused\nCOPY a-file /x\nFROM scratch AS used\nCOPY b-file /x\nFROM scratch AS mounted\nCOPY c-file /x\nFROM used\nRUN --mount=type=bind,from=mounted,target=/m true\nCOPY --from=0 /x /y\nFROM scratch AS deps\nCOPY d-file /x\nFROM 3\nCOPY --from=deps / /\n", nil, []string{
			`src/Dockerfile:11:6: COPY source "d-file" is not in the context src at this commit; add it and commit it (git check-ignore -v says whether git leaves it out), or mend the path`,
			`warning: src/Dockerfile:2:6: COPY source "a-file" is not in the context src at this commit; add it and commit it (git check-ignore -v says whether git leaves it out), or mend the path`,
			`warning: src/Dockerfile:4:6: COPY source "b-file" is not in the context src at this commit; add it and commit it (git check-ignore -v says whether git leaves it out), or mend the path`,
			`warning: src/Dockerfile:6:6: COPY source "c-file" is not in the context src at this commit; add it and commit it (git check-ignore -v says whether git leaves it out), or mend the path`}},

		"ignored": {"FROM scratch\nCOPY train.py data data/raw data/*.csv *.py /x/\n", []string{"src/.dockerignore", "# no\n*.py\n/data/raw\n"}, []string{
			`src/Dockerfile:2:6: COPY source "train.py" is left out of the context by src/.dockerignore:2 "*.py"; remove that pattern, or write !train.py behind it`,
			`src/Dockerfile:2:20: COPY source "data/raw" is left out of the context by src/.dockerignore:3 "data/raw"; remove that pattern, or write !data/raw behind it`,
			`src/Dockerfile:2:40: COPY source "*.py" is left out of the context by src/.dockerignore:2 "*.py"; remove that pattern, or write !*.py behind it`}},
		"all but": {"FROM scratch\nCOPY train.py data/raw data/a.csv requirements.txt /x/\n", []string{"src/.dockerignore", "*\n!train.py\n!data/raw/x.bin\n"}, []string{
			`src/Dockerfile:2:24: COPY source "data/a.csv" is left out of the context by src/.dockerignore:1 "*"; remove that pattern, or write !data/a.csv behind it`,
			`src/Dockerfile:2:35: COPY source "requirements.txt" is left out of the context by src/.dockerignore:1 "*"; remove that pattern, or write !requirements.txt behind it`}},
		"its own": {"FROM scratch\nCOPY train.py requirements.txt /x/\n", []string{"src/.dockerignore", "train.py", "src/Dockerfile.dockerignore", "requirements.txt"}, []string{
			`src/Dockerfile:2:15: COPY source "requirements.txt" is left out of the context by src/Dockerfile.dockerignore:1 "requirements.txt"; remove that pattern, or write !requirements.txt behind it`}},
		"ignored wrongly": {"FROM scratch\nCOPY train.py /x/\n", []string{"src/.dockerignore", "a\n[b\n"}, []string{
			`src/.dockerignore:2:1: "[b" is no pattern: syntax error in pattern`}},
		"ignored by a link": {"FROM scratch\nCOPY train.py /x/\n", []string{"src/.dockerignore@", ""}, []string{
			"warning: src/.dockerignore: the file is no regular file; what it leaves out of the context is not checked"}},
		"ignored at length": {"FROM scratch\nCOPY train.py /x/\n", []string{"src/.dockerignore", strings.Repeat("*.py\n", 2000)}, []string{
			"warning: src/.dockerignore: the file has more than 1000 lines or 65536 bytes; what it leaves out of the context is not checked"}},
		"no source, nothing read": {"FROM scratch\n", []string{"src/.dockerignore", "[b\n"}, []string{}},
	} {
		if diff := cmp.Diff(c.want, judge(t, c.text, c.more...)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	at := func(column int) pipeline.Field { return pipeline.Field{Set: true, Line: 2, Column: column} }
	image := pipeline.Image{Dockerfile: "src/Dockerfile", Context: "src", Tree: usual,
		Data:   []byte("ARG BASE=none\nFROM $BASE\nARG PYTHON\nARG FILE=nothing\nCOPY $FILE /x\n"),
		Args:   map[string]string{"BASE": "scratch", "PYTHN": "3", "FILE": "train.py", "http_proxy": "x"},
		ArgsAt: map[string]pipeline.Field{"BASE": at(1), "PYTHN": at(9), "FILE": at(20), "http_proxy": at(30)}}
	want := []string{"warning: .models.yaml:2:9: build.args.PYTHN is not declared by src/Dockerfile; did you mean PYTHON?"}
	if diff := cmp.Diff(want, check(t, image)); diff != "" {
		t.Error(diff)
	}
}

// hostile are files that were made to hurt: each is judged within a moment.
func hostile() map[string]string {
	deep := strings.Repeat("${a:-", 12_000) + strings.Repeat("}", 4_000)
	return map[string]string{
		"lines":           strings.Repeat("A\n", 500_000),
		"instructions":    "FROM a\n" + strings.Repeat("RUN x\n", 15_000),
		"one line":        "FROM a\nRUN " + strings.Repeat("x", 1_000_000),
		"continued":       "FROM a\nRUN " + strings.Repeat("x\\\n", 300_000),
		"comments within": "FROM a\nRUN x \\\n" + strings.Repeat("#\n", 100_000),
		"stages":          "FROM a AS s0\n" + strings.Repeat("FROM s0 AS s0\n", 1_900),
		"sources":         "FROM a\nCOPY " + strings.Repeat("a ", 32_000) + "/x\n",
		"patterns":        "FROM a\n" + strings.Repeat("COPY "+strings.Repeat("*a", 20_000)+" /x\n", 20),
		"classes":         "FROM a\nCOPY " + strings.Repeat("[^", 20_000) + " /x\n",
		"nested":          "FROM a\nENV a=" + deep + "\n",
		"nested heredocs": "FROM a\nRUN <<" + deep + "\n",
		"heredocs":        "FROM a\nRUN " + strings.Repeat("<<a ", 16_000) + "\n" + strings.Repeat("a\n", 16_000),
		"quotes":          "FROM a\nLABEL " + strings.Repeat(`"`, 60_000) + "\n",
		"labels":          "FROM a\nLABEL " + strings.Repeat("a=b ", 16_000) + "\n",
		"growing":         "FROM a\nENV a0=" + strings.Repeat("x", 1000) + "\n" + growing(1_900),
		"brackets":        "FROM a\nCMD " + strings.Repeat("[", 60_000) + "\n",
	}
}

// growing is a chain of variables each of which holds the one before twice.
func growing(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "ENV a%d=$a%d$a%d\n", i+1, i, i)
	}
	return b.String()
}

func TestHostile(t *testing.T) {
	for name, text := range hostile() {
		began := time.Now()
		got := judge(t, text)
		t.Logf("%s: %v, %d faults", name, time.Since(began).Round(time.Millisecond), len(got))
		for _, line := range got {
			if len(line) > 1000 {
				t.Errorf("%s: a fault of %d bytes", name, len(line))
			}
		}
	}
}

// endless is a context whose every folder holds a folder, and names that lead
// out of it.
type endless struct{ lists *int }

func (endless) File(_ context.Context, p string) (gitmodels.TreeFile, error) {
	if path.Base(p) == ".dockerignore" {
		return gitmodels.TreeFile{Path: p, Kind: gitmodels.KindFile, Data: []byte("*\n!nothing/x\n")}, nil
	}
	return gitmodels.TreeFile{Path: p, Kind: gitmodels.KindAbsent}, nil
}

func (e endless) List(_ context.Context, folder string, limit int) ([]gitmodels.TreeEntry, error) {
	if *e.lists++; path.Clean(folder) != folder || !strings.HasPrefix(folder+"/", "src/") {
		return nil, errors.New("asked for " + folder)
	}
	return []gitmodels.TreeEntry{{Name: "..", Kind: gitmodels.KindFolder}, {Name: "", Kind: gitmodels.KindFolder},
		{Name: "a", Kind: gitmodels.KindFolder}, {Name: "b", Kind: gitmodels.KindFolder}, {Name: "x/../../y", Kind: gitmodels.KindFolder}}, nil
}

func TestEndlessContext(t *testing.T) {
	t.Parallel()
	lists := 0
	got := check(t, pipeline.Image{Dockerfile: "src/Dockerfile", Context: "src", Tree: endless{&lists},
		Data: []byte("FROM scratch\nCOPY a /x\nCOPY */*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/* /x\n")})
	if len(got) > 0 || lists > 200_000 {
		t.Errorf("%d lists, %v", lists, got)
	}
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	image := pipeline.Image{Dockerfile: "src/Dockerfile", Context: "nowhere", Data: []byte("FROM a\nCOPY a /x\n"), Tree: usual}
	if _, _, err := dockerfile.Check(t.Context(), image); err == nil {
		t.Error("a context that cannot be listed passes")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := dockerfile.Check(ctx, image); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func FuzzCheck(f *testing.F) {
	for _, seed := range []string{"", "FROM a\nCOPY x* [\"y\"] ../z /w\n", "# escape=`\nFROM ${A:-b} AS c\nADD <<E /x\nE\n",
		"# syntax=docker/dockerfile:1\nARG A\nFROM $A\nENV B=${A#x} C=$B\nCOPY --from=0 $C /x\nRUN --mount=type=bind,from=x true\n",
		"FROM a\nHEALTHCHECK --interval=1s CMD x\nONBUILD COPY a b\nSHELL [\"a\"]\n"} {
		f.Add(seed, "*\n!data/a.csv\n")
	}
	f.Fuzz(func(t *testing.T, text, ignore string) {
		files := maps.Clone(usual)
		files["src/.dockerignore"] = ignore
		faults, warnings, err := dockerfile.Check(t.Context(), pipeline.Image{Dockerfile: "src/Dockerfile", Data: []byte(text), Context: "src", Tree: files})
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Count(text, "\n") + 1
		for _, fault := range append(faults, warnings...) {
			if fault.Line < 0 || fault.File == "src/Dockerfile" && fault.Line > lines || fault.Message == "" ||
				gitmodels.Printable(fault.String(), 0) != fault.String() || strings.Contains(fault.Message, "its parser failed") {
				t.Errorf("%q: %v", text, fault)
			}
		}
	})
}

// The images that a Dockerfile builds on, wherever they stand.
func TestBases(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"FROM scratch\nCOPY . /\n":                                     "",
		"ARG V=3\nFROM base:$V AS a\nFROM a\nCOPY --from=a /x /y\n":    "base:3",
		"FROM a@sha256:00 AS a\nFROM b\nCOPY --from=tools:1 /x /y\n":   "a@sha256:00 b tools:1",
		"FROM b AS c\nFROM b\nRUN --mount=from=c x\nCOPY --from=0 / /": "b",
		"ARG WHAT\nFROM a$WHAT\nFROM b\n":                              "b",
		"FROM a\nRUN --mount=type=bind,from=d,target=/d x\n":           "a d",
	} {
		got, err := dockerfile.Bases(t.Context(), pipeline.Image{Dockerfile: "Dockerfile", Data: []byte(text)})
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	if _, err := dockerfile.Bases(t.Context(), pipeline.Image{Dockerfile: "Dockerfile", Data: []byte("FROM a\nCOPPY x\n")}); gitmodels.KindOf(err) != gitmodels.Invalid {
		t.Errorf("of a mistake: %v", err)
	}
}
