package worker

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// hostile is a request that is made to cost more than it should.
type hostile struct {
	what, body string
	code       Code // of the refusal; "" if it is answered
}

func asBody(query string) string {
	b, _ := json.Marshal(map[string]string{"query": query})
	return string(b)
}

func withVariables(query, variables string) string {
	body := asBody(query)
	return body[:len(body)-1] + `,"variables":` + variables + `}`
}

// normalDocument is about the largest that the limits let through: all operations
// of some client, as some clients send them.
func normalDocument() string {
	return `query Q {nodes {... on Actor {friends(first: 100) {friends(first: 40) {id name}}}}}` + many(` query Q%d($i: Int, $s: String, $id: ID = "x") {
		hello
		echo(int: $i, string: $s, list: [1, 2, 3], input: {a: 1, b: "two", c: {d: [{a: 4}]}})
		node(id: $id) { __typename ...F ... on Actor { friends(first: 3) { name again: friends(first: 2) { ...F } } } }
		nodes { id ... on Tool { kind } ... on Actor { name friends { id name friends { id name friends { id name friends { id name }}}}}}
		search { __typename ... on Actor { id name friends { id name friends { id name friends { id name }}}} ... on Tool { id kind } }
	}`, 55) + ` fragment F on Node { id ... on Actor { name } }`
}

// normalBody is a body of a megabyte that a client may well send.
func normalBody() string {
	ids := `"` + strings.Repeat(`attack-pattern--00000000-0000-4000-8000-000000000001","`, 1<<20/56) + `"`
	return withVariables(`query($a: Any) {echo(any: $a)}`, `{"a":[`+ids+`]}`)
}

