package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/gitrepo"
)

// remoteName is the remote that a clone speaks to: the one that every hint
// names.
const remoteName = "origin"

// person is git as the person at the keyboard runs it, in the repository that
// this command speaks of. Its input is empty: git asks on the terminal itself.
func (p *program) person(ctx context.Context, args ...string) *exec.Cmd {
	env := p.edges.Env
	if p.repoFlag != "" {
		// --repo names the repository, so the caller's own variables do not.
		env = slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
			key, _, _ := strings.Cut(kv, "=")
			return slices.Contains([]string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"}, key)
		})
	}
	return gitrepo.Person(ctx, p.absolute(p.repoFlag), env, args...)
}

// gitSays returns what git answers the person, without the last line feed. What git
// complains of is shown as it is; a failure of git is errSilent then.
func (p *program) gitSays(ctx context.Context, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := p.person(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, p.err
	err := ended(ctx, cmd, cmd.Run())
	return strings.TrimSuffix(out.String(), "\n"), err
}

// gitRun runs git with our own output as its own.
func (p *program) gitRun(ctx context.Context, args ...string) error {
	cmd := p.person(ctx, args...)
	cmd.Stdout, cmd.Stderr = p.out, p.err
	return ended(ctx, cmd, cmd.Run())
}

// ended is the error of a git that has said itself what was wrong: an exit
// status of its own is ours, silently.
func ended(ctx context.Context, cmd *exec.Cmd, err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return errSilent
	}
	return &gitmodels.Error{Op: "git " + cmd.Args[1], Err: err}
}

// control asks the server for something about a commit by a push to a control
// ref, as the person: its answer is ours, line by line as it comes. options are
// words of `git push -o`.
func (p *program) control(ctx context.Context, s *site, c gitmodels.Control, commit gitmodels.CommitID, options ...string) error {
	if err := needOrigin(s); err != nil {
		return err
	}
	// No object travels, so there is nothing for a pre-push hook to look at.
	args := []string{"-c", "color.remote=never", "push", "--no-verify"}
	for _, o := range options {
		args = append(args, "--push-option="+o)
	}
	cmd := p.person(ctx, append(args, remoteName, string(commit)+":"+string(c.Ref()))...)
	answer := &answerWriter{out: p.err}
	cmd.Stderr = answer
	err := ended(ctx, cmd, cmd.Run())
	answer.close()
	if err != nil {
		answer.release()
	}
	return err
}

// needOrigin refuses a clone that has nobody to speak to.
func needOrigin(s *site) error {
	if s.origin != "" {
		return nil
	}
	e := &gitmodels.Error{Kind: gitmodels.Invalid, Message: "this repository has no remote called " + remoteName,
		Hint: "git remote add " + remoteName + " URL"}
	if len(s.others) > 0 {
		e.Message += ", but " + clip(shown(strings.Join(s.others, ", ")), 80)
		e.Hint = "git remote rename " + quote(s.others[0]) + " " + remoteName
	}
	return e
}

// answerWriter reads the words of a `git push`. What the server says comes
// through as it was said there; git's own report of the ref is held back, for it
// tells of a ref that does not stay.
type answerWriter struct {
	out  io.Writer
	line []byte
	held []string
}

// maxAnswerLine bounds a line of the server's, and maxHeld how many of git's own
// are kept.
const (
	maxAnswerLine = 64 << 10
	maxHeld       = 100
)

func (w *answerWriter) Write(b []byte) (int, error) {
	w.line = append(w.line, b...)
	for {
		i := bytes.IndexAny(w.line, "\r\n")
		if i < 0 && len(w.line) < maxAnswerLine {
			return len(b), nil
		}
		if i < 0 {
			i = len(w.line) - 1
		}
		w.put(string(w.line[:i]))
		w.line = w.line[i+1:]
	}
}

// put takes one line. Behind "remote: " git pads with spaces where it cannot
// clear the rest of a terminal's line.
func (w *answerWriter) put(line string) {
	words, remote := strings.CutPrefix(line, "remote: ")
	words = gitmodels.Printable(strings.TrimRight(strings.TrimSuffix(words, "\x1b[K"), " "), 0)
	switch {
	case remote:
		fmt.Fprintln(w.out, words)
	case words != "" && len(w.held) < maxHeld:
		w.held = append(w.held, words)
	}
}

// close takes a last line that has no end.
func (w *answerWriter) close() {
	if len(w.line) > 0 {
		w.put(string(w.line))
		w.line = nil
	}
}

// release shows what was held back.
func (w *answerWriter) release() {
	for _, line := range w.held {
		fmt.Fprintln(w.out, line)
	}
}

// commitInClone is the commit that word stands for in a clone, which has it: a
// revision, the name of an attempt, or a branch of the server.
func (p *program) commitInClone(ctx context.Context, s *site, word string) (gitmodels.CommitID, error) {
	if m := attemptName().FindStringSubmatch(word); m != nil {
		word = m[1]
	}
	id, err := s.repo.Peel(ctx, word)
	if !isKind(err, gitmodels.NotFound) {
		return id, err
	}
	if id, there := s.repo.Peel(ctx, "refs/remotes/"+remoteName+"/"+word); there == nil {
		return id, nil
	}
	return "", &gitmodels.Error{Kind: gitmodels.NotFound,
		Message: gitmodels.Printable(word, 80) + " names no commit that this clone has", Hint: "git fetch " + remoteName}
}
