package nodeipc

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAMessageThatIsTooLongIsPassedOver(t *testing.T) {
	ours, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(theirs)
	if err := unix.SetNonblock(theirs, false); err != nil {
		t.Fatal(err)
	}
	c, err := Open(ours, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	time.AfterFunc(30*time.Second, func() { c.Close() })
	go func() {
		for _, length := range []int{1, longestPeek, longest / 2, longest + longestPeek, 10 << 20, 1} {
			line := []byte(`"` + strings.Repeat("x", length) + `"` + "\n")
			for len(line) > 0 {
				n, err := unix.Write(theirs, line)
				if err != nil {
					t.Error(err)
					return
				}
				line = line[n:]
			}
		}
	}()
	for _, want := range []int{1, longestPeek, longest / 2, -1, -1, 1} {
		m, err := c.Read()
		if want < 0 && !errors.Is(err, ErrTooLong) || want >= 0 && (err != nil || len(m.Text) != want+2) {
			t.Errorf("%d bytes, %v, and not %d", len(m.Text), err, want)
		}
	}
}

func TestAListenerDoesNotBlockItsProcessHoweverOftenItIsSent(t *testing.T) {
	ours, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(theirs)
	c, err := Open(ours, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listener)
	for range 2 {
		if err := c.Grant(1, "key", nil, listener); err != nil {
			t.Fatal(err)
		}
		flags, err := unix.FcntlInt(uintptr(listener), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("flags %o, %v", flags, err)
		}
		c.received()
	}
}
