package worker

import (
	"encoding/json"
	"strings"
	"testing"
)

// What gqlparser takes for valid, graph-gophers must neither refuse nor stumble
// over: then the two read the schema and the printed text alike.
//
//	go test -run '^$' -fuzz FuzzDocument -fuzztime 1m ./worker
func FuzzDocument(f *testing.F) {
	for _, doc := range []string{
		`{hello}`,
		`query Q($i: Int = 3, $o: Input = {b: "x", d: [{a: 1}]}) @x {echo(int: $i, input: $o, float: 1e3, any: {a: [1, X, null]}) ...F}
		 fragment F on Query {nodes {id ...G} search {... on Actor {name}}} fragment G on Actor {friends(first: 1) {name}}`,
		"{echo(string: \"\"\"a\n b\"\"\", id: 99999999999, enum: RED, list: [1], matrix: [[1, null]], oneOf: {x: 1}, boolean: false)}",
		`query ($a: Int, $b: String, $c: Input) {echo(int: $a, required: $a, string: $b, input: {b: $b, c: $c, a: $a}, list: [1]) @skip(if: false)}`,
		`mutation {touch(name: "\u0000\u{1F600}\uD83D\uDE00\/")}`,
		`{__schema {types {name fields(includeDeprecated: true) {args {defaultValue}}}} __type(name: "X") {kind} __typename}`,
		`query($a: Int, $s: Boolean = true) {...F hello __schema {...G @skip(if: $s) queryType {name}}} fragment F on Query {__schema @include(if: $s) {...G} echo(int: $a)}
		 fragment G on __Schema {directives {name isRepeatable}}`,
	} {
		f.Add(doc, `{}`)
		f.Add(doc, `{"i": null, "a": 1, "b": "x", "c": {"a": 1, "d": {}}}`)
	}
	w := newTestWorker(f, Config{MaxTokens: 300})
	f.Fuzz(func(t *testing.T, doc, variables string) {
		if strings.Contains(doc, "wait") || strings.Contains(doc, "fail") {
			t.Skip() // what blocks and fails on purpose
		}
		given, bad := parseVariables([]byte(variables))
		if bad != nil {
			t.Skip()
		}
		plan, errs := w.planner.plan(t.Context(), doc, "")
		if errs != nil || plan.Kind == "subscription" {
			t.Skip()
		}
		r := w.execute(plan, given, &Caller{})
		for _, e := range r.errors {
			if code := e.Extensions()["code"]; code == CodeValidationFailed || code == CodeInternal {
				text, _ := plan.text(nil)
				t.Errorf("%v: %s\n%s", code, e.Message, text)
			}
		}
		if r.data != nil && !json.Valid(r.data) {
			t.Errorf("%s", r.data)
		}
	})
}
