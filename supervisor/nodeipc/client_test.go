package nodeipc_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/load"
)

// A client is one connection, with which a test does what an HTTP client would
// not do in that order.
type client struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func connect(t *testing.T, network, address string, secure bool) *client {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	if secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		if err := conn.(*tls.Conn).Handshake(); err != nil {
			t.Fatal(err)
		}
	}
	return &client{t, conn, bufio.NewReader(conn)}
}

func (c *client) write(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) get(path string) {
	c.t.Helper()
	c.write("GET " + path + " HTTP/1.1\r\nHost: neko\r\n\r\n")
}

// head reads the head of an answer; closes is whether it says Connection: close.
func (c *client) head(closes bool) *http.Response {
	c.t.Helper()
	r, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if r.Close != closes {
		c.t.Errorf("Connection: close is %t, and not %t", r.Close, closes)
	}
	return r
}

// answer reads an answer to its end.
func (c *client) answer(want string, closes bool) {
	c.t.Helper()
	body, err := io.ReadAll(c.head(closes).Body)
	if err != nil || string(body) != want {
		c.t.Fatalf("the answer is %q, %v, and not %q", body, err, want)
	}
}

// reads reads exactly this.
func (c *client) reads(want string) {
	c.t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c.in, got); err != nil || string(got) != want {
		c.t.Fatalf("it reads %q, %v, and not %q", got[:n], err, want)
	}
}

// closed waits until the server closes the connection, in order.
func (c *client) closed() {
	c.t.Helper()
	if b, err := c.in.ReadByte(); !errors.Is(err, io.EOF) {
		c.t.Fatalf("%q, %v, and not the end", b, err)
	}
}

// certificate is the environment of a server that has one.
func certificate(t *testing.T) []string {
	t.Helper()
	cert, key, err := load.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return []string{"CERT=" + cert, "KEY=" + key}
}
