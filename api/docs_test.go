package api

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

var (
	example = regexp.MustCompile("(?s)```graphql\n(.*?)```(?:\n\n```json\n(.*?)```)?")
	cursor  = regexp.MustCompile(`"endCursor":"[^"]+"`)
)

// The examples of the guide, from its top to its end on the sample data, have
// the answers that it shows.
func TestExamplesOfTheGuide(t *testing.T) {
	guide, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	c := newSample(t)
	examples := example.FindAllStringSubmatch(string(guide), -1)
	if len(examples) < 8 {
		t.Fatalf("only %d examples were found", len(examples))
	}
	for _, e := range examples {
		name := strings.Join(strings.Fields(e[1]), " ")
		t.Run(name[:min(len(name), 60)], func(t *testing.T) {
			if e[2] == "" {
				t.Fatal("no answer is shown")
			}
			var got json.RawMessage
			c.get(&got, e[1], nil)
			wantJSON(t, cursor.ReplaceAllString(string(got), `"endCursor":"CURSOR"`), e[2])
		})
	}
}

// The guide names every list, lookup and mutation, and every code.
func TestGuideIsComplete(t *testing.T) {
	guide, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: Schema})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, f := range append(schema.Query.Fields, schema.Mutation.Fields...) {
		if !strings.HasPrefix(f.Name, "__") {
			names = append(names, f.Name)
		}
	}
	for _, code := range []Code{BadUserInput, NotFound, Conflict, Unavailable, Internal} {
		names = append(names, string(code))
	}
	for _, name := range names {
		if !strings.Contains(string(guide), name) {
			t.Errorf("the guide does not name %s", name)
		}
	}
}
