package hooks

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// refusedCase is a push that must be refused, and what every printed hint must
// lead to.
type refusedCase struct {
	name   string
	config []string
	setup  func(s *site)
	push   []string // arguments after git push origin
	words  []string // each on our lines
	hints  int      // how many are printed
	again  []string // the push after a hint, without force; nil: the hint itself pushes
	after  func(t *testing.T, s *site)
	plain  bool // the client's own git refuses it without force
	plans  bool // the hint asks for a plan, so that nothing moves
}

func seeded(s *site) {
	s.commit("second")
	s.pushed("main:models")
}

// sameFiles expects that the ref holds the files of rev in the clone.
func sameFiles(ref, rev string) func(t *testing.T, s *site) {
	return func(t *testing.T, s *site) {
		t.Helper()
		if got, want := s.server("rev-parse", ref+"^{tree}"), s.git(s.work, "rev-parse", rev+"^{tree}"); got != want {
			t.Errorf("%s does not hold the files of %s", ref, rev)
		}
	}
}

var refusedCases = []refusedCase{
	{
		name: "amended files", plain: true,
		setup: func(s *site) {
			seeded(s)
			s.write("src/second", "better\n")
			s.git(s.work, "commit", "-qa", "--amend", "-m", "another subject")
			s.git(s.work, "tag", "mine")
		},
		push: []string{"main:models"}, again: []string{"main:models"}, hints: 1,
		words: []string{" amends ", "git fetch origin && git reset --soft origin/models && git commit"},
		after: sameFiles("models", "mine"),
	},
	{
		name: "amended words", plain: true,
		setup: func(s *site) {
			seeded(s)
			s.git(s.work, "commit", "-q", "--amend", "-m", "said better")
		},
		push: []string{"main:models"}, again: []string{"main:models"}, hints: 1,
		words: []string{" amends ", "reset --soft"},
	},
	{
		name: "rebased line", plain: true,
		setup: func(s *site) {
			s.pushed("main:main")
			s.git(s.work, "checkout", "-qb", "line")
			s.commit("one")
			s.commit("two")
			s.pushed("line:models")
			s.git(s.work, "checkout", "-q", "main")
			s.commit("base")
			s.git(s.work, "checkout", "-q", "line")
			s.git(s.work, "rebase", "-q", "main")
			s.commit("three")
			s.git(s.work, "tag", "mine")
		},
		push: []string{"line:models"}, again: []string{"line:models"}, hints: 1,
		words: []string{"rewrites 2 commits"},
		after: sameFiles("models", "mine"),
	},
	{
		name: "work that you lack", plain: true,
		setup: func(s *site) {
			seeded(s)
			s.git(s.work, "reset", "-q", "--hard", "HEAD~1")
			s.commit("mine")
			s.git(s.work, "tag", "mine")
		},
		push: []string{"main:models"}, again: []string{"main:models"}, hints: 2,
		words: []string{"is not a descendant of", "1 commit that yours lacks", "git fetch origin && git merge origin/models", "git fetch origin && git merge -s ours origin/models"},
	},
	{
		name: "another history", plain: true,
		setup: func(s *site) {
			seeded(s)
			s.git(s.work, "checkout", "-q", "--orphan", "fresh")
			s.commit("anew")
			s.git(s.work, "tag", "mine")
		},
		push: []string{"fresh:models"}, again: []string{"fresh:models"}, hints: 1,
		words: []string{"shares no history with", "models", "git merge -s ours"},
		after: sameFiles("models", "mine"),
	},
	{
		name: "rewound branch", plain: true,
		setup: func(s *site) {
			seeded(s)
			s.commit("third")
			s.commit("fourth")
			s.pushed("main:models")
			s.git(s.work, "reset", "-q", "--hard", "HEAD~2")
			s.git(s.work, "tag", "mine")
		},
		push: []string{"main:models"}, again: []string{"main:models"}, hints: 1,
		words: []string{"models already holds", "and 2 newer commits; it is never rewound"},
		after: sameFiles("models", "mine"),
	},
	{
		name: "rewound from elsewhere", plain: true,
		setup: func(s *site) {
			seeded(s)
			s.git(s.work, "tag", "mine", "HEAD~1")
		},
		push: []string{"mine^{commit}:refs/heads/models"}, hints: 1,
		words: []string{"and 1 newer commit; it is never rewound"},
		after: sameFiles("models", "mine"),
	},
	{
		name: "a branch name that a shell would read", plain: true,
		config: []string{"models.refs", "refs/heads/x'$(touch${IFS}pwned)/**"},
		setup: func(s *site) {
			s.commit("second")
			s.server("fetch", "-q", s.work, "main:refs/heads/x'$(touch${IFS}pwned)/a;b")
			s.git(s.work, "reset", "-q", "--hard", "HEAD~1")
			s.commit("mine")
		},
		push: []string{"main:refs/heads/x'$(touch${IFS}pwned)/a;b"}, again: []string{"main:refs/heads/x'$(touch${IFS}pwned)/a;b"}, hints: 2,
		after: func(t *testing.T, s *site) {
			if _, err := os.Stat(filepath.Join(s.work, "pwned")); err == nil {
				t.Error("the shell ran what stands in the name")
			}
		},
	},
	{
		name: "delete", setup: seeded,
		push: []string{":models"}, again: []string{"main:models"}, hints: 1,
		words: []string{"models is never deleted"},
	},
	{
		name: "annotated tag as a new ref",
		setup: func(s *site) {
			s.git(s.work, "tag", "-a", "v1", "-m", "v1")
		},
		push: []string{"v1:refs/heads/models"}, hints: 1,
		words: []string{"is an annotated tag,"},
		after: sameFiles("models", "v1"),
	},
	{
		name: "annotated tag on top",
		setup: func(s *site) {
			seeded(s)
			s.commit("third")
			s.git(s.work, "tag", "-a", "v1", "-m", "v1")
			s.git(s.work, "reset", "-q", "--hard", "HEAD~2")
		},
		push: []string{"v1:refs/heads/models"}, hints: 1,
		words: []string{"is an annotated tag,"},
		after: sameFiles("models", "v1"),
	},
	{
		name: "tree", push: []string{"main^{tree}:refs/heads/models"}, words: []string{"is a tree, not a commit"},
	},
	{
		name: "blob", push: []string{"main:.models.yaml:refs/heads/models"}, words: []string{"is a blob, not a commit"},
	},
	{
		name: "symbolic ref",
		setup: func(s *site) {
			seeded(s)
			s.server("symbolic-ref", "refs/heads/b", "refs/heads/models")
			s.server("symbolic-ref", "refs/heads/a", "refs/heads/b")
			s.commit("third")
		},
		push: []string{"main:a"}, again: []string{"main:models"}, hints: 1,
		words: []string{"it is a symbolic ref to", "refs/heads/models"},
	},
	{
		name: "symbolic ref that dangles",
		setup: func(s *site) {
			s.server("symbolic-ref", "refs/heads/a", "refs/heads/models")
		},
		push: []string{"main:refs/heads/a"}, hints: 1, words: []string{"it is a symbolic ref to"},
		after: sameFiles("models", "main"),
	},
	{
		name: "symbolic HEAD of a mirror",
		setup: func(s *site) {
			seeded(s)
			s.server("symbolic-ref", "refs/remotes/x/HEAD", "refs/heads/models")
			s.commit("third")
		},
		push: []string{"main:refs/remotes/x/HEAD"}, again: []string{"main:models"}, hints: 1, words: []string{"it is a symbolic ref to"},
	},
	{
		name: "alone, beside models",
		setup: func(s *site) {
			seeded(s)
			s.commit("third")
		},
		push: []string{"main:models/x"}, hints: 1, words: []string{"from one", "git push origin main:models"},
		after: sameFiles("models", "main"),
	},
	{
		name: "alone, beside models, with a line of its own",
		setup: func(s *site) {
			seeded(s)
			s.git(s.work, "reset", "-q", "--hard", "HEAD~1")
			s.commit("mine")
		},
		push: []string{"main:models/x"}, hints: 1, words: []string{"from one"},
	},
	{
		name: "a delete does not free the name", setup: seeded,
		push: []string{":models", "main:models/x"}, hints: 2, words: []string{"from one", "never deleted"}, again: []string{"main:models"},
	},
	{
		name: "models beside a team's",
		setup: func(s *site) {
			s.pushed("main:models/x")
			s.commit("second")
		},
		push: []string{"main:models"}, hints: 1, words: []string{"team", "git push origin main:models/main"},
		after: sameFiles("models/main", "main"),
	},
	{
		name: "below a team's branch",
		setup: func(s *site) {
			s.pushed("main:models/x")
		},
		push: []string{"main:models/x/y"}, words: []string{"it clashes with", "refs/heads/models/x"},
	},
	{
		name: "both layouts at once", push: []string{"main:models", "main:models/x"}, hints: 2,
		words: []string{"it clashes with"}, after: sameFiles("models/x", "main"),
	},
	{
		name: "solo by policy", config: []string{"models.layout", "solo"},
		push: []string{"main:models/x"}, hints: 1, words: []string{"models.layout"}, after: sameFiles("models", "main"),
	},
	{
		name: "team by policy", config: []string{"models.layout", "team"},
		push: []string{"main:models"}, hints: 1, words: []string{"models.layout"}, after: sameFiles("models/main", "main"),
	},
	{
		name: "in the way of a governed ref", config: []string{"models.refs", "", "models.refs", "refs/heads/train"},
		push: []string{"main:train", "main:train/x"}, words: []string{"it clashes with"}, hints: 1, after: sameFiles("train", "main"),
	},
	{
		name: "odd name", push: []string{"main:models/a'b$(touch${IFS}pwned)"}, hints: 1, words: []string{"misread"},
		after: sameFiles("models/a-b--touch--IFS-pwned", "main"),
	},
	{
		name: "source required", config: []string{"models.source", "require"},
		push: []string{"main:models"}, again: []string{"main:models"}, hints: 1, words: []string{"git push origin HEAD", "models.source"},
	},
	{
		name: "notes of the runner",
		setup: func(s *site) {
			s.server("fetch", "-q", s.work, "main:refs/notes/models")
			s.commit("second")
			s.git(s.work, "update-ref", "refs/notes/models", "main")
		},
		push: []string{"refs/notes/models"}, again: []string{"refs/notes/models"}, hints: 1, words: []string{"these are written by the runner"},
	},
	{name: "forged outcome", push: []string{"main:refs/tags/trained/x"}, words: []string{"these are written by the"}},
	{name: "control ref of what was never pushed", push: []string{"main:refs/run/rerun"}, hints: 1, words: []string{"is on no governed ref, so"},
		after: sameFiles("models", "main")},
	{name: "control ref of what is not ahead", setup: func(s *site) {
		seeded(s)
		s.git(s.work, "checkout", "-q", "-b", "side", "HEAD~1")
		s.commit("beside")
	}, push: []string{"side:refs/run/cancel"}, hints: 1, words: []string{"is on no governed ref, so"}},
	{name: "plan of what was never pushed", push: []string{"main:refs/run/plan"}, hints: 1, words: []string{"is on no governed ref"}, plans: true},
	{name: "slip in a control ref", setup: seeded, push: []string{"main:refs/run/staus"}, hints: 1, words: []string{"did you mean", "status?"}},
	{name: "control ref that is taken", setup: func(s *site) {
		seeded(s)
		s.server("update-ref", "refs/run/cancel", "models~1")
	}, push: []string{"main:refs/run/cancel"}, words: []string{"another push to it is being", "push again in a moment"}},
	{name: "control ref by a tag", setup: func(s *site) {
		seeded(s)
		s.git(s.work, "tag", "-a", "-m", "v1", "v1")
	}, push: []string{"v1:refs/run/status"}, hints: 1, words: []string{"is a tag, and status"}},
	{name: "control by owner", config: []string{"models.cancel", "owner"}, setup: seeded, push: []string{"main:refs/run/cancel", "main:refs/run/status"},
		words: []string{"by models.cancel=owner", "on the server: git models cancel"}},
	{name: "mixed refs", setup: func(s *site) { seeded(s); s.commit("third") },
		push: []string{"main", "main:topic", ":models", "main:refs/notes/models"}, hints: 1, again: []string{"main:models"},
		words: []string{"refused refs/heads/models:", "refused refs/notes/models:"}},
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range refusedCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, append([]string{"models.validate", "off"}, c.config...)...)
			if c.setup != nil {
				c.setup(s)
			}
			before := s.refs()
			if c.plain {
				// The client's git refuses a plain push itself, in its own words.
				status, out := s.push(c.push...)
				if status == 0 || ours(out) != "" || !strings.Contains(out, "rejected") {
					t.Errorf("plain push: status %d\n%s", status, out)
				}
			}
			status, out := s.push(append([]string{"--force"}, c.push...)...)
			if status == 0 {
				t.Fatalf("the push was accepted:\n%s", out)
			}
			words := ours(out)
			for _, w := range append(c.words, "git-models: refused", "git-models: nothing moved") {
				if !strings.Contains(words, w) {
					t.Errorf("no %q in\n%s", w, words)
				}
			}
			if s.refs() != before {
				t.Errorf("refs moved:\n%s\nwere\n%s", s.refs(), before)
			}
			if n := len(hints(out)); n != c.hints {
				t.Errorf("%d hints, want %d:\n%s", n, c.hints, words)
			}
			for _, command := range hints(out) {
				tryHint(t, s, c, command)
			}
		})
	}
}

// tryHint pastes a hint into a copy of the clone and pushes again.
func tryHint(t *testing.T, s *site, c refusedCase, command string) {
	t.Helper()
	s = s.copy()
	status, out := s.try(s.work, "sh", "-c", command)
	if c.plans {
		if status == 0 || !strings.Contains(ours(out), "PLAN ONLY: nothing moved.") {
			t.Errorf("hint %s: status %d\n%s", command, status, out)
		}
		return
	}
	if status != 0 {
		t.Errorf("hint %s: status %d\n%s", command, status, out)
		return
	}
	if c.again != nil {
		if status, out = s.push(c.again...); status != 0 {
			t.Errorf("after hint %s: push %s: status %d\n%s", command, strings.Join(c.again, " "), status, out)
			return
		}
	}
	if strings.Contains(ours(out), "refused") {
		t.Errorf("after hint %s:\n%s", command, out)
	}
	if c.after != nil {
		c.after(t, s)
	}
}
