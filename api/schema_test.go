package api

import (
	"strings"
	"testing"

	graphql "github.com/graph-gophers/graphql-go"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

// The worker validates with gqlparser and executes with graph-gophers.
func TestSchemaIsValidInBothParsers(t *testing.T) {
	if _, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: Schema}); err != nil {
		t.Error("gqlparser:", err)
	}
	if _, err := graphql.ParseSchema(Schema, NewResolver(nil), SchemaOptions()...); err != nil {
		t.Error("graph-gophers:", err)
	}
}

func TestEverythingIsDescribed(t *testing.T) {
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: Schema})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	check := func(what, description string) {
		n++
		if len(strings.Fields(description)) < 2 || !strings.HasSuffix(strings.TrimSpace(description), ".") {
			t.Errorf("%s: %q is no description", what, description)
		}
	}
	check("schema", schema.Description)
	for name, def := range schema.Types {
		if def.BuiltIn {
			continue
		}
		check(name, def.Description)
		for _, v := range def.EnumValues {
			check(name+"."+v.Name, v.Description)
		}
		for _, f := range def.Fields {
			if strings.HasPrefix(f.Name, "__") {
				continue
			}
			check(name+"."+f.Name, f.Description)
			for _, a := range f.Arguments {
				check(name+"."+f.Name+"("+a.Name+")", a.Description)
			}
		}
	}
	if n < 400 {
		t.Errorf("only %d things were looked at", n)
	}
}

// What tools read is what the SDL says.
func TestDescriptionsAreIntrospected(t *testing.T) {
	schema := graphql.MustParseSchema(Schema, NewResolver(nil), SchemaOptions()...)
	res := schema.Exec(t.Context(), `{ __type(name: "ThreatActor") { description } }`, "", nil)
	if want := `{"__type":{"description":"A group of adversaries: what ATT\u0026CK calls a group and STIX an intrusion set."}}`; string(res.Data) != want {
		t.Errorf("got %s %v", res.Data, res.Errors)
	}
}
