package worker

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// answer is what a client reads for a request, without HTTP.
func (w *Worker) answer(t testing.TB, query, operation, variables string) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "operationName": operation})
	if err != nil {
		t.Fatal(err)
	}
	if variables != "" {
		body = append(body[:len(body)-1], `,"variables":`+variables+`}`...)
	}
	r, bad := parseBody(body)
	if bad != nil {
		t.Fatal(bad)
	}
	plan, errs := w.planner.plan(t.Context(), r.query, r.operationName)
	if errs != nil {
		return show1(failed(errs...))
	}
	return show1(w.execute(w.base, plan, w.planner.input(plan, r.variables), &Caller{}))
}

// show1 is a result in one line: the value of its only field if it is a string
// with JSON in it, and errors as "CODE message".
func show1(r result) string {
	s := string(r.data)
	var one map[string]*string
	if json.Unmarshal(r.data, &one) == nil && len(one) == 1 {
		for _, v := range one {
			if v != nil {
				s = *v
			}
		}
	}
	for _, e := range r.errors {
		s += fmt.Sprintf(" !%v %s", e.Extensions()["code"], e.Message)
	}
	return strings.TrimSpace(s)
}

// What a resolver gets for what a client sends, where gqlparser and
// graph-gophers would not agree by themselves. In all of them the answer is what
// the specification says, but for explicit null where there is a default: that
// counts as not given.
func TestValuesReachResolvers(t *testing.T) {
	const none = `"int":7,"required":8,"string":"none"`
	w := newTestWorker(t, Config{})
	for _, c := range []struct{ what, query, variables, want string }{
		{"nothing given", `{echo}`, ``, none},
		{"comment and comma", "# hi\n{,echo,}", ``, none},
		{"byte order mark", "\ufeff{echo}", ``, none},
		{"description of the operation", `"""Says "much" \""" \\ """ query Q { echo }`, ``, none},
		{"description of a variable", `query Q("the int" $i: Int) { echo(int: $i) }`, `{"i":1}`, `"int":1,"required":8,"string":"none"`},

		{"escapes", `{echo(string: "a\"\\\/\b\f\n\r\t\u00e9\u{1F600}é😀")}`, ``, `"int":7,"required":8,"string":"a\"\\/\b\f\n\r\té😀é😀"`},
		{"control characters", `{echo(string: "\u0000\u007f\u0085\u001b")}`, ``, "\"int\":7,\"required\":8,\"string\":\"\\u0000\u007f\u0085\\u001b\""},
		{"surrogate pair", `{echo(string: "\uD83D\uDE00")}`, ``, `"int":7,"required":8,"string":"😀"`},
		{"what looks like Go", `{echo(string: "\\x41 \\u0041 ` + "`" + `")}`, ``, `"int":7,"required":8,"string":"\\x41 \\u0041 ` + "`" + `"`},
		{"block string", "{echo(string: \"\"\"\n    one\n      two \\\"\"\" \\n\n  \"\"\")}", ``, `"int":7,"required":8,"string":"one\n  two \"\"\" \\n"`},
		{"string with a comment in it", `{echo(string: "# no \"\"\" comment")}`, ``, `"int":7,"required":8,"string":"# no \"\"\" comment"`},
		{"carriage returns", "{\r\n echo(\r int: 1)\r\n}", ``, `"int":1,"required":8,"string":"none"`},

		{"literals", `{echo(int: -1, float: 1.5e3, boolean: true, id: "x", enum: GREEN)}`, ``, `"int":-1,"required":8,"float":1500,"string":"none","boolean":true,"id":"x","enum":"GREEN"`},
		{"an integer for a float", `{echo(float: 3)}`, ``, `"int":7,"required":8,"float":3,"string":"none"`},
		{"an integer for an id", `{echo(id: 4)}`, ``, `"int":7,"required":8,"string":"none","id":"4"`},
		{"a large integer for an id", `{echo(id: 9007199254740993)}`, ``, `"int":7,"required":8,"string":"none","id":"9007199254740993"`},
		{"one value for a list", `{echo(list: 1, matrix: [1, [2, null], null])}`, ``, `"int":7,"required":8,"string":"none","list":[1],"matrix":[[1],[2,null],null]`},
		{"null for what has a default", `{echo(int: null, string: null)}`, ``, none},
		{"input object", `{echo(input: {b: "x", d: [{a: 1}, {c: {}}]})}`, ``, none + `,"input":{"a":5,"b":"x","d":[{"a":1,"e":"GREEN"},{"a":5,"c":{"a":5,"e":"GREEN"},"e":"GREEN"}],"e":"GREEN"}`},
		{"null in an input object", `{echo(input: {b: null, e: null})}`, ``, none + `,"input":{"a":5,"e":"GREEN"}`},
		{"custom scalar", `{echo(any: {a: [1, 2.5, "s", X, true, null]})}`, ``, none + `,"any":"map[string]interface {}{\"a\":[]interface {}{1, 2.5, \"s\", \"X\", true, interface {}(nil)}}"`},
		{"one of", `{echo(oneOf: {x: 1})}`, ``, none + `,"oneOf":{"x":1}`},

		{"variables", `query($i: Int, $f: Float, $s: String, $b: Boolean, $id: ID, $e: Color) {echo(int: $i, float: $f, string: $s, boolean: $b, id: $id, enum: $e)}`,
			`{"i": 1, "f": 2, "s": "x", "b": false, "id": 3, "e": "RED", "unknown": 1}`, `"int":1,"required":8,"float":2,"string":"x","boolean":false,"id":"3","enum":"RED"`},
		{"a variable that is absent leaves the default", `query($i: Int, $s: String) {echo(int: $i, string: $s)}`, ``, none},
		{"an absent one for a required argument too", `query($i: Int) {echo(required: $i)}`, ``, none},
		{"and it may be given", `query($i: Int) {echo(required: $i)}`, `{"i": 1}`, `"int":7,"required":1,"string":"none"`},
		{"null for what has a default counts as absent", `query($i: Int) {echo(int: $i)}`, `{"i": null}`, none},
		{"a default of a variable", `query($i: Int = 3) {echo(int: $i)}`, ``, `"int":3,"required":8,"string":"none"`},
		{"of a required variable", `query($i: Int! = 3) {echo(required: $i)}`, ``, `"int":7,"required":3,"string":"none"`},
		{"a default of null", `query($f: Float = null) {echo(float: $f)}`, ``, none},
		{"a default that is an object", `query($o: Input = {b: "x"}) {echo(input: $o)}`, ``, none + `,"input":{"a":5,"b":"x","e":"GREEN"}`},
		{"an absent field of an input object", `query($b: String, $a: Int) {echo(input: {b: $b, a: $a})}`, ``, none + `,"input":{"a":5,"e":"GREEN"}`},
		{"an absent element of a list is null", `query($x: Int) {echo(matrix: [[$x, 1]])}`, ``, none + `,"matrix":[[null,1]]`},
		{"an object as a variable", `query($o: Input!) {echo(input: $o)}`, `{"o": {"c": {"id": 1}, "d": {"a": 2}}}`, none + `,"input":{"a":5,"c":{"a":5,"e":"GREEN","id":"1"},"d":[{"a":2,"e":"GREEN"}],"e":"GREEN"}`},
		{"one value for a list", `query($l: [Int!]) {echo(list: $l)}`, `{"l": 1}`, none + `,"list":[1]`},
		{"a custom scalar", `query($a: Any) {echo(any: $a)}`, `{"a": [1, 5000000000, 2.5, "s"]}`, none + `,"any":"[]interface {}{1, 5000000000, 2.5, \"s\"}"`},
		{"one of", `query($o: OneOf) {echo(oneOf: $o)}`, `{"o": {"y": "z"}}`, none + `,"oneOf":{"y":"z"}`},
		{"a directive on a variable", `query($i: Int @deprecated) {echo(int: $i)}`, `{"i": 1}`, `!GRAPHQL_VALIDATION_FAILED Directive "@deprecated" may not be used on VARIABLE_DEFINITION.`},
		{"more variables than kept texts", `query($a:Int,$b:Int,$c:Int,$d:Int,$e:Int,$f:Int){echo(input:{a:$a,c:{a:$b,c:{a:$c}}},int:$d,required:$e,list:[1]) x:echo(int:$f)}`, `{"a":1}`,
			``},
	} {
		t.Run(c.what, func(t *testing.T) {
			got := w.answer(t, c.query, "", c.variables)
			if strings.HasPrefix(c.want, "!") {
				if got != c.want {
					t.Errorf("\n got %s\nwant %s", got, c.want)
				}
				return
			}
			if c.want == "" {
				if strings.Contains(got, "!") {
					t.Error(got)
				}
				return
			}
			var a, b any
			want := "{" + c.want + "}"
			if !strings.Contains(want, `"enum"`) {
				want = `{"enum":"RED",` + c.want + "}"
			}
			if err := json.Unmarshal([]byte(got), &a); err != nil {
				t.Fatalf("%s", got)
			}
			if err := json.Unmarshal([]byte(want), &b); err != nil {
				t.Fatal(err, want)
			}
			g, _ := json.Marshal(a)
			x, _ := json.Marshal(b)
			if string(g) != string(x) {
				t.Errorf("\n got %s\nwant %s", g, x)
			}
		})
	}
}

