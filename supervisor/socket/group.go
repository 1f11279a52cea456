// Package socket makes and retires the listening sockets that the master owns.
//
// A [Group] is one address with one SO_REUSEPORT socket for each slot, or one
// for all. The kernel numbers the sockets of a group by the order of their
// listen() and moves the last one into a gap, so a group grows and shrinks at
// its end only, and socket i belongs to slot i.
package socket

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// backlog is capped by net.core.somaxconn.
const backlog = 4096

// Group is one listening address of an app. It is not safe for concurrent use.
type Group struct {
	Network string // "tcp", "tcp6" (IPv6 alone), "unix", "udp", "udp6"
	Address string // as bound: the kernel's port instead of 0
	shared  bool   // one socket for all slots
	fds     []int

	lent     bool              // the first socket is somebody else's, too: see Lent
	alone    bool              // and no other can be beside it, so that there is nothing to steer
	blind    bool              // the kernel's order is unknown: nothing can be steered
	live     []int             // the slots that Steer named last; none: all
	attached []unix.SockFilter // the program that steers; nil if it is not known
}

// Open binds the address and listens with n sockets, or with one if shared.
// Unix sockets are always shared, and those of UDP: packets of one sender that the
// kernel spreads by a hash would change their worker with the number of sockets.
func Open(network, address string, n int, shared bool) (*Group, error) {
	g := &Group{Network: network, Address: address}
	g.shared = shared || !g.isTCP()
	if g.isTCP() {
		if err := g.checkFree(); err != nil {
			return nil, err
		}
	}
	if err := g.Grow(n); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// Adopt is a group whose sockets are open already, in slot order. There may be
// none, where the last master was about to open or to close them. It is steered
// as it was until Steer is called.
//
// An fd of -1 is a slot whose socket is lost. Fill gives it another, but the kernel has
// moved sockets into the gap, nobody knows in which order: the group is blind.
func Adopt(network, address string, shared bool, fds []int) (*Group, error) {
	g := &Group{Network: network, Address: address}
	g.shared = shared || !g.isTCP()
	first := slices.IndexFunc(fds, func(fd int) bool { return fd >= 0 })
	if first < 0 {
		return g, nil
	}
	g.fds = fds
	if network == "unix" {
		return g, nil
	}
	if err := g.readAddress(fds[first]); err != nil || !slices.Contains(fds, -1) {
		return g, err
	}
	g.blind = true
	err := unix.SetsockoptInt(fds[first], unix.SOL_SOCKET, unix.SO_DETACH_REUSEPORT_BPF, 0)
	if err == unix.ENOENT { // an earlier master has done so
		err = nil
	}
	return g, err
}

func (g *Group) isTCP() bool { return strings.HasPrefix(g.Network, "tcp") }

// listens says that connections come to it, and not packets.
func (g *Group) listens() bool { return g.isTCP() || g.Network == "unix" }

// Fill opens the socket of slot i if it has none in a group that is blind, and says
// whether it had none.
func (g *Group) Fill(i int) (filled bool, err error) {
	if !g.blind || i >= len(g.fds) || g.fds[i] >= 0 {
		return false, nil
	}
	g.fds[i], err = g.listen()
	return err == nil, err
}

// Drop closes the socket of slot i if the group is blind, and says whether it did: there
// the kernel sends connections to all that are open, so that one which nobody serves must
// not be. What waits on it is lost.
func (g *Group) Drop(i int) (dropped bool, err error) {
	if !g.blind || i >= len(g.fds) || g.fds[i] < 0 || i == 0 && g.lent {
		return false, nil
	}
	fd := g.fds[i]
	g.fds[i] = -1
	return true, errors.Join(unix.Shutdown(fd, unix.SHUT_RD), unix.Close(fd))
}

// Steerable says whether connections can be kept from a single slot.
func (g *Group) Steerable() bool { return !g.shared && !g.blind && !g.alone }

// Blind says that a group with a socket for each slot cannot be steered, as one
// of them was lost. Opened anew it can.
func (g *Group) Blind() bool { return g.blind }

// StayBlind makes a group blind that was adopted without gaps, as an earlier
// master has filled them.
func (g *Group) StayBlind() { g.blind = !g.shared }

// checkFree binds the address alone for a moment: with SO_REUSEPORT a second
// program of the same user would silently share it.
func (g *Group) checkFree() error {
	domain, addr, err := sockaddr(g.Address)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if g.Network == "tcp6" {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
	}
	err = unix.Bind(fd, addr)
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	return g.bindError(err)
}

func (g *Group) bindError(err error) error {
	if errors.Is(err, unix.EADDRINUSE) {
		return &InUseError{Address: g.Address, Holder: Holder(g.Address)}
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", g.Address, err)
	}
	return nil
}

// InUseError says that an address is taken, and by whom if the system tells.
type InUseError struct {
	Address string
	Holder  string // "nginx (pid 12)"; "" if it cannot be seen
}

func (e *InUseError) Error() string {
	if e.Holder == "" {
		return fmt.Sprintf("address %s is in use", e.Address)
	}
	return fmt.Sprintf("address %s is in use by %s", e.Address, e.Holder)
}

// Len is the number of slots that have a socket of their own; a shared group
// serves any number.
func (g *Group) Len() int { return len(g.fds) }

// Shared says that all slots have the same socket.
func (g *Group) Shared() bool { return g.shared }

// Grow opens sockets until slots 0 to n-1 have one. Probes reach them at once,
// other connections when Steer names them.
func (g *Group) Grow(n int) error {
	if g.shared {
		n = 1
	}
	before := len(g.fds)
	var err error
	for err == nil && len(g.fds) < n {
		var fd int
		if fd, err = g.listen(); err == nil {
			g.fds = append(g.fds, fd)
		}
	}
	if err == nil && len(g.fds) > before {
		err = g.attach()
	}
	for err != nil && len(g.fds) > before { // all or none
		_ = g.Shrink()
	}
	return err
}

func (g *Group) listen() (int, error) {
	if g.Network == "unix" {
		return listenUnix(g.Address)
	}
	domain, addr, err := sockaddr(g.Address)
	if err != nil {
		return -1, err
	}
	kind := unix.SOCK_STREAM
	if !g.isTCP() {
		kind = unix.SOCK_DGRAM
	}
	// Blocking, as systemd passes sockets: a worker that wants it otherwise says so.
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if g.isTCP() { // others could have an address of UDP's, too
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		)
	}
	if err == nil && domain == unix.AF_INET6 {
		only := 1
		if ip := addr.(*unix.SockaddrInet6); ip.Addr == [16]byte{} && !strings.HasSuffix(g.Network, "6") {
			only = 0 // "::" and "" serve IPv4 as well
		}
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
	}
	if err == nil {
		err = unix.Bind(fd, addr)
	}
	if err == nil && g.isTCP() {
		err = unix.Listen(fd, backlog)
	}
	if err == nil && len(g.fds) == 0 {
		err = g.readAddress(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, g.bindError(err)
	}
	return fd, nil
}

// readAddress learns the port that the kernel chose.
func (g *Group) readAddress(fd int) error {
	host, port, err := net.SplitHostPort(g.Address)
	if err != nil || port != "0" {
		return err
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	switch a := bound.(type) {
	case *unix.SockaddrInet4:
		g.Address = net.JoinHostPort(host, strconv.Itoa(a.Port))
	case *unix.SockaddrInet6:
		g.Address = net.JoinHostPort(host, strconv.Itoa(a.Port))
	}
	return nil
}

// listenUnix replaces a socket file that nobody listens on any more. A name that
// begins with @ is no file's.
func listenUnix(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	addr := &unix.SockaddrUnix{Name: path}
	err = unix.Bind(fd, addr)
	if errors.Is(err, unix.EADDRINUSE) {
		unix.Close(fd)
		if path[0] == '@' {
			return -1, &InUseError{Address: path}
		}
		info, statErr := os.Lstat(path)
		if statErr != nil || info.Mode().Type() != os.ModeSocket {
			return -1, fmt.Errorf("listen on %s: there is a file that is no socket: %w", path, unix.EADDRINUSE)
		}
		if !abandoned(addr) {
			return -1, &InUseError{Address: path}
		}
		if err := os.Remove(path); err != nil {
			return -1, err
		}
		return listenUnix(path)
	}
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listen on %s: %w", path, err)
	}
	return fd, nil
}

// abandoned says that nobody listens on a socket file. Whoever does may have a
// full queue or not let us in.
func abandoned(addr unix.Sockaddr) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return errors.Is(unix.Connect(fd, addr), unix.ECONNREFUSED)
}

