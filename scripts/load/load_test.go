package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const whole = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

// serve answers each connection with handle, which is told the connection and a
// reader of it. The connection is closed when handle returns.
func serve(t *testing.T, handle func(conn *net.TCPConn, in *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn.(*net.TCPConn), bufio.NewReader(conn))
			}()
		}
	}()
	return "http://" + l.Addr().String() + "/"
}

// nobody is an address at which nobody listens, or will: a socket is bound to it
// and does not listen.
func nobody(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("http://127.0.0.1:%d/", name.(*syscall.SockaddrInet4).Port)
}

// take reads one request.
func take(in *bufio.Reader) error {
	req, err := http.ReadRequest(in)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err
}

// say answers the first request with text and closes.
func say(text string) func(*net.TCPConn, *bufio.Reader) {
	return func(conn *net.TCPConn, in *bufio.Reader) {
		if take(in) == nil {
			io.WriteString(conn, text)
		}
	}
}

func do(t *testing.T, cfg Config) Report {
	t.Helper()
	r, err := Do(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEachErrorHasItsKind(t *testing.T) {
	for _, c := range []struct {
		name string
		url  string
		kind Kind
		text string
	}{
		{"nobody listens", nobody(t), KindRefused, "connect: "},
		{"reset", serve(t, func(conn *net.TCPConn, in *bufio.Reader) { take(in); conn.SetLinger(0) }),
			KindReset, "before the first byte"},
		{"reset in the body", serve(t, func(conn *net.TCPConn, in *bufio.Reader) {
			take(in)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
			time.Sleep(200 * time.Millisecond) // or the reset overtakes it
			conn.SetLinger(0)
		}), KindReset, "in the body"},
		{"eof at once", serve(t, say("")), KindEOF, "before the first byte, on a new connection"},
		{"eof in the header", serve(t, say("HTTP/1.1 200 OK\r\nContent-Le")), KindEOF, "in the header"},
		{"eof after the status line", serve(t, say("HTTP/1.1 200 OK\r\n")), KindEOF, "in the header"},
		{"body too short", serve(t, say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")), KindTruncated, "3 of 5 bytes"},
		{"no body", serve(t, say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")), KindTruncated, "0 of 5 bytes"},
		{"no last chunk", serve(t, say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")), KindTruncated, "in the body"},
		{"no trailer", serve(t, say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")), KindTruncated, "in the body"},
		{"silence", serve(t, func(_ *net.TCPConn, in *bufio.Reader) { take(in); take(in) }), KindTimeout, "before the first byte"},
		{"silence in the body", serve(t, func(conn *net.TCPConn, in *bufio.Reader) {
			take(in)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
			take(in)
		}), KindTimeout, "in the body"},
		{"status", serve(t, say("HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nbad")), KindStatus, `status 500: "bad"`},
		{"redirect", serve(t, say("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")), KindStatus, "status 302"},
		{"body without an end", serve(t, say("HTTP/1.1 200 OK\r\n\r\nhello")), KindOther, "nobody can tell"},
		{"body too long", serve(t, say(whole+"!")), KindOther, "1 bytes that nothing asked for"},
		{"no HTTP", serve(t, say("SSH-2.0-OpenSSH_9.2\r\n")), KindOther, "no HTTP/1 status line"},
		{"chunk too long", serve(t, say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n")), KindOther, "longer than its size"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			patience := time.Minute
			if c.kind == KindTimeout {
				patience = 300 * time.Millisecond
			}
			r := do(t, Config{URL: c.url, Requests: 3, Timeout: patience})
			if r.Requests != 3 || r.OK != 0 || r.Errors[c.kind] != 3 || len(r.Errors) != 1 || !r.Failed() {
				t.Fatalf("want 3 errors of kind %s, have\n%s", c.kind, r)
			}
			if len(r.Samples) != 3 || r.Samples[0].Kind != c.kind || !strings.Contains(r.Samples[0].Text, c.text) {
				t.Errorf("want samples with %q, have\n%s", c.text, r)
			}
		})
	}
}

func TestSuccesses(t *testing.T) {
	for name, answer := range map[string]string{
		"content length": whole,
		"chunks":         "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n",
		"continue first": "HTTP/1.1 100 Continue\r\n\r\n" + whole,
		"bare newlines":  "HTTP/1.1 200\nContent-Length: 5\n\nhello",
	} {
		t.Run(name, func(t *testing.T) {
			var conns atomic.Int64
			url := serve(t, func(conn *net.TCPConn, in *bufio.Reader) {
				conns.Add(1)
				for take(in) == nil {
					io.WriteString(conn, answer)
				}
			})
			check := func(r *Response) error {
				if string(r.Body) != "hello" {
					return fmt.Errorf("body %q", r.Body)
				}
				return nil
			}
			r := do(t, Config{URL: url, Requests: 7, Mode: KeepAlive, Check: check})
			if r.Failed() || r.OK != 7 || conns.Load() != 1 || r.Connections != 1 {
				t.Errorf("keep-alive: %d connections\n%s", conns.Load(), r)
			}
			r = do(t, Config{URL: url, Requests: 7, Mode: NewConnection, Check: check, Body: []byte("{}")})
			if r.Failed() || r.OK != 7 || conns.Load() != 8 || r.Connections != 7 {
				t.Errorf("new connections: %d connections\n%s", conns.Load()-1, r)
			}
		})
	}
}

func TestBodiesWithoutEndAndWithoutBody(t *testing.T) {
	r := do(t, Config{URL: serve(t, say("HTTP/1.0 200 OK\r\n\r\nhello")), Requests: 2, Mode: KeepAlive, BodyUntilEOF: true,
		Check: func(r *Response) error {
			if string(r.Body) != "hello" {
				return fmt.Errorf("body %q", r.Body)
			}
			return nil
		}})
	if r.Failed() || r.Connections != 2 {
		t.Error(r)
	}
	if r := do(t, Config{URL: serve(t, say("HTTP/1.1 204 No Content\r\n\r\n")), Requests: 2}); r.Failed() {
		t.Error(r)
	}
}

// What the client sends is read by somebody else's server.
func TestAgainstNetHTTP(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil || req.Method != "POST" || string(body) != "question" || req.URL.RawQuery != "a=b%20c" || req.Header.Get("X-A") != "1" {
			http.Error(w, fmt.Sprint(err, req.Method, string(body), req.URL, req.Header), 400)
			return
		}
		w.Header().Set("X-Who", "seven")
		io.WriteString(w, strings.Repeat("answer ", 10_000)) // chunked
	}))
	defer srv.Close()
	for _, mode := range []Mode{NewConnection, KeepAlive} {
		r := do(t, Config{URL: srv.URL + "/x?a=b%20c", Mode: mode, Clients: 8, Requests: 200, Body: []byte("question"),
			Header: []string{"X-A: 1"}, Who: HeaderWho("x-who"), ThinkMax: time.Millisecond,
			Check: func(r *Response) error {
				if len(r.Body) != 70_000 {
					return errors.New("wrong length")
				}
				return nil
			}})
		if r.Failed() || r.OK != 200 || r.By["seven"] != 200 || r.Statuses[200] != 200 {
			t.Error(r)
		}
		if r.PerSecond <= 0 || r.Latency.P50 <= 0 || r.Latency.P50 > r.Latency.P99 || r.Latency.P99 > r.Latency.Max || r.LongestGap.MS <= 0 {
			t.Errorf("figures: %+v", r)
		}
	}
}

func TestCheckFailsWithoutLosingTheConnection(t *testing.T) {
	url := serve(t, func(conn *net.TCPConn, in *bufio.Reader) {
		for take(in) == nil {
			io.WriteString(conn, whole)
		}
	})
	r := do(t, Config{URL: url, Requests: 9, Mode: KeepAlive, Check: func(*Response) error { return errors.New("not what I meant") }})
	if r.Errors[KindCheck] != 9 || r.Connections != 1 || len(r.Samples) != samplesPerKind || r.Statuses[200] != 9 {
		t.Error(r)
	}
	if r := do(t, Config{URL: url, Requests: 1, Status: 404}); r.Errors[KindStatus] != 1 {
		t.Error(r)
	}
}

func TestAnnouncedCloseIsNoError(t *testing.T) {
	var conns atomic.Int64
	url := serve(t, func(conn *net.TCPConn, in *bufio.Reader) {
		conns.Add(1)
		take(in)
		io.WriteString(conn, whole)
		take(in)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nconnection: Foo, Close\r\nContent-Length: 5\r\n\r\nhello")
	})
	r := do(t, Config{URL: url, Requests: 10, Mode: KeepAlive})
	if r.Failed() || conns.Load() != 5 {
		t.Errorf("%d connections\n%s", conns.Load(), r)
	}
}

// An idle connection that ends without notice costs the request that meets it,
// once, and is not repeated.
func TestCloseAfterIdleIsAnError(t *testing.T) {
	for _, c := range []struct {
		kind   Kind
		linger int
	}{{KindEOF, -1}, {KindReset, 0}} {
		var served atomic.Int64
		read, closed := make(chan struct{}), make(chan struct{})
		url := serve(t, func(conn *net.TCPConn, in *bufio.Reader) {
			take(in)
			served.Add(1)
			io.WriteString(conn, whole)
			<-read // or a reset would overtake the answer
			if c.linger >= 0 {
				conn.SetLinger(c.linger)
			}
			conn.Close()
			closed <- struct{}{}
		})
		cfg := Config{URL: url, Requests: 6, Mode: KeepAlive, Check: func(*Response) error {
			read <- struct{}{}
			<-closed
			return nil
		}}
		r := do(t, cfg)
		// The write onto a closed connection succeeds and the reset that it
		// provokes may be seen instead of the EOF.
		if r.OK != 3 || r.Failures(KindEOF, KindReset) != 3 || served.Load() != 3 {
			t.Errorf("%d served\n%s", served.Load(), r)
		}
		if c.kind == KindReset && r.Errors[KindReset] != 3 {
			t.Error(r)
		}
		if !strings.Contains(r.Samples[0].Text, "on a connection used 1 times") {
			t.Error(r.Samples)
		}

		cfg.LookBeforeReuse = true
		// On a busy machine the end may be on its way still when the client looks.
		for range 5 {
			if r = do(t, cfg); !r.Failed() && r.OK == 6 && r.IdleCloses == 5 {
				break
			}
		}
		if r.Failed() || r.OK != 6 || r.IdleCloses != 5 {
			t.Errorf("with a look before: %s", r)
		}
	}
}

func TestCancelFinishesWhatIsUnderWay(t *testing.T) {
	asked := make(chan struct{})
	url := serve(t, func(conn *net.TCPConn, in *bufio.Reader) {
		take(in)
		close(asked)
		time.Sleep(100 * time.Millisecond)
		io.WriteString(conn, whole)
	})
	ctx, cancel := context.WithCancel(t.Context())
	run, err := Start(ctx, Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	cancel()
	if r := run.Wait(); r.Failed() || r.OK != 1 {
		t.Error(r)
	}
}

// What the server has of a request when its client pauses.
func TestASlowRequestPausesInItsMiddle(t *testing.T) {
	for _, c := range []struct{ name, body, ends string }{
		{"within the body", "question", "\r\n\r\nques"},
		{"before a body of one byte", "?", "\r\n\r\n"},
		{"within the header if there is no body", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for pause := 50 * time.Millisecond; ; pause *= 10 {
				halves := make(chan string, 100)
				url := serve(t, func(conn *net.TCPConn, in *bufio.Reader) {
					in.Peek(1)
					half, _ := in.Peek(in.Buffered())
					halves <- string(half)
					for take(in) == nil { // a second request on this connection would be an error
						io.WriteString(conn, whole)
					}
				})
				r := do(t, Config{URL: url, Mode: Slow, Clients: 4, Requests: 8, SlowFor: pause, Body: []byte(c.body)})
				if r.Failed() || r.OK != 8 || r.Connections != 8 || r.Latency.P50 < float64(pause.Milliseconds()) {
					t.Error(r)
				}
				close(halves)
				var wrong []string
				for half := range halves {
					if !strings.HasPrefix(half, "POST / HTTP/1.1\r\n") || !strings.HasSuffix(half, c.ends) ||
						strings.Contains(half, "\r\n\r\n") != (c.body != "") {
						wrong = append(wrong, half)
					}
				}
				if len(wrong) == 0 {
					break
				}
				if pause > time.Second { // a server that comes late finds both halves
					t.Errorf("first halves are %q", wrong)
					break
				}
			}
		})
	}
}

// A worker that dies between the halves is seen.
func TestASlowRequestThatIsCutIsAnError(t *testing.T) {
	url := serve(t, func(_ *net.TCPConn, in *bufio.Reader) { in.Peek(1) })
	r := do(t, Config{URL: url, Mode: Slow, Requests: 3, SlowFor: 10 * time.Millisecond, Body: []byte("question")})
	if r.OK != 0 || r.Failures(KindEOF, KindReset) != 3 {
		t.Error(r)
	}
}

func TestTheEndOfARunFinishesASlowRequest(t *testing.T) {
	begun := make(chan struct{})
	url := serve(t, func(conn *net.TCPConn, in *bufio.Reader) {
		in.Peek(1)
		close(begun)
		if take(in) == nil {
			io.WriteString(conn, whole)
		}
	})
	run, err := Start(t.Context(), Config{URL: url, Mode: Slow, SlowFor: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	if r := run.Stop(); r.Failed() || r.OK != 1 || r.Latency.Max < 50 {
		t.Error(r)
	}
}

func TestWaitRequests(t *testing.T) {
	url := serve(t, say(whole))
	run, err := Start(t.Context(), Config{URL: url, Clients: 4})
	if err != nil {
		t.Fatal(err)
	}
	if err := run.WaitRequests(t.Context(), 50); err != nil {
		t.Fatal(err)
	}
	if n := run.Stats().Requests; n < 50 {
		t.Errorf("%d requests", n)
	}
	if r := run.Stop(); r.Failed() || r.Requests < 50 {
		t.Error(r)
	}
	if err := run.WaitRequests(t.Context(), 1); err == nil {
		t.Error("the run has ended")
	}
}

func TestOutageIsTheLongestGap(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x") })}
	go srv.Serve(l)
	run, err := Start(t.Context(), Config{URL: "http://" + addr, Clients: 2})
	if err != nil {
		t.Fatal(err)
	}
	run.WaitRequests(t.Context(), 20)
	srv.Close()
	time.Sleep(200 * time.Millisecond)
	if gap := run.Stats().LongestGap.MS; gap < 150 {
		t.Errorf("the gap that still lasts is %.1f ms", gap)
	}
	if l, err = net.Listen("tcp", addr); err != nil {
		t.Skip("somebody took the port:", err)
	}
	srv = &http.Server{Handler: srv.Handler}
	go srv.Serve(l)
	defer srv.Close()
	run.WaitRequests(t.Context(), 20)
	r := run.Stop()
	if r.LongestGap.MS < 150 || r.LongestGap.MS > 5000 || r.Errors[KindRefused] == 0 {
		t.Error(r)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x") })}
	go srv.Serve(l)
	cfg := Config{URL: "http://app/", Address: "unix:" + path, Requests: 3}
	if r := do(t, cfg); r.Failed() {
		t.Error(r)
	}
	srv.Close()
	if r := do(t, cfg); r.Errors[KindOther]+r.Errors[KindRefused] != 3 {
		t.Error(r)
	}
}

func TestHTTPS(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x") }))
	for _, mode := range []Mode{NewConnection, KeepAlive, Slow} {
		if r := do(t, Config{URL: srv.URL, Mode: mode, Requests: 6, SlowFor: time.Millisecond}); r.Failed() {
			t.Error(r)
		}
	}
	srv.Close()
	if r := do(t, Config{URL: srv.URL, Requests: 3}); r.Errors[KindRefused] != 3 {
		t.Error(r)
	}
}

func TestBadConfig(t *testing.T) {
	for _, cfg := range []Config{
		{}, {URL: "ftp://127.0.0.1/"}, {URL: "https://127.0.0.1/", LookBeforeReuse: true}, {URL: "http://127.0.0.1", Mode: "fast"}, {URL: "http://127.0.0.1", Clients: -1},
		{URL: "http://127.0.0.1", Address: "nowhere"},
		{URL: "http://127.0.0.1", Mode: Slow, SlowFor: time.Second, Timeout: time.Second},
	} {
		if _, err := Start(t.Context(), cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

func TestReportAsJSON(t *testing.T) {
	r := do(t, Config{URL: serve(t, say("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")), Requests: 2})
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"errors":{"status":2}`, `"statuses":{"503":2}`, `"ok":0`, `"samples":[{"at_ms":`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

func TestHistogram(t *testing.T) {
	for v := uint64(0); v < 1<<40; v = v*33/32 + 1 {
		if u := upper(bucket(v)); u < v || float64(u) > float64(v)*1.0313 {
			t.Fatalf("%d is in the bucket up to %d", v, u)
		}
		if v > 0 && upper(bucket(v)-1) >= v {
			t.Fatalf("%d belongs into a lower bucket", v)
		}
	}
	var h histogram
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	if s := h.summary(); s.P50 < 499 || s.P50 > 516 || s.P99 < 989 || s.P99 > 1000 || s.Max != 1000 {
		t.Errorf("%+v", s)
	}
	if (&histogram{}).summary() != (Latency{}) {
		t.Error("an empty histogram has no figures")
	}
	var full histogram
	full.add(1<<63 - 1)
}
