package worker

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nekoctl/neko/cache"
)

// coercedValue is any that coercion can make.
func coercedValue(depth int) *rapid.Generator[any] {
	leaves := []*rapid.Generator[any]{
		rapid.Just[any](nil),
		rapid.Bool().AsAny(),
		rapid.Int32().AsAny(),
		rapid.Int64().AsAny(),
		rapid.Float64().AsAny(),
		rapid.StringOfN(rapid.SampledFrom([]rune("asn[{\x00\x01\x02é1")), 0, 6, -1).AsAny(),
	}
	if depth == 0 {
		return rapid.OneOf(leaves...)
	}
	deeper := rapid.Deferred(func() *rapid.Generator[any] { return coercedValue(depth - 1) })
	return rapid.OneOf(append(leaves,
		rapid.SliceOfN(deeper, 0, 4).AsAny(),
		rapid.MapOfN(rapid.StringOfN(rapid.SampledFrom([]rune("ab\x01s")), 0, 3, -1), deeper, 0, 4).AsAny())...)
}

// same says whether two values are the same to a resolver: floats by their bits.
func same(a, b any) bool {
	x, isX := a.(float64)
	y, isY := b.(float64)
	if isX && isY {
		return math.Float64bits(x) == math.Float64bits(y)
	}
	switch a := a.(type) {
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !same(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k := range a {
			if v, ok := b[k]; !ok || !same(a[k], v) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}

// Different variables are different bytes, and the same are the same: else one would get what
// another has asked for, or nobody what was made.
func TestCanonicalVariables(t *testing.T) {
	declared := []variable{{name: "a"}, {name: "b"}}
	draw := func(rt *rapid.T, what string) *input {
		in := &input{values: map[string]any{}, states: make([]varState, 2)}
		for i, v := range declared {
			in.states[i] = rapid.SampledFrom([]varState{varSet, varSet, varNull, varAbsent}).Draw(rt, what+v.name+"state")
			if in.states[i] == varSet {
				in.values[v.name] = coercedValue(3).Draw(rt, what+v.name)
			}
		}
		return in
	}
	bytesOf := func(in *input) []byte {
		b, ok := in.appendCanonical(nil, declared)
		if !ok {
			t.Fatalf("%v has no bytes", in.values)
		}
		return b
	}
	rapid.Check(t, func(rt *rapid.T) {
		x := draw(rt, "x")
		y := x
		if rapid.Bool().Draw(rt, "another") {
			y = draw(rt, "y")
		}
		alike := bytes.Equal(bytesOf(x), bytesOf(y))
		equal := string(toBytes(x.states)) == string(toBytes(y.states)) && same(x.values, y.values)
		if alike != equal {
			rt.Fatalf("%v %q and %v %q: the same bytes is %v", x.values, x.states, y.values, y.states, alike)
		}
	})
	if _, ok := (&input{values: map[string]any{"a": json.Number("1"), "b": 1}, states: []varState{varSet, varSet}}).appendCanonical(nil, declared); ok {
		t.Error("a value of a type that coercion does not make")
	}
}

func toBytes(states []varState) (b []byte) {
	for _, s := range states {
		b = append(b, byte(s))
	}
	return b
}

// keyOf is the key of an operation with variables as JSON, as a role asks.
func (p *planner) keyOf(t testing.TB, query, operation, variables string, who Identity) (cache.Key, bool) {
	t.Helper()
	plan, errs := p.plan(t.Context(), query, operation)
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
		t.Fatalf("%s is not kept", query)
	}
	return plan.caching.key(&in, &who, p.roles.rank(who.Role))
}

const keySchema = `
	type Query {
		a(x: In, n: Int, f: Float, id: ID, l: [Int]): String @cacheControl(maxAge: 9)
		mine: String @cacheControl(maxAge: 9, scope: PRIVATE)
		read: String @cacheControl(maxAge: 9) @requires(role: READER)
		ours: String @cacheControl(maxAge: 9, scope: PRIVATE) @requires(role: READER)
	}
	input In { i: Int = 5 s: String o: In }
`

// What is spelled otherwise and means the same has the same key; what means something
// else has not, nor has anybody who may have another answer.
func TestCacheKeys(t *testing.T) {
	p, err := newCachingPlanner(t, keySchema, Config{})
	if err != nil {
		t.Fatal(err)
	}
	const q = `query A($x: In, $n: Int, $f: Float, $id: ID, $l: [Int]) {a(x: $x, n: $n, f: $f, id: $id, l: $l)} query B {a}`
	ann, bob := Identity{Subject: "user:1", Name: "ann", Role: "READER"}, Identity{Subject: "user:2", Name: "ann", Role: "READER"}
	admin := Identity{Subject: "user:3", Name: "root", Role: "ADMIN"}
	with := func(who Identity, change func(*Identity)) Identity { change(&who); return who }
	type asked struct {
		query, operation, variables string
		who                         Identity
	}
	for _, c := range []struct {
		why  string
		a, b asked
		same bool
	}{
		{"the order of fields", asked{q, "A", `{"x": {"i": 1, "s": "a"}, "n": 1}`, Identity{}}, asked{q, "A", `{"n": 1, "x": {"s": "a", "i": 1}}`, Identity{}}, true},
		{"spaces and escapes", asked{q, "A", `{"x":{"s":"a"}}`, Identity{}}, asked{q, "A", `{ "x" : { "s" : "\u0061" } }`, Identity{}}, true},
		{"a default that is sent", asked{q, "A", `{"x": {}}`, Identity{}}, asked{q, "A", `{"x": {"i": 5}}`, Identity{}}, true},
		{"a number for a float", asked{q, "A", `{"f": 1}`, Identity{}}, asked{q, "A", `{"f": 1.0e0}`, Identity{}}, true},
		{"a number for an id", asked{q, "A", `{"id": 7}`, Identity{}}, asked{q, "A", `{"id": "7"}`, Identity{}}, true},
		{"one value for a list", asked{q, "A", `{"l": 7}`, Identity{}}, asked{q, "A", `{"l": [7]}`, Identity{}}, true},
		{"variables that nobody declares", asked{q, "A", `{"n": 1, "zzz": 2}`, Identity{}}, asked{q, "A", `{"n": 1}`, Identity{}}, true},
		{"a name that the only operation has", asked{`query X {a}`, "X", ``, Identity{}}, asked{`query X {a}`, "", ``, Identity{}}, true},
		{"who asks for what is everybody's", asked{q, "A", `{}`, ann}, asked{q, "A", `{}`, Identity{}}, true},

		{"null and absent", asked{q, "A", `{"n": null}`, Identity{}}, asked{q, "A", `{}`, Identity{}}, false},
		{"null in an input and absent", asked{q, "A", `{"x": {"s": null}}`, Identity{}}, asked{q, "A", `{"x": {}}`, Identity{}}, false},
		{"an empty list and null", asked{q, "A", `{"l": []}`, Identity{}}, asked{q, "A", `{"l": null}`, Identity{}}, false},
		{"the place of a null", asked{q, "A", `{"l": [null, 1]}`, Identity{}}, asked{q, "A", `{"l": [1, null]}`, Identity{}}, false},
		{"another variable", asked{q, "A", `{"n": 1}`, Identity{}}, asked{q, "A", `{"f": 1}`, Identity{}}, false},
		{"another operation", asked{q, "A", `{}`, Identity{}}, asked{q, "B", `{}`, Identity{}}, false},
		{"another document", asked{`{a}`, "", ``, Identity{}}, asked{`{a }`, "", ``, Identity{}}, false},
		{"a text that looks like another's end", asked{q, "A", `{"x": {"s": "a\u0001"}}`, Identity{}}, asked{q, "A", `{"x": {"s": "a", "o": {}}}`, Identity{}}, false},

		{"another user, of the same name", asked{`{mine}`, "", ``, ann}, asked{`{mine}`, "", ``, bob}, false},
		{"another role of a user", asked{`{mine}`, "", ``, ann}, asked{`{mine}`, "", ``, with(ann, func(i *Identity) { i.Role = "ADMIN" })}, false},
		{"no role of a user", asked{`{mine}`, "", ``, ann}, asked{`{mine}`, "", ``, with(ann, func(i *Identity) { i.Role = "" })}, false},
		{"another name of a user", asked{`{mine}`, "", ``, ann}, asked{`{mine}`, "", ``, with(ann, func(i *Identity) { i.Name = "anne" })}, false},
		{"scopes", asked{`{mine}`, "", ``, ann}, asked{`{mine}`, "", ``, with(ann, func(i *Identity) { i.Scopes = []string{"Query.*"} })}, false},
		{"no scope at all", asked{`{mine}`, "", ``, ann}, asked{`{mine}`, "", ``, with(ann, func(i *Identity) { i.Scopes = []string{} })}, false},
		{"other scopes", asked{`{mine}`, "", ``, with(ann, func(i *Identity) { i.Scopes = []string{"a", "b"} })}, asked{`{mine}`, "", ``, with(ann, func(i *Identity) { i.Scopes = []string{"ab"} })}, false},
		{"the same user", asked{`{mine}`, "", ``, ann}, asked{`{mine}`, "", ``, ann}, true},
		{"texts between which the border moves", asked{`{mine}`, "", ``, Identity{Subject: "ab", Name: "c"}}, asked{`{mine}`, "", ``, Identity{Subject: "a", Name: "bc"}}, false},

		{"the same role of two users", asked{`{read}`, "", ``, ann}, asked{`{read}`, "", ``, bob}, true},
		{"another role", asked{`{read}`, "", ``, ann}, asked{`{read}`, "", ``, admin}, false},
		{"two users, and a role is needed", asked{`{ours}`, "", ``, ann}, asked{`{ours}`, "", ``, bob}, false},
	} {
		a, ok := p.keyOf(t, c.a.query, c.a.operation, c.a.variables, c.a.who)
		b, okB := p.keyOf(t, c.b.query, c.b.operation, c.b.variables, c.b.who)
		if !ok || !okB || (a == b) != c.same {
			t.Errorf("%s: the same is %v (%v, %v)", c.why, a == b, ok, okB)
		}
	}
	if _, ok := p.keyOf(t, `{mine}`, "", ``, Identity{Name: "ann", Role: "READER"}); ok {
		t.Error("what is private was kept for nobody in particular")
	}
}

// Another schema, program or limit has other keys.
func TestAnswersDigest(t *testing.T) {
	base := Config{Name: "n", Version: "1", Schema: "s", MaxCost: 5, MaxFields: 6, FieldCosts: map[string]int{"a": 1, "b": 2}}
	digest := answersDigest(base)
	if again := base; answersDigest(again) != digest {
		t.Fatal("the same has another digest")
	}
	for what, change := range map[string]func(*Config){
		"version": func(c *Config) { c.Version = "2" }, "schema": func(c *Config) { c.Schema = "t" }, "name": func(c *Config) { c.Name = "m" },
		"cost": func(c *Config) { c.MaxCost = 6 }, "fields": func(c *Config) { c.MaxFields = 5 }, "role": func(c *Config) { c.DefaultRole = "X" },
		"default": func(c *Config) { c.CacheDefaultMaxAge = 1 }, "stale": func(c *Config) { c.CacheStaleIfError = 1 }, "swr": func(c *Config) { c.CacheStaleWhileRevalidate = 1 },
		"costs": func(c *Config) { c.FieldCosts = map[string]int{"a": 12, "b": 2} },
		"moved": func(c *Config) { c.Name, c.Version = "n1", "" },
	} {
		c := base
		if change(&c); answersDigest(c) == digest {
			t.Errorf("another %s has the same digest", what)
		}
	}
}

// A key is found out for every request, hit or not.
func TestKeysTakeNoMemory(t *testing.T) {
	p, err := newCachingPlanner(t, keySchema, Config{})
	if err != nil {
		t.Fatal(err)
	}
	plan, errs := p.plan(t.Context(), `query($x: In, $n: Int, $l: [Int]) {a(x: $x, n: $n, l: $l) mine read}`, "")
	if errs != nil {
		t.Fatal(errs[0])
	}
	given, _ := parseVariables([]byte(`{"x": {"i": 1, "s": "abc", "o": {"i": 3}}, "n": 4, "l": [1, 2, 3]}`))
	in := p.input(plan, given)
	who := Identity{Subject: "user:1", Name: "ann", Role: "ADMIN", Scopes: []string{"Query.*"}}
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := plan.caching.key(&in, &who, 2); !ok {
			t.Fatal("no key")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCacheKey(b *testing.B) {
	p, err := newCachingPlanner(b, keySchema, Config{})
	if err != nil {
		b.Fatal(err)
	}
	plan, errs := p.plan(b.Context(), `query($x: In, $n: Int) {a(x: $x, n: $n)}`, "")
	if errs != nil {
		b.Fatal(errs[0])
	}
	given, _ := parseVariables([]byte(fmt.Sprintf(`{"x": {"i": %d, "s": %q}, "n": 4}`, rand.Int32(), strings.Repeat("x", 20))))
	in := p.input(plan, given)
	for b.Loop() {
		plan.caching.key(&in, &Identity{}, 0)
	}
}
