package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
	"github.com/git-models/git-models/pkg/ledger"
	"github.com/git-models/git-models/pkg/policy"
	"github.com/git-models/git-models/pkg/runner"
)

// site is where a command finds itself.
type site struct {
	repo     *gitrepo.Repo // nil: in no repository
	worktree string        // of a clone: its folder of files, when the caller is in it
	server   bool          // pushes are received here; else it is a clone
	home     string        // absolute path of the state directory
	origin   string        // of a clone: the URL of the remote origin
	others   []string      // the names of remotes that are called otherwise
	// policy of the repository as the hooks see it; without a repository, the
	// defaults.
	policy *policy.Policy
}

// path is the repository's git directory, or empty.
func (s *site) path() string {
	if s.repo == nil {
		return ""
	}
	return s.repo.Dir()
}

// site looks around: the repository that --repo names or that surrounds the
// working folder, and the state directory that serves it. In no repository is
// no error unless --repo says that there is one.
func (p *program) site(ctx context.Context) (*site, error) {
	dir := p.repoFlag
	if dir == "" {
		dir = p.getenv("GIT_DIR") // from git --git-dir=… models
	}
	return p.siteAt(ctx, dir)
}

// siteAt looks around dir, or around the working folder when dir is empty.
func (p *program) siteAt(ctx context.Context, dir string) (*site, error) {
	s := &site{}
	if !isFolder(p.absolute(dir)) {
		return nil, &gitmodels.Error{Kind: gitmodels.NotFound, Message: "there is no folder " + shown(p.absolute(dir))}
	}
	f, err := find(ctx, p.absolute(dir))
	switch {
	case gitmodels.KindOf(err) == gitmodels.NotFound && dir == "":
		if f.entries, err = gitrepo.GlobalConfig(ctx, ""); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	default:
		s.repo, s.worktree = f.repo, f.worktree
		s.server = f.bare || registered(f.entries)
		for _, e := range f.entries {
			rest, isRemote := strings.CutPrefix(e.Key, "remote.")
			name, isURL := strings.CutSuffix(rest, ".url")
			switch {
			case !isRemote || !isURL:
			case name == remoteName:
				s.origin = e.Value
			case !slices.Contains(s.others, name):
				s.others = append(s.others, name)
			}
		}
	}
	for _, e := range f.entries {
		if e.Key == "color.ui" {
			p.chooseColour(e.Value)
		}
	}
	s.policy, _ = policy.Parse(f.entries, policy.Hook)
	if s.home, err = p.home(s.policy); err != nil {
		return nil, err
	}
	return s, nil
}

// home is the state directory: as the command line says, else as configuration
// says, else the default.
func (p *program) home(pol *policy.Policy) (string, error) {
	switch {
	case p.homeFlag != "":
		return p.absolute(p.homeFlag), nil
	case pol.Home != "":
		return pol.Home, nil
	}
	home := policy.DefaultHome(p.getenv)
	if home == "" {
		return "", &gitmodels.Error{Kind: gitmodels.Invalid, Message: "no state directory: HOME is not set",
			Hint: "export GIT_MODELS_HOME=/srv/git-models"}
	}
	return home, nil
}

// registered reports whether install has been here: it writes models.home into
// the repository's own file.
func registered(entries []gitmodels.ConfigEntry) bool {
	for _, e := range entries {
		if e.Key == "models.home" && e.Scope == "local" && e.Value != "" {
			return true
		}
	}
	return false
}

// absolute takes a path from the command line.
func (p *program) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(p.edges.Dir, path)
}

// needRepository is the error of a command that speaks of one repository where
// there is none.
func (p *program) needRepository(command string) error {
	return &gitmodels.Error{Kind: gitmodels.NotFound,
		Message: gitmodels.Printable(p.edges.Dir, 200) + " is not in a git repository",
		Hint:    "git models --repo /path/to/repository.git " + command}
}

// asked is the head of a command that speaks of one repository: its words, and
// where it runs.
func (p *program) asked(c *urfave.Context, least, most int, want string) ([]string, *site, error) {
	got, err := words(c, least, most, want)
	if err != nil {
		return nil, nil, err
	}
	s, err := p.site(c.Context)
	if err != nil {
		return nil, nil, err
	}
	if s.repo == nil {
		again := []string{c.Command.Name}
		for _, word := range got {
			again = append(again, quote(word))
		}
		return nil, nil, p.needRepository(strings.Join(again, " "))
	}
	return got, s, nil
}

// service answers from the ledger itself, for the owner of home when no runner
// does. It never makes a state directory.
func (p *program) service(ctx context.Context, home string) (svc *runner.Service, done func() error, err error) {
	if _, err := os.Stat(filepath.Join(home, ledger.FileName)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, &gitmodels.Error{Kind: gitmodels.NotFound,
			Message: "nothing is installed with the state directory " + gitmodels.Printable(home, 200),
			Hint:    "git models install /path/to/repository.git"}
	}
	cfg, done, err := p.wire(ctx, home)
	if err != nil {
		return nil, nil, err
	}
	svc, err = runner.NewService(cfg)
	if err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return svc, done, nil
}

// owns reports whether the caller's files are what lies in home.
func owns(home string) bool {
	info, err := os.Stat(home)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// caller is the account that runs this command.
func caller() string {
	uid := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return "uid " + uid
}

// attemptName is how the attempts of a run are called; see gitmodels.AttemptName.
var attemptName = pattern(`^([0-9a-fA-F]{4,64})-r[1-9][0-9]*$`)

// prefix is the beginning of a commit id.
var prefix = pattern(`^[0-9a-fA-F]{4,64}$`)

// named gives use what word stands for: the beginning of a commit id as it is,
// the name of an attempt without its number, and any other revision as the full
// id that it has in this repository. What could be either is tried in this
// order.
func (s *site) named(ctx context.Context, word string, use func(commit string) error) error {
	if m := attemptName().FindStringSubmatch(word); m != nil {
		word = m[1]
	}
	if prefix().MatchString(word) {
		err := use(strings.ToLower(word))
		if s.repo == nil || !isKind(err, gitmodels.NotFound) {
			return err
		}
		if id, peelErr := s.repo.Peel(ctx, word); peelErr == nil && !strings.HasPrefix(string(id), strings.ToLower(word)) {
			return use(string(id))
		}
		return err
	}
	if s.repo == nil {
		return usage("%s is not the beginning of a commit id, and this is no repository that could know more", gitmodels.Printable(word, 80))
	}
	id, err := s.repo.Peel(ctx, word)
	if !s.server && isKind(err, gitmodels.NotFound) {
		// A branch of the server that has no branch of its own here.
		if tracked, trackedErr := s.repo.Peel(ctx, trackingPrefix+word); trackedErr == nil {
			id, err = tracked, nil
		}
	}
	if err != nil {
		return err
	}
	return use(string(id))
}

// isKind reports whether err carries an Error of that kind.
func isKind(err error, kind gitmodels.Kind) bool {
	var e *gitmodels.Error
	return errors.As(err, &e) && e.Kind == kind
}
