package hook

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const (
	zero = "0000000000000000000000000000000000000000"
	one  = "1111111111111111111111111111111111111111"
)

func TestParseLines(t *testing.T) {
	t.Parallel()
	got, err := ParseLines([]byte(zero+" "+one+" refs/heads/models\n"+one+" "+zero+" refs/heads/gr\xc3\xb6\xff\n"), 40)
	want := []gitmodels.Update{{Old: zero, New: one, Ref: "refs/heads/models"}, {Old: one, New: zero, Ref: "refs/heads/gr\xc3\xb6\xff"}}
	if err != nil || !cmp.Equal(want, got) {
		t.Errorf("%v, %s", err, cmp.Diff(want, got))
	}
	if got, err := ParseLines(nil, 40); err != nil || got != nil {
		t.Errorf("nothing: %v, %v", got, err)
	}
	long := zero + zero[:24] + " " + one + one[:24] + " refs/heads/models\n"
	if _, err := ParseLines([]byte(long), 64); err != nil {
		t.Errorf("SHA-256: %v", err)
	}
	for name, c := range map[string]struct{ input, want string }{
		"breaks off":   {zero + " " + one + " refs/heads/a", "line 1 breaks off"},
		"second":       {zero + " " + one + " refs/heads/a\nx\n", "line 2: 1 fields"},
		"empty line":   {"\n", "1 fields"},
		"tab":          {zero + "\t" + one + "\trefs/heads/a\n", "1 fields"},
		"two spaces":   {zero + "  " + one + " refs/heads/a\n", "4 fields"},
		"upper case":   {strings.ToUpper("abc") + zero[3:] + " " + one + " refs/heads/a\n", "hexadecimal"},
		"twice":        {zero + " " + one + " refs/heads/a\n" + one + " " + zero + " refs/heads/a\n", "stands on two lines"},
		"SHA-256":      {long, "has 64 digits"},
		"carriage":     {zero + " " + one + " refs/heads/a\r\n", "holds the character"},
		"NUL":          {zero + " " + one + " refs/heads/a\x00b\n", "holds the character"},
		"no prefix":    {zero + " " + one + " HEAD\n", "refs/"},
		"dots":         {zero + " " + one + " refs/heads/../models\n", "dot"},
		"dots inside":  {zero + " " + one + " refs/heads/a..b\n", "two dots"},
		"lock":         {zero + " " + one + " refs/heads/a.lock\n", ".lock"},
		"empty part":   {zero + " " + one + " refs/heads//a\n", "empty part"},
		"slash at end": {zero + " " + one + " refs/heads/\n", "empty part"},
		"dot at end":   {zero + " " + one + " refs/heads/a.\n", "ends with a dot"},
		"braces":       {zero + " " + one + " refs/heads/@{1}\n", "@{"},
		"long":         {zero + " " + one + " refs/heads/" + strings.Repeat("a", 5000) + "\n", "bound"},
		"too many":     {many(), "more than"},
	} {
		if got, err := ParseLines([]byte(c.input), 40); err == nil || got != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := ReadInput(strings.NewReader(strings.Repeat("x", maxInput+1))); err == nil {
		t.Error("endless input was read")
	}
}

func many() string {
	var b strings.Builder
	for i := range maxLines + 1 {
		fmt.Fprintf(&b, "%s %s refs/heads/%d\n", zero, one, i)
	}
	return b.String()
}

// FuzzLines: what is accepted is exactly what was written, in git's own form.
func FuzzLines(f *testing.F) {
	f.Add([]byte(zero+" "+one+" refs/heads/models\n"), false)
	f.Add([]byte(zero+" "+one+" refs/heads/a\n"+one+" "+zero+" refs/tags/b\n"), false)
	f.Add([]byte(zero+zero[:24]+" "+one+one[:24]+" refs/heads/models\n"), true)
	f.Add([]byte(zero+" "+one+" refs/heads/a"), false)
	f.Add([]byte("\n\n"), false)
	f.Fuzz(func(t *testing.T, raw []byte, long bool) {
		n := 40
		if long {
			n = 64
		}
		updates, err := ParseLines(raw, n)
		if err != nil {
			if updates != nil {
				t.Error("updates beside an error")
			}
			return
		}
		var back bytes.Buffer
		for _, u := range updates {
			fmt.Fprintf(&back, "%s %s %s\n", u.Old, u.New, u.Ref)
			if len(u.Old) != n || len(u.New) != n || strings.Contains(string(u.Ref), "..") || !strings.HasPrefix(string(u.Ref), "refs/") {
				t.Errorf("accepted: %+v", u)
			}
		}
		if !bytes.Equal(back.Bytes(), raw) {
			t.Errorf("%q became %q", raw, back.Bytes())
		}
	})
}

func TestPushOptions(t *testing.T) {
	t.Parallel()
	e := Edges{Env: []string{"GIT_PUSH_OPTION_COUNT=2", "GIT_PUSH_OPTION_0=skip", "GIT_PUSH_OPTION_1=a=b"}}
	if got, err := e.PushOptions(); err != nil || !cmp.Equal([]string{"skip", "a=b"}, got) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := (Edges{}).PushOptions(); err != nil || got != nil {
		t.Errorf("not negotiated: %v, %v", got, err)
	}
	for _, env := range [][]string{
		{"GIT_PUSH_OPTION_COUNT="}, {"GIT_PUSH_OPTION_COUNT=-1"}, {"GIT_PUSH_OPTION_COUNT=x"}, {"GIT_PUSH_OPTION_COUNT=1"},
		{"GIT_PUSH_OPTION_COUNT=999999999"}, {"GIT_PUSH_OPTION_COUNT=1", "GIT_PUSH_OPTION_0=" + strings.Repeat("x", 2000)},
	} {
		if got, err := (Edges{Env: env}).PushOptions(); err == nil {
			t.Errorf("%v: %v", env, got)
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	b := (&Block{}).Say("%s", strings.Repeat("wörter ", 30)).Hint("git push").Hint(strings.Repeat("x", 5000))
	text := Print([]*Block{b}, (&Block{}).Say("end"))
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, l := range lines {
		if utf8.RuneCountInString(l) > Columns || !strings.HasPrefix(l, "git-models: ") {
			t.Errorf("line %d: %s", i, l)
		}
	}
	if lines[len(lines)-1] != "git-models: end" || lines[len(lines)-2] != "git-models: hint: git push" {
		t.Errorf("end:\n%s", text)
	}
	var blocks []*Block
	for i := range 100 {
		blocks = append(blocks, (&Block{}).Say("%d %s", i, strings.Repeat("x", 50)))
	}
	text = Print(blocks, (&Block{}).Say("nothing moved"))
	if len(text) > MaxWords || !strings.HasSuffix(text, "git-models: nothing moved\n") || !strings.Contains(text, "… and ") {
		t.Errorf("%d bytes:\n%s", len(text), text)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	for i := range 2 {
		if err := Log(home, "pre-receive", fmt.Sprint(i), "/srv/a\nb.git", fmt.Errorf("evil\x1b[0m\nline")); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(home, "log", "hooks.log")
	b, err := os.ReadFile(path)
	if err != nil || strings.Count(string(b), "\n") != 2 || strings.ContainsRune(string(b), '\x1b') {
		t.Errorf("%q, %v", b, err)
	}
	// It never grows without bound, and follows no link.
	if err := os.Truncate(path, maxLog+1); err != nil {
		t.Fatal(err)
	}
	if err := Log(home, "pre-receive", "3", "/", os.ErrInvalid); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 1000 {
		t.Error(info, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(home, "elsewhere"), path); err != nil {
		t.Fatal(err)
	}
	if err := Log(home, "pre-receive", "4", "/", os.ErrInvalid); err == nil {
		t.Error("it followed a link")
	}
	// Nor does it wait for a reader of a pipe, or fill one.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if err := Log(home, "pre-receive", "6", "/", os.ErrInvalid); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a pipe: %v", err)
	}
	if err := Log("", "pre-receive", "5", "/", os.ErrInvalid); err == nil {
		t.Error("no home, no error")
	}
}

func TestChain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "post-receive"+strangerSuffix)
	script := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	e := Edges{Stdout: &out, Stderr: &out, Env: []string{"GIT_DIR=x", "PATH=" + os.Getenv("PATH")}, Dir: dir, Program: "./post-receive"}
	chain := func(input string) int {
		t.Helper()
		out.Reset()
		status, err := e.Chain("post-receive", []byte(input))
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	if status := chain("x"); status != 0 || out.Len() > 0 {
		t.Errorf("none there: %d, %s", status, &out)
	}
	script("#!/bin/sh\nexit 4\n", 0o644)
	if status := chain("x"); status != 0 {
		t.Errorf("not executable: %d", status)
	}
	script("#!/bin/sh\ncat; echo $GIT_DIR; exit 4\n", 0o755)
	if status := chain("line\n"); status != 4 || out.String() != "line\nx\n" {
		t.Errorf("%d, %q", status, &out)
	}
	script("#!/bin/sh\nkill -9 $$\n", 0o755)
	if status := chain(""); status == 0 {
		t.Error("a killed hook passed")
	}
	// One that does not read its input is none the worse for it.
	script("#!/bin/sh\nexit 0\n", 0o755)
	if status := chain(strings.Repeat("x", 1<<20)); status != 0 {
		t.Errorf("it read nothing: %d", status)
	}
	script("no program\n", 0o755)
	if _, err := e.Chain("post-receive", nil); err == nil {
		t.Error("a file that is no program passed")
	}
}

// The shim says where the hook stands; nobody else hears of it.
func TestProcess(t *testing.T) {
	t.Setenv(started, "hooks/pre-receive")
	e, err := Process()
	if err != nil {
		t.Fatal(err)
	}
	if _, there := e.Lookup(started); there || os.Getenv(started) != "" || e.Program != "hooks/pre-receive" {
		t.Errorf("program %q, environment %q", e.Program, e.Env)
	}
	if e, err = Process(); err != nil || e.Program != os.Args[0] {
		t.Errorf("without a shim: program %q, %v", e.Program, err)
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	e := Edges{Env: []string{"A=1", "AB=2", "A=3", "E="}}
	if e.Getenv("A") != "3" || e.Getenv("B") != "" {
		t.Error(e.Getenv("A"), e.Getenv("B"))
	}
	if _, ok := e.Lookup("E"); !ok {
		t.Error("an empty variable is not set")
	}
}
