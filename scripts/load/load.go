// Package load is a closed-loop HTTP/1.1 client that counts every error.
//
// It exists to show that a change of workers loses nothing, so it forgives
// nothing: it speaks HTTP over a plain net.Conn, tries one address once, never
// repeats a request, and reads each answer to its last byte. (net/http's
// Transport repeats an idempotent request whose reused connection broke, which
// is the very error to be counted.)
//
//	run, err := load.Start(ctx, load.Config{URL: url, Clients: 64, Mode: load.KeepAlive})
//	run.WaitRequests(ctx, 1000)
//	// … reload the workers …
//	report := run.Stop()
//	if report.Failed() { t.Fatal(report) }
package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Mode says what a client does with its connection after an answer.
type Mode string

const (
	// NewConnection opens a connection for each request and says
	// "Connection: close".
	NewConnection Mode = "new"
	// KeepAlive keeps the connection until the server announces its end with
	// "Connection: close". A connection that ends without notice costs the
	// request that meets it an error.
	KeepAlive Mode = "keep-alive"
	// Slow keeps each request in flight for SlowFor: a client connects, sends the
	// header and half of the body (without a body, half of the header), waits,
	// sends the rest and reads the answer. A connection for each request, as in
	// NewConnection.
	Slow Mode = "slow"
)

// Config says what to send, how, and for how long. Only URL is required.
type Config struct {
	// URL is http://host:port/path?query, or https://… then no certificate is checked.
	URL string
	// Address is where to connect to if not to URL's host: "host:port" or
	// "unix:/path".
	Address string
	// Mode is NewConnection if empty.
	Mode Mode
	// Clients is the number of concurrent clients; 0 means 1.
	Clients int
	// Method is GET, or POST if there is a Body, if empty.
	Method string
	// Header are further header lines, "Name: value".
	Header []string
	Body   []byte
	// Timeout is for one request, its connect included; 0 means 10 s.
	Timeout time.Duration
	// SlowFor is how long a request of mode Slow waits for its second half; 0
	// means 500 ms. It is part of the request's latency and of its Timeout.
	SlowFor time.Duration
	// Between an answer and its next request a client waits a random time
	// from ThinkMin to ThinkMax.
	ThinkMin, ThinkMax time.Duration
	// ErrorPause is waited in addition after an error, so that a server that
	// refuses is not met by a busy loop; 0 means 1 ms.
	ErrorPause time.Duration
	// Seed makes the think times those of another run with the same seed.
	Seed uint64
	// Duration and Requests end the run, whichever comes first; 0 means never.
	// So does the end of Start's context. Requests under way are always
	// finished and counted.
	Duration time.Duration
	Requests int64
	// Status is the status that counts as success; 0 means any 2xx.
	Status int
	// BodyUntilEOF accepts an answer with neither Content-Length nor chunks,
	// which ends where the connection does, so that nobody can tell whether it
	// is whole.
	BodyUntilEOF bool
	// LookBeforeReuse has a client look, after its think time, whether the
	// server has closed the idle connection meanwhile, as most HTTP clients do,
	// and open a new one then. Such closes are counted in Report.IdleCloses.
	// Without it they are errors.
	LookBeforeReuse bool
	// Check says what is wrong with a complete answer of the right status. The
	// Response is valid only during the call. Calls are concurrent.
	Check func(*Response) error
	// Who names the process that answered, for Report.By; "" is not counted.
	// As for Check.
	Who func(*Response) string
}

// HeaderWho is a Who that reads a header.
func HeaderWho(name string) func(*Response) string {
	return func(r *Response) string { return r.Get(name) }
}

// Run is a load on its way.
type Run struct {
	cfg     Config
	network string
	address string
	secure  bool // https
	request []byte
	first   int // so many bytes of request are sent at once, the rest after SlowFor
	rec     recorder
	left    atomic.Int64 // requests that may still be started, if cfg.Requests
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{}
}

// Start begins the load. It fails only if cfg makes no sense or its host has no
// address: a server that is not there is a matter of the report.
func Start(ctx context.Context, cfg Config) (*Run, error) {
	r := &Run{done: make(chan struct{})}
	if err := r.prepare(ctx, cfg); err != nil {
		return nil, err
	}
	cfg = r.cfg
	if cfg.Duration > 0 {
		r.ctx, r.cancel = context.WithTimeout(ctx, cfg.Duration)
	} else {
		r.ctx, r.cancel = context.WithCancel(ctx)
	}
	r.left.Store(cfg.Requests)
	r.rec.begin()
	var clients sync.WaitGroup
	for i := range cfg.Clients {
		clients.Go(func() { newClient(r, i).loop() })
	}
	go func() {
		clients.Wait()
		r.rec.end()
		r.cancel()
		close(r.done)
	}()
	return r, nil
}

