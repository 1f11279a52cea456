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
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ErrUnknown says that it cannot be seen who has accepted a connection: the kernel
// has no sock_diag(7), or /proc does not show the descriptors of a process.
var ErrUnknown = errors.New("who has accepted the connection is not known")

// ErrNotAccepted says that nobody has accepted a connection in time.
var ErrNotAccepted = errors.New("nobody accepts")

// AcceptedBy waits until a connection to a socket of this machine is accepted, and
// says whether a process of the group pgid has done so. That a connection is
// established says nothing: the kernel does that. Others are groups that may have
// done so; it is found sooner if they have.
func AcceptedBy(ctx context.Context, conn net.Conn, pgid int, others []int) (bool, error) {
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 20*time.Millisecond) {
		inode, err := accepted(conn)
		if err != nil {
			return false, err
		}
		if inode != 0 {
			return holds(pgid, others, inode)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false, ErrNotAccepted
		}
	}
}

// accepted is the inode of the socket at the other end of a connection, 0 as long as
// it waits to be accepted.
func accepted(conn net.Conn) (inode uint64, err error) {
	switch conn := conn.(type) {
	case *net.TCPConn:
		return acceptedTCP(conn)
	case *net.UnixConn:
		return acceptedUnix(conn)
	}
	return 0, ErrUnknown
}

// errGone is about a connection that has no other end any more.
var errGone = errors.New("the connection was closed at once")

// acceptedTCP asks with struct inet_diag_req_v2 for the one socket whose own address
// is our peer, and whose peer we are.
func acceptedTCP(conn *net.TCPConn) (uint64, error) {
	theirs, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	ours, err2 := netip.ParseAddrPort(conn.LocalAddr().String())
	if err = errors.Join(err, err2); err != nil {
		return 0, err
	}
	request := make([]byte, 56)
	request[0], request[1] = unix.AF_INET6, unix.IPPROTO_TCP
	if theirs.Addr().Unmap().Is4() {
		request[0] = unix.AF_INET
	}
	binary.NativeEndian.PutUint32(request[4:], ^uint32(0)) // in any state
	for at, a := range map[int]netip.AddrPort{8: theirs, 10: ours} {
		binary.BigEndian.PutUint16(request[at:], a.Port())
	}
	copy(request[12:], theirs.Addr().Unmap().AsSlice())
	copy(request[28:], ours.Addr().Unmap().AsSlice())
	noCookie(request[48:])
	answer, err := diagnose(request) // struct inet_diag_msg
	if err != nil || len(answer) < 72 {
		return 0, orGone(err)
	}
	return uint64(binary.NativeEndian.Uint32(answer[68:])), nil
}

// acceptedUnix asks with struct unix_diag_req for our own socket, and for its peer.
func acceptedUnix(conn *net.UnixConn) (inode uint64, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var stat unix.Stat_t
	if controlErr := raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &stat) }); controlErr != nil || err != nil {
		return 0, errors.Join(controlErr, err)
	}
	const showPeer, peer = 4, 2 // UDIAG_SHOW_PEER, UNIX_DIAG_PEER
	request := make([]byte, 24)
	request[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(request[4:], ^uint32(0))
	binary.NativeEndian.PutUint32(request[8:], uint32(stat.Ino))
	binary.NativeEndian.PutUint32(request[12:], showPeer)
	noCookie(request[16:])
	answer, err := diagnose(request) // struct unix_diag_msg, and its attributes
	if err != nil || len(answer) < 16 {
		return 0, orGone(err)
	}
	for rest := answer[16:]; len(rest) >= unix.SizeofNlAttr; {
		size, kind := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if size < unix.SizeofNlAttr || size > len(rest) {
			break
		}
		if kind == peer && size >= 8 {
			return uint64(binary.NativeEndian.Uint32(rest[4:])), nil
		}
		rest = rest[min(len(rest), (size+3)&^3):]
	}
	return 0, errGone
}

// noCookie is INET_DIAG_NOCOOKIE.
func noCookie(cookie []byte) {
	for i := range cookie[:8] {
		cookie[i] = 0xff
	}
}

func orGone(err error) error {
	if err != nil {
		return err
	}
	return errGone
}

// diagnose asks for one socket. The answer is nil if there is no such socket.
func diagnose(request []byte) (answer []byte, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, ErrUnknown
	}
	defer unix.Close(fd)
	message := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(request))
	binary.NativeEndian.PutUint32(message, uint32(cap(message)))
	binary.NativeEndian.PutUint16(message[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(message[6:], unix.NLM_F_REQUEST)
	if err := unix.Sendto(fd, append(message, request...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, ErrUnknown
	}
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT) // the kernel has answered by now
	if err != nil || n < unix.SizeofNlMsghdr+4 {
		return nil, ErrUnknown
	}
	answer = buf[unix.SizeofNlMsghdr:n]
	if binary.NativeEndian.Uint16(buf[4:]) != unix.NLMSG_ERROR {
		return answer, nil
	}
	if errno := unix.Errno(-int32(binary.NativeEndian.Uint32(answer))); errno != unix.ENOENT {
		return nil, ErrUnknown
	}
	return nil, nil
}

// holds says whether a process of a group has a socket. Most often one of the leaders
// has it: only if none does all processes are looked at.
func holds(pgid int, others []int, inode uint64) (bool, error) {
	target := fmt.Sprintf("socket:[%d]", inode)
	if has, err := has(pgid, target); has || err != nil {
		return has, err
	}
	for _, pid := range others {
		if has, _ := has(pid, target); has {
			return false, nil
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if group, err := unix.Getpgid(pid); err != nil || group != pgid {
			continue
		}
		if has, err := has(pid, target); has || err != nil {
			return has, err
		}
	}
	return false, nil
}

// has says whether a process has a descriptor. One that has ended has none.
func has(pid int, target string) (bool, error) {
	dir := fmt.Sprintf("/proc/%d/fd/", pid)
	fds, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrPermission) {
		return false, ErrUnknown
	}
	return slices.ContainsFunc(fds, func(fd os.DirEntry) bool {
		to, err := os.Readlink(dir + fd.Name())
		return err == nil && to == target
	}), nil
}
