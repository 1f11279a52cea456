package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// probeNet is 127.65.0.0. A connection from 127.65.H.L is for slot H*256+L: only
// this machine can send one, and from an address that nothing else uses.
const probeNet = 127<<24 | 65<<16

// ErrNotAddressable says that no connection can be sent to one slot of a group that
// has several: the group is not reached over IPv4, or the slot has no socket.
var ErrNotAddressable = errors.New("no connection can be sent to it alone")

// Probe is the way to the socket of one slot, whatever the steering says. It is a
// value that any goroutine may use, and right for as long as the slot has its
// socket: later its connections go to any live slot.
type Probe struct {
	network, address string
	source           netip.Addr // invalid: any
	Leads            Leads
}

// Leads says who may accept a connection.
type Leads string

const (
	Elsewhere Leads = ""           // whoever listens there
	ToOne     Leads = "one slot"   // any process that has its socket
	ToAll     Leads = "all slots"  // they have one socket
	Anywhere  Leads = "any socket" // one of theirs, and nobody knows which
)

// To is the way to any address.
func To(address string) Probe { return Probe{network: "tcp", address: address} }

// Probe is the way to the socket of a slot; in a shared group, to a unix socket,
// which all slots have together, and in a blind group that of any connection.
func (g *Group) Probe(slot int) (Probe, error) {
	any := Probe{network: g.Network, address: g.Address}
	switch {
	case g.shared:
		any.Leads = ToAll
		return any, nil
	case len(g.fds) == 1 && slot == 0:
		any.Leads = ToOne
		return any, nil
	case g.blind && g.FD(slot) >= 0:
		any.Leads = Anywhere
		return any, nil
	}
	host, port, err := g.reached(slot)
	if err != nil {
		return Probe{}, fmt.Errorf("slot %d of %s: %w", slot, g.Address, err)
	}
	n := probeNet + uint32(slot)
	return Probe{
		network: "tcp4",
		Leads:   ToOne,
		address: net.JoinHostPort(host.String(), strconv.Itoa(port)),
		source:  netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}),
	}, nil
}

// reached is where a slot's socket is reached over IPv4 from this machine.
func (g *Group) reached(slot int) (host netip.Addr, port int, err error) {
	if g.FD(slot) < 0 {
		return host, 0, ErrNotAddressable
	}
	bound, err := unix.Getsockname(g.FD(slot))
	if err != nil {
		return host, 0, err
	}
	switch a := bound.(type) {
	case *unix.SockaddrInet4:
		host, port = netip.AddrFrom4(a.Addr), a.Port
	case *unix.SockaddrInet6:
		host, port = netip.AddrFrom16(a.Addr), a.Port
	}
	if host.IsUnspecified() {
		host = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if !host.Is4() {
		return host, 0, ErrNotAddressable
	}
	return host, port, nil
}

// Dial opens a connection to the slot.
func (p Probe) Dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	if p.source.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.source, 0))
	}
	return dialer.DialContext(ctx, p.network, p.address)
}
