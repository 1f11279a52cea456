package otlp

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	resourcev1 "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	tracev1 "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// What is written is, to the byte, what the official types write of the same spans: any
// field that were left out, or had another number or type, would show.
func TestWhatIsWrittenIsWhatTheOfficialTypesWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		resource := drawAttributes(t, "resource")
		var spans []sdk.ReadOnlySpan
		want := &tracev1.ResourceSpans{Resource: &resourcev1.Resource{Attributes: officialAttributes(resource)}}
		for range rapid.IntRange(1, 5).Draw(t, "spans") {
			stub := drawSpan(t)
			spans = append(spans, stub.Snapshot())
			i := slices.IndexFunc(want.ScopeSpans, func(s *tracev1.ScopeSpans) bool { return s.Scope.Name == stub.InstrumentationScope.Name })
			if i < 0 {
				i = len(want.ScopeSpans)
				want.ScopeSpans = append(want.ScopeSpans, &tracev1.ScopeSpans{Scope: &common.InstrumentationScope{Name: stub.InstrumentationScope.Name}})
			}
			want.ScopeSpans[i].Spans = append(want.ScopeSpans[i].Spans, official(stub))
		}
		var e encoder
		e.request(resource, spans)
		request := &collector.ExportTraceServiceRequest{ResourceSpans: []*tracev1.ResourceSpans{want}}
		var got collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(e.b, &got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(&got, request) {
			t.Fatalf("got\n%v\nwant\n%v", &got, request)
		}
		canonical, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(e.b, canonical) {
			t.Fatalf("got\n%x\nwant\n%x", e.b, canonical)
		}
	})
}

func drawAttributes(t *rapid.T, what string) (all []attribute.KeyValue) {
	for range rapid.IntRange(0, 4).Draw(t, what) {
		key := rapid.StringMatching(`[a-z.]{1,12}`).Draw(t, "key")
		text := rapid.StringN(0, 200, 400)
		switch rapid.IntRange(0, 7).Draw(t, "type") {
		case 0:
			all = append(all, attribute.String(key, text.Draw(t, "text")))
		case 1:
			all = append(all, attribute.Bool(key, rapid.Bool().Draw(t, "bool")))
		case 2:
			all = append(all, attribute.Int64(key, rapid.Int64().Draw(t, "int")))
		case 3:
			all = append(all, attribute.Float64(key, rapid.Float64().Draw(t, "float")))
		case 4:
			all = append(all, attribute.StringSlice(key, rapid.SliceOfN(text, 0, 3).Draw(t, "texts")))
		case 5:
			all = append(all, attribute.BoolSlice(key, rapid.SliceOfN(rapid.Bool(), 0, 3).Draw(t, "bools")))
		case 6:
			all = append(all, attribute.Int64Slice(key, rapid.SliceOfN(rapid.Int64(), 0, 3).Draw(t, "ints")))
		case 7:
			all = append(all, attribute.Float64Slice(key, []float64{0, math.Inf(1), rapid.Float64().Draw(t, "float")}))
		}
	}
	return all
}

func drawContext(t *rapid.T) trace.SpanContext {
	c := trace.SpanContextConfig{TraceFlags: trace.TraceFlags(rapid.IntRange(0, 1).Draw(t, "flags")), Remote: rapid.Bool().Draw(t, "remote")}
	copy(c.TraceID[:], rapid.SliceOfN(rapid.ByteRange(1, 255), 16, 16).Draw(t, "trace"))
	copy(c.SpanID[:], rapid.SliceOfN(rapid.ByteRange(1, 255), 8, 8).Draw(t, "span"))
	if rapid.Bool().Draw(t, "state") {
		state, err := trace.ParseTraceState("vendor=opaque,other=1")
		if err != nil {
			t.Fatal(err)
		}
		c.TraceState = state
	}
	return trace.NewSpanContext(c)
}

