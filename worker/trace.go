package worker

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"strconv"

	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/tracing"
)

// A request that is recorded has a span, and its envelope the context that all which is done
// for it is done in; one that is traced and not recorded has the id of its trace, for who
// logs. Without Config.Tracer there is nothing of that, and nothing of this is called.
// docs/tracing.md has the spans and what is in them.

// The headers of W3C's Trace Context, as fasthttp has them.
const (
	traceparentHeader = "Traceparent"
	tracestateHeader  = "Tracestate"
)

// traceHeaders has the one header of each name, none if there are several.
type traceHeaders struct{ h *fasthttp.RequestHeader }

func (c traceHeaders) Get(key string) string {
	switch all := c.h.PeekAll(key); {
	case len(all) == 1:
		return string(all[0])
	case len(all) > 1 && key == "tracestate": // a list, over several lines
		text := string(all[0])
		for _, more := range all[1:] {
			text += "," + string(more)
		}
		return text
	}
	return ""
}

func (traceHeaders) Set(string, string) {}
func (traceHeaders) Keys() []string     { return []string{"traceparent", "tracestate"} }

// traceSampler is what a Tracer may have, too: it says what it is going to decide about a
// request before anything is made for it. Most requests are not recorded where there are many.
type traceSampler interface {
	// Samples decides about the first span here of a trace of this id, within parent if that is valid.
	Samples(parent trace.SpanContext, id trace.TraceID) bool
	// WithTraceID is ctx, such that the trace that begins in it next has this id.
	WithTraceID(ctx context.Context, id trace.TraceID) context.Context
}

// beginTrace begins the span of a request, within the one that its headers name.
func (w *Worker) beginTrace(ctx *fasthttp.RequestCtx, e *envelope) {
	if isProbe(ctx.Path()) {
		return
	}
	parent := w.base
	given := len(ctx.Request.Header.Peek(traceparentHeader)) > 0
	if w.sampler != nil {
		var above trace.SpanContext
		if given {
			if all := ctx.Request.Header.PeekAll(traceparentHeader); len(all) == 1 {
				above = parseParent(all[0])
			}
		}
		e.trace = above.TraceID()
		if given = above.IsValid(); !given {
			e.trace = newTraceID()
		}
		if !w.sampler.Samples(above, e.trace) {
			return
		}
		if !given {
			parent = w.sampler.WithTraceID(parent, e.trace)
		}
	}
	if given {
		parent = propagation.TraceContext{}.Extract(parent, traceHeaders{&ctx.Request.Header})
	}
	method, route := methodName(ctx), w.route(ctx)
	name := method
	switch {
	case route == graphqlPath && method == fasthttp.MethodPost:
		name = "POST " + graphqlPath
	case route == graphqlPath && method == fasthttp.MethodGet:
		name = "GET " + graphqlPath
	case route != "":
		name += " " + route
	}
	e.context, e.span = w.tracer.Start(parent, name, asServer...)
	e.trace = e.span.SpanContext().TraceID()
}

// newTraceID is one that nobody has, of what need not be secret.
func newTraceID() (id trace.TraceID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id
}

// parseParent reads a traceparent as propagation.TraceContext does, but for the tracestate, and
// without allocating. What cannot be read is not valid.
func parseParent(b []byte) (none trace.SpanContext) {
	const length = len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	var c trace.SpanContextConfig
	var version, flags [1]byte
	switch {
	case len(b) < length || b[2] != '-' || b[35] != '-' || b[52] != '-':
	case !unhex(version[:], b) || !unhex(c.TraceID[:], b[3:]) || !unhex(c.SpanID[:], b[36:]) || !unhex(flags[:], b[53:]):
	case version[0] == 0xff, len(b) > length && b[length] != '-': // of later versions there may be more
	case version[0] == 0 && (len(b) > length+1 || flags[0] > 3):
	case !c.TraceID.IsValid() || !c.SpanID.IsValid():
	default:
		c.TraceFlags, c.Remote = trace.TraceFlags(flags[0])&(trace.FlagsSampled|trace.FlagsRandom), true
		return trace.NewSpanContext(c)
	}
	return none
}

// unhex reads as many lower-case hex digits as fill to.
func unhex(to, from []byte) bool {
	for i := range to {
		high, low := hexDigit(from[2*i]), hexDigit(from[2*i+1])
		if high|low > 0xf {
			return false
		}
		to[i] = high<<4 | low
	}
	return true
}

func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

var asServer = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}

// methodName is one of those that are known, as clients may send anything.
func methodName(ctx *fasthttp.RequestCtx) string {
	switch method := string(ctx.Method()); method {
	case fasthttp.MethodPost:
		return fasthttp.MethodPost
	case fasthttp.MethodGet:
		return fasthttp.MethodGet
	case fasthttp.MethodHead:
		return fasthttp.MethodHead
	case fasthttp.MethodOptions:
		return fasthttp.MethodOptions
	}
	return "_OTHER"
}

// route is the path, if it is one of ours: a client may have meant others to be secret.
func (w *Worker) route(ctx *fasthttp.RequestCtx) string {
	path := ctx.Path()
	if string(path) == graphqlPath {
		return graphqlPath
	}
	if w.config.Handlers[string(path)] != nil {
		return string(path)
	}
	return ""
}

