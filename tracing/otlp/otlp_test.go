package otlp

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/tracing/otlp/otlptest"
)

// env is an environment.
type env map[string]string

func (e env) get(name string) string { return e[name] }

// lockedText is a log that may be read while it is written.
type lockedText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// provider sends to a receiver, at once and with short waits, as e says otherwise.
func provider(t *testing.T, r *otlptest.Receiver, e env, log *slog.Logger) *Provider {
	t.Helper()
	all := env{"OTEL_EXPORTER_OTLP_ENDPOINT": r.URL, "OTEL_BSP_SCHEDULE_DELAY": "5"}
	for k, v := range e {
		all[k] = v
	}
	s, err := read("", all.get)
	if err != nil {
		t.Fatal(err)
	}
	s.wait = time.Millisecond
	p := start(Options{Service: "cats", Version: "1.2", Log: log, Attributes: []attribute.KeyValue{attribute.String("host.name", "basket")}}, s)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = p.Shutdown(ctx)
	})
	return p
}

// span makes one, with a child.
func span(p *Provider, name string) {
	ctx, parent := p.Tracer("test").Start(context.Background(), name, trace.WithSpanKind(trace.SpanKindServer))
	_, child := p.Tracer("test").Start(ctx, "inner")
	child.End()
	parent.End()
}

// stats waits until so many spans have had their end.
func stats(t *testing.T, p *Provider, wantExported, wantDropped uint64) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		exported, dropped := p.TraceStats()
		if exported == wantExported && dropped == wantDropped {
			return
		}
		if exported+dropped > wantExported+wantDropped || time.Now().After(end) {
			t.Fatalf("%d spans were exported and %d dropped, not %d and %d", exported, dropped, wantExported, wantDropped)
		}
	}
}

func TestSpansArrive(t *testing.T) {
	for _, compression := range []string{"none", "gzip"} {
		r := otlptest.Open(t)
		p := provider(t, r, env{
			"OTEL_EXPORTER_OTLP_COMPRESSION": compression, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=se%20cret, x-tenant=cats",
			"OTEL_RESOURCE_ATTRIBUTES": "team=tabby,host.name=sofa,what=a%2Cb",
		}, nil)
		span(p, "hunt")
		r.Until(t, "both spans", func() bool { return len(r.Spans()) == 2 })
		if got := otlptest.Tree(r.Spans()); got != "hunt\n  inner\n" {
			t.Error(got)
		}
		s := r.Spans()[0]
		if got, want := fmt.Sprint(s.Resource), "map[host.name:sofa service.name:cats service.version:1.2 team:tabby telemetry.sdk.language:go telemetry.sdk.name:opentelemetry what:a,b]"; got != want {
			t.Errorf("the resource is %s", got)
		}
		_, headers := r.Requests()
		if h := headers[0]; h.Get("api-key") != "se cret" || h.Get("X-Tenant") != "cats" || (h.Get("Content-Encoding") == "gzip") != (compression == "gzip") {
			t.Errorf("%v", h)
		}
		stats(t, p, 2, 0)
	}
}