// Do runs cfg to its end.
func Do(ctx context.Context, cfg Config) (Report, error) {
	r, err := Start(ctx, cfg)
	if err != nil {
		return Report{}, err
	}
	return r.Wait(), nil
}

// Stats is the report so far.
func (r *Run) Stats() Report { return r.rec.report(&r.cfg) }

// Done is closed when the run has ended.
func (r *Run) Done() <-chan struct{} { return r.done }

// Wait waits for the end of the run.
func (r *Run) Wait() Report {
	<-r.done
	return r.Stats()
}

// Stop ends the run: requests under way are finished and counted.
func (r *Run) Stop() Report {
	r.cancel()
	return r.Wait()
}

// WaitRequests waits until n more requests than at the call have been
// answered or have failed. It fails if the run or ctx ends before.
func (r *Run) WaitRequests(ctx context.Context, n int64) error {
	goal := r.rec.requests.Load() + n
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		have := r.rec.requests.Load()
		if have >= goal {
			return nil
		}
		select {
		case <-tick.C:
		case <-r.done:
			if r.rec.requests.Load() >= goal {
				return nil
			}
			return errors.New("the load ended while it was waited for")
		case <-ctx.Done():
			return fmt.Errorf("%d of %d requests: %w", n-(goal-have), n, ctx.Err())
		}
	}
}

func (r *Run) prepare(ctx context.Context, cfg Config) error {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("url %q is not http://host…", cfg.URL)
	}
	if r.secure = u.Scheme == "https"; r.secure && cfg.LookBeforeReuse {
		return errors.New("within TLS nobody can look whether a connection is closed")
	}
	switch cfg.Mode {
	case "":
		cfg.Mode = NewConnection
	case NewConnection, KeepAlive, Slow:
	default:
		return fmt.Errorf("mode %q is none of %q, %q and %q", cfg.Mode, NewConnection, KeepAlive, Slow)
	}
	if cfg.Clients == 0 {
		cfg.Clients = 1
	}
	if cfg.Clients < 0 || cfg.Requests < 0 || cfg.Duration < 0 || cfg.Timeout < 0 || cfg.SlowFor < 0 {
		return errors.New("clients, requests, duration and timeout cannot be negative")
	}
	if cfg.ThinkMax < cfg.ThinkMin {
		cfg.ThinkMax = cfg.ThinkMin
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.SlowFor == 0 {
		cfg.SlowFor = 500 * time.Millisecond
	}
	if cfg.Mode == Slow && cfg.SlowFor >= cfg.Timeout {
		return fmt.Errorf("a request that takes %v cannot be answered within %v", cfg.SlowFor, cfg.Timeout)
	}
	if cfg.ErrorPause == 0 {
		cfg.ErrorPause = time.Millisecond
	}
	if cfg.Method == "" {
		cfg.Method = "GET"
		if cfg.Body != nil {
			cfg.Method = "POST"
		}
	}
	r.cfg = cfg
	r.request = encode(cfg, u)
	r.first = len(r.request)
	if cfg.Mode == Slow {
		body := len(cfg.Body)
		if body == 0 {
			body = len(r.request)
		}
		r.first -= (body + 1) / 2
	}
	r.network, r.address, err = target(ctx, cfg.Address, u)
	return err
}

// target is the one address that is dialled. A Dialer that is given a name
// tries all its addresses, which would hide that one of them refuses.
func target(ctx context.Context, address string, u *url.URL) (network, addr string, err error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return "unix", path, nil
	}
	host, port := u.Hostname(), u.Port()
	if port == "" && u.Scheme == "https" {
		port = "443"
	} else if port == "" {
		port = "80"
	}
	if address != "" {
		if host, port, err = net.SplitHostPort(address); err != nil {
			return "", "", err
		}
	}
	if net.ParseIP(host) == nil {
		addrs, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
		if err != nil {
			return "", "", err
		}
		host = addrs[0].String()
		for _, a := range addrs { // the same choice whatever order a resolver gives
			if a.To4() != nil {
				host = a.String()
				break
			}
		}
	}
	return "tcp", net.JoinHostPort(host, port), nil
}

func encode(cfg Config, u *url.URL) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", cfg.Method, u.RequestURI(), u.Host)
	for _, line := range cfg.Header {
		b.WriteString(line + "\r\n")
	}
	if cfg.Mode != KeepAlive {
		b.WriteString("Connection: close\r\n")
	}
	if cfg.Body != nil || cfg.Method == "POST" || cfg.Method == "PUT" || cfg.Method == "PATCH" {
		b.WriteString("Content-Length: " + strconv.Itoa(len(cfg.Body)) + "\r\n")
	}
	b.WriteString("\r\n")
	b.Write(cfg.Body)
	return []byte(b.String())
}
