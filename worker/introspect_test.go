package worker

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

//go:embed testdata/introspection.graphql
var introspectionQuery string

// introspectedSchema has all that a schema can say.
const introspectedSchema = `
"""The whole."""
schema { query: Root mutation: Change }
directive @tag(name: String! = "a\"b", old: Int @deprecated) repeatable on FIELD_DEFINITION | OBJECT
scalar Day @specifiedBy(url: "https://example.org/day")
interface Node { id: ID! }
interface Named implements Node { id: ID! name: String }
type Cat implements Named & Node {
	id: ID!
	name: String
	"How many are left."
	lives: Int! @deprecated(reason: "nobody counts")
	tail(long: Boolean = true, wide: [Int!] = [1, 2] @deprecated): Color!
}
type Dog implements Node { id: ID! }
union Pet = Cat | Dog
enum Color { "like fire" RED GREEN @deprecated }
input Choice @oneOf { a: Int b: String }
input Point { x: Float! = 1.5 y: Color = RED z: Point = {x: 2, y: GREEN} w: Int @deprecated }
type Root { pets(near: Point, choice: Choice, on: Day): [[Pet!]!]! }
type Change { wash: Boolean! }
`

// introspectedAnswer is the answer to introspectionQuery, as listed below.
const introspectedAnswer = `
schema query Root, mutation Change, subscription - "The whole."
SCALAR Boolean
OBJECT Cat: Named Node
  id: ID!
  name: String
  lives: Int! "How many are left." deprecated "nobody counts"
  tail: Color!
    long: Boolean = true
    wide: [Int!] = [1,2] deprecated "No longer supported"
OBJECT Change
  wash: Boolean!
INPUT_OBJECT Choice oneOf
  a: Int
  b: String
ENUM Color
  RED "like fire"
  GREEN deprecated "No longer supported"
SCALAR Day https://example.org/day
OBJECT Dog: Node
  id: ID!
SCALAR Float
SCALAR ID
SCALAR Int
INTERFACE Named: Node; Cat
  id: ID!
  name: String
INTERFACE Node; Cat Dog
  id: ID!
UNION Pet; Cat Dog
INPUT_OBJECT Point
  x: Float! = 1.5
  y: Color = RED
  z: Point = {x:2,y:GREEN}
  w: Int deprecated "No longer supported"
OBJECT Root
  pets: [[Pet!]!]!
    near: Point
    choice: Choice
    on: Day
SCALAR String
@tag repeatable on FIELD_DEFINITION OBJECT
    name: String! = "a\"b"
    old: Int deprecated "No longer supported"
`

type shownType struct {
	Kind   string
	Name   *string
	OfType *shownType
}

func (t shownType) String() string {
	switch t.Kind {
	case "NON_NULL":
		return t.OfType.String() + "!"
	case "LIST":
		return "[" + t.OfType.String() + "]"
	}
	return *t.Name
}

// shownThing is a field, an argument, an input field or an enum value.
type shownThing struct {
	Name, Description string
	Type              *shownType
	DefaultValue      *string
	IsDeprecated      bool
	DeprecationReason string
	Args              []shownThing
}

func (f shownThing) list(b *strings.Builder, indent string) {
	b.WriteString(indent + f.Name)
	if f.Type != nil {
		b.WriteString(": " + f.Type.String())
	}
	if f.DefaultValue != nil {
		b.WriteString(" = " + *f.DefaultValue)
	}
	if f.Description != "" {
		fmt.Fprintf(b, " %q", f.Description)
	}
	if f.IsDeprecated {
		fmt.Fprintf(b, " deprecated %q", f.DeprecationReason)
	}
	b.WriteString("\n")
	for _, a := range f.Args {
		a.list(b, indent+"  ")
	}
}

