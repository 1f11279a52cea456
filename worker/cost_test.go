package worker

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const costSchema = `
directive @cost(weight: Int!) on FIELD_DEFINITION | ARGUMENT_DEFINITION | OBJECT | SCALAR | ENUM
directive @listSize(assumedSize: Int, slicingArguments: [String!], sizedFields: [String!]) on FIELD_DEFINITION
type Query {
	one: Book
	name: String!
	search(text: String @cost(weight: 7), page: Int): Books! @listSize(slicingArguments: "page", sizedFields: ["nodes"], assumedSize: 4)
	books(first: Int = 20, last: Int): Books!
	all: [Book!]!
	few: [Book!]! @listSize(assumedSize: 3)
	some(limit: Int!): [Book!]!
	titles(first: Int): [String!]!
	any: Thing!
	either: Either!
	report: String! @cost(weight: 100)
}
type Mutation { add: Book! login: String! @cost(weight: 30000) }
type Books { nodes: [Book!]! edges: [Edge!]! count: Int! @cost(weight: 5) }
type Edge { node: Book! }
interface Thing { id: ID! parts(first: Int): [Thing!]! }
type Book implements Thing { id: ID! title: String! parts(first: Int): [Thing!]! written(first: Int): Books! cover: Image }
type Image implements Thing @cost(weight: 50) { id: ID! parts(first: Int): [Thing!]! @cost(weight: 9) bytes: Bytes! }
union Either = Book | Edge
scalar Bytes @cost(weight: 2)
`

