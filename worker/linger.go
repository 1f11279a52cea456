package worker

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// lingerTime is how long a connection may stay open after its last answer, for a
// client that is still sending.
const lingerTime = 5 * time.Second

// clientListener accepts connections that end in such a way that the last answer
// arrives. Whoever closes a connection on which the other side is still sending, the
// body of a request that was refused, resets it, and the reset overtakes the answer:
// a proxy in front makes a 502 of what was a 413.
type clientListener struct {
	net.Listener
	proxies *proxies
}

func (l *clientListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	conn := &clientConn{Conn: c}
	conn.peer, conn.trusted = l.proxies.peer(c.RemoteAddr())
	return conn, nil
}

// clientConn is a connection that knows who its client is, whether that is still
// sending, and what is on its way to it.
type clientConn struct {
	net.Conn
	peer    netip.Addr
	trusted bool // as a proxy
	unread  atomic.Bool
	answers atomic.Pointer[heldAnswer] // see answers.go
	read    deadline
	write   deadline
	next    gathering // see gather.go
}

// clientConnOf is the connection that ctx came by, nil if there is none.
func clientConnOf(ctx *fasthttp.RequestCtx) *clientConn {
	switch conn := ctx.Conn().(type) {
	case *clientConn:
		return conn
	case *tls.Conn:
		c, _ := conn.NetConn().(*clientConn)
		return c
	}
	return nil
}

// Close ends the connection.
func (c *clientConn) Close() error { return c.closeWithin(lingerTime) }

// closeWithin is Close. If not all has been read it says that nothing more comes, and
// reads on for at most so long, without keeping any of it, until the client ends as well.
func (c *clientConn) closeWithin(limit time.Duration) error {
	c.sent()
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if ok && c.unread.Swap(false) && half.CloseWrite() == nil {
		_ = c.Conn.SetReadDeadline(time.Now().Add(limit))
		_, _ = io.Copy(io.Discard, c.Conn)
	}
	return c.Conn.Close()
}

// linger notes that the connection of ctx ends with this answer, and that the client
// may still be sending.
func linger(ctx *fasthttp.RequestCtx) {
	if c := clientConnOf(ctx); c != nil {
		c.unread.Store(true)
	}
}

// maxUnread is how much of a body that nobody wanted is read over, to keep the
// connection. It is less than fasthttp reads.
const maxUnread = 64 << 10

// endUnread ends the connection with the answer in ctx if too much of the request's
// body has not been read, or nobody knows how much.
func (w *Worker) endUnread(ctx *fasthttp.RequestCtx) {
	unread := ctx.Request.IsBodyStream()
	if n := ctx.Request.Header.ContentLength(); unread && (n < 0 || n > maxUnread) {
		ctx.SetConnectionClose()
	}
	if (unread || w.bodies.announced(ctx)) && (ctx.Response.ConnectionClose() || ctx.Request.Header.ConnectionClose()) {
		linger(ctx)
	}
}