// listed is the answer to introspectionQuery in few words, without what the
// specification itself defines.
func listed(t *testing.T, answer []byte) string {
	t.Helper()
	var a struct {
		Schema struct {
			Description                               string `json:"description"`
			QueryType, MutationType, SubscriptionType *shownType
			Types                                     []struct {
				Kind, Name, Description, SpecifiedByURL string
				IsOneOf                                 *bool
				Fields, InputFields, EnumValues         []shownThing
				Interfaces, PossibleTypes               []shownType
			}
			Directives []struct {
				shownThing
				IsRepeatable bool
				Locations    []string
			}
		} `json:"__schema"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		t.Fatalf("%v: %.200s", err, answer)
	}
	root := func(t *shownType) string {
		if t == nil {
			return "-"
		}
		return t.String()
	}
	var b strings.Builder
	s := a.Schema
	fmt.Fprintf(&b, "\nschema query %s, mutation %s, subscription %s %q\n", root(s.QueryType), root(s.MutationType), root(s.SubscriptionType), s.Description)
	for _, t := range s.Types {
		if strings.HasPrefix(t.Name, "__") {
			continue
		}
		b.WriteString(t.Kind + " " + t.Name)
		if t.SpecifiedByURL != "" {
			b.WriteString(" " + t.SpecifiedByURL)
		}
		if t.IsOneOf != nil && *t.IsOneOf {
			b.WriteString(" oneOf")
		}
		for i, sep := range []string{":", ";"} {
			for _, of := range [][]shownType{t.Interfaces, t.PossibleTypes}[i] {
				b.WriteString(sep + " " + of.String())
				sep = ""
			}
		}
		b.WriteString("\n")
		for _, f := range append(append(t.Fields, t.InputFields...), t.EnumValues...) {
			f.list(&b, "  ")
		}
	}
	for _, d := range s.Directives {
		if d.Name != "tag" {
			continue
		}
		b.WriteString("@" + d.Name)
		if d.IsRepeatable {
			b.WriteString(" repeatable")
		}
		b.WriteString(" on " + strings.Join(d.Locations, " ") + "\n")
		for _, a := range d.Args {
			a.list(&b, "    ")
		}
	}
	return b.String()
}

// The query that clients of today send is answered with all that the schema says.
func TestIntrospectionOfClients(t *testing.T) {
	p, err := newPlanner(Config{Schema: introspectedSchema}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	plan, errs := p.plan(t.Context(), introspectionQuery, "")
	if errs != nil {
		t.Fatal(errs)
	}
	answer, e := p.introspect(plan, nil, []byte(`{"__schema":"Root"}`), maxIntrospectionFields)
	if e != nil {
		t.Fatal(e)
	}
	if got := listed(t, answer); got != introspectedAnswer {
		t.Errorf("got %s\nwant %s", got, introspectedAnswer)
	}
	if text, e := plan.text(nil); e != nil || squeeze(text) != `query IntrospectionQuery{__schema: __typename}` {
		t.Errorf("executed: %s, %v", text, e)
	}
}

func TestIntrospection(t *testing.T) {
	w := newTestWorker(t, Config{})
	for _, c := range []struct{ what, query, variables, want string }{
		{"mixed with data, in order", `{a: hello __type(name: "Color") {kind} b: hello}`, ``, `{"a":"world","__type":{"kind":"ENUM"},"b":"world"}`},
		{"under an alias, twice", `{x: __type(name: "Tool") {name} y: __type(name: "Hit") {name}}`, ``, `{"x":{"name":"Tool"},"y":{"name":"Hit"}}`},
		{"merged", `{__schema {queryType {name}} ...F ... {__schema {queryType {kind}}}} fragment F on Query {__schema {mutationType {name}}}`, ``,
			`{"__schema":{"queryType":{"name":"Query","kind":"OBJECT"},"mutationType":{"name":"Mutation"}}}`},
		{"no such type", `{__type(name: "None") {name}}`, ``, `{"__type":null}`},
		{"type names", `{__typename __schema {__typename directives {__typename} queryType {__typename ... on __Type {n: __typename}}}}`, ``, `{"__typename":"Query","__schema":{"__typename":"__Schema","directives":[{"__typename":"__Directive"},{"__typename":"__Directive"},{"__typename":"__Directive"},{"__typename":"__Directive"},{"__typename":"__Directive"}],"queryType":{"__typename":"__Type","n":"__Type"}}}`},
		{"skipped", `query($no: Boolean!, $yes: Boolean = true) {__schema @include(if: $no) {types {name}} __type(name: "Any") @skip(if: $no) {kind @skip(if: $yes) name @include(if: $yes) ... @skip(if: $yes) {description}}}`,
			`{"no": false}`, `{"__type":{"name":"Any"}}`},
		{"a fragment that data need too", `{...F __type(name: "Hit") {name}} fragment F on Query {hello}`, ``, `{"hello":"world","__type":{"name":"Hit"}}`},
		{"fields that do not fit", `{__type(name: "Color") {fields {name} inputFields {name} interfaces {name} possibleTypes {name} ofType {name} isOneOf specifiedByURL enumValues {name}}}`, ``,
			`{"__type":{"fields":null,"inputFields":null,"interfaces":null,"possibleTypes":null,"ofType":null,"isOneOf":null,"specifiedByURL":null,"enumValues":[{"name":"RED"},{"name":"GREEN"}]}}`},
		{"beside an error", `{fail(how: CODED) __type(name: "Hit") {name}}`, ``, `{"fail":null,"__type":{"name":"Hit"}} !TEAPOT short and stout`},
		{"nested without end", `{__schema {types {fields {type {fields {type {fields {type {fields {name}}}}}}}}}}`, ``, `!GRAPHQL_VALIDATION_FAILED Maximum introspection depth exceeded`},
	} {
		t.Run(c.what, func(t *testing.T) {
			if got := w.answer(t, c.query, "", c.variables); got != c.want {
				t.Errorf("got %.300s\nwant %s", got, c.want)
			}
		})
	}
}

// A document within all other bounds cannot have introspection fill the memory.
func TestIntrospectionIsBounded(t *testing.T) {
	p, err := newPlanner(Config{Schema: "type Query {" + many("f%d: Query ", 100) + "}", MaxAliases: -1}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	for _, inner := range []string{many("a%d: name ", 300), many("a%d: name @skip(if: true) ", 300)} {
		plan, errs := p.plan(t.Context(), `{__type(name: "Query") {fields {type {fields {`+inner+`}}}}}`, "")
		if errs != nil {
			t.Fatal(errs)
		}
		answer, e := p.introspect(plan, nil, []byte(`{"__type":"Query"}`), 100_000)
		if e == nil || e.code != CodeResponseTooLarge {
			t.Errorf("%v, %d bytes", e, len(answer))
		}
	}
}

// The answer is as long as is in proportion to the schema, and not as for the largest.
func TestIntrospectionIsAsLongAsTheSchema(t *testing.T) {
	p, err := newPlanner(Config{Schema: "type Query {" + many("f%d: Query ", 100) + "}"}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	for aliases, want := range map[int]Code{5: "", 50: CodeResponseTooLarge} { // 0.7 and 7 MB
		plan, errs := p.plan(t.Context(), `{__type(name: "Query") {fields {type {fields {`+many("a%d: name ", aliases)+`}}}}}`, "")
		if errs != nil {
			t.Fatal(errs)
		}
		answer, e := p.introspect(plan, nil, []byte(`{"__type":"Query"}`), maxIntrospectionFields)
		var got Code
		if e != nil {
			got = e.code
		}
		if got != want {
			t.Errorf("%d aliases: %q, %d bytes", aliases, got, len(answer))
		}
	}
	for schema, want := range map[int]int{100: minIntrospectionBytes, 100_000: 3_200_000, 2_000_000: maxIntrospectionBytes} {
		if got := introspectionBytes(strings.Repeat(" ", schema)); got != want {
			t.Errorf("a schema of %d bytes: %d", schema, got)
		}
	}
}

func many(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}
