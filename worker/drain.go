package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// drainer ends service without an error on any client's side. fasthttp's own
// Shutdown closes idle keep-alive connections at once, and a client that is just
// then writing its next request sees a reset. Instead:
//
//  1. stop accepting, but serve whatever was accepted (drainListener);
//  2. answer every further request with Connection: close;
//  3. wait until no connection is open or the soft deadline passes: an idle
//     client comes back once within it, is answered, and goes elsewhere;
//  4. only then close what is still idle, and wait for requests in progress
//     until the hard deadline.
//
// Meanwhile new connections go to the processes that share the socket. What
// remains is a client that is silent for the whole of 3 and wakes up exactly at
// its end; HTTP/1.1 has no way to warn it.
type drainer struct {
	draining  atomic.Bool
	stopping  *stopping
	open      atomic.Int64  // connections
	accepted  atomic.Uint64 // connections, ever
	inFlight  atomic.Int64  // requests
	lastClose chan struct{} // a hint that open may be 0

	drained atomic.Uint64 // how often, once at most
	took    atomic.Int64  // nanoseconds that the drain has taken
	cut     atomic.Uint64 // requests that were under way at its end
}

func newDrainer(s *stopping) *drainer {
	return &drainer{stopping: s, lastClose: make(chan struct{}, 1)}
}

// softDeadline is how much of total is given to idle connections: the rest, a
// fifth, remains to a request that begins in the last moment. More than ten
// seconds help nobody.
func softDeadline(total time.Duration) time.Duration {
	return min(total-total/5, 10*time.Second)
}

// connState is the server's hook that counts open connections.
func (d *drainer) connState(_ net.Conn, state fasthttp.ConnState) {
	switch state {
	case fasthttp.StateNew:
		d.open.Add(1)
		d.accepted.Add(1)
	case fasthttp.StateHijacked, fasthttp.StateClosed:
		if d.open.Add(-1) == 0 {
			select {
			case d.lastClose <- struct{}{}:
			default:
			}
		}
	}
}

// handler is next with its requests counted, and with Connection: close in its
// answers once the drain has begun, however early the request did, or is about to.
func (d *drainer) handler(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		d.inFlight.Add(1)
		next(ctx)
		if d.draining.Load() || d.stopping.seen.Load() {
			ctx.SetConnectionClose()
		}
		d.inFlight.Add(-1)
	}
}

// drain ends the service of s on listeners, whose Serve loops accepting counts.
// It returns an error if requests were cut because total passed or ctx ended.
func (d *drainer) drain(ctx context.Context, s *fasthttp.Server, listeners []*drainListener, accepting *sync.WaitGroup, total time.Duration) error {
	began := time.Now()
	ctx, cancel := context.WithDeadline(ctx, began.Add(total))
	defer cancel()

	d.draining.Store(true)
	for _, l := range listeners {
		l.stopAccepting()
	}
	accepting.Wait() // no new connection from here on

	soft := time.NewTimer(softDeadline(total))
	defer soft.Stop()
	for waiting := true; waiting && d.open.Load() > 0; {
		select {
		case <-d.lastClose:
		case <-soft.C:
			waiting = false
		case <-ctx.Done():
			waiting = false
		}
	}
	err := s.ShutdownWithContext(ctx)
	d.took.Store(int64(time.Since(began)))
	d.drained.Add(1)
	if n := d.inFlight.Load(); n > 0 {
		d.cut.Store(uint64(n))
		return fmt.Errorf("%d requests cut after a drain of %v", n, time.Since(began).Round(time.Millisecond))
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return nil // connections that never sent a request
	}
	return err
}

// drainListener is a listener that can stop accepting while the socket stays
// open and other processes accept from it.
type drainListener struct {
	net.Listener
	stop   atomic.Bool
	closed atomic.Bool
}

// stopAccepting makes Accept return io.EOF from now on. It does not touch the
// socket: the deadline is this process's own.
func (l *drainListener) stopAccepting() {
	l.stop.Store(true)
	if d, ok := l.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		_ = d.SetDeadline(time.Unix(1, 0))
	} else {
		_ = l.Close() // a listener of a test: nobody shares it
	}
}

// Close closes this process's descriptor, once.
func (l *drainListener) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	return l.Listener.Close()
}

// Accept returns io.EOF only without having accepted: a connection that
// accept(2) gave is always returned, and so served.
func (l *drainListener) Accept() (net.Conn, error) {
	for {
		if l.stop.Load() {
			return nil, io.EOF
		}
		c, err := l.Listener.Accept()
		switch {
		case err == nil:
			return c, nil
		case l.stop.Load(), errors.Is(err, os.ErrDeadlineExceeded):
			continue // a deadline is only ever set by stopAccepting
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE),
			errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
			time.Sleep(5 * time.Millisecond) // connections will close; queued ones wait
		default:
			return nil, err
		}
	}
}
