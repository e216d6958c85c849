package gitrepo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Bounds on single objects, in bytes. Real ones are far below; what is above
// was made to hurt.
const (
	maxTree   = 32 << 20 // about half a million entries in one folder
	maxCommit = 4 << 20
)

// object is what cat-file tells of one object.
type object struct {
	id   string
	kind string // commit, tag, tree or blob
	size int64
	data []byte // nil when size is over the reader's limit
}

// errMissing says that a name stands for no object.
var errMissing = errors.New("no such object")

// objects reads objects through one `git cat-file --batch`. Git announces the
// size before the content, so that what is too large is never read: the child
// is ended then, and the next read starts another. It is not for concurrent
// use.
type objects struct {
	ctx    context.Context
	repo   *Repo
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr *bounded
	cancel context.CancelFunc
	trees  map[string][]treeEntry
}

func (r *Repo) objects(ctx context.Context) *objects {
	return &objects{ctx: ctx, repo: r, trees: map[string][]treeEntry{}}
}

func (o *objects) start() error {
	ctx, cancel := context.WithCancel(o.ctx)
	c := o.repo.call("cat-file", "--batch")
	cmd := c.command(ctx)
	o.stderr = &bounded{limit: maxStderr}
	cmd.Stderr = o.stderr
	in, err := cmd.StdinPipe()
	if err == nil {
		var out io.ReadCloser
		if out, err = cmd.StdoutPipe(); err == nil {
			if err = cmd.Start(); err == nil {
				o.cmd, o.in, o.out, o.cancel = cmd, in, bufio.NewReaderSize(out, 32<<10), cancel
				return nil
			}
		}
	}
	cancel()
	return &gitmodels.Error{Op: c.name(), Err: err}
}

// close ends the child, whatever it is doing.
func (o *objects) close() {
	if o.cmd == nil {
		return
	}
	o.cancel()
	o.in.Close()
	// Killed or not: what it had to say was read before.
	_ = o.cmd.Wait()
	o.cmd = nil
}

// fail ends the child after it stopped answering, or answered with less than
// was asked, and says why in its own words.
func (o *objects) fail(cause error) error {
	o.in.Close()
	// Its standard error is complete only once it has ended; closing its input
	// ends it.
	_, _ = io.Copy(io.Discard, o.out)
	waited := o.cmd.Wait()
	o.cancel()
	o.cmd = nil
	if err := context.Cause(o.ctx); err != nil {
		cause = err
	} else if waited != nil {
		cause = fmt.Errorf("%w (%w)", cause, waited)
	}
	return &gitmodels.Error{Op: o.repo.call("cat-file", "--batch").name(), Err: withStderr(cause, o.stderr.text())}
}

// get reads the object that name stands for. Content beyond limit bytes is left
// unread. errMissing is returned only when git says so without complaint.
func (o *objects) get(name string, limit int64) (object, error) {
	obj, err := o.announce(name)
	if err != nil {
		return obj, err
	}
	if obj.size > limit {
		o.close()
		return obj, nil
	}
	obj.data = make([]byte, obj.size)
	if _, err := io.ReadFull(o.out, obj.data); err != nil {
		return obj, o.fail(fmt.Errorf("read %s: %w", obj.id, err))
	}
	if _, err := o.out.Discard(1); err != nil { // the line feed behind it
		return obj, o.fail(fmt.Errorf("read %s: %w", obj.id, err))
	}
	return obj, nil
}

// head reads at most the first limit bytes of a blob.
func (o *objects) head(id string, limit int64) ([]byte, error) {
	obj, err := o.announce(id)
	if err != nil {
		return nil, &gitmodels.Error{Op: "read blob " + id, Err: err}
	}
	if obj.kind != "blob" {
		o.close()
		return nil, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "read object", Message: fmt.Sprintf("%s is a %s, want a blob", id, obj.kind)}
	}
	data := make([]byte, min(obj.size, limit))
	if _, err = io.ReadFull(o.out, data); err == nil && obj.size <= limit {
		_, err = o.out.Discard(1)
	}
	if err != nil {
		return nil, o.fail(fmt.Errorf("read %s: %w", id, err))
	}
	if obj.size > limit {
		o.close()
	}
	return data, nil
}

