package worker

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// piecesConn notes what it is given at once.
type piecesConn struct {
	net.Conn
	in     io.Reader
	pieces []string
}

func (c *piecesConn) Read(b []byte) (int, error) { return c.in.Read(b) }
func (c *piecesConn) Write(b []byte) (int, error) {
	c.pieces = append(c.pieces, string(b))
	return len(b), nil
}
func (c *piecesConn) Close() error                     { return nil }
func (c *piecesConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *piecesConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *piecesConn) SetDeadline(time.Time) error      { return nil }
func (c *piecesConn) SetReadDeadline(time.Time) error  { return nil }
func (c *piecesConn) SetWriteDeadline(time.Time) error { return nil }

// gatherBody is a body of n bytes that looks like anything, also like headers.
func gatherBody(r *rand.Rand, n int) []byte {
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%d\r\n\r\nHTTP/1.1 200 OK\r\n", r.Uint64())
	}
	return b.Bytes()[:n]
}

// All that is answered arrives as it is, whatever its length, also to who does not wait for
// one answer before he asks for the next; and what does not fit into the buffer is in the
// hands of the kernel at once.
func TestGather(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for round := range 300 {
		var requests strings.Builder
		var bodies [][]byte
		for range 1 + round%5 {
			bodies = append(bodies, gatherBody(r, []int{0, 10, 2000, 3700 + r.IntN(500), 4096, 5000 + r.IntN(10_000), 100_000}[r.IntN(7)]))
			method := []string{"GET", "GET", "GET", "HEAD"}[r.IntN(4)]
			fmt.Fprintf(&requests, "%s / HTTP/1.1\r\nHost: x\r\n\r\n", method)
		}
		answers := func(tell bool) *piecesConn {
			i := 0
			s := &fasthttp.Server{WriteBufferSize: writeBuffer, NoDefaultDate: true, Handler: func(ctx *fasthttp.RequestCtx) {
				ctx.Response.SetBodyRaw(bodies[i])
				if i++; tell {
					gather(ctx)
				}
			}}
			c := &piecesConn{in: strings.NewReader(requests.String())}
			if err := s.ServeConn(&clientConn{Conn: c}); err != nil {
				t.Fatal(err)
			}
			return c
		}
		got, plain := answers(true), answers(false)
		if a, b := strings.Join(got.pieces, ""), strings.Join(plain.pieces, ""); a != b {
			t.Fatalf("round %d: %d bytes are not those %d:\n%q", round, len(a), len(b), requests.String())
		}
		if len(bodies) == 1 && len(got.pieces) > 2 { // head and body, which one writev takes
			t.Errorf("%d pieces of an answer of %d bytes, and without being told %d", len(got.pieces), len(bodies[0]), len(plain.pieces))
		}
	}
}

// A connection is told of what does not fit, and TLS is not: it writes something else.
func TestGatherOverTheNetwork(t *testing.T) {
	w := newHitWorker(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = w.Serve(l) }()
	conn := send(t, l.Addr().String(), "")
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(conn)
	body := `{"query":"{ things(first: 30) { id name long } }"}`
	var first string
	for i := range 6 {
		for range i { // together
			fmt.Fprintf(conn, "POST /graphql HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %d\r\n\r\n%s", asJSON, len(body), body)
		}
		for range i {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			if err != nil || len(text) < 30*2000 {
				t.Fatalf("%d bytes, %v", len(text), err)
			}
			if first == "" {
				first = string(text)
			}
			if string(text) != first {
				t.Fatalf("%.200s is not %.200s", text, first)
			}
		}
	}
}

// A connection that breaks says so, and how much it has taken of what it was given.
func TestGatherBreaks(t *testing.T) {
	for _, takes := range []int{0, 100, 4096, 5000} {
		c := &clientConn{Conn: &brokenConn{left: takes}}
		body := bytes.Repeat([]byte("x"), 9000)
		head := "HTTP/1.1 200 OK\r\n\r\n"
		c.next.body = body
		b := append([]byte(head), body[:writeBuffer-len(head)]...)
		n, err := c.Write(b)
		if err == nil || n != min(takes, len(b)) {
			t.Errorf("%d bytes taken, %d are told, %v", takes, n, err)
		}
		if c.next.ahead != 0 || c.next.body != nil || c.next.pieces[1] != nil {
			t.Errorf("%+v is left", c.next)
		}
	}
}

// brokenConn takes some bytes.
type brokenConn struct {
	piecesConn
	left int
}

func (c *brokenConn) Write(b []byte) (int, error) {
	n := min(c.left, len(b))
	if c.left -= n; n < len(b) {
		return n, io.ErrClosedPipe
	}
	return n, nil
}
