package worker

import (
	"sync/atomic"
	"time"
)

// deadline is one of a connection, for what it reads or what it writes. fasthttp sets
// three for each request, and nearly all of them are over before anybody waits: what
// has been asked for is noted, and set when something is read or written, if what is
// set would be too early or much too late. So a deadline is never early, and late by a
// sixteenth of what it was from then on, and by [maxLate] at most.
//
// It counts from the next Read or Write on, and not for one that waits already. Times are
// those of the wall clock, in nanoseconds: if that is set anew, the next is set once more.
type deadline struct {
	wanted atomic.Int64 // 0: none
	set    atomic.Int64
	late   atomic.Int64 // how much later than wanted set may be
}

const maxLate = time.Second

func (d *deadline) want(t time.Time) {
	if t.IsZero() {
		d.wanted.Store(0)
		return
	}
	d.wanted.Store(t.UnixNano())
}

// apply calls set if what the connection has is not what is wanted.
func (d *deadline) apply(set func(time.Time) error) error {
	wanted, has := d.wanted.Load(), d.set.Load()
	if wanted == has || wanted != 0 && has >= wanted && has-wanted <= d.late.Load() {
		return nil
	}
	t := time.Time{}
	if wanted != 0 {
		t = time.Unix(0, wanted)
		late := min(max(time.Until(t)/16, 0), maxLate)
		t = t.Add(late)
		d.late.Store(int64(late))
		wanted += int64(late)
	}
	d.set.Store(wanted)
	return set(t)
}

func (c *clientConn) SetDeadline(t time.Time) error {
	c.read.want(t)
	c.write.want(t)
	return nil
}

func (c *clientConn) SetReadDeadline(t time.Time) error {
	c.read.want(t)
	return nil
}

func (c *clientConn) SetWriteDeadline(t time.Time) error {
	c.write.want(t)
	return nil
}

// Read reads what comes next, after all answers have been sent.
func (c *clientConn) Read(b []byte) (int, error) {
	if c.answers.Load() != nil {
		c.sent()
	}
	if err := c.read.apply(c.Conn.SetReadDeadline); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}
