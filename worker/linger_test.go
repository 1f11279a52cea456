package worker

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// Who sends all of a request before it looks for the answer, as proxies do, gets the
// answer of what was refused long before, and not a reset.
func TestAnswerReachesWhoStillSends(t *testing.T) {
	cert, key := pairFiles(t)
	_, plain := startWorker(t, Config{})
	_, secret := startWorker(t, Config{TLSCert: cert, TLSKey: key})
	dials := map[string]func() (net.Conn, error){
		"TCP": func() (net.Conn, error) { return net.Dial("tcp", plain) },
		"TLS": func() (net.Conn, error) {
			return tls.Dial("tcp", secret, &tls.Config{InsecureSkipVerify: true})
		},
	}
	much := strings.Repeat(" ", 8<<20) // more than the buffers of a connection hold
	for _, c := range []struct{ what, request, want string }{
		{"a body too large", lengthed(len(much), much), "413"},
		{"chunks too large", chunked(much, ""), "413"},
		{"chunks that nobody wants", strings.Replace(chunked(much, ""), "/graphql", "/nowhere", 1), "404"},
		{"a body of a wrong type", strings.Replace(lengthed(1<<20, much[:1<<20]), "application/json", "x/y", 1), "415"},
		{"the same, and closing", strings.Replace(lengthed(60_000, much[:60_000]), "application/json", "x/y\r\nConnection: close", 1), "415"},
		{"a header too large", "GET /livez HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", "431"},
		{"chunks that are none", chunked() + "hello\r\n" + much, "400"},
	} {
		for name, dial := range dials {
			t.Run(c.what+" by "+name, func(t *testing.T) {
				t.Parallel()
				conn, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				if _, err := io.WriteString(conn, c.request); err != nil {
					t.Errorf("sending: %v", err)
				}
				answer, err := io.ReadAll(conn)
				if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 "+c.want+" ") || !strings.Contains(string(answer), "\r\nConnection: close\r\n") {
					t.Errorf("%.300s: %v", answer, err)
				}
			})
		}
	}
}

// A client that never ends is not listened to for ever.
func TestLingerEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client := send(t, l.Addr().String(), "x")
	accepted, err := (&clientListener{l, &proxies{}}).Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn := accepted.(*clientConn)
	conn.unread.Store(true)
	if err := conn.closeWithin(50 * time.Millisecond); err != nil {
		t.Error(err)
	}
	_ = client.SetDeadline(time.Now().Add(20 * time.Second))
	if rest, err := io.ReadAll(client); len(rest) > 0 || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	if _, err := conn.Conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("it is open: %v", err)
	}
}
