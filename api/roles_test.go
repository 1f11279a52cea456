package api

import (
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/nekoctl/neko/api/auth"
	"github.com/nekoctl/neko/worker"
)

var roleRanks = append([]string{auth.RoleAnyone}, auth.Roles...)

func TestRolesAreThoseOfTheSchema(t *testing.T) {
	var names []string
	for _, v := range loadSchema(t).Types["Role"].EnumValues {
		names = append(names, v.Name)
	}
	if !slices.Equal(names, roleRanks) {
		t.Errorf("the schema has %v, package auth %v", names, roleRanks)
	}
}

func loadSchema(t *testing.T) *ast.Schema {
	t.Helper()
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: Schema})
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// reach is how a type is reached: the text before and after what is selected of
// it, and what the fields on the way need.
type reach struct {
	before, after string
	need          int
}

// operation is one field with the shortest operation that asks for it.
type operation struct {
	coordinate, text string
	need             int
}

// everyField makes an operation for each field of each type that can be reached;
// rootNeed is what a root field needs that says nothing.
func everyField(t *testing.T, schema *ast.Schema, rootNeed int) (all []operation) {
	t.Helper()
	said := func(list ast.DirectiveList) int {
		if d := list.ForName("requires"); d != nil {
			return slices.Index(roleRanks, d.Arguments.ForName("role").Value.Raw)
		}
		return -1
	}
	needOf := func(def *ast.Definition, f *ast.FieldDefinition) int {
		need := max(said(f.Directives), said(def.Directives))
		if need < 0 && (def == schema.Query || def == schema.Mutation) {
			return rootNeed
		}
		return max(need, 0)
	}
	reached := map[string]reach{"Query": {before: "query {", after: "}"}, "Mutation": {before: "mutation {", after: "}"}}
	for queue := []string{"Query", "Mutation"}; len(queue) > 0; queue = queue[1:] {
		def, way := schema.Types[queue[0]], reached[queue[0]]
		if def.Kind == ast.Interface || def.Kind == ast.Union {
			for _, p := range schema.GetPossibleTypes(def) {
				if _, ok := reached[p.Name]; !ok {
					reached[p.Name] = reach{way.before + "... on " + p.Name + " {", "}" + way.after, way.need}
					queue = append(queue, p.Name)
				}
			}
		}
		fields := slices.Clone(def.Fields)
		if i := slices.IndexFunc(fields, func(f *ast.FieldDefinition) bool { return f.Name == "login" }); i >= 0 {
			login := fields[i]
			fields = append(slices.Delete(fields, i, i+1), login) // last: what it answers others do too, and they cost less
		}
		for _, f := range fields {
			if f.Name == "__typename" {
				continue
			}
			// A field of an interface needs what it needs wherever it may lead.
			need := max(way.need, needOf(def, f))
			for _, p := range schema.GetPossibleTypes(def) {
				if own := p.Fields.ForName(f.Name); own != nil {
					need = max(need, needOf(p, own))
				}
			}
			ask := f.Name + requiredArguments(t, schema, f)
			target := schema.Types[f.Type.Name()]
			inner := ""
			if target.IsCompositeType() {
				inner = " {__typename}"
				if _, ok := reached[target.Name]; !ok {
					reached[target.Name] = reach{way.before + ask + " {", "}" + way.after, need}
					queue = append(queue, target.Name)
				}
			}
			all = append(all, operation{def.Name + "." + f.Name, way.before + ask + inner + way.after, need})
		}
	}
	for name, def := range schema.Types {
		if _, ok := reached[name]; !ok && def.IsCompositeType() && !strings.HasPrefix(name, "__") {
			t.Errorf("nothing leads to %s", name)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].coordinate < all[j].coordinate })
	return all
}

// requiredArguments gives a field something for each argument that it must have.
func requiredArguments(t *testing.T, schema *ast.Schema, f *ast.FieldDefinition) string {
	var list []string
	for _, a := range f.Arguments {
		if a.Type.NonNull && a.DefaultValue == nil {
			list = append(list, a.Name+": "+anything(t, schema, a.Type))
		}
	}
	if list == nil {
		return ""
	}
	return "(" + strings.Join(list, ", ") + ")"
}

func anything(t *testing.T, schema *ast.Schema, typ *ast.Type) string {
	switch def := schema.Types[typ.Name()]; {
	case typ.Elem != nil:
		return "[]"
	case def.Kind == ast.Enum:
		return def.EnumValues[0].Name
	case def.Kind == ast.InputObject:
		var list []string
		for _, f := range def.Fields {
			if f.Type.NonNull && f.DefaultValue == nil {
				list = append(list, f.Name+": "+anything(t, schema, f.Type))
			}
		}
		return "{" + strings.Join(list, ", ") + "}"
	case def.Name == "ID" || def.Name == "String":
		return `"x"`
	default:
		t.Fatalf("no value for %s", typ)
		return ""
	}
}

// Every field of every type, asked by everybody, with anonymous reads and without:
// a real worker lets through whom the schema says and nobody else. Who that is
// stands in testdata/roles.txt too, so that no right changes unseen: after a change
// that is meant, run with -update.
func TestEveryFieldWithEveryRole(t *testing.T) {
	schema := loadSchema(t)
	list := map[string]string{}
	for _, mode := range []struct {
		name     string
		root     int
		settings func(*worker.Config)
	}{
		{"open", 0, nil},
		{"closed", 1, func(c *worker.Config) { c.DefaultRole = auth.RoleViewer }},
	} {
		s := serve(t, mode.settings)
		all := everyField(t, schema, mode.root)
		if len(all) < 300 {
			t.Errorf("only %d fields", len(all))
		}
		for _, op := range all {
			least := ""
			for rank, role := range append([]string{""}, auth.Roles...) {
				a := s.ask(s.tokens[role], op.text, nil)
				code := a.code()
				if strings.HasPrefix(code, "GRAPHQL_") || code == "BAD_REQUEST" {
					t.Fatalf("%s: %s", op.text, a.body)
				}
				refused := code == "UNAUTHENTICATED" || code == "FORBIDDEN"
				if refused != (rank < op.need) || refused && (code == "UNAUTHENTICATED") != (role == "") || refused && string(a.Data) != "null" && a.Data != nil {
					t.Errorf("%s, %s as %q: %s; the schema says %s", mode.name, op.text, role, a.body, roleRanks[op.need])
				}
				if !refused && least == "" {
					least = roleRanks[rank]
				}
			}
			list[op.coordinate] += fmt.Sprintf(" %-7s", least)
		}
	}
	var lines []string
	for coordinate, roles := range list {
		lines = append(lines, strings.TrimRight(fmt.Sprintf("%-40s %s", coordinate, roles), " "))
	}
	slices.Sort(lines)
	got := "# The weakest role that each field needs, where reads are for everybody and where they are not.\n" + strings.Join(lines, "\n") + "\n"
	const file = "testdata/roles.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("rights have changed; if that is meant: go test ./api -run EveryRole -update\n%s", differing(string(want), got))
	}
}

// differing are the lines that one text has and the other has not.
func differing(want, got string) string {
	var out []string
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, l := range a {
		if !slices.Contains(b, l) {
			out = append(out, "- "+l)
		}
	}
	for _, l := range b {
		if !slices.Contains(a, l) {
			out = append(out, "+ "+l)
		}
	}
	return strings.Join(out, "\n")
}
