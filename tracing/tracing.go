// Package tracing has what a request's way is made visible with, by OpenTelemetry's
// API: spans within a request that is traced and recorded. Where it is not they cost a
// look at the context.
//
// What may be in a span is said in docs/tracing.md, and this is where to begin when
// something is added: no text of a client's, as variables, arguments, documents, headers
// or addresses are, and nothing of who it is. Spans go to other machines, and are
// read by people who may see none of that.
package tracing

import (
	"context"
	"errors"

	"github.com/nekoctl/neko/breaker"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Scope is the name of the instrumentation, as spans have it.
const Scope = "github.com/nekoctl/neko"

// A Span is a part of a request's way. The zero one is of a request that is not recorded,
// and its methods do nothing.
type Span struct{ span trace.Span }

// Start begins a span within the one that ctx is in, of a kind that is [trace.SpanKindInternal]
// or, for a call to another program, [trace.SpanKindClient].
func Start(ctx context.Context, name string, kind trace.SpanKind) (context.Context, Span) {
	parent := trace.SpanFromContext(ctx)
	if !recorded(parent) {
		return ctx, Span{}
	}
	ctx, s := parent.TracerProvider().Tracer(Scope).Start(ctx, name, trace.WithSpanKind(kind))
	if !s.IsRecording() {
		return ctx, Span{}
	}
	return ctx, Span{s}
}

// recorded says whether a span is, or was until it has ended: what is done when the answer
// is on its way, as others are told of it, is still a part of the request.
func recorded(s trace.Span) bool { return s.SpanContext().IsSampled() }

// Call begins the span of a call to a database, as OpenTelemetry's conventions for
// database clients have it: which system it is ("mongodb", "sqlite", "redis"), what is
// done and, if there is one, the collection that it is done to. Names of ours, no values.
func Call(ctx context.Context, system, operation, collection string) (context.Context, Span) {
	if !recorded(trace.SpanFromContext(ctx)) {
		return ctx, Span{}
	}
	name := operation
	attrs := []attribute.KeyValue{attribute.String("db.system.name", system), attribute.String("db.operation.name", operation)}
	if collection != "" {
		name += " " + collection
		attrs = append(attrs, attribute.String("db.collection.name", collection))
	}
	ctx, s := Start(ctx, name, trace.SpanKindClient)
	s.Set(attrs...)
	return ctx, s
}

// Recording says whether anything comes of attributes: those that cost something to make
// are left out if not.
func (s Span) Recording() bool { return s.span != nil }

// Set gives it attributes.
func (s Span) Set(attrs ...attribute.KeyValue) {
	if s.span != nil {
		s.span.SetAttributes(attrs...)
	}
}

// Event notes that something has happened now.
func (s Span) Event(name string, attrs ...attribute.KeyValue) {
	if s.span != nil {
		s.span.AddEvent(name, trace.WithAttributes(attrs...))
	}
}

// Fail says that it has failed, and how: a word, as error.type has it, and never the
// text of an error, which may have in it what was asked.
func (s Span) Fail(kind string) {
	if s.span != nil {
		s.span.SetAttributes(attribute.String("error.type", kind))
		s.span.SetStatus(codes.Error, "")
	}
}

// Guarded notes what the policy that a call went through has made of it: that it was not made,
// or given up, or that the breaker has opened since.
func Guarded(s Span, p *breaker.Policy, err error) {
	if s.span == nil || err == nil {
		return
	}
	name := attribute.String("neko.breaker.name", p.Name())
	switch {
	case errors.Is(err, breaker.ErrOpen):
		s.Event("breaker.refused", name)
		return
	case errors.Is(err, breaker.ErrBusy):
		s.Event("breaker.busy", name)
		return
	case errors.Is(err, breaker.ErrTimeout):
		s.Event("breaker.timeout", name)
	}
	if p.Status().State == breaker.Open {
		s.Event("breaker.open", name)
	}
}

// End ends it. What ends with an error is to be told before, by Fail.
func (s Span) End() {
	if s.span != nil {
		s.span.End()
	}
}

// Within is ctx as a part of the span that other is in: for what is done for somebody and
// does not end with them.
func Within(ctx, other context.Context) context.Context {
	return trace.ContextWithSpan(ctx, trace.SpanFromContext(other))
}

// Later begins a span of a trace of its own that is linked to the one that of is in: for
// what goes on when of has had its answer.
func Later(ctx, of context.Context, name string) (context.Context, Span) {
	began := trace.SpanFromContext(of)
	if !recorded(began) {
		return ctx, Span{}
	}
	ctx, s := began.TracerProvider().Tracer(Scope).Start(ctx, name, trace.WithNewRoot(),
		trace.WithLinks(trace.Link{SpanContext: began.SpanContext()}))
	if !s.IsRecording() {
		return ctx, Span{}
	}
	return ctx, Span{s}
}
