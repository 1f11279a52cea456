package worker

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const tagSchema = `
	type Query {
		node(id: ID!): Node @cacheControl(maxAge: 9) @cacheTag(format: "Node:{$args.id}")
		actor(id: ID = "G1", n: Int, on: Boolean, kind: Kind, name: String): Actor @cacheTag(format: "Actor:{$args.id}")
		ranked(n: Int = 7, on: Boolean, kind: Kind): Actor @cacheTag(format: "Actor:by-{$args.kind}-{$args.n}-{$args.on}")
		actors(first: Int): ActorConnection
		latest: Actor
		all: [Actor!]!
		any: Either
		count: Int! @cacheControl(maxAge: 9) @cacheTag(format: "Tool:list") @cacheTag(format: "front-page")
		value: Value
		named(name: String!): String @cacheControl(maxAge: 9) @cacheTag(format: "Tool:{$args.name}")
	}
	enum Kind { BIG SMALL }
	interface Node @cacheControl(maxAge: 9) { id: ID! }
	type Actor implements Node @cacheControl(maxAge: 9) { id: ID! name: String tools: ToolConnection parent: Actor tool(id: ID!): Tool @cacheTag(format: "Tool:{$args.id}") }
	type Tool implements Node @cacheControl(maxAge: 9) { id: ID! name: String }
	type ActorConnection @cacheControl(maxAge: 9) { totalCount: Int nodes: [Actor!]! edges: [ActorEdge!]! }
	type ActorEdge @cacheControl(maxAge: 9) { cursor: String node: Actor }
	type ToolConnection @cacheControl(maxAge: 9) { edges: [ToolEdge] page: String }
	type ToolEdge @cacheControl(maxAge: 9) { cursor: String node: Tool }
	type Value @cacheControl(maxAge: 9) { id: ID text: String }
	union Either @cacheControl(maxAge: 9) = Tool | Value
`

// tagsOf are the tags of an answer, nil if it is not kept.
func (p *planner) tagsOf(t testing.TB, query, variables string) []string {
	t.Helper()
	plan, errs := p.plan(t.Context(), query, "")
	if errs != nil {
		t.Fatalf("%s: %s", query, errs[0].Message)
	}
	given, bad := parseVariables([]byte(cmp.Or(variables, "{}")))
	if bad != nil {
		t.Fatal(bad)
	}
	in := p.input(plan, given)
	if in.err != nil {
		t.Fatal(in.err)
	}
	if plan.caching == nil {
		return nil
	}
	return plan.caching.tags(in.values)
}

