package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/store"
)

func (p *program) downloadCommand() *urfave.Command {
	return &urfave.Command{
		Name: "download", Category: toAct,
		Usage:     "fetch the artifacts of a run, with their checksums proven",
		UsageText: "[--to DIR] [--list] [--json] SHA [PATTERN]",
		Description: "Copies what a run made into ./RUN, a folder with the run's name, or into DIR/RUN. run.json, which the " +
			"runner writes last, says which files there are and their SHA-256: a file that is not just so is an error, and " +
			"nothing half stays behind. A file that is there already and the same is left alone, another one is never " +
			"overwritten. SHA may be the name of an attempt, such as 5a32b0f-r2; else it is the last one.\n\n" +
			"PATTERN takes some of the files: a shell's pattern over the path below the run, where * does not match /, or a " +
			"folder.\n\n" +
			"Results that lie in a folder are read there, or, in a clone whose origin is reached over ssh, by that ssh with " +
			"its sftp, as the account that you push with. Otherwise it says where they lie and who can read them.",
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "to", Usage: "make the run's folder in `DIR`"},
			&urfave.BoolFlag{Name: "list", Aliases: []string{"l"}, Usage: "only list the files"},
			jsonFlag(),
		},
		Action: p.download,
	}
}

// results is one attempt's results and where they lie.
type results struct {
	name      string // of the attempt: a safe name of a folder
	commit    gitmodels.CommitID
	artifacts string // absolute path
	metrics   string // absolute path
}

// artifact is one file of a run, as run.json tells of it.
type artifact struct {
	Path   string  `json:"path"` // below the run's artifacts
	Size   int64   `json:"size"`
	SHA256 string  `json:"sha256"`
	File   *string `json:"file"` // where it is now; null: it was only listed
}

// source is where results are read: this machine's files, or another's by ssh.
type source interface {
	// open opens a regular file. No part of name below root may be a symbolic
	// link. What does not exist is fs.ErrNotExist.
	open(ctx context.Context, root, name string) (io.ReadCloser, error)
	Close() error
}

func (p *program) download(c *urfave.Context) error {
	got, err := words(c, 1, 2, "the commit")
	if err != nil {
		return err
	}
	pattern := ""
	if len(got) > 1 {
		pattern = strings.TrimSuffix(got[1], "/")
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return usage("the pattern %s has a [ without a ]", shown(pattern))
	}
	s, err := p.site(c.Context)
	if err != nil {
		return err
	}
	if s.repo == nil {
		return p.needRepository("download " + shown(got[0]))
	}
	r, err := p.resultsOf(c.Context, s, got[0])
	if err != nil {
		return err
	}
	from, run, err := p.openResults(c.Context, s, r)
	if err != nil {
		return err
	}
	defer from.Close()
	files, err := artifactsOf(run, r)
	if err != nil {
		return err
	}
	total := len(files)
	if files = matching(files, pattern); len(files) == 0 {
		e := &gitmodels.Error{Kind: gitmodels.NotFound, Message: "run " + r.name + " made no artifacts"}
		if total > 0 {
			e.Message = fmt.Sprintf("none of the %d artifacts of %s matches %s", total, r.name, shown(pattern))
			e.Hint = "git models download --list " + r.name
		}
		return e
	}
	if !c.Bool("list") {
		dir := filepath.Join(p.absolute(c.String("to")), r.name)
		if err := p.fetchInto(c.Context, from, r, files, dir); err != nil {
			return err
		}
	}
	if c.Bool("json") {
		return p.json(files)
	}
	for _, f := range files {
		if f.File != nil {
			p.printf("%s\n", gitmodels.Printable(p.relative(*f.File), 0))
			continue
		}
		p.printf("%s  %12d  %s\n", f.SHA256, f.Size, gitmodels.Printable(f.Path, 0))
	}
	return nil
}

// relative is a path as people below this folder type it.
func (p *program) relative(file string) string {
	if rel, err := filepath.Rel(p.edges.Dir, file); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return file
}

// runName is the name of an attempt, as a folder may be called.
var runName = pattern(`^([0-9a-f]{4,64})(-r[1-9][0-9]{0,8})?$`)

