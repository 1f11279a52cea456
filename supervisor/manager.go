package supervisor

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/socket"
	"github.com/nekoctl/neko/supervisor/spec"
)

// What a master has to do with a service manager goes by way of the keeper, which
// is the main process: states and status lines, and sockets that the manager has
// handed over (keeper/manager.go).

// beat says that this master does not stand still, and what there is to say of the
// daemon.
func (m *master) beat() {
	tick := time.NewTicker(keeper.Beat)
	defer tick.Stop()
	for {
		m.do(func() {
			m.kept("life", m.conn.Alive())
			if status := m.statusLine(); status != m.status {
				m.status = status
				m.tellManager("STATUS=" + status)
			}
			if m.transitions > 0 || m.stopping {
				m.tellManager(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (5 * keeper.Beat).Microseconds()))
			}
		})
		select {
		case <-tick.C:
		case <-m.ended:
			return
		}
	}
}

func (m *master) tellManager(lines ...string) {
	if err := m.conn.Notify(strings.Join(lines, "\n")); err != nil && !m.keeperGone {
		m.log("tell the service manager: %v", err)
	}
}

// statusLine is what `systemctl status` shows.
func (m *master) statusLine() string {
	all, online := 0, 0
	for _, s := range m.slots() {
		if all++; s.state == control.Online {
			online++
		}
	}
	line := fmt.Sprintf("%d apps, %d of %d processes online", len(m.order), online, all)
	if m.reloadFailed != "" {
		line += "; the reload failed: " + m.reloadFailed
	}
	return line
}

// reloading tells the manager that a reload begins, and done that it has ended.
func (m *master) reloading() (done func(err error)) {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // cannot fail for this clock
	m.do(func() {
		m.transitions++
		m.tellManager("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
	})
	return func(err error) {
		m.do(func() {
			if err != nil {
				m.reloadFailed, _, _ = strings.Cut(err.Error(), "\n")
			}
			m.settled()
		})
	}
}

// settled is the end of what the service manager waits for. It takes READY=1 for the
// end of all, and so that is said at the last, and not in a daemon that stops.
func (m *master) settled() {
	if m.transitions--; m.transitions > 0 || m.stopping {
		return
	}
	m.status = m.statusLine()
	m.tellManager("READY=1", "STATUS="+m.status)
}

// takeGiven are the sockets that the service manager has for an app's listener, at
// most n, in slot order; the caller owns them. If the first is one that the manager
// listens on itself, it is a duplicate, and lent. Once they are deposited,
// withdrawTaken is due.
func (m *master) takeGiven(app string, index int, l spec.Listener, n int) (fds []int, lent bool) {
	for _, g := range m.given {
		if !g.Stored() && sameAddress(g.FD, l) {
			fd, err := unix.FcntlInt(uintptr(g.FD), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				m.log("the service manager's socket for %s: %v", l.Address, err)
				return nil, false
			}
			m.warn(g.Key, "")
			fds, lent = []int{fd}, true
			break
		}
	}
	var left []keeper.Given
	for _, g := range m.given {
		ours := g.Stored() && strings.HasPrefix(g.Name, fmt.Sprintf("socket/%s/%d/", app, index)) &&
			(sameAddress(g.FD, l) || strings.HasSuffix(l.Address, ":0"))
		if !ours || len(fds) == n || lent && keeper.SameSocket(g.FD, fds[0]) {
			left = append(left, g)
			continue
		}
		fds = append(fds, g.FD)
		m.taken = append(m.taken, g.Key)
	}
	m.given = left
	return fds, lent
}

// withdrawTaken is for when the keeper has what was taken as the app's.
func (m *master) withdrawTaken() {
	for _, key := range m.taken {
		m.withdraw(key)
	}
	m.taken = nil
}

// lent are the listeners whose first socket is the service manager's as well.
func (a *app) lent() (list []int) {
	for i, g := range a.groups {
		if g.Lent() {
			list = append(list, i)
		}
	}
	return list
}

// sortGiven brings stored sockets into the order of their slots.
func sortGiven(list []keeper.Given) {
	slot := func(g keeper.Given) int {
		n, _ := strconv.Atoi(g.Name[strings.LastIndexByte(g.Name, '/')+1:])
		return n
	}
	slices.SortStableFunc(list, func(a, b keeper.Given) int { return slot(a) - slot(b) })
}

// sameAddress says whether a socket is bound to the address of a listener.
func sameAddress(fd int, l spec.Listener) bool {
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	var ip netip.Addr
	var port int
	switch a := bound.(type) {
	case *unix.SockaddrUnix:
		return l.Network == "unix" && a.Name == l.Address
	case *unix.SockaddrInet4:
		ip, port = netip.AddrFrom4(a.Addr), a.Port
	case *unix.SockaddrInet6:
		ip, port = netip.AddrFrom16(a.Addr), a.Port
	}
	host, want, found := cutLast(l.Address, ":")
	if !found || l.Network != "tcp" || want != strconv.Itoa(port) {
		return false
	}
	if host == "" {
		return ip.IsUnspecified() && ip.Is6()
	}
	wanted, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && wanted == ip
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// openGroup opens a listener's sockets for n slots, those first that the service
// manager has.
func (m *master) openGroup(app string, index int, l spec.Listener, n int, shared bool) (*socket.Group, error) {
	if shared || l.Network == "unix" {
		n = min(n, 1)
	}
	fds, lent := m.takeGiven(app, index, l, n)
	if len(fds) == 0 {
		return socket.Open(l.Network, l.Address, n, shared)
	}
	g, err := socket.Adopt(l.Network, l.Address, shared, fds)
	if lent {
		g.SetLent()
	}
	if err == nil {
		err = g.Grow(n)
	}
	if err == nil {
		return g, nil
	}
	if lent && errors.Is(err, unix.EADDRINUSE) || errors.As(err, new(*socket.InUseError)) {
		// The kernel wants ReusePort=yes, and that both sockets are one user's.
		err = failure("write balance: shared for the app; ReusePort=yes in the socket unit does where the daemon is root, too",
			"the service manager's socket for %s can be one process's only", l.Address)
	}
	if closeErr := g.Close(); closeErr != nil {
		m.log("close %s: %v", l.Address, closeErr)
	}
	return nil, err
}

// endGiven is about the sockets that no app has taken when all are started: those
// that an earlier life of the daemon had stored go, others may be wanted later.
func (m *master) endGiven() {
	var left []keeper.Given
	for _, g := range m.given {
		if !g.Stored() {
			left = append(left, g)
			if slices.ContainsFunc(m.order, func(name string) bool {
				return slices.ContainsFunc(m.apps[name].spec.Listen, func(l spec.Listener) bool { return sameAddress(g.FD, l) })
			}) {
				continue
			}
			m.warn(g.Key, fmt.Sprintf("the service manager's socket %s is of no app here", g.Name))
			continue
		}
		// The socket of a unit may have been stored besides; that one is in service.
		if !slices.ContainsFunc(m.given, func(o keeper.Given) bool { return !o.Stored() && keeper.SameSocket(o.FD, g.FD) }) {
			_ = unix.Shutdown(g.FD, unix.SHUT_RD)
		}
		unix.Close(g.FD)
		m.withdraw(g.Key)
	}
	m.given = left
}
