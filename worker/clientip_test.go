package worker

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

func TestClientIP(t *testing.T) {
	const proxy, edge, client = "10.0.0.7", "192.0.2.1", "203.0.113.9"
	trusted := []string{"10.0.0.0/8", edge, "fd00::/8", "unix"}
	for _, c := range []struct {
		what    string
		trusted []string
		peer    string   // "" is a unix socket
		headers []string // of X-Forwarded-For
		want    string
	}{
		{"nobody is trusted", nil, proxy, []string{client}, proxy},
		{"a client by itself", trusted, client, nil, client},
		{"a client that claims to be another", trusted, client, []string{"10.9.9.9"}, client},
		{"a proxy", trusted, proxy, []string{client}, client},
		{"a proxy that says nothing", trusted, proxy, nil, proxy},
		{"an empty header", trusted, proxy, []string{""}, proxy},
		{"two proxies", trusted, proxy, []string{client + ", " + edge}, client},
		{"what the client itself wrote is before", trusted, proxy, []string{"1.2.3.4, 10.0.0.1, " + client}, client},
		{"in several headers", trusted, proxy, []string{"1.2.3.4", client, edge}, client},
		{"only proxies: the farthest", trusted, proxy, []string{"10.1.1.1, 10.2.2.2"}, "10.1.1.1"},
		{"garbage: the last that was sure", trusted, proxy, []string{"nonsense, " + edge}, edge},
		{"garbage at once", trusted, proxy, []string{client + ", unknown"}, proxy},
		{"an empty entry", trusted, proxy, []string{client + ", "}, proxy},
		{"with a port", trusted, proxy, []string{client + ":4711"}, client},
		{"IPv6", trusted, "fd00::1", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 in brackets", trusted, "fd00::1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv6 with a port", trusted, "fd00::1", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{"IPv4 in brackets is none", trusted, proxy, []string{"[" + client + "]"}, proxy},
		{"IPv4 in IPv6, the peer", trusted, "::ffff:" + proxy, []string{client}, client},
		{"IPv4 in IPv6, the client", trusted, proxy, []string{"::ffff:" + client}, client},
		{"IPv4 in IPv6, a proxy", trusted, proxy, []string{client + ", ::ffff:" + edge}, client},
		{"IPv4 in IPv6, in the setting", []string{"::ffff:10.0.0.0/104"}, proxy, []string{client}, client},
		{"a zone is not part of it", trusted, proxy, []string{"fe80::1%eth0"}, "fe80::1"},
		{"a unix socket", trusted, "", []string{client}, client},
		{"a unix socket by itself", trusted, "", nil, ""},
		{"a unix socket that is not trusted", trusted[:3], "", []string{client}, ""},
		{"Forwarded is not read", trusted, proxy, []string{"for=" + client}, proxy},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, err := newProxies(c.trusted)
			if err != nil {
				t.Fatal(err)
			}
			var peer net.Addr = &net.UnixAddr{Net: "unix"}
			if c.peer != "" {
				peer = &net.TCPAddr{IP: net.ParseIP(c.peer), Port: 4711}
			}
			var h fasthttp.RequestHeader
			for _, v := range c.headers {
				h.Add("X-Forwarded-For", v)
			}
			got := p.client(peer, &h)
			if want, _ := netip.ParseAddr(c.want); got != want {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
	for _, bad := range []string{"x", "10.0.0.0/33", "10.0.0.0/8/8", "fe80::1%eth0", "10.0.0"} {
		if _, err := newProxies([]string{bad}); err == nil {
			t.Errorf("%q", bad)
		}
	}
}

// Whatever a client writes, it is taken for no other that a proxy has not seen: the
// result is the peer, or one that a trusted proxy has appended.
func FuzzClientIP(f *testing.F) {
	for _, s := range []string{"", ",", "1.2.3.4", "[::1]:1", "::ffff:10.0.0.1", "10.0.0.1,10.0.0.2", "%", "1.2.3.4,,", " \t,\x00"} {
		f.Add(s)
	}
	p, err := newProxies([]string{"10.0.0.0/8"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, claimed string) {
		if strings.ContainsAny(claimed, "\r\n\x00") {
			return
		}
		var h fasthttp.RequestHeader
		h.Add("X-Forwarded-For", claimed)
		peer := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7)}
		if got := p.client(peer, &h); !got.IsValid() || got.Is4In6() || got.Zone() != "" {
			t.Errorf("%q: %v", claimed, got)
		}
		h.Add("X-Forwarded-For", "203.0.113.9") // the proxy has seen this one
		if got := p.client(peer, &h); got != netip.MustParseAddr("203.0.113.9") {
			t.Errorf("%q before what the proxy says: %v", claimed, got)
		}
	})
}
