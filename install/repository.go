package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
	"github.com/git-models/git-models/pkg/policy"
)

// target is a bare repository with what is known of it before anything changes.
type target struct {
	repo      *gitrepo.Repo
	own       ownConfig
	policy    *policy.Policy
	hooks     string // where git looks for its hooks
	installed *record
	group     int // of a shared repository, else privateGroup
}

// planInstall looks at everything first. autostart is what New adds.
func (s *session) planInstall(ctx context.Context, paths []string, autostart bool) ([]chapter, error) {
	var problems Problems
	s.checkLayout(&problems)
	var targets []*target
	for _, path := range paths {
		t, err := s.examine(ctx, path)
		if err != nil {
			problems.addError(err)
			continue
		}
		targets = append(targets, t)
	}
	chapters := []chapter{s.planHome(s.commonGroup(targets, &problems), &problems)}
	for _, t := range targets {
		c, err := s.planRepository(ctx, t, autostart, &problems)
		if err != nil {
			problems.addError(err)
		}
		chapters = append(chapters, c)
	}
	return chapters, problems.err()
}

func (s *session) checkLayout(problems *Problems) {
	switch s.Layout {
	case "", "auto", "solo", "team":
	default:
		hint := ""
		if near := gitmodels.Suggest(s.Layout, []string{"auto", "solo", "team"}); near != "" {
			hint = "--layout " + near
		}
		problems.add(fmt.Sprintf("layout %s: want auto, solo or team", shown(s.Layout)), hint)
	}
}

// commonGroup is the group that the spool is for: one state directory serves
// the repositories of one group.
func (s *session) commonGroup(targets []*target, problems *Problems) int {
	group := privateGroup
	if gid, shared := groupOf(filepath.Join(s.Home, "spool", "new")); shared {
		group = gid
	}
	for _, t := range targets {
		if t.group != privateGroup && group != privateGroup && t.group != group {
			problems.add(fmt.Sprintf("%s is shared by group %s, but %s already serves group %s",
				shown(t.repo.Dir()), groupName(t.group), shown(s.Home), groupName(group)),
				"git models --home /another/folder install "+quote(t.repo.Dir()))
		}
		if t.group != privateGroup {
			group = t.group
		}
	}
	return group
}

// planRepository makes the steps for one repository. The hooks come last: with
// them the repository is live.
func (s *session) planRepository(ctx context.Context, t *target, autostart bool, problems *Problems) (chapter, error) {
	dir := t.repo.Dir()
	c := chapter{title: shown(dir)}
	refs, err := t.repo.Refs(ctx)
	if err != nil {
		return c, err
	}
	if p := s.clash(t, refs); p != nil {
		*problems = append(*problems, p)
	}

	_, err = os.Stat(t.hooks)
	noHooks := errors.Is(err, fs.ErrNotExist)
	rec := record{Version: recordVersion, Home: s.Home, Hooks: t.hooks, MadeHooks: noHooks}
	moved := false // git looks elsewhere for hooks than when they were installed
	if was := t.installed; was != nil {
		rec.Settings = append(rec.Settings, was.Settings...)
		moved = was.Hooks != t.hooks
		rec.MadeHooks = noHooks || was.MadeHooks && !moved
	}
	settings := planSettings(t.repo, t.own, s.settings(t.policy, autostart), &rec)
	if moved {
		steps, notes, err := planUnhook(t.installed.Hooks, t.installed)
		if err != nil {
			return c, err
		}
		c.steps, c.notes = append(c.steps, steps...), append(c.notes, notes...)
	}
	if t.installed == nil || moved || noHooks || len(settings) > 0 {
		c.steps = append(c.steps, step{do: func(context.Context) error { return rec.write(dir) }})
	}
	c.steps = append(c.steps, settings...)
	if len(refs) > 0 && !hasCommitGraph(dir) {
		c.steps = append(c.steps, step{says: "wrote the commit-graph", again: true, do: t.repo.WriteCommitGraph})
	}
	known, err := s.knows(ctx, s.Home, dir)
	if err != nil {
		return c, err
	}
	if !known {
		c.steps = append(c.steps, s.register(t, tips(t.policy, refs)))
	}
	if noHooks {
		c.steps = append(c.steps, step{do: func(context.Context) error { return os.MkdirAll(t.hooks, 0o777) }})
	}
	c.steps = append(c.steps, s.planHooks(t.hooks, t.installed, problems)...)
	c.notes = append(c.notes, engineNote(t.policy)...)
	return c, nil
}

func (s *session) register(t *target, tips []gitmodels.Tip) step {
	dir := t.repo.Dir()
	name := repositoryName(dir)
	says := "registered"
	if n := len(tips); n == 1 {
		says += fmt.Sprintf("; what %s holds now does not run by itself", tips[0].Ref.Short())
	} else if n > 1 {
		says += fmt.Sprintf("; what %d refs hold now does not run by itself", n)
	}
	return step{says: says, do: func(ctx context.Context) error {
		l, err := s.ledger(ctx, s.Home)
		if err != nil {
			return err
		}
		_, _, err = l.Register(ctx, dir, name, tips)
		return err
	}}
}

