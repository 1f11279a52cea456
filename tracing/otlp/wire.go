package otlp

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// What is sent is an ExportTraceServiceRequest in protobuf's encoding, as
// opentelemetry-proto 1.x has it (opentelemetry/proto/trace/v1/trace.proto and
// common/v1/common.proto). It is written field by field: the generated types, with the
// registries behind them, would cost each worker 10 MB and 2 ms at its start, and are
// what the tests read it with. (Package protowire alone reads the program's own file at each
// start, as other packages of protobuf's want it.)

// The wire types of fields.
const (
	typeVarint  = 0
	typeFixed64 = 1
	typeBytes   = 2
	typeFixed32 = 5
)

// encoder appends messages. What is in a message has its length before it, so each is
// appended first and moved by the bytes that its length takes then.
type encoder struct{ b []byte }

func (e *encoder) tag(field, wire int) {
	e.b = binary.AppendUvarint(e.b, uint64(field<<3|wire))
}

// message appends a field whose value is what f appends.
func (e *encoder) message(field int, f func()) {
	e.tag(field, typeBytes)
	begin := len(e.b)
	f()
	n := len(e.b) - begin
	size := (bits.Len(uint(n|1)) + 6) / 7 // of n, 7 bits in a byte
	for range size {
		e.b = append(e.b, 0)
	}
	copy(e.b[begin+size:], e.b[begin:begin+n])
	binary.PutUvarint(e.b[begin:], uint64(n))
}

func (e *encoder) text(field int, s string) {
	if s != "" {
		e.always(field, s)
	}
}

// always is text also if that is empty.
func (e *encoder) always(field int, s string) {
	e.tag(field, typeBytes)
	e.b = append(binary.AppendUvarint(e.b, uint64(len(s))), s...)
}

func (e *encoder) bytes(field int, v []byte) {
	e.tag(field, typeBytes)
	e.b = append(binary.AppendUvarint(e.b, uint64(len(v))), v...)
}

func (e *encoder) varint(field int, v uint64) {
	if v != 0 {
		e.tag(field, typeVarint)
		e.b = binary.AppendUvarint(e.b, v)
	}
}

func (e *encoder) fixed64(field int, v uint64) {
	e.tag(field, typeFixed64)
	e.b = binary.LittleEndian.AppendUint64(e.b, v)
}

func (e *encoder) fixed32(field int, v uint32) {
	e.tag(field, typeFixed32)
	e.b = binary.LittleEndian.AppendUint32(e.b, v)
}

// attributes appends a repeated KeyValue.
func (e *encoder) attributes(field int, attrs []attribute.KeyValue) {
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
		e.tag(2, typeVarint)
		e.b = binary.AppendUvarint(e.b, oneIf(v.AsBool()))
	case attribute.INT64:
		e.tag(3, typeVarint)
		e.b = binary.AppendUvarint(e.b, uint64(v.AsInt64()))
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
		e.always(1, v.String())
	}
}

func oneIf(on bool) uint64 {
	if on {
		return 1
	}
	return 0
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
	err = fields(b, func(field, wire int, _ uint64, inner []byte) error {
		if field != 1 || wire != typeBytes {
			return nil
		}
		return fields(inner, func(field, wire int, n uint64, text []byte) error {
			switch {
			case field == 1 && wire == typeVarint:
				rejected = int64(n)
			case field == 2 && wire == typeBytes:
				message = string(text)
			}
			return nil
		})
	})
	return rejected, message, err
}

var (
	errWire  = errors.New("this is no message of protobuf")
	errGroup = errors.New("it has a group, which no message of OpenTelemetry's has")
)

// fields calls f for each field of a message with its value: a number, or bytes.
func fields(b []byte, f func(field, wire int, n uint64, v []byte) error) error {
	for len(b) > 0 {
		tag, size := binary.Uvarint(b)
		if size <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return errWire
		}
		b = b[size:]
		var n uint64
		var v []byte
		switch size = 0; tag & 7 {
		case typeVarint:
			n, size = binary.Uvarint(b)
		case typeFixed64:
			size = 8
		case typeFixed32:
			size = 4
		case typeBytes:
			if n, size = binary.Uvarint(b); size > 0 && n <= uint64(len(b)-size) {
				v = b[size : size+int(n)]
				size += int(n)
			} else {
				size = 0
			}
		case 3, 4:
			return errGroup
		}
		if size <= 0 || size > len(b) {
			return errWire
		}
		b = b[size:]
		if err := f(int(tag>>3), int(tag&7), n, v); err != nil {
			return err
		}
	}
	return nil
}
