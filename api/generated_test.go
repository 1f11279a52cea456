package api

import (
	"context"
	"encoding/json"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp/fasthttputil"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"pgregory.net/rapid"

	"github.com/nekoctl/neko/worker"
	"github.com/nekoctl/neko/worker/gqltest"
)

// Whatever valid document is sent, the API answers it or says what is wrong with
// its values, or with who asks: nothing fails of itself, in the worker, in a resolver or in the store.
func TestValidDocumentsAreAnswered(t *testing.T) {
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: Schema})
	if err != nil {
		t.Fatal(err)
	}
	post := serveSample(t)
	answered := 0
	rapid.Check(t, func(rt *rapid.T) {
		doc := gqltest.Valid(schema).Draw(rt, "document")
		var answer struct {
			Data   *json.RawMessage
			Errors []struct {
				Message    string
				Extensions struct{ Code Code }
			}
		}
		out := post(rt, doc)
		if err := json.Unmarshal(out, &answer); err != nil {
			rt.Fatalf("%s: %v\n%s", out, err, doc)
		}
		if answer.Data == nil && len(answer.Errors) == 0 {
			rt.Fatalf("%s\n%s", out, doc)
		}
		for _, e := range answer.Errors {
			code := worker.Code(e.Extensions.Code)
			invalid := code == worker.CodeValidationFailed && !strings.HasPrefix(e.Message, "the document") // which is too large
			if invalid || slices.Contains([]worker.Code{"", worker.CodeInternal, worker.CodeUnavailable, worker.CodeParseFailed}, code) {
				rt.Fatalf("%s\n%s", out, doc)
			}
		}
		if len(answer.Errors) == 0 {
			answered++
		}
	})
	if answered == 0 {
		t.Error("no document had an answer without an error")
	}
}

// serveSample is a worker with the API on the sample data.
func serveSample(t *testing.T) (post func(rt *rapid.T, doc gqltest.Document) []byte) {
	t.Helper()
	w, err := worker.New(worker.Config{
		Schema: Schema, Resolver: NewResolver(openSample(t)), SchemaOptions: SchemaOptions(), FieldCosts: FieldCosts,
		Log: log.New(t.Output(), "", 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	l := fasthttputil.NewInmemoryListener()
	served := make(chan error, 1)
	go func() { served <- w.Serve(l) }()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return l.Dial() },
	}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		w.Close()
		l.Close()
		<-served
	})
	return func(rt *rapid.T, doc gqltest.Document) []byte {
		body, err := json.Marshal(map[string]any{"query": doc.Text, "operationName": doc.Operation, "variables": json.RawMessage(doc.Variables)})
		if err != nil {
			rt.Fatal(err)
		}
		resp, err := client.Post("http://api/graphql", "application/json", strings.NewReader(string(body)))
		if err != nil {
			rt.Fatal(err)
		}
		defer resp.Body.Close()
		var out json.RawMessage
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			rt.Fatal(err)
		}
		return out
	}
}
