package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A supervisor owns the socket, and one worker after the other serves on it.
// Clients of every kind, who think for up to 50 ms between requests, see no error.
func TestRotationLosesNoRequest(t *testing.T) {
	owner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	address := owner.Addr().String()

	serve := func() *Worker {
		w := newTestWorker(t, Config{DrainTimeout: 2 * time.Second})
		go w.Serve(duplicate(t, owner))
		return w
	}
	old := serve()

	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var requests, failures atomic.Int64
	for i := range 32 {
		clients.Go(func() {
			var c *conn
			for ctx.Err() == nil {
				var err error
				if c, err = askOnce(c, address, i%2 == 0); err != nil {
					failures.Add(1)
					t.Errorf("client %d: %v", i, err)
				}
				requests.Add(1)
				pause(ctx, time.Duration(rand.Int64N(int64(50*time.Millisecond))))
			}
			if c != nil {
				c.Close()
			}
		})
	}

	const rotations = 5
	for range rotations {
		next, seen := serve(), requests.Load()
		waitUntil(t, func() bool { return requests.Load() > seen+200 }) // both serve
		if err := old.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		old = next
	}
	stop()
	clients.Wait()
	if err := old.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("%d requests over %d rotations, %d errors", requests.Load(), rotations, failures.Load())
}

// askOnce asks on c, or on a new connection if c is nil, and never twice. It
// returns the connection if that may be used again.
func askOnce(c *conn, address string, keepAlive bool) (*conn, error) {
	if c == nil {
		n, err := net.Dial("tcp", address)
		if err != nil {
			return nil, err
		}
		c = &conn{n, bufio.NewReader(n)}
	}
	const body = `{"query":"{hello}"}`
	_, err := fmt.Fprintf(c, "POST /graphql HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(resp.Body)
	if err == nil && string(answer) != `{"data":{"hello":"world"}}` {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	if err != nil || resp.Close || !keepAlive {
		c.Close()
		return nil, err
	}
	return c, nil
}

// An idle keep-alive connection is neither closed at once nor kept: its next
// request is answered, with Connection: close.
func TestIdleConnectionIsAnsweredOnceMore(t *testing.T) {
	w, address := startWorker(t, Config{DrainTimeout: 10 * time.Second})
	c := dial(t, address)
	if closing := c.ask(t, "/livez"); closing {
		t.Fatal("Connection: close before the drain")
	}
	drained := make(chan error, 1)
	go func() { drained <- w.Drain(t.Context()) }()
	waitUntil(t, w.drainer.draining.Load)

	if closing := c.ask(t, "/livez"); !closing {
		t.Error("no Connection: close while draining")
	}
	if _, err := c.r.ReadByte(); err != io.EOF {
		t.Errorf("after the last answer: %v, not EOF", err)
	}
	if err := <-drained; err != nil { // the last connection ended it, not a deadline
		t.Error(err)
	}
}

// One that stays silent is closed at the soft deadline, and that is no error.
func TestSilentConnectionIsClosedAtTheSoftDeadline(t *testing.T) {
	w, address := startWorker(t, Config{DrainTimeout: 300 * time.Millisecond})
	c := dial(t, address)
	c.ask(t, "/livez")
	began := time.Now()
	if err := w.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if d, soft := time.Since(began), softDeadline(300*time.Millisecond); d < soft {
		t.Errorf("drained after %v, before the soft deadline of %v", d, soft)
	}
	if _, err := c.r.ReadByte(); err != io.EOF {
		t.Errorf("%v, not EOF", err)
	}
}

// A request in progress is answered, however long it takes within the deadline.
func TestRequestInProgressIsAnswered(t *testing.T) {
	root := newTestRoot()
	w, address := startWorker(t, Config{Resolver: root, DrainTimeout: 10 * time.Second})
	c := dial(t, address)
	c.send(t, "/graphql?query="+url.QueryEscape("{wait}"))
	<-root.waiting
	drained := make(chan error, 1)
	go func() { drained <- w.Drain(t.Context()) }()
	waitUntil(t, w.drainer.draining.Load)
	close(root.release)
	if body, closing := c.receive(t); !closing || body != `{"data":{"wait":true}}` {
		t.Errorf("%s (Connection: close %v)", body, closing)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// One that takes longer is cut, and Drain says so.
func TestDrainTellsOfRequestsThatWereCut(t *testing.T) {
	root := newTestRoot()
	defer close(root.release)
	w, address := startWorker(t, Config{Resolver: root, DrainTimeout: 100 * time.Millisecond})
	dial(t, address).send(t, "/graphql?query="+url.QueryEscape("{wait}"))
	<-root.waiting
	if err := w.Drain(t.Context()); err == nil || !strings.Contains(err.Error(), "1 requests cut") {
		t.Errorf("Drain = %v", err)
	}
}

// What accept(2) gave is served, even if the drain began meanwhile.
func TestAcceptedConnectionIsNeverDropped(t *testing.T) {
	inner := &handover{accepted: make(chan net.Conn, 1), deadline: make(chan struct{})}
	l := &drainListener{Listener: inner}
	server, client := net.Pipe()
	defer client.Close()
	defer server.Close()
	l.stopAccepting()
	inner.accepted <- server
	if _, err := l.Accept(); err != io.EOF {
		t.Errorf("Accept after stop = %v", err)
	}
	if len(inner.accepted) != 1 {
		t.Error("a connection was taken and dropped")
	}

	l = &drainListener{Listener: inner}
	got := make(chan net.Conn)
	go func() {
		c, _ := l.Accept()
		got <- c
	}()
	if c := <-got; c != server {
		t.Errorf("Accept = %v", c)
	}
}

type handover struct {
	accepted chan net.Conn
	deadline chan struct{}
}

func (h *handover) Accept() (net.Conn, error)   { return <-h.accepted, nil }
func (h *handover) SetDeadline(time.Time) error { close(h.deadline); return nil }
func (h *handover) Close() error                { return errors.New("closed") }
func (h *handover) Addr() net.Addr              { return nil }

func TestSoftDeadline(t *testing.T) {
	for total, want := range map[time.Duration]time.Duration{
		8 * time.Second:  6400 * time.Millisecond,
		10 * time.Second: 8 * time.Second,
		time.Minute:      10 * time.Second,
		time.Second:      800 * time.Millisecond,
	} {
		if got := softDeadline(total); got != want {
			t.Errorf("of %v: %v, want %v", total, got, want)
		}
	}
}

// conn is a client that shows when the server closes.
type conn struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, address string) *conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &conn{c, bufio.NewReader(c)}
}

func (c *conn) send(t *testing.T, path string) {
	t.Helper()
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: test\r\nApollo-Require-Preflight: yes\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
}

func (c *conn) receive(t *testing.T) (body string, closing bool) {
	t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), resp.Close
}

func (c *conn) ask(t *testing.T, path string) (closing bool) {
	t.Helper()
	c.send(t, path)
	_, closing = c.receive(t)
	return closing
}

// duplicate is what a process gets that inherits l.
func duplicate(t *testing.T, l net.Listener) net.Listener {
	t.Helper()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// pause is a client's time to think.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
