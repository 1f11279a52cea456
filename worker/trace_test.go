package worker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/nekoctl/neko/cache"
)

// spansOf are the spans of a worker.
type spansOf struct {
	*tracetest.SpanRecorder
	*sdk.TracerProvider
}

func newSpans(s sdk.Sampler) spansOf {
	r := tracetest.NewSpanRecorder()
	return spansOf{r, sdk.NewTracerProvider(sdk.WithSpanProcessor(r), sdk.WithSampler(s))}
}

// Shutdown is of both.
func (s spansOf) Shutdown(ctx context.Context) error { return s.TracerProvider.Shutdown(ctx) }

// ForceFlush is of both.
func (s spansOf) ForceFlush(ctx context.Context) error { return s.TracerProvider.ForceFlush(ctx) }

// tree are the spans as lines, each with what is worth comparing of it, and forgets them.
func (s spansOf) tree() string {
	spans := s.Ended()
	s.Reset()
	in := map[trace.SpanID][]sdk.ReadOnlySpan{}
	known := map[trace.SpanID]bool{}
	for _, span := range spans {
		known[span.SpanContext().SpanID()] = true
	}
	for _, span := range spans {
		parent := span.Parent().SpanID()
		if !known[parent] {
			parent = trace.SpanID{}
		}
		in[parent] = append(in[parent], span)
	}
	var b strings.Builder
	var write func(trace.SpanID, string)
	write = func(parent trace.SpanID, indent string) {
		list := in[parent]
		slices.SortStableFunc(list, func(a, b sdk.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
		for _, span := range list {
			fmt.Fprintf(&b, "%s%s", indent, span.Name())
			for _, a := range span.Attributes() {
				switch key := string(a.Key); key {
				case "http.request.method", "http.route", "url.scheme", "neko.graphql.document.hash", "neko.graphql.cost", "neko.limiter.charges", "neko.limiter.alone":
				default:
					if text := a.Value.String(); text != "false" {
						fmt.Fprintf(&b, " %s=%s", key[strings.LastIndexByte(key, '.')+1:], text)
					}
				}
			}
			if span.Status().Code == codes.Error {
				b.WriteString(" !")
			}
			if n := len(span.Links()); n > 0 {
				fmt.Fprintf(&b, " links=%d", n)
			}
			b.WriteString("\n")
			write(span.SpanContext().SpanID(), indent+"  ")
		}
	}
	write(trace.SpanID{}, "")
	return b.String()
}

// The ways that a request takes, as spans.
func TestSpansOfARequest(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "trusted.json")
	if err := os.WriteFile(list, []byte(`{"one":"query Trusted { things { id } }"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSpans(sdk.AlwaysSample())
	w := newHitWorker(t, func(c *Config) {
		c.Tracer, c.TrustedDocuments, c.MaxBatch = s, list, 5
		c.Handlers = map[string]fasthttp.RequestHandler{"/keys.json": func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("{}") }}
	})
	body := func(query string) string {
		b, err := json.Marshal(map[string]string{"query": query})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, c := range []struct{ what, method, target, header, body, want string }{
		{"made", "POST", "/graphql", asJSON, body(`query Q { thing(id: "a") { name } }`), `
POST /graphql status_code=200 type=query state=miss
  plan
  cache state=miss
    execute type=query
`},
		{"from memory", "POST", "/graphql", asJSON, body(`query Q { thing(id: "a") { name } }`), `
POST /graphql status_code=200 type=query state=hit
  plan
  cache state=hit
`},
		{"known by its bytes", "POST", "/graphql", asJSON, body(`query Q { thing(id: "a") { name } }`), `
POST /graphql status_code=200 type=query state=hit
`},
		{"by GET, trusted", "GET", "/graphql?documentId=one", "", "", `
GET /graphql status_code=200 persisted=true type=query name=Trusted state=miss
  plan
  cache state=miss
    execute type=query
`},
		{"not to be kept, with a token", "POST", "/graphql", asJSON + "\nAuthorization: Bearer slow reader", body(`{ never { id } }`), `
POST /graphql status_code=200 type=query
  plan
  identify
  execute type=query
`},
		{"a change", "POST", "/graphql", asJSON, body(`mutation { change(id: "a") { id } }`), `
POST /graphql status_code=200 type=mutation
  plan
  execute type=mutation
`},
		{"a fault of ours", "POST", "/graphql", asJSON, body(`{ broken { id } }`), `
POST /graphql status_code=200 type=query state=miss codes=["INTERNAL"] type=INTERNAL !
  plan
  cache state=miss
    execute type=query type=INTERNAL codes=["INTERNAL"] !
`},
		{"a fault of the client's", "POST", "/graphql", asGraphQL, body(`{ nothing }`), `
POST /graphql status_code=422 codes=["GRAPHQL_VALIDATION_FAILED"]
  plan codes=["GRAPHQL_VALIDATION_FAILED"]
`},
		{"several", "POST", "/graphql", asJSON, `[` + body(`{ never { id } }`) + `,` + body(`{ never { name } }`) + `]`, `
POST /graphql status_code=200 size=2
  plan
  execute type=query
  execute type=query
`},
		{"a handler of its own", "GET", "/keys.json", "", "", "\nGET /keys.json status_code=200\n"},
		{"nothing of ours", "BREW", "/secret/path", "", "", "\n_OTHER status_code=404 codes=[\"NOT_FOUND\"]\n"},
		{"a probe", "GET", "/livez", "", "", "\n"},
	} {
		w.ask(c.method, c.target, c.header, c.body)
		if got := "\n" + s.tree(); got != c.want {
			t.Errorf("%s:%swant%s", c.what, got, c.want)
		}
	}
}

// What a rate limit decides is a span, on the short way too.
func TestSpansOfARateLimit(t *testing.T) {
	s := newSpans(sdk.AlwaysSample())
	w, _ := rateWorker(t, Config{Tracer: s, RateLimits: []RateLimit{perMinute("identity", 1)}})
	w.ask("POST", "/graphql", asJSON, `{"query":"{__typename}"}`)
	if got := s.tree(); !strings.Contains(got, "\n  limiter allowed=true\n") {
		t.Error(got)
	}
	refused := ""
	for range 5 {
		w.ask("POST", "/graphql", asJSON, `{"query":"{__typename}"}`)
		refused = s.tree()
	}
	if !strings.HasPrefix(refused, "POST /graphql status_code=429 ") || !strings.Contains(refused, "\n  limiter policy=identity\n") || strings.Contains(refused, "!") {
		t.Error(refused)
	}
}

// Who waits for what another one has made has no execution of his own.
func TestSpansOfWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpans(sdk.AlwaysSample())
		w, n := newNotes(t, Config{Tracer: s}, cache.Options{})
		n.gate = make(chan struct{})
		const query = `{"query":"{count}"}`
		for range 2 {
			go w.ask("POST", "/graphql", asJSON, query)
			synctest.Wait()
		}
		close(n.gate)
		synctest.Wait()
		got := s.tree()
		if strings.Count(got, "execute") != 1 || strings.Count(got, "  cache state=miss\n    execute type=query\n") != 1 || strings.Count(got, "  cache state=coalesced\n") != 1 {
			t.Errorf("\n%s", got)
		}
		w.Close()
	})
}

// What is made anew when the request has had its answer has a trace of its own, with a link.
func TestSpansInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpans(sdk.AlwaysSample())
		w, _ := newNotes(t, Config{Tracer: s}, cache.Options{})
		const query = `{"query":"{count}"}`
		w.ask("POST", "/graphql", asJSON, query)
		time.Sleep(61 * time.Second)
		s.Reset()
		w.ask("POST", "/graphql", asJSON, query)
		synctest.Wait()
		spans := s.Ended()
		got := s.tree()
		if !strings.Contains(got, "state=stale") || !strings.Contains(got, "cache refresh links=1\n  execute type=query\n") {
			t.Errorf("\n%s", got)
		}
		var request, refresh sdk.ReadOnlySpan
		for _, span := range spans {
			switch span.Name() {
			case "cache":
				request = span
			case "cache refresh":
				refresh = span
			}
		}
		if refresh.SpanContext().TraceID() == request.SpanContext().TraceID() || refresh.Links()[0].SpanContext.SpanID() != request.SpanContext().SpanID() {
			t.Error("the link leads elsewhere")
		}
		w.Close()
	})
}

// A trace that the request belongs to goes on, and whoever began it decides whether
// it is recorded; one that makes no sense is none. Logs have its ids.
func TestTraceOfTheClient(t *testing.T) {
	const id, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	file := filepath.Join(t.TempDir(), "access.log")
	var said bytes.Buffer
	s := newSpans(sdk.ParentBased(sdk.NeverSample()))
	w := newTestWorker(t, Config{Tracer: s, AccessLog: file, Log: slog.New(slog.NewJSONHandler(&said, nil))})
	send := func(header string) (root sdk.ReadOnlySpan) {
		w.ask("POST", "/graphql", asJSON+"\n"+header, `{"query":"{fail(how: PLAIN)}"}`)
		for _, span := range s.Ended() {
			if span.SpanKind() == trace.SpanKindServer {
				root = span
			}
		}
		s.Reset()
		return root
	}
	span := send("traceparent: 00-" + id + "-" + parent + "-01\ntracestate: vendor=opaque")
	if span == nil || span.SpanContext().TraceID().String() != id || span.Parent().SpanID().String() != parent || !span.Parent().IsRemote() || span.SpanContext().TraceState().String() != "vendor=opaque" {
		t.Fatalf("%v", span)
	}
	if text := said.String(); !strings.Contains(text, `"trace_id":"`+id+`"`) || !strings.Contains(text, `"span_id":"`) || strings.Count(text, "\n") != 1 {
		t.Errorf("the log: %s", text)
	}
	for _, header := range []string{
		"", "traceparent: 00-" + id + "-" + parent + "-00", "traceparent: 00-" + id + "-0000000000000000-01", "traceparent: nonsense",
		"traceparent: 00-" + strings.ToUpper(id) + "-" + parent + "-01",
	} {
		if span := send(header); span != nil {
			t.Errorf("%q: it is recorded", header)
		}
	}
	// Two of them are none.
	ctx := new(fasthttp.RequestCtx)
	for range 2 {
		ctx.Request.Header.Add("traceparent", "00-"+id+"-"+parent+"-01")
	}
	ctx.Request.SetRequestURI("/graphql?query={hello}")
	w.server.Handler(ctx)
	if len(s.Ended()) > 0 {
		t.Error("one of two parents was taken")
	}
	w.Close()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(string(text), "\n"); !strings.Contains(lines[0], `"trace_id":"`+id+`"`) || !strings.Contains(lines[2], `"trace_id":"`+id+`"`) || !strings.Contains(lines[1], `"trace_id":"`) {
		t.Errorf("the access log:\n%s", text)
	}
}

// Whatever a client sends, nothing of it is in a span: every place where there may be
// something secret has a word here that is looked for in all that was recorded.
func TestNothingOfAClientsIsInASpan(t *testing.T) {
	const secret = "hunter2"
	s := newSpans(sdk.AlwaysSample())
	w := newHitWorker(t, func(c *Config) {
		c.Tracer, c.MaxBatch = s, 5
		c.TrustedProxies = []string{"0.0.0.0/0"}
		c.Identify = func(_ context.Context, given Credentials) (Identity, error) {
			if strings.Contains(given.Authorization, "away") {
				return Identity{}, errors.New("the store said " + secret)
			}
			return Identity{Subject: "user:" + secret, Name: secret, Role: "READER"}, nil
		}
	})
	headers := strings.Join([]string{
		asJSON, "Authorization: Bearer " + secret, "Cookie: a=" + secret, "X-Request-Id: " + secret, "User-Agent: " + secret, "X-Forwarded-For: 203.0.113.77",
		"Referer: http://x/" + secret, "Host: " + secret, "Apollographql-Client-Name: " + secret, "Baggage: a=" + secret,
	}, "\n")
	ask := func(body string) {
		w.ask("POST", "/graphql?token="+secret, headers, body)
	}
	query := func(text string, variables string) string {
		b, err := json.Marshal(map[string]any{"query": text, "variables": json.RawMessage(variables), "operationName": nil})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	all := []string{
		query(`query `+secret+`($id: ID!) { thing(id: $id) { name } }`, `{"id":"`+secret+`"}`),
		query(`{ `+secret+`: thing(id: "`+secret+`") { `+secret+`: name } }`, `null`),
		query(`# `+secret+"\n"+`{ mine { id } readers { id } }`, `null`),
		query(`mutation `+secret+` { change(id: "`+secret+`") { id } }`, `null`),
		query(`{ `+secret+` }`, `null`),
		query(`{ thing(id: `+secret+`) { id } }`, `{"`+secret+`":1}`),
		query(`query `+secret+` { broken { id } }`, `null`),
		`{"query":"{never{id}}","operationName":"` + secret + `"}`,
		`{"documentId":"` + secret + `"}`,
		`{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"` + secret + `"}}}`,
		`{` + secret,
		`[` + query(`query `+secret+` { never { id } }`, `null`) + `]`,
	}
	for range 3 { // the second and the third are answered by the cache
		for _, body := range all {
			ask(body)
		}
	}
	w.ask("GET", "/"+secret+"?a="+secret, headers, "")
	w.ask(strings.ToUpper(secret), "/graphql", headers, "")
	w.ask("POST", "/graphql", asJSON+"\nAuthorization: Bearer away", all[0])
	spans := s.Ended()
	if len(spans) < 100 {
		t.Fatalf("only %d spans", len(spans))
	}
	for _, span := range spans {
		text := strings.ToLower(fmt.Sprintf("%q %v %v %v %q", span.Name(), span.Attributes(), span.Events(), span.Links(), span.Status().Description))
		for _, word := range []string{secret, "203.0.113", "thing(", "never"} {
			if strings.Contains(text, word) {
				t.Errorf("%s is in %s", word, text)
			}
		}
	}
}

// sampled is what otlp.Provider is, with spans that a test can see.
type sampled struct {
	spansOf
	decides func(trace.SpanContext, trace.TraceID) bool
}

func (s sampled) Samples(parent trace.SpanContext, id trace.TraceID) bool {
	return s.decides(parent, id)
}

func (sampled) WithTraceID(ctx context.Context, id trace.TraceID) context.Context {
	return context.WithValue(ctx, chosenID{}, id)
}

type chosenID struct{}

type idsOf struct{}

func (idsOf) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	return ctx.Value(chosenID{}).(trace.TraceID), trace.SpanID{1}
}

func (idsOf) NewSpanID(context.Context, trace.TraceID) trace.SpanID { return trace.SpanID{2} }

// A tracer that can say before what it is going to decide is asked for each request, with
// what its client has sent; of one that it records not, nobody else hears, but for its
// lines in the logs, which all have one id.
func TestTracesThatAreNotRecorded(t *testing.T) {
	const id, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	file := filepath.Join(t.TempDir(), "access.log")
	var said bytes.Buffer
	r := tracetest.NewSpanRecorder()
	records := false
	var asked []string
	s := sampled{spansOf{r, sdk.NewTracerProvider(sdk.WithSpanProcessor(r), sdk.WithIDGenerator(idsOf{}))}, func(parent trace.SpanContext, id trace.TraceID) bool {
		asked = append(asked, fmt.Sprint(parent.IsValid(), parent.IsRemote(), parent.IsSampled(), " ", id))
		return records
	}}
	w := newTestWorker(t, Config{Tracer: s, AccessLog: file, Log: slog.New(slog.NewJSONHandler(&said, nil))})
	send := func(header string) {
		said.Reset()
		asked = nil
		w.ask("POST", "/graphql", asJSON+"\n"+header, `{"query":"{fail(how: PLAIN)}"}`)
	}
	traceID := func() string {
		t.Helper()
		var line struct{ Trace, Span string }
		text := strings.NewReplacer("trace_id", "trace", "span_id", "span").Replace(said.String())
		if err := json.Unmarshal([]byte(text), &line); err != nil || line.Trace == "" || line.Span == "" {
			t.Fatalf("%q: %v", text, err)
		}
		return line.Trace
	}
	var want []string
	for _, c := range []struct {
		header string
		sure   string // what is asked; "": a root
	}{
		{"", ""},
		{"traceparent: 00-" + id + "-" + parent + "-00", "true true false " + id},
		{"traceparent: 00-" + id + "-" + parent + "-01", "true true true " + id},
		{"traceparent: nonsense", ""},
	} {
		send(c.header)
		got := traceID()
		want = append(want, got)
		if c.sure == "" {
			c.sure = "false false false " + got
		}
		if len(asked) != 1 || asked[0] != c.sure || len(r.Ended()) > 0 {
			t.Errorf("%q: %q was asked, and not %q, and there are %d spans", c.header, asked, c.sure, len(r.Ended()))
		}
	}
	records = true
	send("")
	want = append(want, traceID())
	if root := r.Ended()[len(r.Ended())-1]; asked[0] != "false false false "+traceID() || root.SpanContext().TraceID().String() != traceID() || root.Parent().IsValid() {
		t.Errorf("%q was asked, and then it was %v", asked, root)
	}
	w.ask("GET", "/livez", "", "")
	if len(asked) != 1 {
		t.Error("a probe is traced")
	}
	w.Close()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if i < len(want) && !strings.Contains(line, `"trace_id":"`+want[i]+`"`) || i >= len(want) && strings.Contains(line, "trace_id") {
			t.Errorf("line %d has another id than %s: %s", i, want[min(i, len(want)-1)], line)
		}
	}
}

// What is read of a traceparent is what OpenTelemetry reads of it.
func FuzzParseParent(f *testing.F) {
	for _, text := range []string{
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-04",
		"00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-more-", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
		"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "fe-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "", "00-", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0\xff",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		theirs := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": text}))
		if ours := parseParent([]byte(text)); !ours.Equal(theirs) {
			t.Errorf("%q: %v, and not %v", text, ours, theirs)
		}
	})
}

