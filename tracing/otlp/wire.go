package otlp

import (
	"math"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// What is sent is an ExportTraceServiceRequest in protobuf's encoding, as
// opentelemetry-proto 1.x has it (opentelemetry/proto/trace/v1/trace.proto and
// common/v1/common.proto). It is written field by field: the generated types, with the
// registries behind them, would cost each worker 10 MB and 2 ms at its start, and are
// what the tests read it with.

// encoder appends messages. What is in a message has its length before it, so each is
// appended first and moved by the bytes that its length takes then.
type encoder struct{ b []byte }

// message appends a field whose value is what f appends.
func (e *encoder) message(field protowire.Number, f func()) {
	e.b = protowire.AppendTag(e.b, field, protowire.BytesType)
	begin := len(e.b)
	f()
	n := len(e.b) - begin
	size := protowire.SizeVarint(uint64(n))
	for range size {
		e.b = append(e.b, 0)
	}
	copy(e.b[begin+size:], e.b[begin:begin+n])
	protowire.AppendVarint(e.b[:begin], uint64(n))
}

func (e *encoder) text(field protowire.Number, s string) {
	if s != "" {
		e.b = protowire.AppendString(protowire.AppendTag(e.b, field, protowire.BytesType), s)
	}
}

func (e *encoder) bytes(field protowire.Number, v []byte) {
	e.b = protowire.AppendBytes(protowire.AppendTag(e.b, field, protowire.BytesType), v)
}

func (e *encoder) varint(field protowire.Number, v uint64) {
	if v != 0 {
		e.b = protowire.AppendVarint(protowire.AppendTag(e.b, field, protowire.VarintType), v)
	}
}

func (e *encoder) fixed64(field protowire.Number, v uint64) {
	e.b = protowire.AppendFixed64(protowire.AppendTag(e.b, field, protowire.Fixed64Type), v)
}

func (e *encoder) fixed32(field protowire.Number, v uint32) {
	e.b = protowire.AppendFixed32(protowire.AppendTag(e.b, field, protowire.Fixed32Type), v)
}

// attributes appends a repeated KeyValue.
func (e *encoder) attributes(field protowire.Number, attrs []attribute.KeyValue) {
	for _, a := range attrs {
		e.message(field, func() {
			e.text(1, string(a.Key))
			e.message(2, func() { e.value(a.Value) })
		})
	}
}

// value appends the one field of an AnyValue, also if it is the zero of its type: it
// says which type it is.
func (e *encoder) value(v attribute.Value) {
	switch v.Type() {
	case attribute.BOOL:
		e.b = protowire.AppendVarint(protowire.AppendTag(e.b, 2, protowire.VarintType), protowire.EncodeBool(v.AsBool()))
	case attribute.INT64:
		e.b = protowire.AppendVarint(protowire.AppendTag(e.b, 3, protowire.VarintType), uint64(v.AsInt64()))
	case attribute.FLOAT64:
		e.fixed64(4, math.Float64bits(v.AsFloat64()))
	case attribute.STRINGSLICE:
		list(e, v.AsStringSlice(), attribute.StringValue)
	case attribute.BOOLSLICE:
		list(e, v.AsBoolSlice(), attribute.BoolValue)
	case attribute.INT64SLICE:
		list(e, v.AsInt64Slice(), attribute.Int64Value)
	case attribute.FLOAT64SLICE:
		list(e, v.AsFloat64Slice(), attribute.Float64Value)
	default:
		e.b = protowire.AppendString(protowire.AppendTag(e.b, 1, protowire.BytesType), v.String())
	}
}

func list[T any](e *encoder, all []T, of func(T) attribute.Value) {
	e.message(5, func() {
		for _, v := range all {
			e.message(1, func() { e.value(of(v)) })
		}
	})
}

// request appends the spans of one resource. They may be of several scopes.
func (e *encoder) request(resource []attribute.KeyValue, spans []sdk.ReadOnlySpan) {
	type scope struct{ name, version string }
	var order []scope
	of := map[scope][]sdk.ReadOnlySpan{}
	for _, s := range spans {
		k := scope{s.InstrumentationScope().Name, s.InstrumentationScope().Version}
		if of[k] == nil {
			order = append(order, k)
		}
		of[k] = append(of[k], s)
	}
	e.message(1, func() { // ResourceSpans
		e.message(1, func() { e.attributes(1, resource) })
		for _, k := range order {
			e.message(2, func() { // ScopeSpans
				e.message(1, func() {
					e.text(1, k.name)
					e.text(2, k.version)
				})
				for _, s := range of[k] {
					e.message(2, func() { e.span(s) })
				}
			})
		}
	})
}

// The bits of Span.flags and Link.flags above those of W3C's.
const (
	knowsRemote = 0x100
	isRemote    = 0x200
)

func flags(own trace.TraceFlags, parent trace.SpanContext) uint32 {
	f := uint32(own) | knowsRemote
	if parent.IsRemote() {
		f |= isRemote
	}
	return f
}

func (e *encoder) span(s sdk.ReadOnlySpan) {
	c, parent := s.SpanContext(), s.Parent()
	id, span := c.TraceID(), c.SpanID()
	e.bytes(1, id[:])
	e.bytes(2, span[:])
	e.text(3, c.TraceState().String())
	if parent.HasSpanID() {
		of := parent.SpanID()
		e.bytes(4, of[:])
	}
	e.text(5, s.Name())
	e.varint(6, uint64(s.SpanKind())) // the numbers are the same
	e.fixed64(7, uint64(s.StartTime().UnixNano()))
	e.fixed64(8, uint64(s.EndTime().UnixNano()))
	e.attributes(9, s.Attributes())
	e.varint(10, uint64(s.DroppedAttributes()))
	for _, event := range s.Events() {
		e.message(11, func() {
			e.fixed64(1, uint64(event.Time.UnixNano()))
			e.text(2, event.Name)
			e.attributes(3, event.Attributes)
			e.varint(4, uint64(event.DroppedAttributeCount))
		})
	}
	e.varint(12, uint64(s.DroppedEvents()))
	for _, link := range s.Links() {
		e.message(13, func() {
			id, span := link.SpanContext.TraceID(), link.SpanContext.SpanID()
			e.bytes(1, id[:])
			e.bytes(2, span[:])
			e.text(3, link.SpanContext.TraceState().String())
			e.attributes(4, link.Attributes)
			e.varint(5, uint64(link.DroppedAttributeCount))
			e.fixed32(6, flags(link.SpanContext.TraceFlags(), link.SpanContext))
		})
	}
	e.varint(14, uint64(s.DroppedLinks()))
	if status := s.Status(); status.Code != codes.Unset {
		e.message(15, func() {
			e.text(2, status.Description)
			code := uint64(1) // STATUS_CODE_OK
			if status.Code == codes.Error {
				code = 2
			}
			e.varint(3, code)
		})
	}
	e.fixed32(16, flags(c.TraceFlags(), parent))
}

// partial reads an ExportTraceServiceResponse: how many spans the receiver has not
// taken, and why.
func partial(b []byte) (rejected int64, message string, err error) {
	err = fields(b, func(n protowire.Number, t protowire.Type, v []byte) error {
		if n != 1 || t != protowire.BytesType {
			return nil
		}
		inner, size := protowire.ConsumeBytes(v)
		if size < 0 {
			return protowire.ParseError(size)
		}
		return fields(inner, func(n protowire.Number, t protowire.Type, v []byte) error {
			switch {
			case n == 1 && t == protowire.VarintType:
				u, size := protowire.ConsumeVarint(v)
				if size < 0 {
					return protowire.ParseError(size)
				}
				rejected = int64(u)
			case n == 2 && t == protowire.BytesType:
				s, size := protowire.ConsumeBytes(v)
				if size < 0 {
					return protowire.ParseError(size)
				}
				message = string(s)
			}
			return nil
		})
	})
	return rejected, message, err
}

// fields calls f for each field of a message, with the rest of the message from its value on.
func fields(b []byte, f func(protowire.Number, protowire.Type, []byte) error) error {
	for len(b) > 0 {
		n, t, size := protowire.ConsumeTag(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		if err := f(n, t, b); err != nil {
			return err
		}
		if size = protowire.ConsumeFieldValue(n, t, b); size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
	}
	return nil
}
