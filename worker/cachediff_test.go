package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	graphql "github.com/graph-gophers/graphql-go"
)

// wireRoot is hitRoot with a version for each thing; what has no id shows how many changes
// there were.
type wireRoot struct {
	mu       sync.Mutex
	versions map[string]int
	changes  int
}

func (r *wireRoot) make(id string, of *int) *hitThing {
	r.mu.Lock()
	defer r.mu.Unlock()
	version := r.changes
	if of == nil {
		version = r.versions[strings.ToLower(id)]
	}
	root := new(hitRoot)
	root.version.Store(int32(version))
	return root.make(id)
}
func (r *wireRoot) Thing(args struct{ ID graphql.ID }) *hitThing { return r.make(string(args.ID), nil) }
func (r *wireRoot) Things(args struct{ First int32 }) (list []*hitThing) {
	for i := range args.First {
		list = append(list, r.make(strconv.Itoa(int(i)), &r.changes))
	}
	return list
}
func (r *wireRoot) Readers(ctx context.Context) *hitThing {
	return r.make("for a reader or more, "+CallerFrom(ctx).Identity.Role, &r.changes)
}
func (r *wireRoot) Mine(ctx context.Context) *hitThing {
	return r.make("of "+CallerFrom(ctx).Identity.Subject, &r.changes)
}
func (r *wireRoot) Never() *hitThing           { return r.make("never", &r.changes) }
func (r *wireRoot) Broken() (*hitThing, error) { return nil, errors.New("broken") }
func (r *wireRoot) Change(ctx context.Context, args struct{ ID graphql.ID }) *hitThing {
	r.mu.Lock()
	r.versions[strings.ToLower(string(args.ID))]++
	r.changes++
	r.mu.Unlock()
	Invalidate(ctx, "Thing:list", CacheTag("Thing", string(args.ID)))
	return r.make(string(args.ID), nil)
}

// wireRequest is one as clients, and those who mean harm, send them: whole bytes.
func wireRequest(r *rand.Rand) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	body := hitParts.queries[r.IntN(len(hitParts.queries))]
	switch r.IntN(8) {
	case 0: // JSON that says a thing twice, or something behind it
		body = pick(
			`{"query":"{ thing(id: \"1\") { name } }","query":"{ mine { name } }"}`,
			`{"query":"{ mine { name } }","query":"{ thing(id: \"1\") { name } }"}`,
			`{"query":"query Q($id: ID!) { thing(id: $id) { name } }","variables":{"id":"1","id":"2"}}`,
			`{"query":"query Q($id: ID!) { thing(id: $id) { name } }","variables":{"id":"1"},"variables":{"id":"2"}}`,
			`{"query":"{ thing(id: \"1\") { name } }"} x`,
			`{"query":"{ thing(id: \"1\") { name } }"}{"query":"{ mine { name } }"}`,
			`{"Query":"{ thing(id: \"1\") { name } }"}`,
			"\xef\xbb\xbf"+`{"query":"{ mine { name } }"}`,
			`{"query":"{ thing(id: \"\u0031\") { name } }"}`,
			`{"query":"{ thing(id: \"*\") { id name } }"}`,
			`{"query":"{ thing(id: \"list\") { id name } }"}`,
			`{"query":"{ a: thing(id: \"1\") { name } b: mine { name } c: readers { name } }"}`,
			`[{"query":"{ mine { name } }"},{"query":"{ readers { name } }"},{"query":"{ thing(id: 1) { name } }"}]`,
			`{"query":"{ thing(id: \"1\") { name } }","padding":"`+strings.Repeat("x", r.IntN(12<<10))+`"}`,
		)
	case 1:
		body = `{"query":"mutation { change(id: 1) { name } }"}`
	}
	var lines []string
	for i, group := range hitParts.headers {
		if i == 4 { // If-None-Match: without a cache nothing has an ETag
			continue
		}
		line := group[0]
		if i == 3 || r.IntN(6) == 0 {
			line = group[r.IntN(len(group))]
		}
		lines = append(lines, line)
	}
	if r.IntN(6) == 0 {
		lines = append(lines, pick("Cache-Control: no-cache", "Cache-Control: no-store", "Cache-Control: only-if-cached", "Pragma: no-cache", "Range: bytes=0-3",
			"If-Modified-Since: Sun, 29 Nov 2026 00:00:00 GMT", "Connection: keep-alive", "Host: evil", "TE: trailers", "X-HTTP-Method-Override: GET",
			"Accept-Charset: latin-1", "X_API_KEY: key", "X-API-Key : key", "Proxy-Authorization: Bearer admin", "Cookie: Authorization=Bearer admin", "X-Forwarded-For: 203.0.113.9, 127.0.0.1"))
	}
	method := []string{"POST", "POST", "POST", "GET", "HEAD", "PUT"}[r.IntN(6)]
	text := hitText(method, body, lines, "")
	if method == "POST" {
		length := fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body))
		switch r.IntN(12) {
		case 0:
			at := r.IntN(len(body) + 1)
			chunks := ""
			for _, c := range []string{body[:at], body[at:], ""} {
				if c != "" || chunks != "" {
					chunks += fmt.Sprintf("%x\r\n%s\r\n", len(c), c)
				}
				if c == "" && chunks != "" {
					break
				}
			}
			if !strings.HasSuffix(chunks, "0\r\n\r\n") {
				chunks += "0\r\n\r\n"
			}
			text = strings.Replace(text, length+body, "Transfer-Encoding: chunked\r\n\r\n"+chunks, 1)
		case 1:
			text = strings.Replace(text, length, "Expect: 100-continue\r\n"+length, 1)
		case 2: // it ends early
			if len(body) > 1 {
				text = strings.Replace(text, length+body, fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body)+r.IntN(20), body), 1)
			}
		case 3:
			text = strings.Replace(text, "POST /graphql", pick("POST /graphql?query=%7Bmine%7Bname%7D%7D", "POST //graphql", "POST /GRAPHQL", "POST http://other/graphql", "post /graphql", "POST /graphql/", "POST /x/../graphql"), 1)
		}
	}
	return text
}