// Requests that are not recorded allocate nothing for it, with a tracer that says so before, and
// little with others; those that are not traced cost nothing (TestHitAllocatesNothing).
func TestNotSampledAllocatesLittle(t *testing.T) {
	if underRace {
		t.Skip("under the race detector pools lose some of what they have")
	}
	never := newSpans(sdk.NeverSample())
	for _, c := range []struct {
		what   string
		tracer trace.TracerProvider
		header string
		most   float64
	}{
		{"any tracer", never, "", 3},
		{"one that says so before", sampled{never, func(trace.SpanContext, trace.TraceID) bool { return false }}, "", 0},
		{"with a parent", sampled{never, func(trace.SpanContext, trace.TraceID) bool { return false }}, "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", 0},
	} {
		w := newHitWorker(t, func(config *Config) {
			config.Tracer, config.Limiter, config.RateLimits = c.tracer, newHostLimiter(t), []RateLimit{perMinute("identity", 1_000_000)}
		})
		text := hitText("POST", `{"query":"{things{id}}"}`, []string{asJSON, c.header}, "")
		for range 3 {
			w.askRaw(t, text)
		}
		ctx := rawContext(t, text)
		if n := testing.AllocsPerRun(200, func() {
			ctx.Response.Reset()
			w.serveEnveloped(ctx, func(ctx *fasthttp.RequestCtx) {
				if !w.serveHit(ctx) {
					t.Fatal("no hit")
				}
			})
		}); n > c.most {
			t.Errorf("%s: %v allocations", c.what, n)
		}
	}
}

