package socket

import (
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Steer sends new connections to the given slots only, each as likely as the
// other. Connections that wait in the queue of another slot stay there. With no
// slot given, or for a shared group, every socket gets connections.
//
// The program belongs to the group, not to a socket, and works unprivileged and
// on dual-stack sockets (SO_ATTACH_REUSEPORT_CBPF, socket(7)). An index out of
// range falls back to the kernel's hash.
func (g *Group) Steer(live []int) error {
	if g.shared || g.Network != "tcp" || len(g.fds) == 0 {
		return nil
	}
	if len(live) == 0 {
		live = make([]int, len(g.fds))
		for i := range live {
			live[i] = i
		}
	}
	if slices.Equal(live, g.live) {
		return nil
	}
	program := steering(live)
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(g.fds[0]), unix.SOL_SOCKET,
		unix.SO_ATTACH_REUSEPORT_CBPF, uintptr(unsafe.Pointer(&prog)), unsafe.Sizeof(prog), 0)
	if errno != 0 {
		return fmt.Errorf("steer %s: %w", g.Address, errno)
	}
	g.live = slices.Clone(live)
	return nil
}

// maxTable is the greatest number of slots that a program addresses one by one:
// a jump reaches 255 instructions.
const maxTable = 120

// steering is classic BPF:
//
//	A = random % n;  if A == 0 return live[0];  if A == 1 return live[1]; …
//
// and without the table where the slots are 0 to n-1 anyway.
func steering(live []int) []unix.SockFilter {
	const skfAdRandom = 0xfffff000 + 56 // SKF_AD_OFF + SKF_AD_RANDOM
	n := len(live)
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: skfAdRandom},
		{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(n)},
	}
	if live[n-1] == n-1 || n > maxTable {
		return append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_A})
	}
	for i, slot := range live {
		program = append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(i), Jt: 0, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(slot)})
	}
	// Not reached: A is below n.
	return append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(live[0])})
}

// Queued is the number of connections that wait in the accept queue of slot i.
// Handshakes under way are not among them.
func (g *Group) Queued(i int) (int, error) {
	if g.Network != "tcp" {
		return 0, nil
	}
	info, err := unix.GetsockoptTCPInfo(g.FD(i), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, err
	}
	return int(info.Unacked), nil // of a listening socket: sk_ack_backlog
}
