package cli

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os/exec"
	"path"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// The little of the SSH file transfer protocol, version 3 (RFC draft
// draft-ietf-secsh-filexfer-02), that reading files takes. It runs over the
// person's own ssh, so keys, agents and hosts are as for git; no shell of the
// server reads a path, and an account that may do nothing but sftp will do.

// sshRemote is who is reached by ssh.
type sshRemote struct {
	host string // user@host or host; never an option
	port string // digits, or empty
}

// sshOrigin is the ssh address that git pushes to.
func (p *program) sshOrigin(ctx context.Context, s *site) (r sshRemote, ok bool, err error) {
	if s.origin == "" {
		return r, false, nil
	}
	address, err := p.gitSays(ctx, "remote", "get-url", "--push", remoteName)
	if err != nil {
		return r, false, err
	}
	r, ok = parseSSH(address)
	return r, ok, nil
}

// scpAddress is the short form, user@host:path: a colon before any slash.
var scpAddress = pattern(`^(?:([^@/:]+)@)?(\[[0-9a-fA-F:.]+\]|[^:/@\[\]]+):`)

// parseSSH reads the addresses that git reaches by ssh (git-clone(1), GIT URLS).
func parseSSH(address string) (sshRemote, bool) {
	var user, host, port string
	scheme, _, isURL := strings.Cut(address, "://")
	switch {
	case isURL && (scheme == "ssh" || scheme == "git+ssh" || scheme == "ssh+git"):
		u, err := url.Parse(address)
		if err != nil {
			return sshRemote{}, false
		}
		user, host, port = u.User.Username(), u.Hostname(), u.Port()
	case isURL:
		return sshRemote{}, false
	default:
		m := scpAddress().FindStringSubmatch(address)
		if m == nil {
			return sshRemote{}, false
		}
		user, host = m[1], strings.Trim(m[2], "[]")
	}
	// What begins with a dash ssh would take for an option.
	odd := func(s string) bool {
		return strings.HasPrefix(s, "-") || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
	}
	if host == "" || odd(host) || odd(user) {
		return sshRemote{}, false
	}
	if user != "" {
		host = user + "@" + host
	}
	return sshRemote{host, port}, true
}

// hostOf is the machine that an address names; empty for a path.
func hostOf(address string) string {
	if r, ok := parseSSH(address); ok {
		return r.host[strings.LastIndexByte(r.host, '@')+1:]
	}
	if u, err := url.Parse(address); err == nil && u.Scheme != "file" {
		return u.Hostname()
	}
	return ""
}

// sshCommand is ssh as git would run it for the person: GIT_SSH_COMMAND and
// core.sshCommand are lines for a shell, GIT_SSH is a program (git(1)).
func (p *program) sshCommand(ctx context.Context, args ...string) (*exec.Cmd, error) {
	line := p.getenv("GIT_SSH_COMMAND")
	if line == "" {
		var err error
		if line, err = p.gitSays(ctx, "config", "--default", "", "--get", "core.sshCommand"); err != nil {
			return nil, err
		}
	}
	program := p.getenv("GIT_SSH")
	switch {
	case line != "":
		program, args = "sh", append([]string{"-c", line + ` "$@"`, line}, args...)
	case program == "":
		program = "ssh"
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env, cmd.Stderr = p.edges.Dir, p.edges.Env, p.err
	cmd.WaitDelay = time.Second // for what it started and left behind
	return cmd, nil
}

// Packets of the protocol, and the answers to them.
const (
	sftpInit, sftpVersion                         = 1, 2
	sftpOpen, sftpClose, sftpRead                 = 3, 4, 5
	sftpLstat, sftpFstat                          = 7, 8
	sftpStatus, sftpHandle, sftpData, sftpAttrs   = 101, 102, 103, 105
	sftpEOF, sftpNoSuchFile, sftpPermissionDenied = 1, 2, 3 // of a status

	sftpChunk  = 32 << 10 // what every server reads at once
	sftpAhead  = 32       // reads under way, so that distance costs no time
	sftpPacket = 256 << 10
	typeOf     = 0o170000 // of a mode: what it is
	typeFile   = 0o100000
	typeLink   = 0o120000
	typeFolder = 0o040000
)

// sftp is one conversation with a server. One file is open at a time.
type sftp struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	id      uint32
	folders map[string]bool // known to be real folders
}

