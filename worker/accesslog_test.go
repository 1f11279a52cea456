package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nekoctl/neko/logtext"
	"github.com/valyala/fasthttp"
)

// logged is what a worker has written to its access log, when it is closed.
func logged(t *testing.T, w *Worker, path string) (lines []map[string]any, text string) {
	t.Helper()
	w.Close()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil || !strings.HasSuffix(line, "\n") {
			t.Fatalf("%q: %v", line, err)
		}
		lines = append(lines, v)
	}
	return lines, string(data)
}

// A line tells which rate limit has refused a request, and what of.
func TestAccessLogOfRateLimits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	w, _ := rateWorker(t, Config{AccessLog: path, RateLimits: []RateLimit{perMinute("tight", 1)}})
	for range 2 {
		w.ask("POST", "/graphql", asJSON, `{"query":"query Q { hello }"}`)
	}
	w.ask("POST", "/graphql", asJSON, `{"query`)
	lines, text := logged(t, w, path)
	if len(lines) != 3 || lines[0]["limited_by"] != nil {
		t.Fatal(text)
	}
	for i, operation := range map[int]any{1: "Q", 2: ""} {
		if l := lines[i]; l["limited_by"] != "tight" || l["status"] != 429.0 || fmt.Sprint(l["errors"]) != "[REQUEST_RATE_LIMITED]" || l["operation"] != operation {
			t.Error(l)
		}
	}
}

func TestAccessLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	w := newTestWorker(t, Config{AccessLog: path, Identify: func(context.Context, Credentials) (Identity, error) {
		return Identity{Subject: "user:1"}, nil
	}})
	w.ask("POST", "/graphql", asGraphQL+"\nX-Request-Id: cat-1\nX-API-Key: k", `{"query":"query Q { hello }"}`)
	w.ask("POST", "/graphql", asJSON, `{"query":"mutation { touch(name: \"x\") }"}`)
	w.ask("POST", "/graphql", asJSON, `{"query":"{fail(how: CODED)}"}`)
	w.ask("POST", "/graphql", asJSON, `{"query":"{","operationName":"\u001b[31m\"\u202e<evil>\ud800`+strings.Repeat("x", 500)+`"}`)
	w.ask("GET", "/a\"b\n/"+strings.Repeat("x", 500)+"?secret", "", "")
	w.ask("GET", "/livez", "", "")
	lines, text := logged(t, w, path)
	if len(lines) != 5 {
		t.Fatalf("%d lines, and a probe that passes has none: %s", len(lines), text)
	}
	first := lines[0]
	if at, err := time.Parse(time.RFC3339, first["time"].(string)); err != nil || time.Since(at) > time.Minute {
		t.Error(first["time"])
	}
	if ms, ok := first["duration_ms"].(float64); !ok || ms < 0 || ms > 60_000 {
		t.Error(first["duration_ms"])
	}
	delete(first, "time")
	delete(first, "duration_ms")
	want := map[string]any{
		"request_id": "cat-1", "ip": "0.0.0.0", "method": "POST", "path": "/graphql", "status": 200.0,
		"media": "application/graphql-response+json; charset=utf-8", "operation": "Q", "kind": "query",
		"document":  "99a587edd58fdbd8",
		"persisted": false, "subject": "user:1", "bytes": float64(len(`{"data":{"hello":"world"}}`)),
	}
	if fmt.Sprint(first) != fmt.Sprint(want) {
		t.Errorf("\n got %v\nwant %v", first, want)
	}
	if again := lines[1]["document"]; again == first["document"] || len(again.(string)) != 16 {
		t.Error("two documents of one hash")
	}
	if lines[1]["kind"] != "mutation" || lines[1]["operation"] != "" || lines[1]["errors"] != nil {
		t.Errorf("%v", lines[1])
	}
	if fmt.Sprint(lines[2]["errors"]) != "[TEAPOT]" {
		t.Errorf("%v", lines[2])
	}
	if lines[3]["operation"] != "" || fmt.Sprint(lines[3]["errors"]) != "[GRAPHQL_PARSE_FAILED]" || lines[3]["kind"] != nil {
		t.Errorf("%v", lines[3])
	}
	if p := lines[4]["path"].(string); len(p) > accessPath+10 || lines[4]["status"] != 404.0 || strings.Contains(p, "secret") {
		t.Errorf("%v", lines[4])
	}
	for i := range text {
		if c := text[i]; c < ' ' && c != '\n' || c == 0x7f {
			t.Errorf("byte %#x", c)
		}
	}
	if strings.Contains(text, "\u202e") {
		t.Error("a character that turns the line around")
	}
}

