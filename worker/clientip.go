package worker

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"
)

// proxies knows whose word on where a request comes from counts.
type proxies struct {
	networks []netip.Prefix
	unix     bool // who connects by a unix socket
}

// newProxies reads Config.TrustedProxies.
func newProxies(list []string) (p proxies, err error) {
	for _, text := range list {
		if text == "unix" {
			p.unix = true
			continue
		}
		network, err := netip.ParsePrefix(text)
		if addr, e := netip.ParseAddr(text); err != nil && e == nil && addr.Zone() == "" {
			network, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return p, &adviceError{
				fmt.Errorf("trusted proxy %q is neither an address nor a network", text),
				"write it like 10.0.0.7, 10.0.0.0/8 or fd00::/8, or unix for who connects by a unix socket",
			}
		}
		if a := network.Addr(); a.Is4In6() && network.Bits() >= 96 {
			network = netip.PrefixFrom(a.Unmap(), network.Bits()-96)
		}
		p.networks = append(p.networks, network.Masked())
	}
	return p, nil
}

func (p *proxies) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(p.networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

const forwardedFor = "X-Forwarded-For"

// client is the address of who sent a request: of the peer, or, if that is a
// trusted proxy, what the proxies say by X-Forwarded-For. Each appends whom it was
// asked by, so the header is read from its end, and no further than to the first
// address that is no trusted proxy's: what stands before is only claimed. Where an
// entry is no address, the last that was sure counts. The result is not valid if
// nothing is known, as of a unix socket.
//
// Forwarded (RFC 7239) is not read. A proxy that writes the one header passes the
// other on as the client wrote it.
func (p *proxies) client(peer net.Addr, h *fasthttp.RequestHeader) netip.Addr {
	sure, trusted := p.peer(peer)
	return p.asked(sure, trusted, h)
}

// clientOf is client for the request in ctx. Who has connected is known.
func (p *proxies) clientOf(ctx *fasthttp.RequestCtx) netip.Addr {
	if c := clientConnOf(ctx); c != nil {
		return p.asked(c.peer, c.trusted, &ctx.Request.Header)
	}
	return p.client(ctx.RemoteAddr(), &ctx.Request.Header)
}

func (p *proxies) asked(sure netip.Addr, trusted bool, h *fasthttp.RequestHeader) netip.Addr {
	if !trusted {
		return sure
	}
	lines := h.PeekAll(forwardedFor)
	for i := len(lines) - 1; i >= 0; i-- {
		for rest := string(lines[i]); rest != ""; {
			entry := rest
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, entry = rest[:comma], rest[comma+1:]
			} else {
				rest = ""
			}
			addr, ok := forwardedAddr(strings.TrimSpace(entry))
			if !ok {
				return sure
			}
			if sure = addr; !p.trusts(addr) {
				return sure
			}
		}
	}
	return sure
}

// peer is the address of who has connected, not valid if there is none, and whether
// that is a trusted proxy.
func (p *proxies) peer(peer net.Addr) (addr netip.Addr, trusted bool) {
	switch peer := peer.(type) {
	case *net.TCPAddr:
		addr = plainAddr(peer.AddrPort().Addr())
		return addr, p.trusts(addr)
	case *net.UnixAddr:
		return addr, p.unix
	}
	return addr, false // a listener of the program's own
}

// forwardedAddr reads an entry of X-Forwarded-For: an address, which some proxies
// write with a port.
func forwardedAddr(text string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return plainAddr(addr), true
	}
	if with, err := netip.ParseAddrPort(text); err == nil {
		return plainAddr(with.Addr()), true
	}
	bare, ok := strings.CutPrefix(text, "[")
	if bare, closed := strings.CutSuffix(bare, "]"); ok && closed {
		addr, err := netip.ParseAddr(bare)
		return plainAddr(addr), err == nil && !addr.Is4()
	}
	return netip.Addr{}, false
}

// plainAddr gives an address the one form in which it is compared: no IPv4 in
// IPv6, no zone.
func plainAddr(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }
