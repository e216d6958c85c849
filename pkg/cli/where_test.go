package cli

import "testing"

func TestRepositoryName(t *testing.T) {
	t.Parallel()
	for origin, want := range map[string]string{
		"git@example.com:dogs.git":              "dogs",
		"git@example.com:team/dogs.git":         "dogs",
		"ssh://git@example.com:22/srv/dogs.git": "dogs",
		"https://example.com/team/dogs":         "dogs",
		"/srv/git/dogs.git/":                    "dogs",
		"/home/alice/dogs/.git":                 "dogs",
		"../dogs\x1b[31m.git":                   `dogs\x1b[31m`,
	} {
		if got := (&site{origin: origin}).repositoryName(); got != want {
			t.Errorf("%q is called %q, want %q", origin, got, want)
		}
	}
}