// Nothing that a client may have meant to be secret gets into the log, wherever it
// has put it, and whatever becomes of the request.
func TestNoSecretInTheAccessLog(t *testing.T) {
	const secret = "hunter2"
	path := filepath.Join(t.TempDir(), "access.log")
	w := newTestWorker(t, Config{AccessLog: path, ExecutionTimeout: 20 * time.Millisecond, Identify: func(_ context.Context, c Credentials) (Identity, error) {
		switch {
		case strings.Contains(c.Authorization, "bad"):
			return Identity{}, NewError(CodeUnauthenticated, "nobody has "+secret)
		case strings.Contains(c.Authorization, "broken"):
			return Identity{}, errors.New("cannot look for " + secret)
		}
		return Identity{Subject: "user:1", Name: secret}, nil
	}, Log: logtext.Logger(io.Discard)})
	headers := asJSON + "\nAuthorization: Bearer " + secret + "\nX-API-Key: " + secret + "\nCookie: " + secret +
		"\nUser-Agent: " + secret + "\nReferer: http://x/" + secret + "\nX-Request-Id: \"" + secret + "\"\nX-Forwarded-For: " + secret + "\nOrigin: " + secret
	quoted := func(query string, variables any) string {
		b, err := json.Marshal(map[string]any{"query": query, "variables": variables, "extensions": map[string]string{"x": secret}})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	count := 0
	for _, header := range []string{headers, strings.Replace(headers, "Bearer", "bad", 1), strings.Replace(headers, "Bearer", "broken", 1), strings.Replace(headers, "application/json", secret, 1)} {
		for _, body := range []string{
			quoted(`query($n: ID!) { node(id: $n) { id } }`, map[string]any{"n": secret}),
			quoted(`query($n: Int) { echo(int: $n) }`, map[string]any{"n": secret}),
			quoted(`{ node(id: "`+secret+`") { id } }`, nil),
			quoted(`mutation { touch(name: "`+secret+`") }`, nil),
			quoted(`{ `+secret+` }`, nil),
			quoted(`{ hello # `+secret+"\n}", nil),
			quoted(`{ `+secret+`: hello }`, nil),
			quoted(`{ fail(how: PLAIN) }`, secret),
			quoted(`{ fail(how: PANIC) }`, nil),
			quoted(`{ fail(how: SLOW) }`, nil),
			`{"query": "` + secret,
			secret,
			"",
		} {
			w.ask("POST", "/graphql?query="+secret+"&"+secret, header, body)
			w.ask("GET", "/graphql?query="+url.QueryEscape(`{node(id:"`+secret+`"){id}}`)+"&variables="+url.QueryEscape(`{"x":"`+secret+`"}`), header, "")
			w.ask("PUT", "/graphql?"+secret, header, body)
			count += 3
		}
	}
	lines, text := logged(t, w, path)
	if len(lines) != count {
		t.Errorf("%d lines of %d requests", len(lines), count)
	}
	if at := strings.Index(text, secret); at >= 0 {
		t.Errorf("%s", text[max(0, at-300):min(len(text), at+50)])
	}
}

// A batch is one line, with what each of its operations is, and what holds a mutation
// anywhere is not compressed.
func TestAccessLogOfABatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	w := newTestWorker(t, Config{AccessLog: path, MaxBatch: 20})
	token := strings.Repeat("token", 1000)
	one := `{"query":"query A {hello}"},{"query":"{nope}"},{"query":"mutation M {touch(name: \"` + token + `\")}"}`
	ctx := w.ask("POST", "/graphql", asJSON+"\nAccept-Encoding: gzip", "["+one+"]")
	if body := ctx.Response.Body(); len(ctx.Response.Header.ContentEncoding()) > 0 || !bytes.Contains(body, []byte(token)) {
		t.Errorf("%s %.200s", &ctx.Response.Header, body)
	}
	w.ask("POST", "/graphql", asJSON, "["+strings.Repeat(`{"query":"{hello}"},`, 14)+`{"query":"{hello}"}]`)
	lines, text := logged(t, w, path)
	if len(lines) != 2 {
		t.Fatal(text)
	}
	batch := lines[0]["batch"].([]any)
	got := ""
	for _, o := range batch {
		o := o.(map[string]any)
		got += fmt.Sprint(o["operation"], " ", o["kind"], " ", o["persisted"], "; ")
	}
	if want := "A query false;  <nil> false; M mutation false; "; got != want || lines[0]["batch_size"] != 3.0 || fmt.Sprint(lines[0]["errors"]) != "[GRAPHQL_VALIDATION_FAILED]" {
		t.Errorf("%s: %v", got, lines[0])
	}
	if lines[1]["batch_size"] != 15.0 || len(lines[1]["batch"].([]any)) != accessBatch {
		t.Errorf("%v", lines[1])
	}
	if strings.Contains(text, token) {
		t.Error("a literal is in the log")
	}
}

