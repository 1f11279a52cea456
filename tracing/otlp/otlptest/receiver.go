// Package otlptest is a receiver of OTLP over HTTP for tests. It reads what is sent with
// the official types.
package otlptest

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Receiver keeps what it was sent.
type Receiver struct {
	*httptest.Server

	mu       sync.Mutex
	spans    []*Span
	raw      []byte // all bodies, unpacked
	headers  []http.Header
	answers  []Answer
	arrived  chan struct{}
	requests int
}

// Answer is one in the place of 200.
type Answer struct {
	Code   int
	Header http.Header
	Body   []byte
}

// Span is one that has come, with its resource.
type Span struct {
	*tracev1.Span
	Resource map[string]string
}

// Open makes a receiver that ends with the test.
func Open(t testing.TB) *Receiver {
	r := &Receiver{arrived: make(chan struct{}, 1)}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

// Answer has the next requests answered so, one each; those after them with 200.
func (r *Receiver) Answer(list ...Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers = append(r.answers, list...)
}

func (r *Receiver) serve(w http.ResponseWriter, q *http.Request) {
	body := io.Reader(q.Body)
	if q.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = z
	}
	data, err := io.ReadAll(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		select {
		case r.arrived <- struct{}{}:
		default:
		}
	}()
	r.requests++
	r.headers = append(r.headers, q.Header.Clone())
	if len(r.answers) > 0 {
		a := r.answers[0]
		r.answers = r.answers[1:]
		for k, v := range a.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(a.Code)
		_, _ = w.Write(a.Body)
		return
	}
	var request collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(data, &request); err != nil || q.Method != "POST" || q.URL.Path != "/v1/traces" || q.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
		return
	}
	if unknown := request.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		http.Error(w, "unknown fields", http.StatusBadRequest)
		return
	}
	r.raw = append(r.raw, data...)
	for _, rs := range request.ResourceSpans {
		resource := Attributes(rs.GetResource().GetAttributes())
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				r.spans = append(r.spans, &Span{s, resource})
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// Attributes are attributes as text.
func Attributes(list []*common.KeyValue) map[string]string {
	all := map[string]string{}
	for _, a := range list {
		all[a.Key] = text(a.Value)
	}
	return all
}

func text(v *common.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *common.AnyValue_StringValue:
		return v.StringValue
	case *common.AnyValue_BoolValue:
		return fmt.Sprint(v.BoolValue)
	case *common.AnyValue_IntValue:
		return fmt.Sprint(v.IntValue)
	case *common.AnyValue_DoubleValue:
		return fmt.Sprint(v.DoubleValue)
	case *common.AnyValue_ArrayValue:
		var all []string
		for _, e := range v.ArrayValue.Values {
			all = append(all, text(e))
		}
		return "[" + strings.Join(all, " ") + "]"
	}
	return fmt.Sprintf("%T", v)
}

// Attr is one attribute, "" if it is not there.
func (s *Span) Attr(key string) string { return Attributes(s.Attributes)[key] }

// Requests is how many there were, and Headers are theirs.
func (r *Receiver) Requests() (n int, headers []http.Header) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests, slices.Clone(r.headers)
}

// Spans are those that have come, and Raw all the bytes that they came in.
func (r *Receiver) Spans() []*Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.spans)
}

// Raw are all bodies, unpacked.
func (r *Receiver) Raw() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.raw)
}

// Until waits until what has come satisfies cond.
func (r *Receiver) Until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	late := time.After(time.Minute)
	for !cond() {
		select {
		case <-r.arrived:
		case <-late:
			t.Fatalf("it has not come within a minute: %s\n%s", what, Tree(r.Spans()))
		}
	}
}

// Tree are spans as lines, each below the one that it is in, in the order of their names
// and beginnings: "POST /graphql", two spaces more for each step.
func Tree(spans []*Span) string {
	in := map[string][]*Span{}
	known := map[string]bool{}
	for _, s := range spans {
		known[hex.EncodeToString(s.SpanId)] = true
	}
	for _, s := range spans {
		parent := hex.EncodeToString(s.ParentSpanId)
		if !known[parent] {
			parent = ""
		}
		in[parent] = append(in[parent], s)
	}
	var b strings.Builder
	var write func(parent, indent string)
	write = func(parent, indent string) {
		list := in[parent]
		slices.SortStableFunc(list, func(a, b *Span) int {
			if a.StartTimeUnixNano != b.StartTimeUnixNano {
				return int(int64(a.StartTimeUnixNano) - int64(b.StartTimeUnixNano))
			}
			return strings.Compare(a.Name, b.Name)
		})
		for _, s := range list {
			fmt.Fprintf(&b, "%s%s\n", indent, s.Name)
			write(hex.EncodeToString(s.SpanId), indent+"  ")
		}
	}
	write("", "")
	return b.String()
}
