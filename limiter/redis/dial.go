package redis

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
)

// dial makes connections that Close can cut, whatever they wait for.
func (s *Source) dial(ctx context.Context, addr string, d *net.Dialer, t *tls.Config) (c net.Conn, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	if t != nil {
		c, err = (&tls.Dialer{NetDialer: d, Config: t}).DialContext(ctx, "tcp", addr)
	} else {
		c, err = d.DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		c.Close()
		return nil, errClosed
	}
	s.conns[c] = struct{}{}
	return &conn{Conn: c, source: s}, nil
}

// conn is forgotten when it is closed, and has a guard.
type conn struct {
	net.Conn
	source *Source
	sent   guard // counts commands
	asked  atomic.Int64
	got    guard
}

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
		return 0, errNoRedis
	}
	return n, err
}

func (c *conn) Close() error {
	c.source.mu.Lock()
	delete(c.source.conns, c.Conn)
	c.source.mu.Unlock()
	return c.Conn.Close()
}

func (s *Source) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if t, ok := c.(*tls.Conn); ok {
			c = t.NetConn() // TLS would say goodbye, and wait for that to go out
		}
		c.Close()
	}
}
