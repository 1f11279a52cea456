package worker

import (
	"bytes"
	"net"

	"github.com/valyala/fasthttp"
)

// An answer that does not fit into the server's buffer goes out in two pieces: what fits,
// and the rest. fasthttp would send both by one system call, but only on a connection that
// is one of net's own, and ours are more than that. So the connection is told of the body
// before, and when it is given the first piece, which ends somewhere in the body, it sends
// the rest with it; what it is given after that has been sent. Half the packets, half the
// wakings of who reads them, and nothing is copied.

const (
	// writeBuffer is the size of the server's buffer.
	writeBuffer = 4 << 10
	// gatherFrom is the size of a body from which it may not fit in, with a header before it.
	gatherFrom = writeBuffer / 2
)

// gathering is what a connection knows of the answer that comes next. Only who serves the
// connection looks at it.
type gathering struct {
	body   []byte // nil: nothing is known
	ahead  int    // how many of the bytes that are written next have been sent
	pieces [2][]byte
	list   net.Buffers // of pieces
}

// gather tells the connection of ctx what it is going to be given.
func gather(ctx *fasthttp.RequestCtx) {
	c, ok := ctx.Conn().(*clientConn) // TLS writes something else
	if !ok || ctx.Response.IsBodyStream() {
		return
	}
	if body := ctx.Response.Body(); len(body) >= gatherFrom {
		c.next.body = body
	}
}

func (c *clientConn) Write(b []byte) (int, error) {
	if err := c.write.apply(c.Conn.SetWriteDeadline); err != nil {
		return 0, err
	}
	g := &c.next
	if g.body == nil && g.ahead == 0 {
		return c.Conn.Write(b)
	}
	sent := min(g.ahead, len(b))
	g.ahead -= sent
	b = b[sent:]
	body := g.body
	if len(b) == 0 {
		return sent, nil
	}
	g.body = nil
	rest := bodyBeyond(b, body)
	if len(rest) == 0 {
		n, err := c.Conn.Write(b)
		return sent + n, err
	}
	g.pieces = [2][]byte{b, rest}
	g.list = g.pieces[:]
	n, err := g.list.WriteTo(c.Conn)
	g.list, g.pieces = nil, [2][]byte{}
	if err != nil {
		return sent + int(min(n, int64(len(b)))), err
	}
	g.ahead = len(rest)
	return sent + len(b), nil
}

// bodyBeyond is what is left of a body when b has been sent, if b ends with a header and the
// beginning of the body. Of answers that were asked for together there may be others
// before; then it may not be seen where this one begins, and nothing is left.
func bodyBeyond(b, body []byte) []byte {
	_, begun, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok || len(begun) == 0 || len(begun) > len(body) || !bytes.Equal(begun, body[:len(begun)]) {
		return nil
	}
	return body[len(begun):]
}
