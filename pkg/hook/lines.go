package hook

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Bounds of what git may write to a hook: a mirror of a hundred thousand refs
// fits. A name longer than a path cannot be a ref.
const (
	maxLines = 100_000
	maxLine  = 2*64 + 3 + gitmodels.MaxRefName
	maxInput = 32 << 20
)

// ReadInput reads what git wrote for the hook, all of it.
func ReadInput(r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("reading the updates: %w", err)
	}
	if len(raw) > maxInput {
		return nil, fmt.Errorf("reading the updates: more than %d bytes", maxInput)
	}
	return raw, nil
}

// ParseLines turns `<old> SP <new> SP <ref> LF` lines (githooks(5)) into
// updates: every line, or none. idLength is that of the repository's ids, 40 or
// 64.
func ParseLines(raw []byte, idLength int) ([]gitmodels.Update, error) {
	var updates []gitmodels.Update
	seen := map[gitmodels.RefName]bool{}
	for n := 1; len(raw) > 0; n++ {
		end := bytes.IndexByte(raw, '\n')
		switch {
		case end < 0:
			return nil, fmt.Errorf("line %d breaks off: %s", n, gitmodels.Printable(string(raw), 200))
		case end > maxLine:
			return nil, fmt.Errorf("line %d has %d bytes, the bound is %d", n, end, maxLine)
		case n > maxLines:
			return nil, fmt.Errorf("more than %d lines", maxLines)
		}
		u, err := parseLine(raw[:end], idLength)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if seen[u.Ref] {
			return nil, fmt.Errorf("line %d: ref %s stands on two lines", n, gitmodels.Printable(string(u.Ref), 200))
		}
		seen[u.Ref] = true
		updates = append(updates, u)
		raw = raw[end+1:]
	}
	return updates, nil
}

func parseLine(line []byte, idLength int) (gitmodels.Update, error) {
	var u gitmodels.Update
	fields := bytes.Split(line, []byte{' '})
	if len(fields) != 3 {
		return u, fmt.Errorf("%d fields, want old, new and ref: %s", len(fields), gitmodels.Printable(string(line), 200))
	}
	var errOld, errNew, errRef error
	u.Old, errOld = parseID(fields[0], idLength)
	u.New, errNew = parseID(fields[1], idLength)
	u.Ref, errRef = gitmodels.ParseRefName(string(fields[2]))
	return u, errors.Join(errOld, errNew, errRef)
}

func parseID(field []byte, idLength int) (gitmodels.CommitID, error) {
	id, err := gitmodels.ParseCommitID(string(field))
	if err == nil && len(id) != idLength {
		err = fmt.Errorf("object id %s has %d digits, this repository's have %d", id, len(id), idLength)
	}
	return id, err
}
