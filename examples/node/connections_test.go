package node

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const patience = time.Minute

// conn is a connection of a client that demands what it reads.
type conn struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func connect(t *testing.T, network, address string) *conn {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &conn{t, c, bufio.NewReader(c)}
}

func (c *conn) write(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *conn) reads(want string) {
	c.t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c.in, got); err != nil || string(got) != want {
		c.t.Fatalf("it reads %q, %v, and not %q", got[:n], err, want)
	}
}

// asks makes a request of HTTP/1, whose answer begins so.
func (c *conn) asks(path, want string) {
	c.t.Helper()
	c.write("GET " + path + " HTTP/1.1\r\nHost: neko\r\n\r\n")
	c.answers(want)
}

func (c *conn) answers(want string) {
	c.t.Helper()
	r, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if body, err := io.ReadAll(r.Body); err != nil || !strings.HasPrefix(string(body), want) {
		c.t.Fatalf("%q, %v", body, err)
	}
}

// webSocket opens a WebSocket.
func webSocket(t *testing.T, address string) *conn {
	t.Helper()
	c := connect(t, "tcp", address)
	c.write("GET / HTTP/1.1\r\nHost: neko\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	if r, err := http.ReadResponse(c.in, nil); err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(r, err)
	}
	return c
}

// goingAway is what a server sends that goes: 1001.
const goingAway = "\x88\x02\x03\xe9"

// tell sends a text in a frame that is masked with zeros, and returns who has heard it, "" if the server goes.
func (c *conn) tell(text string) (pid string) {
	c.t.Helper()
	c.write("\x81" + string([]byte{0x80 | byte(len(text))}) + "\x00\x00\x00\x00" + text)
	var head [2]byte
	_, err := io.ReadFull(c.in, head[:])
	if string(head[:]) == goingAway[:2] {
		c.reads(goingAway[2:])
		return ""
	}
	if err != nil || head[0] != 0x81 {
		c.t.Fatalf("no text but %x, %v", head, err)
	}
	body := make([]byte, head[1])
	_, err = io.ReadFull(c.in, body)
	pid, ok := strings.CutSuffix(string(body), " has heard "+text)
	if err != nil || !ok {
		c.t.Fatalf("%q, %v", body, err)
	}
	return pid
}

func TestAWebSocketGoesOnOverAReloadUntilTheHardDeadlineAndIsToldThatTheServerGoesAway(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		const drain = 2 * time.Second
		a := configure(t, n, "ws/server.js", fmt.Sprintf("drain_timeout: %s\nmin_uptime: 200ms\n", drain))
		var old []*conn
		var heard []string
		for range 4 {
			c := webSocket(t, a.address())
			old, heard = append(old, c), append(heard, c.tell("hello"))
		}
		begun := time.Now()
		a.reload()
		draining := map[string]bool{}
		for _, p := range a.describe().Processes {
			for _, pid := range p.Draining {
				draining[fmt.Sprint(pid)] = true
			}
		}
		for i, c := range old {
			if !draining[heard[i]] {
				continue // it was the first to go: the machine is slow
			}
			switch pid := c.tell("still there?"); {
			case pid == "" && time.Since(begun) >= drain: // the machine is slow
				old[i] = nil
			case pid != heard[i]:
				t.Errorf("%q has heard, and before %s", pid, heard[i])
			}
		}
		if pid := webSocket(t, a.address()).tell("and you?"); draining[pid] {
			t.Errorf("%s still accepts", pid)
		}
		for _, c := range old {
			if c == nil {
				continue
			}
			c.reads(goingAway)
			c.write("\x88\x82\x00\x00\x00\x00\x03\xe9")
			if _, err := c.in.ReadByte(); err != io.EOF {
				t.Errorf("%v, and not the end", err)
			}
		}
		a.drained()
		a.stops()
	})
}

func TestAConnectionOfAPlainServerLivesOverAReloadAsLongAsItLikes(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		a := start(t, n, "net/server.js")
		var old []*conn
		for range 4 {
			c := connect(t, "tcp", a.address())
			c.write("hello")
			c.reads("hello")
			old = append(old, c)
		}
		a.reload()
		c := connect(t, "tcp", a.address())
		c.write("and you?")
		c.reads("and you?")
		for _, c := range old {
			c.write("still there?")
			c.reads("still there?")
			c.Close()
		}
		a.drained()
		c.Close()
		a.stops()
	})
}

func TestDatagramsAreAnsweredThroughoutAReload(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		a := start(t, n, "udp/server.js")
		address := strings.TrimPrefix(a.address(), "udp:")
		stop, done := make(chan struct{}), make(chan int)
		go func() {
			sent := 0
			defer func() { done <- sent }()
			c, err := net.Dial("udp", local(address))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			answer := make([]byte, 100)
			for ; ; sent++ {
				select {
				case <-stop:
					return
				default:
				}
				text := fmt.Sprintf("datagram %d", sent)
				c.SetDeadline(time.Now().Add(5 * time.Second))
				if _, err := io.WriteString(c, text); err != nil {
					t.Error(err)
				}
				if n, err := c.Read(answer); err != nil || !strings.HasSuffix(string(answer[:n]), " has heard "+text) {
					t.Errorf("%s: %q, %v", text, answer[:n], err)
					return
				}
			}
		}()
		a.reload()
		close(stop)
		if sent := <-done; sent < 10 {
			t.Errorf("only %d datagrams were sent", sent)
		}
		a.stops()
	})
}
