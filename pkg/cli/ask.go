package cli

import (
	"context"
	"io"
	"sort"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/publish"
	"github.com/git-models/git-models/pkg/runner"
	"github.com/git-models/git-models/pkg/wire"
)

// Every question goes to who knows most: on the server the runner by its
// socket, without one the ledger for the owner of the state directory, and for
// everybody else, as in a clone, the notes.

// list returns the rows of the repository at path, newest first; an empty path
// means every repository of the state directory. limit 0 means all.
func (p *program) list(ctx context.Context, s *site, path string, limit int) ([]gitmodels.Listing, error) {
	if !s.server && s.repo != nil && path != "" {
		return p.fromNotes(ctx, s)
	}
	rows, err := askRunner(ctx, s.home, wire.Request{Op: wire.List, Repository: path, Limit: limit})
	if !wire.IsNoRunner(err) {
		return rows, err
	}
	if !owns(s.home) {
		if path == "" || s.repo == nil {
			return nil, notOurs(s.home)
		}
		return p.fromNotes(ctx, s)
	}
	err = p.withService(ctx, s.home, func(svc *runner.Service) (err error) {
		rows, err = svc.List(ctx, path, limit)
		return err
	})
	return rows, err
}

// show returns the row of one commit with its details.
func (p *program) show(ctx context.Context, s *site, word string) (row gitmodels.Listing, err error) {
	err = s.named(ctx, word, func(commit string) error {
		if !s.server {
			row, err = p.oneFromNotes(ctx, s, commit)
			return err
		}
		rows, err := askRunner(ctx, s.home, wire.Request{Op: wire.Show, Repository: s.path(), Commit: commit})
		switch {
		case err == nil:
			row = rows[0]
			return nil
		case !wire.IsNoRunner(err):
			return err
		case !owns(s.home):
			row, err = p.oneFromNotes(ctx, s, commit)
			return err
		}
		return p.withService(ctx, s.home, func(svc *runner.Service) (err error) {
			row, err = svc.Show(ctx, s.path(), commit)
			return err
		})
	})
	return row, err
}

// askRunner asks for rows. A request for one commit is answered with one.
func askRunner(ctx context.Context, home string, req wire.Request) ([]gitmodels.Listing, error) {
	var rows []gitmodels.Listing
	err := wire.Call(ctx, home, req, func(r wire.Response) error {
		rows = append(rows, r.Rows...)
		return nil
	})
	if err == nil && req.Commit != "" && len(rows) != 1 {
		err = &gitmodels.Error{Kind: gitmodels.Internal, Message: "the runner's answer holds no run"}
	}
	return rows, err
}

// copyLog writes the log of a commit's run to out.
func (p *program) copyLog(ctx context.Context, s *site, commit, stage string, follow bool, out io.Writer) error {
	emit := func(piece []byte) error {
		_, err := out.Write(piece)
		return err
	}
	err := wire.Call(ctx, s.home, wire.Request{Op: wire.Logs, Repository: s.path(), Commit: commit, Stage: stage, Follow: follow},
		func(r wire.Response) error { return emit(r.Text) })
	switch {
	case !wire.IsNoRunner(err):
		return err
	case !owns(s.home):
		return notOurs(s.home)
	}
	return p.withService(ctx, s.home, func(svc *runner.Service) error {
		if follow {
			row, err := svc.Show(ctx, s.path(), commit)
			if err != nil || row.State == nil || !row.State.Terminal() {
				p.say("no runner is answering; this goes on when one does")
			}
		}
		return svc.Logs(ctx, s.path(), commit, stage, follow, emit)
	})
}

// withService lets use ask the ledger.
func (p *program) withService(ctx context.Context, home string, use func(*runner.Service) error) error {
	svc, done, err := p.service(ctx, home)
	if err != nil {
		return err
	}
	err = use(svc)
	if closeErr := done(); err == nil {
		err = closeErr
	}
	return err
}