// repositoryName is what the repository at dir is called in listings and in the
// store: the last part of its path, with a dash for what is not plain there. The
// ledger makes it unique.
func repositoryName(dir string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return '-'
	}, strings.TrimSuffix(filepath.Base(dir), ".git"))
	name = strings.TrimLeft(name, ".-")
	if name == "" {
		return "repository"
	}
	return name[:min(len(name), 100)]
}

// tips are the governed refs as they stand.
func tips(p *policy.Policy, refs []gitmodels.Ref) []gitmodels.Tip {
	var list []gitmodels.Tip
	for _, r := range refs {
		if r.Symref == "" && p.Governed(r.Name) {
			list = append(list, gitmodels.Tip{Ref: r.Name, Commit: r.ID})
		}
	}
	return list
}

// clash finds a branch that the asked layout has no room for: git keeps either
// models or branches below models/, never both.
func (s *session) clash(t *target, refs []gitmodels.Ref) *gitmodels.Error {
	for _, r := range refs {
		solo := r.Name == "refs/heads/models"
		team := strings.HasPrefix(string(r.Name), "refs/heads/models/")
		has := map[bool]string{true: "solo", false: "team"}[solo]
		if (solo || team) && (s.Layout == "solo" || s.Layout == "team") && s.Layout != has {
			return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "install",
				Message: fmt.Sprintf("%s has the branch %s, so its layout is %s, not %s", shown(t.repo.Dir()), shown(r.Name.Short()), has, s.Layout),
				Hint:    "git models install --layout " + has + " " + quote(t.repo.Dir())}
		}
	}
	return nil
}

// engineNote says what a push will find.
func engineNote(p *policy.Policy) []string {
	switch {
	case p.Engine == "":
		return []string{"engine: NONE, pushes will wait (git config --global models.engine process)"}
	case p.Engine != "process":
		return []string{"engine: " + p.Engine}
	case p.AllowProcess == "true":
		return []string{"engine: process, in its sandbox"}
	case p.AllowProcess == "unsandboxed":
		return []string{"engine: process, WITHOUT a sandbox: whoever may push runs programs as this user"}
	}
	return []string{"engine: process is not allowed yet, pushes will wait (git config --global models.allowProcess true)"}
}

// hasCommitGraph reports whether there is one; the runner keeps it fresh.
func hasCommitGraph(gitDir string) bool {
	for _, name := range []string{"commit-graph", "commit-graphs/commit-graph-chain"} {
		if _, err := os.Lstat(filepath.Join(gitDir, "objects", "info", name)); err == nil {
			return true
		}
	}
	return false
}

// notAsRoot keeps root from working in another user's repository: runs would be
// started as root, and the record that uninstalling follows is that user's to
// write.
func notAsRoot(dir string, info fs.FileInfo, command, because string) error {
	if os.Geteuid() != 0 || owner(info) == 0 {
		return nil
	}
	return &gitmodels.Error{Kind: gitmodels.Forbidden, Op: command,
		Message: fmt.Sprintf("%s belongs to user %s: %s as that user, not as root, because %s", shown(dir), userName(owner(info)), command, because),
		Hint:    asUser(owner(info), "git models "+command+" "+quote(dir))}
}

// examine opens the repository at path and refuses what cannot be served.
func (s *session) examine(ctx context.Context, path string) (*target, error) {
	repo, err := open(ctx, path)
	if err != nil {
		return nil, err
	}
	dir := repo.Dir()
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if err := checkPath(dir); err != nil {
		return nil, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "install", Message: "the repository's path " + err.Error()}
	}
	if err := notAsRoot(dir, info, "install", "runs are started as whoever installs"); err != nil {
		return nil, err
	}
	entries, err := repo.Config(ctx, filepath.Join(s.Home, "config"))
	if err != nil {
		return nil, err
	}
	t := &target{repo: repo, own: ownEntries(dir, entries), group: privateGroup}
	t.policy, _ = policy.Parse(entries, policy.Runner.At(s.Home))
	if shared(entries) {
		t.group = int(info.Sys().(*syscall.Stat_t).Gid)
	}
	if t.installed, err = readRecord(dir); err != nil {
		return nil, err
	}
	if t.installed != nil && t.installed.Home != s.Home {
		return nil, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "install",
			Message: fmt.Sprintf("%s is served from %s already, not from %s", shown(dir), shown(t.installed.Home), shown(s.Home)),
			Hint:    "git models --home " + quote(t.installed.Home) + " uninstall " + quote(dir)}
	}
	var refused *gitmodels.Error
	if t.hooks, refused = hooksFolder(dir, entries); refused != nil {
		return nil, refused
	}
	if err := checkRunnable(dir, t.hooks); err != nil {
		return nil, err
	}
	return t, checkWritable(dir, t.hooks)
}