// hostileDocuments are of up to 64 KiB, or beyond.
func hostileDocuments() []hostile {
	fill := func(unit string) string { return strings.Repeat(unit, 60<<10/len(unit)) }
	doubling := `{...F0} fragment F40 on Query {hello}`
	for i := range 40 {
		doubling += fmt.Sprintf(` fragment F%d on Query {...F%d ...F%[2]d}`, i, i+1)
	}
	doublingThroughFields := `{node(id: 1) {...F0}} fragment F40 on Actor {id}`
	for i := range 40 {
		doublingThroughFields += fmt.Sprintf(` fragment F%d on Actor {friends {...F%d} x: friends {...F%[2]d}}`, i, i+1)
	}
	chain := `{...F0} fragment F1000 on Query {hello}` + many(` fragment F%d on Query {...F`, 0)
	for i := range 1000 {
		chain += fmt.Sprintf(` fragment F%d on Query {...F%d}`, i, i+1)
	}
	everyFragmentEverywhere := `{`
	for i := range 100 {
		everyFragmentEverywhere += fmt.Sprintf("...F%d ", i)
	}
	everyFragmentEverywhere += `}`
	for i := range 100 {
		everyFragmentEverywhere += fmt.Sprintf(` fragment F%d on Query {`, i)
		for j := i + 1; j < 100; j += 3 {
			everyFragmentEverywhere += fmt.Sprintf("...F%d ", j)
		}
		everyFragmentEverywhere += `hello}`
	}
	across := `{`
	for i := range 60 {
		across += ` nodes {` + strings.Repeat(fmt.Sprintf("x: id y%d: id ", i), 10) + `}`
	}
	across += `}`
	// Fields of one name that only meet after fragments are expanded.
	meeting := `{` + many("...F%d ", 190) + `}` + many(` fragment F%d on Query {nodes {id} node(id: 1) {id __typename}}`, 190)
	return []hostile{
		{"10,000 levels", asBody(nest("{node(id: 1) ", "", "}", 4000)), CodeMaxDepth},
		{"900 levels of fields", asBody(`{node(id: 1) {... on Actor ` + nest("{friends", "{id}", "}", 900) + `}}`), CodeMaxDepth},
		{"levels of fragments without a type", asBody(nest("{... ", "{hello}", "}", 900)), ""},
		{"and beyond", asBody(nest("{... ", "{hello}", "}", 1100)), CodeMaxDepth},
		{"100,000 fields", asBody(`{` + strings.Repeat("a ", 100_000) + `}`), CodeDocumentTooLarge},
		{"30,000 fields", asBody(`{` + strings.Repeat("a ", 30_000) + `}`), CodeDocumentTooLarge},
		{"9,000 fields", asBody(`{` + strings.Repeat("hello ", 9_000) + `}`), CodeMaxSelections},
		{"9,000 different unknown fields", asBody(`{` + many("a%d ", 9_000) + `}`), CodeValidationFailed},
		{"aliases", asBody(`{` + many("a%d: hello ", 3_000) + `}`), CodeMaxAliases},
		{"aliases of lists", asBody(`{` + many("a%d: nodes {id} ", 1_500) + `}`), CodeMaxAliases},
		{"fragments that double", asBody(doubling), CodeMaxSelections},
		{"through fields", asBody(doublingThroughFields), CodeMaxDepth},
		{"a chain of fragments", asBody(chain), CodeMaxSelections},
		{"every fragment in every other", asBody(everyFragmentEverywhere), CodeMaxSelections},
		{"fragments in a circle", asBody(`{...F} fragment F on Query {...G} fragment G on Query {...F}`), CodeValidationFailed},
		{"a circle through fields", asBody(`{...F} fragment F on Query {x: node(id: 1) {...F}}`), CodeValidationFailed},
		{"many circles", asBody(`{...F0} ` + many(`fragment F%d on Query {...F0 ...F1 ...F2 ...F3} `, 700)), CodeValidationFailed},
		{"with a circle behind each", asBody(`{...F} fragment F on Query {` + strings.Repeat("...F ", 3_000) + `}`), CodeValidationFailed},
		{"a field with itself a thousand times", asBody(`{` + strings.Repeat("nodes {id} ", 1_000) + `}`), CodeMaxSelections},
		{"fields that meet one level deeper", asBody(across), CodeMaxAliases},
		{"fields that meet in fragments", asBody(meeting), CodeMaxSelections},
		{"a literal of lists", asBody(`{echo(matrix: ` + nest("[", "", "]", 900) + `)}`), CodeMaxDepth},
		{"lists beyond what the parser goes into", asBody(`{echo(any: ` + nest("[", "", "]", 4_000) + `)}`), CodeMaxDepth},
		{"a literal of objects", asBody(`{echo(input: ` + nest("{c: ", "{}", "}", 900) + `)}`), CodeMaxDepth},
		{"with much in the innermost", asBody(`{echo(input: ` + nest("{c: ", "{d: ["+strings.Repeat("{a: 1} ", 1_800)+"]}", "}", 28) + `)}`), CodeMaxSelections},
		{"a type of lists", asBody(`query($a: ` + nest("[", "Int", "]", 900) + `) {echo(any: $a)}`), CodeValidationFailed},
		{"a list of 9,000", asBody(`{echo(list: [` + strings.Repeat("1 ", 9_000) + `])}`), ""},
		{"of what does not fit", asBody(`{echo(list: [` + strings.Repeat("X ", 9_000) + `])}`), CodeValidationFailed},
		{"one string of 60 KiB", asBody(`{echo(string: "` + fill("x") + `")}`), ""},
		{"of escapes", asBody(`{echo(string: "` + fill(`\u0041`) + `")}`), ""},
		{"of surrogate pairs", asBody(`{echo(string: "` + fill(`\uD83D\uDE00`) + `")}`), ""},
		{"of broken ones", asBody(`{echo(string: "` + fill(`\uDE00\uD83D`) + `")}`), ""},
		{"a block string of lines", asBody(`{echo(string: """` + fill(" \n") + `""")}`), ""},
		{"one that does not end", asBody(`{echo(string: """` + fill("x\n")), CodeParseFailed},
		{"of quotes that do not end it", asBody(`{echo(string: """` + fill(`\"""`)), CodeParseFailed},
		{"a string that does not end", asBody(`{echo(string: "` + fill("x")), CodeParseFailed},
		{"an integer of 60,000 digits", asBody(`{echo(int: ` + fill("9") + `)}`), CodeValidationFailed},
		{"as an id", asBody(`{echo(id: ` + fill("9") + `)}`), CodeValidationFailed},
		{"a float beyond all", asBody(`{echo(float: 1e999999999)}`), CodeValidationFailed},
		{"a float of 60,000 digits", asBody(`{echo(float: 0.` + fill("1") + `)}`), ""},
		{"directives on a field", asBody(`{hello ` + strings.Repeat("@skip(if: false) ", 1_200) + `}`), CodeValidationFailed},
		{"unknown ones", asBody(`{hello ` + many("@a%d ", 4_000) + `}`), CodeValidationFailed},
		{"arguments of a field", asBody(`{echo(` + many("int%d: 1 ", 2_400) + `)}`), CodeValidationFailed},
		{"variables", asBody(`query(` + many("$v%d: Int ", 1_500) + `) {echo(any: [` + many("$v%d ", 1_500) + `])}`), CodeMaxSelections},
		{"as many as may be, in all places", asBody(`query(` + many("$v%d: Int ", 500) + `) {echo(any: [` + many("$v%d ", 500) + strings.Repeat("$v499 ", 3_400) + `])}`), ""},
		{"operations", asBody(many("query Q%d {hello} ", 1_900)), CodeOperationUnresolved},
		{"with a large fragment each", asBody(many("query Q%d {...F} ", 600) + `fragment F on Query {echo(list: [` + strings.Repeat("1 ", 5_000) + `])}`), CodeMaxSelections},
		{"without a name", asBody(strings.Repeat("{hello} ", 3_000)), CodeValidationFailed},
		{"one long unknown name", asBody(`{` + fill("x") + `}`), CodeValidationFailed},
		{"long unknown types", asBody(`{...F} fragment F on ` + fill("x") + ` {hello}`), CodeValidationFailed},
		{"fragments on unknown types", asBody(`{hello} ` + many("fragment F%d on Actro {id} ", 1_400)), CodeValidationFailed},
		{"a long name in many errors", asBody(`query ` + fill("Q")[:30_000] + ` {echo(any: [` + strings.Repeat("$a ", 4_000) + `])}`), CodeValidationFailed},
		{"a comment of 60 KiB", asBody(`{hello} #` + fill("x")), ""},
		{"60 KiB of comments", asBody(`{hello} ` + fill("#\n")), CodeDocumentTooLarge},
		{"of commas", asBody(`{hello ` + fill(",") + `}`), ""},
		{"of braces", asBody(fill("{")), CodeParseFailed},
		{"of brackets", asBody(`{a(b: ` + fill("[")), CodeMaxDepth},
		{"inline fragments on all types", asBody(`{nodes {` + strings.Repeat("... on Actor {id} ... on Tool {id} ... on Node {id} ", 46) + `}}`), ""},
	}
}

