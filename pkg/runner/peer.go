package runner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peer is who is on the other side of the socket, as the kernel tells.
type peer struct {
	uid    int
	pid    int
	groups []int // primary and supplementary
}

// peerOf asks the kernel who connected: SO_PEERCRED and SO_PEERGROUPS of
// unix(7), as they were at connect(2).
func peerOf(conn *net.UnixConn) (peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return peer{}, err
	}
	var p peer
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			failed = err
			return
		}
		p = peer{uid: int(cred.Uid), pid: int(cred.Pid), groups: []int{int(cred.Gid)}}
		more, err := peerGroups(int(fd))
		p.groups, failed = append(p.groups, more...), err
	})
	return p, errors.Join(err, failed)
}

// peerGroups reads the supplementary groups of the peer.
func peerGroups(fd int) ([]int, error) {
	for n := 64; ; {
		buf := make([]uint32, n)
		size := uint32(n * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch errno {
		case 0:
		case unix.ERANGE: // size says how much there is
			n = int(size)/4 + 1
			continue
		default:
			return nil, fmt.Errorf("asking for the peer's groups: %w", errno)
		}
		groups := make([]int, 0, size/4)
		for _, gid := range buf[:size/4] {
			groups = append(groups, int(gid))
		}
		return groups, nil
	}
}

// name is the peer's account in words.
func (p peer) name() string {
	if u, err := user.LookupId(strconv.Itoa(p.uid)); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", p.uid)
}

// owns reports whether the peer is the runner's own account, or root.
func (p peer) owns() bool { return p.uid == 0 || p.uid == os.Geteuid() }

// spoolGroup is the group whose members may write the spool, or -1 when it is
// private.
func (r *Runner) spoolGroup() int {
	info, err := os.Stat(filepath.Join(r.cfg.Home, "spool", "new"))
	if err != nil || info.Mode().Perm()&0o020 == 0 {
		return -1
	}
	return int(info.Sys().(*syscall.Stat_t).Gid)
}

// mayAct reports whether the peer may use the runner: its own account, root, the
// owner of a registered repository, or a member of the group that may write the
// spool.
func (r *Runner) mayAct(ctx context.Context, p peer) (bool, error) {
	if p.owns() {
		return true, nil
	}
	if gid := r.spoolGroup(); gid >= 0 && slices.Contains(p.groups, gid) {
		return true, nil
	}
	repos, err := r.cfg.Ledger.Repositories(ctx)
	if err != nil {
		return false, err
	}
	for _, repo := range repos {
		if info, err := os.Stat(repo.Path); err == nil && int(info.Sys().(*syscall.Stat_t).Uid) == p.uid {
			return true, nil
		}
	}
	return false, nil
}