// wireAnswers are all answers to what is sent on one connection, without what a cache adds.
func wireAnswers(t *testing.T, address string, requests []string) (shown []string, cached int) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, strings.Join(requests, ""))
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	in := bufio.NewReader(c)
	for i := 0; ; i++ {
		var q *http.Request
		if i < len(requests) {
			method, _, _ := strings.Cut(requests[i], " ")
			q = &http.Request{Method: method}
		}
		a, err := http.ReadResponse(in, q)
		if err != nil {
			return shown, cached
		}
		if a.StatusCode == http.StatusContinue {
			i--
			continue
		}
		body, err := io.ReadAll(a.Body)
		if err != nil {
			shown = append(shown, "cut")
			return shown, cached
		}
		if a.Header.Get("Age") != "" {
			cached++
			// Who shows credentials, or asks for what is his own, gets nothing public.
			if i < len(requests) {
				head, _, _ := strings.Cut(strings.ToLower(requests[i]), "\r\n\r\n")
				if control := a.Header.Get("Cache-Control"); strings.Contains(control, "public") &&
					(strings.Contains(head, "\r\nauthorization: bearer") || strings.Contains(head, "\r\nx-api-key: ") || strings.Contains(string(body), " of ")) {
					t.Errorf("%s to\n%s\n%s", control, requests[i], body)
				}
			}
		} else if control := a.Header.Get("Cache-Control"); control != "no-store" && !strings.Contains(control, "must-revalidate") && !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
			t.Errorf("an answer that is not kept has Cache-Control %q", control)
		}
		var lines []string
		for name, values := range a.Header {
			switch name {
			case "Date", "Age", "Cache-Control", "Etag", "Cache-Tag", "X-Request-Id":
				continue
			case "Vary": // an answer that is kept depends on who asks, too
				values = slices.DeleteFunc(values, func(v string) bool { return v == string(valueVaryWho) })
				slices.Sort(values)
			}
			lines = append(lines, fmt.Sprint(name, values))
		}
		slices.Sort(lines)
		shown = append(shown, fmt.Sprintf("%d close %v\n%s\n%s", a.StatusCode, a.Close, strings.Join(lines, "\n"), body))
	}
}

// Whatever is sent, and in whatever pieces, a worker with a cache answers as one without.
func TestWhatIsCachedIsAsWithoutACache(t *testing.T) {
	var addresses [2]string
	for i := range addresses {
		w := newHitWorker(t, func(made *Config) {
			made.Resolver = &wireRoot{versions: map[string]int{}}
			made.CORSOrigins, made.MaxBatch, made.TrustedProxies = []string{"https://app.example.org"}, 3, []string{"127.0.0.0/8"}
			if i == 1 {
				made.Cache = nil
			}
		})
		addresses[i] = w.serveTest(t)
	}
	cached, all := 0, 0
	for seed := range uint64(wireSeeds) {
		r := rand.New(rand.NewPCG(seed, 7))
		var recent []string
		for range 60 {
			var requests []string
			for range 1 + r.IntN(6) {
				if len(recent) < 4 || r.IntN(5) == 0 {
					recent = append(recent, wireRequest(r))
					recent = recent[max(len(recent)-10, 0):]
				}
				requests = append(requests, recent[r.IntN(len(recent))])
			}
			got, n := wireAnswers(t, addresses[0], requests)
			want, _ := wireAnswers(t, addresses[1], requests)
			cached, all = cached+n, all+len(got)
			if !slices.Equal(got, want) {
				at := 0
				for at < min(len(got), len(want)) && got[at] == want[at] {
					at++
				}
				of := func(list []string) string {
					if at < len(list) {
						return list[at]
					}
					return "nothing"
				}
				t.Fatalf("seed %d: answer %d to\n%q\n\nwith a cache:\n%s\n\nwithout:\n%s", seed, at, requests, of(got), of(want))
			}
		}
	}
	if cached < all/10 {
		t.Errorf("%d of %d answers came from the cache: that shows little", cached, all)
	}
	t.Logf("%d of %d", cached, all)
}

const wireSeeds = 10
