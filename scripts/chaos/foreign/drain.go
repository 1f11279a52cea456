package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// server is an http.Server that drains as docs/worker-contract.md wants it.
// http.Server's own Shutdown, and SetKeepAlivesEnabled(false) too, close idle
// connections at once, and a client that is about to write on one sees a reset.
type server struct {
	http     http.Server
	listener *listener
	accepted chan struct{} // closed when no further connection will come
	printer  printer
	draining atomic.Bool
	open     atomic.Int64  // connections
	closed   chan struct{} // a hint that open may be 0
}

func newServer(l net.Listener) *server {
	s := &server{listener: &listener{Listener: l}, accepted: make(chan struct{}), closed: make(chan struct{}, 1)}
	s.http.Handler = s
	s.http.ConnState = s.count
	return s
}

func (s *server) accept() {
	defer close(s.accepted)
	if err := s.http.Serve(s.listener); !errors.Is(err, io.EOF) {
		fail("serve: %v", err)
	}
}

func (s *server) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		if s.open.Add(-1) == 0 {
			select {
			case s.closed <- struct{}{}:
			default:
			}
		}
	}
}

// drain stops accepting, and leaves open connections until they have sent one
// more request or the soft deadline is over. It tells whether requests were cut.
func (s *server) drain() (cut bool) {
	total, err := time.ParseDuration(os.Getenv("NEKO_DRAIN_TIMEOUT"))
	if err != nil {
		total = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), total)
	defer cancel()
	soft := time.After(min(total*4/5, 10*time.Second))
	s.draining.Store(true)
	s.listener.stopAccepting()
	<-s.accepted
	for over := false; !over && s.open.Load() > 0; {
		select {
		case <-s.closed:
		case <-soft:
			over = true
		}
	}
	return s.http.Shutdown(ctx) != nil
}

// listener can stop accepting while its socket stays open, for a successor that
// accepts from it too.
type listener struct {
	net.Listener
	stopped atomic.Bool
}

func (l *listener) stopAccepting() {
	l.stopped.Store(true)
	_ = l.Listener.(*net.TCPListener).SetDeadline(time.Unix(1, 0))
}

// Accept ends only before it has accepted: what accept(2) gave is served.
func (l *listener) Accept() (net.Conn, error) {
	for {
		if l.stopped.Load() {
			return nil, io.EOF
		}
		conn, err := l.Listener.Accept()
		if err == nil {
			return conn, nil
		}
		if !l.stopped.Load() {
			return nil, err
		}
	}
}