// hostileBodies are of up to a megabyte.
func hostileBodies() []hostile {
	fill := func(unit string) string { return strings.Repeat(unit, 1000<<10/len(unit)) }
	const any, input = `query($a: Any) {echo(any: $a) }`, `query($a: Input) {echo(input: $a)}`
	return []hostile{
		{"JSON in JSON", nest(`{"extensions":`, `1`, `}`, 45_000), CodeBadRequest},
		{"lists in variables", withVariables(any, `{"a":`+nest("[", "", "]", 9_000)+`}`), ""},
		{"more than JSON may", withVariables(any, `{"a":`+nest("[", "", "]", 45_000)+`}`), CodeBadRequest},
		{"objects in variables", withVariables(input, `{"a":`+nest(`{"c":`, "{}", "}", 9_000)+`}`), CodeBadUserInput},
		{"a list of a megabyte", withVariables(`query($a: [Int!]) {echo(list: $a)}`, `{"a":[`+fill("1,")+`1]}`), CodeTooLarge},
		{"that is wrong at its end", withVariables(`query($a: [Int!]) {echo(list: $a)}`, `{"a":[`+strings.Repeat("1,", 49_000)+`"x"]}`), CodeBadUserInput},
		{"a long integer", withVariables(`query($a: Int) {echo(int: $a)}`, `{"a":`+fill("9")+`}`), CodeBadUserInput},
		{"a long exponent", withVariables(`query($a: Float) {echo(float: $a)}`, `{"a":1e999999999}`), CodeBadUserInput},
		{"a long string", withVariables(`query($a: Int) {echo(int: $a)}`, `{"a":"`+fill("x")+`"}`), CodeBadUserInput},
		{"of escapes", withVariables(`query($a: String) {echo(string: $a)}`, `{"a":"`+fill(`\u0041`)+`"}`), ""},
		{"a query of escapes", `{"query":"{hello}` + fill(`\u0020`) + `"}`, CodeDocumentTooLarge},
		{"a key twice, and more often", `{` + strings.Repeat(`"query":"{helo}",`, 45_000) + `"query":"{hello}"}`, ""},
		{"unknown variables", withVariables(`{hello}`, `{`+many(`"a%d":1,`, 45_000)+`"b":1}`), ""},
		{"unknown fields of an input", withVariables(input, `{"a":{`+many(`"a%d":1,`, 45_000)+`"b":"x"}}`), CodeBadUserInput},
		{"extensions", `{"query":"{hello}","extensions":{` + many(`"a%d":1,`, 45_000) + `"b":1}}`, ""},
		{"and more", `{"query":"{hello}","extensions":{` + many(`"a%d":1,`, 80_000) + `"b":1}}`, CodeTooLarge},
		{"spaces", `{"query":"{hello}"` + fill(" ") + `}`, ""},
		{"empty objects", withVariables(any, `{"a":[`+fill("{},")+`1]}`), CodeTooLarge},
		{"what does not end", `{"query":"` + fill("{"), CodeBadRequest},
	}
}