// sockaddr resolves HOST:PORT, where an empty host is every address of both
// families, or of IPv4 where there is no IPv6.
func sockaddr(address string) (domain int, addr unix.Sockaddr, err error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return 0, nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return 0, nil, fmt.Errorf("address %s: %q is no port", address, portText)
	}
	if host == "" {
		if haveIPv6() {
			return unix.AF_INET6, &unix.SockaddrInet6{Port: int(port)}, nil
		}
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(port)}, nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		found, err := net.LookupIP(host)
		if err != nil || len(found) == 0 {
			return 0, nil, fmt.Errorf("address %s: no such host", address)
		}
		// localhost and the like: IPv4 first, as most clients of a VM expect.
		slices.SortStableFunc(found, func(a, b net.IP) int { return len(a.To4()) - len(b.To4()) })
		ip, _ = netip.AddrFromSlice(found[len(found)-1])
		ip = ip.Unmap()
	}
	if ip.Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(port), Addr: ip.As4()}, nil
	}
	zone := 0
	if ip.Zone() != "" {
		iface, err := net.InterfaceByName(ip.Zone())
		if err != nil {
			return 0, nil, fmt.Errorf("address %s: %w", address, err)
		}
		zone = iface.Index
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(port), Addr: ip.As16(), ZoneId: uint32(zone)}, nil
}

func haveIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err == nil
}

// FD is the descriptor for the processes of slot i, or -1 if there is none.
func (g *Group) FD(i int) int {
	if g.shared {
		i = 0
	}
	if i >= len(g.fds) {
		return -1
	}
	return g.fds[i]
}

// FDs are all descriptors in slot order; -1 in a group that is blind: there is none.
func (g *Group) FDs() []int { return g.fds }

// Relisten restores what a worker may have changed on the description that it
// shares with the master: Node sets the backlog to 511.
func (g *Group) Relisten(i int) error {
	if fd := g.FD(i); fd >= 0 && g.listens() {
		return unix.Listen(fd, backlog)
	}
	return nil
}

// Shrink closes the last socket. It is shut down first, for a descriptor that
// leaked into a process somewhere would keep it in the group, and new
// connections would go to it and hang.
//
// The kernel takes a socket out of its group before it takes it off the list of
// those that listen, where the last is the first to be found: a connection that
// comes between the two goes to it whatever the steering says, and would be
// reset. Deaf, it lets the client try again, a second later.
func (g *Group) Shrink() error {
	if g.shared || len(g.fds) == 0 {
		return nil
	}
	last := len(g.fds) - 1
	fd := g.fds[last]
	g.fds = g.fds[:last]
	if fd < 0 {
		return nil
	}
	err := g.attach() // first, lest the kernel is told of a socket that is gone
	if last == 0 {
		g.attached = nil
	}
	return errors.Join(err, deafen(fd), unix.Shutdown(fd, unix.SHUT_RD), unix.Close(fd))
}

// deafen lets a socket drop all packets that come to it, unless the kernel lets
// only root do that; there is nothing else to be done then.
func deafen(fd int) error {
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
	if err == unix.EPERM {
		return nil
	}
	return err
}

// SetLent says that the first socket is the service manager's as well, which goes on
// to listen on it: Close lets go of it and does not shut it down.
func (g *Group) SetLent() {
	g.lent = true
	if len(g.fds) > 0 {
		reuse, err := unix.GetsockoptInt(g.fds[0], unix.SOL_SOCKET, unix.SO_REUSEPORT)
		g.alone = err == nil && reuse == 0
	}
}

// Lent says whether it is.
func (g *Group) Lent() bool { return g.lent }

// Close ends the group and removes the file of a unix socket.
func (g *Group) Close() error {
	var errs []error
	for i, fd := range g.fds {
		if fd < 0 {
			continue
		}
		if !(i == 0 && g.lent) && g.listens() {
			errs = append(errs, unix.Shutdown(fd, unix.SHUT_RD))
		}
		errs = append(errs, unix.Close(fd))
	}
	if g.Network == "unix" && len(g.fds) > 0 && !g.lent && g.Address[0] != '@' {
		errs = append(errs, os.Remove(g.Address))
	}
	g.fds, g.attached = nil, nil
	return errors.Join(errs...)
}
