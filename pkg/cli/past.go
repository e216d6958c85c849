package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
	"github.com/git-models/git-models/pkg/pipeline"
	"github.com/git-models/git-models/pkg/plan"
	"github.com/git-models/git-models/pkg/policy"
	"github.com/git-models/git-models/pkg/publish"
)

// past is what a repository tells of its trained commits: rows of the runner
// where it answers, and notes. One git child reads all the objects.
type past struct {
	p       *program
	session *gitrepo.Session
	site    *site
	rows    map[gitmodels.CommitID]gitmodels.Listing // nil: not asked for yet
	notes   gitmodels.CommitID                       // on the server: tip of the notes, for what is not among rows
	pol     *policy.Policy                           // what parameters are read under
	params  map[gitmodels.CommitID]parameters

	curvesTip *gitmodels.CommitID // of publish.CurvesRef; nil: not looked up yet
}

// parameters is what a commit's own files say about its training.
type parameters struct {
	overrides []string
	ranked    *gitmodels.Best
	filter    pipeline.Filter // which changed paths start a run
	known     bool            // the files are here and in order
}

// recentRows is how many rows the server is asked for: what is live, or ended
// and not published yet, is among the newest. Older outcomes have their notes.
const recentRows = 1000

// past opens the repository of s. Close it.
func (p *program) past(ctx context.Context, s *site) *past {
	h := &past{p: p, session: s.repo.Session(ctx), site: s, params: map[gitmodels.CommitID]parameters{}}
	h.pol, _ = policy.Parse(nil, policy.Hook)
	return h
}

// load reads what is known of runs: in a clone all notes, on the server the
// newest rows.
func (h *past) load(ctx context.Context) error {
	if h.rows != nil {
		return nil
	}
	var rows []gitmodels.Listing
	var err error
	if s := h.site; !s.server {
		rows, err = h.p.fromNotes(ctx, s)
	} else if h.notes, err = s.repo.Tip(ctx, s.policy.NotesRef); err == nil {
		rows, err = h.p.list(ctx, s, s.path(), recentRows)
	}
	if err != nil {
		return err
	}
	h.rows = make(map[gitmodels.CommitID]gitmodels.Listing, len(rows))
	for _, row := range rows {
		h.rows[row.Commit] = row
	}
	return nil
}

// find is the run that word names, with its details.
func (h *past) find(ctx context.Context, word string) (row gitmodels.Listing, err error) {
	if h.site.server {
		return h.p.show(ctx, h.site, word)
	}
	err = h.site.named(ctx, word, func(commit string) error {
		if err := h.load(ctx); err != nil {
			return err
		}
		row, err = pick(h.rows, commit)
		return err
	})
	return row, err
}

// Close ends the git child.
func (h *past) Close() { h.session.Close() }

// row is what is known of the run of a commit; false when it has none.
func (h *past) row(ctx context.Context, commit gitmodels.CommitID) (gitmodels.Listing, bool, error) {
	if err := h.load(ctx); err != nil {
		return gitmodels.Listing{}, false, err
	}
	row, ok := h.rows[commit]
	if !ok && h.notes != "" {
		text, noted, err := h.session.Note(ctx, h.notes, commit)
		if err != nil {
			return row, false, err
		}
		if parsed, ours := publish.ParseNote(text, commit); noted && ours {
			row, ok = parsed.Listing(h.site.repositoryName()), true
		}
	}
	return row, ok && row.Run != nil, nil
}

// walk gives the trained commits that tip reaches to each, newest first, until
// it has had enough.
func (h *past) walk(ctx context.Context, tip gitmodels.CommitID, exclude []gitmodels.CommitID, each func(gitmodels.Listing) (more bool, err error)) error {
	// Most lines are told by their last few commits; git lists those at once.
	for seen, limit := 0, 2048; ; limit *= 16 {
		ids, err := h.session.Commits(ctx, tip, exclude, limit)
		if err != nil {
			return err
		}
		for _, id := range slices.Backward(ids[:max(0, len(ids)-seen)]) {
			row, ok, err := h.row(ctx, id)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if more, err := each(row); err != nil || !more {
				return err
			}
		}
		if seen = len(ids); seen < limit {
			return nil
		}
	}
}

// before is the trained commit that comes next in the history of commit, whose
// parameters are compared with its own; false when there is none here.
func (h *past) before(ctx context.Context, commit gitmodels.CommitID) (row gitmodels.Listing, ok bool, err error) {
	if lacks, err := h.lacks(ctx, commit); lacks || err != nil {
		return row, false, err // its note is all there is
	}
	err = h.walk(ctx, commit, nil, func(r gitmodels.Listing) (bool, error) {
		if r.Commit == commit {
			return true, nil
		}
		row, ok = r, true
		return false, nil
	})
	return row, ok, err
}

// lacks reports whether the commit is not in this repository: a clone may have
// its note alone.
func (h *past) lacks(ctx context.Context, commit gitmodels.CommitID) (bool, error) {
	_, err := h.session.Commit(ctx, commit)
	if isKind(err, gitmodels.NotFound) {
		return true, nil
	}
	return false, err
}

// parameters reads the commit's files. What is not here, or at fault, is not
// known; anything else is an error.
func (h *past) parameters(ctx context.Context, commit gitmodels.CommitID) (parameters, error) {
	if got, ok := h.params[commit]; ok {
		return got, nil
	}
	made, err := plan.Make(ctx, plan.Input{Commit: commit, Ref: "refs/heads/models", Repository: h.site.repositoryName(),
		Policy: h.pol, Files: h.session})
	var faults *plan.Faults
	var got parameters
	switch {
	case err == nil:
		got = parameters{overrides: made.Overrides, ranked: made.Best, filter: made.Filter, known: true}
	case errors.As(err, &faults), gitmodels.KindOf(err) == gitmodels.NotFound:
	default:
		return got, err
	}
	h.params[commit] = got
	return got, nil
}

