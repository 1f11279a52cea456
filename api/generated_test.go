package api

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"pgregory.net/rapid"

	"github.com/nekoctl/neko/api/auth"
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
	s := serve(t, nil)
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
		body, err := json.Marshal(map[string]any{"query": doc.Text, "operationName": doc.Operation, "variables": json.RawMessage(doc.Variables)})
		if err != nil {
			rt.Fatal(err)
		}
		out := []byte(s.post(s.tokens[auth.RoleAdmin], body).body) // who may ask for all
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
