package worker

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/hostmem"
	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/logtext"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"
)

// BenchmarkNew is what a start costs besides the program's own.
func BenchmarkNew(b *testing.B) {
	c := Config{Schema: `type Query { hello(name: String! = "world"): String! }`, Resolver: &benchRoot{}, Log: logtext.Logger(io.Discard)}
	for b.Loop() {
		w, err := New(c)
		if err != nil {
			b.Fatal(err)
		}
		w.Close()
	}
}

type benchRoot struct{}

func (*benchRoot) Hello(args struct{ Name string }) string { return args.Name }

// BenchmarkPlan is one look at a document: the first, and every further one.
func BenchmarkPlan(b *testing.B) {
	const doc = `query Q($f: Int) { nodes { id ... on Actor { name friends(first: $f) { id name } } } }`
	w := newTestWorker(b, Config{})
	b.Run("miss", func(b *testing.B) {
		for b.Loop() {
			if _, errs := w.planner.make(doc, ""); errs != nil {
				b.Fatal(errs[0])
			}
		}
	})
	b.Run("hit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, errs := w.planner.plan(b.Context(), doc, ""); errs != nil {
				b.Fatal(errs[0])
			}
		}
	})
}

// BenchmarkRequest is the way of a request on a kept connection, from the client's
// write to its read, in memory.
func BenchmarkRequest(b *testing.B) {
	limits := map[string][]RateLimit{"": nil, "/limited": {
		{Name: "identity", Limit: 1_000_000, Window: time.Second, Burst: 1_000_000_000},
		{Name: "touch", Per: []string{"ip", "argument:name"}, Fields: []string{"Mutation.touch"}, Limit: 5, Window: time.Minute},
		{Name: "touch-address", Per: []string{"ip"}, Fields: []string{"Mutation.touch"}, Limit: 30, Window: time.Minute},
	}}
	for _, bench := range []struct{ name, request string }{
		{"livez", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"get", "GET /graphql?query={hello} HTTP/1.1\r\nHost: x\r\nApollo-Require-Preflight: yes\r\n\r\n"},
		{"post", postOf(`{"query":"{hello}"}`)},
		{"variables", postOf(`{"query":"query($n: ID!) { node(id: $n) { id ... on Actor { name } } }","variables":{"n":"x"}}`)},
		{"list", postOf(`{"query":"{nodes { id ... on Actor { name friends(first: 20) { id name } } } }"}`)},
	} {
		for _, with := range []string{"", "/limited"} {
			if bench.name == "livez" && with != "" {
				continue
			}
			b.Run(bench.name+with, func(b *testing.B) {
				config := Config{RateLimits: limits[with]}
				if with != "" {
					config.Limiter = newHostLimiter(b)
				}
				w := newTestWorker(b, config)
				l := fasthttputil.NewInmemoryListener()
				go w.Serve(l)
				defer l.Close()
				c, err := l.Dial()
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				r := bufio.NewReader(c)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := io.WriteString(c, bench.request); err != nil {
						b.Fatal(err)
					}
					readAnswer(b, r)
				}
			})
		}
	}
}

// newHostLimiter is one in memory of this process's own.
func newHostLimiter(t testing.TB) limiter.Limiter {
	t.Helper()
	m, err := hostmem.Anonymous(1 << 10)
	if err != nil {
		t.Fatal(err)
	}
	l, err := limiter.NewHost(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// BenchmarkCounting is what counting costs a worker: the same requests with it and without take
// turns, so that what else the machine does is the same for both. %more is by how much longer they
// take with it; that of "one by one" is what clients see, and may be 1. Pipelined there are hardly
// any system calls, and it is the most that it can be.
//
//	GOMAXPROCS=2 go test ./worker -run '^$' -bench Counting -benchtime 30s
func BenchmarkCounting(b *testing.B) {
	for _, c := range []struct {
		name, text string
		together   int
	}{
		{"hit/one by one", hitText("POST", hitParts.queries[0], []string{asJSON}, ""), 1},
		{"hit/pipelined", hitText("POST", hitParts.queries[0], []string{asJSON}, ""), 50},
		{"whole way/one by one", hitText("POST", `{"query":"{ never { name } }"}`, []string{asJSON}, ""), 1},
		{"whole way/pipelined", hitText("POST", `{"query":"{ never { name } }"}`, []string{asJSON}, ""), 50},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newHitWorker(b, nil)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			go w.Serve(l)
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			text, in := []byte(strings.Repeat(c.text, c.together)), make([]byte, 64<<10)
			lines := 0 // of an answer to be read, whose body has none
			ask := func() {
				if _, err := conn.Write(text); err != nil {
					b.Fatal(err)
				}
				for read := 0; read < lines*c.together; {
					n, err := conn.Read(in)
					if err != nil {
						b.Fatal(err)
					}
					read += bytes.Count(in[:n], []byte("\n"))
				}
			}
			for range 3 { // the third is a hit
				if _, err := io.WriteString(conn, c.text); err != nil {
					b.Fatal(err)
				}
				lines = 0
				r := bufio.NewReader(conn)
				for end := false; !end; lines++ {
					line, err := r.ReadString('\n')
					if err != nil {
						b.Fatal(err)
					}
					end = line == "\r\n"
				}
				_, _ = r.Discard(r.Buffered())
			}
			for range 1000 {
				ask()
			}
			var took [2]time.Duration
			turn := max(400/c.together, 4)
			for i := 0; b.Loop(); i++ {
				w.counting.off = i%2 == 0
				began := time.Now()
				for range turn {
					ask()
				}
				took[i%2] += time.Since(began)
			}
			n := float64(b.N / 2 * turn * c.together)
			b.ReportMetric(float64(took[0].Nanoseconds())/n, "ns/without")
			b.ReportMetric(float64(took[1].Nanoseconds())/n, "ns/with")
			b.ReportMetric((float64(took[1])/float64(took[0])-1)*100, "%more")
		})
	}
}

