package redisconn

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"
)

// ofSentinels is by how much longer the Ping of their connections is: nothing else tells them
// from others where they are made.
const ofSentinels = time.Nanosecond

// dial makes connections that Close can cut, whatever they wait for.
func (c *Conn) dial(ctx context.Context, addr string, d *net.Dialer, t *tls.Config) (n net.Conn, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	if t != nil {
		n, err = (&tls.Dialer{NetDialer: d, Config: t}).DialContext(ctx, "tcp", addr)
	} else {
		n, err = d.DialContext(ctx, "tcp", addr)
	}
	sentinel := d.KeepAlive != c.opt.Dialer.KeepAlive
	if err != nil {
		c.inVain(sentinel)
		return nil, err
	}
	if !sentinel {
		c.meet(addr)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		n.Close()
		return nil, ErrClosed
	}
	c.conns[n] = struct{}{}
	return &conn{Conn: n, owner: c, sentinel: sentinel}, nil
}

// conn is forgotten when it is closed, and has a guard.
type conn struct {
	net.Conn
	owner    *Conn
	sentinel bool
	sent     guard // counts commands
	asked    atomic.Int64
	got      guard
	state    atomic.Int32 // fresh, then live, or at once gone
}

const (
	fresh int32 = iota
	live
	gone
)

func (c *conn) Write(p []byte) (int, error) {
	if err := c.sent.check(p); err != nil {
		return 0, err
	}
	c.asked.Store(c.sent.values)
	return c.Conn.Write(p)
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if bad := c.got.check(p[:n]); bad != nil {
		return 0, bad
	}
	if c.got.values > c.asked.Load() {
		return 0, ErrNoRedis
	}
	if c.got.values > 0 && !c.sentinel && c.state.CompareAndSwap(fresh, live) {
		c.owner.live.Add(1)
		c.owner.vain.Store(false)
	}
	return n, err
}

func (c *conn) Close() error {
	switch c.state.Swap(gone) {
	case live:
		c.owner.live.Add(-1)
	case fresh:
		c.owner.inVain(c.sentinel)
	}
	c.owner.mu.Lock()
	delete(c.owner.conns, c.Conn)
	c.owner.mu.Unlock()
	return c.Conn.Close()
}

// inVain notes that a connection could not be made.
func (c *Conn) inVain(sentinel bool) {
	if !sentinel && c.live.Load() == 0 {
		c.vain.Store(true)
	}
}

func (c *Conn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := range c.conns {
		if t, ok := n.(*tls.Conn); ok {
			n = t.NetConn() // TLS would say goodbye, and wait for that to go out
		}
		n.Close()
	}
}