// details is a run with what its commit's files and its notes add.
type details struct {
	gitmodels.Listing
	before  gitmodels.Listing       // the trained commit before it; without a Run when none is known
	changes []gitmodels.ParamChange // of the parameters since then
	curves  []gitmodels.Metric
}

// own adds to a row its subject and parameters, as far as they are here.
func (h *past) own(ctx context.Context, row gitmodels.Listing) (details, error) {
	d := details{Listing: row}
	info, err := h.session.Commit(ctx, row.Commit)
	switch {
	case isKind(err, gitmodels.NotFound): // a clone may have its note alone
	case err != nil:
		return d, err
	default:
		d.Subject = shown(info.Subject)
	}
	own, err := h.parameters(ctx, row.Commit)
	if err != nil {
		return d, err
	}
	if d.Overrides == nil {
		d.Overrides = own.overrides
	}
	if d.RankedBy == nil {
		d.RankedBy = own.ranked
	}
	return d, nil
}

// details is own with the curves, and what changed since the trained commit
// before.
func (h *past) details(ctx context.Context, row gitmodels.Listing) (details, error) {
	d, err := h.own(ctx, row)
	if err != nil {
		return d, err
	}
	if d.curves, err = h.curves(ctx, row.Commit); err != nil {
		return d, err
	}
	before, ok, err := h.before(ctx, row.Commit)
	if err != nil || !ok {
		return d, err
	}
	d.before = before
	d.changes, _, err = h.changes(ctx, before.Commit, row.Commit)
	return d, err
}

// curves are the series of a run, as the notes of publish.CurvesRef hold them.
func (h *past) curves(ctx context.Context, commit gitmodels.CommitID) ([]gitmodels.Metric, error) {
	if h.curvesTip == nil {
		tip, err := h.site.repo.Tip(ctx, publish.CurvesRef)
		if err != nil {
			return nil, err
		}
		h.curvesTip = &tip
	}
	if *h.curvesTip == "" {
		return nil, nil
	}
	text, _, err := h.session.Note(ctx, *h.curvesTip, commit)
	return publish.ParseCurves(text), err
}

// changes compares the parameters of two commits; known is false when those of
// either are not.
func (h *past) changes(ctx context.Context, before, after gitmodels.CommitID) (changes []gitmodels.ParamChange, known bool, err error) {
	a, err := h.parameters(ctx, before)
	if err != nil || !a.known {
		return nil, false, err
	}
	b, err := h.parameters(ctx, after)
	if err != nil || !b.known {
		return nil, false, err
	}
	return gitmodels.ParamChanges(a.overrides, b.overrides), true, nil
}

// line finds the ref whose history a person means who names none, or the one
// that word names: as it is called here, or as it is called on the server.
func (s *site) line(ctx context.Context, word string) (ref gitmodels.RefName, err error) {
	lines, err := s.lines(ctx)
	if err != nil {
		return "", err
	}
	if word != "" {
		for _, name := range lines {
			if s.serverName(name).Short() == word || string(s.serverName(name)) == word || string(name) == word || name.Short() == word {
				return name, nil
			}
		}
		return "", nil
	}
	for _, want := range []string{"models", "models/main"} {
		for _, name := range lines {
			if s.serverName(name).Short() == want {
				return name, nil
			}
		}
	}
	if len(lines) == 0 {
		return "", nil
	}
	return lines[0], nil
}

const remotePrefix = "refs/remotes/origin/"

// serverName is how the server calls a ref of this repository.
func (s *site) serverName(ref gitmodels.RefName) gitmodels.RefName {
	if rest, ok := strings.CutPrefix(string(ref), remotePrefix); ok && !s.server {
		return gitmodels.RefName("refs/heads/" + rest)
	}
	return ref
}

// lines are the governed refs that this repository knows, by name: in a clone
// those of the remote, or, before the first fetch of one, its own.
func (s *site) lines(ctx context.Context) ([]gitmodels.RefName, error) {
	refs, err := s.repo.Refs(ctx, "refs/heads", "refs/remotes/origin")
	if err != nil {
		return nil, err
	}
	var remote, own []gitmodels.RefName
	for _, ref := range refs {
		name := s.serverName(ref.Name)
		switch {
		case !s.policy.Governed(name):
		case name == ref.Name:
			own = append(own, ref.Name)
		default:
			remote = append(remote, ref.Name)
		}
	}
	if len(remote) > 0 {
		return remote, nil
	}
	return own, nil
}

// noLine is the error where no ref holds trained commits yet.
func (s *site) noLine() error {
	e := &gitmodels.Error{Kind: gitmodels.NotFound, Message: "there is no branch models here, nor one below models/"}
	if !s.server {
		e.Hint = "git fetch origin"
	}
	return e
}

// briefly is a list of changes for a narrow column: the last part of a key is
// enough where no other change has the same.
func briefly(changes []gitmodels.ParamChange) string {
	last := func(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }
	times := map[string]int{}
	for _, c := range changes {
		times[last(c.Key)]++
	}
	var words []string
	for i, c := range changes {
		if i == 4 {
			words = append(words, fmt.Sprintf("%d more", len(changes)-i))
			break
		}
		if name := last(c.Key); times[name] == 1 && name != "" {
			c.Key = name
		}
		words = append(words, shown(c.String()))
	}
	return strings.Join(words, ", ")
}
