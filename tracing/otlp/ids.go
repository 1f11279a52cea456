package otlp

import (
	"context"
	"encoding/binary"
	"math/rand/v2"

	"go.opentelemetry.io/otel/trace"
)

// ids makes the ids of traces and spans: random ones, but for what WithTraceID has chosen.
type ids struct{}

type chosenKey struct{}

// chosen is for one trace: others that begin below it are others.
type chosen struct{ id trace.TraceID }

// NewIDs is of [sdk.IDGenerator].
func (g ids) NewIDs(ctx context.Context) (id trace.TraceID, span trace.SpanID) {
	if c, _ := ctx.Value(chosenKey{}).(*chosen); c != nil && c.id.IsValid() {
		id, c.id = c.id, trace.TraceID{}
	}
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID is of [sdk.IDGenerator].
func (ids) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}
