// Package slowproxy is a bad network between a client and a TCP server, for tests and
// benchmarks: what goes through it can be delayed, stopped, cut off and refused, at any
// time.
package slowproxy

import (
	"context"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Proxy listens on a port of 127.0.0.1 and passes on to one server. Its methods may be
// used by several goroutines at once.
type Proxy struct {
	target string
	port   int
	held   int // a bound socket that does not listen, so that nobody else takes the port

	mu       sync.Mutex
	listener net.Listener // nil: refusing
	conns    map[*net.TCPConn]struct{}
	delay    time.Duration
	moving   chan struct{} // closed unless stalled
	closed   bool

	stop chan struct{}
	wg   sync.WaitGroup
}

// New passes everything on to target, a host and port.
func New(target string) (*Proxy, error) {
	p := &Proxy{target: target, conns: map[*net.TCPConn]struct{}{}, moving: make(chan struct{}), stop: make(chan struct{})}
	close(p.moving)
	var err error
	if p.held, p.port, err = hold(); err != nil {
		return nil, err
	}
	if err := p.listen(); err != nil {
		unix.Close(p.held)
		return nil, err
	}
	return p, nil
}

func hold() (fd, port int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, 0, err
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	var name unix.Sockaddr
	if err == nil {
		name, err = unix.Getsockname(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, 0, err
	}
	return fd, name.(*unix.SockaddrInet4).Port, nil
}

// Addr is where it listens.
func (p *Proxy) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

func (p *Proxy) listen() error {
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if e := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}); e != nil {
			return e
		}
		return err
	}}
	l, err := c.Listen(context.Background(), "tcp4", p.Addr())
	if err != nil {
		return err
	}
	p.listener = l
	p.wg.Go(func() { p.accept(l) })
	return nil
}

func (p *Proxy) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(c.(*net.TCPConn)) })
	}
}

// add is false if the connection came too late.
func (p *Proxy) add(c *net.TCPConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.listener == nil {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) serve(client *net.TCPConn) {
	defer client.Close()
	if !p.add(client) {
		return
	}
	defer p.forget(client)
	c, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		reset(client)
		return
	}
	server := c.(*net.TCPConn)
	defer server.Close()
	if !p.add(server) {
		return
	}
	defer p.forget(server)
	var both sync.WaitGroup
	both.Go(func() { p.pass(client, server) })
	both.Go(func() { p.pass(server, client) })
	both.Wait()
}

func (p *Proxy) forget(c *net.TCPConn) {
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

type chunk struct {
	bytes []byte
	due   time.Time
}

// pass moves what comes from one to the other. A delay is one of latency: what comes
// meanwhile is on its way, too.
func (p *Proxy) pass(from, to *net.TCPConn) {
	queue := make(chan chunk, 256)
	orderly := false // it has ended, and was not cut
	var writer sync.WaitGroup
	writer.Go(func() {
		for c := range queue {
			if !p.await(c.due) {
				continue
			}
			if _, err := to.Write(c.bytes); err != nil {
				from.Close()
			}
		}
		if orderly {
			_ = to.CloseWrite()
		} else {
			reset(to)
		}
	})
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.mu.Lock()
			delay := p.delay
			p.mu.Unlock()
			queue <- chunk{append([]byte(nil), buf[:n]...), time.Now().Add(delay)}
		}
		if err != nil {
			orderly = err == io.EOF
			break
		}
	}
	close(queue)
	writer.Wait()
}

// await returns when something is to be passed on, or false if never.
func (p *Proxy) await(due time.Time) bool {
	if d := time.Until(due); d > 0 {
		select {
		case <-time.After(d):
		case <-p.stop:
			return false
		}
	}
	p.mu.Lock()
	moving := p.moving
	p.mu.Unlock()
	select {
	case <-moving:
		return true
	case <-p.stop:
		return false
	}
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}

// Delay has everything that comes from now on arrive so much later, in each direction.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	p.delay = d
	p.mu.Unlock()
}

// Cut resets all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		reset(c)
	}
}

// Stall keeps everything until Resume. Connections are still accepted.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.moving:
		p.moving = make(chan struct{})
	default:
	}
}

// Refuse cuts all connections, and new ones are refused until Resume.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	p.mu.Unlock()
	p.Cut()
}

// Resume ends what Stall, Refuse and Delay have begun.
func (p *Proxy) Resume() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = 0
	select {
	case <-p.moving:
	default:
		close(p.moving)
	}
	if p.listener == nil && !p.closed {
		return p.listen()
	}
	return nil
}

// Connections is how many there are, of clients and to the server.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// Close resets all connections, and returns when nothing of the proxy is left.
func (p *Proxy) Close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	if p.listener != nil {
		p.listener.Close()
	}
	close(p.stop)
	p.mu.Unlock()
	p.Cut()
	p.wg.Wait()
	unix.Close(p.held)
}
