// Foreign is a server that knows nothing of neko's packages and keeps the worker
// contract by itself: net/http on a socket from LISTEN_FDS. To each request it
// gives a number, prints "<pid> <number>", and then answers the same, so that
// whoever was answered knows a line that must be in the log.
//
// It is also what goes wrong with workers on purpose (fault.go): by itself, or in
// front of the program that its arguments name.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE) // a log that nobody reads is no reason to end
	misbehave(stop)
	if len(os.Args) > 1 {
		signal.Reset() // as they were, for whoever comes
		err := syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
		fail("run %s: %v", os.Args[1], err)
	}
	serve(stop)
}

// serve serves until it is told to stop.
func serve(stop <-chan os.Signal) {
	s := newServer(inherited())
	go watch()
	say("READY=1")
	go s.accept()
	<-stop
	say("STOPPING=1")
	if cut := s.drain(); cut {
		fail("requests were cut")
	}
}

// inherited is the first of the sockets that sd_listen_fds(3) tells of.
func inherited() net.Listener {
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	pid := os.Getenv("LISTEN_PID")
	if n < 1 || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		fail("no sockets: LISTEN_FDS=%d, LISTEN_PID=%s", n, pid)
	}
	file := os.NewFile(3, "listener")
	l, err := net.FileListener(file)
	if err != nil {
		fail("the socket: %v", err)
	}
	file.Close() // l has a copy, with CLOEXEC
	return l
}

// printer gives numbers to requests and prints them in their order, each line in
// one write.
type printer struct {
	sync.Mutex
	last int
}

func (p *printer) print() string {
	p.Lock()
	defer p.Unlock()
	p.last++
	line := fmt.Sprintf("%d %d\n", os.Getpid(), p.last)
	_, _ = io.WriteString(os.Stdout, line)
	return line
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/livez":
		io.WriteString(w, "alive\n")
		return
	case "/exit": // for one of all who share the address
		if r.FormValue("pid") == strconv.Itoa(os.Getpid()) {
			code, _ := strconv.Atoi(r.FormValue("code"))
			os.Exit(code)
		}
		return
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return // half a request: its client has gone
	}
	line := s.printer.print()
	if s.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	io.WriteString(w, line)
}

// say tells the supervisor something, on a socket of its own: the supervisor may
// be another one by now.
func say(text string) {
	if conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET")); err == nil {
		io.WriteString(conn, text)
		conn.Close()
	}
}

// watch says that the process lives, at once, and then three times in the interval
// in which the supervisor wants to hear it.
func watch() {
	usec, _ := strconv.Atoi(os.Getenv("WATCHDOG_USEC"))
	pid := os.Getenv("WATCHDOG_PID")
	if usec <= 0 || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return
	}
	for tick := time.Tick(time.Duration(usec) * time.Microsecond / 3); ; <-tick {
		say("WATCHDOG=1")
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "error: "+format+"\n", args...)
	os.Exit(1)
}
