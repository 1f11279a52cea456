package socket

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWhoHasAcceptedAConnectionCanBeSeenFromItsOtherEnd(t *testing.T) {
	for _, c := range []struct{ network, address string }{
		{"tcp", "127.0.0.1:0"}, {"tcp", ":0"}, {"tcp", "[::1]:0"}, {"unix", filepath.Join(t.TempDir(), "app.sock")},
	} {
		t.Run(c.network+" "+c.address, func(t *testing.T) {
			g, err := Open(c.network, c.address, 2, false)
			if err != nil && c.address == "[::1]:0" {
				t.Skip(err) // no IPv6 here
			} else if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			probe, err := g.Probe(g.Len() - 1)
			if errors.Is(err, ErrNotAddressable) { // over IPv6 that can be told of an only slot alone
				if err = g.Shrink(); err == nil {
					probe, err = g.Probe(0)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			conn, err := probe.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if inode, err := accepted(conn); inode != 0 || err != nil {
				t.Fatalf("nobody has accepted it, and it is %d, %v", inode, err)
			}
			fd, _, err := unix.Accept4(g.FD(g.Len()-1), unix.SOCK_CLOEXEC)
			for end := time.Now().Add(10 * time.Second); errors.Is(err, unix.EAGAIN) && time.Now().Before(end); time.Sleep(time.Millisecond) {
				fd, _, err = unix.Accept4(g.FD(g.Len()-1), unix.SOCK_CLOEXEC) // the last packet of the handshake was on the way
			}
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			var stat unix.Stat_t
			if err := unix.Fstat(fd, &stat); err != nil {
				t.Fatal(err)
			}
			if inode, err := accepted(conn); inode != stat.Ino || err != nil {
				t.Errorf("it is %d, %v, and the other end %d", inode, err, stat.Ino)
			}
		})
	}
}
