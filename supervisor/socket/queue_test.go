package socket

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

func TestTheQueueOfASocketIsSeen(t *testing.T) {
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "sock")} {
		t.Run(network, func(t *testing.T) {
			g, err := Open(network, address, 1, false)
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			for want := range 4 {
				n, most, err := g.Queue(0)
				for end := time.Now().Add(10 * time.Second); err == nil && n < want && time.Now().Before(end); n, most, err = g.Queue(0) {
					time.Sleep(time.Millisecond) // the last packet of the handshake is on the way yet
				}
				if err != nil || n != want || most < 128 {
					t.Errorf("%d of %d wait, %v; want %d", n, most, err, want)
				}
				conn, err := net.Dial(network, g.Address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
			}
		})
	}
	g, err := Open("udp", "127.0.0.1:0", 1, false)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, _, err := g.Queue(0); err == nil {
		t.Error("packets have a queue of connections")
	}
}
