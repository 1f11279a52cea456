package api

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	graphql "github.com/graph-gophers/graphql-go"

	"github.com/nekoctl/neko/api/store"
)

const threeLevels = `query ($n: Int) {
	threatActors(first: $n) { nodes { name techniques(first: 5) { nodes { name mitigations(first: 5) { nodes { name } } } } } }
}`

// However many actors there are, and however many resolvers graph-gophers runs
// at once: three levels are three queries.
func TestQueriesDoNotGrowWithTheList(t *testing.T) {
	for _, parallelism := range []int{1, 10, 1000} {
		for _, actors := range []int{1, 16, 100} {
			t.Run(fmt.Sprintf("%d actors, %d at once", actors, parallelism), func(t *testing.T) {
				f := &fakeStore{}
				res := schemaOn(t, f, graphql.MaxParallelism(parallelism)).Exec(t.Context(), threeLevels, "", map[string]any{"n": int32(actors)})
				if res.Errors != nil {
					t.Fatal(res.Errors)
				}
				want := []string{
					"list threat-actor",
					fmt.Sprintf("related uses technique of %d", actors),
					fmt.Sprintf("related mitigates mitigation of %d", actors*5),
				}
				if !slices.Equal(f.calls, want) {
					t.Errorf("the store was asked\n%q, not\n%q", f.calls, want)
				}
			})
		}
	}
}

// Objects that many parents share are asked for once.
func TestSharedObjectsAreAskedForOnce(t *testing.T) {
	f := &fakeStore{shared: true}
	res := schemaOn(t, f).Exec(t.Context(), threeLevels, "", map[string]any{"n": int32(100)})
	if res.Errors != nil {
		t.Fatal(res.Errors)
	}
	want := []string{"list threat-actor", "related uses technique of 100", "related mitigates mitigation of 5"}
	if !slices.Equal(f.calls, want) {
		t.Errorf("the store was asked %q, not %q", f.calls, want)
	}
}

// Siblings that ask for different pages get different pages; the same page under
// another alias costs nothing.
func TestAliasesWithOtherArguments(t *testing.T) {
	f := &fakeStore{}
	res := schemaOn(t, f).Exec(t.Context(), `{ threatActors(first: 3) { nodes {
		a: techniques(first: 1) { nodes { name } }
		b: techniques(first: 2) { nodes { name } }
		c: techniques(first: 2) { nodes { name } edges { cursor } }
		d: techniques(first: 2) { totalCount nodes { name } }
		software { nodes { name } }
	} } }`, "", nil)
	if res.Errors != nil {
		t.Fatal(res.Errors)
	}
	slices.Sort(f.calls)
	want := []string{"list threat-actor", "related uses software of 3", "related uses technique of 3", "related uses technique of 3", "related uses technique of 3"}
	if !slices.Equal(f.calls, want) {
		t.Errorf("the store was asked %q, not %q", f.calls, want)
	}
}

// A store takes so many parents in one call and no more.
func TestMoreSiblingsThanTheStoreTakes(t *testing.T) {
	f := &fakeStore{}
	res := schemaOn(t, f).Exec(t.Context(), `{ threatActors(first: 100) { nodes { techniques(first: 100) { nodes { mitigations(first: 1) { nodes { techniques(first: 2) { totalCount nodes { parent { name } } } } } } } } } }`, "", nil)
	if res.Errors != nil {
		t.Fatal(res.Errors)
	}
	slices.Sort(f.calls)
	want := []string{
		"list threat-actor",
		"related mitigates mitigation of 10000",
		"related mitigates technique of 10000",
		"related subtechnique-of technique of 10000",
		"related subtechnique-of technique of 10000",
		"related uses technique of 100",
	}
	if !slices.Equal(f.calls, want) {
		t.Errorf("the store was asked %q, not %q", f.calls, want)
	}
}

// Only what is selected is asked for.
func TestLookAhead(t *testing.T) {
	for _, c := range []struct {
		selection string
		first     int
		total     bool
	}{
		{`totalCount`, 0, true},
		{`nodes { name }`, 7, false},
		{`nodes { name } totalCount`, 7, true},
		{`edges { cursor }`, 7, false},
		{`pageInfo { hasNextPage }`, 7, false},
		{`__typename`, 0, false},
		{`n: totalCount`, 0, true},
		{`... on TechniqueConnection { totalCount nodes { name } }`, 7, true},
		{`...F`, 7, true},
		{`totalCount @skip(if: true) nodes { name }`, 7, false},
		{`totalCount @include(if: true) nodes { name @skip(if: true) __typename }`, 7, true},
	} {
		t.Run(c.selection, func(t *testing.T) {
			query := `{ techniques(first: 7) { ` + c.selection + ` } }`
			if c.selection == "...F" {
				query += ` fragment F on TechniqueConnection { totalCount nodes { name } }`
			}
			f := &fakeStore{}
			res := schemaOn(t, f).Exec(t.Context(), query, "", nil)
			if res.Errors != nil {
				t.Fatal(res.Errors)
			}
			if len(f.asked) != 1 || f.asked[0].First != c.first || f.asked[0].WantTotal != c.total {
				t.Errorf("the store was asked %+v", f.asked)
			}
		})
	}
}

// Many siblings at once, under -race.
func TestSiblingsAskAtOnce(t *testing.T) {
	f := &fakeStore{}
	g := generation{backend: &backend{store: f}}
	var members []member
	for i := range 100 {
		members = append(members, g.member(fakeObject(store.KindThreatActor, fmt.Sprint(i))))
	}
	var wg sync.WaitGroup
	for _, m := range members {
		wg.Go(func() {
			for _, rel := range []store.Relation{store.Techniques, store.Software} {
				p, err := m.related(t.Context(), relation{rel, window{first: 2}, byAttackID})
				if err != nil {
					t.Error(err)
					return
				}
				if want := m.obj.ID + "/" + string(rel.To) + "1"; p.items[1].obj.ID != want {
					t.Errorf("got %s, not %s", p.items[1].obj.ID, want)
				}
			}
		})
	}
	wg.Wait()
	if len(f.calls) != 2 {
		t.Errorf("the store was asked %q", f.calls)
	}
}
