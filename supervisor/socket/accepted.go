package socket

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ErrUnknown says that the kernel does not tell who has accepted a connection: it is
// one of a unix socket, or there is no sock_diag(7).
var ErrUnknown = errors.New("who has accepted the connection is not known")

// AcceptedBy waits until a connection to a socket of this machine is accepted, and
// says whether a process of the group pgid has done so. That a connection is
// established says nothing: the kernel does that.
func AcceptedBy(ctx context.Context, conn net.Conn, pgid int) (bool, error) {
	client, ok := conn.LocalAddr().(*net.TCPAddr)
	server, ok2 := conn.RemoteAddr().(*net.TCPAddr)
	if !ok || !ok2 {
		return false, ErrUnknown
	}
	diag, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return false, ErrUnknown
	}
	defer unix.Close(diag)
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 20*time.Millisecond) {
		inode, err := inodeOf(diag, server.AddrPort(), client.AddrPort())
		if err != nil {
			return false, err
		}
		if inode != 0 {
			return holds(pgid, inode)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false, errors.New("nobody accepts")
		}
	}
}

// inodeOf is that of the socket with a local and a remote address, 0 as long as it
// waits to be accepted; see sock_diag(7).
func inodeOf(diag int, local, remote netip.AddrPort) (uint32, error) {
	const (
		byFamily = 20 // SOCK_DIAG_BY_FAMILY
		header   = unix.SizeofNlMsghdr
		question = 56 // struct inet_diag_req_v2
	)
	family := byte(unix.AF_INET6)
	from, to := local.Addr().Unmap(), remote.Addr().Unmap()
	if from.Is4() {
		family = unix.AF_INET
	}
	q := make([]byte, header+question)
	binary.NativeEndian.PutUint32(q[0:], uint32(len(q)))
	binary.NativeEndian.PutUint16(q[4:], byFamily)
	binary.NativeEndian.PutUint16(q[6:], unix.NLM_F_REQUEST)
	body := q[header:]
	body[0], body[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(body[4:], ^uint32(0)) // in whatever state
	binary.BigEndian.PutUint16(body[8:], local.Port())
	binary.BigEndian.PutUint16(body[10:], remote.Port())
	copy(body[12:28], from.AsSlice())
	copy(body[28:44], to.AsSlice())
	binary.NativeEndian.PutUint64(body[48:], ^uint64(0)) // no cookie
	if err := unix.Sendto(diag, q, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, ErrUnknown
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(diag, answer, 0)
	const inode = 68 // in struct inet_diag_msg
	switch {
	case err != nil || n < header+4:
		return 0, ErrUnknown
	case binary.NativeEndian.Uint16(answer[4:]) == unix.NLMSG_ERROR:
		if errno := -int32(binary.NativeEndian.Uint32(answer[header:])); errno != int32(unix.ENOENT) {
			return 0, ErrUnknown
		}
		return 0, errors.New("the connection was closed before it was accepted, or at once")
	case n < header+inode+4:
		return 0, ErrUnknown
	}
	return binary.NativeEndian.Uint32(answer[header+inode:]), nil
}

// holds says whether a process of a group has a socket.
func holds(pgid int, inode uint32) (bool, error) {
	target := fmt.Sprintf("socket:[%d]", inode)
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if group, err := unix.Getpgid(pid); err != nil || group != pgid {
			continue
		}
		fds, err := os.ReadDir(dir + "/fd")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, ErrUnknown // we may not look
		}
		for _, fd := range fds {
			if to, err := os.Readlink(dir + "/fd/" + fd.Name()); err == nil && to == target {
				return true, nil
			}
		}
	}
	return false, nil
}