// resultsOf finds where an attempt's results lie. What it says is a note's at
// worst, and a note may be anybody's: everything is checked before it is used.
func (p *program) resultsOf(ctx context.Context, s *site, word string) (results, error) {
	row, err := p.show(ctx, s, word)
	if err != nil {
		return results{}, err
	}
	name := row.Name
	if name == "" {
		name = row.Short
	}
	switch {
	case row.State == nil:
		return results{}, &gitmodels.Error{Kind: gitmodels.NotFound, Message: shown(row.Short) + " never ran"}
	case !row.State.Terminal():
		return results{}, &gitmodels.Error{Kind: gitmodels.NotFound,
			Message: shown(name) + " is " + string(*row.State) + ": its artifacts are stored when it ends", Hint: "git models show " + quote(row.Short)}
	}
	m := runName().FindStringSubmatch(name)
	if m == nil || !strings.HasPrefix(string(row.Commit), m[1]) {
		return results{}, &gitmodels.Error{Kind: gitmodels.Invalid, Message: shown(name) + " is no name of a run"}
	}
	r := results{name: name, commit: row.Commit}
	asked := name
	if attemptName().MatchString(word) && strings.HasPrefix(strings.ToLower(word), m[1][:4]) {
		_, number, _ := strings.Cut(strings.ToLower(word), "-r")
		asked = m[1] + "-r" + number
		if number == "1" {
			asked = m[1]
		}
	}
	if r.artifacts, err = folderOf(text(row.Artifacts), name, asked); err != nil {
		return r, err
	}
	r.name = asked
	r.metrics, err = folderOf(text(row.Metrics), name, asked)
	return r, err
}

// folderOf is the folder that a file:// URI of the attempt name stands for, for
// the attempt asked.
func folderOf(uri, name, asked string) (string, error) {
	scheme, _, ok := strings.Cut(uri, "://")
	switch {
	case uri == "":
		return "", &gitmodels.Error{Kind: gitmodels.NotFound, Message: "the run of " + name + " stored nothing", Hint: "git models show " + name}
	case ok && scheme != "file":
		return "", &gitmodels.Error{Kind: gitmodels.Invalid, Message: "refused: fetching from " + shown(scheme) + ":// is not in this version: the results lie at " + shown(uri)}
	}
	dir, err := store.Path(uri)
	if err != nil || asked == name {
		return dir, err
	}
	if path.Base(dir) != name {
		return "", &gitmodels.Error{Kind: gitmodels.NotFound, Message: "where the results of " + asked + " lie is not known; the last attempt is " + name}
	}
	return path.Join(path.Dir(dir), asked), nil
}

// maxRunFile bounds run.json, in bytes: a hundred thousand files fit.
const maxRunFile = 64 << 20

// openResults finds a way to the results and reads their run.json.
func (p *program) openResults(ctx context.Context, s *site, r results) (source, *gitmodels.Outcome, error) {
	run, err := readRun(ctx, localFiles{}, r)
	if err == nil {
		return localFiles{}, run, nil
	}
	unreachable := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
	if !unreachable {
		return nil, nil, err
	}
	remote, isSSH, sshErr := p.sshOrigin(ctx, s)
	if sshErr != nil {
		return nil, nil, sshErr
	}
	if s.server || !isSSH {
		return nil, nil, notReadable(s, r, err)
	}
	p.say("reading %s on %s by sftp", gitmodels.Printable(r.artifacts, 0), shown(remote.host))
	far, err := p.dialSFTP(ctx, remote)
	if err != nil {
		return nil, nil, &gitmodels.Error{Kind: gitmodels.Forbidden,
			Message: "no sftp as " + shown(remote.host) + ": " + message(err) + "; " + whoReads(s, r), Err: err}
	}
	if run, err = readRun(ctx, far, r); err != nil {
		far.Close()
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil, nil, &gitmodels.Error{Kind: gitmodels.Forbidden,
				Message: "the account on " + shown(remote.host) + " cannot read them; " + whoReads(s, r), Err: err}
		}
		return nil, nil, err
	}
	return far, run, nil
}

// whoReads says where results lie and who can read them, as far as that is known
// from elsewhere.
func whoReads(s *site, r results) string {
	host := "the server"
	if h := hostOf(s.origin); h != "" {
		host = h
	}
	return "the artifacts lie at " + gitmodels.Printable(r.artifacts, 0) + " on " + shown(host) +
		", readable for the account that runs git-models there"
}

