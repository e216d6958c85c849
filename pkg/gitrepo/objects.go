package gitrepo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

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

// objects reads the first few objects from the repository's files, where they are
// as git writes them, and all others through one `git cat-file --batch`. Git
// announces the size before the content, so that what is too large is never read:
// the child is ended then, and the next read starts another. Trees and what is small
// are kept: neighbouring commits share nearly all of their objects. It is not for
// concurrent use.
type objects struct {
	ctx     context.Context // the child's life
	asking  context.Context // the question's, or nil
	stop    func() bool     // unbinds the child from asking
	repo    *Repo
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	said    *complaints
	cancel  context.CancelFunc
	kept    map[string]object // by the names that were asked for, and by their ids
	held    int               // bytes in kept
	files   *store            // nil: not opened, or not to be read without git
	quickly int               // how many objects may still be read from files
}

// Bounds of what is kept for the next question, in bytes: of all, and of one that
// is no tree. A large folder is looked into for every path below it.
const (
	maxHeld = 16 << 20
	maxKept = 1 << 20
)

func (r *Repo) objects(ctx context.Context) *objects {
	return &objects{ctx: ctx, repo: r, kept: map[string]object{}, quickly: maxQuick}
}

// maxQuick is how many objects are read from the repository's files before a
// child is worth its start: it keeps what it has unpacked.
const maxQuick = 64

// quick reads what name stands for (an id, or the tree or commit behind it)
// without a child; false when that is for git to say.
func (o *objects) quick(name string) (object, bool) {
	digits, peel, _ := strings.Cut(name, "^")
	raw, err := hex.DecodeString(digits)
	if err != nil || len(digits) != o.repo.idLength || o.quickly == 0 || o.ended() != nil {
		return object{}, false
	}
	if o.files == nil {
		if o.files, err = o.repo.store(); err != nil {
			o.files, o.quickly = nil, 0
			return object{}, false
		}
	}
	o.quickly--
	kind, body, err := o.files.object(string(raw))
	switch {
	case err != nil:
		return object{}, false
	case peel == "", peel == "{"+kind+"}":
		return object{digits, kind, int64(len(body)), body}, true
	case peel == "{tree}" && kind == "commit":
		info, err := parseCommit(body)
		if err != nil {
			return object{}, false
		}
		return o.quick(info.Tree)
	}
	return object{}, false
}

// start runs the child, unless it runs already.
func (o *objects) start() error {
	if o.cmd != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(o.ctx)
	c := o.repo.call("cat-file", "--batch")
	err := o.connect(c.command(ctx), cancel)
	if err != nil {
		cancel()
		return &gitmodels.Error{Op: c.name(), Err: err}
	}
	o.bind()
	return nil
}

// within binds the child to ctx as well, until the function it returns is
// called.
func (o *objects) within(ctx context.Context) func() {
	o.asking = ctx
	o.bind()
	return func() {
		if o.cmd != nil && o.stop != nil && !o.stop() {
			o.close() // killed, even if the answer came first
		}
		o.asking, o.stop = nil, nil
	}
}

func (o *objects) bind() {
	if o.cmd != nil && o.asking != nil {
		o.stop = context.AfterFunc(o.asking, o.cancel)
	}
}

func (o *objects) connect(cmd *exec.Cmd, cancel context.CancelFunc) error {
	said, stderr, err := listen()
	if err != nil {
		return err
	}
	defer stderr.Close()
	cmd.Stderr = stderr
	in, err := cmd.StdinPipe()
	if err == nil {
		var out io.ReadCloser
		if out, err = cmd.StdoutPipe(); err == nil {
			if err = cmd.Start(); err == nil {
				o.cmd, o.in, o.out, o.said, o.cancel = cmd, in, bufio.NewReaderSize(out, 32<<10), said, cancel
				return nil
			}
		}
	}
	said.close()
	return err
}

// close ends the child, whatever it is doing, and does not wait until it is
// gone: what it had to say was read before.
func (o *objects) close() {
	if o.files != nil {
		o.files.close()
		o.files = nil
	}
	if o.cmd == nil {
		return
	}
	o.cancel()
	o.in.Close()
	o.said.close()
	go func(cmd *exec.Cmd) { _ = cmd.Wait() }(o.cmd)
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
	if err := o.ended(); err != nil {
		cause = err
	} else if waited != nil {
		cause = fmt.Errorf("%w (%w)", cause, waited)
	}
	stderr := o.said.text()
	o.said.close()
	return &gitmodels.Error{Op: o.repo.call("cat-file", "--batch").name(), Err: withStderr(cause, stderr)}
}

// ended says why nobody waits for an answer any more, if so.
func (o *objects) ended() error {
	if o.asking != nil && o.asking.Err() != nil {
		return context.Cause(o.asking)
	}
	return context.Cause(o.ctx)
}

// complaints is a child's standard error, read in between: what the child wrote
// before it gave an answer is in the pipe when the answer arrives.
type complaints struct {
	pipe *os.File
	kept bounded
}

// listen returns the reader and what the child gets.
func listen() (*complaints, *os.File, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	return &complaints{pipe: read, kept: bounded{limit: maxStderr}}, write, nil
}

// text is everything that the child has said so far, as far as it is kept.
func (c *complaints) text() string {
	raw, err := c.pipe.SyscallConn()
	if err != nil {
		return "fatal: standard error cannot be read: " + err.Error()
	}
	buf := make([]byte, 4<<10)
	for more := true; more; {
		err = raw.Read(func(fd uintptr) bool {
			n, err := syscall.Read(int(fd), buf)
			if more = n > 0 || errors.Is(err, syscall.EINTR); n > 0 {
				c.kept.Write(buf[:n])
			}
			return true
		})
		if err != nil {
			return "fatal: standard error cannot be read: " + err.Error()
		}
	}
	return c.kept.text()
}