// BenchmarkCount is what counting a hit costs by itself.
func BenchmarkCount(b *testing.B) {
	w := newHitWorker(b, nil)
	ctx := new(fasthttp.RequestCtx)
	ctx.Response.SetBodyString("answer")
	e := &envelope{counts: w.counting.shard(), known: new(known), began: time.Now()}
	e.arrival.size = 100
	b.ReportAllocs()
	for b.Loop() {
		w.count(ctx, e, time.Since(e.began))
	}
}

// BenchmarkMetricsPage is what it costs to tell all that is counted.
func BenchmarkMetricsPage(b *testing.B) {
	w := newHitWorker(b, func(c *Config) {
		c.Limiter = newHostLimiter(b)
		c.RateLimits = []RateLimit{perMinute("identity", 2)}
	})
	b.ReportAllocs()
	for b.Loop() {
		w.appendMetrics(nil)
	}
}

// readAnswer reads one, without an allocation: those that are counted are the
// worker's.
func readAnswer(b *testing.B, r *bufio.Reader) {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil || first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			b.Fatalf("%q, %v", line, err)
		}
		if text, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(text)))
		}
		if len(line) == 2 {
			break
		}
	}
	if n, err := r.Discard(length); err != nil || n < 0 {
		b.Fatal(err)
	}
}

func postOf(body string) string {
	var b strings.Builder
	req, _ := http.NewRequest("POST", "http://x/graphql", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	_ = req.Write(&b)
	return b.String()
}

// BenchmarkHit is what a hit of the response cache costs besides HTTP.
func BenchmarkHit(b *testing.B) {
	w := newHitWorker(b, func(c *Config) {
		c.Limiter = newHostLimiter(b)
		c.RateLimits = []RateLimit{{Name: "identity", Limit: 1_000_000, Window: time.Second, Burst: 1_000_000_000}}
	})
	variables := func(i int) string {
		return `{"query":"query Q($id: ID!, $n: Int) { thing(id: $id) { name } things(first: $n) { name } }","variables":{"id":"` + strconv.Itoa(i) + `","n":3}}`
	}
	bench := func(name, headers string, queries ...string) {
		b.Run(name, func(b *testing.B) {
			head := strings.Split(headers, "\n")
			var req fasthttp.Request
			for _, query := range queries {
				text := hitText("POST", query, head, "")
				for range 3 {
					w.askRaw(b, text)
				}
				if err := req.Read(bufio.NewReader(strings.NewReader(text))); err != nil {
					b.Fatal(err)
				}
			}
			ctx := new(fasthttp.RequestCtx)
			ctx.Init(&req, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, nil)
			bodies := make([][]byte, len(queries))
			for i := range queries {
				bodies[i] = []byte(queries[i])
			}
			hits, i := 0, 0
			handler := func(ctx *fasthttp.RequestCtx) {
				if w.serveHit(ctx) {
					hits++
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				ctx.Request.SetBodyRaw(bodies[i*7919%len(bodies)]) // in no order
				i++
				ctx.Response.Reset()
				w.serveEnveloped(ctx, handler)
			}
			if hits < i*9/10 {
				b.Fatalf("%d hits of %d", hits, i)
			}
		})
	}
	bench("anonymous", asJSON, hitParts.queries[0])
	bench("token", asJSON+"\nAuthorization: Bearer reader", hitParts.queries[0])
	bench("role", asJSON+"\nAuthorization: Bearer reader", hitParts.queries[12])
	bench("private", asJSON+"\nAuthorization: Bearer reader", hitParts.queries[13])
	bench("compressed", asJSON+"\nAccept-Encoding: gzip, deflate, br", hitParts.queries[1])
	var many []string
	for i := range 10_000 {
		many = append(many, variables(i))
	}
	bench("of 10,000", asJSON, many...)
}
