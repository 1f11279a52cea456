package worker

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// requestIDKey is the attribute of a line that belongs to a request: what the client was
// told in X-Request-Id.
const requestIDKey = "request_id"

// LogHandler is h, with what a line of a request is found by: it adds "request_id" to
// records whose context is that of an operation, and "trace_id" and "span_id" if it is traced. Config.Log has it: resolvers that log
// by h give their context, as in InfoContext.
func LogHandler(h slog.Handler) slog.Handler {
	if fromRequests(h) {
		return h
	}
	return requestHandler{h}
}

func fromRequests(h slog.Handler) bool {
	_, ok := h.(requestHandler)
	return ok
}

type requestHandler struct{ slog.Handler }

func (h requestHandler) Handle(ctx context.Context, r slog.Record) error {
	id, span := CallerFrom(ctx).RequestID, trace.SpanContextFromContext(ctx)
	if id != "" || span.IsValid() {
		r = r.Clone()
	}
	if id != "" {
		r.AddAttrs(slog.String(requestIDKey, id))
	}
	if span.IsValid() {
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h requestHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestHandler{h.Handler.WithAttrs(attrs)}
}

func (h requestHandler) WithGroup(name string) slog.Handler {
	return requestHandler{h.Handler.WithGroup(name)}
}
