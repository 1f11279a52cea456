package worker

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// nest is inner within n levels.
func nest(open, inner, end string, n int) string {
	return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
}

// Each limit is reached without a refusal, and refused beyond.
func TestLimits(t *testing.T) {
	friends := func(n int) string {
		return `{node(id: 1) {... on Actor {` + nest("friends(first: 0) {", "name", "}", n) + `}}}`
	}
	for _, c := range []struct {
		what    string
		config  Config
		within  string
		beyond  string
		refusal string
	}{
		{"length", Config{MaxDocument: 20}, `{hello} #2345678901`, `{hello} #234567890123`, `DOCUMENT_TOO_LARGE the document has 21 bytes, and may have 20`},
		{"tokens", Config{MaxTokens: 5}, `{a: hello}`, `{a: hello b: hello}`, `DOCUMENT_TOO_LARGE the document has more than 5 tokens`},
		{"depth", Config{}, friends(13), friends(14), `MAX_DEPTH_LIMIT the operation is 16 levels deep, and may have 15`},
		{"depth by fragments", Config{MaxDepth: 3}, `{...F} fragment F on Query {node(id: 1) {...G}} fragment G on Actor {friends(first: 0) {id}}`,
			`{...F} fragment F on Query {node(id: 1) {...G}} fragment G on Actor {friends(first: 0) {friends(first: 0) {id}}}`, `MAX_DEPTH_LIMIT the operation is 4 levels deep, and may have 3`},
		{"of a fragment that is not used, too", Config{MaxDepth: 1}, `{hello}`, `{hello} fragment F on Query {nodes {id}}`, `MAX_DEPTH_LIMIT the operation is 2 levels deep, and may have 1`},
		{"depth of introspection", Config{MaxDepth: 1}, `{__schema {queryType {` + nest("ofType {", "name", "}", 17) + `}}}`,
			`{__schema {queryType {` + nest("ofType {", "name", "}", 19) + `}}}`, `MAX_DEPTH_LIMIT the introspection is 21 levels deep, and may have 20`},
		{"depth of a list", Config{}, `{echo(any: ` + nest("[", "1", "]", 32) + `)}`, `{echo(any: ` + nest("[", "1", "]", 33) + `)}`, `MAX_DEPTH_LIMIT a value is 33 levels deep, and may have 32`},
		{"depth of an object", Config{}, `{echo(input: ` + nest("{c: ", "{}", "}", 31) + `)}`, `{echo(input: ` + nest("{c: ", "{}", "}", 32) + `)}`, `MAX_DEPTH_LIMIT a value is 33 levels deep, and may have 32`},
		{"depth of a default", Config{}, `query($a: Any = ` + nest("[", "1", "]", 32) + `) {echo(any: $a)}`, `query($a: Any = ` + nest("[", "1", "]", 33) + `) {echo(any: $a)}`, `MAX_DEPTH_LIMIT a value is 33 levels deep, and may have 32`},
		{"aliases", Config{}, `{` + many("a%d: hello ", 100) + `}`, `{` + many("a%d: hello ", 101) + `}`, `MAX_ALIASES_LIMIT the operation has 101 aliases with its fragments expanded, and may have 100`},
		{"aliases in fragments", Config{MaxAliases: 4}, `{a: node(id: 1) {...F} node(id: 2) {...F}} fragment F on Node {x: id}`,
			`{a: node(id: 1) {...F} b: node(id: 2) {...F} c: node(id: 3) {...F}} fragment F on Node {x: id}`, `MAX_ALIASES_LIMIT the operation has 6 aliases with its fragments expanded, and may have 4`},
		{"selections", Config{MaxSelections: 4}, `{hello nodes {id __typename}}`, `{hello nodes {id ... {__typename}}}`, `MAX_SELECTIONS_LIMIT the document selects more than 4 fields with its fragments expanded`},
		{"pairs", Config{}, `{` + strings.Repeat("hello ", 141) + `}`, `{` + strings.Repeat("hello ", 142) + `}`, `MAX_SELECTIONS_LIMIT the document repeats fields too often`},
		{"variables", Config{}, `query(` + many("$v%d: Int ", 500) + `) {echo(any: [` + many("$v%d ", 500) + `])}`,
			`query(` + many("$v%d: Int ", 501) + `) {echo(any: [` + many("$v%d ", 501) + `])}`, `MAX_SELECTIONS_LIMIT an operation has 501 variables, and may have 500`},
		{"cost", Config{MaxCost: 12}, `{nodes {... on Actor {friends(first: 0) {id}}}}`, `{nodes {... on Actor {friends(first: 1) {id}}}}`, `COST_ESTIMATED_TOO_EXPENSIVE the operation costs 20, and may cost 12: ask for shorter lists or fewer of them, or in several requests`},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := newTestWorker(t, c.config)
			if got := w.answer(t, c.within, "", ""); strings.Contains(got, "!") {
				t.Errorf("within: %.300s\n%.300s", got, c.within)
			}
			if got := w.answer(t, c.beyond, "", ""); got != "!"+c.refusal {
				t.Errorf("beyond:\n got %.300s\nwant !%s", got, c.refusal)
			}
		})
	}
}