func (c *complaints) close() { c.pipe.Close() }

// get reads the object that name stands for. Content beyond limit bytes is left
// unread. errMissing is returned only when git says so without complaint.
func (o *objects) get(name string, limit int64) (object, error) {
	obj, ok := o.known(name)
	if !ok {
		var err error
		if obj, err = o.read(name, limit); err != nil {
			return obj, err
		}
		o.keep(name, obj)
	}
	if obj.size > limit {
		obj.data = nil
	}
	return obj, nil
}

// known is what name stands for when it was read before.
func (o *objects) known(name string) (object, bool) {
	if obj, ok := o.kept[name]; ok {
		return obj, true
	}
	id, ok := strings.CutSuffix(name, "^{tree}")
	if !ok || o.kept[id].kind != "commit" {
		return object{}, false
	}
	info, err := parseCommit(o.kept[id].data)
	obj, ok := o.kept[info.Tree]
	return obj, ok && err == nil
}

// keep keeps a tree or a small object. Nobody changes its data.
func (o *objects) keep(name string, obj object) {
	if obj.data == nil || obj.kind != "tree" && len(obj.data) > maxKept {
		return
	}
	if o.held += len(obj.data); o.held > maxHeld {
		o.kept, o.held = map[string]object{}, len(obj.data)
	}
	o.kept[name], o.kept[obj.id] = obj, obj
}

// read is get of what is not known.
func (o *objects) read(name string, limit int64) (object, error) {
	if obj, ok := o.quick(name); ok {
		return obj, nil
	}
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

// kindOf is the kind of the object that name stands for; empty when there is
// none.
func (o *objects) kindOf(name string) (string, error) {
	obj, err := o.get(name, maxCommit)
	if errors.Is(err, errMissing) {
		return "", nil
	}
	return obj.kind, err
}

// head reads at most the first limit bytes of a blob.
func (o *objects) head(id string, limit int64) ([]byte, error) {
	if obj, ok := o.quick(id); ok && obj.kind == "blob" {
		return obj.data[:min(obj.size, limit)], nil
	}
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
	if err := o.start(); err != nil {
		return object{}, err
	}
	if _, err := io.WriteString(o.in, name+"\n"); err != nil {
		return object{}, o.fail(err)
	}
	return o.reply(name)
}

// reply reads what comes before the content of an object that was asked for.
func (o *objects) reply(name string) (object, error) {
	line, err := o.out.ReadString('\n')
	if err != nil {
		return object{}, o.fail(fmt.Errorf("read %s: %w", gitmodels.Printable(name, 100), err))
	}
	if strings.HasSuffix(line, " missing\n") {
		if complains(o.said.text()) {
			return object{}, o.fail(fmt.Errorf("git calls %s missing", gitmodels.Printable(name, 100)))
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

// treeData is a tree object as it is stored: entries `<octal mode> <name>NUL<id>`.
type treeData struct {
	id   string // the tree's own
	data []byte
	size int // bytes of an id
}

// tree reads the tree that name stands for, which may be a commit's
// `<id>^{tree}`.
func (o *objects) tree(name string) (treeData, error) {
	obj, err := o.want(name, "tree", maxTree)
	return treeData{obj.id, obj.data, o.repo.idLength / 2}, err
}

// each yields the entries in the order in which they are stored. It ends with
// an Error of Kind Invalid at one that is cut short or has no mode.
func (t treeData) each(yield func(mode uint32, name, id []byte) bool) error {
	for n, data := 1, t.data; len(data) > 0; n++ {
		mode, rest, ok := bytes.Cut(data, []byte(" "))
		if !ok {
			return t.fault("entry %d is cut short", n)
		}
		name, rest, ok := bytes.Cut(rest, []byte{0})
		if !ok || len(rest) < t.size {
			return t.fault("entry %d is cut short", n)
		}
		m, ok := octal(mode)
		if !ok {
			return t.fault("entry %d has the mode %s", n, gitmodels.Printable(string(mode), 20))
		}
		if !yield(m, name, rest[:t.size]) {
			return nil
		}
		data = rest[t.size:]
	}
	return nil
}

func (t treeData) fault(words string, args ...any) error {
	return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "read tree " + t.id,
		Message: fmt.Sprintf("tree %s: %s", t.id, fmt.Sprintf(words, args...))}
}

func octal(digits []byte) (n uint32, ok bool) {
	for _, d := range digits {
		if d < '0' || d > '7' || n > 0o3777777777 {
			return 0, false
		}
		n = n<<3 | uint32(d-'0')
	}
	return n, len(digits) > 0
}

// entries are all of them.
func (t treeData) entries() ([]treeEntry, error) {
	var entries []treeEntry
	err := t.each(func(mode uint32, name, id []byte) bool {
		entries = append(entries, treeEntry{mode, string(name), hex.EncodeToString(id)})
		return true
	})
	return entries, err
}

// find returns the entry of that name, without holding the others. A tree that
// has it twice means different things to different readers.
func (t treeData) find(name string) (entry treeEntry, ok bool, err error) {
	twice := false
	err = t.each(func(mode uint32, other, id []byte) bool {
		if string(other) == name {
			twice = ok
			entry, ok = treeEntry{mode, name, hex.EncodeToString(id)}, true
		}
		return !twice
	})
	if twice {
		err = &gitmodels.Error{Kind: gitmodels.Invalid, Op: "look up path",
			Message: fmt.Sprintf("the commit's tree lists %s twice", gitmodels.Printable(name, 200))}
	}
	return entry, ok && err == nil, err
}
