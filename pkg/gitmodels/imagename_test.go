package gitmodels_test

import (
	"strings"
	"testing"

	"github.com/git-models/git-models/pkg/gitmodels"
)

func TestImageName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 240)
	for _, c := range []struct{ registry, image, want, fault, hint string }{
		{"registry.example.com", "dogs", "registry.example.com/dogs", "", ""},
		{"registry:5000", "team/dog-classifier", "registry:5000/team/dog-classifier", "", ""},
		{"registry.example.com/ml/images", "dogs", "registry.example.com/ml/images/dogs", "", ""},
		{"localhost", "dogs", "localhost/dogs", "", ""},
		{"[::1]:5000", "dogs", "[::1]:5000/dogs", "", ""},
		{"[fd00::7]", "dogs", "[fd00::7]/dogs", "", ""},
		{"127.0.0.1:5000", "My.Repo", "127.0.0.1:5000/my.repo", "", ""},
		{"r.example", "a__b_c.d---e/0", "r.example/a__b_c.d---e/0", "", ""},
		{"r.example", "12e4567", "r.example/12e4567", "", ""},

		{"", "dogs", "", "waiting: models.registry is : want a host", ""},
		{"registry", "dogs", "", "waiting: models.registry is registry: a word alone is no host", ""},
		{"https://r.example", "dogs", "", "waiting: models.registry is https://r.example: ", ""},
		{"R.example", "dogs", "", "waiting: models.registry is R.example: want a host", ""},
		{"r..example", "dogs", "", "waiting: ", ""},
		{"-r.example", "dogs", "", "waiting: ", ""},
		{"r_x.example", "dogs", "", "waiting: ", ""},
		{"régistre.example", "dogs", "", "waiting: ", ""},
		{"user@r.example", "dogs", "", "waiting: ", ""},
		{"r.example:", "dogs", "", "waiting: models.registry is r.example:: port  is not in 1 to 65535", ""},
		{"r.example:0", "dogs", "", "port 0 is not in", ""},
		{"r.example:080", "dogs", "", "port 080 is not in", ""},
		{"r.example:65536", "dogs", "", "port 65536 is not in", ""},
		{"r.example:5000:1", "dogs", "", "port 5000:1 is not in", ""},
		{"[::1", "dogs", "", "want an IPv6 address in brackets", ""},
		{"[]", "dogs", "", "want an IPv6 address in brackets", ""},
		{"[127.0.0.1]:5000", "dogs", "", "want an IPv6 address in brackets", ""},
		{"[fe80::1%eth0]:5000", "dogs", "", "want an IPv6 address in brackets", ""},
		{"[::1]5000", "dogs", "", "want an IPv6 address in brackets", ""},
		{"[::1]:", "dogs", "", "port ", ""},
		{"r.example/", "dogs", "", "waiting: models.registry is r.example/: a part of it is empty", ""},
		{"r.example/Team", "dogs", "", "waiting: models.registry is r.example/Team: want small letters", ""},

		{"r.example", "", "", "invalid:  is no name of an image: a part of it is empty", ""},
		{"r.example", "/", "", "a part of it is empty", ""},
		{"r.example", "a//b", "", "a part of it is empty", "build.image: a/b"},
		{"r.example", "../etc", "", "invalid: ../etc is no name of an image: .. stands at an edge", "build.image: etc"},
		{"r.example", ".dotfiles", "", ". stands at an edge", "build.image: dotfiles"},
		{"r.example", "dogs-", "", "- stands at an edge", "build.image: dogs"},
		{"r.example", "a..b", "", ".. stands between two words", "build.image: a-b"},
		{"r.example", "a___b", "", "___ stands between two words", "build.image: a-b"},
		{"r.example", "a-_b", "", "-_ stands between two words", "build.image: a-b"},
		{"r.example", "My Repo", "", "want small letters, digits and - _ . between them", "build.image: my-repo"},
		{"r.example", "C++", "", "want small letters", "build.image: c"},
		{"r.example", "über/Ähre", "", "invalid: über/Ähre is no name", "build.image: ber/hre"},
		{"r.example", "\xff\x1b[2J", "", `invalid: \xff\x1b[2J is no name of an image`, "build.image: 2j"},
		{"r.example", "dogs:latest", "", "want small letters", "build.image: dogs-latest"},
		{"r.example", "dogs@sha256", "", "want small letters", "build.image: dogs-sha256"},
		{"r.example", "犬", "", "want small letters", ""},
		{"r.example", long + "/" + long, "", "at most 255 are allowed", ""},
	} {
		got, err := gitmodels.ImageName(c.registry, c.image)
		said := ""
		if err != nil {
			said = map[gitmodels.Kind]string{gitmodels.Waiting: "waiting: ", gitmodels.Invalid: "invalid: "}[gitmodels.KindOf(err)] + err.Error()
			if hint := err.(*gitmodels.Error).Hint; hint != c.hint {
				t.Errorf("%q %q: hint %q, want %q", c.registry, c.image, hint, c.hint)
			}
		}
		if got != c.want || !strings.Contains(said, c.fault) || (said != "") != (c.fault != "") {
			t.Errorf("%q %q: %q, %q; want %q, %q", c.registry, c.image, got, said, c.want, c.fault)
		}
		if c.hint != "" {
			if _, err := gitmodels.ImageName(c.registry, strings.TrimPrefix(c.hint, "build.image: ")); err != nil {
				t.Errorf("the hint %q will not do: %v", c.hint, err)
			}
		}
		if err == nil {
			if host, path, err := gitmodels.SplitImageName(got); err != nil || host+"/"+path != got {
				t.Errorf("%s splits into %q and %q: %v", got, host, path, err)
			}
		}
	}
}

