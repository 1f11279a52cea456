package socket

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Steer sends new connections to the given slots only, each as likely as the
// other. Connections that wait in the queue of another slot stay there. With no
// slot given that has a socket, or for a shared group, every socket gets
// connections. Those of a [Probe] go where they are addressed.
//
// The program belongs to the group, not to a socket, and works unprivileged and
// on dual-stack sockets (SO_ATTACH_REUSEPORT_CBPF, socket(7)).
func (g *Group) Steer(live []int) error {
	g.live = slices.Clone(live)
	return g.attach()
}

// attach makes the steering that of the live slots and of the sockets that there
// are. It costs a system call where these have changed.
func (g *Group) attach() error {
	if !g.Steerable() || len(g.fds) == 0 {
		return nil
	}
	live := slices.DeleteFunc(slices.Clone(g.live), func(slot int) bool { return slot >= len(g.fds) })
	if len(live) == 0 {
		for slot := range g.fds {
			live = append(live, slot)
		}
	}
	program := steering(live, len(g.fds))
	if slices.Equal(program, g.attached) {
		return nil
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(g.fds[0], unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &prog); err != nil {
		return fmt.Errorf("steer %s: %w", g.Address, err)
	}
	g.attached = program
	return nil
}

// steering is classic BPF that returns the index of a socket:
//
//	if the packet is IPv4 and its source less 127.65.0.0 is below slots: that
//	A = random % len(live)
//	if A < 3: A + 0    the first three live slots are 0, 1, 2,
//	if A < 4: A + 2    the next one is 5,
//	A + 5              and then come 9 and more
//
// Any live slots of 1024 make 512 runs at most, and so a program that is well
// below BPF_MAXINSNS and what net.core.optmem_max allows on older kernels.
func steering(live []int, slots int) []unix.SockFilter {
	const ( // SKF_NET_OFF is 0xfff00000, SKF_AD_OFF 0xfffff000, SKF_AD_RANDOM 56
		ipVersion  = 0xfff00000
		ipv4Source = 0xfff00000 + 12
		random     = 0xfffff000 + 56
	)
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: ipVersion},
		{Code: unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K, K: 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 4, Jf: 4},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: ipv4Source},
		{Code: unix.BPF_ALU | unix.BPF_SUB | unix.BPF_K, K: probeNet},
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: uint32(slots), Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_A},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: random},
		{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(len(live))},
	}
	for start := 0; start < len(live); {
		end := start + 1
		for end < len(live) && live[end] == live[end-1]+1 {
			end++
		}
		if end < len(live) {
			program = append(program,
				unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: uint32(end), Jt: 2})
		}
		program = append(program,
			unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_ADD | unix.BPF_K, K: uint32(live[start] - start)},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_A})
		start = end
	}
	return program
}

// Queued is the number of connections that wait in the accept queue of slot i.
// Handshakes under way are not among them.
func (g *Group) Queued(i int) (int, error) {
	if !g.isTCP() || g.FD(i) < 0 {
		return 0, nil
	}
	n, _, err := QueueOf(g.FD(i))
	return n, err
}

// QueueOf is how many connections wait on a listening TCP socket to be accepted, and how
// many may.
func QueueOf(fd int) (n, most int, err error) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, 0, err
	}
	return int(info.Unacked), int(info.Sacked), nil // of a listening socket: sk_ack_backlog and sk_max_ack_backlog
}
