// Command hello is net/http on a socket from LISTEN_FDS, with a drain that no
// client notices.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	signal.Ignore(syscall.SIGHUP)

	l, err := listen()
	if err != nil {
		log.Fatal(err)
	}
	var draining atomic.Bool
	var open atomic.Int64
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if draining.Load() {
				w.Header().Set("Connection", "close")
			}
			fmt.Fprintf(w, "hello from %d\n", os.Getpid())
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed, http.StateHijacked:
				open.Add(-1)
			}
		},
	}
	accepting := make(chan error)
	go func() { accepting <- server.Serve(quiet{l}) }()

	<-stop
	draining.Store(true)
	// From now on Accept fails before it takes a connection, and the socket stays
	// open. Shutdown comes later: it closes idle connections at once.
	_ = l.SetDeadline(time.Unix(1, 0))
	if err := <-accepting; !errors.Is(err, errStopped) {
		log.Fatal(err)
	}
	for soft := time.Now().Add(8 * time.Second); open.Load() > 0 && time.Now().Before(soft); {
		time.Sleep(10 * time.Millisecond)
	}
	rest, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if server.Shutdown(rest) != nil {
		os.Exit(1) // requests were cut
	}
}

// listen takes the first of LISTEN_FDS, or opens a socket where there is none.
func listen() (*net.TCPListener, error) {
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if n < 1 || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		l, err := net.Listen("tcp", "127.0.0.1:8000")
		if err != nil {
			return nil, err
		}
		return l.(*net.TCPListener), nil
	}
	file := os.NewFile(3, "listener")
	defer file.Close() // the listener has a copy, with CLOEXEC
	l, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// quiet ends Serve at the deadline, which http.Server takes for a passing error.
type quiet struct{ net.Listener }

var errStopped = errors.New("accepts no more")

func (q quiet) Accept() (net.Conn, error) {
	conn, err := q.Listener.Accept()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, errStopped
	}
	return conn, err
}