// open opens the bare repository at path and says of everything else what it is.
func open(ctx context.Context, path string) (*gitrepo.Repo, error) {
	refuse := func(hint, format string, args ...any) error {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "install", Message: fmt.Sprintf(format, args...), Hint: hint}
	}
	real, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	real, err = filepath.EvalSymlinks(real)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(path + ".git"); err == nil {
			return nil, refuse("git models install "+quote(path+".git"), "%s does not exist, but %s.git does", shown(path), shown(path))
		}
		return nil, refuse("git models new "+quote(path), "%s does not exist", shown(path))
	} else if err != nil {
		return nil, refuse("", "%s cannot be reached: %v", shown(path), err)
	}
	if info, err := os.Stat(real); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, refuse("", "%s is a file, want the folder of a bare repository", shown(path))
	}
	gitDir, bare, worktree, err := gitrepo.Discover(ctx, real)
	switch {
	case gitmodels.KindOf(err) == gitmodels.NotFound:
		return nil, refuse("git models new "+quote(filepath.Join(path, "NAME.git")), "%s is not a git repository", shown(path))
	case err != nil:
		return nil, err
	case !bare:
		around := worktree
		if around == "" {
			around = filepath.Dir(gitDir)
		}
		return nil, refuse("git clone --bare "+quote(around)+" "+quote(strings.TrimRight(around, "/")+".git"),
			"%s is not a bare repository: nobody can push to the branch that is checked out", shown(path))
	case gitDir != real:
		return nil, refuse("git models install "+quote(gitDir), "%s is a folder inside of the repository %s", shown(path), shown(gitDir))
	}
	return gitrepo.Open(real)
}

// checkPath refuses a path that configuration and records cannot carry.
func checkPath(path string) error {
	switch {
	case !filepath.IsAbs(path):
		return fmt.Errorf("%s is not absolute", shown(path))
	case !utf8.ValidString(path):
		return fmt.Errorf("%s is not valid UTF-8", shown(path))
	}
	return nil
}

// checkHomePath refuses what policy does not take for models.home.
func checkHomePath(path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	if strings.IndexFunc(path, unicode.IsControl) >= 0 {
		return fmt.Errorf("%s has control characters", shown(path))
	}
	return nil
}

// checkWritable refuses a repository that this user cannot change.
func checkWritable(gitDir, hooks string) error {
	for _, dir := range []string{gitDir, hooks} {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if !writable(dir) {
			return &gitmodels.Error{Kind: gitmodels.Forbidden, Op: "install",
				Message: fmt.Sprintf("%s is not writable by user %s", shown(dir), userName(os.Geteuid()))}
		}
	}
	return nil
}

// checkRunnable refuses a repository whose hooks git would pass over, because
// nothing of that file system may be run (mount(8), noexec).
func checkRunnable(gitDir, hooks string) error {
	dir := hooks
	if _, err := os.Stat(hooks); errors.Is(err, fs.ErrNotExist) {
		dir = gitDir
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return &gitmodels.Error{Op: "install", Message: shown(dir) + " cannot be looked at", Err: err}
	}
	if stat.Flags&unix.ST_NOEXEC == 0 {
		return nil
	}
	return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "install",
		Message: fmt.Sprintf("%s lies on a file system that is mounted noexec: git would pass over the hooks there, and so over the gate", shown(dir))}
}

func writable(dir string) bool {
	return unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil
}

// ownEntries are those of the repository's own file: includes and other scopes
// are not ours to change.
func ownEntries(gitDir string, entries []gitmodels.ConfigEntry) ownConfig {
	var own ownConfig
	for _, e := range entries {
		file := strings.TrimPrefix(e.Origin, "file:")
		if !filepath.IsAbs(file) {
			file = filepath.Join(gitDir, file)
		}
		if e.Scope == "local" && file == filepath.Join(gitDir, "config") {
			own = append(own, e)
		}
	}
	return own
}

// shared reads core.sharedRepository as git does (git-config(1)).
func shared(entries []gitmodels.ConfigEntry) bool {
	yes := false
	for _, e := range entries {
		if e.Key != "core.sharedrepository" {
			continue
		}
		switch v := strings.ToLower(e.Value); {
		case e.Bare, v == "group", v == "true", v == "yes", v == "on", v == "all", v == "world", v == "everybody", v == "1", v == "2":
			yes = true
		default:
			var mode uint32
			n, err := fmt.Sscanf(v, "%o", &mode)
			yes = n == 1 && err == nil && mode&0o060 == 0o060
		}
	}
	return yes
}
