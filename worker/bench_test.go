package worker

import (
	"bufio"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp/fasthttputil"
)

// BenchmarkNew is what a start costs besides the program's own.
func BenchmarkNew(b *testing.B) {
	c := Config{Schema: `type Query { hello(name: String! = "world"): String! }`, Resolver: &benchRoot{}, Log: log.New(io.Discard, "", 0)}
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
	for _, bench := range []struct{ name, request string }{
		{"livez", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"get", "GET /graphql?query={hello} HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"post", postOf(`{"query":"{hello}"}`)},
		{"variables", postOf(`{"query":"query($n: ID!) { node(id: $n) { id ... on Actor { name } } }","variables":{"n":"x"}}`)},
		{"list", postOf(`{"query":"{nodes { id ... on Actor { name friends(first: 20) { id name } } } }"}`)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			w := newTestWorker(b, Config{})
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
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					b.Fatal(err)
				}
				if resp.StatusCode != 200 {
					b.Fatal(resp.Status)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func postOf(body string) string {
	var b strings.Builder
	req, _ := http.NewRequest("POST", "http://x/graphql", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	_ = req.Write(&b)
	return b.String()
}