// announce asks for an object and reads what comes before its content.
func (o *objects) announce(name string) (object, error) {
	if o.cmd == nil {
		if err := o.start(); err != nil {
			return object{}, err
		}
	}
	if _, err := io.WriteString(o.in, name+"\n"); err != nil {
		return object{}, o.fail(err)
	}
	line, err := o.out.ReadString('\n')
	if err != nil {
		return object{}, o.fail(fmt.Errorf("read %s: %w", gitmodels.Printable(name, 100), err))
	}
	if strings.HasSuffix(line, " missing\n") {
		err := o.fail(fmt.Errorf("git calls %s missing", gitmodels.Printable(name, 100)))
		if complains(o.stderr.text()) {
			return object{}, err
		}
		return object{}, errMissing
	}
	fields := strings.Fields(line)
	if len(fields) != 3 || len(fields[0]) != o.repo.idLength {
		return object{}, o.fail(fmt.Errorf("unexpected answer %s", gitmodels.Printable(line, 200)))
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil || size < 0 {
		return object{}, o.fail(fmt.Errorf("unexpected size %s", gitmodels.Printable(fields[2], 40)))
	}
	return object{id: fields[0], kind: fields[1], size: size}, nil
}

// want reads an object of one kind, whole.
func (o *objects) want(name, kind string, limit int64) (object, error) {
	obj, err := o.get(name, limit)
	if errors.Is(err, errMissing) {
		return obj, &gitmodels.Error{Kind: gitmodels.NotFound, Op: "read object",
			Message: fmt.Sprintf("the repository has no %s %s", kind, gitmodels.Printable(name, 100))}
	}
	if err != nil {
		return obj, err
	}
	if obj.kind != kind {
		return obj, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "read object",
			Message: fmt.Sprintf("%s is a %s, want a %s", gitmodels.Printable(name, 100), obj.kind, kind)}
	}
	if obj.data == nil {
		return obj, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "read object",
			Message: fmt.Sprintf("%s %s is %d bytes, the limit is %d", kind, gitmodels.Printable(name, 100), obj.size, limit)}
	}
	return obj, nil
}

// treeEntry is one line of a tree object, as it stands there: the name may be
// anything but empty of NUL.
type treeEntry struct {
	mode uint32
	name string
	id   string
}

// Modes of tree entries (git's object format).
const (
	modeType   = 0o170000
	modeTree   = 0o040000
	modeFile   = 0o100000
	modeLink   = 0o120000
	modeCommit = 0o160000 // a submodule
)

func (e treeEntry) is(kind uint32) bool { return e.mode&modeType == kind }

// tree reads the tree that name stands for, which may be a commit's
// `<id>^{tree}`. Trees are kept for the next path.
func (o *objects) tree(name string) ([]treeEntry, error) {
	if entries, ok := o.trees[name]; ok {
		return entries, nil
	}
	obj, err := o.want(name, "tree", maxTree)
	if err != nil {
		return nil, err
	}
	entries, err := parseTree(obj.data, o.repo.idLength/2)
	if err != nil {
		return nil, &gitmodels.Error{Kind: gitmodels.Invalid, Op: "read tree " + obj.id,
			Message: fmt.Sprintf("tree %s: %v", obj.id, err)}
	}
	o.trees[name] = entries
	return entries, nil
}

// parseTree reads the entries `<octal mode> <name>NUL<id>` of a tree object.
func parseTree(data []byte, idBytes int) ([]treeEntry, error) {
	var entries []treeEntry
	for len(data) > 0 {
		mode, rest, ok := bytes.Cut(data, []byte(" "))
		if !ok {
			return nil, fmt.Errorf("entry %d is cut short", len(entries)+1)
		}
		name, rest, ok := bytes.Cut(rest, []byte{0})
		if !ok || len(rest) < idBytes {
			return nil, fmt.Errorf("entry %d is cut short", len(entries)+1)
		}
		m, err := strconv.ParseUint(string(mode), 8, 32)
		if err != nil {
			return nil, fmt.Errorf("entry %d has the mode %s", len(entries)+1, gitmodels.Printable(string(mode), 20))
		}
		entries = append(entries, treeEntry{uint32(m), string(name), hex.EncodeToString(rest[:idBytes])})
		data = rest[idBytes:]
	}
	return entries, nil
}