func newCostPlanner(t testing.TB) *planner {
	t.Helper()
	p, err := newPlanner(Config{Schema: costSchema, MaxDepth: -1, MaxAliases: -1}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// costOf is what an operation costs with variables that are written as JSON.
func (p *planner) costOf(t testing.TB, query, variables string) int {
	t.Helper()
	plan, errs := p.plan(t.Context(), query, "")
	if errs != nil {
		t.Fatalf("%s: %s", query, errs[0].Message)
	}
	given, bad := parseVariables([]byte(variables))
	if bad != nil {
		t.Fatal(bad)
	}
	values, _, e := p.coerceAll(plan, given)
	if e != nil {
		t.Fatal(e)
	}
	return plan.Cost(values)
}

func TestCost(t *testing.T) {
	p := newCostPlanner(t)
	for _, c := range []struct {
		what, query, variables string
		want                   int
	}{
		{"a leaf is free", `{name}`, `{}`, 0},
		{"an object", `{one {title}}`, `{}`, 1},
		{"a weight of the field", `{report}`, `{}`, 100},
		{"wherever it is asked for", `{a: report b: report}`, `{}`, 200},
		{"a weight of the type", `{any {... on Book {cover {id}}}}`, `{}`, 50 + 50},
		{"a weight of a scalar", `{one {cover {bytes}}}`, `{}`, 1 + 50 + 2},
		{"a weight of an argument that is given", `{search(text: "x") {count}}`, `{}`, 7 + 1 + 5},
		{"and of one that is not", `{search {count}}`, `{}`, 1 + 5},
		{"typename", `{__typename one {__typename}}`, `{}`, 1},
		{"introspection has bounds of its own", `{__schema {types {name fields {name}}}}`, `{}`, 0},

		{"a list of nobody knows how many", `{all {title}}`, `{}`, 10},
		{"of as many as is said", `{few {title}}`, `{}`, 3},
		{"of as many as are asked for", `{some(limit: 7) {title}}`, `{}`, 7},
		{"of leaves", `{titles(first: 100)}`, `{}`, 0},
		{"a connection", `{books(first: 5) {nodes {title} edges {node {title}} count}}`, `{}`, 1 + 5 + 5*2 + 5},
		{"with its default", `{books {nodes {title}}}`, `{}`, 1 + 20},
		{"null is the default", `{books(first: null) {nodes {title}}}`, `{}`, 1 + 20},
		{"the larger of two", `{books(first: 5, last: 50) {nodes {title}}}`, `{}`, 1 + 50},
		{"none", `{books(first: 0) {nodes {title}}}`, `{}`, 1},
		{"less than none", `{books(first: -5) {nodes {title}}}`, `{}`, 1},
		{"sized fields", `{search(page: 9) {nodes {title} edges {node {title}}}}`, `{}`, 1 + 9 + 10*2},
		{"without the argument", `{search {nodes {title}}}`, `{}`, 1 + 4},
		{"lists in lists", `{books(first: 100) {nodes {written(first: 100) {nodes {title}}}}}`, `{}`, 1 + 100*(1+1+100)},

		{"a variable", `query($n: Int) {books(first: $n) {nodes {title}}}`, `{"n": 30}`, 1 + 30},
		{"that is absent", `query($n: Int) {books(first: $n) {nodes {title}}}`, `{}`, 1 + 20},
		{"that is null", `query($n: Int) {books(first: $n) {nodes {title}}}`, `{"n": null}`, 1 + 20},
		{"that has a default", `query($n: Int = 3) {books(first: $n) {nodes {title}}}`, `{}`, 1 + 3},
		{"that is negative", `query($n: Int) {books(first: $n) {nodes {title}}}`, `{"n": -3}`, 1},
		{"two of them", `query($n: Int!, $m: Int!) {books(first: $n, last: $m) {nodes {title}}}`, `{"n": 3, "m": 4}`, 1 + 4},
		{"in both lists", `query($n: Int!, $m: Int!) {books(first: $n) {nodes {written(first: $m) {nodes {title} count}}}}`, `{"n": 3, "m": 4}`, 1 + 3*(1+1+4+5)},
		{"without the argument's default", `query($n: Int) {one {parts(first: $n) {id}}}`, `{}`, 1 + 10*50},

		{"skipped", `{report @skip(if: true) one {title} ... @include(if: false) {report}}`, `{}`, 1},
		{"skipped by a variable", `query($s: Boolean!) {report @skip(if: $s) one {title @include(if: $s) cover @include(if: $s) {id}}}`, `{"s": true}`, 1 + 50},
		{"or not", `query($s: Boolean!) {report @skip(if: $s) one {title @include(if: $s) cover @include(if: $s) {id}}}`, `{"s": false}`, 100 + 1},
		{"a fragment that is skipped", `query($s: Boolean = true) {...F @skip(if: $s) name} fragment F on Query {report one {title}}`, `{}`, 0},

		{"a fragment wherever it is spread", `{a: one {...F} b: one {...F}} fragment F on Book {cover {id}}`, `{}`, 2 * (1 + 50)},
		{"a fragment in lists of different lengths", `{a: books(first: 2) {...F} b: books(first: 3) {...F}} fragment F on Books {nodes {title}}`, `{}`, 2 + 2 + 3},
		{"by variables", `query($n: Int!) {a: books(first: $n) {...F} b: books(first: 3) {...F}} fragment F on Books {nodes {title}}`, `{"n": 9}`, 2 + 9 + 3},
		{"the dearest type", `{either {... on Book {cover {id}} ... on Edge {node {title}}}}`, `{}`, 1 + 50},
		{"what is asked of all of them", `{any {parts(first: 2) {id} ... on Book {title}}}`, `{}`, 50 + 9 + 2*50},
		{"the dearest by variables", `query($n: Int!) {either {... on Book {written(first: $n) {nodes {title}}} ... on Edge {node {cover {id}}}}}`, `{"n": 10}`, 1 + 51},
		{"and when they are other", `query($n: Int!) {either {... on Book {written(first: $n) {nodes {title}}} ... on Edge {node {cover {id}}}}}`, `{"n": 90}`, 1 + 91},
		{"interfaces within a type", `{one {... on Thing {... on Book {cover {id}} ... on Image {bytes}}}}`, `{}`, 1 + 50},

		{"a mutation", `mutation {add {title}}`, `{}`, 10 + 1},
		{"twice", `mutation {a: login b: login}`, `{}`, 60000},
		{"more than there are numbers", `{books(first: 2147483647) {nodes {written(first: 2147483647) {nodes {written(first: 2147483647) {nodes {title}}}}}}}`, `{}`, math.MaxInt},
		{"by variables", `query($n: Int!) {books(first: $n) {nodes {written(first: $n) {nodes {written(first: $n) {nodes {title}}}}}}}`, `{"n": 2147483647}`, math.MaxInt},
	} {
		t.Run(c.what, func(t *testing.T) {
			if got := p.costOf(t, c.query, c.variables); got != c.want {
				t.Errorf("%s\n got %d\nwant %d", c.query, got, c.want)
			}
		})
	}
}

// What has no variables is one number.
func TestCostIsFolded(t *testing.T) {
	p := newCostPlanner(t)
	for query, want := range map[string]int{
		`{books {nodes {...F}} any {...F}} fragment F on Thing {id ... on Book {cover {id}}}`:  0,
		`query($n: Int!) {books(first: 3) {nodes {title}} some(limit: $n) {cover {id} title}}`: 1,
	} {
		plan, errs := p.plan(t.Context(), query, "")
		if errs != nil {
			t.Fatal(errs[0])
		}
		if n := len(plan.cost.steps); n != want {
			t.Errorf("%s: %d steps, want %d", query, n, want)
		}
	}
}

// A fragment that spreads another twice costs what it says, and is looked at once.
func TestCostOfFragmentsThatDouble(t *testing.T) {
	p := newCostPlanner(t)
	doc := `query($n: Int!) {one {...F0}} fragment F6 on Book {parts(first: $n) {id}}`
	for i := range 6 {
		doc += fmt.Sprintf(` fragment F%d on Book {...F%d ... on Thing {...F%[2]d}}`, i, i+1)
	}
	if got, want := p.costOf(t, doc, `{"n": 2}`), 1+64*100; got != want {
		t.Errorf("%d, want %d", got, want)
	}
	plan, _ := p.plan(t.Context(), doc, "")
	if n := len(plan.cost.steps); n > 100 {
		t.Errorf("%d steps", n)
	}
}

// Longer lists never cost less, and numbers in the text are as good as variables.
func TestCostGrowsWithLists(t *testing.T) {
	p := newCostPlanner(t)
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(-1, 2000)
		n, m, more := size.Draw(t, "n"), size.Draw(t, "m"), rapid.IntRange(0, 100).Draw(t, "more")
		const doc = `{books(first: %s) {nodes {written(first: %s) {edges {node {title}} ...C}} ...C}} fragment C on Books {count nodes {cover {bytes}}}`
		literal := costAt(t, p, fmt.Sprintf(doc, fmt.Sprint(n), fmt.Sprint(m)), nil)
		variable := `query($n: Int!, $m: Int) ` + fmt.Sprintf(doc, "$n", "$m")
		if got := costAt(t, p, variable, map[string]any{"n": int32(n), "m": int32(m)}); got != literal {
			t.Fatalf("%d by variables, %d by literals", got, literal)
		}
		if got := costAt(t, p, variable, map[string]any{"n": int32(n + more), "m": int32(m)}); got < literal {
			t.Fatalf("%d for more, %d for less", got, literal)
		}
	})
}

