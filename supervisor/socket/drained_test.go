package socket

import (
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestServesAsLongAsAConnectionIsAccepted(t *testing.T) {
	ownGroup(t)
	for network, address := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "unix": filepath.Join(t.TempDir(), "sock")} {
		t.Run(network, func(t *testing.T) {
			serves := func(ports map[uint16]bool) bool {
				t.Helper()
				is, err := Serves(unix.Getpgrp(), ports)
				if err != nil {
					t.Fatal(err)
				}
				return is
			}
			listener, err := net.Listen(network, address)
			if err != nil {
				t.Skip(err)
			}
			defer listener.Close()
			ports := map[uint16]bool{}
			if at, err := netip.ParseAddrPort(listener.Addr().String()); err == nil {
				if ports[at.Port()] = true; !Ports()[at.Port()] {
					t.Errorf("nobody listens on %v", at)
				}
			}
			if serves(ports) {
				t.Error("it listens, and that is all")
			}
			client, err := net.Dial(network, listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			server, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			if !serves(ports) {
				t.Error("it has accepted a connection")
			}
			if counts, err := Accepted([]int{unix.Getpgrp(), 1 << 22}, ports); err != nil || counts[unix.Getpgrp()] != 1 || len(counts) != 1 {
				t.Errorf("accepted connections: %v, %v; want one", counts, err)
			}
			listener.Close()
			if !serves(ports) {
				t.Error("it listens no more, and still has a connection")
			}
			if network != "unix" && serves(nil) {
				t.Error("nobody listens on these ports")
			}
			if half, ok := client.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil || !serves(ports) {
				t.Error("the client awaits an answer")
			}
			server.Close()
			if serves(ports) {
				t.Error("it has closed the connection")
			}
		})
	}
	if _, err := Serves(1<<22+1, nil); err != nil {
		t.Errorf("a group that is not there: %v", err)
	}
}

// ownGroup takes this process out of the group that it shares with `go test` and with
// the tests of other packages, whose connections would be counted too.
func ownGroup(t *testing.T) {
	t.Helper()
	shared := unix.Getpgrp()
	if shared == unix.Getpid() {
		return
	}
	if err := unix.Setpgid(0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setpgid(0, shared); err != nil {
			t.Error(err)
		}
	})
}

func TestWhatIsNoTableOfSocketsShowsNothing(t *testing.T) {
	sockets := map[string]int{"7": 1}
	for _, text := range []string{"", "\n\n", "x y z\n", strings.Repeat("01 ", 20), "0: 0100007F:zz 0 01 0 0 0 0 0 7\n"} {
		found := false
		find := func(string) bool { found = true; return false }
		servedTCP(strings.NewReader(text), sockets, map[uint16]bool{0: true}, find)
		servedUnix(strings.NewReader(text), sockets, find)
		if found {
			t.Errorf("%q shows a connection", text)
		}
	}
}
