package cli

import (
	"os/exec"
	"strings"
	"testing"
)

// TestManPage holds the page to its golden file, and the page to what shows it.
func TestManPage(t *testing.T) {
	t.Parallel()
	page := runIn(t, t.TempDir(), "man").ok(t)
	golden(t, "git-models.1", page)
	term, _, _ := newTerminal(80)
	app := (&program{terminal: term}).app()
	for _, c := range app.Commands {
		if section := `.SS "git models ` + c.Name; !c.Hidden && !strings.Contains(page, section) {
			t.Errorf("no section %s", section)
		}
	}
	for _, argv := range [][]string{{"groff", "-man", "-Tutf8", "-ww", "-K", "utf8"}, {"mandoc", "-Tlint", "-Werror"}} {
		if _, err := exec.LookPath(argv[0]); err != nil {
			t.Logf("%s is not installed", argv[0])
			continue
		}
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stdin = strings.NewReader(page)
		var out, err strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &err
		if failed := cmd.Run(); failed != nil || err.String() != "" || argv[0] == "mandoc" && out.String() != "" {
			t.Errorf("%v: %v\n%s%s", argv, failed, err.String(), clip(out.String(), 2000))
		}
	}
}

// What is written is what is shown, whatever it begins with or holds.
func TestRoff(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("groff is not installed")
	}
	for _, text := range []string{".models.yaml is read", "'quoted' first", `back\slash \fBbold`, "a-b --c ^ ~ `d`", `"double"`, "\\n(.x"} {
		var m man
		m.macro("TH", "X", "1")
		m.text(text)
		m.item(text, "it")
		m.macro("SS", text)
		cmd := exec.Command("groff", "-man", "-Tascii", "-P-c", "-P-b", "-P-u", "-ww")
		cmd.Stdin = strings.NewReader(m.b.String())
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Count(string(out), text) != 3 {
			t.Errorf("%q is shown as (%v)\n%s", text, err, out)
		}
	}
}