// serve serves a hostile request from its body on, and tells what it takes.
func (h hostile) serve(t testing.TB, w *Worker) (code Code, message string, allocated uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ctx := w.ask("POST", "/graphql", asJSON, h.body)
	runtime.ReadMemStats(&after)
	var answer struct {
		Errors []struct {
			Message    string
			Extensions struct{ Code Code }
		}
	}
	body := ctx.Response.Body()
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%v: %.300s", err, body)
	}
	if len(answer.Errors) > 0 {
		code, message = answer.Errors[0].Extensions.Code, answer.Errors[0].Message
		if len(body) > 20<<10 {
			t.Errorf("the refusal has %d bytes", len(body))
		}
	}
	return code, message, after.TotalAlloc - before.TotalAlloc
}

// A request that is made to hurt takes no more memory than one of the same kind
// that is as large as it may be. BenchmarkHostile tells the same of time.
func TestHostileRequests(t *testing.T) {
	for _, kind := range []struct {
		what     string
		normal   string
		requests []hostile
	}{
		{"documents", `{"operationName":"Q","query":` + asBody(normalDocument())[len(`{"query":`):], hostileDocuments()},
		{"bodies", normalBody(), hostileBodies()},
	} {
		w := newTestWorker(t, Config{MaxBody: 2 << 20})
		code, message, normal := hostile{body: kind.normal}.serve(t, w)
		if code != "" {
			t.Fatalf("a normal request is refused: %s %s", code, message)
		}
		t.Logf("%s: a normal one of %d bytes allocates %d KiB", kind.what, len(kind.normal), normal>>10)
		for _, h := range kind.requests {
			t.Run(h.what, func(t *testing.T) {
				code, message, allocated := h.serve(t, w)
				if code != h.code {
					t.Errorf("%q, want %q: %.200s", code, h.code, message)
				}
				if allocated > normal {
					t.Errorf("it allocates %d KiB for %d bytes, a normal one %d KiB", allocated>>10, len(h.body), normal>>10)
				}
			})
		}
	}
}

// BenchmarkHostile tells how long a hostile request takes, as a part of what a
// normal one does that is as large as it may be.
//
//	go test -run '^$' -bench Hostile -benchtime 20x ./worker
func BenchmarkHostile(b *testing.B) {
	for _, kind := range []struct {
		what, normal string
		requests     []hostile
	}{
		{"documents", `{"operationName":"Q","query":` + asBody(normalDocument())[len(`{"query":`):], hostileDocuments()},
		{"bodies", normalBody(), hostileBodies()},
	} {
		w := newTestWorker(b, Config{MaxBody: 2 << 20, MaxPlanBytes: 1}) // every document is new
		w.planner.refusals = newPlanCache(0, 0)
		var normal float64
		for _, h := range append([]hostile{{what: "normal", body: kind.normal}}, kind.requests...) {
			b.Run(kind.what+"/"+h.what, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					w.ask("POST", "/graphql", asJSON, h.body)
				}
				each := b.Elapsed().Seconds() / float64(b.N)
				if h.what == "normal" {
					normal = each
				}
				b.ReportMetric(each/normal, "of-normal")
			})
		}
	}
}