func costAt(t *rapid.T, p *planner, query string, values map[string]any) int {
	plan, errs := p.make(query, "")
	if errs != nil {
		t.Fatal(errs[0])
	}
	return plan.Cost(values)
}

func TestCostsThatMakeNoSense(t *testing.T) {
	for sdl, want := range map[string]string{
		`type Query {a: Int @cost(weight: -1)}`:                       `Query.a: @cost(weight: -1): it must be an integer and not negative`,
		`type Query {a(x: Int @cost(weight: -1)): Int}`:               `Query.a: argument "x": @cost(weight: -1)`,
		`type Query {a: [Int] @listSize(slicingArguments: ["n"])}`:    `Query.a: @listSize(slicingArguments: "n"): there is no such argument of type Int`,
		`type Query {a(n: Int): Query @listSize(sizedFields: ["b"])}`: `Query.a: @listSize(sizedFields: "b"): there is no such list in Query`,
		`type Query {a: [Int] @listSize(assumedSize: -3)}`:            `@listSize(assumedSize: -3): it cannot be negative`,
		`input I {x: Int @cost(weight: 1)} type Query {a(i: I): Int}`: `I.x: @cost counts for arguments`,
	} {
		sdl += `directive @cost(weight: Int!) on FIELD_DEFINITION | ARGUMENT_DEFINITION | INPUT_FIELD_DEFINITION
			directive @listSize(assumedSize: Int, slicingArguments: [String!], sizedFields: [String!]) on FIELD_DEFINITION`
		if _, err := newPlanner(Config{Schema: sdl}.withDefaults()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// BenchmarkCost is the estimate for one request.
func BenchmarkCost(b *testing.B) {
	p := newCostPlanner(b)
	plan, errs := p.plan(b.Context(), `query($n: Int, $m: Int) {books(first: $n) {count nodes {title written(first: $m) {nodes {title cover {id}} edges {node {title}}}}}}`, "")
	if errs != nil {
		b.Fatal(errs[0])
	}
	values := map[string]any{"n": int32(20), "m": int32(5)}
	b.ReportAllocs()
	for b.Loop() {
		plan.Cost(values)
	}
}
