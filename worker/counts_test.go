package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	graphql "github.com/graph-gophers/graphql-go"
	"github.com/valyala/fasthttp"
	"pgregory.net/rapid"

	"github.com/nekoctl/neko/histogram"
)

// counted are the metrics of a worker, by their series.
func (w *Worker) counted(t interface{ Fatal(...any) }) map[string]float64 {
	return seriesOf(t, string(w.appendMetrics(nil)))
}

func seriesOf(t interface{ Fatal(...any) }, text string) map[string]float64 {
	all := map[string]float64{}
	for line := range strings.Lines(text) {
		if line[0] == '#' {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
		if err != nil {
			t.Fatal(err, line)
		}
		all[line[:at]] = v
	}
	return all
}

// countRoot is hitRoot, and what takes too long or breaks.
type countRoot struct{ hitRoot }

func (*countRoot) Slow(ctx context.Context) (*hitThing, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
func (*countRoot) Boom() *hitThing { panic("boom") }
func (*countRoot) Away() (*hitThing, error) {
	return nil, NewError(CodeUnavailable, "the store is away")
}
func (*countRoot) Own() (*hitThing, error) { return nil, NewError("NO_CREDIT", "the account is empty") }

func newCountWorker(t testing.TB, change func(*Config)) *Worker {
	return newHitWorker(t, func(c *Config) {
		c.Schema = strings.Replace(hitSchema, "never: Thing", "never: Thing slow: Thing boom: Thing away: Thing own: Thing", 1)
		c.Resolver = &countRoot{}
		c.SchemaOptions = []graphql.SchemaOpt{graphql.UseFieldResolvers()}
		c.ExecutionTimeout, c.MaxBody, c.MaxBatch = 20*time.Millisecond, 20_000, 3
		c.Limiter = newHostLimiter(t)
		c.RateLimits = []RateLimit{{Name: "few", Fields: []string{"Query.readers"}, Limit: 5, Window: 700 * time.Hour}}
		c.CORSOrigins = []string{"https://app.example.org"}
		c.Handlers = map[string]fasthttp.RequestHandler{
			"/own":   func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(299); ctx.SetBodyString("own") },
			"/panic": func(*fasthttp.RequestCtx) { panic("a handler") },
			"/odd":   func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(999); ctx.SetBodyString("odd") },
			"/stream": func(ctx *fasthttp.RequestCtx) {
				ctx.SetBodyStream(strings.NewReader(strings.Repeat("s", 5000)), 5000)
			},
		}
		if change != nil {
			change(c)
		}
	})
}

// asking is a request as it is sent, and who is to answer it.
type asking struct {
	text    string
	method  string
	handler handlerKind
}

