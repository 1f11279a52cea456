package slowproxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a server that answers each line with it.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func start(t *testing.T) *Proxy {
	p, err := New(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

type client struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, p *Proxy) *client {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{c, bufio.NewReader(c)}
}

func (c *client) say(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text+"\n"); err != nil {
		t.Fatal(err)
	}
}

func (c *client) hear(within time.Duration) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(within))
	return c.r.ReadString('\n')
}

const patience = 10 * time.Second

func TestWhatIsDelayedArrivesInItsOrderAndNotBefore(t *testing.T) {
	p := start(t)
	c := dial(t, p)
	const delay = 30 * time.Millisecond
	p.Delay(delay)
	began := time.Now()
	for _, s := range []string{"a", "b", "c"} {
		c.say(t, s)
	}
	for _, s := range []string{"a\n", "b\n", "c\n"} {
		if got, err := c.hear(patience); got != s {
			t.Fatalf("%q, %v, and not %q", got, err, s)
		}
	}
	if d := time.Since(began); d < 2*delay {
		t.Errorf("there and back took %v", d)
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	c.say(t, "d")
	if got, err := c.hear(patience); got != "d\n" {
		t.Fatal(got, err)
	}
}

func TestWhatIsStalledComesLater(t *testing.T) {
	p := start(t)
	c := dial(t, p)
	p.Stall()
	c.say(t, "a")
	late := dial(t, p)
	late.say(t, "b")
	if got, err := c.hear(30 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%q, %v passes a stall", got, err)
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	for c, want := range map[*client]string{c: "a\n", late: "b\n"} {
		if got, err := c.hear(patience); got != want {
			t.Errorf("%q, %v, and not %q", got, err, want)
		}
	}
}

func TestCutConnectionsAreReset(t *testing.T) {
	p := start(t)
	c := dial(t, p)
	c.say(t, "a")
	if got, err := c.hear(patience); got != "a\n" {
		t.Fatal(got, err)
	}
	p.Cut()
	if _, err := c.hear(patience); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("cut, it says %v", err)
	}
	c = dial(t, p)
	c.say(t, "b")
	if got, err := c.hear(patience); got != "b\n" {
		t.Fatal(got, err)
	}
}

func TestARefusingProxyKeepsItsPort(t *testing.T) {
	p := start(t)
	for range 3 {
		p.Refuse()
		if c, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(c, err)
		}
		if l, err := net.Listen("tcp4", p.Addr()); err == nil {
			l.Close()
			t.Fatal("somebody else could take the port")
		}
		if err := p.Resume(); err != nil {
			t.Fatal(err)
		}
		c := dial(t, p)
		c.say(t, "a")
		if got, err := c.hear(patience); got != "a\n" {
			t.Fatal(got, err)
		}
	}
}

func TestAStalledProxyCloses(t *testing.T) {
	p := start(t)
	c := dial(t, p)
	p.Stall()
	c.say(t, "a")
	p.Close()
	if _, err := c.hear(patience); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

func TestAnEndIsPassedOn(t *testing.T) {
	p := start(t)
	c := dial(t, p)
	c.say(t, "a")
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	if got, err := c.hear(patience); got != "a\n" {
		t.Fatal(got, err)
	}
	if _, err := c.hear(patience); err != io.EOF {
		t.Error(err)
	}
}
