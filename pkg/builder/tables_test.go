package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// aJob is a job with a folder that goes away with the test.
func aJob(t *testing.T, name string, b gitmodels.Build) *job {
	t.Helper()
	j, err := newJob(name, Options{Temp: t.TempDir(), Path: "/usr/bin:/bin", Network: "none"}, b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.remove(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func TestBuildxArgv(t *testing.T) {
	t.Parallel()
	b := gitmodels.Build{Image: "127.0.0.1:5000/a/b:1234567", Dockerfile: "src/Dockerfile", Args: map[string]string{"B": "2", "A": "a b"},
		Labels: map[string]string{"x": "y"}, Platform: "linux/amd64", CacheFrom: []string{"127.0.0.1:5000/a/b:latest"}, Secrets: map[string]string{"token": "/etc/token"}}
	common := []string{"-f", "src/Dockerfile", "--build-arg", "A=a b", "--build-arg", "B=2", "--label", "x=y", "--platform", "linux/amd64", "--network", "none", "--secret", "id=token,src=/etc/token"}
	head := []string{"docker", "buildx", "build", "--progress", "plain", "--provenance=false", "--sbom=false", "--output"}
	output := "type=image,name=127.0.0.1:5000/a/b:1234567,push=true"
	cache := "type=registry,ref=127.0.0.1:5000/a/b:buildcache"
	for name, c := range map[string]struct {
		cache string
		plain bool
		out   string
		tail  []string
	}{
		"inline":       {"inline", false, output, []string{"--cache-to", "type=inline", "--cache-from", "type=registry,ref=127.0.0.1:5000/a/b:latest"}},
		"registry":     {"registry", false, output, []string{"--cache-to", cache + ",mode=max", "--cache-from", cache, "--cache-from", "type=registry,ref=127.0.0.1:5000/a/b:latest"}},
		"plain inline": {"inline", true, output + ",registry.insecure=true", []string{"--cache-to", "type=inline", "--cache-from", "type=registry,ref=127.0.0.1:5000/a/b:latest,registry.insecure=true"}},
		"none":         {"none", false, output, nil},
	} {
		b.Cache, b.Plain = c.cache, c.plain
		want := append(append(append([]string{}, head...), c.out, "--metadata-file", "/m"), common...)
		want = append(append(want, c.tail...), "-")
		if diff := cmp.Diff(want, aJob(t, "buildx", b).buildxArgv("/m")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestMetadataDigest(t *testing.T) {
	t.Parallel()
	want := "sha256:" + strings.Repeat("0a", 32)
	got, err := metadataDigest([]byte(`{"buildx.build.ref":"default/x","containerimage.config.digest":"sha256:ff","containerimage.digest":"` + want + `","image.name":"a"}`))
	if got != want || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := metadataDigest([]byte(`{"containerimage.digest":`)); err == nil {
		t.Error("half a file is read as whole")
	}
}

const someDockerfile = `# escape=\
ARG V=1
FROM base:1 AS one
RUN make \
    # a comment within
    all

RUN echo twice
RUN echo twice
RUN <<END
echo in a here-document
RUN not an instruction
END
COPY --from=one /a /b
RUN pip install $V "${V}"
`

func TestLineOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n, text string
		want    int
	}{
		{"3/8", "RUN make     all", 4}, {"1/8", "ARG V=1", 2}, {"2/8", "FROM base:1 AS one", 3}, {"", "FROM base:1", 3},
		{"4/8", "RUN echo twice", 8}, {"5/8", "RUN echo twice", 9}, {"2/5", "RUN echo twice", 0},
		{"7/8", "COPY --from=one /a /b", 14}, {"", `RUN pip install 1 "1"`, 15}, {"", "RUN nowhere", 0},
	} {
		if got := lineOf([]byte(someDockerfile), step{c.n, c.text}); got != c.want {
			t.Errorf("%s %s: line %d, want %d", c.n, c.text, got, c.want)
		}
	}
}

// failing is a child's failure, which the words of its log explain.
func failing(t *testing.T, j *job) error {
	t.Helper()
	err := j.run(t.Context(), call{argv: []string{"false"}, out: io.Discard})
	if err == nil {
		t.Fatal("false succeeded")
	}
	return err
}

// TestBuildFault reads logs as builders print them that are not on every
// machine, and faults that cannot be made here.
func TestBuildFault(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		talk dialect
		log  string
		kind gitmodels.Kind
		want string
	}{
		"buildx, a step": {buildkit, "#7 [base 2/5] RUN make all\n#7 0.31 cc: not found\n#8 [base 3/5] RUN echo twice\n#7 ERROR: process \"/bin/sh -c make all\" did not complete successfully: exit code: 2\n------\n > [base 2/5] RUN make all:\n0.31 cc: not found\n------\nDockerfile:4\n--------------------\n   4 | >>> RUN make\n--------------------\nERROR: failed to solve: process \"/bin/sh -c make all\" did not complete successfully: exit code: 2\n",
			gitmodels.Invalid, "build: step 2/5 RUN make all (line 4 of src/Dockerfile) ended with status 2: cc: not found"},
		"buildx, a step beside another": {buildkit, "#3 [1/3] FROM base:1\n#4 [2/3] COPY --from=one /a /b\n#4 ERROR: \"/a\" not found: not found\n\n#3 [1/3] FROM base:1\n#3 1.0 working\n#3 CANCELED\n------\n > [2/3] COPY --from=one /a /b:\n------\nfailed to compute cache key: \"/c\" not found: not found\n",
			gitmodels.Invalid, "build: step 2/3 COPY --from=one /a /b (line 14 of src/Dockerfile) failed: \"/c\" not found: not found"},
		"buildx, no base": {buildkit, "#2 [internal] load metadata for reg:5000/base:1\n#2 ERROR: reg:5000/base:1: not found\n------\nERROR: failed to solve: reg:5000/base:1: failed to resolve source metadata for reg:5000/base:1: reg:5000/base:1: not found\n",
			gitmodels.Invalid, "build: step FROM reg:5000/base:1 of src/Dockerfile: no such image"},
		"buildx, a private base": {buildkit, "#2 [internal] load metadata for reg:5000/base:1\n#2 ERROR: pull access denied\n------\nERROR: failed to solve: reg:5000/base:1: pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed\n",
			gitmodels.Forbidden, "build: step FROM reg:5000/base:1 of src/Dockerfile: the registry wants other credentials, or there is no such image"},
		"killed": {classic, "Step 3/8 : RUN make     all\n ---> Running in 0123456789ab\nworking\nThe command '/bin/sh -c make     all' returned a non-zero code: 137\n",
			gitmodels.Invalid, "build: step 3/8 RUN make all (line 4 of src/Dockerfile) ended with status 137 (killed, perhaps for want of memory): working"},
		"full in a step": {ocibuild, "STEP 3/8: RUN make all\ndd: writing: No space left on device\nError: building at STEP \"RUN make all\": while running runtime: exit status 1\n",
			gitmodels.Waiting, "builder: disk: no space left on the device in step 3/8 RUN make all (line 4 of src/Dockerfile)"},
		"full in the builder": {ocibuild, "STEP 3/8: RUN make all\nError: committing container: writing blob: write /x: no space left on device\n",
			gitmodels.Waiting, "builder: disk: no space left on the device in step 3/8 RUN make all (line 4 of src/Dockerfile)"},
		"said to be full, in a step": {ocibuild, "STEP 3/8: RUN make all\ndd: writing: No space left on device\nError: building at STEP \"RUN make all\": while running runtime: exit status 1\n",
			gitmodels.Invalid, "build: step 3/8 RUN make all (line 4 of src/Dockerfile) ended with status 1: dd: writing: No space left on device"},
		"said to be full, a file's name": {buildkit, "#4 [2/3] COPY --from=one /a /b\n#4 ERROR: x\nERROR: failed to solve: failed to compute cache key: \"/no space left on device\" not found: not found\n",
			gitmodels.Invalid, "build: step 2/3 COPY --from=one /a /b (line 14 of src/Dockerfile) failed: \"/no space left on device\" not found: not found"},
		"a file's name that plays the daemon": {classic, "Step 7/8 : COPY --from=one /a /b\nCOPY failed: stat failed to dial: file does not exist\n",
			gitmodels.Invalid, "build: step 7/8 COPY --from=one /a /b (line 14 of src/Dockerfile) failed: stat failed to dial: file does not exist"},
		"a path of this host": {buildkit, "#4 [2/3] COPY --from=one /a /b\n#4 ERROR: x\nERROR: failed to solve: open /srv/docker/overlay2/12e4567/merged/etc/passwd: no such file or directory\n",
			gitmodels.Invalid, "build: step 2/3 COPY --from=one /a /b (line 14 of src/Dockerfile) failed: open /etc/passwd: no such file or directory"},
		"no shell": {ocibuild, "STEP 3/8: RUN make all\nerror running container: from /usr/bin/runc creating container for [/bin/sh -c make all]: time=\"x\" level=error msg=\"runc create failed: exec: \\\"/bin/sh\\\": no such file\"\n: exit status 1\nError: building at STEP \"RUN make all\": while running runtime: exit status 1\n",
			gitmodels.Invalid, "build: step 3/8 RUN make all (line 4 of src/Dockerfile) ended with status 1: runc create failed: exec: \"/bin/sh\": no such file"},
		"no user": {classic, "Step 3/8 : RUN make     all\n ---> Running in 0123456789ab\nunable to find user 12e4567: no matching entries in passwd file\n",
			gitmodels.Invalid, "build: step 3/8 RUN make all (line 4 of src/Dockerfile) cannot start: unable to find user 12e4567: no matching entries in passwd file"},
		"no program": {classic, "Step 3/8 : RUN make     all\nfailed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"make\": executable file not found in $PATH: unknown\n",
			gitmodels.Invalid, "build: step 3/8 RUN make all (line 4 of src/Dockerfile) cannot start: unable to start container process: exec: \"make\": executable file not found in $PATH: unknown"},
		"no runtime here": {ocibuild, "STEP 3/8: RUN make all\nError: building at STEP \"RUN make all\": exec: \"runc\": executable file not found in $PATH\n", gitmodels.Internal, ""},
		"an URL": {buildkit, "failed to load cache key: Get \"http://x/\": dial tcp: connect: connection refused\n",
			gitmodels.Invalid, "build: an ADD of src/Dockerfile failed: Get \"http://x/\": dial tcp: connect: connection refused"},
		"a base's file": {buildkit, "#4 [2/3] RUN --mount=type=bind,source=/a,target=/b make\n#4 ERROR: x\nERROR: failed to solve: failed to compute cache key: \"/a\" not found: not found\n",
			gitmodels.Invalid, "build: step 2/3 RUN --mount=type=bind,source=/a,target=/b make of src/Dockerfile failed: \"/a\" not found: not found"},
		"bad text": {classic, "Error response from daemon: dockerfile parse error line 3: Unknown flag: foo\n", gitmodels.Invalid, "build: src/Dockerfile: line 3: Unknown flag: foo"},
		"buildx, a push": {buildkit, "#7 [base 2/5] RUN make all\n#7 DONE 0.1s\n#9 exporting to image\n#9 ERROR: failed to push\nERROR: failed to solve: failed to push r/a:1: unexpected status: 401 Unauthorized\n",
			gitmodels.Forbidden, "registry: r refuses to take r/a:1 with these credentials"},
		"the daemon went": {classic, "Step 3/8 : RUN make     all\nerror during connect: Post \"http://x\": EOF\n", gitmodels.Waiting, "builder: tests went away during the build"},
		"a step that plays the builder": {ocibuild, "STEP 3/8: RUN make all\nError: unauthorized: authentication required\nError: building at STEP \"RUN make all\": while running runtime: exit status 1\n",
			gitmodels.Invalid, "build: step 3/8 RUN make all (line 4 of src/Dockerfile) ended with status 1"},
		"nothing known": {ocibuild, "STEP 3/8: RUN make all\nError: something new\n", gitmodels.Internal, ""},
	} {
		j := aJob(t, "tests", gitmodels.Build{Image: "r/a:1", Dockerfile: "Dockerfile", Shown: "src/Dockerfile"})
		if strings.HasPrefix(name, "full") {
			j.o.NeedFree = 1 << 62
		}
		j.text.Store([]byte(someDockerfile))
		if _, err := io.WriteString(j.printing(c.talk), c.log); err != nil {
			t.Fatal(err)
		}
		var e *gitmodels.Error
		if err := j.buildFault(failing(t, j)); !errors.As(err, &e) || e.Kind != c.kind || e.Message != c.want {
			t.Errorf("%s: got kind %d: %v\nwant kind %d: %s", name, e.Kind, err, c.kind, c.want)
		}
	}
}

// TestTranscript checks that the log gets every byte at once and that long lines
// cost no memory.
func TestTranscript(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	tr := &transcript{log: &out, talk: ocibuild}
	tr.Write([]byte("STEP 1/2: RUN x\n10%\r20%"))
	if out.String() != "STEP 1/2: RUN x\n10%\r20%" {
		t.Errorf("the log got %q", out.String())
	}
	tr.Write([]byte("\n"))
	if tr.said != "20%" || tr.step.text != "RUN x" {
		t.Errorf("said %q in %q", tr.said, tr.step.text)
	}
	tr.log = io.Discard
	for range 100 {
		tr.Write(bytes.Repeat([]byte{'x'}, 1<<20))
	}
	if cap(tr.line) > 4*maxLine {
		t.Errorf("a line takes %d bytes", cap(tr.line))
	}
	tr.log = brokenWriter{}
	if n, err := tr.Write([]byte("abc")); n != 3 || err != nil || tr.broken == nil {
		t.Errorf("a broken log blocks the child: %d, %v, %v", n, err, tr.broken)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

// nullSink keeps nothing.
type nullSink struct{}

func (nullSink) member(_ *tar.Header, content io.Reader) error {
	_, err := io.Copy(io.Discard, content)
	return err
}
func (nullSink) close() error { return nil }

func TestMembers(t *testing.T) {
	t.Parallel()
	typed := func(kind byte, name string) entry {
		return entry{tar.Header{Typeflag: kind, Name: name, Linkname: "Dockerfile", Mode: 0o644}, ""}
	}
	d := file("Dockerfile", "FROM scratch\n")
	for name, c := range map[string]struct {
		list []entry
		want string // empty: taken
	}{
		"good":                       {[]entry{typed(tar.TypeDir, "a/"), file("a/b", "x"), link("a/l", "../a/b"), link("l", "a")}, ""},
		"a global header":            {[]entry{{tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "12e4567"}}, ""}}, ""},
		"the root":                   {[]entry{typed(tar.TypeDir, "./"), file("./a", "x")}, ""},
		"a folder after its members": {[]entry{file("a/b", "x"), typed(tar.TypeDir, "a/")}, ""},
		"absolute":                   {[]entry{file("/etc/x", "x")}, "not one within"},
		"up":                         {[]entry{file("a/../../x", "x")}, "not one within"},
		"twice":                      {[]entry{file("a", "x"), file("a", "y")}, "listed twice"},
		"twice with a dot":           {[]entry{file("a", "x"), file("./a", "y")}, "listed twice"},
		"below a file":               {[]entry{file("a", "x"), file("a/b", "y")}, "is not a folder"},
		"below a link":               {[]entry{link("a", "b"), file("a/b", "y")}, "is not a folder"},
		"a link for a folder":        {[]entry{file("a/b", "x"), link("a", "b")}, "it is a folder too"},
		"a link to the root":         {[]entry{link("a", "/")}, "is absolute"},
		"a link out":                 {[]entry{link("a/b", "../../x")}, "leads out"},
		"a link down and up":         {[]entry{link("a", "b/../../x")}, "goes up after"},
		"a hard link":                {[]entry{typed(tar.TypeLink, "a")}, "hard links"},
		"a device":                   {[]entry{typed(tar.TypeChar, "a")}, "neither file"},
		"a pipe":                     {[]entry{typed(tar.TypeFifo, "a")}, "neither file"},
		"too many":                   {[]entry{file("a/b/c/d/e/f", "x")}, "more than 6"},
		"too large":                  {[]entry{file("a", strings.Repeat("x", 2<<20))}, "over the limit of 2.0 MiB"},
	} {
		_, err := readContext(t.Context(), gitmodels.Build{Context: bytes.NewReader(archive(t, append(c.list, d)...)), Dockerfile: "Dockerfile"}, ContextLimit{Members: 6, Bytes: 2 << 20}, nullSink{})
		var e *gitmodels.Error
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (!errors.As(err, &e) || e.Kind != gitmodels.Invalid || !strings.Contains(e.Message, c.want)):
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	for name, d := range map[string][]entry{
		"not in the context": {file("a", "")}, "not a regular file": {link("Dockerfile", "a")},
		"1048577 bytes, the limit is 1048576": {file("Dockerfile", strings.Repeat("#", maxDockerfile+1))},
	} {
		_, err := readContext(t.Context(), gitmodels.Build{Context: bytes.NewReader(archive(t, d...)), Dockerfile: "Dockerfile", Shown: "src/Dockerfile"}, ContextLimit{6, 1 << 30}, nullSink{})
		if err == nil || !strings.Contains(err.Error(), "build: src/Dockerfile is "+name) {
			t.Errorf("got %v, want %s", err, name)
		}
	}
}

// TestUnpack checks what buildah and podman find in the folder.
func TestUnpack(t *testing.T) {
	t.Parallel()
	run := file("a/run", "#!")
	run.h.Mode = 0o4755
	j := aJob(t, "buildah", gitmodels.Build{Dockerfile: "Dockerfile"})
	j.o.Context = ContextLimit{100, 1 << 20}
	j.b.Context = bytes.NewReader(archive(t, file("Dockerfile", "FROM scratch\n"), run, link("a/l", "run")))
	dir, err := j.unpack(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "a/l"))
	if err != nil || info.Mode() != 0o755 || info.ModTime().Unix() != 1700000000 {
		t.Errorf("%v, %v", info, err)
	}
	if err := j.remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(j.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	good := gitmodels.Build{Image: "reg.example:5000/a/b_c:1", Dockerfile: "src/Dockerfile"}
	if err := validate(good); err != nil {
		t.Error(err)
	}
	for what, spoil := range map[string]func(b *gitmodels.Build){
		"image":    func(b *gitmodels.Build) { b.Image = "--privileged/x:1" },
		"no tag":   func(b *gitmodels.Build) { b.Image = "reg:5000/a" },
		"comma":    func(b *gitmodels.Build) { b.Image = "reg/a,push=false:1" },
		"file":     func(b *gitmodels.Build) { b.Dockerfile = "../Dockerfile" },
		"flag":     func(b *gitmodels.Build) { b.Dockerfile = "-" },
		"argument": func(b *gitmodels.Build) { b.Args = map[string]string{"A=B": ""} },
		"label":    func(b *gitmodels.Build) { b.Labels = map[string]string{"a": "\x00"} },
		"platform": func(b *gitmodels.Build) { b.Platform = "linux" },
		"cache":    func(b *gitmodels.Build) { b.Cache = "gha" },
		"from":     func(b *gitmodels.Build) { b.CacheFrom = []string{"x"} },
		"secret":   func(b *gitmodels.Build) { b.Secrets = map[string]string{"a": "/x,env=HOME"} },
		"auth":     func(b *gitmodels.Build) { b.AuthFile = "config.json" },
	} {
		b := good
		spoil(&b)
		var e *gitmodels.Error
		if err := validate(b); !errors.As(err, &e) || e.Kind != gitmodels.Invalid {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// TestFind checks that what is not here is told in words and in order.
func TestFind(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	_, err := Find(context.Background(), Options{Temp: t.TempDir(), Path: empty})
	want := "builder: buildah is not installed; podman is not installed; buildx is not installed: there is no docker; docker is not installed"
	var e *gitmodels.Error
	if !errors.As(err, &e) || e.Kind != gitmodels.Waiting || e.Message != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := New("kaniko", Options{}); err == nil || !strings.Contains(err.Error(), `models.builder "kaniko" is none of auto, buildah`) {
		t.Errorf("got %v", err)
	}
	o := testOptions()
	o.Env = map[string]string{"DOCKER_HOST": "unix://" + empty + "/none.sock"}
	if _, err := Find(context.Background(), o, "docker"); err == nil || !strings.Contains(err.Error(), "none.sock") && !strings.Contains(err.Error(), "not installed") {
		t.Errorf("got %v", err)
	}
}

// TestTemp checks that New makes the folder for builds, and sees through links.
func TestTemp(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if err := os.Symlink(home, home+"/link"); err != nil {
		t.Fatal(err)
	}
	b, err := New("docker", Options{Temp: home + "/link/builds"})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(home + "/builds")
	if err != nil || info.Mode() != os.ModeDir|0o700 || b.(*builder).o.Temp != home+"/builds" {
		t.Errorf("got %v, %v, %s", info, err, b.(*builder).o.Temp)
	}
}

func TestDiskFree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := diskFree(dir+"/not/there/yet", 1); err != nil {
		t.Error(err)
	}
	var e *gitmodels.Error
	if err := diskFree(dir, 1<<62); !errors.As(err, &e) || e.Kind != gitmodels.Waiting || !strings.Contains(e.Message, dir+" has ") || !strings.Contains(e.Message, "GiB free, a build wants 4294967296.0 GiB") {
		t.Errorf("got %v", err)
	}
}

// TestShort checks that podman gets a folder that it takes wherever Temp lies.
func TestShort(t *testing.T) {
	t.Parallel()
	temp := filepath.Join(t.TempDir(), strings.Repeat("long", 20))
	if err := os.Mkdir(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	j, err := newJob("podman", Options{Temp: temp}, noBuild)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(j.short)
	if err != nil || len(j.short) > maxShort || info.Mode().Perm() != 0o700 {
		t.Errorf("got %s, %v, %v", j.short, info, err)
	}
	if err := j.remove(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{j.dir, j.short} {
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
}

// TestSlots checks that two builds never share a storage.
func TestSlots(t *testing.T) {
	t.Parallel()
	j, k := aJob(t, "podman", noBuild), aJob(t, "podman", noBuild)
	j.o.Storage = t.TempDir()
	k.o.Storage = j.o.Storage
	a, err := j.takeSlot()
	if err != nil {
		t.Fatal(err)
	}
	b, err := k.takeSlot()
	if err != nil {
		t.Fatal(err)
	}
	if a.dir == b.dir || !a.kept {
		t.Errorf("both got %s", a.dir)
	}
	first := a.dir
	if err := a.leave(j); err != nil {
		t.Fatal(err)
	}
	again, err := j.takeSlot()
	if err != nil || again.dir != first {
		t.Errorf("got %v, %v, want %s again", again, err, first)
	}
	if err := errors.Join(again.leave(j), b.leave(k)); err != nil {
		t.Error(err)
	}
}