func TestSplitImageName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "dogs", "library/dogs", "/dogs", "r.example/", "r.example/dogs:tag", "r.example/dogs@sha256:0",
		"r.example/Dogs", "r.example/" + strings.Repeat("a", 256), "r.example/a\x00b"} {
		if host, path, err := gitmodels.SplitImageName(name); err == nil || gitmodels.KindOf(err) != gitmodels.Invalid {
			t.Errorf("%q is taken for %q and %q: %v", name, host, path, err)
		}
	}
}

func TestCheckTag(t *testing.T) {
	t.Parallel()
	for tag, good := range map[string]bool{
		"latest": true, "4f2c1aa": true, "1234567": true, "12e4567": true, "_x": true, "V1.0-rc_1": true, strings.Repeat("a", 128): true,
		"": false, ".x": false, "-x": false, "a/b": false, "a:b": false, "a b": false, "é": false, "a\n": false, strings.Repeat("a", 129): false,
	} {
		if err := gitmodels.CheckTag(tag); (err == nil) != good {
			t.Errorf("%q: %v", tag, err)
		}
	}
}

func TestCheckDigest(t *testing.T) {
	t.Parallel()
	hex := strings.Repeat("0a", 32)
	for digest, good := range map[string]bool{
		"sha256:" + hex: true,
		hex:             false, "sha256:": false, "sha256:" + hex[1:]: false, "sha256:" + strings.ToUpper(hex): false,
		"sha512:" + hex + hex: false, "sha256:" + hex + "\n": false,
	} {
		if err := gitmodels.CheckDigest(digest); (err == nil) != good {
			t.Errorf("%q: %v", digest, err)
		}
	}
}

// FuzzImageName holds that a name that is taken is one, that nothing of the image
// changes the registry, and that a hint will do.
func FuzzImageName(f *testing.F) {
	for _, image := range []string{"dogs", "My.Repo", "a..b", "../x", "[::1]:5/x", "é", "a/b", "\x80"} {
		f.Add("r.example:5000/team", image)
		f.Add(image, "dogs")
	}
	f.Fuzz(func(t *testing.T, registry, image string) {
		name, err := gitmodels.ImageName(registry, image)
		if err != nil {
			if hint, ok := strings.CutPrefix(err.(*gitmodels.Error).Hint, "build.image: "); ok {
				if _, err := gitmodels.ImageName(registry, hint); err != nil {
					t.Errorf("hint %q: %v", hint, err)
				}
			}
			return
		}
		if !strings.HasPrefix(name, registry+"/") || !strings.EqualFold(name[len(registry)+1:], image) {
			t.Errorf("%q %q became %q", registry, image, name)
		}
		if _, _, err := gitmodels.SplitImageName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	})
}