var kindOfAsking = map[string]func(t *rapid.T, w *Worker) asking{
	"GraphQL": func(t *rapid.T, _ *Worker) asking {
		text := hitRequest(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") }, `W/"x"`)
		method, _, _ := strings.Cut(text, " ")
		if method == "HEAD" { // whose errors nobody sees
			text = "GET" + strings.TrimPrefix(text, "HEAD")
			method = "GET"
		}
		return asking{text, method, handlerGraphQL}
	},
	"HEAD": func(*rapid.T, *Worker) asking {
		return asking{"HEAD /graphql?query={things{id}} HTTP/1.1\r\nHost: x\r\nApollo-Require-Preflight: yes\r\n\r\n", "HEAD", handlerGraphQL}
	},
	"an operation that fails": func(t *rapid.T, _ *Worker) asking {
		q := rapid.SampledFrom([]string{"{slow{id}}", "{boom{id}}", "{away{id}}", "{own{id}}", "{broken{id}}", "{own{id}things{id}}", "{broken{id} away{id}}"}).Draw(t, "query")
		return asking{hitText("POST", `{"query":"`+q+`"}`, []string{asJSON}, ""), "POST", handlerGraphQL}
	},
	"a batch": func(t *rapid.T, _ *Worker) asking {
		var list []string
		for range rapid.IntRange(1, 4).Draw(t, "operations") {
			list = append(list, rapid.SampledFrom([]string{
				`{"query":"{things{id}}"}`, `{"query":"{readers{id}}"}`, `{"query":"{own{id}}"}`, `{"query":"{away{id}}"}`, `{"query":"mutation{change(id:1){id}}"}`, `{"query":"{"}`, `{"query":""}`, persistedHit(false),
			}).Draw(t, "operation"))
		}
		return asking{hitText("POST", "["+strings.Join(list, ",")+"]", []string{asJSON, "Authorization: Bearer reader"}, ""), "POST", handlerGraphQL}
	},
	"what it may not, too often": func(t *rapid.T, _ *Worker) asking {
		return asking{hitText("POST", `{"query":"{readers{id}}"}`, []string{asJSON, rapid.SampledFrom([]string{"Authorization: Bearer reader", ""}).Draw(t, "who")}, ""), "POST", handlerGraphQL}
	},
	"a probe": func(t *rapid.T, _ *Worker) asking {
		method := rapid.SampledFrom([]string{"GET", "HEAD", "PUT"}).Draw(t, "method")
		return asking{method + " " + rapid.SampledFrom([]string{livezPath, readyzPath, readyzPath + "?verbose", healthPath}).Draw(t, "probe") + " HTTP/1.1\r\nHost: x\r\n\r\n", method, handlerProbe}
	},
	"another path": func(t *rapid.T, _ *Worker) asking {
		method := rapid.SampledFrom([]string{"GET", "HEAD", "DELETE"}).Draw(t, "method")
		return asking{method + " " + rapid.SampledFrom([]string{"/", "/own", "/panic", "/odd", "/stream", "/graphql/", "/nothing?here", "/livezz"}).Draw(t, "path") + " HTTP/1.1\r\nHost: x\r\n\r\n", method, handlerOther}
	},
	"a question of a browser": func(t *rapid.T, _ *Worker) asking {
		return asking{"OPTIONS /graphql HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example.org\r\nAccess-Control-Request-Method: POST\r\n\r\n", "OPTIONS", handlerGraphQL}
	},
	"a browser": func(t *rapid.T, _ *Worker) asking {
		return asking{"GET /graphql HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n", "GET", handlerGraphQL}
	},
	"a method that is none": func(t *rapid.T, _ *Worker) asking {
		return asking{"PATCH /graphql HTTP/1.1\r\nHost: x\r\n\r\n", "PATCH", handlerGraphQL}
	},
}

// lastAskings are requests after which the connection ends.
var lastAskings = map[string]func() asking{
	"a body that says that it is too large": func() asking {
		return asking{"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20001\r\n\r\n", "POST", handlerGraphQL}
	},
	"a body that gets too large": func() asking {
		return asking{"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("fff\r\n"+strings.Repeat("x", 0xfff)+"\r\n", 6) + "0\r\n\r\n", "POST", handlerGraphQL}
	},
	"nonsense": func() asking { return asking{"hello\r\n\r\n", "GET", handlerOther} },
	"a long header": func() asking {
		return asking{"GET /" + strings.Repeat("x", 20_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", "GET", handlerOther}
	},
	"half a header": func() asking { return asking{"GET /livez HTTP/1.1\r\nHos", "GET", handlerOther} },
	"half a body": func() asking {
		return asking{"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n{", "POST", handlerOther}
	},
	"half of a large body": func() asking {
		return asking{"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat(" ", 12_000), "POST", handlerGraphQL}
	},
	"a question before the body": func() asking {
		body := `{"query":"{things{id}}"}`
		return asking{fmt.Sprintf("POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n%s", len(body), body), "POST", handlerGraphQL}
	},
	"nothing": func() asking { return asking{} },
}

// tally of what a client has seen.
type seen struct {
	requests map[string]int // by handler and status
	errors   map[string]int
	bytes    int
	dialed   int
}

func (s *seen) read(t *rapid.T, r *bufio.Reader, a asking) (closed bool) {
	var resp *http.Response
	for {
		var err error
		if resp, err = http.ReadResponse(r, &http.Request{Method: a.method}); err != nil {
			t.Fatalf("%.300q: %v", a.text, err)
		}
		if resp.StatusCode != 100 {
			break
		}
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%.300q: %v", a.text, err)
	}
	code := strconv.Itoa(resp.StatusCode)
	if resp.StatusCode > 599 {
		code = "other"
	}
	s.requests[handlerNames[a.handler]+" "+code]++
	s.bytes += len(body)
	if a.handler == handlerGraphQL && strings.Contains(resp.Header.Get("Content-Type"), "json") && a.method != "HEAD" && len(body) > 0 {
		var plain fasthttp.Response
		plain.SetBodyRaw(body)
		plain.Header.Set("Content-Encoding", resp.Header.Get("Content-Encoding"))
		text, err := plain.BodyUncompressed()
		if err != nil {
			t.Fatal(err)
		}
		type answer struct {
			Errors []struct{ Extensions struct{ Code string } }
		}
		var list []answer
		if text[0] == '[' {
			err = json.Unmarshal(text, &list)
		} else {
			list = make([]answer, 1)
			err = json.Unmarshal(text, &list[0])
		}
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		for _, one := range list {
			for _, e := range one.Errors {
				code := e.Extensions.Code
				if !slices.Contains(knownCodes[:], Code(code)) {
					code = "other"
				}
				s.errors[code]++
			}
		}
	}
	return resp.Close
}

// Whatever clients send, what is counted is what they were answered: each request once, by the part of the
// worker that answered it and the status that the client has read, with each of its errors and each byte.
func TestCountsAreWhatClientsSee(test *testing.T) {
	w := newCountWorker(test, nil)
	address := w.serveTest(test)
	kinds, lasts := slices.Sorted(maps.Keys(kindOfAsking)), slices.Sorted(maps.Keys(lastAskings))
	rapid.Check(test, func(t *rapid.T) {
		waitUntil(test, func() bool { return w.drainer.open.Load() == 0 }) // also of a run that has failed
		before := w.counted(t)
		s := seen{requests: map[string]int{}, errors: map[string]int{}}
		for range rapid.IntRange(1, 4).Draw(t, "connections") {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			s.dialed++
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			r := bufio.NewReaderSize(conn, 64<<10)
			closed := false
			for range rapid.IntRange(0, 6).Draw(t, "rounds") {
				var together []asking // pipelined
				for range rapid.SampledFrom([]int{1, 1, 1, 3}).Draw(t, "together") {
					together = append(together, kindOfAsking[rapid.SampledFrom(kinds).Draw(t, "kind")](t, w))
				}
				var text []byte
				for _, a := range together {
					text = append(text, a.text...)
				}
				if _, err := conn.Write(text); err != nil {
					t.Fatal(err)
				}
				for _, a := range together {
					if closed = s.read(t, r, a); closed { // and nobody reads what was sent behind it
						break
					}
				}
				if closed {
					break
				}
			}
			if !closed {
				last := rapid.SampledFrom(lasts).Draw(t, "last")
				a := lastAskings[last]()
				_, err := io.WriteString(conn, a.text)
				switch {
				case err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE):
					t.Fatal(err)
				case a.text == "": // a balancer that looks whether somebody listens
				case strings.HasPrefix(last, "half") && rapid.Bool().Draw(t, "goes away"):
					_ = conn.(*net.TCPConn).SetLinger(0) // nobody has asked until the request is whole
				default:
					_ = conn.(*net.TCPConn).CloseWrite()
					s.read(t, r, a)
				}
			}
			conn.Close()
		}
		accepted := before["neko_http_connections_total"] + float64(s.dialed)
		waitUntil(test, func() bool { return float64(w.drainer.accepted.Load()) == accepted && w.drainer.open.Load() == 0 })
		after := w.counted(t)
		grown := func(series string) int { return int(after[series] - before[series]) }
		graphql := 0
		for series := range after {
			name, labels, _ := strings.Cut(series, "{")
			parts := strings.Split(labels, `"`)
			switch name {
			case "neko_http_requests_total":
				if n := s.requests[parts[1]+" "+parts[3]]; grown(series) != n {
					t.Errorf("%s has grown by %d, and clients have seen %d", series, grown(series), n)
				}
				delete(s.requests, parts[1]+" "+parts[3])
				if parts[1] == "graphql" {
					graphql += grown(series)
				}
			case "neko_graphql_errors_total":
				if n := s.errors[parts[1]]; grown(series) != n {
					t.Errorf("%s has grown by %d, and clients have seen %d", series, grown(series), n)
				}
			}
		}
		if len(s.requests) > 0 {
			t.Errorf("not counted at all: %v", s.requests)
		}
		for series, want := range map[string]int{
			`neko_http_request_duration_seconds_count{handler="graphql"}`:            graphql,
			`neko_http_request_duration_seconds_bucket{handler="graphql",le="+Inf"}`: graphql,
			"neko_http_response_bytes_total":                                         s.bytes,
			"neko_http_requests_in_flight":                                           0,
			"neko_http_connections_rejected_total":                                   0,
		} {
			if grown(series) != want {
				t.Errorf("%s has grown by %d, and not %d", series, grown(series), want)
			}
		}
	})
}

// What is counted of an operation, whichever way it went: what kind it is, what has become of it,
// with which errors, and whether its document was named and there.
func TestCountsOfOperations(t *testing.T) {
	hello, readers := `{"query":"{things{id}}"}`, `{"query":"{readers{id}}"}`
	for _, c := range []struct {
		what, query, headers string
		times                int // before it is looked at
		want                 string
	}{
		{"a query", hello, asJSON, 0, "query ok, a miss"},
		{"again", hello, asJSON, 1, "query ok, a plan"},
		{"a hit", hello, asJSON, 2, "query ok, a known request"},
		{"a mutation", `{"query":"mutation{change(id:1){id}}"}`, asJSON, 0, "mutation ok, a miss"},
		{"no JSON", `{`, asJSON, 0, "unknown rejected, BAD_REQUEST"},
		{"no query", `{}`, asJSON, 0, "unknown rejected, BAD_REQUEST"},
		{"another media type", hello, "Content-Type: text/xml", 0, "unknown rejected, UNSUPPORTED_MEDIA_TYPE"},
		{"nothing that it takes", hello, asJSON + "\nAccept: text/html", 0, "unknown rejected, NOT_ACCEPTABLE"},
		{"no document", `{"query":"{"}`, asJSON, 0, "unknown rejected, GRAPHQL_PARSE_FAILED, a miss"},
		{"no document, again", `{"query":"{"}`, asJSON, 1, "unknown rejected, GRAPHQL_PARSE_FAILED, a plan"},
		{"two errors", `{"query":"{no non}"}`, asJSON, 0, "unknown rejected, 2 GRAPHQL_VALIDATION_FAILED, a miss"},
		{"not allowed", readers, asJSON, 0, "query rejected, UNAUTHENTICATED, a miss"},
		{"nobody", hello, asJSON + "\nAuthorization: Bearer nobody", 0, "query rejected, UNAUTHENTICATED, a miss"},
		{"too often", readers, asJSON + "\nAuthorization: Bearer reader", 5, "query rejected, REQUEST_RATE_LIMITED"},
		{"an error of the program's own", `{"query":"{own{id}}"}`, asJSON, 0, "query rejected, other, a miss"},
		{"the store is away", `{"query":"{away{id}}"}`, asJSON, 0, "query failed, UNAVAILABLE, a miss"},
		{"too slow", `{"query":"{slow{id}}"}`, asJSON, 0, "query failed, TIMEOUT, a miss"},
		{"a panic", `{"query":"{boom{id}}"}`, asJSON, 0, "query failed, INTERNAL, a miss"},
		{"both at once", `{"query":"{own{id} away{id}}"}`, asJSON, 0, "query failed, UNAVAILABLE, other, a miss"},
		{"a batch", "[" + hello + `,{"query":"{"},{"query":"mutation{change(id:1){id}}"}]`, asJSON, 0, "mutation ok, query ok, unknown rejected, GRAPHQL_PARSE_FAILED, 3 misses"},
		{"too large a batch", "[" + strings.Repeat(hello+",", 3) + hello + "]", asJSON, 0, "unknown rejected, BATCH_TOO_LARGE"},
		{"an unknown hash", persistedHit(false), asJSON, 0, "unknown rejected, PERSISTED_QUERY_NOT_FOUND, documents miss"},
		{"its text", persistedHit(true), asJSON, 0, "query ok, a miss, documents registered"},
		{"no id", `{"documentId":"none"}`, asJSON, 0, "unknown rejected, PERSISTED_QUERY_NOT_IN_LIST, documents miss"},
		{"introspection", `{"query":"{__typename}"}`, asJSON, 0, "query ok, a miss"},
	} {
		t.Run(c.what, func(t *testing.T) {
			for _, known := range []bool{true, false} {
				w := newCountWorker(t, func(c *Config) { c.ExecutionTimeout = 300 * time.Millisecond })
				if !known {
					w.known = nil
					c.want = strings.Replace(c.want, "a known request", "a plan", 1)
				}
				text := hitText("POST", c.query, strings.Split(c.headers, "\n"), "")
				for range c.times {
					w.askRaw(t, text)
				}
				before := w.counted(t)
				w.askRaw(t, text)
				got := grownOf(before, w.counted(t))
				if c.what == "too often" {
					got = strings.TrimSuffix(got, ", a plan")
				}
				if got != c.want {
					t.Errorf("%s, and not %s (known requests: %v)", got, c.want, known)
				}
			}
		})
	}
}

// grownOf says what of operations has been counted meanwhile.
func grownOf(before, after map[string]float64) string {
	var list [4][]string
	for series, v := range after {
		n := int(v - before[series])
		if n == 0 {
			continue
		}
		times := ""
		if n > 1 {
			times = fmt.Sprint(n, " ")
		}
		name, labels, _ := strings.Cut(series, "{")
		parts := strings.Split(labels, `"`)
		switch name {
		case "neko_graphql_operations_total":
			list[0] = append(list[0], times+parts[1]+" "+parts[3])
		case "neko_graphql_errors_total":
			list[1] = append(list[1], times+parts[1])
		case "neko_graphql_plan_misses_total":
			list[2] = append(list[2], map[bool]string{true: "a miss", false: times + "misses"}[n == 1])
		case "neko_graphql_plan_hits_total":
			list[2] = append(list[2], "a plan")
		case "neko_graphql_known_requests_total":
			list[2] = append(list[2], "a known request")
		case "neko_graphql_persisted_documents_total":
			list[3] = append(list[3], "documents "+times+parts[1])
		}
	}
	var all []string
	for _, l := range list {
		slices.Sort(l)
		all = append(all, l...)
	}
	return strings.Join(all, ", ")
}

// A document that was registered is found by its hash, by both ways.
func TestCountsOfPersistedDocuments(t *testing.T) {
	for _, known := range []bool{true, false} {
		w := newCountWorker(t, nil)
		if !known {
			w.known = nil
		}
		w.askRaw(t, hitText("POST", persistedHit(true), []string{asJSON}, ""))
		for range 4 {
			w.askRaw(t, hitText("POST", persistedHit(false), []string{asJSON}, ""))
		}
		all := w.counted(t)
		if n := all[`neko_graphql_persisted_documents_total{result="hit"}`]; n != 4 {
			t.Errorf("%v hits of 4 (known requests: %v)", n, known)
		}
		if hits := all["neko_graphql_known_requests_total"]; (hits > 0) != known {
			t.Errorf("%v known requests", hits)
		}
	}
}

// An answer for which there is no room is counted as what the client sees, on the short way as on
// the whole one.
func TestCountsOfAnswersWithoutRoom(t *testing.T) {
	for _, known := range []bool{true, false} {
		w := newCountWorker(t, nil)
		if !known {
			w.known = nil
		}
		l := &pipeListener{make(chan net.Conn), make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- w.Serve(l) }()
		t.Cleanup(func() {
			w.Close()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
		text := hitText("POST", `{"query":"{ things(first: 40) { name long } }"}`, []string{asJSON}, "")
		ask := func(want int) {
			t.Helper()
			if status, body, _ := receive(t, l.dial(t, text)); status != want || want == 200 && len(body) <= smallAnswer {
				t.Fatalf("%d, and not %d; %d bytes", status, want, len(body))
			}
		}
		for range 4 {
			ask(200)
		}
		waitUntil(t, func() bool { return w.answers.room.Load() == allAnswers })
		w.answers.room.Store(0)
		before := w.counted(t)
		ask(503)
		waitUntil(t, func() bool { return w.drainer.inFlight.Load() == 0 })
		after := w.counted(t)
		want := "query failed, UNAVAILABLE"
		if !known {
			want += ", a plan"
		}
		if got := grownOf(before, after); got != want {
			t.Errorf("%s, and not %s (known requests: %v)", got, want, known)
		}
		const series = `neko_http_requests_total{handler="graphql",code="503"}`
		if n := after[series] - before[series]; n != 1 {
			t.Errorf("%v requests with 503 (known requests: %v)", n, known)
		}
	}
}

// What ran is counted with how long it took and what it costs; what the cache has answered did not.
func TestCountsOfExecutions(t *testing.T) {
	w := newCountWorker(t, nil)
	for range 5 {
		w.askRaw(t, hitText("POST", `{"query":"{things(first:20){id}}"}`, []string{asJSON}, ""))
	}
	w.askRaw(t, hitText("POST", `{"query":"{slow{id}}"}`, []string{asJSON}, ""))
	all := w.counted(t)
	for series, want := range map[string]float64{
		"neko_graphql_execution_duration_seconds_count":               2,
		`neko_graphql_execution_duration_seconds_bucket{le="0.01"}`:   1,
		"neko_graphql_execution_cost_count":                           2,
		`neko_graphql_execution_cost_bucket{le="3"}`:                  1,
		`neko_graphql_execution_cost_bucket{le="100"}`:                2,
		`neko_http_request_duration_seconds_count{handler="graphql"}`: 6,
		"neko_http_request_bytes_total":                               5*34 + 22,
		"neko_graphql_plans":                                          2,
	} {
		if all[series] != want {
			t.Errorf("%s is %v, and not %v", series, all[series], want)
		}
	}
	if took := all["neko_graphql_execution_duration_seconds_sum"]; took < 0.02 {
		t.Errorf("%v s", took)
	}
}

// How long a client takes to send its request makes no request a slow one.
func TestSlowClientsAreNotSlowRequests(t *testing.T) {
	w := newCountWorker(t, nil)
	address := w.serveTest(t)
	body := `{"query":"{things{id}}"}` + strings.Repeat(" ", 10_000)
	conn := send(t, address, fmt.Sprintf("POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:9_000]))
	waitUntil(t, func() bool { return w.drainer.inFlight.Load() == 1 })
	const pause = 500 * time.Millisecond
	time.Sleep(pause) // that it takes
	began := time.Now()
	if _, err := io.WriteString(conn, body[9_000:]); err != nil {
		t.Fatal(err)
	}
	if status, text, _ := receive(t, conn); status != 200 {
		t.Fatal(status, text)
	}
	took := time.Since(began).Seconds() // from its last byte on, as the client saw it; the server may stop its clock later
	if sum := w.counted(t)[`neko_http_request_duration_seconds_sum{handler="graphql"}`]; sum > took+pause.Seconds()/2 {
		t.Errorf("it took %v s, and of its clients' time %v s", sum, took)
	}
}

// Connections that are too many, and those that do not get as far as a request, are told of.
func TestCountsOfConnections(t *testing.T) {
	w := newCountWorker(t, func(c *Config) { c.MaxConnections = 2 })
	address := w.serveTest(t)
	for range 2 {
		c := dial(t, address)
		c.ask(t, "/livez")
	}
	if statuses, _ := exchangeRaw(t, address, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"); statuses != "503" {
		t.Error(statuses)
	}
	waitUntil(t, func() bool { return w.drainer.open.Load() == 2 })
	all := w.counted(t)
	for series, want := range map[string]float64{
		"neko_http_connections": 2, "neko_http_connections_max": 2, "neko_http_connections_total": 3, "neko_http_connections_rejected_total": 1,
		`neko_http_requests_total{handler="probe",code="200"}`: 2, `neko_http_requests_total{handler="probe",code="503"}`: 0,
	} {
		if all[series] != want {
			t.Errorf("%s is %v, and not %v", series, all[series], want)
		}
	}

	certFile, keyFile := pairFiles(t)
	w = newTestWorker(t, Config{TLSCert: certFile, TLSKey: keyFile})
	address = w.serveTest(t)
	for _, sent := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x00\x01nonsense"} {
		exchangeRaw(t, address, sent)
	}
	all = w.counted(t)
	if n := all["neko_tls_handshake_failures_total"]; n != 2 {
		t.Errorf("%v handshakes have failed", n)
	}
	if end := all["neko_tls_certificate_expiry_timestamp_seconds"]; end != float64(w.cert.current.Load().Leaf.NotAfter.Unix()) {
		t.Errorf("the certificate ends at %v", end)
	}
	for series := range all {
		if strings.HasPrefix(series, `neko_http_requests_total{`) && all[series] != 0 {
			t.Errorf("%s is %v, and nobody has asked", series, all[series])
		}
	}
}

// A spare that warms up has not been asked anything.
func TestWarmingUpIsNotCounted(t *testing.T) {
	w := newCountWorker(t, nil)
	w.warmUp()
	for series, v := range w.counted(t) {
		if v != 0 && (strings.HasPrefix(series, "neko_http_requests_total") || strings.HasPrefix(series, "neko_graphql_op")) {
			t.Errorf("%s is %v", series, v)
		}
	}
}

// Several processors count apart, and it is all told.
func TestShardsAreToldTogether(t *testing.T) {
	w := newCountWorker(t, nil)
	for len(w.counting.shards) < 4 {
		c := new(counts)
		c.durations.Begin(&histogram.Durations)
		w.counting.shards = append(w.counting.shards, c)
	}
	address := w.serveTest(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			r := bufio.NewReader(conn)
			for range 50 {
				_, err := io.WriteString(conn, hitText("POST", hitParts.queries[0], []string{asJSON}, ""))
				if err == nil {
					var resp *http.Response
					if resp, err = http.ReadResponse(r, nil); err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	counted := w.counted(t)
	if n := counted[`neko_http_requests_total{handler="graphql",code="200"}`]; n != 400 {
		t.Errorf("%v of 400", n)
	}
	if n := counted[`neko_graphql_operations_total{type="query",outcome="ok"}`]; n != 400 {
		t.Errorf("%v operations of 400", n)
	}
}