// contextOf is what is done for a request in: that of all executions, in its span, or with
// the id of its trace.
func (w *Worker) contextOf(e *envelope) context.Context {
	if e.context == nil && e.trace.IsValid() {
		c := trace.SpanContextConfig{TraceID: e.trace}
		for !c.SpanID.IsValid() {
			binary.NativeEndian.PutUint64(c.SpanID[:], rand.Uint64())
		}
		e.context = trace.ContextWithSpanContext(w.base, trace.NewSpanContext(c))
	}
	return w.spanOf(e)
}

// spanOf is contextOf for what logs nothing: of a request that is not recorded it is that of
// all, and nothing is made for it.
func (w *Worker) spanOf(e *envelope) context.Context {
	if e.context != nil {
		return e.context
	}
	return w.base
}

// endTrace says of a request what has become of it.
func (w *Worker) endTrace(ctx *fasthttp.RequestCtx, e *envelope) {
	defer e.span.End()
	if !e.span.IsRecording() {
		return
	}
	status := ctx.Response.StatusCode()
	attrs := append(make([]attribute.KeyValue, 0, 16),
		attribute.String("http.request.method", methodName(ctx)),
		attribute.String("url.scheme", w.scheme()),
		attribute.Int("http.response.status_code", status),
	)
	if route := w.route(ctx); route != "" {
		attrs = append(attrs, attribute.String("http.route", route))
	}
	failed := ""
	switch list := outcomes(ctx); {
	case len(list) == 1:
		o := &list[0]
		attrs = append(attrs, attribute.Bool("neko.graphql.persisted", o.Persisted))
		if o.Kind != "" {
			attrs = append(attrs, attribute.String("graphql.operation.type", string(o.Kind)))
		}
		if o.Document != "" {
			attrs = append(attrs, attribute.String("neko.graphql.document.hash", o.Document))
		}
		var document documentHash
		state := ""
		if e.known != nil {
			document, state = e.known.document, "hit"
		} else if x, _ := ctx.UserValue(exchangeKey{}).(*exchange); x != nil && len(x.operations) == 1 {
			document, state = x.operations[0].document, x.operations[0].cacheState
		}
		// In other documents clients choose the names, and what is in them.
		if o.Name != "" && w.trusted.text(document) != "" {
			attrs = append(attrs, attribute.String("graphql.operation.name", o.Name))
		}
		if state != "" {
			attrs = append(attrs, attribute.String("neko.cache.state", state))
		}
	case len(list) > 1:
		attrs = append(attrs, attribute.Int("neko.graphql.batch.size", len(list)))
	}
	if len(e.codes) > 0 {
		all := make([]string, len(e.codes))
		for i, c := range e.codes {
			all[i] = string(c)
			if ours(c) && failed == "" {
				failed = all[i]
			}
		}
		attrs = append(attrs, attribute.StringSlice("neko.graphql.error.codes", all))
	}
	if e.limitedBy != "" {
		attrs = append(attrs, attribute.String("neko.limiter.policy", e.limitedBy))
	}
	if status >= fasthttp.StatusInternalServerError && failed == "" {
		failed = strconv.Itoa(status)
	}
	if failed != "" {
		attrs = append(attrs, attribute.String("error.type", failed))
		e.span.SetStatus(codes.Error, "")
	}
	e.span.SetAttributes(attrs...)
}

// ours says of a code whether it is not the client's fault.
func ours(c Code) bool {
	return c == CodeInternal || c == CodeUnavailable || c == CodeTimeout
}

// step begins a span of a request's way, if it is traced.
func (w *Worker) step(ctx context.Context, name string) (context.Context, tracing.Span) {
	if w.tracer == nil {
		return ctx, tracing.Span{}
	}
	return tracing.Start(ctx, name, trace.SpanKindInternal)
}

// failing gives a span the codes of errors, and has it fail for those that are ours.
func failing(s tracing.Span, errs []*Error) {
	if !s.Recording() || len(errs) == 0 {
		return
	}
	var e envelope
	e.failed(errs)
	all := make([]string, len(e.codes))
	for i, c := range e.codes {
		all[i] = string(c)
		if ours(c) {
			s.Fail(string(c))
		}
	}
	s.Set(attribute.StringSlice("neko.graphql.error.codes", all))
}

// servedAs is what an answer of the cache is called in spans.
func servedAs(s cache.Served) string {
	switch s.State {
	case cache.Fresh:
		return "hit"
	case cache.Stale:
		return "stale"
	case cache.StaleOnError:
		return "stale_on_error"
	}
	if s.Shared {
		return "coalesced"
	}
	return "miss"
}

// begin is Request.Begin of what an operation asks the cache for in ctx, nil if nobody
// would see it.
func (w *Worker) begin(ctx context.Context) func(context.Context, bool) (context.Context, func()) {
	if w.tracer == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return nil
	}
	return func(flight context.Context, background bool) (context.Context, func()) {
		if !background {
			return tracing.Within(flight, ctx), func() {}
		}
		flight, span := tracing.Later(flight, ctx, "cache refresh")
		return flight, span.End
	}
}
