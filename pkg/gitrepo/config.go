package gitrepo

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Config lists git's configuration for this repository, in git's order of
// precedence (later wins): system, global, local and worktree scope with their
// includes, then the entries of the file homeConfig, if it exists, with scope
// "home"; of one that its group or others may write with a scope that protects
// nothing. System and global files are those of this process's own HOME,
// XDG_CONFIG_HOME and GIT_CONFIG_{NOSYSTEM,SYSTEM,GLOBAL}; values that the
// environment carries (GIT_CONFIG_COUNT, git -c) do not count.
func (r *Repo) Config(ctx context.Context, homeConfig string) ([]gitmodels.ConfigEntry, error) {
	return listConfig(ctx, r.call(), homeConfig)
}

// GlobalConfig lists what holds in no repository: system and global scope, and
// homeConfig as Config does.
func GlobalConfig(ctx context.Context, homeConfig string) ([]gitmodels.ConfigEntry, error) {
	// A git directory that is none keeps git from looking for one.
	return listConfig(ctx, call{dir: "/", env: []string{"GIT_DIR=/dev/null"}}, homeConfig)
}

func listConfig(ctx context.Context, c call, homeConfig string) ([]gitmodels.ConfigEntry, error) {
	c.args = []string{"config", "--list", "-z", "--show-scope", "--show-origin"}
	c.people = true
	if homeConfig != "" {
		if homeConfig[0] != '/' {
			return nil, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "read configuration",
				Message: fmt.Sprintf("%s is not an absolute path", gitmodels.Printable(homeConfig, 200))}
		}
		// One child reads all: git takes the include as part of its command
		// line, and every other value of that scope is our own.
		c.config = []string{"include.path=" + homeConfig}
	}
	res, err := run(ctx, c)
	if err != nil {
		return nil, err
	}
	if res.code != 0 {
		return nil, res.failure()
	}
	entries, err := parseConfig(res.out)
	if err != nil {
		return nil, &gitmodels.Error{Op: c.name(), Err: err}
	}
	if info, err := os.Stat(homeConfig); err == nil && info.Mode().Perm()&0o022 != 0 {
		for i := range entries {
			if entries[i].Scope == homeScope {
				entries[i].Scope = "home, but writable by others,"
			}
		}
	}
	return entries, nil
}

// homeScope is the scope of <home>/config, as gitmodels.ConfigEntry knows it.
const homeScope = "home"

// parseConfig reads records of scope, origin and `key LF value`, each ended by
// NUL; a key without a value has no line feed.
func parseConfig(out []byte) ([]gitmodels.ConfigEntry, error) {
	fields := bytes.Split(out, []byte{0})
	if last := len(fields) - 1; len(fields[last]) != 0 || last%3 != 0 {
		return nil, fmt.Errorf("%d fields in the listing, want three an entry", last)
	}
	var entries []gitmodels.ConfigEntry
	for i := 0; i+2 < len(fields); i += 3 {
		e := gitmodels.ConfigEntry{Scope: string(fields[i]), Origin: string(fields[i+1])}
		key, value, ok := strings.Cut(string(fields[i+2]), "\n")
		e.Key, e.Value, e.Bare = key, value, !ok
		if e.Scope == "command" {
			if e.Origin == "command line:" {
				continue // what hardens the child
			}
			e.Scope = homeScope
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// ConfigGet returns every value of key in the repository's own file, in order;
// none when it is not set there. A key without a value gives an empty one.
func (r *Repo) ConfigGet(ctx context.Context, key string) ([]string, error) {
	res, err := r.config(ctx, key, "-z", "--get-all", key)
	if err != nil {
		return nil, err
	}
	switch {
	case res.code == 0:
		return strings.Split(strings.TrimSuffix(string(res.out), "\x00"), "\x00"), nil
	case res.code == 1 && !complains(res.stderr):
		return nil, nil
	}
	return nil, res.failure()
}

// ConfigSet leaves value as the only value of key in the repository's own file.
func (r *Repo) ConfigSet(ctx context.Context, key, value string) error {
	return r.configWrite(ctx, key, "--replace-all", key, value)
}

// ConfigAdd adds a value of key to the repository's own file.
func (r *Repo) ConfigAdd(ctx context.Context, key, value string) error {
	return r.configWrite(ctx, key, "--add", key, value)
}

// ConfigUnset removes the given values of key from the repository's own file,
// or all of them when none is given. What is not there is no error.
func (r *Repo) ConfigUnset(ctx context.Context, key string, values ...string) error {
	if len(values) == 0 {
		return r.configWrite(ctx, key, "--unset-all", key)
	}
	for _, v := range values {
		if err := r.configWrite(ctx, key, "--fixed-value", "--unset-all", key, v); err != nil {
			return err
		}
	}
	return nil
}

// configWrite changes the file, waiting for others who do.
func (r *Repo) configWrite(ctx context.Context, key string, args ...string) error {
	if err := r.checkWritable("write configuration"); err != nil {
		return err
	}
	return retry(ctx, "write configuration", func() (bool, error) {
		res, err := r.config(ctx, key, args...)
		switch {
		case err != nil:
			return false, err
		case res.code == 0, res.code == 5 && slices.Contains(args, "--unset-all"):
			return false, nil // 5: there was nothing to unset
		}
		return strings.Contains(res.stderr, "could not lock"), res.failure()
	})
}

func (r *Repo) config(ctx context.Context, key string, args ...string) (result, error) {
	section, _, ok := strings.Cut(key, ".")
	if !ok || section == "" || section[0] == '-' || strings.ContainsAny(key, "\x00\n") {
		return result{}, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "git config",
			Message: fmt.Sprintf("%q is no configuration key", gitmodels.Printable(key, 100))}
	}
	res, err := run(ctx, r.call(append([]string{"config", "--local"}, args...)...))
	if err == nil && strings.Contains(res.stderr, "error: invalid key") {
		failure := res.failure()
		failure.Kind = gitmodels.Invalid
		failure.Message = fmt.Sprintf("%q is no configuration key", gitmodels.Printable(key, 100))
		return res, failure
	}
	return res, err
}
