package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Repo is one git directory. Its methods are safe for concurrent use; each
// starts a git child of its own, which dies with the context.
type Repo struct {
	dir        string   // absolute, links resolved
	common     string   // where objects, refs and configuration are: dir, but for a linked work tree
	idLength   int      // 40 or 64
	refFormat  string   // files or reftable
	quarantine []string // environment of pre-receive, or nil
}

// Option changes how a repository is opened.
type Option func(*Repo) error

// Open opens the git directory dir (the bare repository itself, or the .git of
// a work tree). What is not one is an Error of Kind NotFound. No child runs.
func Open(dir string, opts ...Option) (*Repo, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, &gitmodels.Error{Op: "open repository " + dir, Err: err}
	}
	if resolved, err := filepath.EvalSymlinks(abs); err == nil {
		abs = resolved
	}
	r := &Repo{dir: abs, common: abs}
	if err := r.inspect(); err != nil {
		kind := gitmodels.Internal
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, errNotGit) {
			kind = gitmodels.NotFound
		}
		return nil, &gitmodels.Error{
			Kind:    kind,
			Message: fmt.Sprintf("%s is not a git directory", gitmodels.Printable(abs, 200)),
			Op:      "open repository",
			Err:     err,
		}
	}
	for _, o := range opts {
		if err := o(r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Dir is the absolute path of the git directory, with symbolic links resolved:
// one repository has one name, however it was reached.
func (r *Repo) Dir() string { return r.dir }

// IDLength is the number of hexadecimal digits of an object id: 40 or 64.
func (r *Repo) IDLength() int { return r.idLength }

var errNotGit = errors.New("it has no HEAD, objects and refs")

// inspect looks for what makes a directory a git directory, as git's own
// is_git_directory does, and reads the format it is in.
func (r *Repo) inspect() error {
	if data, err := os.ReadFile(filepath.Join(r.dir, "commondir")); err == nil {
		common := strings.TrimRight(string(data), "\r\n")
		if !filepath.IsAbs(common) {
			common = filepath.Join(r.dir, common)
		}
		r.common = filepath.Clean(common)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Lstat(filepath.Join(r.dir, "HEAD")); err != nil {
		return notGit(err)
	}
	for _, name := range []string{"objects", "refs"} {
		info, err := os.Stat(filepath.Join(r.common, name))
		if err != nil {
			return notGit(err)
		}
		if !info.IsDir() {
			return errNotGit
		}
	}
	return r.readFormat()
}

func notGit(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errNotGit
	}
	return err
}

// readFormat reads extensions.objectFormat and extensions.refStorage. Git takes
// them from the repository's own file alone, without includes, so that the few
// lines of formatExtensions see what git sees.
func (r *Repo) readFormat() error {
	data, err := os.ReadFile(filepath.Join(r.common, "config"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.idLength, r.refFormat = 40, "files"
	ext := formatExtensions(data)
	switch format := ext["objectformat"]; format {
	case "", "sha1":
	case "sha256":
		r.idLength = 64
	default:
		return fmt.Errorf("extensions.objectFormat is %s, want sha1 or sha256", gitmodels.Printable(format, 40))
	}
	if format := ext["refstorage"]; format != "" {
		r.refFormat = format
	}
	return nil
}

// formatExtensions returns the keys of the [extensions] section of a git config
// file, in lower case.
func formatExtensions(config []byte) map[string]string {
	found := map[string]string{}
	inside := false
	for line := range bytes.Lines(config) {
		s := strings.TrimSpace(string(line))
		if rest, ok := strings.CutPrefix(s, "["); ok {
			name, after, _ := strings.Cut(rest, "]")
			inside = strings.EqualFold(strings.TrimSpace(name), "extensions")
			s = strings.TrimSpace(after)
		}
		if !inside || s == "" || s[0] == '#' || s[0] == ';' {
			continue
		}
		key, value, _ := strings.Cut(s, "=")
		if i := strings.IndexAny(value, "#;"); i >= 0 {
			value = value[:i]
		}
		value = strings.ReplaceAll(strings.TrimSpace(value), `"`, "")
		found[strings.ToLower(strings.TrimSpace(key))] = value
	}
	return found
}

// Discover finds the repository around the folder dir, as git does for a person
// who stands there. worktree is empty for a bare repository. It is an Error of
// Kind NotFound when there is none.
func Discover(ctx context.Context, dir string) (gitDir string, bare bool, worktree string, err error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", false, "", &gitmodels.Error{Op: "find repository", Err: err}
	}
	ask := func(what ...string) (result, error) {
		return run(ctx, call{dir: abs, config: []string{"safe.directory=*"}, args: append([]string{"rev-parse"}, what...)})
	}
	res, err := ask("--absolute-git-dir", "--is-bare-repository", "--is-inside-work-tree")
	if err != nil {
		return "", false, "", err
	}
	if res.code != 0 {
		notFound := res.failure()
		if strings.Contains(res.stderr, "not a git repository") {
			notFound.Kind = gitmodels.NotFound
			notFound.Message = fmt.Sprintf("%s is not in a git repository", gitmodels.Printable(abs, 200))
		}
		return "", false, "", notFound
	}
	lines := strings.Split(strings.TrimSuffix(string(res.out), "\n"), "\n")
	if len(lines) < 3 {
		return "", false, "", res.unexpected()
	}
	// The path comes first and may hold line feeds itself.
	n := len(lines)
	gitDir = strings.Join(lines[:n-2], "\n")
	if resolved, err := filepath.EvalSymlinks(gitDir); err == nil {
		gitDir = resolved
	}
	if lines[n-1] == "true" {
		if res, err = ask("--show-toplevel"); err != nil {
			return "", false, "", err
		}
		if res.code != 0 {
			return "", false, "", res.failure()
		}
		worktree = strings.TrimSuffix(string(res.out), "\n")
	}
	return gitDir, lines[n-2] == "true", worktree, nil
}

// Init makes a new bare repository at path, whose parent exists. A path that
// holds something already is an Error of Kind Invalid.
func Init(ctx context.Context, path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return &gitmodels.Error{Op: "make repository", Err: err}
	}
	if entries, err := os.ReadDir(abs); err == nil && len(entries) > 0 {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "make repository",
			Message: fmt.Sprintf("%s exists already and is not empty", gitmodels.Printable(abs, 200))}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &gitmodels.Error{Op: "make repository", Err: err}
	}
	// No template: sample hooks are clutter, and a template of the account that
	// runs this may bring hooks of its own.
	res, err := run(ctx, call{args: []string{
		"init", "--quiet", "--bare", "--template=", "--initial-branch=main", "--", abs}})
	if err != nil {
		return err
	}
	if res.code != 0 {
		return res.failure()
	}
	return nil
}
