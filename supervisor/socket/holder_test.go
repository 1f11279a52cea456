package socket

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
)

const heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

// line is that of a socket in /proc/net/tcp.
func line(local, state, inode string) string {
	return "   0: " + local + " 00000000:0000 " + state + " 00000000:00000000 00:00000000 00000000     0        0 " + inode + " 1 0000000000000000 100 0 0 10 0\n"
}

// endless gives connections for as long as somebody reads.
type endless struct{ t *testing.T }

func (e endless) Read(p []byte) (int, error) {
	e.t.Error("connections are read, too")
	return copy(p, line("0100007F:0050", "01", "9")), nil
}

func TestConnectionsAreNotReadToFindWhatListens(t *testing.T) {
	listeners := heading +
		line("0100007F:0FA0", "0A", "11") +
		line("0100007F:0FA0", "03", "0") +
		line("00000000:1F90", "0A", "12") +
		line("0100007F:0FA0", "01", "13")
	found := map[string]netip.AddrPort{}
	readListening(io.MultiReader(strings.NewReader(listeners), endless{t}), found)
	if len(found) != 2 || found["11"].String() != "127.0.0.1:4000" || found["12"].String() != "0.0.0.0:8080" {
		t.Error(found)
	}
}

// That the kernel has them in this order.
func TestWhatListensComesBeforeEveryConnection(t *testing.T) {
	var listeners []net.Listener
	for range 50 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		listeners = append(listeners, l)
	}
	seen := map[netip.AddrPort]bool{}
	for _, address := range listening("/proc/thread-self/net") {
		seen[address] = true
	}
	for _, l := range listeners {
		if !seen[l.Addr().(*net.TCPAddr).AddrPort()] {
			t.Error(l.Addr(), "is not seen to listen")
		}
	}
}
