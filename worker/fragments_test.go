package worker

import (
	"fmt"
	"strings"
	"testing"
)

// Fragments on interfaces and unions, at which graph-gophers panics or leaves out
// fields if it is given them as they are.
func TestFragmentsOnAbstractTypes(t *testing.T) {
	w := newTestWorker(t, Config{Schema: shelterSchema, Resolver: &shelter{}})
	for _, c := range []struct{ what, query, want string }{
		{"an interface on a union", `{ found { ... on Named { __typename } } }`,
			`{"found":[{"__typename":"Cat"},{"__typename":"Dog"},{"__typename":"Person"}]}`},
		{"object types within", `{ found { ... on Animal { ... on Cat { lives } ... on Dog { weight } } } }`,
			`{"found":[{"lives":9},{"weight":7.5},{}]}`},
		{"the same by name", `{ found { ...A } } fragment A on Animal { ...C ...D } fragment C on Cat { lives } fragment D on Dog { weight }`,
			`{"found":[{"lives":9},{"weight":7.5},{}]}`},
		{"one that is also used where it fits", `{ animal(id: "dog") { ...A } found { ...A } } fragment A on Animal { ... on Dog { weight } }`,
			`{"animal":{"weight":7.5},"found":[{},{"weight":7.5},{}]}`},
		{"a union on an object", `{ cat { ... on Pet { __typename ... on Cat { lives } ... on Dog { weight } } } }`,
			`{"cat":{"__typename":"Cat","lives":9}}`},
		{"a union on an interface", `{ animal(id: "dog") { ... on Finding { ... on Cat { lives } ... on Dog { weight } ... on Person { born } } } }`,
			`{"animal":{"weight":7.5}}`},
		{"a union on a union", `{ pets { ... on Finding { __typename ... on Person { born } } } }`,
			`{"pets":[[{"__typename":"Cat"},{"__typename":"Dog"}],null,[]]}`},
		{"a wider interface", `{ animal(id: "dog") { ... on Named { ... on Animal { ... on Dog { weight } } ... @include(if: true) { __typename } } } }`,
			`{"animal":{"weight":7.5,"__typename":"Dog"}}`},
		{"a narrower one", `{ named(name: "Tama") { ... on Animal { age } ... on Person { born } } }`,
			`{"named":{"age":4}}`},
		{"nothing that it can be", `{ cat { ... on Animal { ... on Dog { weight } } } }`,
			`{"cat":{}}`},
		{"with what is at other types", `{ found { ... on Animal { ... on Named { ... on Person { born } } age } } }`,
			`{"found":[{"age":4},{"age":4},{}]}`},
		{"skipped", `{ found { ... on Animal @skip(if: true) { age } ...A @include(if: false) } } fragment A on Named { name }`,
			`{"found":[{},{},{}]}`},
		{"a directive that only spreads may have", `{ cat { ...P @spread @include(if: true) } } fragment P on Pet { ... on Cat { lives } }`,
			`{"cat":{"lives":9}}`},
		{"a variable that only an impossible fragment uses", `query ($yes: Boolean = true) { cat { lives ... on Animal { ... on Dog { weight @include(if: $yes) } } } }`,
			`{"cat":{"lives":9}}`},
	} {
		t.Run(c.what, func(t *testing.T) {
			if got := w.answer(t, c.query, "", ""); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

// A fragment that is printed for several types, within one that is, and so on,
// grows a text: up to the bound.
func TestFragmentsThatGrowAreBounded(t *testing.T) {
	w := newTestWorker(t, Config{Schema: shelterSchema, Resolver: &shelter{}, MaxDepth: -1, MaxCost: -1})
	doc := `{ ... on Query { found { ` + strings.Repeat(`... on Animal { friends { ... on Finding { `, 14) + `__typename` + strings.Repeat(` } } } `, 14) + `} } }`
	want := fmt.Sprint("!", CodeMaxSelections, " ", beyondSelections(20_000).Message)
	if got := w.answer(t, doc, "", ""); got != want {
		t.Errorf("%.300s", got)
	}
	doc = `{ found { ` + strings.Repeat(`... on Animal { friends { ... on Finding { `, 9) + `__typename` + strings.Repeat(` } } } `, 9) + `} }`
	plan, errs := w.planner.plan(t.Context(), doc, "")
	if errs != nil {
		t.Fatal(errs[0])
	}
	text, err := plan.text(nil)
	if err != nil || len(text) < 10*len(doc) || plan.size < len(text) {
		t.Errorf("%v: a document of %d bytes has a text of %d, and its plan counts as %d", err, len(doc), len(text), plan.size)
	}
	again, err := plan.text(nil)
	if err != nil || again != text {
		t.Errorf("%v: another text", err)
	}
	doc = `query ($n: Int) ` + doc[:len(doc)-1] + ` animals(first: $n) { id } }`
	if plan, errs = w.planner.plan(t.Context(), doc, ""); errs != nil {
		t.Fatal(errs[0])
	}
	if _, err := plan.text([]varState{varSet}); err != nil || len(plan.texts) > 0 {
		t.Errorf("%v: a text that is larger than the plan counts for is kept", err)
	}
}