// Of what is sampled, all that fails, is refused or takes long is logged all the same.
// The time that a client takes to send a body is not the server's, and what answers a
// HEAD has no body.
func TestAccessLogOfWhatIsSent(t *testing.T) {
	const pause = time.Second
	path := filepath.Join(t.TempDir(), "access.log")
	w := newTestWorker(t, Config{AccessLog: path})
	address := w.serveTest(t)
	const half = 10 << 10 // more than the server waits for
	body := `{"query":"{hello}"}` + strings.Repeat(" ", 2*half)
	conn := send(t, address, lengthed(len(body), body[:half]))
	time.Sleep(pause) // it is slow
	if _, err := io.WriteString(conn, body[half:]); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := receive(t, conn); status != 200 {
		t.Fatal(status)
	}
	exchangeRaw(t, address, "HEAD /graphql?query={hello} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nApollo-Require-Preflight: 1\r\n\r\n")
	lines, text := logged(t, w, path)
	if len(lines) != 2 {
		t.Fatal(text)
	}
	if took := lines[0]["duration_ms"].(float64); took >= float64(pause.Milliseconds()) {
		t.Errorf("it took %v ms", took)
	}
	if lines[1]["status"] != 200.0 || lines[1]["bytes"] != 0.0 {
		t.Errorf("%v", lines[1])
	}
}

func TestAccessLogSample(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	root := newTestRoot()
	w := newTestWorker(t, Config{
		Resolver: root, AccessLog: path, AccessLogSample: 1e-9, AccessLogSlow: time.Hour, ExecutionTimeout: time.Second,
		Log: logtext.Logger(io.Discard),
		Identify: func(_ context.Context, c Credentials) (Identity, error) {
			return Identity{}, NewError(CodeUnauthenticated, "no")
		},
		Handlers: map[string]fasthttp.RequestHandler{"/panic": func(*fasthttp.RequestCtx) { panic("x") }},
	})
	for range 100 {
		w.ask("POST", "/graphql", asJSON, `{"query":"{hello}"}`)
	}
	w.ask("GET", "/panic", "", "")
	w.ask("POST", "/graphql", asJSON, `{"query":"{fail(how: SLOW)}"}`)
	w.ask("POST", "/graphql", asJSON, `{"query":"{fail(how: PLAIN)}"}`)
	w.ask("POST", "/graphql", asJSON+"\nX-API-Key: k", `{"query":"{hello}"}`)
	lines, text := logged(t, w, path)
	if len(lines) != 4 {
		t.Errorf("%d lines: %s", len(lines), text)
	}
	slow := newTestWorker(t, Config{AccessLog: path + "1", AccessLogSample: 1e-9, AccessLogSlow: 1})
	for _, target := range []string{"/graphql?query={hello}", "/livez"} {
		slow.ask("GET", target, "", "")
	}
	if lines, text := logged(t, slow, path+"1"); len(lines) != 2 {
		t.Errorf("slow: %s", text)
	}
	some := newTestWorker(t, Config{AccessLog: path + "2", AccessLogSample: 0.5})
	for range 1000 {
		some.ask("POST", "/graphql", asJSON, `{"query":"{hello}"}`)
	}
	if lines, _ := logged(t, some, path+"2"); len(lines) < 350 || len(lines) > 650 {
		t.Errorf("%d of 1000 for one in two", len(lines))
	}
}

// Two workers write into one file, which is renamed and then removed meanwhile, and
// no line is lost or in two pieces.
func TestAccessLogRotates(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "access.log")
	var all []*Worker
	for range 2 {
		all = append(all, newTestWorker(t, Config{AccessLog: path}))
	}
	read := func(name string) (n int) {
		data, _ := os.ReadFile(filepath.Join(dir, name))
		data = data[:bytes.LastIndexByte(data, '\n')+1] // the next may be on its way
		for line := range strings.Lines(string(data)) {
			if !json.Valid([]byte(line)) {
				t.Errorf("%q", line)
			}
			n++
		}
		return n
	}
	const each = 1500 // more than is written in one go
	ask := func() {
		var g sync.WaitGroup
		for _, w := range all {
			g.Go(func() {
				for range each {
					w.ask("POST", "/graphql", asJSON, `{"query":"{hello}"}`)
				}
			})
		}
		g.Wait()
	}
	ask()
	waitUntil(t, func() bool { return read("access.log") == 2*each })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	ask()
	waitUntil(t, func() bool { return read("access.log") == 2*each })
	if n := read("access.log.1"); n != 2*each {
		t.Errorf("%d lines in the renamed one", n)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	all[0].ask("POST", "/graphql", asJSON, `{"query":"{hello}"}`)
	for _, w := range all {
		w.Close()
	}
	if n := read("access.log"); n != 1 {
		t.Errorf("%d lines after it was removed", n)
	}
}