// Without limits everything goes that validators stand.
func TestNoLimits(t *testing.T) {
	w := newTestWorker(t, Config{MaxDocument: -1, MaxTokens: -1, MaxDepth: -1, MaxAliases: -1, MaxSelections: -1, MaxCost: -1})
	for what, query := range map[string]string{
		"aliases": `{` + many("a%d: hello ", 20_000) + `}`,
		"depth":   `{node(id: 1) {... on Actor {` + nest("friends(first: 1) {", "name", "}", 100) + `}}}`,
	} {
		if got := w.answer(t, query, "", ""); strings.Contains(got, "!") {
			t.Errorf("%s: %.300s", what, got)
		}
	}
}

// What a client can act on is beside the message.
func TestLimitsAreTold(t *testing.T) {
	w := newTestWorker(t, Config{MaxCost: 12, MaxDepth: 4})
	for query, want := range map[string]string{
		`{nodes {... on Actor {friends(first: 1) {id}}}}`: `"extensions":{"code":"COST_ESTIMATED_TOO_EXPENSIVE","cost":{"estimated":20,"max":12}}`,
		`{a{a{a{a{a}}}}}`: `"extensions":{"code":"MAX_DEPTH_LIMIT","maximum":4}`,
	} {
		ctx := w.ask("POST", "/graphql", asGraphQL, fmt.Sprintf(`{"query":%q}`, query))
		if body := string(ctx.Response.Body()); !strings.Contains(body, want) {
			t.Errorf("%s\nwant %s", body, want)
		}
	}
}

// The query that GraphiQL and code generators send passes, whatever the operator
// has set for depth.
func TestStandardIntrospectionIsWithinTheLimits(t *testing.T) {
	query, err := os.ReadFile("testdata/introspection.graphql")
	if err != nil {
		t.Fatal(err)
	}
	w := newTestWorker(t, Config{MaxDepth: 1, MaxAliases: 1, MaxCost: 1})
	if got := w.answer(t, string(query), "", ""); strings.Contains(got, "!") {
		t.Errorf("%.300s", got)
	}
}

func TestIntrospectionIsOff(t *testing.T) {
	on, off := newTestWorker(t, Config{}), newTestWorker(t, Config{NoIntrospection: true})
	for _, c := range []struct{ query, on, off string }{
		{`{__type(name: "Color") {name}}`, `{"__type":{"name":"Color"}}`, `!INTROSPECTION_DISABLED introspection is off: __type is not answered here`},
		{`{hello ...F} fragment F on Query {x: __schema {queryType {name}}}`, `{"hello":"world","x":{"queryType":{"name":"Query"}}}`, `!INTROSPECTION_DISABLED introspection is off: __schema is not answered here`},
		{`{__schema {queryType {name}} helo}`, `!GRAPHQL_VALIDATION_FAILED Cannot query field "helo" on type "Query". Did you mean "hello"?`, `!GRAPHQL_VALIDATION_FAILED Cannot query field "helo" on type "Query".`},
		{`{__typename}`, `Query`, `Query`},
		{`{node(id: 1) {__typename}}`, `{"node":{"__typename":"Actor"}}`, `{"node":{"__typename":"Actor"}}`},
		{`{node(id: 1) {name}}`, `!GRAPHQL_VALIDATION_FAILED Cannot query field "name" on type "Node". Did you mean to use an inline fragment on "Actor"?`, `!GRAPHQL_VALIDATION_FAILED Cannot query field "name" on type "Node".`},
		{`{echo(itn: 1)}`, `!GRAPHQL_VALIDATION_FAILED Unknown argument "itn" on field "Query.echo". Did you mean "int" or "id"?`, `!GRAPHQL_VALIDATION_FAILED Unknown argument "itn" on field "Query.echo".`},
		{`{echo(enum: REDD)}`, `!GRAPHQL_VALIDATION_FAILED Value "REDD" does not exist in "Color" enum. Did you mean the enum value "RED"?`, `!GRAPHQL_VALIDATION_FAILED Value "REDD" does not exist in "Color" enum.`},
	} {
		if got := on.answer(t, c.query, "", ""); got != c.on {
			t.Errorf("%s\n got %s\nwant %s", c.query, got, c.on)
		}
		if got := off.answer(t, c.query, "", ""); got != c.off {
			t.Errorf("%s, off\n got %s\nwant %s", c.query, got, c.off)
		}
	}
}