// What may be sent again is, until it is taken; what may not is lost, and counted, and the
// log is told, without the headers.
func TestWhatIsSentAgain(t *testing.T) {
	some, err := proto.Marshal(&collector.ExportTraceServiceResponse{PartialSuccess: &collector.ExportTracePartialSuccess{RejectedSpans: 1, ErrorMessage: "too \x1b[2J old"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		answers           []otlptest.Answer
		requests          int
		exported, dropped uint64
		says              string
	}{
		{[]otlptest.Answer{{Code: 503}, {Code: 429}, {Code: 502}, {Code: 504}}, 5, 2, 0, ""},
		{[]otlptest.Answer{{Code: 503, Header: http.Header{"Retry-After": {"0"}}}}, 2, 2, 0, ""},
		{[]otlptest.Answer{{Code: 400}}, 1, 0, 2, "the receiver answered 400"},
		{[]otlptest.Answer{{Code: 401}}, 1, 0, 2, "the receiver answered 401"},
		{[]otlptest.Answer{{Code: 500}}, 1, 0, 2, "the receiver answered 500"},
		{[]otlptest.Answer{{Code: 307, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}}, 1, 0, 2, "the receiver answered 307"},
		{[]otlptest.Answer{{Code: 200, Body: some}}, 1, 1, 1, "too .[2J old"},
		{[]otlptest.Answer{{Code: 200, Body: []byte("<html>")}}, 1, 2, 0, ""},
	} {
		r := otlptest.Open(t)
		r.Answer(c.answers...)
		var said lockedText
		p := provider(t, r, env{"OTEL_EXPORTER_OTLP_HEADERS": "api-key=hunter2", "OTEL_BSP_SCHEDULE_DELAY": "3600000", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2"}, logtext.Logger(&said))
		span(p, "hunt")
		stats(t, p, c.exported, c.dropped)
		if n, _ := r.Requests(); n != c.requests {
			t.Errorf("%v: %d requests", c.answers, n)
		}
		if err := p.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if text := said.String(); !strings.Contains(text, c.says) || (text == "") != (c.says == "") || strings.Contains(text, "hunter2") {
			t.Errorf("%v: the log has %q", c.answers, text)
		}
	}
}

// While the receiver is away nobody who ends a span waits, what there is no room for is
// counted, and all that had room arrives when it is back.
func TestAnOutageCostsSpansAndNothingElse(t *testing.T) {
	const queue, all = 64, 1000
	var r *otlptest.Receiver
	var p *Provider
	for range 10 {
		r = otlptest.Open(t)
		r.Answer(otlptest.Answer{Code: 503, Header: http.Header{"Retry-After": {"1"}}})
		p = provider(t, r, env{"OTEL_BSP_MAX_QUEUE_SIZE": fmt.Sprint(queue), "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": fmt.Sprint(queue)}, nil)
		tracer := p.Tracer("test")
		_, first := tracer.Start(t.Context(), "first")
		first.End()
		r.Until(t, "a call that fails", func() bool { n, _ := r.Requests(); return n >= 1 })
		for range all { // in much less than the second
			_, s := tracer.Start(t.Context(), "s")
			s.End()
		}
		if n, _ := r.Requests(); n == 1 {
			break // else this machine has taken longer, and the outage was over before
		}
	}
	r.Until(t, "the first, and those that had room", func() bool { return len(r.Spans()) == 1+queue })
	stats(t, p, 1+queue, all-queue)
}

// The end of a process sends what there is, and waits for nobody who does not answer.
func TestShutdown(t *testing.T) {
	r := otlptest.Open(t)
	p := provider(t, r, env{"OTEL_BSP_SCHEDULE_DELAY": "3600000"}, nil)
	span(p, "hunt")
	if err := p.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.Spans()) != 2 {
		t.Errorf("%d have come", len(r.Spans()))
	}

	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := read("http://"+l.Addr().String(), env{}.get)
	if err != nil {
		t.Fatal(err)
	}
	p = start(Options{}, s)
	span(p, "hunt")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	stats(t, p, 0, 2)
	if (*Provider)(nil).Shutdown(t.Context()) != nil {
		t.Error("no provider cannot be ended")
	}
}

func TestSettings(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for _, c := range []struct {
		flag string
		env  env
		want string // the endpoint, "" for none, or the error
	}{
		{"", env{}, ""},
		{"auto", env{}, ""},
		{"off", env{endpoint: "http://x"}, ""},
		{"", env{endpoint: "http://x:4318"}, "http://x:4318/v1/traces"},
		{"", env{endpoint: "http://x:4318/otlp/"}, "http://x:4318/otlp/v1/traces"},
		{"", env{endpoint: "http://x", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://y/as/it/is"}, "https://y/as/it/is"},
		{"", env{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://y"}, "http://y/"},
		{"", env{"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318/v1/traces"},
		{"", env{"OTEL_TRACES_EXPORTER": "none", endpoint: "http://x"}, ""},
		{"", env{"OTEL_SDK_DISABLED": "true", endpoint: "http://x"}, ""},
		{"http://z/v1/traces", env{"OTEL_TRACES_EXPORTER": "none", endpoint: "http://x"}, "http://z/v1/traces"},
		{"localhost:4318", env{}, "the endpoint: it is no URL that traces can be sent to"},
		{"", env{endpoint: "grpc://user:hunter2@x"}, endpoint + ": it is no URL that traces can be sent to"},
		{"", env{"OTEL_TRACES_EXPORTER": "zipkin"}, `OTEL_TRACES_EXPORTER: there is no exporter "zipkin"`},
		{"", env{endpoint: "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, `OTEL_EXPORTER_OTLP_PROTOCOL: traces are not sent by "grpc"`},
		{"", env{endpoint: "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, "http://x/v1/traces"},
		{"", env{endpoint: "http://x", "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"}, `OTEL_EXPORTER_OTLP_COMPRESSION: there is no compression "zstd"`},
		{"", env{endpoint: "http://x", "OTEL_EXPORTER_OTLP_TIMEOUT": "10s"}, `OTEL_EXPORTER_OTLP_TIMEOUT: "10s" is no number of that kind`},
		{"", env{endpoint: "http://x", "OTEL_BSP_MAX_QUEUE_SIZE": "0"}, `OTEL_BSP_MAX_QUEUE_SIZE: "0" is no number of that kind`},
		{"", env{endpoint: "http://x", "OTEL_TRACES_SAMPLER": "sometimes"}, `OTEL_TRACES_SAMPLER: there is no sampler "sometimes"`},
		{"", env{endpoint: "http://x", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "NaN"}, `OTEL_TRACES_SAMPLER_ARG: "NaN" is no part of the requests`},
		{"", env{endpoint: "http://x", "OTEL_EXPORTER_OTLP_HEADERS": "a=1,hunter2"}, "OTEL_EXPORTER_OTLP_HEADERS: part 2 has no name and value with a = between"},
		{"", env{endpoint: "http://x", "OTEL_EXPORTER_OTLP_HEADERS": "a b=hunter2"}, "OTEL_EXPORTER_OTLP_HEADERS: header 1 has no good name"},
		{"", env{endpoint: "http://x", "OTEL_EXPORTER_OTLP_HEADERS": "a=hunter2%0d%0ab"}, "OTEL_EXPORTER_OTLP_HEADERS: the value of a has characters that no header has"},
		{"", env{endpoint: "http://x", "OTEL_EXPORTER_OTLP_HEADERS": "a=hunter2%zz"}, "OTEL_EXPORTER_OTLP_HEADERS: the value of a is not encoded well"},
		{"", env{endpoint: "http://x", "OTEL_RESOURCE_ATTRIBUTES": "team"}, "OTEL_RESOURCE_ATTRIBUTES: part 1 has no name and value with a = between"},
		{"", env{endpoint: "http://x", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere"}, "OTEL_EXPORTER_OTLP_CERTIFICATE: open /nowhere: no such file or directory"},
	} {
		got := ""
		s, err := read(c.flag, c.env.get)
		if err != nil {
			got = err.Error()
			if e := (*Error)(nil); !errors.As(err, &e) || e.Hint() == "" {
				t.Errorf("%v: no hint", c.env)
			}
		} else if s != nil {
			got = s.endpoint
		}
		if got != c.want || strings.Contains(got, "hunter2") {
			t.Errorf("%q %v: %s, not %s", c.flag, c.env, got, c.want)
		}
	}
}

// The sampler is the one that the environment names, and who has sent the request decides,
// if it is based on that.
func TestSampler(t *testing.T) {
	r := otlptest.Open(t)
	for _, c := range []struct {
		sampler, arg            string
		root, sampled, excluded bool // without a parent, with one that is sampled, and with one that is not
	}{
		{"", "", true, true, false},
		{"parentbased_always_off", "", false, true, false},
		{"parentbased_traceidratio", "0", false, true, false},
		{"parentbased_traceidratio", "", true, true, false},
		{"always_off", "", false, false, false},
		{"always_on", "", true, true, true},
		{"traceidratio", "1", true, true, true},
		{"traceidratio", "0", false, false, false},
	} {
		p := provider(t, r, env{"OTEL_TRACES_SAMPLER": c.sampler, "OTEL_TRACES_SAMPLER_ARG": c.arg}, nil)
		sampled := func(parent context.Context) bool {
			_, s := p.Tracer("").Start(parent, "s")
			return s.SpanContext().IsSampled()
		}
		id, err := hex.DecodeString("4bf92f3577b34da6a3ce929d0e0e4736")
		if err != nil {
			t.Fatal(err)
		}
		in := func(flags trace.TraceFlags) context.Context {
			return trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID(id), SpanID: trace.SpanID(id), TraceFlags: flags}))
		}
		if got := [3]bool{sampled(t.Context()), sampled(in(1)), sampled(in(0))}; got != [3]bool{c.root, c.sampled, c.excluded} {
			t.Errorf("%s %s: %v", c.sampler, c.arg, got)
		}
	}
}

// What is decided before there is a span is what is decided then, and the span has the id for
// which it was; what begins below it as a trace of its own has another.
func TestSamplesBeforeThereIsASpan(t *testing.T) {
	r := otlptest.Open(t)
	for _, sampler := range []string{"", "always_on", "always_off", "traceidratio", "parentbased_always_off", "parentbased_traceidratio"} {
		p := provider(t, r, env{"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": "0.5"}, nil)
		said := map[bool]int{}
		for i := range 400 {
			id, of := ids{}.NewIDs(t.Context())
			var parent trace.SpanContext
			ctx := p.WithTraceID(t.Context(), id)
			if i%4 > 1 {
				parent = trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: of, TraceFlags: trace.TraceFlags(i % 2), Remote: true})
				ctx = trace.ContextWithRemoteSpanContext(t.Context(), parent)
			}
			within, s := p.Tracer("").Start(ctx, "s")
			if got := p.Samples(parent, id); s.SpanContext().IsSampled() != got || s.SpanContext().TraceID() != id {
				t.Fatalf("%s: %v was said of %s with the parent %v, and then it was %v", sampler, got, id, parent, s.SpanContext())
			}
			said[s.SpanContext().IsSampled()]++
			_, other := p.Tracer("").Start(within, "other", trace.WithNewRoot())
			if other.SpanContext().TraceID() == id {
				t.Fatal("two traces have one id")
			}
			s.End()
		}
		if strings.Contains(sampler, "ratio") && min(said[true], said[false]) < 50 {
			t.Errorf("%s: %v", sampler, said)
		}
	}
	p := provider(t, r, env{"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, nil)
	id, _ := ids{}.NewIDs(t.Context())
	if n := testing.AllocsPerRun(100, func() { p.Samples(trace.SpanContext{}, id) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