// notOurs is the error when only the owner of home could say more.
func notOurs(home string) error {
	return &gitmodels.Error{Kind: gitmodels.Forbidden,
		Message: "no runner is answering, and " + gitmodels.Printable(home, 200) + " belongs to another user",
		Hint:    "ask its owner to run: git models runner"}
}

// fromNotes lists the outcomes that the repository's notes tell of, the last
// one to end first.
func (p *program) fromNotes(ctx context.Context, s *site) ([]gitmodels.Listing, error) {
	notes, err := s.repo.Notes(ctx, s.policy.NotesRef)
	if err != nil {
		return nil, err
	}
	var rows []gitmodels.Listing
	for _, n := range notes {
		if parsed, ok := publish.ParseNote(n.Text, n.Commit); ok {
			rows = append(rows, parsed.Listing(s.repositoryName()))
		}
	}
	byEnd(rows)
	p.sayNotes(s, len(rows))
	return rows, nil
}

// byEnd sorts outcomes, the last one to end first.
func byEnd(rows []gitmodels.Listing) {
	sort.SliceStable(rows, func(i, j int) bool {
		a, b := rows[i].Finished, rows[j].Finished
		switch {
		case a == nil || b == nil:
			return a != nil && b == nil
		case !a.Equal(*b):
			return a.After(*b)
		}
		return rows[i].Commit < rows[j].Commit
	})
}

// sayNotes says, once, where an answer comes from that is not the server's.
func (p *program) sayNotes(s *site, n int) {
	if p.toldNotes {
		return
	}
	p.toldNotes = true
	switch {
	case s.server:
		p.say("no runner is answering, and its state directory belongs to another user: this is from the notes")
	case n > 0:
		p.say("from the notes of the last git fetch; the server knows more")
	default:
		p.say("no outcome has been fetched yet")
		p.hint(fetchNotes)
	}
}

// fetchNotes gets what there is without changing any setting.
const fetchNotes = `git fetch origin "+refs/notes/models*:refs/notes/models*"`

// oneFromNotes finds one commit among the notes.
func (p *program) oneFromNotes(ctx context.Context, s *site, commit string) (gitmodels.Listing, error) {
	rows, err := p.fromNotes(ctx, s)
	if err != nil {
		return gitmodels.Listing{}, err
	}
	byCommit := make(map[gitmodels.CommitID]gitmodels.Listing, len(rows))
	for _, row := range rows {
		byCommit[row.Commit] = row
	}
	return pick(byCommit, commit)
}

// pick finds the one row whose commit begins with commit.
func pick(rows map[gitmodels.CommitID]gitmodels.Listing, commit string) (gitmodels.Listing, error) {
	var found []gitmodels.Listing
	for id, row := range rows {
		if strings.HasPrefix(string(id), commit) {
			found = append(found, row)
		}
	}
	shown := gitmodels.CommitID(commit).Short(12)
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		e := &gitmodels.Error{Kind: gitmodels.NotFound, Message: "no note tells of a run of " + shown}
		if len(rows) > 0 {
			e.Hint = fetchNotes
		}
		return gitmodels.Listing{}, e
	}
	return gitmodels.Listing{}, &gitmodels.Error{Kind: gitmodels.Invalid,
		Message: shown + " is ambiguous: several commits with a run begin so"}
}

// repositoryName is how a repository is called where no ledger names it: in a
// clone as the server's is, by the last part of the remote's URL, whatever the
// clone's folder is called.
func (s *site) repositoryName() string {
	name := s.path()
	if !s.server && s.origin != "" {
		name = s.origin
	}
	name = strings.TrimSuffix(strings.TrimRight(name, "/"), "/.git")
	if i := strings.LastIndexAny(name, "/:"); i >= 0 { // git@host:dogs.git
		name = name[i+1:]
	}
	return gitmodels.Printable(strings.TrimSuffix(name, ".git"), 100)
}
