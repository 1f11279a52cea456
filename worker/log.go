package worker

import (
	"context"
	"log/slog"
)

// requestIDKey is the attribute of a line that belongs to a request: what the client was
// told in X-Request-Id.
const requestIDKey = "request_id"

// LogHandler is h, with what a line of a request is found by: it adds "request_id" to
// records whose context is that of an operation. Config.Log has it: resolvers that log
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
	if id := CallerFrom(ctx).RequestID; id != "" {
		r = r.Clone()
		r.AddAttrs(slog.String(requestIDKey, id))
	}
	return h.Handler.Handle(ctx, r)
}

func (h requestHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestHandler{h.Handler.WithAttrs(attrs)}
}

func (h requestHandler) WithGroup(name string) slog.Handler {
	return requestHandler{h.Handler.WithGroup(name)}
}