func rawContext(t testing.TB, text string) *fasthttp.RequestCtx {
	t.Helper()
	var req fasthttp.Request
	if err := req.Read(bufio.NewReader(strings.NewReader(text))); err != nil {
		t.Fatal(err)
	}
	ctx := new(fasthttp.RequestCtx)
	ctx.Init(&req, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, nil)
	return ctx
}

// BenchmarkTraced is what tracing adds to a request that the cache answers, the shortest
// there is, and to one that is executed.
func BenchmarkTraced(b *testing.B) {
	for _, c := range []struct {
		name    string
		sampler sdk.Sampler
		before  bool // it says what it is going to decide
	}{{"off", nil, false}, {"unsampled", sdk.NeverSample(), true}, {"unsampled, without saying so", sdk.NeverSample(), false}, {"all", sdk.AlwaysSample(), false}} {
		for _, query := range []string{"hit", "whole"} {
			b.Run(query+"/"+c.name, func(b *testing.B) {
				w := newHitWorker(b, func(config *Config) {
					if c.sampler != nil {
						config.Tracer = sdk.NewTracerProvider(sdk.WithSampler(c.sampler), sdk.WithSpanProcessor(nowhere{}))
					}
					if c.before {
						config.Tracer = sampled{newSpans(c.sampler), func(trace.SpanContext, trace.TraceID) bool { return false }}
					}
				})
				text := hitText("POST", `{"query":"{things{id}}"}`, []string{asJSON}, "")
				if query == "whole" {
					text = hitText("POST", `{"query":"{never{id}}"}`, []string{asJSON}, "")
				}
				ctx := rawContext(b, text)
				b.ReportAllocs()
				for b.Loop() {
					ctx.Response.Reset()
					w.serveEnveloped(ctx, w.handle)
				}
			})
		}
	}
}

// nowhere is where spans go that nobody wants.
type nowhere struct{}

func (nowhere) OnStart(context.Context, sdk.ReadWriteSpan) {}
func (nowhere) OnEnd(sdk.ReadOnlySpan)                     {}
func (nowhere) Shutdown(context.Context) error             { return nil }
func (nowhere) ForceFlush(context.Context) error           { return nil }