func drawSpan(t *rapid.T) tracetest.SpanStub {
	at := func() time.Time { return time.Unix(0, rapid.Int64Range(1, 1<<62).Draw(t, "time")) }
	s := tracetest.SpanStub{
		Name: rapid.StringN(0, 40, 100).Draw(t, "name"), SpanContext: drawContext(t), SpanKind: trace.SpanKind(rapid.IntRange(1, 5).Draw(t, "kind")),
		StartTime: at(), EndTime: at(), Attributes: drawAttributes(t, "attributes"),
		DroppedAttributes: rapid.IntRange(0, 3).Draw(t, "dropped"), DroppedEvents: rapid.IntRange(0, 3).Draw(t, "dropped"), DroppedLinks: rapid.IntRange(0, 3).Draw(t, "dropped"),
		Status:               sdk.Status{Code: codes.Code(rapid.IntRange(0, 2).Draw(t, "status"))},
		InstrumentationScope: instrumentation.Scope{Name: rapid.SampledFrom([]string{"one", "two"}).Draw(t, "scope")},
	}
	if s.Status.Code == codes.Error {
		s.Status.Description = rapid.StringN(0, 20, 50).Draw(t, "description")
	}
	if rapid.Bool().Draw(t, "child") {
		s.Parent = drawContext(t)
	}
	for range rapid.IntRange(0, 3).Draw(t, "events") {
		s.Events = append(s.Events, sdk.Event{Name: "e", Time: at(), Attributes: drawAttributes(t, "attributes"), DroppedAttributeCount: 2})
	}
	for range rapid.IntRange(0, 3).Draw(t, "links") {
		s.Links = append(s.Links, sdk.Link{SpanContext: drawContext(t), Attributes: drawAttributes(t, "attributes"), DroppedAttributeCount: 1})
	}
	return s
}

