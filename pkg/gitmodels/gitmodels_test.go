package gitmodels

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"unicode"
)

func TestRefNameMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ref, pattern string
		want         bool
	}{
		{"refs/heads/models", "refs/heads/models", true},
		{"refs/heads/models/x", "refs/heads/models", false},
		{"refs/heads/models", "refs/heads/models/**", false},
		{"refs/heads/models/", "refs/heads/models/**", false},
		{"refs/heads/models/x", "refs/heads/models/**", true},
		{"refs/heads/models/x/y", "refs/heads/models/**", true},
		{"refs/heads/modelsx/y", "refs/heads/models/**", false},
		{"refs/heads/models-old", "refs/heads/models*", true},
		{"refs/heads/models/x", "refs/heads/models*", false},
		{"refs/heads/team-a/models", "refs/heads/team-*/models", true},
		{"refs/heads/team-a/b/models", "refs/heads/team-*/models", false},
		{"refs/heads/team-a/models/x/y", "refs/heads/team-*/models/**", true},
		{"refs/heads/abcabc", "refs/heads/a*bc", true},
		{"refs/heads/abx", "refs/heads/a*bc", false},
		{"refs/heads/ab", "refs/heads/ab*b", false},
	} {
		if got := RefName(c.ref).Matches(c.pattern); got != c.want {
			t.Errorf("%s matches %s = %v, want %v", c.ref, c.pattern, got, c.want)
		}
	}
}

func TestParseCommitID(t *testing.T) {
	t.Parallel()
	for _, good := range []string{strings.Repeat("a", 40), strings.Repeat("0", 40), strings.Repeat("9f", 32)} {
		if _, err := ParseCommitID(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "abc", strings.Repeat("A", 40), strings.Repeat("g", 40), strings.Repeat("a", 41), strings.Repeat("a", 39) + "\n"} {
		if _, err := ParseCommitID(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if id := CommitID(strings.Repeat("ab", 20)); id.Short(7) != "abababa" || id.Short(0) != string(id) || id.Short(99) != string(id) {
		t.Errorf("short names of %s: %s %s %s", id, id.Short(7), id.Short(0), id.Short(99))
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":            "plain",
		"two\nlines":       `two\x0alines`,
		"\x1b[31mred":      `\x1b[31mred`,
		"bidi\u202eover":   `bidi\u202eover`,
		"zero\u200bwidth":  `zero\u200bwidth`,
		"broken\xffutf8":   `broken\xffutf8`,
		"naïve 模型":         "naïve 模型",
		"\x7f":             `\x7f`,
		"c1\u009bcontrol":  `c1\u009bcontrol`,
		"line\u2028separa": `line\u2028separa`,
	} {
		if got := Printable(in, 0); got != want {
			t.Errorf("Printable(%q) = %q, want %q", in, got, want)
		}
	}
	if got := Printable("abcdef", 3); got != "abc…" {
		t.Errorf("cut at 3: %q", got)
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x00\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range Printable(s, 50) {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q lets %U through", s, r)
			}
		}
	})
}

func TestSuggest(t *testing.T) {
	t.Parallel()
	words := []string{"plan", "skip", "follow", "priority", "each", "again"}
	for in, want := range map[string]string{
		"skpi": "skip", "folow": "follow", "paln": "plan", "agian": "again", "skip": "skip",
		"ci.skip": "", "merge_request.create": "", "x": "", "": "",
	} {
		if got := Suggest(in, words); got != want {
			t.Errorf("Suggest(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestNumberSurvivesJSON(t *testing.T) {
	t.Parallel()
	for _, f := range []float64{0, 1.5, -2e300, math.NaN(), math.Inf(1), math.Inf(-1)} {
		b, err := json.Marshal(Number(f))
		if err != nil {
			t.Fatal(err)
		}
		var back Number
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if math.IsNaN(f) != math.IsNaN(float64(back)) || !math.IsNaN(f) && float64(back) != f {
			t.Errorf("%v became %s and then %v", f, b, back)
		}
	}
	var n Number
	if err := json.Unmarshal([]byte(`"many"`), &n); err == nil {
		t.Error(`"many" was taken for a number`)
	}
}

func TestErrorTells(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("outer: %w", &Error{Kind: Waiting, Message: "engine: none is configured", Err: io.EOF})
	if KindOf(err) != Waiting || !errors.Is(err, io.EOF) || KindOf(io.EOF) != Internal {
		t.Errorf("kind %v, is EOF %v", KindOf(err), errors.Is(err, io.EOF))
	}
	if got := (&Error{Op: "claim", Err: io.EOF}).Error(); got != "claim: EOF" {
		t.Errorf("without a message: %q", got)
	}
}

func TestAttemptName(t *testing.T) {
	t.Parallel()
	if a, b := AttemptName("5a32b0f", 1), AttemptName("5a32b0f", 3); a != "5a32b0f" || b != "5a32b0f-r3" {
		t.Errorf("attempts 1 and 3 are named %s and %s", a, b)
	}
}
