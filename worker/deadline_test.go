package worker

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// deadlines notes what is set on a connection.
type deadlines struct {
	net.Conn
	set []time.Duration // from when it was set; -1: none
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		d.set = append(d.set, -1)
	} else {
		d.set = append(d.set, time.Until(t))
	}
	return nil
}

func (d *deadlines) Read([]byte) (int, error) { return 0, nil }

// What a connection has is never earlier than what is asked for, late by a second at
// most, and set no more often than that takes.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		under := &deadlines{}
		c := &clientConn{Conn: under}
		read := func(in time.Duration) (set time.Duration) {
			t.Helper()
			before := len(under.set)
			if err := c.SetReadDeadline(time.Now().Add(in)); err != nil {
				t.Fatal(err)
			}
			if len(under.set) > before {
				t.Fatal("set before anybody reads")
			}
			if _, err := c.Read(nil); err != nil {
				t.Fatal(err)
			}
			if len(under.set) == before {
				return 0
			}
			return under.set[before]
		}
		if got := read(75 * time.Second); got != 76*time.Second {
			t.Errorf("the first: %v", got)
		}
		for range 10 {
			time.Sleep(100 * time.Millisecond)
			if got := read(75 * time.Second); got != 0 {
				t.Errorf("set again: %v", got)
			}
		}
		time.Sleep(time.Millisecond)
		if got := read(75 * time.Second); got != 76*time.Second {
			t.Errorf("what is set would be early: %v", got)
		}
		if got := read(30 * time.Second); got != 31*time.Second {
			t.Errorf("what is set would be too late: %v", got)
		}
		if got := read(80 * time.Millisecond); got != 85*time.Millisecond {
			t.Errorf("a short one: %v", got)
		}
		if got := read(-time.Second); got != -time.Second {
			t.Errorf("one that is over: %v", got)
		}
		if err := c.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if _, _ = c.Read(nil); under.set[len(under.set)-1] != -1 {
			t.Errorf("none: %v", under.set)
		}
	})
}

// Whoever reads or writes is told by the error that net has for it.
func TestDeadlineEnds(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	c := &clientConn{Conn: a}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	if _, err := c.Write([]byte{0}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
}
