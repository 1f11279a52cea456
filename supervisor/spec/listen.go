package spec

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// maxUnixPath is what sun_path holds beside its NUL.
const maxUnixPath = 107

// ParseListen reads an address as neko.yaml and --listen have it:
//
//	4000, localhost:4000    this machine only: 127.0.0.1:4000
//	:4000, *:4000           all addresses, IPv4 and IPv6
//	10.0.0.7:4000, [::1]:80 that address
//	unix:/run/app.sock, /run/app.sock
//
// The short form is the safe one: who wants to be reached from outside writes
// the colon. A relative path of a socket counts from base. The Listener has no
// name yet.
func ParseListen(s, base string) (Listener, error) {
	bad := func(hint string) (Listener, error) {
		return Listener{}, &Error{Key: "listen", Message: expected("an address", s), Hint: hint}
	}
	const forms = "for example 4000 (this machine only), :4000 (all addresses), 10.0.0.7:4000 or unix:/run/app.sock"
	if scheme, rest, ok := strings.Cut(s, "://"); ok && scheme != "unix" {
		return bad("without the " + scheme + "://: " + clip(strings.TrimRight(rest, "/")))
	}
	if path, ok := strings.CutPrefix(s, "unix:"); ok || strings.HasPrefix(s, "/") {
		path = strings.TrimPrefix(path, "//") // unix:///run/app.sock
		if path == "" || strings.ContainsRune(path, 0) {
			return bad(forms)
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(base, path)
		}
		path = filepath.Clean(path)
		if len(path) > maxUnixPath {
			return Listener{}, &Error{Key: "listen",
				Message: fmt.Sprintf("the path of a unix socket has at most %d bytes, and %q has %d", maxUnixPath, clip(path), len(path))}
		}
		return Listener{Network: "unix", Address: path}, nil
	}

	host, port := "", s
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		host, port = s[:i], s[i+1:]
		switch {
		case host == "" || host == "*":
			host = ""
		case host == "localhost":
			host = "127.0.0.1"
		default:
			bare, bracketed := strings.CutPrefix(host, "[")
			bare = strings.TrimSuffix(bare, "]")
			ip, err := netip.ParseAddr(bare)
			if err != nil {
				return bad("a host is an IP address or localhost; " + forms)
			}
			if ip.Is6() && !bracketed {
				return bad("an IPv6 address goes in brackets: [" + clip(bare) + "]:" + clip(port))
			}
			host = ip.String()
			if ip.Is6() {
				host = "[" + host + "]"
			}
		}
	} else {
		host = "127.0.0.1"
	}
	n, err := strconv.ParseUint(port, 10, 32)
	if err != nil {
		return bad(forms)
	}
	if n > 65535 {
		return bad("a port is a number from 1 to 65535, or 0 for one that the kernel chooses")
	}
	return Listener{Network: "tcp", Address: host + ":" + strconv.FormatUint(n, 10)}, nil
}

func (l Listener) String() string {
	if l.Network == "unix" {
		return "unix:" + l.Address
	}
	return l.Address
}

// nameListeners names what has no name yet: listen, listen2, listen3.
func nameListeners(list []Listener) {
	taken := map[string]bool{}
	for _, l := range list {
		taken[l.Name] = true
	}
	for i := range list {
		if list[i].Name != "" {
			continue
		}
		name := "listen"
		for n := 2; taken[name]; n++ {
			name = "listen" + strconv.Itoa(n)
		}
		taken[name], list[i].Name = true, name
	}
}

// clash says whether a and b cannot both be bound.
func clash(a, b Listener) bool {
	if a.Network != b.Network {
		return false
	}
	if a.Network == "unix" {
		return a.Address == b.Address
	}
	hostA, portA := splitPort(a.Address)
	hostB, portB := splitPort(b.Address)
	if portA != portB || portA == "0" {
		return false
	}
	all4 := func(h string) bool { return h == "" || h == "0.0.0.0" }
	all6 := func(h string) bool { return h == "" || h == "[::]" }
	is4 := func(h string) bool { return h == "" || !strings.HasPrefix(h, "[") }
	is6 := func(h string) bool { return h == "" || strings.HasPrefix(h, "[") }
	return hostA == hostB || all4(hostA) && is4(hostB) || all4(hostB) && is4(hostA) ||
		all6(hostA) && is6(hostB) || all6(hostB) && is6(hostA)
}

func splitPort(address string) (host, port string) {
	i := strings.LastIndexByte(address, ':')
	return address[:i], address[i+1:]
}