// official is the same span in the official types.
func official(s tracetest.SpanStub) *tracev1.Span {
	id, span := s.SpanContext.TraceID(), s.SpanContext.SpanID()
	of := func(own, parent trace.SpanContext) uint32 {
		f := uint32(own.TraceFlags()) | uint32(tracev1.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
		if parent.IsRemote() {
			f |= uint32(tracev1.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
		}
		return f
	}
	o := &tracev1.Span{
		TraceId: id[:], SpanId: span[:], TraceState: s.SpanContext.TraceState().String(), Name: s.Name,
		Kind: map[trace.SpanKind]tracev1.Span_SpanKind{
			trace.SpanKindInternal: tracev1.Span_SPAN_KIND_INTERNAL, trace.SpanKindServer: tracev1.Span_SPAN_KIND_SERVER, trace.SpanKindClient: tracev1.Span_SPAN_KIND_CLIENT,
			trace.SpanKindProducer: tracev1.Span_SPAN_KIND_PRODUCER, trace.SpanKindConsumer: tracev1.Span_SPAN_KIND_CONSUMER,
		}[s.SpanKind],
		StartTimeUnixNano: uint64(s.StartTime.UnixNano()), EndTimeUnixNano: uint64(s.EndTime.UnixNano()),
		Attributes: officialAttributes(s.Attributes), DroppedAttributesCount: uint32(s.DroppedAttributes),
		DroppedEventsCount: uint32(s.DroppedEvents), DroppedLinksCount: uint32(s.DroppedLinks), Flags: of(s.SpanContext, s.Parent),
	}
	if s.Parent.HasSpanID() {
		parent := s.Parent.SpanID()
		o.ParentSpanId = parent[:]
	}
	switch s.Status.Code {
	case codes.Error:
		o.Status = &tracev1.Status{Code: tracev1.Status_STATUS_CODE_ERROR, Message: s.Status.Description}
	case codes.Ok:
		o.Status = &tracev1.Status{Code: tracev1.Status_STATUS_CODE_OK}
	}
	for _, e := range s.Events {
		o.Events = append(o.Events, &tracev1.Span_Event{TimeUnixNano: uint64(e.Time.UnixNano()), Name: e.Name, Attributes: officialAttributes(e.Attributes), DroppedAttributesCount: uint32(e.DroppedAttributeCount)})
	}
	for _, l := range s.Links {
		id, span := l.SpanContext.TraceID(), l.SpanContext.SpanID()
		o.Links = append(o.Links, &tracev1.Span_Link{TraceId: id[:], SpanId: span[:], TraceState: l.SpanContext.TraceState().String(),
			Attributes: officialAttributes(l.Attributes), DroppedAttributesCount: uint32(l.DroppedAttributeCount), Flags: of(l.SpanContext, l.SpanContext)})
	}
	return o
}

func officialAttributes(attrs []attribute.KeyValue) (all []*common.KeyValue) {
	text := func(s string) *common.AnyValue {
		return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: s}}
	}
	boolean := func(b bool) *common.AnyValue {
		return &common.AnyValue{Value: &common.AnyValue_BoolValue{BoolValue: b}}
	}
	whole := func(n int64) *common.AnyValue {
		return &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: n}}
	}
	real := func(f float64) *common.AnyValue {
		return &common.AnyValue{Value: &common.AnyValue_DoubleValue{DoubleValue: f}}
	}
	for _, a := range attrs {
		var v *common.AnyValue
		array := &common.ArrayValue{}
		switch a.Value.Type() {
		case attribute.STRING:
			v = text(a.Value.AsString())
		case attribute.BOOL:
			v = boolean(a.Value.AsBool())
		case attribute.INT64:
			v = whole(a.Value.AsInt64())
		case attribute.FLOAT64:
			v = real(a.Value.AsFloat64())
		case attribute.STRINGSLICE:
			for _, s := range a.Value.AsStringSlice() {
				array.Values = append(array.Values, text(s))
			}
		case attribute.BOOLSLICE:
			for _, b := range a.Value.AsBoolSlice() {
				array.Values = append(array.Values, boolean(b))
			}
		case attribute.INT64SLICE:
			for _, n := range a.Value.AsInt64Slice() {
				array.Values = append(array.Values, whole(n))
			}
		case attribute.FLOAT64SLICE:
			for _, f := range a.Value.AsFloat64Slice() {
				array.Values = append(array.Values, real(f))
			}
		}
		if v == nil {
			v = &common.AnyValue{Value: &common.AnyValue_ArrayValue{ArrayValue: array}}
		}
		all = append(all, &common.KeyValue{Key: string(a.Key), Value: v})
	}
	return all
}

func TestPartialSuccess(t *testing.T) {
	answer, err := proto.Marshal(&collector.ExportTraceServiceResponse{PartialSuccess: &collector.ExportTracePartialSuccess{RejectedSpans: 3, ErrorMessage: "too old"}})
	if err != nil {
		t.Fatal(err)
	}
	if n, text, err := partial(answer); n != 3 || text != "too old" || err != nil {
		t.Error(n, text, err)
	}
	if n, text, err := partial(nil); n != 0 || text != "" || err != nil {
		t.Error(n, text, err)
	}
	if _, _, err := partial(answer[:len(answer)-1]); err == nil {
		t.Error("half of it is read")
	}
}

func FuzzPartialSuccess(f *testing.F) {
	f.Add([]byte{0x0a, 0x04, 0x08, 0x03, 0x12, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		var official collector.ExportTraceServiceResponse
		if proto.Unmarshal(b, &official) != nil {
			_, _, _ = partial(b)
			return
		}
		n, text, err := partial(b)
		if errors.Is(err, errGroup) {
			return
		}
		if p := official.PartialSuccess; err != nil || n != p.GetRejectedSpans() || text != p.GetErrorMessage() {
			t.Errorf("%x: %d %q %v, and not %v", b, n, text, err, p)
		}
	})
}
