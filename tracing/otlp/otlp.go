// Package otlp sends the spans of a program to a collector: OpenTelemetry's SDK with an
// exporter for OTLP over HTTP, in protobuf, that adds little to a program. (The official
// one brings gRPC's and protobuf's registries: 10 MB, and 2 ms of each start.)
//
// Nothing of it is waited for. A span that has ended is put into a bounded queue; one
// goroutine sends what is there. While the collector is away, or too slow, the queue
// fills up, and what has no room is dropped and counted.
package otlp

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Options are what the environment does not say.
type Options struct {
	// Service and Version are what the program is called, if OTEL_SERVICE_NAME and
	// OTEL_RESOURCE_ATTRIBUTES say nothing else.
	Service, Version string
	// Endpoint is the URL that spans are sent to, [Off], or [Auto], which is "" too: the
	// environment says it.
	Endpoint string
	// Attributes are those of the process, weaker than the environment's.
	Attributes []attribute.KeyValue
	// Log is told when spans cannot be sent, once a minute at most. Nil: nobody is.
	Log *slog.Logger
	// Getenv is os.Getenv, if it is nil.
	Getenv func(string) string
}

// Provider makes spans, and sends them. It is a [trace.TracerProvider].
type Provider struct {
	trace.TracerProvider
	sdk      *sdk.TracerProvider
	out      *sender
	sampling sampling
}

// Open makes a Provider as the environment has it: nil if it says nothing of where spans
// go. An error is one of the settings, and has a Hint() string.
func Open(o Options) (*Provider, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	s, err := read(o.Endpoint, o.Getenv)
	if s == nil || err != nil {
		return nil, err
	}
	return start(o, s), nil
}

func start(o Options, s *settings) *Provider {
	attrs := append([]attribute.KeyValue{
		attribute.String("service.name", o.Service),
		attribute.String("service.version", o.Version),
		attribute.String("telemetry.sdk.language", "go"),
		attribute.String("telemetry.sdk.name", "opentelemetry"),
	}, o.Attributes...)
	r := resource.NewSchemaless(append(attrs, s.resource...)...) // of those with one name the last
	out := newSender(s, r.Attributes(), o.Log)
	p := sdk.NewTracerProvider(
		sdk.WithResource(r), sdk.WithSampler(s.sampling.sampler()), sdk.WithIDGenerator(ids{}), sdk.WithRawSpanLimits(s.limits), sdk.WithSpanProcessor(out),
	)
	return &Provider{p, p, out, s.sampling}
}

// Samples says whether a span that is the first here of a trace of this id, within parent if
// that is valid, will be recorded. It costs little, and allocates nothing.
func (p *Provider) Samples(parent trace.SpanContext, id trace.TraceID) bool {
	if p.sampling.parent && parent.IsValid() {
		return parent.IsSampled()
	}
	return p.sampling.root.ShouldSample(sdk.SamplingParameters{ParentContext: context.Background(), TraceID: id}).Decision == sdk.RecordAndSample
}

// WithTraceID is ctx, such that the trace that begins in it next has this id.
func (p *Provider) WithTraceID(ctx context.Context, id trace.TraceID) context.Context {
	return context.WithValue(ctx, chosenKey{}, &chosen{id: id})
}

// Shutdown sends what there is, until ctx ends, and drops the rest.
func (p *Provider) Shutdown(ctx context.Context) error {
	if p == nil {
		return nil
	}
	return p.sdk.Shutdown(ctx)
}

// TraceStats are how many spans were taken by the receiver, and how many never will be.
func (p *Provider) TraceStats() (exported, dropped uint64) {
	return p.out.exported.Load(), p.out.dropped.Load()
}

// sender is a span processor: the queue, and who empties it.
type sender struct {
	settings *settings
	client   client
	log      *slog.Logger

	mu     sync.Mutex
	queue  []sdk.ReadOnlySpan
	spare  []sdk.ReadOnlySpan // room for the next queue
	closed bool

	full    chan struct{} // a batch is there
	stop    chan struct{}
	ended   chan struct{}
	ctx     context.Context // of sending; ends when the shutdown has no more time
	cancel  context.CancelFunc
	closing sync.Once

	exported, dropped atomic.Uint64
	said              time.Time // of the goroutine
}

func newSender(s *settings, resource []attribute.KeyValue, log *slog.Logger) *sender {
	out := &sender{
		settings: s, client: newClient(s, resource), log: log,
		full: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{}),
	}
	out.ctx, out.cancel = context.WithCancel(context.Background())
	go out.run()
	return out
}

// OnStart is of [sdk.SpanProcessor].
func (s *sender) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd is of [sdk.SpanProcessor], and waits for nobody.
func (s *sender) OnEnd(span sdk.ReadOnlySpan) {
	if !span.SpanContext().IsSampled() {
		return
	}
	s.mu.Lock()
	room := len(s.queue) < s.settings.queue && !s.closed
	if room {
		s.queue = append(s.queue, span)
	}
	batch := len(s.queue) >= s.settings.batch
	s.mu.Unlock()
	if !room {
		s.dropped.Add(1)
	}
	if batch {
		select {
		case s.full <- struct{}{}:
		default:
		}
	}
}

func (s *sender) run() {
	defer close(s.ended)
	defer s.client.close()
	tick := time.NewTicker(s.settings.delay)
	defer tick.Stop()
	for {
		last := false
		select {
		case <-tick.C:
		case <-s.full:
		case <-s.stop:
			last = true
		}
		s.flush(last)
		if last {
			return
		}
	}
}

// flush sends what is in the queue. What comes meanwhile has the room of the queue.
func (s *sender) flush(last bool) {
	s.mu.Lock()
	spans := s.queue
	s.queue = s.spare[:0]
	s.mu.Unlock()
	for rest := spans; len(rest) > 0; {
		n := min(len(rest), s.settings.batch)
		s.send(rest[:n], last)
		rest = rest[n:]
	}
	clear(spans)
	s.spare = spans
}

func (s *sender) send(spans []sdk.ReadOnlySpan, last bool) {
	rejected, why, err := s.client.send(s.ctx, spans, s.stop, last)
	if err != nil {
		rejected, why = len(spans), err.Error()
	}
	rejected = min(max(rejected, 0), len(spans))
	s.dropped.Add(uint64(rejected))
	s.exported.Add(uint64(len(spans) - rejected))
	if (err != nil || why != "") && s.log != nil && time.Since(s.said) >= complain {
		s.said = time.Now()
		s.log.Warn("traces: spans are lost", "err", why, "dropped", s.dropped.Load())
	}
}

// complain is how often the log is told.
const complain = time.Minute

// ForceFlush is of [sdk.SpanProcessor].
func (s *sender) ForceFlush(context.Context) error { return nil }

// Shutdown is of [sdk.SpanProcessor]: it sends what there is until ctx ends.
func (s *sender) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.closing.Do(func() { close(s.stop) })
	defer s.cancel()
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	<-s.ended
	return ctx.Err()
}
