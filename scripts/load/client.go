package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"time"
)

// client is one of a run's clients: one connection, one request at a time.
type client struct {
	run    *Run
	rand   *rand.Rand
	dialer net.Dialer
	conn   net.Conn
	used   int // answers that conn has brought
	in     *bufio.Reader
	answer Response
}

func newClient(r *Run, i int) *client {
	return &client{
		run:  r,
		rand: rand.New(rand.NewPCG(r.cfg.Seed, uint64(i))),
		in:   bufio.NewReaderSize(nil, 16<<10),
	}
}

func (c *client) loop() {
	cfg := &c.run.cfg
	defer c.close()
	for c.run.ctx.Err() == nil {
		if cfg.Requests > 0 && c.run.left.Add(-1) < 0 {
			return
		}
		pause := time.Duration(0)
		if err := c.request(); err != nil {
			pause = cfg.ErrorPause
		}
		if span := cfg.ThinkMax - cfg.ThinkMin; span > 0 {
			pause += cfg.ThinkMin + time.Duration(c.rand.Int64N(int64(span)+1))
		} else {
			pause += cfg.ThinkMin
		}
		if pause > 0 {
			c.sleep(pause)
		}
	}
}

func (c *client) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.run.ctx.Done():
	}
}

// request makes one request, records it and leaves in c.conn a connection that
// can be used again, or nil.
func (c *client) request() error {
	cfg := &c.run.cfg
	start := time.Now()
	err := c.exchange(start.Add(cfg.Timeout))
	if err == nil {
		err = c.judge()
	}
	who := ""
	if err == nil && cfg.Who != nil {
		who = cfg.Who(&c.answer)
	}
	c.run.rec.record(start, time.Now(), c.answer.Status, who, err)
	// A wrong answer that was read to its end leaves the connection usable.
	if !c.answer.whole || c.answer.close || cfg.Mode != KeepAlive {
		c.close()
	}
	return err
}

// judge says what is wrong with a complete answer.
func (c *client) judge() error {
	cfg, a := &c.run.cfg, &c.answer
	if cfg.Status == 0 && a.Status/100 != 2 || cfg.Status != 0 && a.Status != cfg.Status {
		return &Error{KindStatus, fmt.Errorf("status %d: %s", a.Status, excerpt(a.Body))}
	}
	if cfg.Check != nil {
		if err := cfg.Check(a); err != nil {
			return &Error{KindCheck, err}
		}
	}
	return nil
}

// exchange sends the request and reads c.answer.
func (c *client) exchange(deadline time.Time) error {
	c.answer.reset()
	if c.conn != nil && c.run.cfg.LookBeforeReuse && closed(c.conn) {
		c.run.rec.idleClose()
		c.close()
	}
	if c.conn == nil {
		// Not the run's context: a request that has begun is finished.
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		conn, err := c.dialer.DialContext(ctx, c.run.network, c.run.address)
		cancel()
		if err != nil {
			return &Error{kindOf(err, KindOther), fmt.Errorf("connect: %w", err)}
		}
		c.run.rec.connection()
		if c.run.secure {
			conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		}
		c.conn, c.used = conn, 0
		c.in.Reset(conn)
	}
	c.answer.Reused = c.used > 0
	c.conn.SetDeadline(deadline)
	if err := c.send(); err != nil {
		return c.fail("write", err)
	}
	if stage, err := c.answer.read(c.in, c.run.cfg.Method, c.run.cfg.BodyUntilEOF); err != nil {
		return c.fail(stage, err)
	}
	c.used++
	return nil
}

// send writes the request, in mode Slow in two halves. Not even the end of the
// run shortens the wait between them: a request that has begun is finished.
func (c *client) send() error {
	first, rest := c.run.request[:c.run.first], c.run.request[c.run.first:]
	if _, err := c.conn.Write(first); err != nil || len(rest) == 0 {
		return err
	}
	time.Sleep(c.run.cfg.SlowFor)
	_, err := c.conn.Write(rest)
	return err
}

// fail is err with its kind and where it happened. An end of the connection
// within the body is a truncated answer, before it an EOF.
func (c *client) fail(stage string, err error) error {
	atEOF := KindEOF
	if stage == stageBody {
		atEOF = KindTruncated
	}
	on := "a new connection"
	if c.used > 0 {
		on = fmt.Sprintf("a connection used %d times", c.used)
	}
	return &Error{kindOf(err, atEOF), fmt.Errorf("%s, on %s: %w", stage, on, err)}
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// kindOf sorts the error of a system call; atEOF is the kind of an EOF.
func kindOf(err error, atEOF Kind) Kind {
	var timeout net.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return atEOF
	case errors.Is(err, syscall.ECONNREFUSED):
		return KindRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		return KindReset
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return KindTimeout
	}
	return KindOther
}

// closed tells whether the peer has closed an idle connection, without taking
// anything from it.
func closed(conn net.Conn) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		// n > 0 would be an answer without a question: the exchange will tell.
		gone = n <= 0 && err != syscall.EAGAIN && err != syscall.EINTR
	})
	return gone || err != nil
}

func excerpt(body []byte) string {
	const most = 120
	if len(body) > most {
		return fmt.Sprintf("%q…", body[:most])
	}
	return fmt.Sprintf("%q", body)
}
