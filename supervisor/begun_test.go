package supervisor

import (
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// A connection may be offered to another process only if nobody has begun to serve it.
func TestAConnectionIsBegunOnceSomebodyHasReadOrWritten(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	const request = "GET / HTTP/1.1\r\n\r\n"
	read := func(t *testing.T, server *net.TCPConn) {
		if _, err := io.ReadFull(server, make([]byte, len(request))); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name             string
		asks, ends, want bool
		serve            func(*testing.T, *net.TCPConn)
	}{
		{name: "nothing has come"},
		{name: "a request waits", asks: true},
		{name: "a request waits, and the client says no more", asks: true, ends: true},
		{name: "the client has said nothing, and says no more", ends: true},
		{name: "a request was read", asks: true, serve: read, want: true},
		{name: "a request was read, and the client says no more", asks: true, ends: true, serve: read, want: true},
		{name: "a greeting was sent", want: true, serve: func(t *testing.T, server *net.TCPConn) {
			if _, err := server.Write([]byte("220 ready\r\n")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			accepted, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			server := accepted.(*net.TCPConn)
			defer server.Close()
			if c.asks {
				io.WriteString(client, request)
			}
			if c.ends {
				client.(*net.TCPConn).CloseWrite()
			}
			if c.serve != nil {
				c.serve(t, server)
			}
			raw, err := server.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			raw.Control(func(fd uintptr) {
				// Loopback is quick, but not at once.
				if c.ends {
					unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}, 10_000)
				} else if c.asks && c.serve == nil {
					unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
				}
				if got := begun(int(fd)); got != c.want {
					t.Errorf("begun: %v", got)
				}
			})
		})
	}
}