// What answers depend on, from the schema, the operation and its variables.
func TestTags(t *testing.T) {
	p, err := newCachingPlanner(t, tagSchema, Config{MaxAliases: -1})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", maxTagValue)
	for _, c := range []struct{ why, query, variables, want string }{
		{"a lookup, by a literal", `{actor(id: "G0034") {name}}`, ``, "Actor Actor:G0034"},
		{"by a number, which an ID may be", `{actor(id: 34) {name}}`, ``, "Actor Actor:34"},
		{"by a variable", `query($x: ID) {actor(id: $x) {name}}`, `{"x": "G0034"}`, "Actor Actor:G0034"},
		{"by a number in a variable", `query($x: ID) {actor(id: $x) {name}}`, `{"x": 34}`, "Actor Actor:34"},
		{"by a variable's default", `query($x: ID = "G2") {actor(id: $x) {name}}`, `{}`, "Actor Actor:G2"},
		{"by the argument's default: absent", `{actor {name}}`, ``, "Actor Actor:G1"},
		{"null, for which the default counts", `{actor(id: null) {name}}`, ``, "Actor Actor:G1"},
		{"a variable that is absent", `query($x: ID) {actor(id: $x) {name}}`, `{}`, "Actor Actor:G1"},
		{"a variable that is null", `query($x: ID) {actor(id: $x) {name}}`, `{"x": null}`, "Actor Actor:G1"},
		{"without a value it is a list", `{ranked(on: true) {name}}`, ``, "Actor Actor:list"},
		{"several arguments of several types", `{ranked(kind: BIG, on: false) {name}}`, ``, "Actor Actor:by-BIG-7-false"},
		{"by variables and literals", `query($k: Kind!, $n: Int) {ranked(kind: $k, on: true, n: $n) {name}}`, `{"k": "SMALL", "n": -3}`, "Actor Actor:by-SMALL--3-true"},
		{"one of which lacks", `query($k: Kind, $n: Int) {ranked(kind: $k, on: true, n: $n) {name}}`, `{"n": 1}`, "Actor Actor:list"},
		{"characters that mean something in a header", `{actor(id: "a, b\"%\\\n{é") {name}}`, ``, "Actor Actor:list"},
		{"those in ASCII", `{actor(id: "a, b\"%\\\n{") {name}}`, ``, "Actor Actor:a%2C%20b%22%25%5C%0A%7B"},
		{"what folds to ASCII: ſ is S in upper case", `query($x: ID!) {actor(id: $x) {name}}`, `{"x": "ſ0034"}`, "Actor Actor:list"},
		{"nothing", `{actor(id: "") {name}}`, ``, "Actor Actor:list"},
		{"the longest", `{actor(id: "` + long + `") {name}}`, ``, "Actor Actor:" + long},
		{"more than that", `{actor(id: "` + long + `x") {name}}`, ``, "Actor Actor:list"},
		{"the same twice, in another case", `query($x: ID!) {a: actor(id: "g1") {name} b: actor(id: "G1") {name} c: actor(id: $x) {name}}`, `{"x": "G1"}`, "Actor Actor:g1"},
		{"different ones", `query($x: ID!) {a: actor(id: "g1") {name} c: actor(id: $x) {name}}`, `{"x": "G2"}`, "Actor Actor:g1 Actor:G2"},

		{"a connection", `{actors {totalCount}}`, ``, "Actor Actor:list"},
		{"its nodes", `{actors {nodes {name}}}`, ``, "Actor Actor:list"},
		{"its edges", `{actors {edges {cursor}}}`, ``, "Actor Actor:list"},
		{"a list", `{all {id}}`, ``, "Actor Actor:list"},
		{"an object of which it is not known which", `{latest {name}}`, ``, "Actor Actor:list"},
		{"what hangs on an object", `{actor(id: "G3") {tools {page}}}`, ``, "Actor Actor:G3 Tool Tool:list"},
		{"one of its own kind", `{actor(id: "G3") {parent {name}}}`, ``, "Actor Actor:G3 Actor:list"},
		{"a lookup in an object", `{actor(id: "G3") {tool(id: "S1") {name}}}`, ``, "Actor Actor:G3 Tool Tool:S1"},
		{"an interface", `{node(id: "x") {id}}`, ``, "Actor Node Node:x Tool"},
		{"without an id that can be in a tag", `{node(id: "é") {id}}`, ``, "Actor Actor:list Node Node:list Tool Tool:list"},
		{"a union, of which only one has an id that is sure", `{any {__typename}}`, ``, "Tool Tool:list"},
		{"a count", `{count}`, ``, "front-page Tool Tool:list"},
		{"what shows nothing", `{value {text}}`, ``, ""},
		{"a lookup that shows nothing with an id", `{named(name: "x")}`, ``, "Tool Tool:x"},
		{"through fragments, and under @skip", `query($s: Boolean!) {...F} fragment F on Query {actor(id: "G3") @skip(if: $s) {...G}} fragment G on Node {... on Actor {tools {page}}}`, `{"s": true}`, "Actor Actor:G3 Tool Tool:list"},
	} {
		got := strings.Join(p.tagsOf(t, c.query, c.variables), " ")
		if got != c.want {
			t.Errorf("%s: %s %s:\n%s, want\n%s", c.why, c.query, c.variables, got, c.want)
		}
	}
	// Too many are those of types and lists.
	for _, n := range []int{maxTags - 1, maxTags, 2*maxTags + 1} {
		query, variables := "query($x0: ID!", `{"x0": "v"`
		for i := 1; i < n; i++ {
			query += fmt.Sprintf(", $x%d: ID!", i)
			variables += fmt.Sprintf(`, "x%d": "v%d"`, i, i)
		}
		for _, literal := range []bool{false, true} {
			text := query + ") {"
			if literal {
				text = "{"
			}
			for i := range n {
				arg := fmt.Sprintf("$x%d", i)
				if literal {
					arg = fmt.Sprintf("%q", arg)
				}
				text += fmt.Sprintf(" a%d: actor(id: %s) {id}", i, arg)
			}
			got := p.tagsOf(t, text+"}", variables+"}")
			switch few := n < maxTags; {
			case few && len(got) != n+1:
				t.Errorf("%d lookups: %v", n, got)
			case !few && !slices.Equal(got, []string{"Actor", "Actor:list"}):
				t.Errorf("%d lookups: %v", n, got)
			}
		}
	}
	query := "{"
	for i := range maxTagBytes / maxTagValue {
		query += fmt.Sprintf(" a%d: actor(id: %q) {id}", i, fmt.Sprintf("%03d%s", i, long[3:]))
	}
	if got := p.tagsOf(t, query+"}", ""); !slices.Equal(got, []string{"Actor", "Actor:list"}) {
		t.Errorf("long ones: %v", got)
	}
}

// A schema with so many types that an answer would have too many tags of them.
func TestTooManyTags(t *testing.T) {
	schema := "type Query {node(id: ID!): Node @cacheTag(format: \"Node:{$args.id}\")}\ninterface Node @cacheControl(maxAge: 9) {id: ID!}\n"
	for i := range maxTags {
		schema += fmt.Sprintf("type T%d implements Node @cacheControl(maxAge: 9) {id: ID!}\n", i)
	}
	p, err := newCachingPlanner(t, schema, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.tagsOf(t, `{node(id: 1) {id}}`, ""); got != nil {
		t.Errorf("%v", got)
	}
}

// What is told of a change, and what an answer has, is the same for every id, or the answer has
// the list of the type. Nothing in a tag can end it, or a header.
func TestCacheTagOfAnyID(t *testing.T) {
	p, err := newCachingPlanner(t, tagSchema, Config{})
	if err != nil {
		t.Fatal(err)
	}
	const query = `query($x: ID!) {actor(id: $x) {id}}`
	plan, errs := p.plan(t.Context(), query, "")
	if errs != nil {
		t.Fatal(errs[0])
	}
	rapid.Check(t, func(rt *rapid.T) {
		id := rapid.String().Draw(rt, "id")
		tags := plan.caching.tags(map[string]any{"x": id})
		if told := CacheTag("Actor", id); !slices.Contains(tags, told) {
			rt.Fatalf("%q: the answer has %v, and a change says %q", id, tags, told)
		}
		for _, tag := range tags {
			if strings.ContainsFunc(tag, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ',' || r == '"' || r == '\\' }) {
				rt.Fatalf("%q in a tag", tag)
			}
		}
		other := rapid.String().Draw(rt, "other")
		if a, b := CacheTag("Actor", id), CacheTag("Actor", other); a == b && id != other && a != "Actor:list" {
			rt.Fatalf("%q and %q are both %s", id, other, a)
		}
	})
}
