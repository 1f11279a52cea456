package worker

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

const postHead = "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

// send writes to a new connection, and returns it.
func send(t testing.TB, address, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

// receive reads one answer, and whether the connection ends with it.
func receive(t testing.TB, c net.Conn) (status int, body string, closed bool) {
	t.Helper()
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Close {
		if rest, _ := io.ReadAll(r); len(rest) > 0 {
			t.Errorf("after the last answer: %q", rest)
		}
	}
	return resp.StatusCode, string(text), resp.Close
}

func chunked(parts ...string) string {
	s := postHead + "Transfer-Encoding: chunked\r\n\r\n"
	for _, p := range parts {
		s += fmt.Sprintf("%x\r\n%s\r\n", len(p), p)
	}
	return s
}

func lengthed(length int, body string) string {
	return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", postHead, length, body)
}

func TestBodies(t *testing.T) {
	w, address := startWorker(t, Config{MaxBody: 100_000})
	long := `{"query":"{hello}"` + strings.Repeat(" ", 99_000) + `}`
	const short = `{"query":"{hello}"}`
	for _, c := range []struct {
		what, request string
		status        int
		want          string
		closed        bool
	}{
		{"small", lengthed(len(short), short), 200, `{"data":{"hello":"world"}}`, false},
		{"large", lengthed(len(long), long), 200, `{"data":{"hello":"world"}}`, false},
		{"in chunks", chunked(short[:5], short[5:], ""), 200, `{"data":{"hello":"world"}}`, false},
		{"in large chunks", chunked(long[:50_000], long[50_000:], ""), 200, `{"data":{"hello":"world"}}`, false},
		{"empty", lengthed(0, ""), 400, "BAD_REQUEST", false},
		// What follows is not sent to its end: the answer does not wait for it.
		{"too large as announced", lengthed(10<<20, long), 413, "PAYLOAD_TOO_LARGE", true},
		{"without a byte of it", lengthed(10<<20, ""), 413, "PAYLOAD_TOO_LARGE", true},
		{"where nobody wants one", strings.Replace(lengthed(10<<20, ""), "/graphql", "/nowhere", 1), 413, "PAYLOAD_TOO_LARGE", true},
		{"with another request behind it", lengthed(10<<20, "") + lengthed(19, short), 413, "PAYLOAD_TOO_LARGE", true},
		{"too large in one chunk", chunked() + "a00000\r\n" + strings.Repeat(" ", 110_000), 413, "PAYLOAD_TOO_LARGE", true},
		{"too large in chunks", chunked(long, long), 413, "PAYLOAD_TOO_LARGE", true},
		{"broken chunks", chunked(short) + "x\r\n", 400, "BAD_REQUEST", true},
	} {
		t.Run(c.what, func(t *testing.T) {
			status, body, closed := receive(t, send(t, address, c.request))
			if status != c.status || !strings.Contains(body, c.want) || closed != c.closed {
				t.Errorf("%d %s, closed: %v", status, body, closed)
			}
		})
	}
	if got, want := w.bodies.room.Load(), int64(bodiesAtOnce*100_000); got != want {
		t.Errorf("%d of %d bytes are left", got, want)
	}
}

// Bodies of several requests on one connection do not run into each other, also
// where the first is not wanted.
func TestBodiesOnOneConnection(t *testing.T) {
	_, address := startWorker(t, Config{})
	const body = `{"query":"{hello}"}`
	c := send(t, address, strings.Replace(lengthed(len(body), body), "/graphql", "/nowhere", 1)+lengthed(len(body), body)+chunked(body, "")+lengthed(len(body), body))
	r := bufio.NewReader(c)
	for i, want := range []int{404, 200, 200, 200} {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := io.ReadAll(resp.Body); resp.StatusCode != want {
			t.Errorf("answer %d: %d %s", i, resp.StatusCode, text)
		}
	}
}

// Connections that announce a megabyte and send a byte hold what they have sent.
func TestSlowBodies(t *testing.T) {
	const clients = 500
	w, address := startWorker(t, Config{})
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := heap()
	head := `{"query":"{hello}","x":"` + strings.Repeat("x", 8<<10) // what the server waits for
	conns := make([]net.Conn, clients)
	for i := range conns {
		conns[i] = send(t, address, lengthed(1<<20, head))
	}
	waitUntil(t, func() bool { return int(w.server.GetOpenConnectionsCount()) == clients })
	// A request of another has an answer all the while.
	if status, body, _ := receive(t, send(t, address, lengthed(19, `{"query":"{hello}"}`))); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	each := (heap() - before) / clients
	t.Logf("%d KiB for each of %d connections, the client's end included", each>>10, clients)
	if each > 256<<10 {
		t.Errorf("%d KiB for each connection", each>>10)
	}
}

// Large bodies that arrive at once share what memory there is for them.
func TestBodiesShareMemory(t *testing.T) {
	w, address := startWorker(t, Config{MaxBody: 1 << 20})
	w.bodies.room.Store(300_000)
	part := `{"query":"{hello}","x":"` + strings.Repeat("x", 200_000)
	first := send(t, address, lengthed(1<<20, part))
	waitUntil(t, func() bool { return w.bodies.room.Load() < 100_000 })
	status, body, closed := receive(t, send(t, address, lengthed(1<<20, part)))
	if status != 503 || !strings.Contains(body, "UNAVAILABLE") || !closed {
		t.Errorf("%d %s", status, body)
	}
	if status, body, _ := receive(t, send(t, address, lengthed(19, `{"query":"{hello}"}`))); status != 200 {
		t.Errorf("a small one: %d %s", status, body)
	}
	first.Close()
	waitUntil(t, func() bool { return w.bodies.room.Load() == 300_000 })
}
