package worker

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

var statusLine = regexp.MustCompile(`HTTP/1\.1 (\d+) `)

// exchangeRaw sends bytes and returns the statuses of all that comes back until the
// worker closes the connection.
func exchangeRaw(t *testing.T, address, sent string) (statuses, answer string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, sent); err != nil {
		t.Fatal(err)
	}
	data, _ := io.ReadAll(c) // a reset, if it had not read all
	var list []string
	for _, m := range statusLine.FindAllStringSubmatch(string(data), -1) {
		list = append(list, m[1])
	}
	return strings.Join(list, " "), string(data)
}

// Where proxies and servers have been brought to disagree about where a request
// ends, this server refuses and closes, or sees what any would see. Behind each request
// stands a last one, which is answered if the first was taken and read to its right end.
func TestRequestSmuggling(t *testing.T) {
	_, address := startWorker(t, Config{MaxBody: 1000})
	const (
		last = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
		body = `{"query":"{hello}"}`
		post = "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
		get  = "GET /readyz HTTP/1.1\r\nHost: x\r\n"

		chunks = "13\r\n" + body + "\r\n0\r\n\r\n"
	)
	for _, c := range []struct{ what, sent, want string }{
		{"a length", post + "Content-Length: 19\r\n\r\n" + body, "200 200"},
		{"chunks", post + "Transfer-Encoding: chunked\r\n\r\n" + chunks, "200 200"},
		// RFC 9112, 6.1: chunks count, and nothing behind them is taken for a request.
		{"length and chunks", post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks, "200"},
		{"chunks and length", post + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + chunks, "200"},
		{"two lengths", post + "Content-Length: 19\r\nContent-Length: 5\r\n\r\n" + body, "400"},
		{"the same length twice", post + "Content-Length: 19\r\nContent-Length: 19\r\n\r\n" + body, "400"},
		{"a list of lengths", post + "Content-Length: 19, 19\r\n\r\n" + body, "400"},
		{"a length with a sign", post + "Content-Length: +19\r\n\r\n" + body, "400"},
		{"a negative length", post + "Content-Length: -1\r\n\r\n" + body, "400"},
		{"a length in hexadecimal", post + "Content-Length: 0x13\r\n\r\n" + body, "400"},
		{"an empty length", post + "Content-Length:\r\n\r\n" + body, "400"},
		{"a length beyond all integers", post + "Content-Length: 99999999999999999999999\r\n\r\n" + body, "400"},
		{"a space before the colon", post + "Content-Length : 19\r\n\r\n" + body, "400"},
		{"a space before the colon, of chunks", post + "Transfer-Encoding : chunked\r\n\r\n" + chunks, "400"},
		{"a header that only looks like a length", post + "Content_Length: 5\r\nContent-Length: 19\r\n\r\n" + body, "200 200"},
		{"a folded length", get + "Content-Length: 1\r\n 0\r\n\r\n", "400"},
		{"an unknown encoding", post + "Transfer-Encoding: xchunked\r\n\r\n" + chunks, "400"},
		{"chunked, but not last", post + "Transfer-Encoding: chunked, identity\r\n\r\n" + chunks, "400"},
		{"chunked twice", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks, "400"},
		{"chunked and another", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + chunks, "400"},
		{"compressed chunks", post + "Transfer-Encoding: gzip, chunked\r\n\r\n" + chunks, "400"},
		{"chunks in HTTP/1.0", strings.Replace(post, "1.1", "1.0", 1) + "Transfer-Encoding: chunked\r\n\r\n" + chunks, "400"},
		{"a chunk that is longer than it says", post + "Transfer-Encoding: chunked\r\n\r\n12\r\n" + body + "\r\n0\r\n\r\n", "400"},
		{"a chunk's size with a line feed alone", post + "Transfer-Encoding: chunked\r\n\r\n13\n" + body + "\r\n0\r\n\r\n", "400"},
		{"a line feed in a chunk's extension", post + "Transfer-Encoding: chunked\r\n\r\n13;a=\"\n\"\r\n" + body + "\r\n0\r\n\r\n", "400"},
		{"a chunk's size with 0x", post + "Transfer-Encoding: chunked\r\n\r\n0x13\r\n" + body + "\r\n0\r\n\r\n", "400"},
		{"a chunk's size beyond all integers", post + "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n" + body, "400"},
		{"chunks that are too many", post + "Transfer-Encoding: chunked\r\n\r\n3E9\r\n" + strings.Repeat("x", 1001) + "\r\n0\r\n\r\n", "413"},
		{"a GET with a body, which is read over", get + "Content-Length: 53\r\n\r\n" + last + "xx", "200 200"},
		{"a HEAD with a body", "HEAD /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 53\r\n\r\n" + last + "xx", "200 200"},
		{"a request in the body of one of a wrong type", "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: x/y\r\nContent-Length: 53\r\n\r\n" + last + "xx", "415 200"},
		{"a carriage return alone", get + "X: a\rContent-Length: 5\r\n\r\n", "400"},
		{"a NUL", get + "X: a\x00b\r\n\r\n", "400"},
		{"a header without a name", get + ": x\r\n\r\n", "400"},
		{"a header without a colon", get + "x\r\n\r\n", "400"},
		{"a header before the first", "GET /livez HTTP/1.1\r\n Host: x\r\n\r\n", "400"},
		{"line feeds alone within, and the right end", "GET /readyz HTTP/1.1\nHost: x\nX: y\r\n\r\n", "200 200"},
		{"no host", "GET /livez HTTP/1.1\r\n\r\n", "400"},
		{"two hosts", get + "Host: y\r\n\r\n", "400"},
		{"a host that is none", "GET /livez HTTP/1.1\r\nHost: x/y@z\r\n\r\n", "400"},
		{"two spaces", "GET  /livez HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		{"a space at the end", "GET /livez HTTP/1.1 \r\nHost: x\r\n\r\n", "400"},
		{"HTTP/0.9", "GET /livez\r\n\r\n", "400"},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"},
		{"an upgrade, which is not taken", post + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 19\r\n\r\n" + body, "200 200"},
		{"CONNECT", "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", "404 200"},
	} {
		t.Run(c.what, func(t *testing.T) {
			if got, answer := exchangeRaw(t, address, c.sent+last); got != c.want {
				t.Errorf("%s, want %s\n%s", got, c.want, answer)
			}
		})
	}
}

// A client that asks before it sends a body is told at once that it is too large.
func TestExpectContinue(t *testing.T) {
	_, address := startWorker(t, Config{MaxBody: 100})
	const header = "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\nExpect: 100-continue\r\n"
	got, answer := exchangeRaw(t, address, header+"Content-Length: 101\r\n\r\n")
	if got != "413" || !strings.Contains(answer, "Connection: close") || !strings.Contains(answer, "X-Request-Id: ") || !strings.Contains(answer, "PAYLOAD_TOO_LARGE") {
		t.Errorf("%s: %s", got, answer)
	}
	if got, answer := exchangeRaw(t, address, header+"Content-Length: 19\r\n\r\n"+`{"query":"{hello}"}`); got != "100 200" {
		t.Errorf("%s: %s", got, answer)
	}
	if got, answer := exchangeRaw(t, address, header+"Transfer-Encoding: chunked\r\n\r\n65\r\n"+strings.Repeat("x", 101)+"\r\n0\r\n\r\n"); got != "100 413" {
		t.Errorf("%s: %s", got, answer)
	}
}

// A request has only so long to arrive, however it dawdles.
func TestSlowRequests(t *testing.T) {
	w := newTestWorker(t, Config{IdleTimeout: 500 * time.Millisecond})
	w.server.ReadTimeout = 500 * time.Millisecond
	address := w.serveTest(t)
	const whole = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, c := range []struct{ what, sent, drip, want string }{
		{"nothing", "", "", "408"},
		{"half a header", "GET /livez HTTP/1.1\r\nHost: x\r\n", "", "408"},
		{"a header without an end", "GET /livez HTTP/1.1\r\nHost: x\r\n", "X: y\r\n", "408"},
		{"half a body", "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", "", "408"},
		{"a body byte by byte", "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", "x", "408"},
		{"chunks without an end", "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", "408"},
		{"a second request that does not come", whole, "", "200"},
		{"half of a second request", whole + "GET /li", "", "200 408"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.WriteString(conn, c.sent); err != nil {
				t.Fatal(err)
			}
			stop := make(chan struct{})
			defer func() { <-stop }()
			go func() {
				defer close(stop)
				for c.drip != "" {
					if _, err := io.WriteString(conn, c.drip); err != nil {
						return
					}
					time.Sleep(5 * time.Millisecond) // it is slow
				}
			}()
			data := make([]byte, 0, 4096)
			for buf := make([]byte, 4096); ; {
				n, err := conn.Read(buf)
				if data = append(data, buf[:n]...); err != nil {
					break
				}
			}
			conn.Close()
			got := ""
			for _, m := range statusLine.FindAllStringSubmatch(string(data), -1) {
				got = strings.TrimSpace(got + " " + m[1])
			}
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// What is refused before it is a request has the headers of any answer, and a line
// in the access log that says no more than is known.
func TestUnreadableRequestIsLogged(t *testing.T) {
	path := t.TempDir() + "/access.log"
	w := newTestWorker(t, Config{AccessLog: path, MaxBody: 10})
	address := w.serveTest(t)
	for _, c := range []struct{ sent, want string }{
		{"hello\r\n\r\n", "400"},
		{"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n", "413"},
		{"GET /" + strings.Repeat("x", 20_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", "431"},
	} {
		got, answer := exchangeRaw(t, address, c.sent)
		if got != c.want || !strings.Contains(answer, "X-Request-Id: ") || !strings.Contains(answer, "nosniff") || !strings.Contains(answer, "no-store") {
			t.Errorf("%s: %s", got, answer)
		}
	}
	lines, text := logged(t, w, path)
	if len(lines) != 3 {
		t.Fatal(text)
	}
	for i, want := range []string{"<nil> <nil> 400 [BAD_REQUEST]", "POST /graphql 413 [PAYLOAD_TOO_LARGE]", "<nil> <nil> 431 [PAYLOAD_TOO_LARGE]"} {
		l := lines[i]
		if got := fmt.Sprint(l["method"], " ", l["path"], " ", l["status"], " ", l["errors"]); got != want || l["ip"] != "127.0.0.1" {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