// No error of a document suggests anything when introspection is off, whichever
// rule it comes from.
func TestNothingIsSuggested(t *testing.T) {
	w := newTestWorker(t, Config{NoIntrospection: true})
	for _, query := range []string{
		`{helo}`, `{nodes {naem}}`, `{echo(itn: 1)}`, `{hello @skipp(if: true)}`, `{hello @skip(fi: true)}`, `{echo(enum: "REDD")}`, `{echo(enum: REDD)}`, `{echo(int: REDD)}`,
		`{echo(input: {aa: 1})}`, `{echo(input: {d: [{bb: 1}]})}`, `{...F} fragment F on Qeury {hello}`, `{... on Qeury {hello}}`, `query($c: Colour) {echo(enum: $c)}`, `{...Ff} fragment F on Query {hello}`,
	} {
		if got := w.answer(t, query, "", ""); !strings.Contains(got, "!GRAPHQL_VALIDATION_FAILED") || strings.Contains(got, "Did you mean") {
			t.Errorf("%s: %s", query, got)
		}
	}
}

// Nor in a long document: what is suggested is found by comparing names letter by
// letter.
func TestNothingIsSuggestedForLongDocuments(t *testing.T) {
	w := newTestWorker(t, Config{})
	for n, want := range map[int]bool{maxSuggesting - 20: true, maxSuggesting: false} {
		if got := strings.Contains(w.answer(t, `{helo} #`+strings.Repeat("x", n), "", ""), "Did you mean"); got != want {
			t.Errorf("%d bytes: %v", n, got)
		}
	}
}

// A refusal is found again without a look at the document, and does not take the
// place of plans.
func TestRefusalsAreKept(t *testing.T) {
	w := newTestWorker(t, Config{})
	_, first := w.planner.plan(t.Context(), `{helo}`, "")
	_, second := w.planner.plan(t.Context(), `{helo}`, "")
	if len(first) != 1 || len(second) != 1 || first[0] != second[0] {
		t.Errorf("%v, %v", first, second)
	}
	if len(w.planner.cache.plans) != 0 {
		t.Error("a refusal is among the plans")
	}
	for i := range 3000 {
		w.planner.plan(t.Context(), fmt.Sprintf(`{nope%d}`, i), "")
	}
	if c := w.planner.refusals; len(c.plans) > maxRefusals || c.once.bytes+c.again.bytes > maxRefusalBytes {
		t.Errorf("%d refusals are kept", len(c.plans))
	}
}

// A batch costs what its operations cost together.
func TestCostOfABatch(t *testing.T) {
	w := newTestWorker(t, Config{MaxBatch: 5, MaxCost: 50})
	const twenty = `{"query":"{nodes {... on Actor {friends(first: 1) {id}}}}"}`
	body := string(w.ask("POST", "/graphql", asJSON, `[`+twenty+`,{"query":"{hello}"},`+twenty+`,`+twenty+`]`).Response.Body())
	if answered, refused := strings.Count(body, `"friends"`), strings.Count(body, `"estimated":60,"max":50`); answered != 4 || refused != 1 || !strings.Contains(body, "world") {
		t.Errorf("%d answered, %d refused: %s", answered, refused, body)
	}
}

// slowRoot has a mutation that heeds nothing.
type slowRoot struct {
	release chan struct{}
	touched atomic.Int32
}

func (*slowRoot) Hello() string { return "world" }
func (r *slowRoot) Wait() bool  { <-r.release; return true }
func (r *slowRoot) Touch(context.Context) bool {
	r.touched.Add(1)
	return true
}

// When the time is over the client has its answer, however many resolvers go on, and
// what has not begun by then never does.
func TestExecutionTimeout(t *testing.T) {
	r := &slowRoot{release: make(chan struct{})}
	w := newTestWorker(t, Config{
		Schema:   `type Query {hello: String! wait: Boolean!} type Mutation {wait: Boolean! touch: Boolean!}`,
		Resolver: r, ExecutionTimeout: 300 * time.Millisecond,
	})
	for _, query := range []string{`{` + many("a%d: wait ", 100) + `}`, `mutation {touch wait again: touch}`} {
		if got := w.answer(t, query, "", ""); got != "!TIMEOUT the operation took too long" {
			t.Error(got)
		}
	}
	before := runtime.NumGoroutine()
	close(r.release)
	waitUntil(t, func() bool { return runtime.NumGoroutine() < before })
	if got := w.answer(t, `{hello}`, "", ""); got != "world" {
		t.Error(got)
	}
	if n := r.touched.Load(); n != 1 {
		t.Errorf("%d changes were made, one of them too late", n)
	}
}
