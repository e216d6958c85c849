package gitrepo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/git-models/git-models/pkg/gitmodels"
)

const (
	maxReflog     = 64 << 20 // the newest part of a longer log is read
	maxReflogLine = 64 << 10
)

// Reflog lists the moves of a ref, oldest first; none when it has no log. Lines
// that are not whole, which a crash can leave, are passed over: a reader that
// needs every move compares each Old with the New before it. The last line may
// tell of a move that never happened, because git writes it first: believe it
// only when the ref agrees, or a later line continues from it.
func (r *Repo) Reflog(ctx context.Context, ref gitmodels.RefName) ([]gitmodels.ReflogEntry, error) {
	if err := checkRef(ref); err != nil {
		return nil, err
	}
	op := "read reflog of " + gitmodels.Printable(string(ref), 200)
	if r.refFormat != "files" {
		return nil, &gitmodels.Error{Op: op, Err: fmt.Errorf("refs are stored as %s, only files are supported", gitmodels.Printable(r.refFormat, 40))}
	}
	f, err := r.openLog(ref)
	// A log may lie where this one's folder would: that of refs/heads/models,
	// kept after the ref is gone, beside refs/heads/models/x.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, &gitmodels.Error{Op: op, Err: err}
	}
	defer f.Close()
	entries, err := readReflog(ctx, f, r.idLength)
	if err != nil {
		return nil, &gitmodels.Error{Op: op, Err: err}
	}
	return entries, nil
}

// openLog opens the log at its newest maxReflog bytes. Somebody else may write
// in the git directory: no link is followed out of it and no pipe waited for.
func (r *Repo) openLog(ref gitmodels.RefName) (*os.File, error) {
	dir := r.common
	if ref == "HEAD" {
		dir = r.dir
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile("logs/"+string(ref), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = fs.ErrNotExist // the logs of refs below this name
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is no regular file", f.Name())
	case info.Size() > maxReflog:
		_, err = f.Seek(-maxReflog, io.SeekEnd) // the first line read is cut and passed over
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func readReflog(ctx context.Context, in io.Reader, idLength int) ([]gitmodels.ReflogEntry, error) {
	var entries []gitmodels.ReflogEntry
	lines := bufio.NewReaderSize(io.LimitReader(in, maxReflog), maxReflogLine)
	long := false
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = true
			continue
		case errors.Is(err, io.EOF):
			return entries, nil // what is left has no end: torn
		case err != nil:
			return nil, err
		}
		if e, ok := parseReflogLine(string(line[:len(line)-1]), idLength); ok && !long {
			entries = append(entries, e)
		}
		long = false
	}
}

// parseReflogLine reads `<old> <new> <name> <email> <seconds> <zone>TAB<message>`.
func parseReflogLine(line string, idLength int) (gitmodels.ReflogEntry, bool) {
	line, _, _ = strings.Cut(line, "\t")
	if len(line) < 2*idLength+2 || line[idLength] != ' ' || line[2*idLength+1] != ' ' {
		return gitmodels.ReflogEntry{}, false
	}
	before, err1 := gitmodels.ParseCommitID(line[:idLength])
	after, err2 := gitmodels.ParseCommitID(line[idLength+1 : 2*idLength+1])
	who := line[2*idLength+2:]
	end := strings.LastIndexByte(who, '>')
	if err1 != nil || err2 != nil || end < 0 {
		return gitmodels.ReflogEntry{}, false
	}
	at := parseWhen(strings.TrimSpace(who[end+1:]))
	return gitmodels.ReflogEntry{Old: before, New: after, Who: who[:end+1], At: at}, true
}