func TestWhatIsRefused(t *testing.T) {
	w := newTestWorker(t, Config{MaxTokens: 200})
	for _, c := range []struct{ what, query, variables, want string }{
		{"no syntax", `{`, ``, `!GRAPHQL_PARSE_FAILED Expected Name, found <EOF>`},
		{"no operation", `fragment F on Query {hello}`, ``, `!GRAPHQL_PARSE_FAILED the document has no operation`},
		{"a type definition", `type X {a: Int}`, ``, `!GRAPHQL_PARSE_FAILED Unexpected Name "type"`},
		{"variables of a fragment", `{...F} fragment F($x: Int) on Query {echo(int: $x)}`, ``, `!GRAPHQL_PARSE_FAILED fragment "F": fragments cannot define variables`},
		{"too many tokens", `{` + strings.Repeat("hello ", 300) + `}`, ``, `!DOCUMENT_TOO_LARGE the document has more than 200 tokens`},
		{"an unknown field", `{helo}`, ``, `!GRAPHQL_VALIDATION_FAILED Cannot query field "helo" on type "Query". Did you mean "hello"?`},
		{"defer, which nothing executes", `{... @defer {hello}}`, ``, `!GRAPHQL_VALIDATION_FAILED Unknown directive "@defer".`},
		{"no 32-bit integer", `{echo(int: 3000000000)}`, ``, `!GRAPHQL_VALIDATION_FAILED 3000000000 is not a 32-bit integer`},
		{"an object for an integer", `{echo(int: {})}`, ``, `!GRAPHQL_VALIDATION_FAILED Int cannot represent {}`},
		{"or for an enum in a list", `query($o: Input = {d: [{e: {}}]}) {echo(input: $o)}`, ``, `!GRAPHQL_VALIDATION_FAILED Color cannot represent {}`},
		{"no 64-bit integer in a custom scalar", `{echo(any: [99999999999999999999])}`, ``, `!GRAPHQL_VALIDATION_FAILED 99999999999999999999 is not a 64-bit integer`},
		{"no float in a custom scalar", `{echo(any: 1e999)}`, ``, `!GRAPHQL_VALIDATION_FAILED 1e999 is beyond the range of a float`},
		{"a bad default", `query($i: Int = 3000000000) {echo(int: $i)}`, ``, `!GRAPHQL_VALIDATION_FAILED 3000000000 is not a 32-bit integer`},
		{"a required variable that is absent", `query($i: Int!) {echo(int: $i)}`, ``, `!BAD_USER_INPUT variable $i of type Int! is required`},
		{"or null", `query($i: Int!) {echo(int: $i)}`, `{"i": null}`, `!BAD_USER_INPUT variable $i: null is no Int!`},
		{"null where there must be a value", `query($i: Int = 1) {echo(required: $i)}`, `{"i": null}`, `!BAD_USER_INPUT variable $i is null, but is used where Int! is wanted`},
		{"a string for an integer", `query($i: Int) {echo(int: $i)}`, `{"i": "1"}`, `!BAD_USER_INPUT variable $i: "1" is no Int`},
		{"half an integer", `query($i: Int) {echo(int: $i)}`, `{"i": 1.5}`, `!BAD_USER_INPUT variable $i: 1.5 is no Int`},
		{"a number for a string", `query($s: String) {echo(string: $s)}`, `{"s": 1}`, `!BAD_USER_INPUT variable $s: 1 is no String`},
		{"a fraction for an id", `query($i: ID) {echo(id: $i)}`, `{"i": 1.5}`, `!BAD_USER_INPUT variable $i: 1.5 is no ID`},
		{"an enum value in the wrong case", `query($e: Color) {echo(enum: $e)}`, `{"e": "red"}`, `!BAD_USER_INPUT variable $e: "red" is no Color`},
		{"null in a list", `query($l: [Int!]) {echo(list: $l)}`, `{"l": [1, null]}`, `!BAD_USER_INPUT variable $l[1]: null is no Int!`},
		{"an unknown input field", `query($o: Input) {echo(input: $o)}`, `{"o": {"d": [{"x": 1}]}}`, `!BAD_USER_INPUT variable $o.d[0]: Input has no field "x"`},
		{"both of one", `query($o: OneOf) {echo(oneOf: $o)}`, `{"o": {"x": 1, "y": "z"}}`, `!BAD_USER_INPUT variable $o: OneOf wants exactly one field, and not null`},
	} {
		t.Run(c.what, func(t *testing.T) {
			if got := w.answer(t, c.query, "", c.variables); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestOperations(t *testing.T) {
	w := newTestWorker(t, Config{})
	const two = `
		query A($n: ID!) { node(id: $n) { ...F } }
		query B($skip: Boolean = false) { hello @skip(if: $skip) nodes @include(if: $skip) { __typename } }
		fragment F on Node { __typename ... on Actor { name } ...G }
		fragment G on Node { id }`
	for _, c := range []struct{ what, query, operation, variables, want string }{
		{"one of two", two, "A", `{"n": "x"}`, `{"node":{"__typename":"Actor","name":"actor x","id":"x"}}`},
		{"the other", two, "B", ``, `world`},
		{"with its variable", two, "B", `{"skip": true}`, `{"nodes":[{"__typename":"Actor"},{"__typename":"Actor"}]}`},
		{"neither", two, "", ``, `!OPERATION_RESOLUTION_FAILURE the document has several operations: say which by operationName`},
		{"a third", two, "C", ``, `!OPERATION_RESOLUTION_FAILURE the document has no operation named "C"`},
		{"a name for the nameless", `{hello}`, "A", ``, `!OPERATION_RESOLUTION_FAILURE the document has no operation named "A"`},
		{"aliases", `{a: hello b: hello}`, "", ``, `{"a":"world","b":"world"}`},
		{"merged selections", `{node(id: 1) {id} node(id: 1) {... on Actor {name}}}`, "", ``, `{"node":{"id":"1","name":"actor 1"}}`},
		{"a union", `{search {__typename ... on Actor {name} ... on Tool {kind}}}`, "", ``, `{"search":[{"__typename":"Actor","name":"actor 1"},{"__typename":"Actor","name":"actor 2"}]}`},
		{"fragments without condition", `{... {hello} ... @include(if: false) {x: hello}}`, "", ``, `world`},
		{"include that leaves nothing", `query($x: Boolean!) {hello @include(if: $x)}`, "", `{"x": false}`, `{}`},
		{"keywords as names", `query query { type: hello on: hello fragment: hello null: hello }`, "query", ``, `{"type":"world","on":"world","fragment":"world","null":"world"}`},
		{"a mutation", `mutation { touch(name: "x") }`, "", ``, `x`},
		{"typename of the root", `{__typename}`, "", ``, `Query`},
		{"introspection", `{__type(name: "Color") {kind enumValues {name} description}}`, "", ``, `{"__type":{"kind":"ENUM","enumValues":[{"name":"RED"},{"name":"GREEN"}],"description":null}}`},
		{"introspection that is skipped", `{... @skip(if: true) {__schema {queryType {name}}}}`, "", ``, `{}`},
		{"introspection by variable", `query($n: String!) {__type(name: $n) {name}}`, "", `{"n": "Node"}`, `{"__type":{"name":"Node"}}`},
		{"the description in introspection", `{__type(name: "Node") {description}}`, "", ``, `{"__type":{"description":"Node has an identity."}}`},
	} {
		t.Run(c.what, func(t *testing.T) {
			if got := w.answer(t, c.query, c.operation, c.variables); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	w := newTestWorker(t, Config{})
	const doc = `
		query A($f: Int) { nodes { ...F } __typename }
		mutation M { touch(name: "x") }
		fragment F on Node { id ... on Actor { friends(first: $f) { name } } }`
	plan, errs := w.planner.plan(t.Context(), doc, "A")
	if errs != nil {
		t.Fatal(errs[0])
	}
	if got, want := fmt.Sprintln(plan.Kind, plan.Name, plan.Fields), "query A [Actor.friends Actor.name Node.id Query.nodes]\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, c := range []struct{ states, want string }{
		{"s", `query A($f: Int!){nodes{... F}__typename}fragment F on Node{id ... on Actor{friends(first: $f){name}}}`},
		{"a", `query A{nodes{... F}__typename}fragment F on Node{id ... on Actor{friends{name}}}`},
	} {
		text, err := plan.text([]varState(c.states))
		if err != nil {
			t.Fatal(err)
		}
		if got := squeeze(text); got != squeeze(c.want) {
			t.Errorf("%s\n got %s\nwant %s", c.states, got, squeeze(c.want))
		}
	}
	again, _ := w.planner.plan(t.Context(), doc, "A")
	other, _ := w.planner.plan(t.Context(), doc, "M")
	if again != plan || other == plan {
		t.Error("a plan is made once for each document and operation")
	}
}

func squeeze(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	for _, p := range []string{"{", "}", "("} {
		s = strings.ReplaceAll(strings.ReplaceAll(s, " "+p, p), p+" ", p)
	}
	return s
}

func TestPlanCacheIsBounded(t *testing.T) {
	c := newPlanCache(3, 1000)
	key := func(name string) planKey { return planKey{name: name} }
	held := func(c *planCache) (names string) {
		for _, l := range []planList{c.again, c.once} {
			bytes := 0
			for e := l.order.Front(); e != nil; e = e.Next() {
				entry := e.Value.(*planEntry)
				bytes += entry.bytes
				names += entry.key.name
				if c.plans[entry.key] != e {
					t.Errorf("%s is held and not found", entry.key.name)
				}
			}
			if bytes != l.bytes {
				t.Errorf("%d bytes are counted as %d", bytes, l.bytes)
			}
			names += "|"
		}
		if n := c.once.order.Len() + c.again.order.Len(); n != len(c.plans) || n > c.maxPlans || c.once.bytes+c.again.bytes > c.maxBytes {
			t.Errorf("%d plans are held, %d found", n, len(c.plans))
		}
		return names
	}
	for i, step := range []struct{ put, get, want string }{
		{put: "a", want: "|a|"},
		{put: "b", want: "|ba|"},
		{put: "c", want: "|cba|"},
		{get: "a", want: "a|cb|"},  // used again
		{put: "d", want: "a|dc|"},  // what was used once leaves first
		{get: "d", want: "da|c|"},  //
		{get: "a", want: "ad|c|"},  //
		{get: "c", want: "ca|d|"},  // two thirds are for what was used again
		{put: "e", want: "ca|e|"},  //
		{get: "no", want: "ca|e|"}, //
	} {
		if step.put != "" {
			c.put(key(step.put), &Plan{Name: step.put}, nil, 100)
		} else if plan, _ := c.get(key(step.get)); plan != nil && plan.Name != step.get {
			t.Errorf("step %d: got %s", i, plan.Name)
		}
		if got := held(c); got != step.want {
			t.Fatalf("step %d: %s, want %s", i, got, step.want)
		}
	}
	c.put(key("huge"), &Plan{}, nil, 200)
	if plan, _ := c.get(key("huge")); plan != nil {
		t.Error("a huge plan is kept")
	}
	c = newPlanCache(100, 1000)
	for i := range 20 {
		c.put(key(fmt.Sprint(i)), &Plan{}, nil, 100)
		c.get(key(fmt.Sprint(i / 2)))
		held(c)
	}
	if len(c.plans) != 10 {
		t.Errorf("%d plans", len(c.plans))
	}
}

// Many clients, few documents, a cache that is too small for them.
func TestPlansAreSafeForConcurrentUse(t *testing.T) {
	w := newTestWorker(t, Config{MaxPlans: 3})
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for j := range 50 {
				n := (i + j) % 6
				query := fmt.Sprintf(`query($i: Int, $s: String) {echo(int: $i, string: $s) n: node(id: %d) {id}}`, n)
				variables := []string{``, `{"i": 1}`, `{"s": "x"}`, `{"i": null, "s": "y"}`}[j%4]
				if got := w.answer(t, query, "", variables); strings.Contains(got, "!") || !strings.Contains(got, fmt.Sprintf(`"n":{"id":"%d"}`, n)) {
					t.Error(got)
				}
			}
		})
	}
	clients.Wait()
}