// stuck is a disk that takes nothing until it is told to.
type stuck struct {
	mu   sync.Mutex
	fail bool
	out  bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		n, _ := s.out.Write(p[:min(len(p), 10)]) // a full disk takes a piece
		return n, errors.New("no space left on device")
	}
	return s.out.Write(p)
}

// Much at once is written at once, and does not wait for the second to be over.
func TestAccessLogInAHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &stuck{}
		l := testAccessLog(disk, logtext.Logger(io.Discard))
		for range 3 * accessFlush / 150 {
			l.log(new(fasthttp.RequestCtx), &envelope{began: time.Now(), id: []byte("x")}, 0)
		}
		synctest.Wait()
		disk.mu.Lock()
		n := disk.out.Len()
		disk.mu.Unlock()
		if n < accessFlush {
			t.Errorf("%d bytes written", n)
		}
		l.close()
	})
}

func testAccessLog(out io.Writer, say *slog.Logger) *accessLog {
	l := &accessLog{sample: 1, out: out, say: say, full: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	go l.run()
	return l
}

// A disk that is full costs no request anything. What is lost is counted, the log
// says so, and so does the next line that can be written.
func TestAccessLogOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &stuck{fail: true}
		var said bytes.Buffer
		l := testAccessLog(disk, logtext.Logger(&said))
		request := func() {
			l.log(new(fasthttp.RequestCtx), &envelope{began: time.Now(), id: []byte("x")}, 0)
		}
		for range 5 {
			request()
			request()
			time.Sleep(2 * accessInterval)
		}
		disk.mu.Lock()
		disk.fail = false
		disk.mu.Unlock()
		request()
		time.Sleep(2 * accessInterval)
		l.close()
		if got := said.String(); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "warning: the access log cannot be written, 2 lines are lost so far: no space left") {
			t.Errorf("said %q", got)
		}
		lines := strings.Split(strings.TrimSpace(disk.out.String()), "\n")
		last := lines[len(lines)-2:]
		if !strings.Contains(last[0], `"lost":10}`) || !json.Valid([]byte(last[0])) || !json.Valid([]byte(last[1])) || !strings.Contains(last[1], "request_id") {
			t.Errorf("%q", lines)
		}
	})
}

// A reader of standard output that is stuck costs no request anything either, nor
// much memory.
func TestAccessLogToNobody(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := testAccessLog(w, logtext.Logger(io.Discard))
	for range 30_000 {
		l.log(new(fasthttp.RequestCtx), &envelope{began: time.Now(), id: []byte("x")}, 0)
	}
	l.mu.Lock()
	if l.lost == 0 || len(l.pending) > accessBuffer {
		t.Errorf("%d lost, %d bytes wait", l.lost, len(l.pending))
	}
	l.mu.Unlock()
	r.Close() // the write fails
	l.close()
	w.Close()
}

func TestAccessLogThatCannotBe(t *testing.T) {
	for _, c := range []Config{
		{AccessLog: filepath.Join(t.TempDir(), "none", "access.log")},
		{AccessLog: t.TempDir()},
		{AccessLog: "-", AccessLogSample: 2},
		{AccessLog: "-", AccessLogSample: -1},
	} {
		c.Schema, c.Resolver = testSchema, newTestRoot()
		_, err := New(c)
		var advice interface{ Hint() string }
		if err == nil || !errors.As(err, &advice) {
			t.Errorf("%s: %v", c.AccessLog, err)
		}
	}
	if w := newTestWorker(t, Config{AccessLog: "off"}); w.access != nil {
		t.Error("off is a file")
	}
}

// BenchmarkAccessLog is what a line costs the request.
func BenchmarkAccessLog(b *testing.B) {
	w := newTestWorker(b, Config{AccessLog: filepath.Join(b.TempDir(), "access.log")})
	ctx := new(fasthttp.RequestCtx)
	x := &envelope{began: time.Now(), id: []byte("0123456789abcdef")}
	b.ReportAllocs()
	for b.Loop() {
		w.access.log(ctx, x, time.Since(x.began))
	}
}
