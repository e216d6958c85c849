package gitrepo

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Commit reads one commit, as it was made: replace refs and grafts do not count.
func (r *Repo) Commit(ctx context.Context, id gitmodels.CommitID) (gitmodels.CommitInfo, error) {
	objs := r.objects(ctx)
	defer objs.close()
	return r.commit(objs, id)
}

func (r *Repo) commit(objs *objects, id gitmodels.CommitID) (gitmodels.CommitInfo, error) {
	if err := r.checkID(id); err != nil {
		return gitmodels.CommitInfo{}, err
	}
	obj, err := objs.want(string(id), "commit", maxCommit)
	if err != nil {
		return gitmodels.CommitInfo{}, err
	}
	info, err := parseCommit(obj.data)
	if err != nil {
		return gitmodels.CommitInfo{}, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "read commit",
			Message: fmt.Sprintf("commit %s: %v", id, err)}
	}
	info.ID = id
	return info, nil
}

// Parents are the parents of a commit, in its order.
func (r *Repo) Parents(ctx context.Context, id gitmodels.CommitID) ([]gitmodels.CommitID, error) {
	info, err := r.Commit(ctx, id)
	return info.Parents, err
}

// Tree is the object id of a commit's tree.
func (r *Repo) Tree(ctx context.Context, id gitmodels.CommitID) (string, error) {
	info, err := r.Commit(ctx, id)
	return info.Tree, err
}

// parseCommit reads the headers and the subject of a commit object.
func parseCommit(data []byte) (gitmodels.CommitInfo, error) {
	var info gitmodels.CommitInfo
	header, message, _ := bytes.Cut(data, []byte("\n\n"))
	for line := range strings.Lines(string(header)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch {
		case key == "tree" && info.Tree == "":
			if _, err := gitmodels.ParseCommitID(value); err != nil {
				return info, fmt.Errorf("tree: %w", err)
			}
			info.Tree = value
		case key == "parent" && info.Author == "":
			id, err := gitmodels.ParseCommitID(value)
			if err != nil {
				return info, fmt.Errorf("parent: %w", err)
			}
			info.Parents = append(info.Parents, id)
		case key == "author" && info.Author == "" && info.Email == "":
			info.Author, info.Email, info.Time = parseIdent(value)
		}
	}
	if info.Tree == "" {
		return info, fmt.Errorf("it names no tree")
	}
	info.Subject = subject(string(message))
	return info, nil
}

// subject is the first paragraph of a message on one line, as git's %s.
func subject(message string) string {
	var words []string
	for line := range strings.Lines(strings.TrimLeft(message, "\n")) {
		line = strings.TrimSpace(line)
		if line == "" {
			if words == nil {
				continue
			}
			break
		}
		words = append(words, line)
	}
	return strings.Join(words, " ")
}

// parseIdent reads `Name <email> seconds zone`. What a stranger wrote wrongly
// comes out empty; a name holds whatever stood before the last address.
func parseIdent(s string) (name, email string, at time.Time) {
	end := strings.LastIndexByte(s, '>')
	if end < 0 {
		return strings.TrimSpace(s), "", time.Time{}
	}
	start := strings.LastIndexByte(s[:end], '<')
	if start < 0 {
		return strings.TrimSpace(s[:end]), "", time.Time{}
	}
	return strings.TrimSpace(s[:start]), s[start+1 : end], parseWhen(strings.TrimSpace(s[end+1:]))
}

// parseWhen reads `seconds zone`, such as 1700000000 +0100.
func parseWhen(s string) time.Time {
	seconds, zone, ok := strings.Cut(s, " ")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if !ok || err != nil || n < 0 || n > 253402300799 { // the year 9999
		return time.Time{}
	}
	offset, err := strconv.Atoi(zone)
	if err != nil || len(zone) != 5 || (zone[0] != '+' && zone[0] != '-') || offset <= -2400 || offset >= 2400 {
		return time.Time{}
	}
	return time.Unix(n, 0).In(time.FixedZone("", (offset/100*60+offset%100)*60))
}