// notReadable is the error when results cannot be read from here.
func notReadable(s *site, r results, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return &gitmodels.Error{Kind: gitmodels.Forbidden,
			Message: "the artifacts lie at " + gitmodels.Printable(r.artifacts, 0) + ", and " + ownerOf(r.metrics)}
	}
	if s.server {
		return &gitmodels.Error{Kind: gitmodels.NotFound, Message: "there is no run.json in " + gitmodels.Printable(r.metrics, 0) +
			": the results of " + r.name + " are gone or were never stored", Hint: "git models show " + r.name}
	}
	return &gitmodels.Error{Kind: gitmodels.NotFound, Message: "not on this machine: " + whoReads(s, r)}
}

// ownerOf says who owns what keeps this account from reading the results: the
// first folder on the way that it may not enter, or the file.
func ownerOf(dir string) string {
	at := "/"
	for part := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		at = path.Join(at, part)
		info, err := os.Lstat(at)
		if err != nil {
			break
		}
		if info.IsDir() && !passable(at) {
			return fmt.Sprintf("%s is not open to this account: it belongs to %s (%s)", gitmodels.Printable(at, 0), ownerName(info), info.Mode())
		}
	}
	if info, err := os.Lstat(path.Join(dir, store.RunFile)); err == nil {
		return fmt.Sprintf("their run.json is not readable for this account: it belongs to %s (%s)", ownerName(info), info.Mode())
	}
	return "they are not open to this account"
}

// readRun reads run.json and checks that it speaks of this attempt.
func readRun(ctx context.Context, from source, r results) (*gitmodels.Outcome, error) {
	f, err := from.open(ctx, r.metrics, store.RunFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRunFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading run.json: %w", err)
	}
	var o gitmodels.Outcome
	if len(data) > maxRunFile {
		err = fmt.Errorf("it has more than %d bytes", maxRunFile)
	} else if err = json.Unmarshal(data, &o); err == nil && (o.Commit != r.commit || o.Name != r.name) {
		err = fmt.Errorf("it is of %s, commit %s", shown(o.Name), gitmodels.Printable(string(o.Commit), 40))
	}
	if err != nil {
		return nil, &gitmodels.Error{Kind: gitmodels.Invalid, Message: "run.json in " + gitmodels.Printable(r.metrics, 0) +
			" cannot be that of " + r.name + ": " + gitmodels.Printable(err.Error(), 200)}
	}
	return &o, nil
}

var sha256Hex = pattern(`^[0-9a-f]{64}$`)

// artifactsOf takes the artifacts out of run.json, and refuses it as a whole
// when it names a file that no runner would have stored.
func artifactsOf(o *gitmodels.Outcome, r results) ([]artifact, error) {
	files := []artifact{}
	seen := map[string]bool{}
	for _, f := range o.Files {
		name, ok := strings.CutPrefix(f.Path, "artifacts/")
		if !ok {
			continue
		}
		why := oddPath(name)
		switch {
		case why != "":
		case seen[name]:
			why = "it is named twice"
		case !sha256Hex().MatchString(f.SHA256) || f.Size < 0:
			why = "its size or checksum makes no sense"
		case len(files) == store.MaxFiles:
			why = "there are too many files"
		}
		if why != "" {
			return nil, &gitmodels.Error{Kind: gitmodels.Invalid, Message: "refused: the run.json of " + r.name + " names the file " +
				gitmodels.Printable(f.Path, 200) + ": " + why}
		}
		seen[name] = true
		files = append(files, artifact{Path: name, Size: f.Size, SHA256: f.SHA256})
	}
	return files, nil
}

// oddPath says why a path is none that a file may be written to, or nothing.
func oddPath(name string) string {
	switch {
	case !filepath.IsLocal(name) || path.Clean(name) != name || name == ".":
		return "it leaves the folder, or is no plain path"
	case len(name) > 4095:
		return "it is too long"
	case gitmodels.Printable(name, 0) != name:
		return "it holds control characters"
	}
	for part := range strings.SplitSeq(name, "/") {
		// A folder of that name makes git run what is configured in it.
		if strings.EqualFold(part, ".git") {
			return "git would take the folder for a repository's own"
		}
	}
	return ""
}

// matching keeps the files that pattern matches: their path, or a folder on it.
func matching(files []artifact, pattern string) []artifact {
	if pattern == "" {
		return files
	}
	var kept []artifact
	for _, f := range files {
		for at := f.Path; at != "."; at = path.Dir(at) {
			if ok, err := path.Match(pattern, at); ok && err == nil {
				kept = append(kept, f)
				break
			}
		}
	}
	return kept
}
