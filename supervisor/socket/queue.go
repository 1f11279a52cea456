package socket

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Queue is the accept queue of slot i: how many connections wait there for a process to
// take them, and how many can. It fails where the kernel does not tell, and for packets.
func (g *Group) Queue(i int) (length, most int, err error) {
	fd := g.FD(i)
	switch {
	case fd < 0 || !g.listens():
		return 0, 0, ErrUnknown
	case g.isTCP():
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return 0, 0, err
		}
		return int(info.Unacked), int(info.Sacked), nil // of a listening socket: sk_ack_backlog, sk_max_ack_backlog
	}
	return queueOfUnix(fd)
}

// queueOfUnix asks with struct unix_diag_req; the answer has struct unix_diag_rqlen among its
// attributes.
func queueOfUnix(fd int) (length, most int, err error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return 0, 0, err
	}
	const showQueue, queue = 0x10, 4 // UDIAG_SHOW_RQLEN, UNIX_DIAG_RQLEN
	request := make([]byte, 24)
	request[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(request[4:], ^uint32(0))
	binary.NativeEndian.PutUint32(request[8:], uint32(stat.Ino))
	binary.NativeEndian.PutUint32(request[12:], showQueue)
	noCookie(request[16:])
	answer, err := diagnose(request)
	if err != nil || len(answer) < 16 {
		return 0, 0, orGone(err)
	}
	for rest := answer[16:]; len(rest) >= unix.SizeofNlAttr; {
		size, kind := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if size < unix.SizeofNlAttr || size > len(rest) {
			break
		}
		if kind == queue && size >= 12 {
			return int(binary.NativeEndian.Uint32(rest[4:])), int(binary.NativeEndian.Uint32(rest[8:])), nil
		}
		rest = rest[min(len(rest), (size+3)&^3):]
	}
	return 0, 0, ErrUnknown
}