// dialSFTP begins a conversation.
func (p *program) dialSFTP(ctx context.Context, r sshRemote) (*sftp, error) {
	args := []string{"-s", r.host, "sftp"}
	if r.port != "" {
		args = append([]string{"-p", r.port}, args...)
	}
	cmd, err := p.sshCommand(ctx, args...)
	if err != nil {
		return nil, err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &sftp{cmd: cmd, in: in, out: bufio.NewReaderSize(out, 2*sftpChunk), folders: map[string]bool{}}
	if err := c.send(sftpInit, binary.BigEndian.AppendUint32(nil, 3)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	kind, _, err := c.receive()
	if err == nil && kind != sftpVersion {
		err = errNoSFTP
	}
	if err != nil {
		// What is no sftp server need not end by itself.
		cmd.Process.Kill()
		cmd.Wait()
		return nil, err
	}
	return c, nil
}

var errNoSFTP = errors.New("the server answers with something else than sftp")

// Close implements source.
func (c *sftp) Close() error {
	c.in.Close()
	io.Copy(io.Discard, c.out)
	return c.cmd.Wait()
}

func (c *sftp) send(kind byte, payload []byte) error {
	packet := binary.BigEndian.AppendUint32(make([]byte, 0, 5+len(payload)), uint32(1+len(payload)))
	_, err := c.in.Write(append(append(packet, kind), payload...))
	if err != nil {
		return errNoSFTP
	}
	return nil
}

func (c *sftp) receive() (kind byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(c.out, head[:]); err != nil {
		return 0, nil, errNoSFTP
	}
	n := binary.BigEndian.Uint32(head[:4])
	if n < 1 || n > sftpPacket {
		return 0, nil, errNoSFTP
	}
	payload = make([]byte, n-1)
	if _, err := io.ReadFull(c.out, payload); err != nil {
		return 0, nil, errNoSFTP
	}
	return head[4], payload, nil
}

// ask sends a request without waiting, and returns its number.
func (c *sftp) ask(kind byte, fields ...[]byte) (uint32, error) {
	c.id++
	payload := binary.BigEndian.AppendUint32(nil, c.id)
	for _, f := range fields {
		payload = append(payload, f...)
	}
	return c.id, c.send(kind, payload)
}

// answer is the next one, which has to be that of request id. A status that is
// no success is an error.
func (c *sftp) answer(id uint32, want byte) (*reader, error) {
	kind, payload, err := c.receive()
	if err != nil {
		return nil, err
	}
	r := &reader{b: payload}
	if r.uint32() != id || r.bad {
		return nil, errNoSFTP
	}
	if kind == sftpStatus {
		code := r.uint32()
		switch {
		case r.bad:
			return nil, errNoSFTP
		case code == 0 && want == sftpStatus:
			return r, nil
		case code == sftpEOF:
			return nil, io.EOF
		case code == sftpNoSuchFile:
			return nil, fs.ErrNotExist
		case code == sftpPermissionDenied:
			return nil, fs.ErrPermission
		}
		return nil, fmt.Errorf("the server says %s", gitmodels.Printable(string(r.string()), 200))
	}
	if kind != want {
		return nil, errNoSFTP
	}
	return r, nil
}

// call asks and waits.
func (c *sftp) call(kind, want byte, fields ...[]byte) (*reader, error) {
	id, err := c.ask(kind, fields...)
	if err != nil {
		return nil, err
	}
	return c.answer(id, want)
}

func field(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
}

// reader takes a packet apart. bad is set when it is too short.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	head := r.b[:n]
	r.b = r.b[n:]
	return head
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) string() []byte { return r.take(int(r.uint32())) }

// mode reads a file's attributes: what it is.
func (r *reader) mode() uint32 {
	flags := r.uint32()
	if flags&1 != 0 {
		r.take(8) // size
	}
	if flags&2 != 0 {
		r.take(8) // owner and group
	}
	if flags&4 == 0 {
		r.bad = true
		return 0
	}
	return r.uint32() & typeOf
}

// stat asks for a mode.
func (c *sftp) stat(kind byte, of string) (uint32, error) {
	r, err := c.call(kind, sftpAttrs, field(of))
	if err != nil {
		return 0, err
	}
	mode := r.mode()
	if r.bad {
		return 0, errNoSFTP
	}
	return mode, nil
}

// open implements source.
func (c *sftp) open(_ context.Context, root, name string) (io.ReadCloser, error) {
	parts := strings.Split(name, "/")
	for i := range parts {
		at := path.Join(root, strings.Join(parts[:i+1], "/"))
		if c.folders[at] {
			continue
		}
		mode, err := c.stat(sftpLstat, at)
		switch {
		case err != nil:
			return nil, err
		case mode == typeLink:
			return nil, fmt.Errorf("%s is a symbolic link", gitmodels.Printable(at, 0))
		case mode == typeFolder && i < len(parts)-1:
			c.folders[at] = true
		case mode != typeFile || i < len(parts)-1:
			return nil, fmt.Errorf("%s is no regular file", gitmodels.Printable(at, 0))
		}
	}
	r, err := c.call(sftpOpen, sftpHandle, field(path.Join(root, name)), []byte{0, 0, 0, 1}, []byte{0, 0, 0, 0})
	if err != nil {
		return nil, err
	}
	f := &sftpFile{c: c, handle: string(r.string())}
	if r.bad {
		return nil, errNoSFTP
	}
	mode, err := c.stat(sftpFstat, f.handle)
	if err == nil && mode != typeFile {
		err = fmt.Errorf("%s is no regular file", shown(name))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sftpFile reads ahead: the requests under way are in the order of the file.
type sftpFile struct {
	c      *sftp
	handle string
	asked  uint64   // offset of the next request
	at     uint64   // offset of the next answer
	ids    []uint32 // under way
	data   []byte   // answered and not yet read
	err    error    // what ends the file
}

func (f *sftpFile) Read(b []byte) (int, error) {
	for len(f.data) == 0 {
		if f.err != nil {
			return 0, f.err
		}
		f.err = f.next()
	}
	n := copy(b, f.data)
	f.data = f.data[n:]
	return n, nil
}

// next takes the next answer, after sending more requests.
func (f *sftpFile) next() error {
	for len(f.ids) < sftpAhead {
		where := binary.BigEndian.AppendUint64(nil, f.asked)
		id, err := f.c.ask(sftpRead, field(f.handle), where, binary.BigEndian.AppendUint32(nil, sftpChunk))
		if err != nil {
			return err
		}
		f.ids, f.asked = append(f.ids, id), f.asked+sftpChunk
	}
	r, err := f.c.answer(f.ids[0], sftpData)
	f.ids = f.ids[1:]
	if err != nil {
		return err
	}
	f.data = r.string()
	if r.bad || len(f.data) == 0 || len(f.data) > sftpChunk {
		return errNoSFTP
	}
	f.at += uint64(len(f.data))
	if len(f.data) < sftpChunk {
		// A short answer, at the end or not: what was asked beyond it is asked anew.
		if err := f.drain(); err != nil {
			return err
		}
		f.asked = f.at
	}
	return nil
}

// drain takes the answers that nobody wants any more.
func (f *sftpFile) drain() error {
	for len(f.ids) > 0 {
		_, err := f.c.answer(f.ids[0], sftpData)
		f.ids = f.ids[1:]
		if errors.Is(err, errNoSFTP) {
			return err
		}
	}
	return nil
}

// Close implements io.Closer.
func (f *sftpFile) Close() error {
	if err := f.drain(); err != nil {
		return err
	}
	_, err := f.c.call(sftpClose, sftpStatus, field(f.handle))
	return err
}
